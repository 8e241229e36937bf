"""hotdesk beside the tools that people compare it with: all of docs/benchmarks.md, in one run.

    python -m benchmarks [PART …] [--runs 3] [--environments FOLDER] [--traces FOLDER]

Parts, in this order: installed, commands, calls, offers, files, policies, predictions, rate, page.
Without any, all of them. Each part keeps its figures in a file of benchmarks/results, and at the end
docs/benchmarks.md is rendered from these files. The peers are installed from the package index, each into
an environment of its own and without pip's cache: some minutes for each. `--environments` keeps them for
the next run. `calls` logs in to machines at port 22 and so needs root; `policies` needs the public traces
(see benchmarks/spot.py); `files` includes restic where it is installed; `page` needs Chromium. A part that
cannot run is skipped, with a message that says why.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.builds import HERE


@dataclass(frozen=True)
class Run:
    """What every part is given."""

    runs: int
    environments: Path
    scratch: Path
    traces: Path | None


class Lacking(Exception):
    """Why a part cannot run here."""


def installed(run: Run) -> dict[str, Any]:
    from benchmarks import peers

    return peers.installed(run.environments)


def commands(run: Run) -> dict[str, Any]:
    from benchmarks import peers

    return peers.commands(run.environments, run.scratch, run.runs)


def calls(run: Run) -> dict[str, Any]:
    from benchmarks import peers

    if os.geteuid():
        raise Lacking("machines at port 22 need root")
    return peers.days(run.environments, run.scratch)


def offers(run: Run) -> dict[str, Any]:
    from benchmarks import peers

    places = list(run.environments.glob(f"{peers.home('gpuhunt')}/lib/*/site-packages"))
    if not places:
        raise Lacking("gpuhunt is not installed: `python -m benchmarks installed offers`")
    paths = [str(HERE / "src"), str(HERE), str(places[0])]
    argv = [sys.executable, "-m", "benchmarks.offers", "--json", "--runs", str(run.runs)]
    found = subprocess.run(
        argv,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        cwd=HERE,
        check=True,
        stdout=subprocess.PIPE,
    )
    told: dict[str, Any] = json.loads(found.stdout)
    return told


def files(run: Run) -> dict[str, Any]:
    from benchmarks import park

    return park.measured(2.0, run.runs, run.scratch)


def policies(run: Run) -> dict[str, Any]:
    from benchmarks import spot

    if run.traces is None:
        raise Lacking("--traces names the folder of the public traces")
    return spot.policies(run.traces)


def predictions(run: Run) -> dict[str, Any]:
    from benchmarks import gpubench, speed

    if not gpubench.FOLDER.is_dir():
        raise Lacking("the public tables of speeds are not beside this checkout")
    return speed.regrets()


def rate(run: Run) -> dict[str, Any]:
    from benchmarks import sweep

    return sweep.rates(run.scratch, 2000, run.runs)


def page(run: Run) -> dict[str, Any]:
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        raise Lacking("Chromium is not installed")
    file = run.scratch / "page.json"
    argv = [sys.executable, "-m", "benchmarks.page", "--visits", str(run.runs), "--json", str(file)]
    subprocess.run(argv, cwd=HERE, check=True)
    told: dict[str, Any] = json.loads(file.read_text())
    return told


PARTS: dict[str, Callable[[Run], dict[str, Any]]] = {
    part.__name__: part
    for part in (installed, commands, calls, offers, files, policies, predictions, rate, page)
}


def main() -> None:
    ask = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    ask.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART")
    ask.add_argument("--runs", type=int, default=3)
    ask.add_argument("--environments", type=Path)
    ask.add_argument("--traces", type=Path)
    given = ask.parse_args()
    report.RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hotdesk-bench-") as scratch:
        for name in given.parts or PARTS:
            folder = Path(scratch) / name
            folder.mkdir()
            run = Run(
                given.runs, (given.environments or Path(scratch) / "peers").absolute(), folder, given.traces
            )
            began = taken()
            print(f"== {name}", flush=True)
            try:
                found = PARTS[name](run)
            except Lacking as why:
                print(f"{name} is left out: {why}", file=sys.stderr)
                continue
            document = {"taken": began, "found": found}
            (report.RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    report.write()


def taken() -> dict[str, Any]:
    """When, of which commit and on which machine a part was measured, and how busy that was as it began."""
    commit = subprocess.run(
        ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True
    )
    kernel = ".".join(platform.release().split(".")[:2])
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "machine": f"{os.cpu_count()} processors, {platform.system()} {kernel}",
        "load": round(os.getloadavg()[0], 1),
    }


if __name__ == "__main__":
    main()
