"""How fast the page is, in Chromium, against a real `hotdesk web`: `python -m benchmarks.page [--visits 5]`.

`--aws` prints only the memory with three desks in a fake AWS, which is surveyed while five browsers look.
`--nicegui FOLDER` visits the same page in NiceGUI by turns with ours, and prints the ratios. It is installed
into that folder, where it is not there yet (benchmarks/page_nicegui.py).

A made state of 50 desks, 1,000 ended jobs, a month of bills, and the 60,000 offers of benchmarks/offers.py;
no cloud is asked for prices. Each visit is a new browser window with nothing cached, once the window itself
has been drawn; the fastest visit and the median are printed. "Usable" is when all 50 desks are drawn.
Painted: two frames after a filter's change. "Work" is the processor time of the page's main thread, which
does not depend on what else the machine does. `--json FILE` writes all of it: each name with its values.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.offers import rows
from hotdesk.core.model import Desk, Goal, Want
from hotdesk.market import refresh
from hotdesk.market.catalog import build
from hotdesk.state.store import Store
from hotdesk.system import SystemClock
from hotdesk.web.asking import LINGER_SECONDS
from hotdesk.web.server import STATIC
from tests.web_rig import Web, browser, weeks

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from benchmarks.page_nicegui import Other

TARGETS = {
    "first contentful paint": 300,
    "usable, 50 desks": 600,
    "60,000 offers: a filter painted": 100,
}
WINDOW_MS = 1500  # Chromium draws a new window by scripts of its own, for as long as our page takes
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
#: Scrolls the table for two seconds; frames a second, and the longest frame in milliseconds.
SCROLL = """async () => {
  const box = document.querySelector(".table");
  let frames = 0, longest = 0, last = performance.now();
  const began = last;
  while (performance.now() - began < 2000) {
    box.scrollTop = (box.scrollTop + 900) % 1400000;
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    frames++;
  }
  return [frames / 2, longest];
}"""
FILTER = """async (text) => {
  const box = document.querySelector("input[type=search]");
  const began = performance.now();
  box.value = text;
  box.dispatchEvent(new Event("input", { bubbles: true }));
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return performance.now() - began;
}"""


@contextlib.contextmanager
def made_state() -> Iterator[Path]:
    """A state folder with desks, jobs and offers, and an environment in which hotdesk uses it."""
    with tempfile.TemporaryDirectory(prefix="hotdesk-bench-") as folder:
        state = Path(folder) / "state"
        os.environ |= {
            "HOTDESK_STATE": str(state),
            "HOTDESK_OFFLINE": "1",
            "HOTDESK_STARTS": "1",
            "HOME": folder,
        }
        made(state)
        yield state


def made(state: Path) -> None:
    weeks(state, jobs=1000, desks=50)
    now = SystemClock().now()
    with Store(state) as store:
        catalog = build([rows()])
        store.keep(refresh.KEY, catalog.pack(), now)


def memory(pid: int) -> float:
    """The resident memory of a process, in MB."""
    told = Path(f"/proc/{pid}/status").read_text()
    return int(told.split("VmRSS:")[1].split()[0]) / 1024


class Told(dict[str, list[float]]):
    """What was measured, by name; printed as it comes."""

    def one(self, name: str, value: float, unit: str = "ms", target: float = 0, digits: int = 0) -> None:
        self.setdefault(name.strip(), []).append(value)
        print(f"{name:42} {value:7.{digits}f} {unit}{f' (target {target:g})' if target else ''}", flush=True)

    def several(self, name: str, values: list[float]) -> None:
        """Milliseconds, each of another time."""
        self.setdefault(name.strip(), []).extend(values)
        target = f" (target {TARGETS[name]})" if name in TARGETS else ""
        least, median = min(values), statistics.median(values)
        print(f"{name:42} {least:7.0f} ms, median {median:.0f} ms{target}", flush=True)


def visited(web: Web, page: Page) -> dict[str, float]:
    page.wait_for_timeout(WINDOW_MS)
    look = busy(page)
    began = time.perf_counter()
    page.goto(web.place)
    page.wait_for_function("document.querySelectorAll('.card').length >= 50", polling=5)
    usable = page.evaluate("performance.now()")
    paint = page.evaluate(PAINT)
    return {
        "first contentful paint": paint,
        "usable, 50 desks": usable,
        "the same, seen from outside": (time.perf_counter() - began) * 1000,
        "work until then": look(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--visits", type=int, default=5)
    parser.add_argument("--aws", action="store_true")
    parser.add_argument("--nicegui", type=Path, metavar="FOLDER")
    parser.add_argument("--json", type=Path, metavar="FILE")
    asked = parser.parse_args()
    told = Told()
    if asked.aws:
        in_a_cloud(told)
    else:
        made_and_measured(told, asked.visits, asked.nicegui)
    if asked.json:
        asked.json.write_text(json.dumps(told, indent=1) + "\n")


def made_and_measured(told: Told, visits: int, nicegui: Path | None) -> None:
    from benchmarks import page_nicegui

    with contextlib.ExitStack() as stack:
        other = stack.enter_context(page_nicegui.served(nicegui, rows())) if nicegui else None
        state = stack.enter_context(made_state())
        began = time.perf_counter()
        web = Web()
        told.one("it answers after", (time.perf_counter() - began) * 1000)
        try:
            measured(told, web, state, visits, other)
        finally:
            web.end()
    loaded = [f for f in STATIC.iterdir() if f.suffix not in {"", ".txt"}]  # no hashes, no licences
    size = sum(len(gzip.compress(f.read_bytes(), 9)) for f in loaded)
    told.one("what a browser loads, gzipped", size / 1000, "kB", 150)


def measured(told: Told, web: Web, state: Path, visits: int, other: Other | None) -> None:
    told.one("memory of the server at first", memory(web.process.pid), "MB")
    with browser() as chosen:
        context = chosen.new_context(
            bypass_csp=True
        )  # the policy would not let this program wait in the page
        context.new_page().goto(web.link)
        cookies = context.cookies()
        found: list[dict[str, float]] = []
        for _ in range(visits):
            fresh = chosen.new_context(bypass_csp=True)
            fresh.add_cookies(cookies)
            found.append(visited(web, fresh.new_page()))
            fresh.close()
            if other:
                other.visit(chosen)
        for name in found[0]:
            told.several(name, [one[name] for one in found])
        if other:
            compared(told, other, {name: statistics.median(told[name]) for name in found[0]})

        page = context.new_page()
        began = time.perf_counter()
        page.goto(f"{web.place}/#/choose")
        page.wait_for_selector("text=60,000")
        told.one("60,000 offers: in the table after", (time.perf_counter() - began) * 1000)
        page.wait_for_timeout(1000)
        texts = ("t1", "t12 us-east", "zzz", "t99", "eu-west-1b", "t")
        look = busy(page)
        told.several("60,000 offers: a filter painted", [page.evaluate(FILTER, text) for text in texts])
        told.one("  work of a filter", look() / len(texts))
        page.evaluate(FILTER, "")
        with_changes(state, lambda: scrolled(told, page))
        changes(told, state, page)
        page.goto(f"{web.place}/#/runs")
        page.reload()
        began = time.perf_counter()
        page.wait_for_selector("tbody td code")
        told.one("1,000 jobs: in the table after", (time.perf_counter() - began) * 1000)
        for _ in range(4):
            context.new_page().goto(web.place)
        page.wait_for_timeout(3000)
        memories(told, web, "six windows")
        if other:
            together = memory(web.process.pid) + sum(map(memory, beside(web)))
            names = [name for name in told if name.startswith("60,000 offers: ")]
            other.use(chosen)
            medians = {name: statistics.median(told[name]) for name in names}
            compared(told, other, {**medians, "memory, six windows": together})


def compared(told: Told, other: Other, ours: Mapping[str, float]) -> None:
    """What NiceGUI takes for the same, and how many times what ours does."""
    for name in [name for name in ours if name in other.found]:
        theirs = statistics.median(other.found.pop(name))
        told.one(f"NiceGUI: {name}", theirs, "")
        told.one(f"  times ours: {name}", theirs / ours[name], "", digits=1)


def memories(told: Told, web: Web, when: str) -> None:
    """Of the server, and of what asks the clouds for it."""
    told.one(f"memory of the server, {when}", memory(web.process.pid), "MB", 60)
    for process in beside(web):
        told.one(f"  of what asks the clouds, {when}", memory(process), "MB", 120)


def beside(web: Web) -> list[int]:
    """The processes that the server has started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z" and int(parent) == web.process.pid:
                found.append(int(process.name))
    return found


