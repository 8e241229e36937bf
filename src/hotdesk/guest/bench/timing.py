"""Time steps until their median is known, and report the rate, its interval and its validity."""

from __future__ import annotations

import math
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from .machine import cores, number, processor, shared, smi

HALF_WIDTH, DRIFT = 0.03, 0.05  # relative interval at which to stop; slowdown that counts as throttling


class Cap:
    """The time budget, in seconds."""

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
    """Time `once` until its median is known to 3 %, or the time is over.

    On a GPU, steps run in blocks and are synchronized only at a block's end; on a CPU each step is a block.
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
    inner = 1
    if gpu:
        mark = time.monotonic()
        once()
        wait()
        inner = max(1, min(200, round(0.4 / max(time.monotonic() - mark, 1e-6))))
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
        "warmup_steps": warm + gpu,
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
    """The synchronization on a CPU: none is needed."""


def mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def report(times: dict[str, Any], items: int, unit: str, gpu: bool, flops: float) -> dict[str, Any]:
    """Rates from step times, and whether they are valid."""
    low, high = times["ci95_step_s"]
    rate = items / times["median_step_s"]
    reasons = []
    drift = times["drift"]
    if times["contended"]:
        host = f" and the host took {times['steal']:.0%}" if times["steal"] > 0.01 else ""
        reasons.append(f"contended: other programs kept {times['foreign']:.0%} of the processors busy{host}")
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
