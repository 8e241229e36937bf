"""How long the command line takes, and how long a desk takes to open.

    python -m benchmarks.doors [--runs 15]

CPU seconds (user and system) of whole processes, the least and the median of several runs, beside an empty
Python in the same run; then `up` of a first and of a second desk until Jupyter answers, in wall seconds.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TARGETS = {"--version": 0.060, "--help": 0.120, "ls": 0.150, "ls --json": 0.150}


def cpu_seconds(argv: list[str], environment: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, env=environment, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory(prefix="hotdesk-bench-") as state:
        environment = {**os.environ, "HOTDESK_STATE": state}
        hotdesk = [sys.executable, "-m", "hotdesk"]
        installed = Path(sys.executable).with_name("hotdesk")
        if installed.exists():
            hotdesk = [str(installed)]
        wall = {}
        for name in ("first", "second"):
            began = time.perf_counter()
            subprocess.run([*hotdesk, "up", name], env=environment, check=True, capture_output=True)
            wall[name] = time.perf_counter() - began
        try:
            lines: dict[str, list[float]] = {"python -c pass": [], **{words: [] for words in TARGETS}}
            for _ in range(runs):  # in turn, so that a slow moment of the machine hits all of them
                for words, taken in lines.items():
                    argv = (
                        [sys.executable, "-c", "pass"]
                        if words[:6] == "python"
                        else [*hotdesk, *words.split()]
                    )
                    taken.append(cpu_seconds(argv, environment))
            print(f"{'CPU seconds':20} {'least':>7} {'median':>7} {'target':>7}")
            for words, taken in lines.items():
                target = f"{TARGETS[words]:7.3f}" if words in TARGETS else ""
                print(f"{words:20} {min(taken):7.3f} {statistics.median(taken):7.3f} {target}")
            print(f"\nup of a first desk   {wall['first']:6.2f} s until Jupyter answered")
            print(f"up of a second desk  {wall['second']:6.2f} s (target 6.00)")
        finally:
            for name in ("first", "second"):
                subprocess.run(
                    [*hotdesk, "down", name, "--yes"], env=environment, check=False, capture_output=True
                )


if __name__ == "__main__":
    main()
