"""hotdesk predict: a job's speed on a GPU where it never ran."""

from __future__ import annotations

from typing import Any

import click

from hotdesk.api import Hotdesk
from hotdesk.cli.ui import job_options, options, render
from hotdesk.core.sizing.speed import Family
from hotdesk.services.predicting import PredictRequest


@click.command(name="predict")
@job_options.measured
@click.argument("more", nargs=-1, metavar="[GPU=RATE ...]")
@click.option("--to", "targets", multiple=True, metavar="GPU", help="Target GPU (repeatable).")
@click.option("--family", type=click.Choice([f.value for f in Family]), help="Family of the network.")
@job_options.precision
@job_options.workload
@click.option(
    "--bench",
    multiple=True,
    metavar="GPU=RATE",
    help="Measured rate of another job of the family (repeatable).",
)
@job_options.memory
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
    as_json = given.pop("as_json")
    with Hotdesk() as desks:
        request = PredictRequest(measured=(*measured, *more), targets=targets, **given)
        got = desks.predict(request)
    answers = [
        {
            "gpu": one.gpu,
            "rate": one.rate,
            "low": one.low,
            "high": one.high,
            "evidence": one.evidence.value,
            "why": one.why,
            "family": request.family,
            "precision": request.precision,
            **({} if share is None else {"mfu": share}),
        }
        for one, share in zip(got.predictions, got.utilisations, strict=True)
    ]
    shared = {"from": [{"gpu": gpu, "rate": rate} for gpu, rate in got.known], "notes": got.notes}
    if as_json:
        render.json({**answers[0], **shared} if len(answers) == 1 else {"predictions": answers, **shared})
        return
    rows = [
        [one.gpu, f"{one.rate:.4g}/s", f"{one.low:.4g} to {one.high:.4g}", one.evidence.value, one.why]
        for one in got.predictions
    ]
    render.echo(
        render.table(["GPU", "rate", "9 of 10", "evidence", "why"], rows, right=("rate",), broken=True)
    )
    for line in got.notes:
        render.note(f"note: {line}")
