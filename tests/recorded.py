"""Traces for the tests of policies: the recorded ones where they lie beside the project, and made ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1]
#: Beside the project, or beside the folder of its worktrees.
DATA = next(
    (p for p in (HERE.parent / "shared", HERE.parents[1] / "shared") if (p / "data" / "traces").is_dir()),
    HERE.parent / "shared",
)
TRACES = DATA / "data" / "traces"
POOLS_2022 = TRACES / "skypilot-spot-traces" / "availability" / "1-node" / "aws-10-26-2022"
ZONES_2023 = TRACES / "skypilot-spot-traces" / "availability" / "1-node" / "aws-02-15-2023"
WINDOWS = TRACES / "cbl-windows" / "window_starts.json"

recorded = pytest.mark.recorded(POOLS_2022)


def made(seed: int, ticks: int, zones: int = 1, minutes: float = 10.0):  # type: ignore[no-untyped-def]
    """Zones that come and go with the shipped hazards, by age: bool over zone and tick."""
    import numpy as np

    from hotdesk.core.spot.policy import EDGES_SECONDS, FALLS, RISES

    rng = np.random.default_rng(seed)
    up = np.zeros((zones, ticks), dtype=bool)
    state, age = rng.random(zones) < 0.5, np.zeros(zones)
    for tick in range(ticks):
        bucket = np.searchsorted(np.array(EDGES_SECONDS), age * 600, side="right")
        chance = np.where(state, np.array(FALLS)[bucket], np.array(RISES)[bucket])
        flip = rng.random(zones) < 1 - (1 - chance) ** (minutes / 10)
        state, age = state ^ flip, np.where(flip, 0.0, age + minutes / 10)
        up[:, tick] = state
    return up


def write(folder: Path, name: str, up: object, gap_seconds: float = 600) -> Path:
    """A trace in the public format."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.json"
    data = [int(x) for x in up]  # type: ignore[attr-defined]
    file.write_text(json.dumps({"metadata": {"gap_seconds": gap_seconds}, "data": data}))
    return file
