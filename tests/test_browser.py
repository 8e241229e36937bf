"""A desk's Jupyter as a person meets it: in a real browser, before and after parking."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import CHROMIUM_ARGUMENTS, Command, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(),
            args=[*CHROMIUM_ARGUMENTS],
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        yield page
        page.screenshot(path=tmp_path / "last.png")  # what a failure looked like
        browser.close()


def test_a_notebook_survives_parking(hotdesk: Command, page: Page, tmp_path: Path) -> None:
    assert hotdesk("up", "blue").returncode == 0
    url = hotdesk("notebook", "blue", "--url").stdout.strip()
    password = hotdesk("notebook", "blue", "--password").stdout.strip()
    where = """$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"""
    installed = hotdesk("ssh", "blue", "--", f"echo 'answer = 42' > {where}/deskonly.py")
    assert installed.returncode == 0, installed.stderr

    page.goto(url)
    page.fill("input[type=password]", "not the password")
    page.click("button[type=submit]")
    page.wait_for_selector("text=/invalid/i")
    assert "/login" in page.url

    sign_in(page, password)
    run_cell(page, "import deskonly; print('the answer is', deskonly.answer)", "the answer is 42")
    page.screenshot(path=tmp_path / "before.png")

    for verb in ("park", "resume"):
        done = hotdesk(verb, "blue")
        assert done.returncode == 0, done.stderr
    assert hotdesk("notebook", "blue", "--url").stdout.strip() == url, "a bookmark goes on working"
    page.goto(f"{url}/tree/Untitled.ipynb?reset")
    assert "/login" not in page.url, "and so does the login"
    page.wait_for_selector("text=the answer is 42", timeout=30_000)
    page.screenshot(path=tmp_path / "after.png")


def sign_in(page: Page, password: str) -> None:
    page.fill("input[type=password]", password)
    page.click("button[type=submit]")
    page.wait_for_selector(".jp-Launcher, .jp-Notebook", timeout=45_000)


def run_cell(page: Page, code: str, output: str) -> None:
    """A new notebook from the launcher, one cell run, its output seen, the notebook saved."""
    from playwright.sync_api import TimeoutError as Late

    page.click(".jp-LauncherCard[data-category=Notebook]")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    accept = page.locator(".jp-Dialog button.jp-mod-accept")
    if accept.count():
        accept.first.click()
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=45_000)
    page.click(".jp-Notebook .jp-Cell .cm-content")
    page.keyboard.insert_text(code)  # typing would fight with completed brackets
    shown = page.locator(f".jp-OutputArea-output >> text={output}")
    for _ in range(6):  # JupyterLab drops a cell that is run in the moment its kernel connects
        page.keyboard.press("Control+Enter")
        with contextlib.suppress(Late):
            shown.first.wait_for(timeout=10_000)
            break
    assert shown.count(), page.locator(".jp-OutputArea-output").all_inner_texts()
    page.keyboard.press("Control+s")
    page.click(".jp-Dialog button.jp-mod-accept")  # its first save asks for a name
    page.wait_for_selector(".jp-Dialog", state="detached")
    page.wait_for_selector(".jp-mod-dirty", state="detached")
