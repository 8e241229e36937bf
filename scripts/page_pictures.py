"""The pictures of the page in the README: `python -m scripts.page_pictures`, from the project's folder.

Real desks in a cloud of the tests (its prices are made), with a made month behind them. Needs Chromium, and
for the Chinese picture a font that has Chinese.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hotdesk.system import SystemClock
from tests.light.desk import light_cloud
from tests.web_rig import Web, browser, idle_for, measured, swept, weeks

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
#: File, view, theme, language, and what has to be seen before the picture is taken.
TAKEN = (
    ("page-desks.png", "desks", "light", "en", ".card.ready"),
    ("page-desks-zh.png", "desks", "dark", "zh", ".card.ready"),
    ("page-terminal.png", "terminal?desk=trainer", "dark", "en", "text=connected"),
    ("page-regions.png", "choose?gpu=any&plot=regions", "light", "en", ".region"),
    ("page-sweeps.png", "sweeps", "light", "en", ".across path"),
    ("page-choose.png", "choose?gpu=any&sort=value", "light", "en", ".front"),
    ("page-money.png", "money", "dark", "en", ".plot .bar"),
)


def hotdesk(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "hotdesk", *words], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="hotdesk-page-") as made, pytest.MonkeyPatch.context() as patch:
        folder = Path(made)
        patch.setenv("HOME", made)
        patch.setenv("HOTDESK_STATE", str(folder / "state"))
        with light_cloud(folder, patch):
            hotdesk("up", "trainer", "--type", "g6.xlarge")
            hotdesk("up", "notes", "--type", "t3.medium", "--idle", "45m")
            hotdesk("up", "blue", "--type", "g5.xlarge")
            hotdesk("park", "blue", "--yes")
            hotdesk("ssh", "trainer", "--", idle_for(0))
            hotdesk("ssh", "notes", "--", idle_for(660))
            weeks(folder / "state", jobs=40, desks=0)
            swept(folder / "state", 400)
            measured(folder / "state")
            web = Web()
            try:
                SystemClock().sleep(20)  # until what was just done is no longer news
                pictures(web)
            finally:
                web.end()
                for name in ("trainer", "notes", "blue"):
                    hotdesk("down", name, "--yes")


def pictures(web: Web) -> None:
    with browser() as chosen:
        context = chosen.new_context(viewport={"width": 1240, "height": 720}, device_scale_factor=1)
        page = context.new_page()
        page.goto(web.link)
        page.wait_for_selector("nav")
        page.goto(f"{web.place}/#/choose")  # prices are gathered once, and what was not reached is told then
        page.wait_for_selector(".front", timeout=300_000)
        for file, view, theme, language, sign in TAKEN:
            page.evaluate(
                "([t, l]) => Object.assign(localStorage, {theme: t, language: l})", [theme, language]
            )
            page.goto(f"{web.place}/#/{view}")
            page.reload()
            page.wait_for_selector(sign, timeout=60_000)
            if view.startswith("terminal"):
                page.keyboard.type("echo training goes on, whatever becomes of this window\n")
            page.wait_for_timeout(1000)
            page.screenshot(path=PICTURES / file)


if __name__ == "__main__":
    os.environ.pop("HOTDESK_OFFLINE", None)
    main()
