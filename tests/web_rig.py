"""The page in a real browser: `hotdesk web` in a process of its own, and Chromium with its protections on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conftest import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SOURCE = str(Path(__file__).parents[1] / "src")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Web:
    """A running `hotdesk web`."""

    def __init__(self, *words: str) -> None:
        line = [sys.executable, "-m", "hotdesk", "web", "--url", *words]
        environment = {**os.environ, "PYTHONPATH": SOURCE}
        self.process = subprocess.Popen(
            line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        self.link = self.process.stdout.readline().strip()
        self.place = self.link.partition("/enter")[0]

    def end(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)
        self.process.communicate(timeout=30)


@contextlib.contextmanager
def web(*words: str) -> Iterator[Web]:
    """It, while this lasts."""
    running = Web(*words)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.end(signal.SIGKILL)


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chosen = playwright.chromium.launch(executable_path=chromium(), args=[*ARGUMENTS])
        yield chosen
        chosen.close()


class Complaints(list[str]):
    """What a console says is wrong, such as what the policy has blocked, and requests to other hosts."""

    def __init__(self, page: Page, place: str) -> None:
        page.on("console", lambda m: self.append(m.text) if m.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: self.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith((place, "data:")) else self.append(r.url))
