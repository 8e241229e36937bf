"""`--provider any`: one's own machine first, then clouds by price, each with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fake_ec2.process import FakeEc2
from hotdesk import Hotdesk
from hotdesk.config import Config, Defaults
from hotdesk.core.errors import NotAllowed
from hotdesk.core.model import Goal, MarketChoice, Offer, Want
from hotdesk.core.money import Money
from hotdesk.providers import registry
from hotdesk.providers.local import offers as here
from hotdesk.services.anywhere import places
from tests.aliyun_desk import MONEY, as_new, settings
from tests.conftest import Command
from tests.fake_ecs.server import FakeEcs

pytest.importorskip("moto", reason="moto is not installed")
T4 = Want(gpu="T4", market=MarketChoice.ON_DEMAND)


@pytest.fixture
def desks(
    fake: FakeEc2, ecs: FakeEcs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Hotdesk, list[str]]:
    """Both clouds, and this computer, which has no GPU."""
    as_new(ecs, monkeypatch)
    monkeypatch.setattr(here, "_gpu", lambda: ("", 0, 0.0))
    told: list[str] = []
    return opened(ecs, tmp_path, told), told


def opened(ecs: FakeEcs, folder: Path, told: list[str], money: Money = MONEY) -> Hotdesk:
    config = Config(
        defaults=Defaults(regions=("us-west-2", "cn-hangzhou")), clouds={"aliyun": settings(ecs)}, money=money
    )
    return Hotdesk(folder, config=config, on_note=told.append)


def order(desks: Hotdesk, want: Want | None) -> dict[str, Offer | None]:
    return {place.provider: place.offer for place in places(desks.services.goals, "blue", want)}


def test_this_computer_comes_first_where_it_fits_and_clouds_by_price(
    desks: tuple[Hotdesk, list[str]],
) -> None:
    with desks[0] as mine:
        assert next(iter(order(mine, None))) == "local"
        found = order(mine, T4)
        first, second, *rest = found.items()
        assert {first[0], second[0]} == {"aws", "aliyun"}
        assert first[1] is not None is not second[1]
        assert first[1].usd_per_hour < second[1].usd_per_hour
        assert {first[1].gpu, second[1].gpu} == {"T4"}
        assert [offer for _, offer in rest] == [None, None], (
            "this computer has no such GPU, and no other is known"
        )


def test_what_cannot_be_compared_comes_after_what_can(
    desks: tuple[Hotdesk, list[str]], ecs: FakeEcs, tmp_path: Path
) -> None:
    with desks[0], opened(ecs, tmp_path / "no rate", [], Money()) as mine:
        found = places(mine.services.goals, "blue", T4)
        assert [place.provider for place in found][:2] == ["aws", "aliyun"]
        assert "CNY" in found[1].why
        assert "cny_per_usd" in found[1].why


def test_a_machine_in_use_comes_after_clouds_and_settings_for_clouds_do_not_rule_it_out(
    desks: tuple[Hotdesk, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`[defaults] regions` are regions of clouds: a machine of one's own is in none."""
    taken = False

    def offers(self: Any, want: Want) -> tuple[Offer, ...]:
        assert (want.regions, want.disk_gib) == ((), 0)
        offer = Offer(
            provider="ssh", region="ssh", zone="lab", instance_type="ssh.gpu", gpu="T4", taken=taken
        )
        return (offer,)

    monkeypatch.setattr("hotdesk.providers.ssh.provider.Ssh.offers", offers)
    with desks[0] as mine:
        assert next(iter(order(mine, T4))) == "ssh"
        taken = True
        assert [*order(mine, T4)].index("ssh") == 2


def test_the_best_is_said_with_all_the_others_and_why(
    desks: tuple[Hotdesk, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, told = desks
    with mine:
        want, provider = mine.services.placed("blue", T4, "any")
        assert provider in {"aws", "aliyun"}
        assert want is not None
        assert want.gpu == "T4"
        assert [line[:2] for line in told] == ["->", "  ", "  ", "  "]
        assert any("this computer: nothing there fits" in line for line in told)
        assert any("no machine of yours is known here" in line.lower() for line in told)
        desk = mine.services.goals.wanted("blue", Goal.RUNNING, want, provider)
        assert desk.offers[0].gpu == "T4"
        mine.services.store.put(desk)
        assert mine.services.placed("blue", None, "any") == (None, None), "a desk is where it is"
        assert mine.services.placed("blue", None, "aws") == (None, "aws")
        monkeypatch.setattr(registry, "within_reach", set)
        with pytest.raises(NotAllowed) as no:
            mine.services.placed("red", T4, "any")
    assert "AWS: no credentials here (aws configure)" in no.value.why
    assert no.value.fix == "hotdesk offers --gpu T4"


def test_as_typed(hotdesk: Command) -> None:
    """Without an account it is this computer; where nothing fits, each place says so."""
    done = hotdesk("up", "blue", "--provider", "any", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "launch local." in done.stdout
    assert "-> this computer:" in done.stderr
    none = hotdesk("up", "blue", "--provider", "any", "--gpu", "T4:64", "--dry-run")
    assert none.returncode == 3
    assert "this computer: nothing there fits" in none.stderr
    assert "Traceback" not in none.stderr
