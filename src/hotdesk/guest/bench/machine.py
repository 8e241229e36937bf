"""Describe the machine, our share of it, and the load by others during a run."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import resource
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

FOREIGN = 0.05  # share of the processors used by others that counts as contention


class Sorry(Exception):
    """A user-facing error: what happened, why, how to fix it."""


def cores() -> int:
    """Physical cores this process may use: affinity and cgroup, two hardware threads counted once on x86."""
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = read("/sys/fs/cgroup/cpu.max").split()
        seen = min(seen, max(1, round(int(quota) / int(period))))
    return max(1, seen // siblings())


def siblings() -> int:
    """Hardware threads of one core."""
    with contextlib.suppress(OSError):
        text = read("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list")
        return max(1, len(re.findall(r"\d+", text)))
    return 1


def read(path: str) -> str:
    return Path(path).read_text().strip()


def probe(torch: Any, device: str) -> dict[str, Any]:
    """The machine and its software, for the results."""
    cpu = platform.processor() or platform.machine()
    flags: set[str] = set()
    with contextlib.suppress(OSError):
        text = read("/proc/cpuinfo")
        cpu = (re.search(r"model name\s*:\s*(.+)", text) or re.search(r"(.*)", cpu))[1]  # type: ignore[index]
        flags = set((re.search(r"flags\s*:\s*(.+)", text) or re.search(r"(.*)", ""))[1].split())  # type: ignore[index]
    machine: dict[str, Any] = {
        "host_id_hash": hashlib.sha256(platform.node().encode()).hexdigest()[:12],
        "cpu_model": cpu,
        "cpu_flags": sorted(flags & {"avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8"}),
        "vcpus": os.cpu_count(),
        "cores": cores(),
        "ram_gb": round(memory()[0], 2),
        "device": device,
    }
    software = {"python": platform.python_version()}
    if torch is not None:
        software["torch"] = str(torch.__version__)
    if device == "cuda":
        gpu = torch.cuda.get_device_properties(0)
        machine |= {
            "gpu_name": gpu.name,
            "gpu_count": torch.cuda.device_count(),
            "gpu_mem_gb": round(gpu.total_memory / 2**30, 2),
            "capability": gpu.major + gpu.minor / 10,
            "driver": smi("driver_version"),
            "power_limit_w": number(smi("power.limit")),
            "clock_max_mhz": number(smi("clocks.max.sm")),
            "mig": smi("mig.mode.current"),
        }
        software |= {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
    return {"machine": machine, "software": software}


def memory() -> tuple[float, float]:
    """GiB of main memory that this process may use, and how much of it is free."""
    total = free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    with contextlib.suppress(OSError, AttributeError, TypeError):
        text = read("/proc/meminfo")
        free = int(re.search(r"MemAvailable:\s*(\d+)", text)[1]) / 2**20  # type: ignore[index]
    with contextlib.suppress(OSError, ValueError):
        limit = int(read("/sys/fs/cgroup/memory.max")) / 2**30
        free = min(free, limit - int(read("/sys/fs/cgroup/memory.current")) / 2**30)
        total = min(total, limit)
    return total, free


def smi(field: str) -> str:
    """One field of nvidia-smi for the first GPU; "" without one."""
    if not shutil.which("nvidia-smi"):
        return ""
    ask = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits", "-i", "0"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(ask, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    return ""


def number(text: str) -> float | None:
    with contextlib.suppress(ValueError):
        return float(text)
    return None


class Processor(NamedTuple):
    """Processor seconds since boot, over all visible processors: busy, stolen, total; and our own."""

    busy: float
    own: float
    stolen: float
    total: float


def processor() -> Processor:
    own = sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = [
            int(word) / os.sysconf("SC_CLK_TCK") for word in read("/proc/stat").split("\n")[0].split()[1:9]
        ]
        user, nice, system, idle, waiting, irq, soft, stolen = fields
        busy = user + nice + system + irq + soft
        return Processor(busy, own, stolen, busy + stolen + idle + waiting)
    return Processor(own, own, 0.0, own + time.monotonic() * (os.cpu_count() or 1))


def shared(before: Processor, after: Processor) -> dict[str, Any]:
    """The share of the processors used by others between two readings, and whether that slowed us down.

    Others do no harm while there are free cores, such as on a host of 128 processors of which we use 8. Two
    threads on one core slow each other down, so capacity is counted in cores. Time that a virtual machine's
    host gave to others (steal) counts like other programs.
    """
    total = max(after.total - before.total, 1e-9)
    own = min((after.own - before.own) / total, 1.0)
    foreign = max(0.0, (after.busy - before.busy) / total - own)
    steal = (after.stolen - before.stolen) / total
    tight = foreign + own + steal > 0.95 / siblings()
    return {
        "foreign": foreign,
        "steal": steal,
        "contended": foreign + steal > FOREIGN and tight,
    }
