"""Money in the page: what a cloud tells in another currency is said as the command line says it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec import to_builtins

pytest.importorskip("starlette", reason="the extra web is not installed")
pytest.importorskip("uvicorn", reason="the extra web is not installed")
pytest.importorskip("wsproto", reason="the extra web is not installed")

from hotdesk.core.model import Goal
from hotdesk.core.money import Amount, Money, per_hour
from hotdesk.services import forms
from hotdesk.services.view import View
from hotdesk.web import amounts
from tests.aliyun_cli import NEEDED, Ask, ask, cloud, lit, well
from tests.fake_ecs.server import FakeEcs
from tests.fake_ecs.world import Harm
from tests.test_web_page import LATE, card
from tests.web_rig import Complaints, browser, looking, web

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

assert all((ask, cloud, lit))


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as chosen:
        yield chosen


def test_what_was_told_comes_with_the_words_of_the_command_line() -> None:
    told = Amount(12345.0, "CNY", "2026-11-30")
    assert (str(told), str(told.times(2e-4))) == ("12,345 CNY", "2.469 CNY"), "no exponent"
    assert per_hour(11_999.6) == "$12,000/h"
    view = View(name="blue", goal=Goal.RUNNING, phase="ready", provider="toy", told_per_hour=told)
    desk = amounts.spoken({"desk": [forms.desk(view)]})["desk"][0]
    assert desk["told_per_hour"] == {**to_builtins(told), "text": "12,345 CNY"}
    assert desk["told_per_month"] is None
    others = {"params": {"value": 3, "currency": "EUR"}, "usd": [1.0, 2.0], "told": {"3": "9.53 CNY"}}
    assert amounts.spoken(others) == others


def test_a_sum_adds_no_currency_without_a_rate_to_dollars() -> None:
    one, rated = Money().dollars(9.53, "CNY"), Amount(7.0, "CNY", "2026-11-30")
    assert amounts.together([(1.2, None), one, one, (1.0, rated)]) == {"usd": 2.2, "besides": ["19.06 CNY"]}


def text(page: Page, where: str) -> str:
    page.wait_for_selector(where, timeout=LATE)
    return page.inner_text(where)


def facts(ask: Ask) -> dict[str, str]:
    """What `hotdesk show` says of the desk."""
    return dict(re.findall(r"(?m)^ *(\w+)  *(.+)$", well(ask("show", "blue")).stdout))


@pytest.mark.slow
@pytest.mark.browser
@NEEDED[0]
@NEEDED[1]
def test_a_desk_on_alibaba_cloud_costs_cny_in_every_view(
    cloud: FakeEcs, ask: Ask, chrome: Browser, tmp_path: Path
) -> None:
    """1. without a rate, nobody is shown dollars; 2. with one, they stand beside what was told.

    And a cloud that does not answer leaves what was known, with the time of it.
    """
    well(ask("up", "blue", "--gpu", "A10", "--market", "on-demand"))
    price = facts(ask)["price"]
    assert price == "9.53 CNY/h"
    with web() as served, looking(chrome, tmp_path, width=1280) as page:
        wrong = Complaints(page, served.place)
        page.goto(served.link)
        card(page, "blue", "running")
        assert text(page, ".now strong") == price
        assert f"{price} now" in text(page, ".sums")
        assert "$" not in page.inner_text("main")

        with cloud.world.lock:
            cloud.world.harms.append(Harm("*", times=None, lose="before"))
        assert "not known since" in text(page, ".card .state:has-text('unknown')")
        assert (page.inner_text(".now strong"), page.inner_text(".sums")) == (price, f"{price} now")
        with cloud.world.lock:
            cloud.world.harms.clear()
        card(page, "blue", "running")

        page.click("nav >> text=Choose")
        page.fill("input[type=search]", "ecs.gn7i-c8g1.2xlarge cn-hangzhou")
        assert " CNY/h" in text(page, "tbody tr.can")
        assert "$" not in page.inner_text(".table")
        assert " CNY/h" in (page.locator(".plot .knot title").first.text_content() or "")
        assert "CNY/h" in (page.locator(".plot svg").first.text_content() or "")
        page.fill("label:has-text('At most') input", "2")
        assert "hotdesk.toml has no rate to dollars" in text(page, "p:has-text('priced in CNY')")
        page.fill("label:has-text('At most') input", "")
        page.locator("tbody tr.can").first.click()
        page.fill("dialog label:has-text('Name') input", "green")
        assert text(page, "dialog .price strong").endswith(" CNY/h")
        page.keyboard.press("Escape")

        well(ask("park", "blue"))
        page.click("nav >> text=Desks")
        card(page, "blue", "parked")
        stored = facts(ask)["storage"].removesuffix(" for disks and images")
        assert stored.endswith(" CNY a month")
        assert stored in text(page, ".card dl")
        page.click("nav >> text=Money")
        assert re.search(r"All of it\s+\$0.00\s+and [\d.]+ CNY", text(page, ".figures"))
        assert re.search(r"Images and disks\s+[\d.]+ CNY", text(page, ".figures"))
        page.wait_for_selector("text=hotdesk.toml has no rate under [money]")
        assert [*wrong] == []

    settings = tmp_path / "hotdesk.toml"
    settings.write_text(f"{settings.read_text()}[money]\ncny_per_usd = 7.0\nday = 2026-11-30\n")
    with web() as served, looking(chrome, tmp_path, width=1280, locale="zh-CN") as page:
        page.goto(served.link)
        card(page, "blue", "已停放")
        stored = facts(ask)["storage"].removesuffix(" for disks and images")
        assert " CNY a month ($" in stored
        assert f"每月 {stored.replace(' a month', '')}" in text(page, ".card dl")
        page.click(".card button:text-is('恢复')")
        price = text(page, "dialog .price strong").replace("/小时", "/h")
        assert re.fullmatch(r"[\d.]+ CNY/h \(\$[\d.]+\)", price)
        assert price in well(ask("resume", "blue", "--dry-run")).stdout
    well(ask("down", "blue", "--yes"))
