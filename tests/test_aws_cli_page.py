"""The page at a rented cloud: a choice, moves, a cloud that does not answer, and what is left over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("starlette", reason="the extra web is not installed")
pytest.importorskip("uvicorn", reason="the extra web is not installed")
pytest.importorskip("wsproto", reason="the extra web is not installed")

from fake_ec2.process import FakeEc2
from hotdesk.state.store import Store
from tests.aws_cli import NEEDED, REGION, Ask, ask, cloud, lit, only, paid, well  # noqa: F401
from tests.test_web_page import LATE, card, confirm
from tests.web_rig import Complaints, browser, looking, web

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [*NEEDED, pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as chosen:
        yield chosen


def test_a_choice_moves_and_a_cloud_that_does_not_answer(
    ask: Ask, cloud: FakeEc2, chrome: Browser, tmp_path: Path
) -> None:
    with web() as served, looking(chrome, tmp_path, width=1280) as page:
        wrong = Complaints(page, served.place)
        page.goto(served.link)
        page.wait_for_selector("nav")
        page.goto(f"{served.place}/#/choose?q=g4dn.xlarge+{REGION}&market=on-demand")
        page.wait_for_selector("tbody tr.can", timeout=LATE)
        offered = page.text_content("tbody tr.can td:nth-child(6)")
        page.click("tbody tr.can")
        page.fill("dialog input >> nth=0", "blue")
        page.wait_for_selector("dialog .price", timeout=LATE)
        assert page.text_content("dialog .price strong") == offered, "one price, wherever it is shown"
        assert "hotdesk up blue --provider aws --type g4dn.xlarge" in (
            page.text_content("dialog .line >> nth=-1") or ""
        )
        confirm(page, "up", "blue")
        page.goto(f"{served.place}/#/desks")
        card(page, "blue", "running")
        assert page.text_content(".card .now strong") == offered
        assert paid(cloud) == {"instance": 1, "volume": 1}

        page.click(".card button:text-is('Move')")
        page.fill("dialog label:has-text('such as g6.xlarge') input", "g6.xlarge")
        page.wait_for_selector("dialog .price", timeout=LATE)
        price = page.text_content("dialog .price strong")
        assert price != offered
        confirm(page, "move", "blue")
        page.wait_for_selector(".card dd:has-text('g6.xlarge')", timeout=LATE)
        page.wait_for_selector(".card:has(.state:has-text('running')):not(:has(.doing .what))", timeout=LATE)
        assert page.text_content(".card .now strong") == price

        cloud.post("outage", zone=only(cloud, "instance")["zone"])
        page.wait_for_selector(".state:has-text('not known since')", timeout=LATE)
        assert page.text_content(".card .now strong") == price, "what was known stands"
        cloud.delete("outage")
        card(page, "blue", "running")
        assert [*wrong] == []

        well(ask("ssh", "blue", "--", "echo mine > kept.txt"))
        page.click(".card button:text-is('Move')")
        page.select_option("dialog select >> nth=0", label="This computer")
        page.wait_for_selector("dialog h3:text-is('Goes along')", timeout=LATE)
        assert page.text_content("dialog .price strong") == "free"
        assert "hotdesk move blue --provider local" in (page.text_content("dialog .line >> nth=-1") or "")
        confirm(page, "move", "blue")
        page.wait_for_selector(".card dd:has-text('this computer')", timeout=LATE)
        page.wait_for_selector(".card:has(.state:has-text('running')):not(:has(.doing .what))", timeout=LATE)
        assert paid(cloud) == {"snapshot": 1}, "its last image stays there, and nothing that runs"
        assert well(ask("ssh", "blue", "--", "cat kept.txt")).stdout == "mine\n"
        well(ask("down", "blue", "--yes"))
        assert [*wrong] == []


def test_what_may_hold_work_is_shown_and_not_offered_for_deletion(
    ask: Ask, cloud: FakeEc2, chrome: Browser, tmp_path: Path
) -> None:
    """A desk's row is lost: its machine is left over, with its work on it."""
    well(ask("up", "blue", "--type", "g4dn.xlarge"))
    with Store(tmp_path / "state") as store:
        store.remove("blue")
    with web() as served, looking(chrome, tmp_path, width=1280) as page:
        page.goto(served.link)
        page.wait_for_selector("nav")
        page.goto(f"{served.place}/#/money")
        left = "section:has(h2:text-is('Left over'))"
        page.wait_for_selector(f"{left} td:text-is('blue')", timeout=LATE)
        assert page.locator(f"{left} td:text-is('yes')").count() == 0
        assert page.locator("button:text-is('Clean up')").count() == 0
        page.wait_for_selector(f"{left} .line code")
    assert paid(cloud) == {"instance": 1, "volume": 1}, "looking deletes nothing"
