"""How fast this machine trains, with bands: one file that needs Python 3.10 and, for the networks, torch.

    python bench.py --workload all --json --seconds-max 300
    python bench.py --cmd "python train.py" --step-regex "step (\\d+)" --items-per-step 64

It runs on a desk, where hotdesk itself is not installed, so it imports nothing of it. Networks have random
weights and synthetic data that already lie on the device; nothing is downloaded. Seconds are capped, and
dollars too where the price is given. Every rate comes with the 95 % interval of its median; a run beside
which other programs kept the processor busy, or that slowed down while it ran, says so and is not valid.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import json
import math
import os
import platform
import re
import resource
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

SCHEMA_VERSION = 1
WORKLOADS = ("copy", "matmul", "input", "vgg16-head", "resnet50", "gpt2")  # the quick ones first
HALF_WIDTH, DRIFT, FOREIGN = 0.03, 0.05, 0.05  # stop when that sure; throttled; contended


class Sorry(Exception):
    """What a person has to know: what happened, why, how to mend it."""


# --- what machine this is --------------------------------------------------------------------------


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
    """The machine and its software, as the results carry them."""
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
    """GiB of main memory that this process may use, and of it free."""
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
    """One field of nvidia-smi for the first GPU; "" where there is none."""
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
    """Seconds since boot over all processors that the system shows: busy, stolen and in all; and our own."""

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
    """What others took of the processors meanwhile, and whether we wanted what they took.

    Others do no harm while there is room for both: on a host of 128 processors of which we use 8, say. Of two
    threads on one core, each is slowed by the other, so room ends where the cores do.
    """
    total = max(after.total - before.total, 1e-9)
    own = min((after.own - before.own) / total, 1.0)
    foreign = max(0.0, (after.busy - before.busy) / total - own)
    tight = foreign + own > 0.95 / siblings()
    return {
        "foreign": foreign,
        "steal": (after.stolen - before.stolen) / total,
        "contended": foreign > FOREIGN and tight,
    }


# --- the networks ----------------------------------------------------------------------------------


def vgg16(torch: Any) -> tuple[Any, Any]:
    """VGG16 as (frozen body up to 4096 features, trained head): the fine-tuning of cats and dogs."""
    nn = torch.nn
    layers: list[Any] = []
    channels = 3
    for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        if width:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        else:
            layers.append(nn.MaxPool2d(2))
    dense = [nn.Linear(512 * 49, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), *dense), nn.Linear(4096, 2)


def resnet50(torch: Any) -> Any:
    """ResNet-50 (the variant that strides in its 3x3 convolutions), 1000 classes."""
    nn = torch.nn

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, enter: int, width: int, stride: int) -> None:
            super().__init__()

            def unit(i: int, o: int, size: int, step: int = 1) -> Any:
                return nn.Sequential(
                    nn.Conv2d(i, o, size, step, size // 2, bias=False),
                    nn.BatchNorm2d(o),
                    nn.ReLU(inplace=True),
                )

            self.main = nn.Sequential(
                unit(enter, width, 1), unit(width, width, 3, stride), unit(width, 4 * width, 1)[:2]
            )
            self.skip = nn.Identity() if enter == 4 * width else unit(enter, 4 * width, 1, stride)[:2]

        def forward(self, x: Any) -> Any:
            return torch.relu_(self.main(x) + self.skip(x))

    layers: list[Any] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    layers.append(nn.MaxPool2d(3, 2, 1))
    enter = 64
    for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for n in range(count):
            layers.append(Block(enter, width, stride if n == 0 else 1))
            enter = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


def gpt2(torch: Any, length: int) -> Any:
    """The shape of GPT-2 small: 12 layers of 768, 12 heads, 50257 tokens, tied embedding."""
    nn = torch.nn
    width, heads, vocabulary = 768, 12, 50257

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
            self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

        def forward(self, x: Any) -> Any:
            batch, tokens, _ = x.shape
            three = self.mix(self.before(x)).view(batch, tokens, 3, heads, width // heads)
            query, key, value = three.permute(2, 0, 3, 1, 4)
            seen = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            x = x + self.out(seen.transpose(1, 2).reshape(batch, tokens, width))
            return x + self.dense(self.between(x))

    class Model(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
            self.blocks = nn.Sequential(*[Block() for _ in range(12)])
            self.last = nn.LayerNorm(width)

        def forward(self, tokens: Any) -> Any:
            places = torch.arange(tokens.shape[1], device=tokens.device)
            x = self.last(self.blocks(self.words(tokens) + self.places(places)))
            return nn.functional.linear(x, self.words.weight)

    return Model()


class Training:
    """One network being trained on synthetic data at one precision: `step(batch)` is one optimiser step."""

    def __init__(self, torch: Any, name: str, device: str, precision: str) -> None:
        self.torch, self.name, self.device, self.precision = torch, name, device, precision
        torch.manual_seed(0)
        self.length = 1024 if device == "cuda" else 256
        self.body = None
        if name == "vgg16-head":
            self.body, self.net = vgg16(torch)
            self.body = self.body.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
            self.classes, self.mode = 2, "last dense layer trained, body frozen"
        elif name == "resnet50":
            self.net, self.classes, self.mode = resnet50(torch), 1000, "full training"
        else:
            self.net, self.classes, self.mode = gpt2(torch, self.length), 50257, "full training"
        self.images = name != "gpt2"
        self.net = self.net.to(device)
        if name == "resnet50":
            self.net = self.net.to(memory_format=torch.channels_last)
        make = torch.optim.SGD if self.images else torch.optim.AdamW
        self.optimiser = make(self.net.parameters(), lr=1e-3)
        self.half = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision)
        self.scaler = torch.amp.GradScaler(device, enabled=precision == "fp16")
        self.batch, self.data = 0, (None, None)
        self.loss: Any = None

    def items(self, batch: int) -> int:
        return batch if self.images else batch * self.length

    def step(self, batch: int) -> None:
        torch = self.torch
        if batch != self.batch:
            self.data = (None, None)
            shape = (batch, 3, 224, 224) if self.images else (batch, self.length)
            if self.images:
                x = torch.randn(shape, device=self.device).contiguous(memory_format=torch.channels_last)
                y = torch.randint(self.classes, (batch,), device=self.device)
            else:
                x = torch.randint(self.classes, shape, device=self.device)
                y = torch.randint(self.classes, (batch * self.length,), device=self.device)
            self.data, self.batch = (x, y), batch
        x, y = self.data
        with torch.autocast(self.device, dtype=self.half, enabled=self.half is not None):
            if self.body is not None:
                with torch.no_grad():
                    x = self.body(x)
            self.loss = torch.nn.functional.cross_entropy(self.net(x).reshape(-1, self.classes), y)
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(self.loss).backward()
        self.scaler.step(self.optimiser)
        self.scaler.update()

    def flops_per_item(self) -> float:
        """Multiplications and additions of a step over its items, counted by torch (one small step)."""
        counter = importlib.import_module("torch.utils.flop_counter").FlopCounterMode(display=False)
        with counter:
            self.step(1)
        return float(counter.get_total_flops()) / self.items(1)


# --- timing ----------------------------------------------------------------------------------------


class Cap:
    """Seconds that are left of all that were allowed."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        return self.end - time.monotonic()


