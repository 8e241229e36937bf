"""What a person waits for at a desk on this computer: this build beside another, in turn.

    python -m benchmarks.local --against OTHER/CHECKOUT [--runs 5]

Wall seconds, median and range, and the processor seconds of the command itself. Each build has a state folder
and an empty desk of its own; both run with the same Python and packages. The rival of `ssh` and `run` is the
plain ssh client with a command, that of `up` nothing: it is asked for a desk that is up already.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.builds import HERE, environment, timed

ACTS = {
    "ls": ["ls"],
    "up, again": ["up", "blue"],
    "ssh -- true": ["ssh", "blue", "--", "true"],
    "run -- true": ["run", "blue", "--then", "stay", "--", "true"],
    "park, empty": ["park", "blue", "--yes"],
    "resume, empty": ["resume", "blue"],
}


@dataclass
class Build:
    checkout: Path
    folder: Path
    wall: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)

    def hotdesk(self, *words: str) -> tuple[float, float]:
        env = environment(self.checkout, self.folder / "compiled") | {
            "HOTDESK_STATE": str(self.folder / "state"),
            "HOTDESK_CONFIG": str(self.folder / "hotdesk.toml"),
            "HOME": str(self.folder),
        }
        return timed([sys.executable, "-m", "hotdesk", *words], env, self.folder / "project")

    def rival(self) -> tuple[float, float]:
        settings = self.folder / "state" / "desks" / "blue" / "ssh_config"
        return timed(["ssh", "-F", settings, "hotdesk-blue", "true"], os.environ, self.folder)

    def measure(self, name: str) -> None:
        wall, cpu = self.hotdesk(*ACTS[name]) if name in ACTS else self.rival()
        self.wall.setdefault(name, []).append(wall)
        self.cpu.setdefault(name, []).append(cpu)


def measured(against: Path, runs: int) -> list[Build]:
    """This build and the other, in turn, with what each act took."""
    with tempfile.TemporaryDirectory(prefix="hotdesk-bench-") as name:
        builds = [Build(HERE, Path(name) / "here"), Build(against.resolve(), Path(name) / "there")]
        try:
            for build in builds:
                (build.folder / "project").mkdir(parents=True)
                (build.folder / "project" / "train.py").write_text("print('hello')\n")
                (build.folder / "hotdesk.toml").touch()
                build.hotdesk("up", "blue", "--provider", "local")
                build.hotdesk(*ACTS["run -- true"])  # the runner is sent, a watcher begins
            for run in range(runs):
                for act in ["ssh client", *ACTS]:
                    for build in builds if run % 2 else reversed(builds):
                        build.measure(act)
        finally:
            for build in builds:
                build.hotdesk("watch", "--stop")
                build.hotdesk("down", "blue", "--yes")
    return builds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--against", type=Path, required=True, help="a checkout of the other build")
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    builds = measured(given.against, given.runs)
    load = os.getloadavg()[0]
    print(f"{given.runs} runs in turn, {os.cpu_count()} processors, load {load:.0f} at the end; seconds\n")
    print(f"{'':16}{'here':>7}{'range':>14}{'there':>8}{'range':>14}{'ratio':>7}{'cpu':>8}{'there':>7}")
    for act in ["ssh client", *ACTS]:
        (mine, theirs), (cpu, other) = ([b.wall[act] for b in builds], [b.cpu[act] for b in builds])
        here, there = statistics.median(mine), statistics.median(theirs)
        print(
            f"{act:16}{here:7.2f}{min(mine):7.2f}-{max(mine):6.2f}{there:8.2f}{min(theirs):7.2f}-{max(theirs):6.2f}"
            f"{here / there:7.2f}{statistics.median(cpu):8.2f}{statistics.median(other):7.2f}"
        )


if __name__ == "__main__":
    main()
