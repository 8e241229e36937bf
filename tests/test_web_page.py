"""A day at a local desk through the page alone, in a real browser; and what a terminal does shows in it."""

from __future__ import annotations

import contextlib
import json
import shlex
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

pytest.importorskip("starlette", reason="the extra web is not installed")
pytest.importorskip("uvicorn", reason="the extra web is not installed")
pytest.importorskip("wsproto", reason="the extra web is not installed")

from hotdesk.cli.main import hotdesk as commands
from hotdesk.connect import forwards
from hotdesk.core.model import Desk, Goal
from hotdesk.core.sweep.model import State
from hotdesk.state.store import Store
from hotdesk.sweep.store import SweepStore
from hotdesk.system import SystemClock
from tests.conftest import Command
from tests.test_browser import run_cell, sign_in
from tests.web_rig import Complaints, browser, images_held, looking, swept, web, weeks

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]
LATE = 90_000


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as chosen:
        yield chosen


def card(page: Page, name: str, state: str) -> None:
    from playwright.sync_api import TimeoutError  # noqa: A004

    wanted = f"section.card:has(h2:text-is('{name}')) .state:has-text('{state}')"
    try:
        page.wait_for_selector(wanted, timeout=LATE)
    except TimeoutError as error:
        raise AssertionError(f"{name} is not {state}; the page shows: {page.inner_text('body')}") from error


@contextlib.contextmanager
def an_app() -> Iterator[int]:
    """A web app on a port of the loopback, which a desk on this computer shares."""

    class App(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"seen")

    with ThreadingHTTPServer(("127.0.0.1", 0), App) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield serving.server_port
        serving.shutdown()


def confirm(page: Page, verb: str, name: str) -> None:
    """The dialog of a verb shows what it will do, and the line for the terminal; then it is done."""
    page.wait_for_selector("dialog .steps li")
    line = page.text_content("dialog .line >> nth=-1")
    assert line is not None
    assert f"hotdesk {verb} {name}" in line
    page.click("dialog button[type=submit]")
    page.wait_for_selector("dialog", state="detached")


def copied(page: Page, verb: str, sources: str, to: str, names: str) -> None:
    """Files go to the desk, or come from it, once they were shown."""
    page.wait_for_selector(".doing .what", state="detached", timeout=LATE)
    page.click(f"button:text-is('{verb}')")
    page.fill("dialog textarea", sources)
    page.fill("dialog label:has-text('To the folder') input", to)
    page.wait_for_selector(f"dialog .plan:has-text('{names}')", timeout=LATE)
    page.click("dialog button[type=submit]")
    page.wait_for_selector("dialog", state="detached", timeout=LATE)


