"""The page's desks, tasks and offers in NiceGUI, to measure ours beside it: a part of benchmarks/page.py.

As a program, `python page_nicegui.py PORT FILE` serves it with NiceGUI, where that is installed: 50 desks,
1,000 tasks that change four times a second, and the offers of FILE in a table with a filter and as points.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from hotdesk.core.model import Offer

NICEGUI = "nicegui==3.18.0"
LATE = 120_000
TEXTS = ("L4", "spot", "us-east-1a", "zzz", "H100", "")
#: Types into the filter; the time until every row that is shown has the text, and no row that has not.
FILTER = """async (text) => {
  const box = document.querySelector("input");
  const began = performance.now();
  box.value = text;
  box.dispatchEvent(new Event("input", { bubbles: true }));
  const wanted = () => {
    const rows = [...document.querySelectorAll(".ag-center-cols-container .ag-row")];
    if (text === "zzz") return rows.length === 0;
    return rows.length > 5 && rows.every((row) => row.textContent.includes(text));
  };
  do await new Promise(requestAnimationFrame); while (!wanted() && performance.now() - began < 60000);
  await new Promise(requestAnimationFrame);
  return performance.now() - began;
}"""


class Other:
    """It, served; what was measured, by the names that our page's have."""

    def __init__(self, process: subprocess.Popen[bytes], address: str) -> None:
        self.process, self.address = process, address
        self.found: dict[str, list[float]] = {}

    def _tell(self, name: str, value: float) -> None:
        self.found.setdefault(name, []).append(value)

    def visit(self, chosen: Browser) -> None:
        """Once, in a new window with nothing cached, once the window itself has been drawn."""
        from benchmarks.page import PAINT, WINDOW_MS

        with chosen.new_context() as context:
            page = context.new_page()
            page.wait_for_timeout(WINDOW_MS)
            began = time.perf_counter()
            page.goto(self.address, wait_until="commit", timeout=LATE)
            cards = "document.querySelectorAll('.q-card').length >= 50"
            page.wait_for_function(cards, polling=5, timeout=LATE)
            self._tell("usable, 50 desks", page.evaluate("performance.now()"))
            page.wait_for_selector(".ag-row", timeout=LATE)
            self._tell("60,000 offers: in the table after", (time.perf_counter() - began) * 1000)
            self._tell("first contentful paint", page.evaluate(PAINT))

    def use(self, chosen: Browser) -> None:
        """The filter, in one window; then the memory with six."""
        from benchmarks.page import memory

        with chosen.new_context() as context:
            page = context.new_page()
            self._open(page)
            page.wait_for_timeout(1000)
            for text in TEXTS:
                self._filter(page, text)
            for _ in range(5):
                self._open(context.new_page())
            page.wait_for_timeout(3000)
            self._tell("memory, six windows", memory(self.process.pid))

    def _filter(self, page: Page, text: str) -> None:
        from playwright.sync_api import Error

        try:
            self._tell("60,000 offers: a filter painted", page.evaluate(FILTER, text))
        except Error as error:  # NiceGUI loads its page anew when its socket was cut, as on a busy computer
            print(f"NiceGUI: a filter is left out: {error.message.splitlines()[0]}", flush=True)
            page.wait_for_selector(".ag-row", timeout=LATE)

    def _open(self, page: Page) -> None:
        page.goto(self.address, timeout=LATE)
        page.wait_for_selector(".ag-row", timeout=LATE)


@contextlib.contextmanager
def served(folder: Path, offers: list[Offer]) -> Iterator[Other]:
    """It, with these offers; NiceGUI is installed into the folder first, where it is not there."""
    from benchmarks import peers

    sizes = peers.page_installed(folder, NICEGUI)
    print(json.dumps(sizes), flush=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file = folder / "offers.json"
    file.write_text(json.dumps([_row(offer) for offer in offers]))
    python = folder / "nicegui" / "bin" / "python"
    with (folder / "nicegui.log").open("wb") as log:
        process = subprocess.Popen(
            [python, __file__, str(port), str(file)], stdout=log, stderr=log, cwd=folder
        )
    try:
        _wait(port, process)
        yield Other(process, f"http://127.0.0.1:{port}/")
    finally:
        process.terminate()
        process.wait(30)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise SystemExit("NiceGUI ended at once: see nicegui.log")


def _row(offer: Offer) -> dict[str, Any]:
    return {
        "type": offer.instance_type,
        "gpu": offer.gpu,
        "vcpus": offer.vcpus,
        "zone": offer.zone,
        "market": str(offer.market),
        "usd": offer.usd_per_hour,
    }


def main(port: int, file: Path) -> None:
    from nicegui import ui  # type: ignore[import-not-found, unused-ignore]

    offers = json.loads(file.read_text())

    @ui.page("/")  # type: ignore[untyped-decorator, unused-ignore]
    async def index() -> None:
        ui.label("hotdesk").classes("text-h4")
        with ui.row():
            for number in range(50):
                with ui.card():
                    ui.label(f"desk{number}")
                    ui.label("running $1.2/h")
        box, columns = ui.input("Filter"), [{"field": name, "sortable": True} for name in offers[0]]
        grid = ui.aggrid({"columnDefs": columns, "rowData": offers}, theme="quartz").classes("h-96")
        box.on_value_change(lambda: grid.run_grid_method("setGridOption", "quickFilterText", box.value))
        points = [[offer["usd"], offer["vcpus"]] for offer in offers[::20]]
        scatter = {"type": "scatter", "symbolSize": 4, "data": points}
        ui.echart({"xAxis": {"type": "log"}, "yAxis": {}, "series": [scatter]})
        tasks, told = ["waiting"] * 1000, ui.label()

        def change() -> None:
            for _ in range(40):
                tasks[random.randrange(1000)] = random.choice(["waiting", "running", "done"])
            told.text = " ".join(f"{state} {tasks.count(state)}" for state in set(tasks))

        ui.timer(0.25, change)

    ui.run(host="127.0.0.1", port=port, reload=False, show=False)


if __name__ in {"__main__", "__mp_main__"}:
    main(int(sys.argv[1]), Path(sys.argv[2]))