def interval(times: list[float]) -> tuple[float, float]:
    """The 95 % confidence interval of the median, by order statistics (no assumption about the shape)."""
    ranked, n = sorted(times), len(times)
    reach = 1.96 * math.sqrt(n) / 2
    return ranked[max(0, math.floor((n - 1) / 2 - reach))], ranked[min(n - 1, math.ceil((n - 1) / 2 + reach))]


def measure(
    once: Callable[[], None], wait: Callable[[], None], gpu: bool, seconds: float, soak: float
) -> dict[str, Any]:
    """Time `once` until its median is known to 3 %, or the seconds are over.

    On a GPU steps run in blocks and are waited for at a block's end only; on a CPU each step is a block.
    """
    began = time.monotonic()
    once()
    wait()
    first = time.monotonic() - began
    warm = 1
    while (warm < 10 or time.monotonic() - began < 3) if gpu else warm < 2:
        once()
        warm += 1
        if gpu and warm % 5 == 0:
            wait()
        if time.monotonic() - began > seconds / 3:
            break
    wait()
    mark = time.monotonic()
    once()
    wait()
    inner = max(1, min(200, round(0.4 / max(time.monotonic() - mark, 1e-6)))) if gpu else 1
    least_blocks, least_seconds = (20, max(8.0, soak)) if gpu else (10, soak)
    times: list[float] = []
    heat: list[tuple[float | None, float | None]] = []
    start, before = time.monotonic(), processor()
    sampled = start
    while True:
        mark = time.monotonic()
        for _ in range(inner):
            once()
        wait()
        now = time.monotonic()
        times.append((now - mark) / inner)
        if gpu and now - sampled > 3:
            heat.append((number(smi("power.draw")), number(smi("temperature.gpu"))))
            sampled = time.monotonic()
        spent = time.monotonic() - start
        low, high = interval(times)
        sure = (high - low) / 2 < HALF_WIDTH * statistics.median(times)
        if len(times) >= least_blocks and spent >= least_seconds and sure:
            break
        left = seconds - (now - began)
        if left < now - mark and (len(times) >= 3 or left < -seconds / 2):
            break
    after = processor()
    own = after.own - before.own
    third = max(1, len(times) // 3)
    drift = statistics.median(times[-third:]) / statistics.median(times[:third]) - 1
    ranked = sorted(times)
    return {
        "median_step_s": statistics.median(times),
        "ci95_step_s": interval(times),
        "p10_step_s": ranked[len(ranked) // 10],
        "p90_step_s": ranked[min(len(ranked) - 1, len(ranked) * 9 // 10)],
        "first_step_s": first,
        "warmup_steps": warm + 1,
        "steps": len(times) * inner,
        "blocks": len(times),
        "cpu_s_per_step": own / (len(times) * inner),
        "drift": drift,
        **shared(before, after),
        "sure": sure and len(times) >= least_blocks,
        "power_w_mean": mean([w for w, _ in heat if w is not None]),
        "temp_c_max": max([t for _, t in heat if t is not None], default=None),
    }


def nothing() -> None:
    """What a processor is waited for: it is done when it says so."""


def mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def report(times: dict[str, Any], items: int, unit: str, gpu: bool, flops: float) -> dict[str, Any]:
    """Rates out of step times, and whether they may be used."""
    low, high = times["ci95_step_s"]
    rate = items / times["median_step_s"]
    reasons = []
    drift = times["drift"]
    if times["contended"]:
        reasons.append(f"contended: other programs kept {times['foreign']:.0%} of the processors busy")
    if drift > DRIFT and times["blocks"] >= 9:
        reasons.append(f"throttled: the last third was {drift:.0%} slower than the first")
    if not times["sure"]:
        reasons.append(
            f"unsure: the seconds were over after {times['blocks']} timings, too few to be sure to 3 %"
        )
    result = {
        "items_per_s": rate,
        "unit": unit,
        "ci95_low": items / high,
        "ci95_high": items / low,
        **{k: times[k] for k in ("median_step_s", "p10_step_s", "p90_step_s", "first_step_s")},
        **{k: times[k] for k in ("warmup_steps", "steps", "power_w_mean", "temp_c_max")},
        "cpu_s_per_item": times["cpu_s_per_step"] / items,
        "drift_pct": 100 * drift,
        "rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        / (2**30 if sys.platform == "darwin" else 2**20),
        "achieved_tflops": rate * flops / 1e12 if flops else None,
    }
    if not gpu:  # what it would be alone: the seconds of processor time, on all cores
        result["items_per_s_if_alone"] = items * cores() / max(times["cpu_s_per_step"], 1e-9)
    return {
        "result": result,
        "conditions": {
            "foreign_cpu_share": times["foreign"],
            "steal_share": times["steal"],
            "contended": times["contended"],
            "throttled": drift > DRIFT and times["blocks"] >= 9,
            "valid": not reasons,
            "reasons": reasons,
        },
    }


# --- workloads -------------------------------------------------------------------------------------


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
    """The fastest batch size: doubled while that gains 5 %, halved until it fits (a rate of 0: too big).

    Its rate, 0 when not even one item fits, and every size tried.
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
    """Items per second at that batch size, roughly."""
    for _ in range(max(1, steps // 3)):
        training.step(batch)
    wait()
    mark = time.monotonic()
    for _ in range(steps):
        training.step(batch)
    wait()
    return training.items(batch) * steps / (time.monotonic() - mark)


def full(torch: Any, gpu: bool) -> bool:
    """Whether twice the batch would hardly fit."""
    if gpu:
        return bool(
            torch.cuda.max_memory_allocated() > 0.45 * torch.cuda.get_device_properties(0).total_memory
        )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20 > 0.4 * memory()[0]


def matmul(torch: Any, device: str, precision: str, seconds: float) -> Any:
    """A square matrix product: the arithmetic that this machine really reaches."""
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
    """A copy within the device's memory, counted as read and written: its bandwidth."""
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
    """JPEG decoding and resizing on one core (with Pillow), and reading from disk."""
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
    """MB/s of reading a file back, past the cache where the system allows."""
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


# --- the user's own job ----------------------------------------------------------------------------


def own_job(command: str, pattern: str, items: float, seconds: float, steps_wanted: int) -> Any:
    """Run a command and time its steps by the lines it prints; it is ended when enough is known.

    A number in the pattern's first group is the step's number, so that one line may stand for many steps.
    """
    try:
        regex = re.compile(pattern)
        words = shlex.split(command)
    except (re.error, ValueError) as error:
        raise Sorry(f"The command or the step pattern cannot be read: {error}.", "", "") from None
    environment = dict(os.environ, PYTHONUNBUFFERED="1")
    try:
        child = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    except OSError as error:
        raise Sorry(
            f"{words[0] if words else command!r} cannot be started: {error.strerror}.", "", ""
        ) from None
    seen: list[tuple[float, float]] = []
    lines: list[str] = []
    began, before = time.monotonic(), processor()
    try:
        for stamp, line in printed(child, began + seconds):
            lines = [*lines[-4:], line]
            if found := regex.search(line):
                count = number(found[1]) if regex.groups and found[1] else None
                seen.append((stamp, float(len(seen)) if count is None else count))
            if len(seen) > steps_wanted and settled(seen):
                break
    finally:
        end(child)
    after = processor()
    if len(seen) < 4:
        last = " | ".join(lines)[-300:] or "nothing"
        raise Sorry(
            f"The command printed {len(seen)} lines with the step pattern {pattern!r}; 4 are needed.",
            f"It ran {time.monotonic() - began:.0f} s and ended with {child.returncode}. It said: {last}",
            'hotdesk bench --cmd "python train.py" --step-regex "step (\\d+)" --seconds-max 120',
        )
    gaps = per_step(seen)
    own = after.own - before.own
    low, high = interval(gaps)
    third = max(1, len(gaps) // 3)
    times = {
        "median_step_s": statistics.median(gaps),
        "ci95_step_s": (low, high),
        "p10_step_s": sorted(gaps)[len(gaps) // 10],
        "p90_step_s": sorted(gaps)[len(gaps) * 9 // 10],
        "first_step_s": seen[0][0] - began,
        "warmup_steps": len(seen) - 1 - len(gaps),
        "steps": seen[-1][1] - seen[0][1],
        "blocks": len(gaps),
        "cpu_s_per_step": own / max(seen[-1][1] - seen[0][1], 1),
        "drift": statistics.median(gaps[-third:]) / statistics.median(gaps[:third]) - 1,
        **shared(before, after),
        "sure": (high - low) / 2 < HALF_WIDTH * statistics.median(gaps),
        "power_w_mean": None,
        "temp_c_max": None,
    }
    done = report(times, 1, "steps", True, 0.0)
    done["result"] = {
        key: value * items if key in ("items_per_s", "ci95_low", "ci95_high") else value
        for key, value in done["result"].items()
    }
    done["result"]["unit"] = "items" if items != 1 else "steps"
    done["result"]["cpu_s_per_item"] /= items
    done["workload"] = {
        "name": "command",
        "version": 1,
        "precision": "",
        "command": command,
        "step_regex": pattern,
    }
    return done


def per_step(seen: list[tuple[float, float]]) -> list[float]:
    """Seconds per step between sightings, the first sixth left out as warming up."""
    gaps = [(b[0] - a[0]) / (b[1] - a[1]) for a, b in pairwise(seen) if b[1] > a[1]]
    return gaps[max(1, len(gaps) // 6) :] or gaps


def settled(seen: list[tuple[float, float]]) -> bool:
    gaps = per_step(seen)
    low, high = interval(gaps)
    return (high - low) / 2 < HALF_WIDTH * statistics.median(gaps)


def printed(child: Any, until: float) -> Iterator[tuple[float, str]]:
    """The child's lines as they come (progress bars end theirs with a carriage return), with their times."""
    selectors = importlib.import_module("selectors")
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while time.monotonic() < until:
            if not selector.select(timeout=min(0.5, max(0.0, until - time.monotonic()))):
                continue
            chunk = os.read(child.stdout.fileno(), 65536)
            if not chunk:
                break
            now = time.monotonic()
            *whole, rest = re.split(rb"[\r\n]+", rest + chunk)
            for line in whole:
                yield now, line.decode(errors="replace")
    if rest:
        yield time.monotonic(), rest.decode(errors="replace")


def end(child: Any) -> None:
    """Ask the child and all that it started to stop; after 10 seconds they are killed."""
    for sign, patience in ((signal.SIGINT, 5), (signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=patience)
            break
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.stdout.close()


# --- the command -----------------------------------------------------------------------------------


def load_torch() -> tuple[Any, float]:
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # waiting threads must not burn a shared processor
    mark = time.monotonic()
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        raise Sorry(
            "torch is not installed here.", "The networks are built with it.", "python -m pip install torch"
        ) from None
    torch.set_num_threads(cores())
    return torch, time.monotonic() - mark


def device_of(torch: Any, asked: str) -> str:
    if asked != "auto":
        return asked
    if torch.cuda.is_available():
        return "cuda"
    if Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi"):
        raise Sorry(
            "There is an NVIDIA GPU here and torch cannot use it.",
            f"torch {torch.__version__} was built for CUDA {torch.version.cuda}; the driver is "
            f"{smi('driver_version') or 'missing'}.",
            "nvidia-smi   # then install the driver, or: hotdesk bench --device cpu",
        )
    return "mps" if hasattr(torch.backends, "mps") and torch.backends.mps.is_available() else "cpu"


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    ask.add_argument("--workload", default="all", help="all, or some of " + ",".join(WORKLOADS))
    ask.add_argument("--precision", default="auto", help="fp32, tf32, bf16, fp16; several with commas")
    ask.add_argument("--device", default="auto", choices=["auto", "cuda", "mps", "cpu"])
    ask.add_argument("--batch", type=int, default=0)
    ask.add_argument("--seconds-max", type=float, default=300.0)
    ask.add_argument("--usd-max", type=float, default=0.0)
    ask.add_argument("--usd-per-hour", type=float, default=0.0)
    ask.add_argument("--soak", type=float, default=0.0, help="seconds that each network runs at least")
    ask.add_argument("--cmd", default="")
    ask.add_argument("--step-regex", default=r"step\D*(\d+)")
    ask.add_argument("--items-per-step", type=float, default=1.0)
    ask.add_argument("--steps", type=int, default=20)
    ask.add_argument(
        "--about", default="{}", help="JSON about the machine: provider, instance_type, market, ..."
    )
    ask.add_argument("--json", action="store_true")
    given = ask.parse_args()
    seconds = given.seconds_max
    if given.usd_max and given.usd_per_hour:
        seconds = min(seconds, given.usd_max / given.usd_per_hour * 3600)
    results: list[Any] = []
    problems: list[Any] = []
    try:
        if given.cmd:
            here = {"about": probe(None, "command"), "startup": {}}
            results, problems = run_all(
                given, here, [("command", "", "")], None, device="command", seconds=seconds
            )
        else:
            names = WORKLOADS if given.workload == "all" else tuple(given.workload.split(","))
            if unknown := [name for name in names if name not in WORKLOADS]:
                raise Sorry(f"There is no workload {unknown[0]!r}.", "", "one of " + ", ".join(WORKLOADS))
            torch, imported = load_torch()
            mark = time.monotonic()
            device = device_of(torch, given.device)
            if device == "cuda":
                torch.zeros(1, device="cuda")
            startup = {"first_import_torch_s": imported, "first_cuda_s": time.monotonic() - mark}
            here = {"about": probe(torch, device), "startup": startup}
            todo = [
                (name, precision, device)
                for name in names
                for precision in (
                    [""]
                    if name in ("copy", "input")
                    else [
                        *precisions(torch, device, given.precision),
                        *(["fp32"] if device == "cuda" else []),
                    ]
                    if name == "matmul" and given.precision == "auto"
                    else precisions(torch, device, given.precision)
                )
            ]
            results, problems = run_all(given, here, todo, torch, device=device, seconds=seconds)
    except Sorry as error:
        problems.append(error.args)
    document = {
        "results": results,
        "problems": [dict(zip(("what", "why", "fix"), (*p, "", "")[:3], strict=True)) for p in problems],
    }
    if given.json:
        print(json.dumps(document, indent=1))
    else:
        for one in results:
            result, workload = one["result"], one["workload"]
            rate = f"{result['items_per_s']:12.5g} {result['unit']}/s"
            band = f"({result['ci95_low']:.5g} to {result['ci95_high']:.5g})"
            print(
                f"{workload['name']:11} {workload['precision']:5} {rate} {band}",
                *one["conditions"]["reasons"],
            )
    for problem in problems if not given.json else []:
        print("\n".join(part for part in problem if part), file=sys.stderr)
    return 0 if results else 1


def run_all(
    given: Any, here: Any, todo: list[tuple[str, str, str]], torch: Any, *, device: str, seconds: float
) -> tuple[list[Any], list[Any]]:
    """Each workload gets an equal share of the seconds that are left."""
    cap, results, problems = Cap(seconds), [], []
    idle = number(smi("utilization.gpu")) if device == "cuda" else None
    for place, (name, precision, where) in enumerate(todo):
        share = cap.left() / (len(todo) - place)
        if share < 1:
            problems.append(
                (f"{name} {precision} was not measured: the seconds were over.", "", "--seconds-max 600")
            )
            continue
        print(f"{name} {precision} (at most {share:.0f} s)", file=sys.stderr, flush=True)
        started, mark = time.time(), time.monotonic()
        try:
            if name == "command":
                done = own_job(given.cmd, given.step_regex, given.items_per_step, share, given.steps)
            elif name == "matmul":
                done = matmul(torch, where, precision, share)
            elif name == "copy":
                done = copy(torch, where, share)
            elif name == "input":
                done = inputs(share)
            else:
                done = train(torch, name, where, precision, given=given, seconds=share)
        except Sorry as error:
            problems.append(error.args)
            continue
        took = time.monotonic() - mark
        done["conditions"]["gpu_util_before"] = idle
        if idle is not None and idle > 10:
            done["conditions"]["valid"] = False
            done["conditions"]["reasons"].append(f"contended: the GPU was {idle:.0f} % busy before")
        results.append(
            {
                "schema_version": SCHEMA_VERSION,
                "started_at": started,
                "duration_s": took,
                "cost_usd_est": took / 3600 * given.usd_per_hour,
                "machine": {**here["about"]["machine"], **json.loads(given.about)},
                "software": here["about"]["software"],
                "startup": here["startup"],
                **done,
            }
        )
        if device == "cuda":
            torch.cuda.empty_cache()
    return results, problems


if __name__ == "__main__":
    sys.exit(main())