def test_a_day_at_a_desk(hotdesk: Command, chrome: Browser, tmp_path: Path) -> None:
    with web() as served, looking(chrome, tmp_path, width=1280) as page:
        wrong = Complaints(page, served.place)
        page.goto(served.link)
        page.wait_for_selector(".empty")
        assert "/enter" not in page.url, "the token does not stay in the address"

        page.click("text=Open a desk")
        assert page.input_value("dialog input >> nth=0") == "blue", "the first desk has a name already"
        page.wait_for_selector("dialog .steps >> text=this computer costs nothing")
        confirm(page, "up", "blue")
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

        page.click(".card a:text-is('Terminal')")
        page.wait_for_selector("text=connected", timeout=LATE)
        page.keyboard.insert_text("echo made [$((6 * 7))] > made-here; cat made-here")
        page.keyboard.press("Enter")
        page.wait_for_selector(".xterm-rows > div:has-text('made [42]')", timeout=LATE)
        page.click("text=To the desks")

        page.click(".card summary:has-text('Files, editor, disk')")
        page.click("button:text-is('VS Code')")
        link = page.get_attribute("dialog a", "href")
        assert link
        assert link.startswith("vscode://vscode-remote/ssh-remote+hotdesk-blue/")
        page.click("dialog .close")
        (tmp_path / "sent").mkdir()
        (tmp_path / "sent" / "data.csv").write_text("1,2\n")
        copied(page, "Send files", str(tmp_path / "sent"), "from-here", "sent/data.csv")
        came = tmp_path / "came"
        copied(page, "Fetch files", "made-here\nfrom-here/sent", str(came), "made-here")
        page.wait_for_selector(".doing .what", state="detached", timeout=LATE)
        assert (came / "made-here").read_text() == "made [42]\n"
        assert (came / "sent" / "data.csv").read_text() == "1,2\n"

        with an_app() as there:
            here = forwards.choose(there + 1, set(), "blue")
            page.click("button:text-is('Forward a port')")
            page.fill("dialog input", f"{here}:{there}")
            page.click("dialog button[type=submit]")
            with page.context.expect_page() as opened:
                page.click("dialog a", timeout=LATE)
            assert opened.value.inner_text("body").strip() == "seen"
            page.click("dialog .close")
            page.wait_for_selector(f".card li a[href$=':{here}']", timeout=LATE)
            page.click("button:text-is('Stop forwarding')")
            page.wait_for_selector(".card li a", state="detached", timeout=LATE)
            assert json.loads(hotdesk("forward", "blue", "--json").stdout) == []

        page.click(".card button:text-is('Park')")
        page.wait_for_selector("dialog >> text=Read the image back")
        confirm(page, "park", "blue")
        card(page, "blue", "parked")

        page.click(".card button:text-is('Resume')")
        with images_held(tmp_path / "state"):
            confirm(page, "resume", "blue")
            page.wait_for_selector(".doing progress", timeout=LATE)
        card(page, "blue", "running")
        page.click(".card summary:has-text('What works there')")
        page.wait_for_selector(".working >> text=Nothing works there just now.", timeout=LATE)
        assert hotdesk("ssh", "blue", "--", "cat made-here").stdout == "made [42]\n"
        page.click(".card summary:has-text('Journal')")
        page.wait_for_selector("details .done:has-text('Read the image back')", timeout=LATE)
        assert page.locator("details .done:has-text('Read the image back')").count() == 1

        page.click(".card button:text-is('Stop')")
        confirm(page, "stop", "blue")
        card(page, "blue", "stopped")

        page.click(".card button:text-is('Delete')")
        page.wait_for_selector("dialog .steps li")
        assert page.is_disabled("dialog button[type=submit]")
        page.fill("dialog label:has-text('Type its name') input", "blu")
        assert page.is_disabled("dialog button[type=submit]")
        page.fill("dialog label:has-text('Type its name') input", "blue")
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


def test_what_was_begun_and_left_is_said_with_the_line_that_goes_on(
    home: Path, chrome: Browser, tmp_path: Path
) -> None:
    """As after a page, or a command, that was killed while it opened a desk."""
    with Store(tmp_path / "state") as store:
        now = SystemClock().now()
        store.put(Desk(name="blue", goal=Goal.RUNNING, since=now, created_at=now))
    with web() as served, looking(chrome, tmp_path, width=1280) as page:
        page.goto(served.link)
        card(page, "blue", "without a machine")
        page.wait_for_selector(".notice code:text-is('hotdesk watch blue')")
        page.wait_for_selector(".notice:has-text('It was to be running')")


def test_a_keyboard_is_enough(home: Path, chrome: Browser, tmp_path: Path) -> None:
    with web() as served, looking(chrome, tmp_path, width=400, locale="zh-CN") as page:
        page.goto(served.link)
        page.wait_for_selector("h1:has-text('工位')")
        assert page.get_attribute("html", "lang") == "zh-CN"
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent") == "打开工位":
                break
        page.keyboard.press("Enter")
        page.wait_for_selector("dialog[open]")
        page.keyboard.type("red")
        page.wait_for_selector("dialog .line:has-text('hotdesk up red')")
        page.keyboard.press("Escape")
        page.wait_for_selector("dialog", state="detached")
        assert page.evaluate("document.activeElement.textContent") == "打开工位", "it comes back"
        assert page.evaluate("document.documentElement.scrollWidth") == 400, "nothing is wider"
        page.focus(".brand")
        for _ in range(page.locator("nav a").count()):
            page.keyboard.press("Tab")
            left, right = page.evaluate(
                "(({ left, right }) => [left, right])(document.activeElement.getBoundingClientRect())"
            )
            assert 0 <= left < right <= 400, "where the focus is can be seen"


