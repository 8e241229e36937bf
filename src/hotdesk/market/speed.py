"""A rough guide to how fast a machine trains, for sorting offers. For figures with bands: `hotdesk bench`.

Per GPU the square root of dense fp16 TFLOPS times memory bandwidth (data sheets), relative to one T4. Over
published training benchmarks such a ratio is off by 6 to 22 % in the median, by 61 % at worst (p90).
"""

from __future__ import annotations

import math

from hotdesk.market.table import Machine, shipped


def relative(machine: Machine) -> float:
    """How much work a machine does in the time one T4 does 1; 0.0 where it has no GPU or nobody knows."""
    known = shipped().speed
    sized = known.get(f"{machine.gpu}-{machine.gpu_memory_gib:.0f}GB")
    spec, base = sized or known.get(machine.gpu), known["T4"]
    if not isinstance(spec, tuple) or not isinstance(base, tuple):
        return 0.0
    return math.sqrt(spec[0] * spec[1] / (base[0] * base[1])) * machine.gpu_count
