"""The list of CNY prices that ships with hotdesk: what its script makes of a file, and how it is compared."""

from __future__ import annotations

import csv
import json
from datetime import date

import pytest

from hotdesk.core.money import Money
from hotdesk.market.catalog import Catalog
from hotdesk.market.lists import list_of
from hotdesk.market.refresh import known
from scripts.shipped_list import DATA, machine, table, text
from tests.recorded import DATA as BESIDE

FILE = BESIDE / "data" / "prices" / "aliyun-on-demand-cny.csv"
HEAD = ("type", "region", "cny_per_hour")
MONEY = Money(cny_per_usd=7.0, day=date(2026, 11, 30))


def rows(*lines: str) -> list[dict[str, str]]:
    return [dict(zip(HEAD, line.split(), strict=True)) for line in lines]


def test_a_type_is_what_its_name_says() -> None:
    t4 = {"vcpus": 4, "gib": 15, "gpu": "T4", "gpus": 1, "gpu_gib": 16}
    assert machine("ecs.gn6i-c4g1.xlarge") == t4
    four = {"vcpus": 64, "gib": 500, "gpu": "A100", "gpus": 4, "gpu_gib": 80}
    assert machine("ecs.gn7e-c16g1.16xlarge") == four
    assert machine("ecs.g7.large") == {"vcpus": 2, "gib": 8.0}
    for other in (
        "ecs.vgn6i-m4-vws.xlarge",
        "ecs.ebmgn7i.32xlarge",
        "ecs.t6-c1m1.large",
        "ecs.gn5-c4g1.xlarge",
    ):
        assert machine(other) is None, other


def test_the_list_holds_what_the_file_says() -> None:
    made = json.loads(
        text(
            table(
                rows(
                    "ecs.g7.large cn-hangzhou 0.5", "ecs.g7.large us-west-1 0.8", "ecs.c7.large us-west-1 0.6"
                ),
                "2024-12-30",
            ),
            "types",
        )
    )
    assert made["regions"] == ["cn-hangzhou", "us-west-1"]
    assert made["types"]["ecs.g7.large"]["per_hour"] == [0.5, 0.8]
    assert made["types"]["ecs.c7.large"]["per_hour"] == [None, 0.6]
    with pytest.raises(SystemExit):
        table(rows("ecs.g7.large cn-hangzhou 0.5", "ecs.g7.large cn-hangzhou 0.6"), "2024-12-30")


@pytest.mark.recorded(FILE)
def test_what_ships_is_made_of_the_recorded_file() -> None:
    with FILE.open(newline="") as file:
        made = table(list(csv.DictReader(file)), "2024-12-30")
    assert (DATA / "aliyun-list.json").read_text() == text(made, "types")


class Nothing:
    """An empty cache."""

    def cached(self, key: str) -> None: ...

    def keep(self, key: str, body: bytes, now: float) -> None: ...


def test_both_clouds_stand_side_by_side_without_an_account() -> None:
    catalog = known(Nothing(), MONEY).catalog
    assert Catalog.unpack(catalog.pack()).pack() == catalog.pack()
    t4 = [o for o in catalog.offers(catalog.order) if o.gpu == "T4" and o.gpu_count == 1]
    assert {o.provider for o in t4} == {"aws", "aliyun"}
    assert [o.usd_per_hour for o in t4] == sorted(o.usd_per_hour for o in t4), "in one order"
    here = next(o for o in t4 if (o.region, o.instance_type) == ("cn-hangzhou", "ecs.gn6i-c4g1.xlarge"))
    assert str(here.told_per_hour) == "11.63 CNY"
    assert here.usd_per_hour == pytest.approx(11.63 / 7.0, rel=1e-3)
    assert "2024-12-30" in here.source


def test_a_price_of_the_list_is_told_with_its_day_and_both_currencies() -> None:
    listed = list_of("aliyun")
    assert listed is not None
    told = listed.price("cn-hangzhou", "ecs.gn7i-c8g1.2xlarge", MONEY)
    assert told is not None
    assert (str(told.told), told.time) == ("9.533 CNY", listed.time)
    assert listed.price("cn-hangzhou", "ecs.nothing", MONEY) is None
    assert listed.price("mars-1", "ecs.gn7i-c8g1.2xlarge", MONEY) is None
