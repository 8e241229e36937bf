"""The workloads: training of networks, matrix products, memory copies, and input (decoding, disk)."""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .machine import Sorry, cores, memory
from .networks import Training
from .timing import Cap, measure, nothing, report


def precisions(torch: Any, device: str, asked: str) -> list[str]:
    if asked != "auto":
        return asked.split(",")
    if device != "cuda":
        return ["fp32"]
    modern = torch.cuda.get_device_capability(0)[0] >= 8
    return ["bf16", "tf32"] if modern else ["fp16", "fp32"]


@contextlib.contextmanager
def arithmetic(torch: Any, precision: str) -> Iterator[None]:
    """TF32 on for tf32 and half precision's leftovers, off for strict fp32."""
    loose = precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = loose
    torch.backends.cudnn.benchmark = True
    yield


def train(torch: Any, name: str, device: str, precision: str, *, given: Any, seconds: float) -> Any:
    """Search the batch size that trains fastest, then time it."""
    cap, gpu, batch = Cap(seconds), device == "cuda", given.batch
    waits: dict[str, Callable[[], None]] = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}
    wait = waits.get(device, nothing)
    with arithmetic(torch, precision):
        training = Training(torch, name, device, precision)
        mark = time.monotonic()
        flops = training.flops_per_item()
        wait()
        first = time.monotonic() - mark

        def rate_of(size: int) -> float:
            try:
                return trial(training, size, wait, 10 if gpu else 2)
            except RuntimeError as error:
                if "memory" not in str(error).lower():
                    raise
                training.data, training.batch, training.loss = (None, None), 0, None
                if gpu:
                    torch.cuda.empty_cache()
                return 0.0

        def enough(size: int, rate: float) -> bool:
            longer = 15 * 2 * training.items(size) / rate  # so many steps of twice the size
            return full(torch, gpu) or cap.left() < seconds * 0.6 or longer > cap.left()

        start = batch or (32 if gpu else 8 if training.images else 2)
        if not batch and first * start * 8 > cap.left() > 0 and not gpu:  # so slow that one item must do
            start = batch = 1
        best, best_rate, curve = search(rate_of, start, (lambda size, rate: True) if batch else enough)
        if not best_rate:
            raise Sorry(
                f"{name} at {precision} does not fit into this device's memory, even one item at a time."
            )
        times = measure(lambda: training.step(best), wait, gpu, max(cap.left(), 1.0), given.soak)
    times["first_step_s"] = first
    unit = "images" if training.images else "tokens"
    done = report(times, training.items(best), unit, gpu, flops)
    if not math.isfinite(float(training.loss.detach())):
        done["conditions"]["valid"] = False
        done["conditions"]["reasons"].append("the loss is not finite")
    if gpu:
        done["result"]["peak_mem_gb"] = torch.cuda.max_memory_allocated() / 2**30
        torch.cuda.reset_peak_memory_stats()
    done["workload"] = {
        "name": name,
        "version": 1,
        "mode": training.mode,
        "batch": best,
        "seq_or_hw": 224 if training.images else training.length,
        "precision": precision,
        "memory_format": "channels_last" if training.images else "contiguous",
        "compile": False,
        "flops_per_item": flops,
        "batch_curve": curve,
    }
    return done


def search(
    rate_of: Callable[[int], float], size: int, enough: Callable[[int, float], bool]
) -> tuple[int, float, list[dict[str, float]]]:
    """Search the fastest batch size: double it while that gains 5 %, halve it until it fits (0: too big).

    Returns it with its rate, 0 if not even one item fits, and all sizes tried.
    """
    curve: list[dict[str, float]] = []
    best, best_rate = size, 0.0
    while size >= 1:
        rate = rate_of(size)
        curve.append({"batch": size, "items_per_s": rate})
        gain = rate / best_rate - 1 if best_rate else math.inf
        if rate > best_rate:
            best, best_rate = size, rate
        if not rate and not best_rate:
            size //= 2
        elif (
            not rate or gain < 0.05 or (len(curve) > 1 and not curve[-2]["items_per_s"]) or enough(size, rate)
        ):
            break
        else:
            size *= 2
    return best, best_rate, curve


