"""Results as Parquet: what another program reads of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hotdesk.sweep.results import write

parquet: Any = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Whole numbers beside others, what is no number, text beside numbers, nothing, and what is too big."""
    table: list[dict[str, Any]] = [
        {
            "task": 1,
            "lr": 1e-4,
            "loss": 0.5,
            "mixed": 3,
            "odd": "nan",
            "none": None,
            "big": 10**30,
            "huge": 10**400,
            "ok": True,
        },
        {
            "task": 2,
            "lr": 1,
            "loss": None,
            "mixed": "three",
            "odd": 1.5,
            "none": None,
            "big": 1,
            "huge": 1,
            "ok": False,
        },
    ]
    file = tmp_path / "out.parquet"
    write(table, file)
    read = parquet.read_table(file).to_pydict()
    assert [*read] == [*table[0]]
    assert read["task"] == [1, 2]
    assert read["lr"] == [1e-4, 1.0]
    assert read["loss"] == [0.5, None]
    assert read["mixed"] == ["3", "three"]
    assert str(read["odd"]) == "[nan, 1.5]"
    assert read["none"] == [None, None]
    assert read["big"] == [1e30, 1.0], "beyond 64 bits, to the precision of a float"
    assert read["huge"] == [str(10**400), "1"]
    assert read["ok"] == [True, False]


def test_no_result_at_all_is_a_table_too(tmp_path: Path) -> None:
    write([], tmp_path / "out.parquet")
    assert parquet.read_table(tmp_path / "out.parquet").num_rows == 0