def test_every_line_to_copy_is_a_command(home: Path, chrome: Browser, tmp_path: Path) -> None:
    """click reads what each view offers to paste, with filters set."""
    weeks(tmp_path / "state", jobs=3)
    swept(tmp_path / "state", 60)
    addresses = (
        "choose?q=west&gpu=L4&market=spot&usd=2&memory=16&sort=value&spot=g6.xlarge",
        "plan?deadline=12&budget=2000&data=5&gpu=L4",
        "plan?price=3",
        "runs?job=2",
        "sweeps?task=12",
    )
    with web() as served, looking(chrome, tmp_path, width=1280) as page:
        page.goto(served.link)
        page.wait_for_selector("nav")
        seen = set()
        for address in addresses:
            page.goto(f"{served.place}/#/{address}")
            page.wait_for_selector("main .line code")
            page.wait_for_timeout(500)
            lines = page.locator(".line code").all_inner_texts()
            seen |= {text for text in lines if text.startswith("hotdesk ")}
    assert len(seen) >= 5
    for text in seen:
        _, verb, *words = shlex.split(text, comments=True)
        command = commands.get_command(None, verb)  # type: ignore[arg-type]
        assert command is not None, text
        command.make_context(verb, words)


def test_settings_are_checked_before_they_are_written(home: Path, chrome: Browser, tmp_path: Path) -> None:
    with web() as served, looking(chrome, tmp_path, width=1280) as page:
        page.goto(served.link)
        page.wait_for_selector("nav")
        page.goto(f"{served.place}/#/doctor")
        page.fill("textarea", "[defaults]\nusd_per_mont = 5\n")
        page.wait_for_selector("[role=alert] >> text=did you mean 'usd_per_month'?")
        assert page.is_disabled("button:text-is('Save')")
        page.fill("textarea", "[defaults]\nusd_per_month = 5\n")
        page.click("button:text-is('Save')")
        page.wait_for_selector("text=Written.")
    file = home / ".config" / "hotdesk" / "hotdesk.toml"
    assert file.read_text() == "[defaults]\nusd_per_month = 5\n"


def test_a_job_is_followed_and_cancelled_and_its_log_outlives_the_machine(
    hotdesk: Command, chrome: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "train.sh").write_text("for n in $(seq 500); do echo step $n; sleep 0.2; done\n")
    monkeypatch.chdir(project)
    (project / "hotdesk.toml").write_text(
        '[jobs.train]\ncommand = "bash train.sh"\nthen = "stay"\ndeadline = "5h"\nwork = "1h"\n'
    )
    assert hotdesk("up", "blue").returncode == 0
    with web() as served, looking(chrome, tmp_path, width=1280) as page:
        page.goto(served.link)
        page.wait_for_selector("nav")
        page.goto(f"{served.place}/#/runs")
        page.click("button:text-is('Start a job')")
        page.wait_for_selector("dialog .price:has-text('free')", timeout=LATE)
        assert page.inner_text("dialog .line code") == f"cd {project} && hotdesk run blue --detach train"
        page.select_option("dialog label:has-text('Job') select", "")
        page.fill("dialog label:has-text('Command') input", "bash trian.sh")
        page.wait_for_selector("dialog [role=alert]:has-text('trian.sh')", timeout=LATE)
        assert page.is_disabled("dialog button[type=submit]"), "what cannot be is not paid for"
        page.select_option("dialog label:has-text('Job') select", "train")
        page.wait_for_selector("dialog .plan:has-text('Then it runs: bash train.sh')", timeout=LATE)
        page.click("dialog button[type=submit]")
        page.wait_for_selector("tbody td:has-text('running')", timeout=LATE)
        page.click("tbody tr.can")
        page.wait_for_selector("pre:has-text('step 3')", timeout=LATE)
        page.wait_for_selector("pre:has-text('step 12')", timeout=LATE)
        page.fill("input[aria-label='Search the log']", "step 12")
        assert "step 11" not in (page.text_content("pre") or "")
        page.wait_for_selector(".progress:has-text('% done'):has-text('deadline in 5 h')", timeout=LATE)
        with page.expect_download() as download:
            page.click("button:text-is('Download')")
        assert download.value.suggested_filename == "blue-job-1.log"
        assert Path(download.value.path()).read_text().startswith("step 1\nstep 2\n")

        page.goto(f"{served.place}/#/desks")
        page.click(".card summary:has-text('What works there')")
        page.wait_for_selector(".working li:has-text('job 1 runs (bash train.sh)')", timeout=LATE)
        page.go_back()
        page.click("button:text-is('Cancel the job')")
        page.click("dialog button.danger")
        page.wait_for_selector("tbody td:has-text('cancelled')", timeout=LATE)
        assert hotdesk("park", "blue", "--yes").returncode == 0
        page.reload()
        page.wait_for_selector("pre:has-text('step 12')", timeout=LATE)


