"""Two builds beside each other: each command runs by the sources of its own checkout."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]


def environment(checkout: Path, compiled: Path) -> dict[str, str]:
    """Of a process of that build. What Python compiles is kept, as it is after an installation."""
    kept = {
        k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE" and not k.startswith("AWS_")
    }
    sources = [str(checkout / folder) for folder in ("src", "fakes/ec2/src", "")]
    paths = os.pathsep.join((*sources, os.environ.get("PYTHONPATH", "")))
    return kept | {"PYTHONPATH": paths, "PYTHONPYCACHEPREFIX": str(compiled)}


def child(checkout: Path, compiled: Path, code: str, *words: str) -> str:
    """What a program says that is run by that build, with its benchmarks."""
    argv = [sys.executable, "-c", code, *words]
    done = subprocess.run(
        argv, cwd=checkout, env=environment(checkout, compiled), capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"in {checkout}:\n{done.stderr}")
    return done.stdout


def timed(argv: Sequence[str | Path], env: Mapping[str, str], folder: Path) -> tuple[float, float]:
    """Wall and processor seconds of a command and its children, which must succeed."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(argv, env=env, cwd=folder, capture_output=True, text=True)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, argv))}:\n{done.stderr}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
