"""How far a command walks: the files it enters, and the calls that lead from one file into another.

    python -m benchmarks.walks [--tree OTHER/CHECKOUT] [--runs 3] [--top 0]

One desk on this computer, in a temporary folder, lives through `up`, `ls`, `run` and `park`. Counted in the
command's own process, in all its threads: calls of a function in one file of hotdesk by code in another, the
files of hotdesk that ran at all, and the looks at the cloud. A command that waits looks again and again, so
its calls depend on how long the computer takes: of several runs the least is given. `--top` lists the calls
that are made most often. `--tree` walks another checkout as well, with the same Python and packages.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

WALKS = (
    ("up", ["up", "walk"]),
    ("ls", ["ls"]),
    ("run", ["run", "walk", "--detach", "--", "python", "train.py"]),
    ("park", ["park", "walk", "--yes"]),
)
HERE = Path(__file__).resolve().parents[1]


def walk(source: Path, report: Path, argv: list[str]) -> int:
    """Run one command of the hotdesk in `source` in this process, and write down where it went."""
    sys.path.insert(0, str(source))
    root = f"{source}/hotdesk/"
    files: set[str] = set()
    calls: Counter[tuple[str, str, str]] = Counter()
    looks = 0

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal looks
        if event != "call" or not (callee := frame.f_code.co_filename).startswith(root):
            return
        files.add(callee)
        back = frame.f_back
        caller = back.f_code.co_filename if back else ""
        if caller != callee and caller.startswith(root):
            calls[caller, callee, frame.f_code.co_name] += 1
            crossed = "/providers/" in callee and "/providers/" not in caller
            looks += crossed and frame.f_code.co_name == "survey"

    threading.setprofile(profile)
    sys.setprofile(profile)
    from hotdesk.cli.main import run

    status = run(argv)
    sys.setprofile(None)
    threading.setprofile(None)  # type: ignore[arg-type]
    top = [[*(name.removeprefix(root) for name in key), count] for key, count in calls.most_common()]
    report.write_text(json.dumps({"files": len(files), "calls": calls.total(), "looks": looks, "top": top}))
    return status


def walked(tree: Path, argv: list[str], state: Path) -> dict[str, Any]:
    """One command in a process of its own; what it reports."""
    report, folder = state / "walk.json", state / "work"
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text("print('trained')\n")
    environment = {**os.environ, "HOTDESK_STATE": str(state / "state"), "HOME": str(state)}
    environment |= {"PYTHONPATH": str(tree / "src")}
    here = [sys.executable, str(Path(__file__).resolve()), "--walk", str(tree / "src"), str(report)]
    subprocess.run([*here, *argv], cwd=folder, env=environment, check=True, capture_output=True)
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def life(tree: Path) -> dict[str, dict[str, Any]]:
    """All the walks of one desk, which is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="hotdesk-walk-") as folder:
        try:
            return {name: walked(tree, argv, Path(folder)) for name, argv in WALKS}
        finally:
            walked(tree, ["down", "walk", "--yes"], Path(folder))


def lines_of(tree: Path) -> int:
    return sum(len(file.read_text().splitlines()) for file in (tree / "src").rglob("*.py"))


def main() -> None:
    if sys.argv[1:2] == ["--walk"]:
        source, report, *argv = sys.argv[2:]
        raise SystemExit(walk(Path(source), Path(report), argv))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tree", type=Path, action="append", default=[])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--top", type=int, default=0)
    given = parser.parse_args()
    for tree in [*(t.resolve() for t in given.tree), HERE]:
        lives = [life(tree) for _ in range(given.runs)]
        print(f"{tree.name}: {lines_of(tree):,} lines of src")
        print(f"  {'':6} {'files':>6} {'calls':>7} {'looks':>6}")
        for name, _ in WALKS:
            least = min((one[name] for one in lives), key=lambda found: found["calls"])
            print(f"  {name:6} {least['files']:6} {least['calls']:7,} {least['looks']:6}")
            for caller, callee, function, count in least["top"][: given.top]:
                print(f"    {count:5}  {caller} > {callee}: {function}")


if __name__ == "__main__":
    main()
