"""The table of prices that ships with hotdesk is what its script makes of a file of prices."""

from __future__ import annotations

import csv
import json

import pytest

from hotdesk.cli.ui import render
from hotdesk.core.model import Market, Offer
from hotdesk.market.shipped import shipped
from scripts.shipped_prices import DATA, table, text
from tests.recorded import DATA as BESIDE

FILE = BESIDE / "data" / "prices" / "aws-on-demand.csv"
HEAD = ("type", "region", "usd_per_hour", "as_of", "basis", "source")


def rows(*lines: str) -> list[dict[str, str]]:
    return [dict(zip(HEAD, line.split(), strict=True)) for line in lines]


MADE = rows(
    "g6.xlarge us-east-1 0.8048 2026-07-20 read K",
    "g6.xlarge eu-west-1 0.9 2026-02/2026-05 read S",
    "t3.large eu-west-1 0.0912 2026-02/2026-05 scaled S",
    "p2.xlarge us-east-1 0.9 2026-01-21 read V",
    "g6.xlarge us-gov-west-1 1.0 2026-07-20 read K",
)


def test_columns_hold_what_the_file_says() -> None:
    made = json.loads(text(table(MADE, "2026-11-29", retired={"p2.xlarge"})))
    assert made["regions"] == ["eu-west-1", "us-east-1"], "GovCloud is left out"
    assert made["usd_per_hour"] == {"g6.xlarge": ["SK", [0.9, 0.8048]], "t3.large": ["s.", [0.0912]]}
    assert {letter: told["as_of"] for letter, told in made["sources"].items()} == {
        "K": "2026-07-20",
        "S": "2026-02-01",
        "s": "2026-02-01",
    }
    assert "estimated" in made["sources"]["s"]["words"]
    assert "estimated" not in made["sources"]["S"]["words"]


@pytest.mark.parametrize(
    "line",
    [
        "g6.xlarge us-east-1 0.7 2026-07-20 read K",  # twice
        "g6.2xlarge us-east-1 0 2026-07-20 read K",
        "g6.2xlarge us-east-1 0.7 2026-07-21 read K",  # another date of the same source
    ],
)
def test_a_file_that_contradicts_itself_makes_no_table(line: str) -> None:
    with pytest.raises(SystemExit):
        table([*MADE, *rows(line)], "2026-11-29", retired=set())


def test_its_prices_are_shown_with_their_day_and_estimates_as_such() -> None:
    """In plans, and by `up`; a price that a cloud told just now has no day."""
    shown = {
        (offer.instance_type, offer.region): render.price(offer)
        for offer in shipped().offers()
        if offer.market is Market.ON_DEMAND
    }
    assert shown["g6.xlarge", "us-east-1"] == "$0.8048/h as of 2026-07-20"
    assert shown["m8g.4xlarge", "eu-west-1"].startswith("~$")
    told = Offer(provider="aws", region="us-east-1", zone="", instance_type="g6.xlarge", usd_per_hour=0.8,
                 price_time=1.0, source="GetProducts")  # fmt: skip
    assert render.price(told) == "$0.8/h"


@pytest.mark.skipif(not FILE.exists(), reason="the file of prices with their sources is not here")
def test_the_table_is_what_the_script_makes_of_the_file() -> None:
    with FILE.open(newline="") as file:
        made = table(list(csv.DictReader(file)), shipped().as_of, set(shipped().retired))
    assert (DATA / "aws-prices.json").read_text() == text(made)
