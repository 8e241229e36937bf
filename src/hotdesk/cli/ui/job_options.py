"""Options about a job and its speed that `hotdesk plan` and `hotdesk predict` share."""

from __future__ import annotations

import click

from hotdesk.core.sizing.gpu import Precision

measured = click.option(
    "--from", "measured", multiple=True, metavar="GPU=RATE", help="Measured rate in items/s (repeatable)."
)
precision = click.option(
    "--precision",
    type=click.Choice([p.value for p in Precision]),
    default="fp16",
    show_default=True,
    help="Numeric precision of training; tf32 is PyTorch's default for convolutions since Ampere.",
)
memory = click.option(
    "--memory-gib", type=float, default=0.0, metavar="GIB", help="GPU memory that the job needs."
)
workload = click.option(
    "--workload",
    default="",
    metavar="NAME",
    help="Workload whose measured rates to use as well; see `hotdesk bench list`.",
)
