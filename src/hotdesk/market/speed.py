"""A rough guide to how fast a machine trains, for sorting offers. For a job's own figures: `hotdesk plan`.

Per GPU the square root of dense fp16 TFLOPS times memory bandwidth (data sheets), relative to one T4. Over
published training benchmarks such a ratio is off by 6 to 22 % in the median, by 61 % at worst (p90).
"""

from __future__ import annotations

import math
from functools import cache

from hotdesk.core.errors import Unknown
from hotdesk.market import gpus
from hotdesk.market.shipped import Machine


def relative(machine: Machine) -> float:
    """How much work a machine does in the time one T4 does 1; 0.0 where it has no GPU or nobody knows."""
    if not machine.gpu:
        return 0.0
    return _worth(machine.gpu, machine.gpu_memory_gib) / _worth("T4", 16.0) * machine.gpu_count


@cache
def _worth(name: str, memory_gib: float) -> float:
    try:
        gpu = gpus.find(name, memory_gib)
    except Unknown:
        return 0.0
    return math.sqrt(max(gpu.fp16, gpu.tf32, gpu.fp32) * gpu.gb_per_second)
