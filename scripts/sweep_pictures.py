"""The walk through a sweep in docs/sweep.md: `python -m scripts.sweep_pictures`, from the project's folder.

A real sweep on this computer, with Ray: a small network in numpy learns two moons with 20 settings on three
machines, one of which is killed. Writes docs/sweep/lines.svg and parallel.svg, and prints what the terminal
showed. Needs the extras local, sweep and plots, and a package index for numpy.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hotdesk.providers.local.paths import Folders
from hotdesk.providers.local.runtime import locks
from hotdesk.system import SystemClock

PICTURES = Path(__file__).parents[1] / "docs" / "sweep"
TRAIN = """
import json, sys
import numpy as np
rate, width = float(sys.argv[1]), int(sys.argv[2])
dice = np.random.default_rng(0)
angle = dice.uniform(0, np.pi, 600)
side = dice.integers(0, 2, 600)
points = np.stack([np.cos(angle) + side, np.sin(angle) * (1 - 2 * side) + side / 2], 1)
points += dice.normal(0, 0.15, points.shape)
a, b = dice.normal(0, 1, (2, width)), np.zeros(width)
c, d = dice.normal(0, 1 / np.sqrt(width), width), 0.0
for step in range(6000):
    hidden = np.tanh(points @ a + b)
    guess = 1 / (1 + np.exp(-(hidden @ c + d)))
    slope = (guess - side) / len(side)
    back = np.outer(slope, c) * (1 - hidden**2)
    a, b = a - rate * points.T @ back, b - rate * back.sum(0)
    c, d = c - rate * hidden.T @ slope, d - rate * slope.sum()
loss = -np.mean(np.log(np.where(side, guess, 1 - guess) + 1e-12))
print(json.dumps({"loss": float(loss), "accuracy": float(np.mean((guess > 0.5) == side))}))
"""


def hotdesk(*words: str, check: bool = True) -> str:
    argv = [sys.executable, "-m", "hotdesk", *words]
    return subprocess.run(argv, check=check, stdout=subprocess.PIPE, text=True).stdout


def shown() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(hotdesk("sweep", "show", "--json"))
    return found


def until(done: int) -> dict[str, Any]:
    while (told := shown())["done"] < done:
        SystemClock().sleep(1.0)
    return told


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hotdesk-sweep-") as made:
        os.environ |= {"HOME": made, "HOTDESK_STATE": f"{made}/state", "COLUMNS": "100"}
        project = Path(made) / "moons"
        project.mkdir()
        (project / "train.py").write_text(TRAIN)
        os.chdir(project)
        hotdesk("up", "blue")
        hotdesk("ssh", "blue", "--", "pip", "install", "-q", "numpy")
        hotdesk("park", "blue")
        try:
            words = ["--param", "rate=0.03,0.1,0.3,1,3", "--param", "width=2,4,8,16", "--detach"]
            hotdesk(
                "sweep",
                "start",
                "blue",
                "--machines",
                "3",
                *words,
                "--",
                "python",
                "train.py",
                "{rate}",
                "{width}",
            )
            until(3)
            [folder] = Folders.of(Path(made) / "state").machines.glob("*sweep1-2-*")
            os.kill(locks.worker_pid(folder / "run.lock") or 0, signal.SIGKILL)
            while (told := shown())["running"] < 1 or told["done"] < 6:
                SystemClock().sleep(1.0)
            sys.stdout.write(hotdesk("sweep", "show", "-n", "8"))
            hotdesk("sweep", "show", "--follow")
            sys.stdout.write(hotdesk("sweep", "ls"))
            sys.stdout.write("".join(hotdesk("sweep", "results", "--sort", "loss").splitlines(True)[:4]))
            hotdesk("sweep", "plot", "--plot", str(PICTURES / "lines.svg"))
            hotdesk("sweep", "plot", "--parallel", "--plot", str(PICTURES / "parallel.svg"))
            sys.stdout.write(hotdesk("sweep", "plot", "--parallel"))
        finally:
            hotdesk("sweep", "cancel", check=False)
            hotdesk("down", "blue", "--yes", check=False)


if __name__ == "__main__":
    main()
