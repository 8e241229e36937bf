"""Every view in each theme, language and width: axe (WCAG 2.2 AA), contrast of plots, nothing too wide."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("starlette", reason="the extra web is not installed")
pytest.importorskip("uvicorn", reason="the extra web is not installed")
pytest.importorskip("wsproto", reason="the extra web is not installed")

from tests.web_rig import browser, measured, swept, web, weeks

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]
LATE = 90_000


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as chosen:
        yield chosen


#: Each view, and what has to be seen before it is looked at.
READY = {
    "desks": ".card",
    "runs": "tbody td code",
    "sweeps?task=12": "pre:has-text('MemoryError')",
    "money": ".plot .bar",
    "choose": ".dots",
    "plan": ".front",
    "doctor": ".findings li",
    "choose?plot=regions": ".region",
}


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core, from the page's lock."""
    here = Path(__file__).parents[1] / "page"
    if not (here / "node_modules" / "axe-core").exists():
        if shutil.which("npm") is None:
            pytest.skip("no npm on this computer")
        there = tmp_path_factory.mktemp("axe")
        for name in ("package.json", "package-lock.json"):
            shutil.copy(here / name, there)
        line = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(line, cwd=there, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            pytest.skip(f"no package registry can be reached: {done.stderr[-200:]}")
        here = there
    return (here / "node_modules" / "axe-core" / "axe.min.js").read_text()


#: The least contrast of what is drawn against the card it is drawn on (WCAG 2.2, 1.4.11), opacity included.
CONTRAST = """() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const drawn = [...document.querySelectorAll(".plot :is(.bar, .series, .dots, .front, text)")];
  return Math.min(99, ...drawn.map((e) => {
    const style = getComputedStyle(e);
    const ground = parse(getComputedStyle(e.closest(".card")).backgroundColor);
    const ink = parse(style.fill === "none" ? style.stroke : style.fill);
    const seen = ink.map((v, n) => v * style.opacity + ground[n] * (1 - style.opacity));
    const [a, b] = [light(seen), light(ground)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  }));
}"""
#: Names in the plot of regions that lie over a dot, over another name, or outside of it.
OVERLAPS = """() => {
  const box = (e) => e.getBoundingClientRect();
  const names = [...document.querySelectorAll(".regions text.head")];
  const frame = names.length && box(names[0].closest("svg"));
  const found = [];
  names.forEach((name, n) => {
    const a = box(name);
    for (const dot of document.querySelectorAll(".regions svg[role=img] circle.region")) {
      const d = box(dot), [x, y] = [d.x + d.width / 2, d.y + d.height / 2];
      const [near, high] = [Math.min(Math.max(x, a.left), a.right), Math.min(Math.max(y, a.top), a.bottom)];
      const away = Math.hypot(x - near, y - high);
      if (away < d.width / 2) found.push(`${name.textContent} over ${dot.textContent}`);
    }
    for (const other of names.slice(n + 1)) {
      const b = box(other);
      const over = a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
      if (over) found.push(`${name.textContent} over ${other.textContent}`);
    }
    const cut = a.left < frame.left || a.right > frame.right || a.top < frame.top;
    if (cut) found.push(`${name.textContent} is cut off`);
  });
  return found;
}"""
RULES = "{runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice']}"
#: Those whose answer depends on colours, on the language or on the width; the others see the same document.
OF_ITS_LOOK = "{runOnly: {type: 'rule', values: ['color-contrast', 'target-size', 'html-has-lang',\
 'html-lang-valid', 'valid-lang', 'meta-viewport', 'scrollable-region-focusable', 'label', 'button-name',\
 'link-name', 'aria-hidden-focus', 'page-has-heading-one', 'empty-table-header']}}"


LOOKS = [
    (theme, language, width)
    for theme in ("light", "dark")
    for language in ("en", "zh")
    for width in (400, 1600)
]
#: In these, each theme, each language and each width is seen.
SOONER = {("light", "en", 1600), ("dark", "zh", 400)}


@pytest.mark.parametrize(
    "look",
    [pytest.param(look, marks=() if look in SOONER else pytest.mark.long) for look in LOOKS],
    ids=lambda look: "-".join(map(str, look)),
)
def test_everybody_can_read_every_view(
    home: Path, chrome: Browser, axe: str, tmp_path: Path, look: tuple[str, str, int]
) -> None:
    """No violation of WCAG 2.2 AA that axe knows, plots of 3:1 at least, nothing wider than the window."""
    theme, language, width = look
    weeks(tmp_path / "state", jobs=30)
    swept(tmp_path / "state", 60)
    measured(tmp_path / "state")
    with (
        web() as served,
        chrome.new_context(bypass_csp=True, viewport={"width": width, "height": 900}) as context,
    ):
        context.add_init_script(f"localStorage.theme='{theme}';localStorage.language='{language}'")
        page = context.new_page()
        page.goto(served.link)
        page.wait_for_selector("nav")
        for view, sign in READY.items():
            page.goto(f"{served.place}/#/{view}")
            try:
                page.wait_for_selector(sign, timeout=LATE)
            except Exception:
                pytest.fail(f"{view} shows no {sign}: {page.inner_text('body')[:1000]}")
            page.evaluate(axe)
            assert violations(page, theme) == [], view
            assert page.evaluate("document.documentElement.scrollWidth") == width, view
            assert page.evaluate(CONTRAST) >= 3, view
            assert page.evaluate(OVERLAPS) == [], view
        assert page.locator(".regions text.head").count() >= (3 if width > 1000 else 1), (
            "the last view is that of regions"
        )
        page.goto(f"{served.place}/#/desks")
        page.click(".title button.primary")
        page.fill("dialog input >> nth=0", "red")
        page.wait_for_selector("dialog .steps li", timeout=LATE)
        page.select_option("dialog select", "aws")
        page.click("dialog form > details:last-of-type > summary")
        page.wait_for_selector("dialog .check")
        assert violations(page, theme) == []
        assert page.evaluate("document.querySelector('dialog').scrollWidth") <= width


def violations(page: Page, theme: str) -> list[tuple[str, str]]:
    """What axe finds wrong; once in full, else what depends on the look."""
    found = page.evaluate(f"axe.run({RULES if theme == 'light' else OF_ITS_LOOK})")
    return [(v["id"], v["nodes"][0]["html"][:120]) for v in found["violations"]]