def trial(training: Training, batch: int, wait: Callable[[], None], steps: int) -> float:
    """Approximate items per second at that batch size."""
    for _ in range(max(1, steps // 3)):
        training.step(batch)
    wait()
    mark = time.monotonic()
    for _ in range(steps):
        training.step(batch)
    wait()
    return training.items(batch) * steps / (time.monotonic() - mark)


def full(torch: Any, gpu: bool) -> bool:
    """Whether twice the batch would probably not fit."""
    if gpu:
        return bool(
            torch.cuda.max_memory_allocated() > 0.45 * torch.cuda.get_device_properties(0).total_memory
        )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20 > 0.4 * memory()[0]


def matmul(torch: Any, device: str, precision: str, seconds: float) -> Any:
    """Measure the arithmetic rate by a square matrix product."""
    gpu = device == "cuda"
    n = 8192 if gpu else 2048
    kind = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision, torch.float32)
    with arithmetic(torch, precision):
        a = torch.randn(n, n, device=device).to(kind)
        b = torch.randn(n, n, device=device).to(kind)
        out = torch.empty(n, n, device=device, dtype=kind)
        wait = torch.cuda.synchronize if gpu else lambda: None
        times = measure(lambda: torch.mm(a, b, out=out), wait, gpu, seconds, 0.0)
    done = report(times, 1, "products", gpu, 2.0 * n**3)
    done["workload"] = {
        "name": "matmul",
        "version": 1,
        "precision": precision,
        "size": n,
        "flops_per_item": 2.0 * n**3,
    }
    return done


def copy(torch: Any, device: str, seconds: float) -> Any:
    """Measure memory bandwidth by a copy within the device, counted as read and written."""
    gpu = device == "cuda"
    count = (2**30 if gpu else 2**28) // 4
    a, b = torch.ones(count, device=device), torch.empty(count, device=device)
    wait = torch.cuda.synchronize if gpu else lambda: None
    times = measure(lambda: b.copy_(a), wait, gpu, seconds, 0.0)
    done = report(times, 8 * count, "bytes", gpu, 0.0)
    done["result"]["gb_per_s"] = done["result"]["items_per_s"] / 1e9
    done["workload"] = {"name": "copy", "version": 1, "precision": "fp32", "bytes": 4 * count}
    return done


def inputs(seconds: float) -> Any:
    """Measure JPEG decoding and resizing on one core (with Pillow), and reading from disk."""
    folder = Path(tempfile.mkdtemp(prefix="hotdesk-bench-"))
    try:
        disk = disk_speed(folder / "block")
        try:
            image = importlib.import_module("PIL.Image")
        except ImportError:
            raise Sorry(
                "JPEG decoding was not measured: Pillow is not installed here.",
                f"The disk reads {disk:.0f} MB/s.",
                "python -m pip install pillow",
            ) from None
        path = folder / "cat.jpg"
        side = bytes((x * 7 + y * 13 + x * y // 9) % 256 for y in range(375) for x in range(500))
        noise = image.merge(
            "RGB", [image.frombytes("L", (500, 375), side[k:] + side[:k]) for k in (0, 999, 4999)]
        )
        noise.save(path, quality=80)

        def decode() -> None:
            with image.open(path) as picture:
                picture.convert("RGB").resize((224, 224))

        times = measure(decode, lambda: None, False, max(seconds - 5, 2.0), 0.0)
        done = report(times, 1, "images", False, 0.0)
        done["result"]["disk_read_mb_s"] = disk
        done["result"]["items_per_s_all_cores"] = done["result"]["items_per_s"] * cores()
        done["workload"] = {"name": "input", "version": 1, "precision": "", "size": [500, 375]}
        return done
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def disk_speed(path: Path, mib: int = 256) -> float:
    """MB/s of reading a file back, bypassing the cache if the system allows."""
    block = os.urandom(2**20)
    with path.open("wb") as file:
        for _ in range(mib):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    mark = time.monotonic()
    with path.open("rb", buffering=0) as file:
        while file.read(2**22):
            pass
    return mib * 2**20 / 1e6 / max(time.monotonic() - mark, 1e-9)
