"""Saved benchmark runs, one JSON file each: store, list, compare, and convert to rates."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from hotdesk.core import wire
from hotdesk.core.errors import HotdeskError, NotAllowed, Unknown
from hotdesk.core.model import Value
from hotdesk.core.sizing.gpu import Precision
from hotdesk.core.sizing.speed import Family, utilisation
from hotdesk.market import gpus
from hotdesk.system import state_folder, write_atomically

Run = Mapping[str, Any]


class Compared(Value, frozen=True):
    """All usable runs of one workload on one kind of machine."""

    workload: str
    precision: str
    machine: str
    rate: float  # median, items per second
    unit: str
    low: float
    high: float
    runs: int
    left_out: int = 0  # contended, throttled or impossible
    spread: float = 0.0  # coefficient of variation between runs


def folder() -> Path:
    return state_folder() / "bench"


def keep(run: dict[str, Any], where: str = "here") -> Path:
    """Check a run against its GPU's printed rate, and save it. `where`: the desk's name."""
    check(run)
    run["where"] = where
    workload = run["workload"]
    stamp = datetime.fromtimestamp(run["started_at"], UTC).strftime("%Y%m%dT%H%M%S")
    name = "-".join(filter(None, (stamp, where, workload["name"], workload.get("precision", ""))))
    home = folder()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = home / (re.sub(r"[^A-Za-z0-9.-]", "-", name) + ".json")
    write_atomically(path, msgspec.json.format(msgspec.json.encode(run), indent=1))
    return path


def check(run: dict[str, Any]) -> None:
    """Add the utilisation of the GPU's printed rate (`mfu`); above 1 the run is marked as not valid."""
    name, flops = run["machine"].get("gpu_name"), run["workload"].get("flops_per_item")
    if not name or not flops or run["machine"].get("device") != "cuda":
        return
    rate = run["result"]["items_per_s"]
    family = Family.CNN if run["workload"]["name"] in ("vgg16-head", "resnet50") else Family.OTHER
    try:
        gpu, precision = gpus.find(name), Precision(run["workload"]["precision"])
        run["result"]["mfu"] = utilisation(rate, flops / 1e9, gpu, precision, family=family)
    except NotAllowed as error:
        run["conditions"]["valid"] = False
        run["conditions"]["reasons"].append(f"impossible: {error.what}")
    except (Unknown, ValueError):
        return


def load() -> list[dict[str, Any]]:
    """All saved runs, oldest first. Files that are not runs are skipped."""
    runs = []
    for path in sorted(folder().glob("*.json")):
        try:
            run = wire.json(path.read_bytes())
            if run["result"]["items_per_s"] > 0 and run["conditions"] and run["workload"] and run["machine"]:
                runs.append({**run, "file": path.name})
        except (OSError, msgspec.MsgspecError, KeyError, TypeError):
            continue
    return runs


def machine_of(run: Run) -> str:
    """The kind of machine a run was made on: its GPU, else its instance type, else its processor."""
    machine = run["machine"]
    if machine.get("device") == "cuda" and machine.get("gpu_name"):
        try:
            return gpus.find(machine["gpu_name"]).name
        except HotdeskError:
            return str(machine["gpu_name"])
    cpu = f"{machine.get('cores', '?')} cores of {machine.get('cpu_model', 'a processor')}"
    return str(machine.get("instance_type") or cpu)


def compare(runs: Iterable[Run], workload: str = "") -> list[Compared]:
    """Per workload and kind of machine, the median of its usable runs; the fastest machine first."""
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        if workload in ("", run["workload"]["name"]):
            key = (run["workload"]["name"], run["workload"].get("precision", ""), machine_of(run))
            groups.setdefault(key, []).append(run)
    out = []
    for (name, precision, machine), group in groups.items():
        usable = [run for run in group if run["conditions"].get("valid")]
        if not usable:
            continue
        rates = [run["result"]["items_per_s"] for run in usable]
        rate = statistics.median(rates)
        spread = statistics.stdev(rates) / statistics.fmean(rates) if len(rates) > 1 else 0.0
        # Two machines of one type differ by some 2 %, however precise one run is.
        half = max(
            0.03,
            1.645 * spread,
            *(1 - run["result"]["ci95_low"] / run["result"]["items_per_s"] for run in usable),
        )
        out.append(
            Compared(
                workload=name,
                precision=precision,
                machine=machine,
                rate=rate,
                unit=usable[0]["result"]["unit"],
                low=rate / (1 + half),
                high=rate * (1 + half),
                runs=len(usable),
                left_out=len(group) - len(usable),
                spread=spread,
            )
        )
    return sorted(out, key=lambda c: (c.workload, c.precision, -c.rate))


def _precision(run: Run) -> str:
    return str(run["workload"].get("precision", ""))


def rates(workload: str, precision: str = "") -> dict[str, float]:
    """Measured rates of a workload by kind of machine, for predictions.

    With a precision, GPU runs at that one only (fp16 and bf16 count as one); a CPU's always. Raises `Unknown`
    when there is none.
    """
    alike = {"fp16": ("fp16", "bf16"), "bf16": ("fp16", "bf16")}.get(precision, (precision,))
    runs = [
        r for r in load() if r["machine"].get("device") != "cuda" or not precision or _precision(r) in alike
    ]
    found = compare(runs, workload)
    if not found:
        raise Unknown(
            f"No usable measurement of {workload} is kept" + (f" at {precision}." if precision else "."),
            "Predictions start from a measurement; contended and throttled runs are not used.",
            f"hotdesk bench --workload {workload}   # then: hotdesk bench list",
        )
    best: dict[str, float] = {}
    for one in found:
        best[one.machine] = max(best.get(one.machine, -math.inf), one.rate)
    return best
