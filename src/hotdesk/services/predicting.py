"""How fast a job runs on a GPU where it never ran, from where it did."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

from hotdesk.core.errors import Unknown, Usage
from hotdesk.core.model import Value
from hotdesk.core.sizing.gpu import Gpu, Precision
from hotdesk.core.sizing.speed import Family, Prediction, predictor, utilisation


class PredictRequest(Value, frozen=True):
    """A job whose speed is known on some GPUs, and the GPUs that it is asked for."""

    measured: tuple[str, ...] = ()  # "A100=1400": a GPU, and items a second there
    targets: tuple[str, ...] = ()
    family: str | None = None  # cnn | transformer | other
    precision: str = "fp16"
    workload: str = ""  # also the rates measured of this one
    bench: tuple[str, ...] = ()  # rates of another job of the family
    memory_gib: float = 0.0  # needed on the GPU
    gflop_per_item: float = 0.0  # 0: not known; else the impossible is refused
    fallback: bool = False  # a GPU without the precision counts at its fp32 rate


class Predicted(Value, frozen=True):
    """Speeds that were asked for, in the order of the targets."""

    predictions: tuple[Prediction, ...]
    utilisations: tuple[float | None, ...]  # shares of each GPU's peak; None: the operations are not known
    known: tuple[tuple[str, float], ...]  # the measured rates behind them, by GPU
    notes: tuple[str, ...]  # what was assumed


def predict(request: PredictRequest) -> Predicted:
    """How fast a job runs on GPUs where it never ran, from where it did, each with the band of 9 of 10.

    Raises `Usage` for what is missing or impossible, `Unknown` for a GPU without facts, `NotAllowed` for one
    that cannot run it.
    """
    from hotdesk.market import gpus

    _complete(request.family, request.targets, request.measured or request.workload)
    assert request.family is not None
    family, precision = Family(request.family), Precision(request.precision)
    gflop = request.gflop_per_item
    for name, value in (("--memory-gib", request.memory_gib), ("--gflop-per-item", gflop)):
        if not (math.isfinite(value) and value >= 0):
            raise Usage(f"{name} {value:g} is impossible.", "A size is zero or more.", f"{name} 12")
    notes: list[str] = []
    known = rates(request.measured, notes)
    if request.workload:
        from hotdesk.market import benchmarks as kept

        for name, rate in kept.rates(request.workload, precision.value).items():
            with contextlib.suppress(Unknown):  # a CPU: no ratio leads from it to a GPU
                known.append((gpus.find(name), rate))
    speeds = predictor(
        known,
        family,
        precision,
        bench=rates(request.bench, notes),
        memory_gib=request.memory_gib,
        fallback=request.fallback,
    )
    if gflop:
        for gpu, rate in known:
            if gpu.runs(precision):
                utilisation(rate, gflop, gpu, precision, family=family)
    found: list[Prediction] = []
    shares: list[float | None] = []
    for target in request.targets:
        to = gpus.find(target)
        notes += filter(None, [gpus.note(target, to), to.note and f"{to.name}: {to.note}"])
        got = speeds(to)
        found.append(got)
        told = gflop and to.runs(precision)
        shares.append(utilisation(got.rate, gflop, to, precision, family=family) if told else None)
    return Predicted(
        predictions=tuple(found),
        utilisations=tuple(shares),
        known=tuple((gpu.name, rate) for gpu, rate in known),
        notes=tuple(dict.fromkeys(notes)),
    )


def _complete(family: str | None, targets: Sequence[str], known: object) -> None:
    """Raises `Usage` that names all that is missing at once, with a command to paste."""
    needs = {
        "--from GPU=RATE (a rate that was measured)": known,
        "--to GPU (the one asked about)": targets,
        f"--family ({', '.join(f.value for f in Family)})": family,
    }
    if missing := [need for need, there in needs.items() if not there]:
        raise Usage(
            f"{'Nothing' if len(missing) == len(needs) else 'Not enough'} is said of the job to predict.",
            f"Still needed: {'; '.join(missing)}.",
            "hotdesk predict --from V100=833 --to A100 --family cnn",
        )


def rates(given: Sequence[str], notes: list[str]) -> list[tuple[Gpu, float]]:
    """Measured rates of GPUs. What was assumed about a name is added to `notes`.

    Raises `Usage` for what is no rate, `Unknown` for a GPU without facts.
    """
    from hotdesk.market import gpus

    found = []
    for name, rate in words(given):
        gpu = gpus.find(name)
        if assumed := gpus.note(name, gpu):
            notes.append(assumed)
        found.append((gpu, rate))
    return found


def words(given: Sequence[str]) -> list[tuple[str, float]]:
    """Names and rates from words like "A100=1400"; several may stand in one word, separated by commas."""
    found = []
    for word in given:
        pieces = [p for p in word.split(",") if p.strip()]
        for piece in pieces if pieces and all("=" in p for p in pieces) else [word]:
            name, sign, number = piece.rpartition("=")
            try:
                rate = float(number)
            except ValueError:
                rate = math.nan
            if not sign or not name.strip() or not (math.isfinite(rate) and rate > 0):
                raise Usage(
                    f"{piece[:60]!r} is not a measured rate.",
                    "It takes a GPU's name, an equals sign and a positive number of items per second.",
                    "hotdesk predict --from A100=1400 --to H100 --family cnn --precision fp16",
                )
            found.append((name.strip(), rate))
    return found
