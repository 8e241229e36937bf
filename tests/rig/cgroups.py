"""A control group of its own for each machine, so that two systems do not share one."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path


def roots() -> list[Path]:
    """Where systemd keeps its groups: cgroup2, and the named hierarchy beside it where there is one."""
    found = []
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append(Path(where))
    return found


def lacking() -> str:
    """Why no group can be made here; "" when one can."""
    if not roots():
        return "there are no control groups here that systemd could use"
    try:
        make("hdtry")
    except OSError as error:
        return f"a control group cannot be made here ({error})"
    remove("hdtry")
    return ""


def make(name: str) -> list[Path]:
    """The group, in every hierarchy; the files that a process writes its id to in order to move there."""
    for root in roots():
        (root / name).mkdir(exist_ok=True)
    return [root / name / "cgroup.procs" for root in roots()]


def of(prefix: str) -> list[str]:
    return sorted({p.name for root in roots() for p in root.glob(f"{prefix}*") if p.is_dir()})


def remove(name: str, seconds: float = 10.0) -> None:
    """End every process in the group, and take it away: a container outlives its killed supervisor."""
    until = time.monotonic() + seconds
    while True:
        for root in roots():
            folders = [root / name, *(p for p in _below(root / name) if p.is_dir())]
            for folder in sorted(folders, key=lambda p: -len(p.parts)):
                with contextlib.suppress(OSError):
                    for pid in (folder / "cgroup.procs").read_text().split():
                        os.kill(int(pid), signal.SIGKILL)
                with contextlib.suppress(OSError):
                    folder.rmdir()
        if not any((root / name).exists() for root in roots()) or time.monotonic() > until:
            return
        time.sleep(0.05)


def _below(folder: Path) -> list[Path]:
    try:
        return list(folder.rglob("*"))
    except OSError:  # it went while we looked
        return []
