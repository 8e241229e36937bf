"""Choosing in the page: what the account has reserved is shown first, and opened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

pytest.importorskip("starlette", reason="the extra web is not installed")
pytest.importorskip("uvicorn", reason="the extra web is not installed")
pytest.importorskip("wsproto", reason="the extra web is not installed")

from hotdesk.core.model import Market, Offer
from hotdesk.core.money import Money
from hotdesk.market import refresh
from hotdesk.state.store import Store
from hotdesk.system import SystemClock
from tests.test_web_page import LATE, chrome  # noqa: F401
from tests.web_rig import Complaints, looking, web

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]
IN = {"provider": "aws", "region": "us-west-2", "market": Market.ON_DEMAND, "usd_per_hour": 0.0}


def test_what_is_reserved_is_shown_and_opened(home: Path, chrome: Browser, tmp_path: Path) -> None:  # noqa: F811
    """Two places: the filters count for them, too; a click asks for a desk in that zone, of that type."""
    now = SystemClock().now()
    block = Offer(
        **IN,  # type: ignore[arg-type]
        zone="us-west-2b", instance_type="p5.48xlarge", gpu="H100", gpu_count=8, source="capacity block",
        reservation="cr-0aaa", free=2, reserved_until=now + 86400.0, ends_at=now + 84600.0,
    )  # fmt: skip
    plain = Offer(
        **IN,  # type: ignore[arg-type]
        zone="us-west-2a", instance_type="g4dn.xlarge", gpu="T4", gpu_count=1, source="capacity reservation",
        reservation="cr-<img src=x onerror=alert(1)>", free=1,
    )  # fmt: skip
    with Store(tmp_path / "state") as store:
        store.keep(refresh.KEY, refresh.known(store, Money()).catalog.pack(), now)
        store.keep(refresh._RESERVED, msgspec.json.encode((block, plain)), now)
    with web() as served, looking(chrome, tmp_path, width=1280) as page:
        wrong = Complaints(page, served.place)
        page.goto(served.link)
        page.wait_for_selector("nav")
        page.goto(f"{served.place}/#/choose")
        card = page.locator("section[aria-label=Reserved]")
        card.wait_for(timeout=LATE)
        assert card.locator("li").count() == 2
        assert "p5.48xlarge · H100 ×8 · us-west-2b · room for 2 · until" in card.inner_text()
        assert "cr-<img src=x onerror=alert(1)>" in card.inner_text()
        assert card.locator("img").count() == 0
        page.select_option("label:has-text('GPU') select >> nth=0", "H100")
        page.wait_for_selector("section[aria-label=Reserved] li >> nth=1", state="detached")
        page.click("section[aria-label=Reserved] button")
        page.wait_for_selector("dialog")
        assert page.input_value("dialog label:has-text('Type') input") == "p5.48xlarge"
        assert page.input_value("dialog label:has-text('Zone') input") == "us-west-2b"
        page.keyboard.press("Escape")
        page.select_option("label:has-text('Market') select", "spot")
        card.wait_for(state="detached")
        assert [*wrong] == []
