"""A day at a local desk through the page alone, in a real browser; and what a terminal does shows in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("starlette", reason="the extra web is not installed")
pytest.importorskip("uvicorn", reason="the extra web is not installed")

from tests.conftest import Command
from tests.test_browser import run_cell, sign_in
from tests.web_rig import Complaints, browser, web

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]
LATE = 90_000


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as chosen:
        yield chosen


@contextlib.contextmanager
def looking(chrome: Browser, folder: Path, *, width: int, locale: str = "en-US") -> Iterator[Page]:
    """A window of its own; what a failure looked like is last.png in the test's folder."""
    with chrome.new_context(locale=locale, viewport={"width": width, "height": 900}) as context:
        page = context.new_page()
        try:
            yield page
        finally:
            page.screenshot(path=folder / "last.png")


def card(page: Page, name: str, state: str) -> None:
    page.wait_for_selector(f"section.card:has(h2:text-is('{name}')) .state:has-text('{state}')", timeout=LATE)


def confirm(page: Page, verb: str, name: str) -> None:
    """The dialog of a verb shows what it will do, and the line for the terminal; then it is done."""
    page.wait_for_selector("dialog .steps li")
    line = page.text_content("dialog .line >> nth=-1")
    assert line is not None
    assert f"hotdesk {verb} {name}" in line
    page.click("dialog button[type=submit]")
    page.wait_for_selector("dialog", state="detached")


def test_a_day_at_a_desk(hotdesk: Command, chrome: Browser, tmp_path: Path) -> None:
    with web() as served, looking(chrome, tmp_path, width=1280) as page:
        wrong = Complaints(page, served.place)
        page.goto(served.link)
        page.wait_for_selector(".empty")
        assert "/enter" not in page.url, "the token does not stay in the address"

        page.click("text=Open a desk")
        page.fill("dialog input >> nth=0", "blue")
        page.wait_for_selector("dialog .steps >> text=this computer costs nothing")
        confirm(page, "up", "blue")
        page.wait_for_selector(".doing progress", timeout=LATE)
        card(page, "blue", "running")

        page.click(".card button:text-is('Jupyter')")
        password = page.text_content("dialog .line code")
        assert password
        with page.context.expect_page() as opened:
            page.click("dialog a:has-text('Open Jupyter')")
        jupyter = opened.value
        sign_in(jupyter, password)
        run_cell(jupyter, "print(6 * 7)", "42")
        jupyter.close()
        page.click("dialog .close")

        page.click(".card button:text-is('Park')")
        page.wait_for_selector("dialog >> text=Read the image back")
        confirm(page, "park", "blue")
        card(page, "blue", "parked")

        assert hotdesk("resume", "blue").returncode == 0
        card(page, "blue", "running")
        page.click(".card summary:has-text('Journal')")
        assert page.locator("details .done:has-text('Read the image back')").count() == 1

        page.click(".card button:text-is('Stop')")
        confirm(page, "stop", "blue")
        card(page, "blue", "stopped")

        page.click(".card button:text-is('Delete')")
        page.wait_for_selector("dialog .steps li")
        assert page.is_disabled("dialog button[type=submit]")
        page.fill("dialog input", "blu")
        assert page.is_disabled("dialog button[type=submit]")
        page.fill("dialog input", "blue")
        confirm(page, "down", "blue")
        page.wait_for_selector(".empty", timeout=LATE)
        assert [*wrong] == []


def test_the_page_says_that_it_is_not_told_any_more(home: Path, chrome: Browser, tmp_path: Path) -> None:
    """1. the server is killed; 2. another one answers at its port, which does not know this browser."""
    with looking(chrome, tmp_path, width=1280) as page:
        with web() as served:
            page.goto(served.link)
            page.wait_for_selector(".empty")
        page.wait_for_selector("text=what is now is not known")
        with web("--port", served.place.rpartition(":")[2]) as again:
            page.wait_for_selector("text=open the address that it printed")
            page.goto(again.link)
            page.wait_for_selector(".empty")
            assert page.locator("[role=alert]").count() == 0


def test_a_keyboard_is_enough(home: Path, chrome: Browser, tmp_path: Path) -> None:
    with web() as served, looking(chrome, tmp_path, width=400, locale="zh-CN") as page:
        page.goto(served.link)
        page.wait_for_selector("h1:has-text('工作台')")
        assert page.get_attribute("html", "lang") == "zh-CN"
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent") == "打开工作台":
                break
        page.keyboard.press("Enter")
        page.wait_for_selector("dialog[open]")
        page.keyboard.type("blue")
        page.wait_for_selector("dialog .steps li")
        page.keyboard.press("Escape")
        page.wait_for_selector("dialog", state="detached")
        assert page.evaluate("document.documentElement.scrollWidth") == 400, "nothing is wider"
