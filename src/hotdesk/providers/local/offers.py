"""This computer as offers: one for its processors, preceded by one for its GPU if it has one."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys

import msgspec

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.matching import InstanceType, Place, conditions, fits, sold_there, wish
from hotdesk.core.model import Market, Offer, Want
from hotdesk.core.steps import LaunchOrder
from hotdesk.providers.local.paths import plain
from hotdesk.system import install_line

CPU_TYPE, GPU_TYPE = "local.cpu", "local.gpu"
REGION, ZONE = "local", "here"
_NEEDED = ("argon2", "asyncssh", "blake3", "ipykernel", "jupyterlab", "pip", "psutil", "zstandard")


def offers(want: Want) -> tuple[Offer, ...]:
    """The offers that fit, best first."""
    if want.disk_gib or want.image:  # neither can be chosen here
        return ()
    wished = conditions(wish(want, owned=True))
    if not sold_there(wished, Place("local", REGION, ZONE), Market.ON_DEMAND):
        return ()
    return tuple(_offer(kind) for kind in _types() if fits(wished, kind))


def check(order: LaunchOrder) -> None:
    """Raise `Refused` for an order that this computer cannot serve."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise Refused(
            Kind.BAD_REQUEST,
            f"a local desk needs Python packages that are not installed: {', '.join(missing)}",
            fix=install_line("local", *(["pip"] if "pip" in missing else [])),  # no extra brings that
        )
    if not plain(order.name) or not plain(order.desk):
        raise Refused(Kind.BAD_REQUEST, f"{order.desk!r} cannot be a folder's name")
    kind = order.offer.instance_type
    if not kind.endswith((".cpu", ".gpu")):
        raise Refused(Kind.UNSUPPORTED, f"this computer is {CPU_TYPE} or {GPU_TYPE}, not {kind}")
    if is_gpu(kind) and not has_gpu():
        raise Refused(Kind.UNSUPPORTED, "this computer shows no GPU")


def is_gpu(instance_type: str) -> bool:
    """Whether a desk of this type may use the GPU: `local.gpu`, or `ssh.gpu` at the other end of a line."""
    return instance_type.endswith(".gpu")


def has_gpu() -> bool:
    return bool(_gpu()[0])


def _offer(kind: InstanceType) -> Offer:
    gpus = f"has {kind.gpu_count:g} x {kind.gpu}, and " if kind.gpu else ""
    return kind.offer(
        region=REGION,
        zone=ZONE,
        usd_per_hour=0.0,
        price_time=None,
        source="this computer",
        why=f"this computer {gpus}costs nothing",
    )


def _types() -> list[InstanceType]:
    gpu, count, memory_gib = _gpu()
    # Architecture names as in the clouds' price lists.
    arch = {"amd64": "x86_64", "aarch64": "arm64"}.get(platform.machine().lower(), platform.machine().lower())
    cpu = InstanceType(
        provider="local",
        instance_type=CPU_TYPE,
        vcpus=float(_processors()),
        memory_gib=_memory_gib(),
        arch=arch,
    )
    if not gpu:
        return [cpu]
    with_gpu = msgspec.structs.replace(
        cpu, instance_type=GPU_TYPE, gpu=gpu, gpu_count=count, gpu_memory_gib=memory_gib
    )
    return [with_gpu, cpu]


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gib() -> float:
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)


def _gpu() -> tuple[str, int, float]:
    """Model, count and memory in GiB of the first model of GPU; an empty model without one."""
    if tool := shutil.which("nvidia-smi"):
        try:
            done = subprocess.run(
                [tool, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"],
                capture_output=True,
                text=True,
                timeout=10,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return "", 0, 0.0
        if done.returncode == 0:
            return read_nvidia(done.stdout)
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return "MPS", 1, _memory_gib()  # shared with the processor
    return "", 0, 0.0


def read_nvidia(text: str) -> tuple[str, int, float]:
    """Parse what `nvidia-smi --query-gpu=name,memory.total --format=csv,noheader,nounits` prints."""
    rows = [line.rpartition(",") for line in text.splitlines() if "," in line]
    if not rows:
        return "", 0, 0.0
    name, _, memory = rows[0]
    short = re.sub(r"\b(NVIDIA|GeForce|Tesla|Quadro)\b", "", name).strip()
    try:
        memory_gib = round(float(memory) / 1024, 1)
    except ValueError:  # "[N/A]" where memory is shared with the processor
        memory_gib = 0.0
    return short or name.strip(), sum(row[0] == name for row in rows), memory_gib
