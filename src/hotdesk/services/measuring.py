"""Measuring how fast a machine trains: this computer, or a desk. What was measured is kept."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from typing import Any

import msgspec

from hotdesk.core import wire
from hotdesk.core.errors import HotdeskError, Missing, NotAllowed, Usage
from hotdesk.core.model import Value
from hotdesk.core.ports import Access
from hotdesk.services.bench_sent import LOADER, packed
from hotdesk.services.view import View

WORKLOADS = ("all", "copy", "matmul", "input", "vgg16-head", "resnet50", "gpt2")


class BenchRequest(Value, frozen=True):
    """What is measured. Lengths in seconds, money in US dollars; 0 and "": not said."""

    workload: str = "all"  # of WORKLOADS, with commas between
    cmd: str = ""  # one's own job instead, timed by the lines that it prints
    step_regex: str = r"step\D*(\d+)"  # of a line that ends a step; its group is the step's number
    items_per_step: float = 1.0
    steps: int = 20
    precision: str = "auto"  # fp32, tf32, bf16, fp16, with commas between
    device: str = "auto"  # auto | cuda | mps | cpu
    batch: int = 0  # 0: the fastest that fits
    seconds_max: float = 300.0  # for everything together
    usd_max: float = 0.0
    usd_per_hour: float = 0.0  # what the machine costs, where hotdesk does not know it
    soak: float = 0.0  # each network runs so long at least
    python: str = ""  # the Python that has torch


class Measured(Value, frozen=True):
    """What was measured, as `hotdesk bench list` keeps it, and what went wrong with the rest."""

    results: tuple[dict[str, Any], ...]
    problems: tuple[dict[str, Any], ...]


def measure(request: BenchRequest, desk: tuple[View, Access] | None = None) -> Measured:
    """Measure this computer, or a desk. Each result is kept.

    Raises `Usage` for what cannot be, `Missing` or `NotAllowed` where nothing could be measured.
    """
    from hotdesk.market import benchmarks

    check(request)
    where = desk[0].name if desk else "here"
    document = _at_desk(request, *desk) if desk else _here(request)
    runs, problems = document.get("results", []), document.get("problems", [])
    for run in runs:
        benchmarks.keep(run, where)
    if not runs:
        first = problems[0] if problems else {"what": "Nothing was measured.", "why": "", "fix": ""}
        kind = Missing if "not installed" in first["what"] or "torch" in first["what"] else NotAllowed
        fix = first["fix"] or "hotdesk bench --workload matmul"
        if desk and fix.startswith("python -m pip"):
            fix = f"hotdesk ssh {where} -- {fix}"
        what = first["what"].replace(" here", f" at {where}") if desk else first["what"]
        raise kind(what, first["why"], fix)
    return Measured(results=tuple(runs), problems=tuple(problems))


def check(request: BenchRequest) -> None:
    """Raises `Usage` for what cannot be measured."""
    if not request.items_per_step > 0:
        raise Usage(
            f"--items-per-step {request.items_per_step:g} is impossible.",
            "It must be more than zero.",
            "hotdesk bench --items-per-step 64 ...",
        )
    for name in ("batch", "usd_max", "usd_per_hour", "steps"):
        if (value := getattr(request, name)) < 0:
            option = "--budget" if name == "usd_max" else f"--{name.replace('_', '-')}"
            raise Usage(
                f"{option} {value:g} is impossible.", "It must not be negative.", "hotdesk bench --help"
            )
    for name in request.workload.split(","):
        if name not in WORKLOADS:
            import difflib

            near = difflib.get_close_matches(name, WORKLOADS, n=1)
            raise Usage(
                f"There is no workload {name!r}." + (f" Did you mean {near[0]!r}?" if near else ""),
                "There are " + ", ".join(WORKLOADS) + ".",
                f"hotdesk bench --workload {near[0] if near else 'all'}",
            )


def _argv(request: BenchRequest, about: dict[str, Any]) -> list[str]:
    """The words behind the program's name."""
    words = ["--json", "--about", msgspec.json.encode(about).decode()]
    for name in (
        "workload",
        "precision",
        "device",
        "batch",
        "seconds_max",
        "usd_max",
        "usd_per_hour",
        "soak",
    ):
        words += [f"--{name.replace('_', '-')}", str(getattr(request, name))]
    if request.cmd:
        for name in ("cmd", "step_regex", "items_per_step", "steps"):
            words += [f"--{name.replace('_', '-')}", str(getattr(request, name))]
    return words


def _here(request: BenchRequest) -> dict[str, Any]:
    """Run on this computer, in a Python that has torch where one is found."""
    python = request.python or sys.executable
    if not request.cmd and not request.python and importlib.util.find_spec("torch") is None:
        python = shutil.which("python3") or python
    return _ran([python, "-c", LOADER, *_argv(request, {"provider": "local"})])


def _at_desk(request: BenchRequest, view: View, access: Access) -> dict[str, Any]:
    """Run at a desk, which gets the program through the connection; nothing is left behind there."""
    from hotdesk.connect import ssh

    about = {
        "provider": view.provider,
        "instance_type": view.instance_type,
        "region": view.region,
        "zone": view.zone,
        "market": str(view.market),
    }
    price = request.usd_per_hour or view.usd_per_hour
    request = msgspec.structs.replace(request, usd_per_hour=price)
    words = [request.python or "python3", "-c", LOADER, *_argv(request, about)]
    return _ran(ssh.command(access, words))


def _ran(argv: list[str]) -> dict[str, Any]:
    """The program's JSON document; what it says on the way goes to standard error as it comes."""
    try:
        done = subprocess.run(argv, input=packed(), stdout=subprocess.PIPE, check=False)
    except OSError as error:
        raise Missing(
            f"{argv[0]} cannot be started.",
            error.strerror or str(error),
            "hotdesk bench --python /path/to/python",
        ) from error
    try:
        document: dict[str, Any] = wire.json(done.stdout)
    except msgspec.DecodeError as error:
        raise _Broken(
            f"The measurement ended with {done.returncode} and no result.",
            "Its last words are above.",
            "hotdesk bench --workload matmul --time-limit 30s",
        ) from error
    return document


class _Broken(HotdeskError):
    exit_code = 8
