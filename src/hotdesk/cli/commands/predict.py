"""hotdesk predict: a job's speed on a GPU where it never ran."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import click

from hotdesk.cli.ui import options, render
from hotdesk.core.errors import Usage
from hotdesk.core.sizing.gpu import Gpu, Precision
from hotdesk.core.sizing.speed import Family, predictor, utilisation


@click.command(name="predict")
@click.option("--from", "measured", multiple=True, metavar="GPU=RATE", help="Measured rate (repeatable).")
@click.argument("more", nargs=-1, metavar="[GPU=RATE ...]")
@click.option("--to", "targets", multiple=True, metavar="GPU", help="Target GPU (repeatable).")
@click.option("--family", type=click.Choice([f.value for f in Family]), help="Family of the network.")
@click.option(
    "--precision",
    type=click.Choice([p.value for p in Precision]),
    default="fp16",
    show_default=True,
    help="Numeric precision of training; tf32 is PyTorch's default for convolutions since Ampere.",
)
@click.option(
    "--workload",
    default="",
    metavar="NAME",
    help="Workload whose measured rates to use as well; see `hotdesk bench list`.",
)
@click.option(
    "--bench",
    multiple=True,
    metavar="GPU=RATE",
    help="Measured rate of another job of the family (repeatable).",
)
@click.option("--memory-gib", type=float, default=0.0, metavar="GIB", help="GPU memory that the job needs.")
@click.option(
    "--gflop-per-item",
    type=float,
    default=0.0,
    metavar="GFLOP",
    help="Operations per item, to reject rates beyond the GPU's peak.",
)
@click.option("--fallback", is_flag=True, help="Use the fp32 rate of a GPU that lacks the precision.")
@options.as_json
def command(measured: tuple[str, ...], more: tuple[str, ...], targets: tuple[str, ...], **given: Any) -> None:
    """Predict a job's speed on a GPU from measurements on others, with a 90 % band.

    \b
    hotdesk predict --from A100=1400 --from "RTX 3090"=905 --to H100 --family cnn --precision fp16

    RATE is anything per second: images, tokens, steps of a fixed batch. A measurement on the target GPU is
    used as it is, else the ratio of another job of the family (--bench), else the GPUs' data sheets.
    """
    from hotdesk.market import gpus

    _complete(given["family"], targets, [*measured, *more] or given["workload"])
    family, precision = Family(given["family"]), Precision(given["precision"])
    memory_gib, gflop_per_item = given["memory_gib"], given["gflop_per_item"]
    for name, value in (("--memory-gib", memory_gib), ("--gflop-per-item", gflop_per_item)):
        if not (math.isfinite(value) and value >= 0):
            raise Usage(f"{name} {value:g} is impossible.", "A size is zero or more.", f"{name} 12")
    notes: list[str] = []
    known = rates([*measured, *more], notes)
    if given["workload"]:
        from hotdesk.core.errors import Unknown
        from hotdesk.market import benchmarks as kept

        for name, rate in kept.rates(given["workload"], precision.value).items():
            with contextlib.suppress(Unknown):  # a CPU: no ratio leads from it to a GPU
                known.append((gpus.find(name), rate))
    speeds = predictor(
        known,
        family,
        precision,
        bench=rates(given["bench"], notes),
        memory_gib=memory_gib,
        fallback=given["fallback"],
    )
    if gflop_per_item:
        for gpu, rate in known:
            if gpu.runs(precision):
                utilisation(rate, gflop_per_item, gpu, precision, family=family)
    answers: list[dict[str, Any]] = []
    for target in targets:
        to = gpus.find(target)
        notes += filter(None, [gpus.note(target, to), to.note and f"{to.name}: {to.note}"])
        got = speeds(to)
        answer = {
            "gpu": got.gpu,
            "rate": got.rate,
            "low": got.low,
            "high": got.high,
            "evidence": got.evidence.value,
            "why": got.why,
            "family": family.value,
            "precision": precision.value,
        }
        if gflop_per_item and to.runs(precision):
            answer["mfu"] = utilisation(got.rate, gflop_per_item, to, precision, family=family)
        answers.append(answer)
    shared: dict[str, Any] = {
        "from": [{"gpu": gpu.name, "rate": rate} for gpu, rate in known],
        "notes": list(dict.fromkeys(notes)),
    }
    if given["as_json"]:
        render.json({**answers[0], **shared} if len(answers) == 1 else {"predictions": answers, **shared})
        return
    rows = [
        [a["gpu"], f"{a['rate']:.4g}/s", f"{a['low']:.4g} to {a['high']:.4g}", a["evidence"], a["why"]]
        for a in answers
    ]
    render.echo(
        render.table(["GPU", "rate", "9 of 10", "evidence", "why"], rows, right=("rate",), broken=True)
    )
    for line in shared["notes"]:
        render.note(f"note: {line}")


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
