"""Ten hours at the page in one, in Chromium, against a real `hotdesk web`: `python -m benchmarks.page_soak`.

Fifty desks, 1,000 jobs and a sweep of 1,000 tasks are made; another desk is real, on this computer, and a job
at it writes a line a second. A desk changes and a row of the journal comes each second. Every six seconds the
page is used: each view is looked at, searched and scrolled, dialogs are opened, a terminal typed into, a log
followed, the window hidden and shown, the connection cut, the language changed, another window opened.

What may grow is read off at the same place each time, the desks' cards, after garbage is collected. The start
is the end of the first round: all that is loaded once is there by then. `--minutes 60` is how long it lasts.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.page import FILTER, beside, made_state, memory
from hotdesk.core.model import Desk, Goal
from hotdesk.core.steps import Done, Prove
from hotdesk.state.store import Store
from hotdesk.system import SystemClock, ticks
from tests.web_rig import Web, browser, swept

if TYPE_CHECKING:
    from playwright.sync_api import CDPSession, Page

USED_EVERY = 6.0  # seconds
QUARTERS = 4
#: Hides the page from its own view, as when its window is covered, or shows it again.
HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
SCROLL = "(e) => { e.scrollTop = e.scrollHeight / 2; }"
SLIDE = """(e) => {
  e.value = e.value === e.max ? e.min : e.max;
  e.dispatchEvent(new Event("input", { bubbles: true }));
}"""


def hotdesk(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "hotdesk", *words], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    asked = parser.parse_args()
    with made_state() as state:
        swept(state, 1000)
        hotdesk("up", "real", "--provider", "local", "--idle", "never")
        try:
            project = state.parent / "project"
            project.mkdir()
            os.chdir(project)
            seconds = int(asked.minutes * 60) + 300
            says = f"for n in $(seq {seconds}); do echo line $n of a log; sleep 1; done\n"
            (project / "train.sh").write_text(says)
            hotdesk("run", "real", "--detach", "--then", "stay", "--", "bash", "train.sh")
            web = Web()
            try:
                soaked(web, state, asked.minutes)
            finally:
                web.end()
        finally:
            os.chdir("/")
            hotdesk("down", "real", "--yes")


def soaked(web: Web, state: Path, minutes: float) -> None:
    with browser() as chosen, changing(state):
        context = chosen.new_context(bypass_csp=True, viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.set_default_timeout(120_000)
        troubles: list[str] = []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(web.link)
        session = context.new_cdp_session(page)
        session.send("Performance.enable")
        uses = used(page, web)
        for use in uses.values():
            use()
        found = {"start": sizes(web, page, session)}
        began, rounds = ticks(), itertools.cycle(uses.items())
        for quarter in range(1, QUARTERS + 1):
            while ticks() - began < minutes * 60 * quarter / QUARTERS:
                after = ticks()
                name, use = next(rounds)
                try:
                    use()
                except Exception as error:
                    troubles.append(f"{name}: {str(error).splitlines()[0]}")
                page.wait_for_timeout(max(0.0, USED_EVERY - (ticks() - after)) * 1000)
            found[f"{minutes * quarter / QUARTERS:g} min"] = sizes(web, page, session)
            told(found)
        print(f"{'troubles':36} {len(troubles)} {troubles[:5] or ''}", flush=True)


def used(page: Page, web: Web) -> dict[str, Callable[[], Any]]:
    """The uses of the page that take turns, by name."""
    context = page.context

    def see(what: str) -> None:  # unlike `wait_for_selector`, it leaves no handle that keeps the element
        page.locator(what).first.wait_for()

    def gone(what: str) -> None:
        page.locator(what).first.wait_for(state="detached")

    def go(view: str, sign: str) -> None:
        page.goto(f"{web.place}/#/{view}")
        see(sign)

    def card(words: str) -> str:
        return f"section.card:has(h2:text-is('real')) {words}"

    def works() -> None:
        go("desks", ".card")
        page.click(card("summary:has-text('What works there')"))
        see(card(".working li"))

    def dialog(button: str, name: str = "") -> None:
        go("desks", ".card")
        page.click(button)
        if name:
            page.fill("dialog input >> nth=0", name)
        see("dialog .steps li")
        page.keyboard.press("Escape")
        gone("dialog")

    def jobs() -> None:
        go("runs", "tbody td code")
        page.evaluate(FILTER, "seed 99")
        page.evaluate(FILTER, "")
        page.eval_on_selector(".table", SCROLL)

    def log() -> None:
        go("runs?q=real", "tbody td code")
        page.click("tbody tr.can")
        see("pre:has-text('of a log')")
        page.fill("input[aria-label='Search the log']", "line 7")

    def tasks() -> None:
        go("sweeps?task=12", "pre:has-text('MemoryError')")
        page.locator(".table").last.evaluate(SCROLL)

    def offers() -> None:
        go("choose?gpu=any", ".front")
        for text in ("t1", "us-east", ""):
            page.evaluate(FILTER, text)

    def plan() -> None:
        go("plan", ".front")
        slider = page.locator("input[type=range]").first
        for _ in range(2):
            slider.evaluate(SLIDE)

    def terminal() -> None:
        go("terminal?desk=real", "text=connected")
        page.keyboard.type("date\n")
        page.wait_for_timeout(1000)

    def hidden() -> None:
        go("desks", ".card")
        page.evaluate(HIDE, True)
        page.wait_for_timeout(3000)
        page.evaluate(HIDE, False)

    def cut() -> None:
        go("desks", ".card")
        context.set_offline(True)
        page.wait_for_timeout(2000)
        context.set_offline(False)
        gone("[role=alert]")

    def languages() -> None:
        for language in ("zh", "en"):
            page.select_option(".settings select >> nth=1", language)
        page.select_option(".settings select >> nth=0", "dark")
        page.select_option(".settings select >> nth=0", "system")

    def another() -> None:
        other = context.new_page()
        other.goto(web.place)
        other.locator(".card").first.wait_for()
        other.close()

    return {
        "desks": lambda: go("desks", ".card"),
        "what works": works,
        "park?": lambda: dialog(card("button:text-is('Park')")),
        "open a desk?": lambda: dialog("button:text-is('Open a desk')", "new"),
        "jobs": jobs,
        "log": log,
        "sweeps": tasks,
        "money": lambda: go("money", ".plot .bar"),
        "offers": offers,
        "regions": lambda: go("choose?plot=regions", ".region"),
        "plan": plan,
        "doctor": lambda: go("doctor", ".findings li"),
        "terminal": terminal,
        "hidden": hidden,
        "cut": cut,
        "languages": languages,
        "another window": another,
    }


def sizes(web: Web, page: Page, session: CDPSession) -> dict[str, float]:
    """What may grow, at the desks' cards."""
    page.goto(f"{web.place}/#/desks")
    page.locator(".card").first.wait_for()
    page.wait_for_timeout(2000)
    for _ in range(2):
        session.send("HeapProfiler.collectGarbage")
    told = {m["name"]: float(m["value"]) for m in session.send("Performance.getMetrics")["metrics"]}
    found = {
        "page: heap, MB": told["JSHeapUsedSize"] / 1e6,
        "page: nodes": told["Nodes"],
        "page: listeners": told["JSEventListeners"],
        "page: documents": told["Documents"],
        **process("server", web.process.pid),
    }
    asking = [pid for pid in beside(web) if b"answering" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    for pid in asking[:1]:
        found |= process("what asks the clouds", pid)
    return found | {"load": os.getloadavg()[0]}


def process(name: str, pid: int) -> dict[str, float]:
    threads = Path(f"/proc/{pid}/status").read_text().split("Threads:")[1].split()[0]
    return {
        f"{name}: memory, MB": memory(pid),
        f"{name}: open files": float(len(list(Path(f"/proc/{pid}/fd").iterdir()))),
        f"{name}: threads": float(threads),
    }


def told(found: dict[str, dict[str, float]]) -> None:
    print(f"{'':36} " + " ".join(f"{when:>10}" for when in found))
    for name in found["start"]:
        print(f"{name:36} " + " ".join(f"{one.get(name, float('nan')):10.1f}" for one in found.values()))
    print(flush=True)


@contextmanager
def changing(state: Path) -> Iterator[None]:
    """Meanwhile a desk changes its goal each second, and a row of the journal begins or ends."""
    over = threading.Event()

    def change() -> None:
        clock = SystemClock()
        goals = (Goal.STOPPED, Goal.PARKED)
        with Store(state) as store:
            for number in itertools.count():
                if over.wait(1.0):
                    return
                now = clock.now()
                name = f"desk{number % 50}"
                store.put(Desk(name=name, goal=goals[number // 50 % 2], since=now, created_at=now))
                why = "to see whether a login works"
                prove = Prove(why=why, id=name, generation=1, started_at=now)
                [row] = store.begin([(name, prove)], now)
                store.end(row, Done(), clock.now())

    writer = threading.Thread(target=change)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join()


if __name__ == "__main__":
    main()
