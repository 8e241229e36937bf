"""Predict a job's speed on a GPU from measurements on others, with a confidence band.

A step's time is taken as  t = k · (a/T + b/BW + c):  arithmetic at the GPU's dense rate T for the precision
used, traffic at its memory bandwidth BW, and what no GPU makes faster. The shares (a, b, c) depend on the
kind of work, k on the job; both are learnt from the user's own measurements, however few: every split of
(a, b, c) on a grid is weighed by how well it explains them, starting from what the family usually shows.
What the formula misses is alike for GPUs of the same architecture, power and memory, so the misses seen on
measured GPUs are carried over to their kin (a Gaussian process on the logarithm of the rate), and the band
widens with the distance from anything measured.

Where another job of the same family ("a bench") was measured on both GPUs, its ratio takes the place of the
formula. A measurement of the very GPU beats both.

The constants in `_PRIORS` were fitted in 2026-11 to public tables of training speed (10 to 20 GPUs by 7 to 10
networks, 2016-2025); `python benchmarks/speed.py` repeats the fit's errors, leaving out one GPU at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import cache

from hotdesk.core.errors import NotAllowed, Usage
from hotdesk.core.model import Value
from hotdesk.core.sizing.gpu import Gpu, Precision


class Family(StrEnum):
    """Families of networks whose cost shares carry over between GPUs."""

    CNN = "cnn"
    TRANSFORMER = "transformer"
    OTHER = "other"


class Evidence(StrEnum):
    """What a rate is based on, best first."""

    MEASURED = "measured"
    RATIO = "same-family ratio"
    SPECIFICATION = "specification"


class Prediction(Value, frozen=True):
    """A rate with the band that holds it in 9 of 10 cases. The unit is that of the measurements."""

    gpu: str
    rate: float
    low: float
    high: float
    evidence: Evidence
    why: str


Measured = Sequence[tuple[Gpu, float]]

#: One machine differs from its twin by 0.5-2 % (39 H100 hosts of one kind), a run from its repetition by 2 %.
_MEASURED_BAND = 0.05


class _Prior(Value, frozen=True):
    shares: tuple[float, float, float]  # Dirichlet weights of (a, b, c)
    width: float  # how many standard deviations hold 9 of 10 cases, with many measurements
    width_few: float  # ... and how much more with one: width + width_few / measurements


_PRIORS = {
    Family.CNN: _Prior(shares=(1.5, 3.0, 0.8), width=2.3, width_few=0.6),
    Family.TRANSFORMER: _Prior(shares=(2.0, 4.0, 0.3), width=2.3, width_few=1.0),
    Family.OTHER: _Prior(shares=(1.5, 3.0, 0.8), width=2.4, width_few=1.0),
}
_SPREAD = 0.2  # of what the formula misses, as a logarithm, between GPUs that have nothing in common
_NOISE = 0.04  # of what is left between GPUs that are alike
_WATTS, _MEMORY, _ARCHITECTURE = 2.0, 1.7, 3.0  # distances at which kinship fades (natural logs; generations)
_FREEDOM = 3.0  # how readily the measurements change the spread: its prior counts as this many of them
_RATIO_SPREAD, _RATIO_NOISE = 0.18, 0.04

_GENERATIONS = ("Kepler", "Maxwell", "Pascal", "Volta", "Turing", "Ampere", "Ada", "Hopper", "Blackwell")
_GRID = 10
_SPLITS = [
    (i / _GRID, j / _GRID, (_GRID - i - j) / _GRID)
    for i in range(_GRID + 1)
    for j in range(_GRID + 1 - i)
    if i + j
]
#: The GPU at which the shares add up to one: about a card of 2020.
_REFERENCE = {Precision.FP32: 10.0, Precision.TF32: 80.0, Precision.FP16: 200.0, Precision.BF16: 200.0}
_REFERENCE_BANDWIDTH = 900.0


def predict(
    measured: Measured,
    to: Gpu,
    family: Family,
    precision: Precision,
    *,
    bench: Measured = (),
    memory_gib: float = 0.0,
    fallback: bool = False,
) -> Prediction:
    """The job's rate on `to`, from its rates on other GPUs.

    `bench` holds rates of another job of the same family; it is used when it was measured on `to` and on at
    least one GPU of `measured`. `memory_gib` is what the job needs on the GPU. With `fallback`, a GPU without
    the precision counts at its fp32 rate. Raises `NotAllowed` for what cannot run, `Usage` for an impossible
    rate.
    """
    return predictor(measured, family, precision, bench=bench, memory_gib=memory_gib, fallback=fallback)(to)


def predictor(
    measured: Measured,
    family: Family,
    precision: Precision,
    *,
    bench: Measured = (),
    memory_gib: float = 0.0,
    fallback: bool = False,
) -> Callable[[Gpu], Prediction]:
    """`predict` for many GPUs: what depends on the measurements alone is worked out once."""
    known = _merged(measured)
    if not known:
        raise Usage(
            "A prediction needs at least one measured rate.",
            "Without one only a ratio between GPUs is known, never a speed.",
            "hotdesk predict --from A100=1500 --to H100 --family cnn --precision fp16",
        )
    benched = {gpu.name: rate for gpu, rate in _merged(bench)}
    by_specification = _Field(known, family, precision)
    paired = [(gpu, rate / benched[gpu.name]) for gpu, rate in known if gpu.name in benched]
    by_ratio = _Field(paired, family, None) if paired else None

    @cache
    def of(to: Gpu) -> Prediction:
        check_memory(to, memory_gib)
        if not fallback:
            to.tflops(precision)
        for gpu, rate in known:
            if gpu.name == to.name:
                return _banded(to, math.log(rate), _MEASURED_BAND, Evidence.MEASURED, "measured on this GPU")
        if by_ratio and to.name in benched:
            mean, width = by_ratio.at(to)
            names = ", ".join(gpu.name for gpu, _ in paired)
            why = f"the bench's ratio between it and {names}, applied to the job"
            return _banded(to, mean + math.log(benched[to.name]), width, Evidence.RATIO, why)
        mean, width = by_specification.at(to)
        kin = sum(gpu.architecture == to.architecture for gpu, _ in known)
        why = f"from {len(known)} measured GPU{'s' * (len(known) > 1)}, " + (
            f"{kin} of them {to.architecture}" if kin else f"none of them {to.architecture}: a wide band"
        )
        return _banded(to, mean, width, Evidence.SPECIFICATION, why)

    return of


def check_memory(gpu: Gpu, memory_gib: float) -> None:
    """Raises `NotAllowed` when the job needs more memory than one such GPU has."""
    if memory_gib > gpu.memory_gib:
        raise NotAllowed(
            f"The job does not fit on {gpu.name}.",
            f"It needs {memory_gib:g} GiB on the GPU, which has {gpu.memory_gib:g}.",
            "a smaller batch, gradient checkpointing, or a GPU with more memory: hotdesk offers",
        )


#: Small convolutions in fp32 may be done with so many times fewer multiplications than they count (Winograd's
#: F(2x2, 3x3); Lavin and Gray 2015): VGG16 on a V100 really shows 1.3 times the printed rate.
WINOGRAD = 2.25


def utilisation(
    items_per_second: float,
    gflop_per_item: float,
    gpu: Gpu,
    precision: Precision,
    *,
    family: Family = Family.OTHER,
) -> float:
    """The share of the GPU's dense rate that this speed would use (MFU).

    Raises `NotAllowed` above 1 (`WINOGRAD` for fp32 convolutions): no arithmetic goes faster than the units
    that do it, so the rate, the count of operations or the GPU's name is wrong.
    """
    share = items_per_second * gflop_per_item / (gpu.tflops(precision) * 1000)
    if share > (WINOGRAD if family is Family.CNN and precision is Precision.FP32 else 1.0):
        raise NotAllowed(
            f"{items_per_second:g} items/s on {gpu.name} at {precision} is impossible.",
            f"At {gflop_per_item:g} GFLOP per item it would be {share:.2f} times the GPU's dense "
            f"{gpu.tflops(precision):g} TFLOP/s.",
            "check the rate, its precision and the GPU; synchronise with the GPU before reading the clock",
        )
    return share


def _merged(measured: Measured) -> list[tuple[Gpu, float]]:
    """One rate per GPU: the geometric mean of its measurements."""
    logs: dict[str, tuple[Gpu, list[float]]] = {}
    for gpu, rate in measured:
        if not (math.isfinite(rate) and rate > 0):
            raise Usage(
                f"A rate of {rate:g} on {gpu.name} is impossible.",
                "A rate is a positive number of items per second.",
                f'hotdesk predict --from "{gpu.name}=100" ...',
            )
        logs.setdefault(gpu.name, (gpu, []))[1].append(math.log(rate))
    return [(gpu, math.exp(math.fsum(values) / len(values))) for gpu, values in logs.values()]


def _banded(gpu: Gpu, log_rate: float, width: float, evidence: Evidence, why: str) -> Prediction:
    return Prediction(
        gpu=gpu.name,
        rate=math.exp(log_rate),
        low=math.exp(log_rate - width),
        high=math.exp(log_rate + width),
        evidence=evidence,
        why=why,
    )


class _Field:
    """Log rates over GPUs: the formula (or none, for ratios) plus what it misses, given the measured ones."""

    def __init__(self, known: list[tuple[Gpu, float]], family: Family, precision: Precision | None) -> None:
        self._gpus = [gpu for gpu, _ in known]
        self._precision = precision
        self._prior = _PRIORS[family]
        if precision is None:
            self._spread, self._noise = _RATIO_SPREAD, _RATIO_NOISE
        else:
            self._spread, self._noise = _SPREAD, _NOISE
        n = len(known)
        matrix = [
            [self._kinship(g, h) + (self._noise**2 if i == j else 0.0) for j, h in enumerate(self._gpus)]
            for i, g in enumerate(self._gpus)
        ]
        self._inverse = _inverse(matrix)
        self._sums = [math.fsum(row) for row in self._inverse]
        self._total = math.fsum(self._sums)
        self._degrees = _FREEDOM + n - 1
        logs = [math.log(rate) for _, rate in known]
        self._fits: list[tuple[float, float, list[float], tuple[float, float, float]]] = []
        weights = []
        for split in _SPLITS if precision is not None else [(0.0, 0.0, 1.0)]:
            heights = [log - self._formula(gpu, split) for log, gpu in zip(logs, self._gpus, strict=True)]
            level = math.fsum(s * h for s, h in zip(self._sums, heights, strict=True)) / self._total
            misses = [h - level for h in heights]
            pulled = _times(self._inverse, misses)
            misfit = math.fsum(p * m for p, m in zip(pulled, misses, strict=True))
            weights.append(self._log_prior(split) - self._degrees / 2 * math.log1p(misfit / _FREEDOM))
            self._fits.append((level, misfit, pulled, split))
        top = max(weights)
        shares = [math.exp(weight - top) for weight in weights]
        self._shares = [share / math.fsum(shares) for share in shares]

    def at(self, gpu: Gpu) -> tuple[float, float]:
        """The log rate there, and the half-width of its band."""
        links = [self._kinship(gpu, other) for other in self._gpus]
        solved = _times(self._inverse, links)
        own = self._spread**2 + self._noise**2
        doubt = own - math.fsum(a * b for a, b in zip(links, solved, strict=True))
        doubt += (1 - math.fsum(a * b for a, b in zip(links, self._sums, strict=True))) ** 2 / self._total
        means, variances = [], []
        for level, misfit, pulled, split in self._fits:
            carried = math.fsum(a * b for a, b in zip(links, pulled, strict=True))
            means.append(level + carried + self._formula(gpu, split))
            variances.append(doubt * (_FREEDOM + misfit) / self._degrees)
        mean = math.fsum(w * m for w, m in zip(self._shares, means, strict=True))
        variance = math.fsum(
            w * (v + (m - mean) ** 2) for w, m, v in zip(self._shares, means, variances, strict=True)
        )
        width = self._prior.width + self._prior.width_few / len(self._gpus)
        return mean, width * math.sqrt(variance)

    def _formula(self, gpu: Gpu, split: tuple[float, float, float]) -> float:
        """log(1 / (a/T + b/BW + c)), relative to the reference card; flat for ratios."""
        if self._precision is None:
            return 0.0
        arithmetic, traffic, rest = split
        tflops = gpu.tflops(self._precision) if gpu.runs(self._precision) else gpu.fp32
        return -math.log(
            arithmetic * _REFERENCE[self._precision] / tflops
            + traffic * _REFERENCE_BANDWIDTH / gpu.gb_per_second
            + rest
        )

    def _log_prior(self, split: tuple[float, float, float]) -> float:
        if self._precision is None:
            return 0.0
        return math.fsum(
            (w - 1) * math.log(max(s, 0.02)) for w, s in zip(self._prior.shares, split, strict=True)
        )

    def _kinship(self, one: Gpu, other: Gpu) -> float:
        """How much of the formula's miss two GPUs share."""
        apart = (math.log(one.watts / other.watts) / _WATTS) ** 2
        apart += (math.log(one.memory_gib / other.memory_gib) / _MEMORY) ** 2
        apart += _generations(one.architecture, other.architecture) / _ARCHITECTURE
        return self._spread**2 * math.exp(-apart / 2)


def _generations(one: str, other: str) -> float:
    """How many generations apart; makers other than NVIDIA count as far from it."""
    if one == other:
        return 0.0
    if one in _GENERATIONS and other in _GENERATIONS:
        return abs(_GENERATIONS.index(one) - _GENERATIONS.index(other))
    return 2.0 if one not in _GENERATIONS and other not in _GENERATIONS else 6.0


def _times(matrix: list[list[float]], vector: list[float]) -> list[float]:
    return [math.fsum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def _inverse(matrix: list[list[float]]) -> list[list[float]]:
    """The inverse of a small symmetric positive matrix (Gauss-Jordan; positive definite, so no pivots)."""
    n = len(matrix)
    rows = [[*row, *(1.0 if i == j else 0.0 for j in range(n))] for i, row in enumerate(matrix)]
    for i in range(n):
        scale = rows[i][i]
        rows[i] = [value / scale for value in rows[i]]
        for j in range(n):
            if j != i and (factor := rows[j][i]):
                rows[j] = [a - factor * b for a, b in zip(rows[j], rows[i], strict=True)]
    return [row[n:] for row in rows]
