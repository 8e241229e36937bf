"""The page between machines of one's own: the way that a desk goes, and an image that stays where it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("starlette", reason="the extra web is not installed")
pytest.importorskip("uvicorn", reason="the extra web is not installed")
pytest.importorskip("wsproto", reason="the extra web is not installed")

from tests.conftest import Command
from tests.far_rig import needs_sshd
from tests.test_move_direct import Two, ask, furnished, two  # noqa: F401
from tests.test_web_page import LATE, card, chrome, confirm  # noqa: F401
from tests.web_rig import Complaints, looking, web

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [
    pytest.mark.tools("ssh", "unshare"),
    pytest.mark.root,
    needs_sshd,
    pytest.mark.browser,
    pytest.mark.long,
]


def test_the_way_of_a_move_is_shown_and_an_image_stays_there(
    two: Two,  # noqa: F811
    hotdesk: Command,
    chrome: Browser,  # noqa: F811
    tmp_path: Path,
) -> None:
    """1. blue goes straight from one machine to the other, as the dialog said; 2. its image stays there."""
    ask(hotdesk, "up", "blue", *two.to(two.old))
    ask(hotdesk, "ssh", "blue", "--", "echo mine > kept.txt")
    furnished(two.old, two.new)
    ask(hotdesk, "up", "green", *two.to(two.new))  # so that the other machine is known
    ask(hotdesk, "down", "green", "--yes")
    with web() as served, looking(chrome, tmp_path, width=1280) as page:
        wrong = Complaints(page, served.place)
        page.goto(served.link)
        card(page, "blue", "running")
        page.click(".card button:text-is('Move')")
        page.click("dialog summary:text-is('More options')")
        page.fill("dialog label:has-text('Zone') input", two.new.name)
        page.select_option("dialog label:has-text('Way of its files') select", "direct")
        page.wait_for_selector(
            "dialog .plan:has-text('Straight from one machine to the other')", timeout=LATE
        )
        assert "line to" in page.inner_text("dialog .plan")
        line = page.text_content("dialog .line >> nth=-1") or ""
        assert f"hotdesk move blue --zone {two.new.name} --route direct" in line
        page.click("dialog button[type=submit]")
        page.wait_for_selector(f".card dd:has-text('{two.new.name}')", timeout=4 * LATE)
        page.wait_for_selector(
            ".card:has(.state:has-text('running')):not(:has(.doing .what))", timeout=4 * LATE
        )
        assert ask(hotdesk, "ssh", "blue", "--", "cat kept.txt") == "mine\n"

        page.click(".card button:text-is('Park')")
        page.click("dialog summary:text-is('More options')")
        page.check("dialog label:has-text('The image stays at its machine') input")
        page.wait_for_selector("dialog .line:has-text('hotdesk park blue --there')")
        confirm(page, "park", "blue")
        card(page, "blue", "parked")
        page.click("nav >> text=Money")
        page.wait_for_selector("h2:text-is('Images')", timeout=LATE)
        page.wait_for_selector("tbody td:text-is('ssh')", timeout=LATE)
        assert [*wrong] == []
    ask(hotdesk, "down", "blue", "--yes")
