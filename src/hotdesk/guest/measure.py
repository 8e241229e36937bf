"""How busy a machine is: processors, memory, disk and GPUs, now and over a job's life.

The standard library only, for Python 3.8 and later: it runs at desks.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import threading
import time
from typing import Any

from hotdesk.guest.job_files import HOME, path

EVERY_SECONDS = 5.0  # between two samples of a job, at first
KEPT = 720  # samples: then every two become one, and the time between them doubles. An hour, six days: 40 KB
MEANS = {1, 4}  # of a kept sample: how busy processors and GPUs were; the rest is how full something was
GPU_SECONDS = 10.0  # for nvidia-smi to answer
_ASK_GPU = "--query-gpu=name,utilization.gpu,memory.used,memory.total"


class Meter:
    """Samples this machine. What cannot be known here is None."""

    def __init__(self) -> None:
        self.before = self._processors()
        self.smi = shutil.which("nvidia-smi")

    def look(self) -> dict[str, Any]:
        """Sizes in bytes; shares from 0 to 1, that of the processors since the look before."""
        used, of = self._memory()
        found: dict[str, Any] = {
            "at": time.time(),
            "cpu": self._busy(),
            "cpus": _cpus(),
            "memory": used,
            "memory_of": of,
        }
        with contextlib.suppress(OSError):
            disk = shutil.disk_usage(HOME)
            found.update(disk=disk.used, disk_of=disk.used + disk.free)
        found["gpus"] = self._gpus()
        return found

    def _busy(self) -> float | None:
        before, now = self.before, self._processors()
        if now is None or before is None:
            with contextlib.suppress(OSError):
                return min(1.0, os.getloadavg()[0] / _cpus())
            return None
        if now[1] <= before[1]:
            return None
        self.before = now
        return max(0.0, min(1.0, (now[0] - before[0]) / (now[1] - before[1])))

    @staticmethod
    def _processors() -> tuple[int, int] | None:
        """Ticks that they were busy, and all (proc(5), /proc/stat); guests' are in their user's."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open("/proc/stat", encoding="ascii") as file:
                ticks = [int(word) for word in file.readline().split()[1:9]]
            return sum(ticks) - ticks[3] - ticks[4], sum(ticks)
        return None

    @staticmethod
    def _memory() -> tuple[int | None, int | None]:
        """Used and all: what is not available to programs is used."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            with open("/proc/meminfo", encoding="ascii") as file:
                lines = dict(line.split(":", 1) for line in file)
            of, free = (int(lines[name].split()[0]) << 10 for name in ("MemTotal", "MemAvailable"))
            return of - free, of
        return None, None

    def _gpus(self) -> list[dict[str, Any]]:
        if not self.smi:
            return []
        try:
            done = subprocess.run(
                [self.smi, _ASK_GPU, "--format=csv,noheader,nounits"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=GPU_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired):
            return []
        lines = done.stdout.decode("utf-8", "replace").splitlines() if done.returncode == 0 else []
        return [found for found in map(_gpu, lines) if found]


def _gpu(line: str) -> dict[str, Any] | None:
    """One line of nvidia-smi's. A MIG device and some drivers say "[N/A]" or "[Not Supported]"."""
    words = [word.strip() for word in line.rsplit(",", 3)]
    if len(words) != 4:
        return None
    use, used, of = (float(word) if word.replace(".", "", 1).isdigit() else None for word in words[1:])
    mib = [None if size is None else int(size * 2**20) for size in (used, of)]
    return {
        "name": words[0],
        "use": None if use is None else use / 100,
        "memory": mib[0],
        "memory_of": mib[1],
    }


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def now() -> dict[str, Any]:
    """How busy this machine is now: a fifth of a second is watched."""
    meter = Meter()
    time.sleep(0.2)
    return meter.look()


# ---- over a job's life ------------------------------------------------------------------------------


def shares(sample: dict[str, Any]) -> list[float | None]:
    """A sample as it is kept: when, and the shares in use of cpu, memory, disk, GPUs and their memory."""
    gpus = sample["gpus"]
    busy = [gpu["use"] for gpu in gpus if gpu["use"] is not None]
    full = [_share(gpu["memory"], gpu["memory_of"]) for gpu in gpus]
    memory = [share for share in full if share is not None]
    found = [
        sample["cpu"],
        _share(sample["memory"], sample["memory_of"]),
        _share(sample.get("disk"), sample.get("disk_of")),
        sum(busy) / len(busy) if busy else None,
        max(memory) if memory else None,
    ]
    return [round(sample["at"], 1), *(None if share is None else round(share, 3) for share in found)]


def _share(used: float | None, of: float | None) -> float | None:
    return used / of if used is not None and of else None


def halved(kept: list[list[Any]]) -> list[list[Any]]:
    """Every two samples as one: the mean of how busy, the most of how full."""
    return [_merged(*kept[n : n + 2]) for n in range(0, len(kept), 2)]


def _merged(one: list[Any], two: list[Any] | None = None) -> list[Any]:
    if two is None:
        return one
    found = [two[0]]
    for n in range(1, len(two)):
        known = [value for value in (one[n], two[n]) if value is not None]
        mean = n in MEANS
        found.append((round(sum(known) / len(known), 3) if mean else max(known)) if known else None)
    return found


class Curves:
    """A job's samples in its folder: a line each, however long it runs no more than `KEPT`."""

    def __init__(self, id_: str, every: float = EVERY_SECONDS) -> None:
        self.file = path(id_, "samples")
        self.every = every
        self.kept: list[list[Any]] = []

    def begin(self) -> None:
        """Go on from what an earlier attempt has left."""
        with contextlib.suppress(OSError):
            self.kept = self._read()

    def _read(self) -> list[list[Any]]:
        kept: list[list[Any]] = []
        try:
            with open(self.file, encoding="ascii") as file:
                kept.extend(json.loads(line) for line in file)
        except FileNotFoundError:
            return []
        except (OSError, ValueError):  # a machine that was cut off: what comes next begins a line of its own
            self._replace(kept)
        times = [sample[0] for sample in kept]
        steps = sorted(later - time for time, later in zip(times, times[1:]))  # noqa: B905, RUF007 - Python 3.8
        if steps:  # of an earlier attempt, on whichever machine
            self.every = max(self.every, steps[len(steps) // 2])
        return kept

    def add(self, sample: list[Any]) -> None:
        self.kept.append(sample)
        if len(self.kept) < KEPT:
            with open(self.file, "a", encoding="ascii") as file:
                file.write(json.dumps(sample) + "\n")
            return
        self.kept, self.every = halved(self.kept), self.every * 2
        self._replace(self.kept)

    def _replace(self, kept: list[list[Any]]) -> None:
        with open(self.file + ".new", "w", encoding="ascii") as file:
            file.writelines(json.dumps(sample) + "\n" for sample in kept)
        os.replace(self.file + ".new", self.file)

    def follow(self) -> None:
        """Sample in a thread for as long as this process lives: a driver that hangs must not stop a job."""
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        self.begin()
        meter = Meter()
        while True:
            time.sleep(self.every)
            with contextlib.suppress(OSError):  # a full disk
                self.add(shares(meter.look()))