def test_a_sweep_is_searched_read_and_ended(home: Path, chrome: Browser, tmp_path: Path) -> None:
    """Its end is made by a process of its own, which the click begins."""
    swept(tmp_path / "state", 3000, over=False)
    with web() as served, looking(chrome, tmp_path, width=1280) as page:
        wrong = Complaints(page, served.place)
        page.goto(served.link)
        page.wait_for_selector("nav")
        page.goto(f"{served.place}/#/sweeps")
        page.wait_for_selector("[role=img][aria-label='2000 done, 250 failed, 750 waiting']")
        page.wait_for_selector(
            ".progress:has-text('75 % done'):has-text('left ('):has-text('deadline in 5 h')"
        )
        assert (
            page.locator(".progress svg .limit").count()
            == page.locator(".progress svg .whisker").count()
            == 1
        )
        tasks = page.locator("section.card:has(h2:text-is('Tasks'))")
        assert tasks.locator("tbody tr.can").count() < 60, "only what is in view is drawn"
        tasks.locator("button:text-is('loss')").click()
        losses = [
            float(text) for text in tasks.locator("tbody tr.can td:nth-child(6)").all_inner_texts() if text
        ]
        assert losses == sorted(losses)
        assert len(losses) > 10
        tasks.locator("button:text-is('loss')").click()
        assert float(tasks.locator("tbody tr.can td:nth-child(6)").first.inner_text()) > max(losses)

        page.select_option("select:has(option[value=failed])", "done")
        page.wait_for_selector("text=2,000 of 3,000 tasks")
        box = tasks.locator(".table")
        box.evaluate("e => e.scrollTop = 5000")
        with SweepStore(tmp_path / "state") as store:
            one = replace(store.task(1, 1), state=State.DONE, ended_at=SystemClock().now())
            store.put(1, [one])
        page.wait_for_selector("text=2,001 of 3,000 tasks", timeout=LATE)
        assert box.evaluate("e => e.scrollTop") == 5000, "whoever reads is left where they are"
        page.select_option("select:has(option[value=failed])", "")

        page.fill("input[type=search] >> nth=0", "MEMORYERROR")
        page.wait_for_selector("text=0 of 3,000 tasks")
        page.fill("input[type=search] >> nth=0", "depth=8 lion")
        page.select_option("select:has(option[value=failed])", "failed")
        page.wait_for_function("document.querySelectorAll('.state-failed').length > 1")
        shown = int((tasks.locator("header p").inner_text()).split()[0])
        again = tasks.locator("header button")
        assert again.inner_text() == f"Retry {shown}"
        again.click()
        words = shlex.split(page.inner_text("dialog .line code"))
        assert words[:4] == ["hotdesk", "sweep", "retry", "1"]
        assert words.count("--task") == shown
        page.keyboard.press("Escape")
        tasks.locator("tbody tr.can").first.click()
        page.wait_for_selector("pre:has-text('MemoryError in task')")

        page.click("button:text-is('Cancel the sweep')")
        page.click("dialog button.danger")
        page.wait_for_selector(
            "h2:has-text('Sweep 1 · cancelled'), h2:has-text('Sweep 1 · stopped')", timeout=LATE
        )
        page.wait_for_selector("[role=img][aria-label='2001 done, 250 failed, 749 cancelled']")
        assert [*wrong] == []


def test_a_line_of_the_plot_is_a_task(home: Path, chrome: Browser, tmp_path: Path) -> None:
    """The lowest line at the metric's axis is the lowest value in the table."""
    swept(tmp_path / "state", 300)
    with web() as served, looking(chrome, tmp_path, width=1280) as page:
        page.goto(served.link)
        page.wait_for_selector("nav")
        page.goto(f"{served.place}/#/sweeps?sort=metric+loss")
        box = page.locator(".across svg").bounding_box()
        assert box
        page.locator(".across svg").click(position={"x": box["width"] - 25, "y": box["height"] - 12})
        page.wait_for_selector("tr.chosen")
        first = page.locator("section.card:has(h2:text-is('Tasks')) tbody tr").first
        assert "chosen" in (first.get_attribute("class") or "")
