"""What is wrong with recorded prices and traces, through the command line: nothing is guessed in silence.

missing for some ticks          test_prices_missing_for_some_ticks_are_said
in another currency, zero       test_prices_that_cannot_be_compared_are_refused (and of a trace: test_panel)
a zone that appears late        test_a_zone_that_appears_late_is_said
two documents, jq -c, jq -s,
UTF-16, a BOM                   test_each_way_of_writing_a_file_is_read (and `spot`: test_prices)
a trace of one tick             test_a_trace_of_one_tick_is_too_short
a deadline in a history's gap   test_a_deadline_in_a_gap_of_the_history_is_at_the_last_price_before_it
egress unknown for a pair       test_egress_that_nobody_knows_is_said_with_what_it_could_change
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Command

pytest.importorskip("numpy")
pytestmark = pytest.mark.slow

EAST, WEST = "us-east-1a", "us-west-2b"
TICKS = [int(n % 7 > 1) for n in range(200)]
Said = tuple[int, dict[str, Any], str]
Run = Callable[..., Said]


@pytest.fixture
def run(hotdesk: Command, tmp_path: Path) -> Run:
    """`hotdesk simulate` over two zones: exit status, its document, and what it says besides."""
    traces = tmp_path / "traces"
    traces.mkdir()

    def simulate(
        *words: str, history: Any = None, write: Callable[[str], bytes] = str.encode, **zones: Any
    ) -> Said:
        for zone, data in ({EAST: TICKS, WEST: TICKS[::-1]} | zones).items():
            content = {
                "metadata": {"gap_seconds": 600},
                **(data if isinstance(data, dict) else {"data": data}),
            }
            (traces / f"{zone}_v100_1.json").write_bytes(write(json.dumps(content)))
        if history is not None:
            file = tmp_path / "prices.json"
            file.write_bytes(history if isinstance(history, bytes) else json.dumps(history).encode())
            words = (*words, "--history", str(file))
        done = hotdesk(
            "simulate", "--traces", str(traces), "--zones", "together", "--work", "4", "--deadline", "8",
            "--windows", "2", "--json", *words,
        )  # fmt: skip
        assert "Traceback" not in done.stdout + done.stderr
        return done.returncode, json.loads(done.stdout), done.stderr

    return simulate


def row(zone: str, price: str, day: int, **more: str) -> dict[str, str]:
    return {
        "AvailabilityZone": zone, "InstanceType": "p3.2xlarge", "ProductDescription": "Linux/UNIX",
        "SpotPrice": price, "Timestamp": f"2020-01-{day:02d}T00:00:00Z", **more,
    }  # fmt: skip


ROWS = [row(zone, price, day) for zone, price in ((EAST, "2.5"), (WEST, "0.5")) for day in (1, 2, 9)]


def test_prices_missing_for_some_ticks_are_said(run: Run) -> None:
    status, _, said = run(**{EAST: {"data": TICKS, "prices": [None] * 50 + [1.0] * 150}})
    assert status == 0
    assert f"{EAST}_v100_1.json: 25 % of its prices are missing; the last one known counts on." in said
    status, _, said = run(history=[row(EAST, "NaN", 1), *ROWS])
    assert status == 0
    assert "1 rows of prices.json: the price is zero, negative or not finite." in said


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([r | {"SpotPrice": "0.0"} for r in ROWS], "6 rows: the price is zero, negative or not finite"),
        ([r | {"Currency": "CNY"} for r in ROWS], "6 rows: the currency is CNY, not USD"),
    ],
)
def test_prices_that_cannot_be_compared_are_refused(run: Run, rows: list[Any], why: str) -> None:
    status, told, _ = run(history=rows)
    assert (status, told["error"]["why"]) == (2, why)
    assert "no usable price" in told["error"]["what"]
    assert "describe-spot-price-history" in told["error"]["fix"]


def test_a_zone_that_appears_late_is_said(run: Run) -> None:
    """It was said that the history ends after -168 h."""
    late = [row(WEST, "0.5", day) for day in (10, 12)]
    status, _, said = run(history=[*ROWS[:3], *late])
    assert status == 0
    assert f"prices.json has prices of {WEST} only from 2020-01-10 00:00 UTC on" in said
    assert f"Its prices of {EAST} end before that: the last one counts throughout." in said
    assert "-" not in said.partition("ends after")[2].partition("count on")[0]


def ways() -> dict[str, bytes]:
    pages = [{"NextToken": "a", "SpotPriceHistory": ROWS[:2]}, {"SpotPriceHistory": ROWS[2:]}]
    whole = json.dumps({"SpotPriceHistory": ROWS})
    return {
        "two documents": "".join(map(json.dumps, pages)).encode(),
        "jq -c": "\n".join(map(json.dumps, ROWS)).encode(),
        "jq -s": json.dumps(pages).encode(),
        "UTF-16": whole.encode("utf-16"),
        "BOM": whole.encode("utf-8-sig"),
    }


@pytest.mark.parametrize("way", ways())
def test_each_way_of_writing_a_file_is_read(run: Run, way: str) -> None:
    """The traces, too, where the way is one of writing text."""
    form = {"UTF-16": "utf-16", "BOM": "utf-8-sig"}.get(way, "utf-8")
    plain = run(history={"SpotPriceHistory": ROWS})
    status, told, said = run(history=ways()[way], write=lambda text: text.encode(form))
    assert (status, said) == (0, plain[2])
    assert told["mean_usd"] == plain[1]["mean_usd"]


def test_a_trace_of_one_tick_is_too_short(run: Run) -> None:
    status, told, _ = run(**{EAST: [1]})
    assert status == 2
    assert "too short: 0.2 h of it for a deadline of 8.0 h" in told["error"]["what"]
    assert "--deadline" in told["error"]["fix"]


def test_a_deadline_in_a_gap_of_the_history_is_at_the_last_price_before_it(run: Run) -> None:
    """AWS tells a price when it changes: between two rows the first stands. After the last it is said."""
    whole = run(history=[*ROWS[:1], row(EAST, "9.9", 9), *ROWS[3:]])
    assert run(history=ROWS)[1]["mean_usd"] == whole[1]["mean_usd"], "no run comes to the ninth day"
    _, _, said = run(history=[ROWS[0], ROWS[3]])
    assert "prices.json ends after 0 h of 33 h: its last prices count on." in said


def test_egress_that_nobody_knows_is_said_with_what_it_could_change(run: Run) -> None:
    status, _, said = run("--checkpoint-gib", "50")
    assert status == 0
    assert "costs 50 GiB at $0.02, $1.00, whichever pair it is; --egress says another price." in said
    assert "At the dearest pair, $0.147, it is $7.35, and fewer moves pay." in said
    status, told, _ = run("--checkpoint-gib", "50", "--egress", "-1")
    assert (status, told["error"]["kind"]) == (2, "Usage")
