"""How fast the page is, in Chromium, against a real `hotdesk web`: `python -m benchmarks.page [--visits 5]`.

`--aws` prints only the memory with three desks in a fake AWS, which is surveyed while five browsers look.
`--beside ADDRESS` visits another page by turns with ours, such as a prototype, and prints the ratio.

A made state of 50 desks, 1,000 ended jobs, a month of bills, and the 60,000 offers of benchmarks/offers.py;
no cloud is asked for prices. Each visit is a new browser window with nothing cached; the fastest visit and
the median are printed. "Usable" is when all 50 desks are drawn. Painted: two frames after a filter's change.
"Work" is how long the page's main thread is busy (Chromium's TaskDuration).
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

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

T = TypeVar("T")
TARGETS = {
    "first contentful paint": 300,
    "usable, 50 desks": 600,
    "60,000 offers: a filter painted": 100,
}
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


def visited(web: Web, page: Page) -> dict[str, float]:
    began = time.perf_counter()
    page.goto(web.place)
    page.wait_for_function("document.querySelectorAll('.card').length >= 50", polling=5)
    usable = page.evaluate("performance.now()")
    paint = page.evaluate(PAINT)
    return {
        "first contentful paint": paint,
        "usable, 50 desks": usable,
        "the same, seen from outside": (time.perf_counter() - began) * 1000,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--visits", type=int, default=5)
    parser.add_argument("--aws", action="store_true")
    parser.add_argument("--beside", default="", metavar="ADDRESS")
    asked = parser.parse_args()
    if asked.aws:
        in_a_cloud()
        return
    with tempfile.TemporaryDirectory(prefix="hotdesk-bench-") as folder:
        state = Path(folder) / "state"
        os.environ |= {
            "HOTDESK_STATE": str(state),
            "HOTDESK_OFFLINE": "1",
            "HOTDESK_STARTS": "1",
            "HOME": folder,
        }
        made(state)
        began = time.perf_counter()
        web = Web()
        print(f"{'it answers after':40} {(time.perf_counter() - began) * 1000:7.0f} ms")
        try:
            measured(web, state, asked.visits, asked.beside)
        finally:
            web.end()
    size = sum(len(gzip.compress(f.read_bytes(), 9)) for f in STATIC.iterdir() if f.suffix != ".txt")
    print(f"{'what a browser loads, gzipped':40} {size / 1000:7.0f} kB (target 150)")


def measured(web: Web, state: Path, visits: int, beside: str) -> None:
    print(f"{'memory of the server at first':40} {memory(web.process.pid):7.0f} MB")
    with browser() as chosen:
        context = chosen.new_context(
            bypass_csp=True
        )  # the policy would not let this program wait in the page
        context.new_page().goto(web.link)
        cookies = context.cookies()
        found: list[dict[str, float]] = []
        other: list[float] = []
        for _ in range(visits):
            fresh = chosen.new_context(bypass_csp=True)
            fresh.add_cookies(cookies)
            found.append(visited(web, fresh.new_page()))
            fresh.close()
            if beside:
                fresh = chosen.new_context()
                page = fresh.new_page()
                page.goto(beside)
                page.wait_for_timeout(1000)
                other.append(page.evaluate(PAINT))
                fresh.close()
        for name in found[0]:
            told([one[name] for one in found], name)
        if other:
            told(other, "  the page beside it: first paint")
            ours = statistics.median(one["first contentful paint"] for one in found)
            print(f"{'  ratio of the medians':40} {statistics.median(other) / ours:7.1f}")

        page = context.new_page()
        began = time.perf_counter()
        page.goto(f"{web.place}/#/choose")
        page.wait_for_selector("text=60,000")
        print(f"{'60,000 offers: in the table after':40} {(time.perf_counter() - began) * 1000:7.0f} ms")
        page.wait_for_timeout(1000)
        texts = ("t1", "t12 us-east", "zzz", "t99", "eu-west-1b", "t")
        taken, busy = worked(page, lambda: [page.evaluate(FILTER, text) for text in texts])
        told(taken, "60,000 offers: a filter painted")
        print(f"{'  work':40} {busy / len(texts):7.0f} ms")
        page.evaluate(FILTER, "")
        with_changes(state, lambda: print_scroll(page))
        print_changes(state, page)
        page.goto(f"{web.place}/#/runs")
        page.reload()
        began = time.perf_counter()
        page.wait_for_selector("tbody td code")
        print(f"{'1,000 jobs: in the table after':40} {(time.perf_counter() - began) * 1000:7.0f} ms")
        for _ in range(4):
            context.new_page().goto(web.place)
        page.wait_for_timeout(3000)
        print_memory(web, "six windows")


def print_memory(web: Web, when: str) -> None:
    """Of the server, and of what asks the clouds for it."""
    print(f"{f'memory of the server, {when}':40} {memory(web.process.pid):7.0f} MB (target 60)")
    for process in beside(web):
        print(f"{'  of what asks the clouds':40} {memory(process):7.0f} MB (target 120)")


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


def in_a_cloud() -> None:
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
                print_memory(web, "five windows")
                page.goto(f"{web.place}/#/money")
                page.wait_for_selector("text=Nothing is left over", timeout=120_000)
                page.wait_for_selector(".plot .bar", timeout=120_000)
                print_memory(web, "after the bill")
                with most(web) as found:
                    page.goto(f"{web.place}/#/choose")
                    page.wait_for_selector(".front", timeout=300_000)
                gathering = max(found.values())
                print(f"{'the most of any, while prices are gathered':42} {gathering:5.0f} MB (target 120)")
                print_memory(web, "after the prices")
            began = time.perf_counter()
            while beside(web) and time.perf_counter() - began < 10 * LINGER_SECONDS:
                time.sleep(0.5)
            print(f"{'it is gone after':40} {time.perf_counter() - began:7.0f} s")
            print_memory(web, "with no window open")
        finally:
            web.end()


def print_scroll(page: Page) -> None:
    (frames, longest), busy = worked(page, lambda: page.evaluate(SCROLL))
    print(f"{'scrolling, with live changes':40} {frames:7.0f} frames/s (target 50), longest {longest:.0f} ms")
    print(f"{'  work':40} {busy / (2 * frames):7.1f} ms a frame (50 frames/s: 20)")


def print_changes(state: Path, page: Page) -> None:
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
        print(f"{'a change of a desk, on the wire':40} {size:7.0f} bytes (target 1000)")


def worked(page: Page, call: Callable[[], T]) -> tuple[T, float]:
    """What a call gives, and how long the page's main thread was busy meanwhile, in milliseconds."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def busy() -> float:
        told = session.send("Performance.getMetrics")["metrics"]
        return next(float(m["value"]) for m in told if m["name"] == "TaskDuration") * 1000

    before = busy()
    found = call()
    return found, busy() - before


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


def told(values: list[float], name: str) -> None:
    target = f" (target {TARGETS[name]})" if name in TARGETS else ""
    print(f"{name:40} {min(values):7.0f} ms, median {statistics.median(values):.0f} ms{target}")


if __name__ == "__main__":
    main()
