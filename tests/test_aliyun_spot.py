"""What spot has cost on Alibaba Cloud: asked in parts, told in CNY, shown in dollars by the user's rate."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.model import Market
from hotdesk.providers.aliyun import spot_history
from hotdesk.providers.aliyun.account import Account
from tests.aliyun_desk import CREDENTIALS, HOME, MONEY, as_new, offer, settings
from tests.conftest import typed
from tests.fake_ecs import market
from tests.fake_ecs.server import FakeEcs
from tests.fake_ecs.world import ZONES

A10 = "ecs.gn7i-c8g1.2xlarge"
HOUR, DAY = 3600.0, 86_400.0
NOW = 1_790_000_000.0


@pytest.fixture
def fake(ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch) -> FakeEcs:
    as_new(ecs, monkeypatch)
    ecs.world.clock.set(NOW)
    return ecs


@pytest.fixture
def account(fake: FakeEcs) -> Account:
    return Account(settings(fake))


def truth(fake: FakeEcs, zone: str, at: float) -> float:
    return market.spot(fake.world, zone, A10, at)


# ---- one question after the other --------------------------------------------------------------------


@given(st.floats(1e9, 2e9), st.floats(1.0, 200 * DAY))
def test_a_span_is_asked_for_in_parts_without_a_gap(since: float, seconds: float) -> None:
    parts = list(spot_history.windows(since, since + seconds))
    assert all(0 < end - begin <= spot_history.MOST_SECONDS for begin, end in parts)
    assert (parts[-1][0], parts[0][1]) == (since, since + seconds), "the newest is first"
    for (begin, _), (_, end) in pairwise(parts):
        assert end == pytest.approx(begin)


def test_seventy_days_are_read_whole_page_by_page(fake: FakeEcs, account: Account) -> None:
    found = spot_history.rows(account, HOME, A10, NOW - 70 * DAY, NOW)
    hours = {(row["ZoneId"], row["Timestamp"]) for row in found}
    assert len(hours) == 70 * 24 * len(ZONES[HOME])
    asked = [e["params"] for e in fake.world.log if e["action"] == "DescribeSpotPriceHistory"]
    assert len({(p["StartTime"], p["EndTime"]) for p in asked}) == 3
    assert max(int(p["Offset"]) for p in asked) == 1000, "there was a second page"


def test_where_older_prices_are_refused_the_newer_ones_stand(fake: FakeEcs, account: Account) -> None:
    fake.world.price_days = 40.0
    found = spot_history.rows(account, HOME, A10, NOW - 70 * DAY, NOW)
    assert len(found) == 30 * 24 * len(ZONES[HOME])
    fake.world.price_days = 1.0
    with pytest.raises(Refused) as no:
        spot_history.rows(account, HOME, A10, NOW - 70 * DAY, NOW)
    assert no.value.kind is Kind.BAD_REQUEST


def test_the_bill_gets_the_price_of_each_hour_from_the_first_on(fake: FakeEcs, account: Account) -> None:
    here, there = offer(market=Market.SPOT), offer(zone="cn-hangzhou-j", market=Market.SPOT)
    unknown = offer("ecs.gn7i-none", market=Market.SPOT)
    since = NOW - 5 * HOUR + 60.0
    told = spot_history.spot_prices(account, [here, there, unknown], since, NOW, MONEY)
    assert told.keys() == {here.key, there.key}
    for one in (here, there):
        first, *_ = told[one.key]
        assert since - HOUR < first[0] <= since, "the price that was in force then"
        assert [usd for _, usd in told[one.key]] == [
            pytest.approx(truth(fake, one.zone, at) / 7.0) for at, _ in told[one.key]
        ]
        assert len(told[one.key]) == 5 + 1


def test_a_region_that_does_not_answer_costs_its_own_prices_alone(fake: FakeEcs) -> None:
    fake.world.harm("DescribeSpotPriceHistory", code="Forbidden.RAM", status=403, times=None, contains=HOME)
    found, notes = spot_history.spot_history(settings(fake), [A10], [], NOW, days=2.0)
    assert {row["AvailabilityZone"] for row in found} == set(ZONES["us-west-1"])
    assert [note.partition(":")[0] for note in notes] == [HOME]


# ---- hotdesk spot ------------------------------------------------------------------------------------

Ask = Callable[..., CompletedProcess[str]]


@pytest.fixture
def ask(fake: FakeEcs, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """`ask(TOML, "spot", …)`: the command, with more in hotdesk.toml."""
    pytest.importorskip("numpy", reason="price histories need numpy")
    for key, value in CREDENTIALS.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("HOTDESK_CONFIG", str(tmp_path / "hotdesk.toml"))
    fake.world.clock.set(time.time())

    def run(more: str, *words: str) -> CompletedProcess[str]:
        usual = f'[aliyun]\nendpoint = "{fake.url}"\nregions = ["{HOME}", "us-west-1"]\n'
        (tmp_path / "hotdesk.toml").write_text(usual + more)
        return typed(*words)

    return run


RATE = "[money]\ncny_per_usd = 7.0\nday = 2026-11-30\n"


@pytest.mark.slow
def test_past_prices_in_cny_are_shown_by_the_rate_that_is_set(ask: Ask, fake: FakeEcs) -> None:
    done = ask(RATE, "spot", A10, "--provider", "aliyun", "--days", "3", "--json")
    assert done.returncode == 0, done.stderr
    assert "Prices told in CNY are shown in US dollars, at the rate of 2026-11-30" in done.stderr
    told = json.loads(done.stdout)
    assert {zone["zone"] for zone in told["zones"]} == {*ZONES[HOME], *ZONES["us-west-1"]}
    for zone in told["zones"]:
        low, high = (market.on_demand(zone["region"], A10) * share / 7.0 for share in (0.2, 0.4))
        assert low * 0.99 <= zone["min"] <= zone["max"] <= high * 1.01
        assert not zone["pinned"]
    assert "aws" not in done.stderr.lower(), "it does not sell that type"
    assert ask(RATE, "spot", A10, "--region", "cn-*", "--days", "3").returncode == 0


@pytest.mark.slow
def test_without_a_rate_nobody_is_shown_dollars(ask: Ask) -> None:
    done = ask("", "spot", A10)
    assert done.returncode == 8
    assert done.stdout == ""
    assert "the prices are told in CNY" in done.stderr
    assert "cny_per_usd = …" in done.stderr


@pytest.mark.slow
def test_an_account_that_is_billed_in_dollars_needs_no_rate(ask: Ask, fake: FakeEcs) -> None:
    fake.world.currency = "USD"
    done = ask("", "spot", A10, "--region", "us-west-1", "--days", "3", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {zone["now"] > 1.0 for zone in told["zones"]} == {True}, "as it was told"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ((A10, "--provider", "nowhere"), 2, "There is no provider 'nowhere'"),
        ((A10, "--provider", "local"), 8, "cannot ask this computer"),
        ((A10, "--region", "mars-1"), 2, "No region of this account is called mars-1"),
        (("ecs.gn99", "--provider", "aliyun"), 7, "No price of ecs.gn99 was found"),
    ],
)
def test_bad_words_are_answered(ask: Ask, words: tuple[str, ...], status: int, said: str) -> None:
    done = ask(RATE, "spot", *words)
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_plan_is_in_dollars_by_the_rate_and_otherwise_refused(ask: Ask) -> None:
    words = ("plan", "--work", "10h", "--on", "A10", "--provider", "aliyun", "--machines", "1", "--json")
    done = ask(RATE, *words)
    assert done.returncode == 0, done.stderr
    plans = json.loads(done.stdout)["plans"]
    assert {plan["offer"]["provider"] for plan in plans} == {"aliyun"}
    without = ask("", *words)
    assert without.returncode == 3
    assert "priced in CNY: set its rate under [money]" in without.stdout
