"""What the page says when something fails: the truth, and since when it is not known."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

pytest.importorskip("starlette", reason="the extra web is not installed")
pytest.importorskip("uvicorn", reason="the extra web is not installed")
pytest.importorskip("wsproto", reason="the extra web is not installed")

from tests.conftest import Command
from tests.light.desk import light_cloud
from tests.test_web_page import LATE, card
from tests.web_rig import Complaints, browser, idle_for, images_held, looking, web

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as chosen:
        yield chosen


def test_the_server_is_killed_while_it_parks(hotdesk: Command, chrome: Browser, tmp_path: Path) -> None:
    """The page says that nothing is known; the next one says what was begun, and the line that goes on."""
    assert hotdesk("up", "blue").returncode == 0
    with looking(chrome, tmp_path, width=1280) as page:
        with web() as served:
            page.goto(served.link)
            with images_held(tmp_path / "state"):
                page.click(".card button:text-is('Park')")
                page.wait_for_selector("dialog .steps li")
                page.click("dialog button[type=submit]")
                page.wait_for_selector(".doing .what:has-text('Park')", timeout=LATE)
                page.wait_for_selector(".doing .journal li:has-text('Take an image')", timeout=LATE)
                served.end(signal.SIGKILL)
            page.wait_for_selector("text=what is now is not known")
        with web("--port", served.place.rpartition(":")[2]) as again:
            page.wait_for_selector("text=open the address that it printed", timeout=LATE)
            page.goto(again.link)
            page.wait_for_selector(
                ".notice:has-text('It was to be parked') code:text-is('hotdesk watch blue')", timeout=LATE
            )
            assert hotdesk("watch", "--once", "blue").returncode == 0
            card(page, "blue", "parked")


def test_a_sleeping_computer_and_a_clock_that_jumps(home: Path, chrome: Browser, tmp_path: Path) -> None:
    """The last look is hours old, as after a night with the lid closed: that is said until the next one."""
    with web() as served, looking(chrome, tmp_path, width=1280) as page:
        page.clock.install()
        page.goto(served.link)
        page.wait_for_selector(".empty")
        os.kill(served.process.pid, signal.SIGSTOP)
        page.clock.fast_forward("08:00:00")
        page.wait_for_selector(".notice:has-text('Nothing is known since')", timeout=LATE)
        os.kill(served.process.pid, signal.SIGCONT)


def test_a_state_that_cannot_be_read_is_said_in_three_lines(
    hotdesk: Command, chrome: Browser, tmp_path: Path
) -> None:
    """1. of a newer hotdesk; 2. as it was again: the desk is back, and nothing was changed."""
    assert hotdesk("up", "blue").returncode == 0
    file = tmp_path / "state" / "hotdesk.db"
    with sqlite3.connect(file) as store:
        version = store.execute("PRAGMA user_version").fetchone()[0]
        store.execute("PRAGMA user_version = 9999")
    store.close()
    with web() as served, looking(chrome, tmp_path, width=1280) as page:
        page.goto(served.link)
        page.wait_for_selector("[role=alert] strong", timeout=LATE)
        said = page.inner_text("[role=alert]")
        assert "newer" in said
        assert "Traceback" not in said
        with sqlite3.connect(file) as store:
            store.execute(f"PRAGMA user_version = {version}")
        store.close()
        card(page, "blue", "running")
        page.wait_for_selector("[role=alert]", state="detached", timeout=LATE)


def test_the_state_of_yesterday_shows_what_is_today(
    hotdesk: Command, chrome: Browser, tmp_path: Path
) -> None:
    """1. blue is up, and the state is copied; 2. it is parked; 3. the copy is put back, as from a backup.

    The row says that blue runs. It is parked, and that is said, with how that is known.
    """
    state = tmp_path / "state"
    assert hotdesk("up", "blue").returncode == 0
    with contextlib.closing(sqlite3.connect(state / "hotdesk.db")) as store:
        store.execute("VACUUM INTO ?", (str(tmp_path / "yesterday.db"),))
    assert hotdesk("park", "blue").returncode == 0
    for file in state.glob("hotdesk.db*"):
        file.unlink()
    (tmp_path / "yesterday.db").rename(state / "hotdesk.db")
    with web() as served, looking(chrome, tmp_path, width=1280) as page:
        page.goto(served.link)
        card(page, "blue", "parked")
        page.wait_for_selector(".card:has-text('is newer than what is known here')")


def test_two_browsers_and_a_terminal_see_the_same(hotdesk: Command, chrome: Browser, tmp_path: Path) -> None:
    """1. one browser parks, and the other sees each step; 2. a terminal deletes, and both see it gone."""
    assert hotdesk("up", "blue").returncode == 0
    with (
        web() as served,
        looking(chrome, tmp_path, width=1280) as one,
        looking(chrome, tmp_path, width=1280) as other,
    ):
        one.goto(served.link)
        other.goto(served.link_again())
        card(one, "blue", "running")
        card(other, "blue", "running")
        one.click(".card button:text-is('Park')")
        one.wait_for_selector("dialog .steps li")
        one.click("dialog button[type=submit]")
        other.wait_for_selector(".doing .journal li:has-text('Stop the machine')", timeout=LATE)
        card(one, "blue", "parked")
        card(other, "blue", "parked")
        assert hotdesk("down", "blue", "--yes").returncode == 0
        for page in (one, other):
            page.wait_for_selector(".card", state="detached", timeout=LATE)


def answering(state: Path) -> list[psutil.Process]:
    """What asks the clouds for a page."""
    words = ["hotdesk.web.answering", str(state)]
    return [one for one in psutil.process_iter(["cmdline"]) if (one.info["cmdline"] or [])[-2:] == words]


def test_what_asks_the_clouds_is_killed_and_another_looks(
    hotdesk: Command, chrome: Browser, tmp_path: Path
) -> None:
    assert hotdesk("up", "blue").returncode == 0
    with web() as served, looking(chrome, tmp_path, width=1280) as page:
        page.goto(served.link)
        card(page, "blue", "running")
        asking = answering(tmp_path / "state")
        assert asking
        for process in asking:
            process.kill()
        assert hotdesk("park", "blue").returncode == 0
        card(page, "blue", "parked")


def test_a_rented_desk_tells_how_long_it_has_been_idle(
    hotdesk: Command, chrome: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. Its watch looks, and the page hears of it over one connection, as any door does then; 2. the watch
    has not looked for long: the page says since when it is not known; 3. the page ends, and listens no more.
    """
    with light_cloud(tmp_path, monkeypatch):
        assert hotdesk("up", "red", "--type", "t3.medium", "--idle", "45m").returncode == 0
        assert hotdesk("ssh", "red", "--", idle_for(720)).returncode == 0
        with web() as served, looking(chrome, tmp_path, width=1280) as page:
            page.clock.install()
            page.goto(served.link)
            page.wait_for_selector(
                "dl div:has(dt:text-is('Idle')):has-text('12 min · parks after 45 min')", timeout=LATE
            )
            [row] = json.loads(hotdesk("ls", "--json").stdout)
            assert row["idle_seconds"] == pytest.approx(720, abs=30)
            assert json.loads(hotdesk("show", "red", "--json").stdout)["idle_seconds"] == row["idle_seconds"]
            listening = [
                p
                for asking in answering(tmp_path / "state")
                for p in asking.children(recursive=True)
                if "worked" in " ".join(p.cmdline())
            ]
            assert len(listening) == 1
            page.clock.fast_forward("05:00")
            page.wait_for_selector("dl div:has(dt:text-is('Idle')):has-text('not known since')", timeout=LATE)
        psutil.wait_procs(listening, 60)
        assert not any(p.is_running() for p in listening)
        assert hotdesk("down", "red", "--yes").returncode == 0


def test_what_is_left_over_is_cleaned_with_one_click(
    hotdesk: Command, chrome: Browser, tmp_path: Path
) -> None:
    half = tmp_path / "state" / "local" / "machines" / "hotdesk-gone-g1-12345678"
    half.mkdir(parents=True)
    with web() as served, looking(chrome, tmp_path, width=1280) as page:
        wrong = Complaints(page, served.place)
        page.goto(served.link)
        page.click("nav >> text=Money")
        page.click("button:text-is('Clean up')", timeout=LATE)
        assert "half-made machine" in page.inner_text("dialog")
        assert half.exists(), "nothing before the click"
        page.click("dialog button.danger")
        page.wait_for_selector("text=Nothing is left over.", timeout=LATE)
        for _ in range(100):  # a worker of its own empties it
            if not half.exists():
                break
            page.wait_for_timeout(100)
        assert not half.exists()
        assert [*wrong] == []