@contextlib.contextmanager
def most(web: Web) -> Iterator[dict[int, float]]:
    """The most memory that each process beside the server has had meanwhile, in MB."""
    found: dict[int, float] = {}
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            for process in beside(web):
                with contextlib.suppress(OSError, IndexError):
                    high = Path(f"/proc/{process}/status").read_text().split("VmHWM:")[1].split()[0]
                    found[process] = int(high) / 1024

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield found
    finally:
        over.set()
        looking.join()


def in_a_cloud(told: Told) -> None:
    """Three parked desks in a fake AWS: surveyed; then with the bill and what is left over asked for."""
    import pytest

    from fake_ec2.process import FakeEc2
    from tests.light.desk import REGION, known

    with (
        tempfile.TemporaryDirectory(prefix="hotdesk-bench-") as folder,
        pytest.MonkeyPatch.context() as patch,
        FakeEc2() as fake,
    ):
        state = Path(folder) / "state"
        patch.setenv("HOME", folder)
        patch.setenv("HOTDESK_STARTS", "1")  # a fork of the tests' would share memory with others
        patch.setenv("HOTDESK_STATE", str(state))
        known(fake, patch)
        weeks(state, jobs=100, desks=0)
        with Store(state) as store:
            now = SystemClock().now()
            want = Want(instance_type="g6.xlarge", regions=(REGION,))
            for name in ("one", "two", "three"):
                desk = Desk(name=name, goal=Goal.PARKED, provider="aws", since=now, created_at=now, want=want)
                store.put(desk)
        web = Web()
        try:
            with browser() as chosen:
                context = chosen.new_context()
                page = context.new_page()
                page.goto(web.link)
                for _ in range(4):
                    context.new_page().goto(web.place)
                page.wait_for_selector(".state:has-text('without a machine')", timeout=120_000)
                page.wait_for_timeout(10_000)
                memories(told, web, "five windows")
                page.goto(f"{web.place}/#/money")
                page.wait_for_selector("text=Nothing is left over", timeout=120_000)
                page.wait_for_selector(".plot .bar", timeout=120_000)
                memories(told, web, "after the bill")
                with most(web) as found:
                    page.goto(f"{web.place}/#/choose")
                    page.wait_for_selector(".front", timeout=300_000)
                gathering = max(found.values())
                told.one("the most of any, while prices are gathered", gathering, "MB", 120)
                memories(told, web, "after the prices")
            began = time.perf_counter()
            while beside(web) and time.perf_counter() - began < 10 * LINGER_SECONDS:
                time.sleep(0.5)
            told.one("it is gone after", time.perf_counter() - began, "s")
            memories(told, web, "with no window open")
        finally:
            web.end()


