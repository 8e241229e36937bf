"""The results of a sweep as one table: parameters, metrics, attempts, cost, seconds."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path

from hotdesk.core.errors import Missing, Usage
from hotdesk.core.money import Amount, in_same, is_comparable
from hotdesk.core.sweep.model import Sweep, Task
from hotdesk.core.sweep.params import Scalar
from hotdesk.system import write_atomically

Row = dict[str, Scalar | None]
_BEFORE = ("task",)
_NOT_FINITE = {"nan", "inf", "-inf"}  # as a metric is kept that JSON has no number for
_AFTER = ("state", "exit_status", "attempts", "lost", "seconds", "usd", "machine", "why")


def rows(tasks: Iterable[Task], sweep: Sweep | None = None) -> list[Row]:
    """A row for each task, all with the same columns. A metric called like a parameter is `metric.NAME`.

    Where the sweep's cloud tells prices in another currency, there is a column for that; of US dollars only
    if a rate is set.
    """
    one = in_same(1.0, sweep.pools[0]) if sweep and sweep.pools else None
    found = list(tasks)
    names = list(dict.fromkeys(name for task in found for name in task.params))
    metrics = list(dict.fromkeys(name for task in found for name in task.metrics))
    taken = {*_BEFORE, *names, *_AFTER, *([one.currency.lower()] if one else [])}
    column = {name: f"metric.{name}" if name in taken else name for name in metrics}
    return [_row(task, names, column, one) for task in found]


def _row(task: Task, names: Sequence[str], column: dict[str, str], one: Amount | None) -> Row:
    return {
        "task": task.number,
        **{name: task.params.get(name) for name in names},
        **{column[name]: task.metrics.get(name) for name in column},
        "state": str(task.state),
        "exit_status": task.exit_status,
        "attempts": task.attempt,
        "lost": task.lost,
        "seconds": round(task.seconds, 3),
        **({one.currency.lower(): round(task.usd * one.value, 6)} if one else {}),
        **({"usd": round(task.usd, 6)} if is_comparable(one) else {}),
        "machine": task.machine,
        "why": task.why,
    }


def write(table: Sequence[Row], file: Path) -> None:
    """The table as FILE.csv or FILE.parquet. Raises `Usage` for another suffix, `Missing` without pyarrow."""
    suffix = file.suffix.lower()
    if suffix not in {".csv", ".parquet"}:
        raise Usage(f"{file} is neither .csv nor .parquet.", "", f"-o {file.with_suffix('.csv')}")
    try:
        if suffix == ".parquet":
            write_parquet(table, file)
        else:
            write_atomically(file, as_csv(table), mode=0o666)
    except OSError as error:
        raise Missing(
            f"{file} cannot be written.", error.strerror or str(error), "-o ./results.csv"
        ) from None


def as_csv(table: Sequence[Row]) -> str:
    """The table as CSV (RFC 4180, with line feeds)."""
    target = io.StringIO()
    writer = csv.DictWriter(target, list(table[0]) if table else [*_BEFORE, *_AFTER], lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return target.getvalue()


def _of_one_kind(values: list[Scalar | None]) -> list[Scalar | None]:
    """A column as Parquet can have it: numbers where all are, else text."""
    kinds = {type(v) for v in values if v is not None}
    texts = {v for v in values if isinstance(v, str)}
    great = any(isinstance(v, int) and not -(2**63) <= v < 2**63 for v in values)
    if len(kinds) <= 1 and not great:
        return values
    if kinds <= {int, float, str} and texts <= _NOT_FINITE:
        with contextlib.suppress(OverflowError):  # greater than any float
            return [None if v is None else float(v) for v in values]
    return [None if v is None else str(v) for v in values]


def write_parquet(table: Sequence[Row], file: Path) -> None:
    """The table as Parquet; a column of several kinds becomes text. Raises `Missing` without pyarrow."""
    try:
        # Whoever writes Parquet has it for reading Parquet; nothing else here needs it.
        pyarrow, parquet = (import_module(name) for name in ("pyarrow", "pyarrow.parquet"))
    except ImportError:
        raise Missing(
            "Parquet needs pyarrow, which is not installed.",
            "CSV needs nothing.",
            f"pip install pyarrow   # or: --output {file.with_suffix('.csv')}",
        ) from None
    columns = {name: [row[name] for row in table] for name in (table[0] if table else ())}
    columns = {name: _of_one_kind(values) for name, values in columns.items()}
    drawn = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), drawn)
    write_atomically(file, drawn.getvalue(), mode=0o666)
