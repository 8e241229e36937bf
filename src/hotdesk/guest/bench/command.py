"""The command line: which workloads, within how many seconds and dollars, and one JSON document."""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from .machine import Sorry, cores, number, probe, smi
from .own_job import own_job
from .timing import Cap
from .workloads import copy, inputs, matmul, precisions, train

SCHEMA_VERSION = 1
WORKLOADS = ("copy", "matmul", "input", "vgg16-head", "resnet50", "gpt2")  # the quick ones first


def load_torch() -> tuple[Any, float]:
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # waiting threads must not burn a shared processor
    mark = time.monotonic()
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        raise Sorry(
            "torch is not installed here.", "The networks are built with it.", "python -m pip install torch"
        ) from None
    torch.set_num_threads(cores())
    return torch, time.monotonic() - mark


def device_of(torch: Any, asked: str) -> str:
    if asked != "auto":
        return asked
    if torch.cuda.is_available():
        return "cuda"
    if Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi"):
        raise Sorry(
            "There is an NVIDIA GPU here and torch cannot use it.",
            f"torch {torch.__version__} was built for CUDA {torch.version.cuda}; the driver is "
            f"{smi('driver_version') or 'missing'}.",
            "nvidia-smi   # then install the driver, or: hotdesk bench --device cpu",
        )
    return "mps" if hasattr(torch.backends, "mps") and torch.backends.mps.is_available() else "cpu"


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    ask.add_argument("--workload", default="all", help="all, or some of " + ",".join(WORKLOADS))
    ask.add_argument("--precision", default="auto", help="fp32, tf32, bf16, fp16; several with commas")
    ask.add_argument("--device", default="auto", choices=["auto", "cuda", "mps", "cpu"])
    ask.add_argument("--batch", type=int, default=0)
    ask.add_argument("--seconds-max", type=float, default=300.0)
    ask.add_argument("--usd-max", type=float, default=0.0)
    ask.add_argument("--usd-per-hour", type=float, default=0.0)
    ask.add_argument("--soak", type=float, default=0.0, help="seconds that each network runs at least")
    ask.add_argument("--cmd", default="")
    ask.add_argument("--step-regex", default=r"step\D*(\d+)")
    ask.add_argument("--items-per-step", type=float, default=1.0)
    ask.add_argument("--steps", type=int, default=20)
    ask.add_argument(
        "--about", default="{}", help="JSON about the machine: provider, instance_type, market, ..."
    )
    ask.add_argument("--json", action="store_true")
    given = ask.parse_args()
    began = time.monotonic()  # loading torch counts too
    paid = given.usd_max / given.usd_per_hour * 3600 if given.usd_max and given.usd_per_hour else math.inf
    seconds = min(given.seconds_max, paid)
    results: list[Any] = []
    problems: list[Any] = []
    try:
        if given.cmd:
            here = {"about": probe(None, "command"), "startup": {}}
            results, problems = run_all(
                given, here, [("command", "", "")], None, device="command", seconds=seconds
            )
        else:
            names = WORKLOADS if given.workload == "all" else tuple(given.workload.split(","))
            if unknown := [name for name in names if name not in WORKLOADS]:
                raise Sorry(f"There is no workload {unknown[0]!r}.", "", "one of " + ", ".join(WORKLOADS))
            torch, imported = load_torch()
            mark = time.monotonic()
            device = device_of(torch, given.device)
            if device == "cuda":
                torch.zeros(1, device="cuda")
            startup = {"first_import_torch_s": imported, "first_cuda_s": time.monotonic() - mark}
            here = {"about": probe(torch, device), "startup": startup}
            todo = [
                (name, precision, device)
                for name in names
                for precision in (
                    [""]
                    if name in ("copy", "input")
                    else [
                        *precisions(torch, device, given.precision),
                        *(["fp32"] if device == "cuda" else []),
                    ]
                    if name == "matmul" and given.precision == "auto"
                    else precisions(torch, device, given.precision)
                )
            ]
            seconds = min(given.seconds_max, paid - (time.monotonic() - began))
            results, problems = run_all(given, here, todo, torch, device=device, seconds=seconds)
    except Sorry as error:
        problems.append(error.args)
    document = {
        "results": results,
        "problems": [_problem(*p) for p in problems],
    }
    if given.json:
        print(json.dumps(document, indent=1))
    else:
        for one in results:
            result, workload = one["result"], one["workload"]
            rate = f"{result['items_per_s']:12.5g} {result['unit']}/s"
            band = f"({result['ci95_low']:.5g} to {result['ci95_high']:.5g})"
            print(
                f"{workload['name']:11} {workload['precision']:5} {rate} {band}",
                *one["conditions"]["reasons"],
            )
    for problem in problems if not given.json else []:
        print("\n".join(part for part in problem if part), file=sys.stderr)
    return 0 if results else 1


def _problem(what: str, why: str = "", fix: str = "") -> dict[str, str]:
    return {"what": what, "why": why, "fix": fix}


def run_all(
    given: Any, here: Any, todo: list[tuple[str, str, str]], torch: Any, *, device: str, seconds: float
) -> tuple[list[Any], list[Any]]:
    """Each workload gets an equal share of the seconds that are left."""
    cap, results, problems = Cap(seconds), [], []
    idle = number(smi("utilization.gpu")) if device == "cuda" else None
    for place, (name, precision, where) in enumerate(todo):
        share = cap.left() / (len(todo) - place)
        if share < 1:
            problems.append(
                (f"{name} {precision} was not measured: the time limit was reached.", "", "--time-limit 10m")
            )
            continue
        print(f"{name} {precision} (at most {share:.0f} s)", file=sys.stderr, flush=True)
        started, mark = time.time(), time.monotonic()
        try:
            if name == "command":
                done = own_job(given.cmd, given.step_regex, given.items_per_step, share, given.steps)
            elif name == "matmul":
                done = matmul(torch, where, precision, share)
            elif name == "copy":
                done = copy(torch, where, share)
            elif name == "input":
                done = inputs(share)
            else:
                done = train(torch, name, where, precision, given=given, seconds=share)
        except Sorry as error:
            problems.append(error.args)
            continue
        took = time.monotonic() - mark
        done["conditions"]["gpu_util_before"] = idle
        if idle is not None and idle > 10:
            done["conditions"]["valid"] = False
            done["conditions"]["reasons"].append(f"contended: the GPU was {idle:.0f} % busy before")
        results.append(
            {
                "schema_version": SCHEMA_VERSION,
                "started_at": started,
                "duration_s": took,
                "cost_usd_est": took / 3600 * given.usd_per_hour,
                "machine": {**here["about"]["machine"], **json.loads(given.about)},
                "software": here["about"]["software"],
                "startup": here["startup"],
                **done,
            }
        )
        if device == "cuda":
            torch.cuda.empty_cache()
    return results, problems