def scrolled(told: Told, page: Page) -> None:
    """By leaps, in which every row is another one; and as by a wheel."""
    for how, script in (("by leaps", SCROLL), ("as by a wheel", SCROLL.replace("+ 900", "+ 90"))):
        look = busy(page)
        frames, longest = page.evaluate(script)
        work = look() / (2 * frames)
        told.one(f"scrolling {how}, with live changes", frames, "frames/s", 50)
        told.one("  the longest frame", longest)
        told.one(f"  work of a frame {how}", work, digits=1)


def changes(told: Told, state: Path, page: Page) -> None:
    """What a change of a desk costs on the wire, as the browser counts it."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    heard: list[str] = []
    session.on("Network.eventSourceMessageReceived", lambda event: heard.append(event["data"]))
    with_changes(state, lambda: page.wait_for_timeout(15_000))
    session.detach()
    desks = [text for text in heard if json.loads(text).get("desks")]
    if desks:
        size = statistics.median(len(text.encode()) / len(json.loads(text)["desks"]) for text in desks)
        told.one("a change of a desk, on the wire", size, "bytes", 1000)


def busy(page: Page) -> Callable[[], float]:
    """Asked again, it tells how much processor time the page's main thread has taken meanwhile, in ms."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def now() -> float:
        told = session.send("Performance.getMetrics")["metrics"]
        return next(float(m["value"]) for m in told if m["name"] == "TaskDuration") * 1000

    began = now()
    return lambda: now() - began


def with_changes(state: Path, call: Callable[[], None]) -> None:
    """Do it while ten desks a second change their goal."""
    over = threading.Event()

    def change() -> None:
        with Store(state) as store:
            number = 0
            while not over.wait(0.1):
                now = SystemClock().now()
                name = f"desk{number % 50}"
                store.put(Desk(name=name, goal=Goal.STOPPED, since=now, created_at=now))
                number += 1

    writer = threading.Thread(target=change)
    writer.start()
    call()
    over.set()
    writer.join()


if __name__ == "__main__":
    main()
