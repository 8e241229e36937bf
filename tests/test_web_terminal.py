"""The terminal in the page: a desk's own shell, in Chromium, under the page's policy."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("starlette", reason="the extra web is not installed")
pytest.importorskip("uvicorn", reason="the extra web is not installed")
pytest.importorskip("wsproto", reason="the extra web is not installed")

from tests.conftest import Command
from tests.test_web_looks import RULES, axe  # noqa: F401
from tests.web_rig import Complaints, Web, browser, looking, web

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.tools("tmux")]


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as chosen:
        yield chosen


def says(page: Page, text: str) -> None:
    """It stands on the terminal's screen."""
    page.wait_for_selector(f".xterm-rows > div:has-text('{text}')", timeout=30_000)


def typed(page: Page, line: str) -> None:
    page.keyboard.insert_text(line)
    page.keyboard.press("Enter")


def its_ssh(served: Web) -> int:
    """The process of the ssh that a page's terminal runs."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if parent == served.process.pid and words[0].endswith(b"ssh"):
            return int(folder.name)
    raise AssertionError("no ssh runs")


def test_a_terminal_is_a_desks_own_shell(hotdesk: Command, chrome: Browser, tmp_path: Path) -> None:
    """Colours under the policy, its size, Chinese by an input method, a way out by keyboard, its end."""
    assert hotdesk("up", "blue").returncode == 0
    with web() as served, looking(chrome, tmp_path, width=1280) as page:
        wrong = Complaints(page, served.place)
        page.goto(served.link)
        page.click(".card a:text-is('Terminal')")
        page.wait_for_selector("text=connected")
        typed(page, "tmux set -as terminal-features ',xterm*:RGB'")
        typed(
            page,
            r"clear; printf 'a \033[31mred\033[0m \033[38;2;200;30;150mpink\033[0m.\n'; echo [$((6 * 7))]",
        )
        says(page, "[42]")
        assert colour(page, "red") != colour(page, "a")
        assert colour(page, "pink") not in {colour(page, "red"), colour(page, "a")}

        typed(page, "clear; stty size")
        before = size_told(page)
        page.set_viewport_size({"width": 700, "height": 700})
        page.wait_for_timeout(300)
        typed(page, "clear; stty size")
        page.wait_for_selector(f".xterm-rows:not(:has-text('{before}'))")
        rows, columns = map(int, size_told(page).split())
        assert rows < int(before.split()[0])
        assert columns < int(before.split()[1])

        method = page.context.new_cdp_session(page)
        page.keyboard.insert_text("clear; echo [$(printf '")
        method.send("Input.imeSetComposition", {"text": "nihao", "selectionStart": 5, "selectionEnd": 5})
        method.send("Input.insertText", {"text": "你好"})
        says(
            page, "你好"
        )  # the composed text is taken after the event: what is typed at once would overtake it
        typed(page, "' | wc -m)]你好")
        says(page, "[2]你好")

        page.keyboard.press("Control+F6")
        assert page.evaluate("document.activeElement.textContent") == "To the desks"
        page.click(".screen")
        typed(page, "exit")
        page.wait_for_selector("text=The terminal has ended.")
        page.click("text=Open again")
        page.wait_for_selector("text=connected")
        assert [*wrong] == []


def test_a_cut_is_mended_and_a_second_browser_sees_the_same(
    hotdesk: Command,
    chrome: Browser,
    axe: str,  # noqa: F811
) -> None:
    """1. the ssh is killed; 2. the server is, and comes back at its port: what ran at the desk still runs."""
    assert hotdesk("up", "blue").returncode == 0
    with chrome.new_context() as context, chrome.new_context(bypass_csp=True) as other:
        page, second = context.new_page(), other.new_page()
        with web() as served:
            page.goto(served.link)
            page.click(".card a:text-is('Terminal')")
            page.wait_for_selector("text=connected")
            typed(page, "stay=here; echo [$((40 + 3))]")
            says(page, "[43]")  # it has arrived, before the line is cut
            os.kill(its_ssh(served), signal.SIGKILL)
            page.wait_for_selector("text=trying again")
            page.wait_for_selector("text=connected")
            typed(page, "clear; echo [still $stay]")
            says(page, "[still here]")

            second.goto(hotdesk("web", "--url").stdout.strip())
            second.click(".card a:text-is('Terminal')")
            says(second, "[still here]")
            typed(second, "echo [from $stay too]")
            says(page, "[from here too]")
            second.evaluate(axe)
            found = second.evaluate(f"axe.run({RULES})")
            assert [(v["id"], v["nodes"][0]["html"][:120]) for v in found["violations"]] == []
        page.wait_for_selector("text=what is now is not known")
        with web("--port", served.place.rpartition(":")[2]) as again:
            page.goto(again.link)
            page.click(".card a:text-is('Terminal')")
            says(page, "[from here too]")


def test_what_prints_without_end_is_made_to_wait(hotdesk: Command, chrome: Browser, tmp_path: Path) -> None:
    """A terminal without tmux prints as fast as it can: the page stays usable, and Ctrl-C is obeyed."""
    assert hotdesk("up", "blue").returncode == 0
    with web() as served, looking(chrome, tmp_path, width=1280) as page:
        page.goto(served.link)
        page.click(".card a:text-is('Terminal')")
        page.wait_for_selector("text=connected")
        typed(page, "yes 'no end'")
        says(page, "no end")
        page.wait_for_timeout(1500)
        page.keyboard.press("Control+c")
        typed(page, "clear; echo [$((6 * 7))]")
        says(page, "[42]")


def colour(page: Page, text: str) -> str:
    """The colour of a word on the screen."""
    return str(
        page.locator(f".xterm-rows span:text-is('{text}')").first.evaluate("e => getComputedStyle(e).color")
    )


def size_told(page: Page) -> str:
    """What `stty size` has said, at the top of the screen."""
    page.wait_for_selector(".xterm-rows > div:nth-child(1):has-text(' ')")
    told = page.locator(".xterm-rows > div").first.inner_text().replace("\xa0", " ").strip()
    return told if re.fullmatch(r"\d+ \d+", told) else size_told(page)
