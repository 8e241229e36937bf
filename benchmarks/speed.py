"""Every number that the predictions and plans promise, measured: python benchmarks/speed.py [part ...]"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from itertools import groupby

sys.path[:0] = [str(p) for p in (__import__("pathlib").Path(__file__).parents[1], "src")]

from benchmarks import gpubench
from hotdesk.core.speed import predict, predictor

Row = Sequence[object]


def show(title: str, heads: Sequence[str], rows: Sequence[Row]) -> None:
    """A table with its title, columns aligned."""
    cells = [list(heads), *([f"{c:.3f}" if isinstance(c, float) else str(c) for c in row] for row in rows)]
    sizes = [max(len(row[n]) for row in cells) for n in range(len(heads))]
    print(f"\n## {title}")
    for row in cells:
        print("  ".join(c.ljust(s) if n == 0 else c.rjust(s) for n, (c, s) in enumerate(zip(row, sizes))))


def quantile(values: Sequence[float], q: float) -> float:
    ranked = sorted(values)
    place = q * (len(ranked) - 1)
    low = math.floor(place)
    return ranked[low] + (place - low) * (ranked[min(low + 1, len(ranked) - 1)] - ranked[low])


def prediction() -> None:
    """Leave one GPU out: its rate from all others of the table, from three, from one; bands."""
    for known in ("all others", "all of other architectures", 5, 3, 1):
        rows = []
        dice = random.Random(1)
        tables = gpubench.tables()
        for source, group in groupby(tables, lambda t: t.source):
            errors, held, widths = [], [], []
            by_family: dict[str, list[float]] = {}
            for table in group:
                for left, (gpu, actual) in enumerate(table.rates):
                    rest = [r for n, r in enumerate(table.rates) if n != left]
                    if known == "all of other architectures":
                        rest = [r for r in rest if r[0].architecture != gpu.architecture]
                    elif isinstance(known, int):
                        rest = dice.sample(rest, min(known, len(rest)))
                    got = predict(rest, gpu, table.family, table.precision, fallback=True)
                    errors.append(abs(got.rate / actual - 1))
                    by_family.setdefault(table.family, []).append(errors[-1])
                    held.append(got.low <= actual <= got.high)
                    widths.append(got.high / got.rate - 1)
            rows.append(
                [
                    source,
                    len(errors),
                    statistics.median(errors),
                    quantile(errors, 0.9),
                    *(
                        statistics.median(by_family[f]) if f in by_family else "-"
                        for f in ("cnn", "transformer")
                    ),
                    sum(held) / len(held),
                    statistics.median(widths),
                ]
            )
        heads = ["source", "cases", "median", "p90", "cnn", "transformer", "in band", "band +"]
        show(f"Error of the predicted rate, measured on {known}", heads, rows)


PARTS: dict[str, Callable[[], None]] = {"prediction": prediction}

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
