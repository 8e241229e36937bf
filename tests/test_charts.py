"""Pictures: what a reader of a terminal, a document and a page must find in them."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hotdesk.charts import Figure, Series, check_suffix, save, text
from hotdesk.charts.figure import Axis, number, thinned
from hotdesk.core.errors import Missing, Usage
from hotdesk.system import install_line

ENV = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "src")}
MARCH = 1583020800.0  # 2020-03-01 00:00 UTC
DAY = 86400.0


def price(label: str = "a", level: float = 0.3, kind: str = "step") -> Series:
    x = tuple(MARCH + n * DAY for n in range(30))
    return Series(label=label, x=x, y=tuple(level + 0.01 * (n % 5) for n in range(30)), kind=kind)  # type: ignore[arg-type]


def figure(*series: Series, **more: object) -> Figure:
    words: dict[str, object] = {"title": "spot price", "x_label": "time", "y_label": "$/h", "x_is_time": True}
    return Figure(series=series, **(words | more))  # type: ignore[arg-type]


def cells_with(drawn: str, character: str) -> list[tuple[int, int]]:
    return [
        (row, column)
        for row, line in enumerate(drawn.splitlines())
        for column, c in enumerate(line)
        if c == character
    ]


@pytest.mark.parametrize("width", [30, 80, 200])
def test_a_drawing_keeps_to_its_width_and_height(width: int) -> None:
    drawn = text(figure(price("a"), price("b", 0.5), marks=(("on-demand", 0.9),)), width=width, height=20)
    assert all(len(line) <= width for line in drawn.splitlines())
    assert 20 <= len(drawn.splitlines()) <= 26
    assert "spot price" in drawn
    assert "on-demand 0.9" in drawn


def test_a_higher_value_is_drawn_higher_and_a_later_one_further_right() -> None:
    points = Series(label="p", x=(1.0, 2.0, 3.0), y=(1.0, 3.0, 2.0), kind="scatter")
    drawn = text(figure(points, x_is_time=False), width=60, height=16)
    dots = sorted(cells_with(drawn, "●"), key=lambda cell: cell[1])
    first, second, third = (row for row, _ in dots)
    assert second < third < first


def test_a_step_stays_level_until_the_next_point() -> None:
    """A price of 1 until x=10, then 9: no cell between the levels but in the one column of the change."""
    step = Series(label="s", x=(0.0, 10.0, 20.0), y=(1.0, 9.0, 9.0), kind="step")
    rows = text(figure(step, x_is_time=False), width=60, height=18).splitlines()[2:18]
    curve = [
        (r, c) for r, line in enumerate(rows) for c, char in enumerate(line) if 0x2800 < ord(char) < 0x2900
    ]
    top, bottom = min(r for r, _ in curve), max(r for r, _ in curve)
    between = {c for r, c in curve if top < r < bottom}
    assert len(between) == 1
    assert all(c <= min(between) for r, c in curve if r == bottom)
    assert all(c >= min(between) for r, c in curve if r == top)
    width = max(c for _, c in curve) - min(c for _, c in curve)
    assert 0.4 < (min(between) - min(c for _, c in curve)) / width < 0.6  # x=10 of 0 to 20: the middle


def test_every_curve_carries_its_letter_with_colour_and_without() -> None:
    lines = figure(price("zone-1", 0.2), price("zone-2", 0.4), price("zone-3", 0.6))
    plain = text(lines, width=80)
    body = "\n".join(plain.splitlines()[2:20])
    assert all(letter in body for letter in "abc")
    assert "a zone-1   b zone-2   c zone-3" in plain
    painted = text(lines, width=80, colour=True)
    assert len(set(re.findall(r"\x1b\[[\d;]+m", painted))) >= 4  # three colours and the end of one
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[[\d;]*m", "", painted) == plain


def test_labels_from_elsewhere_cannot_write_on_the_terminal() -> None:
    drawn = text(figure(price("\x1b[2Jevil"), title="a\nb"), width=60)
    assert "\x1b" not in drawn
    assert drawn.splitlines()[0] == "a�b"


@pytest.mark.parametrize(
    "values",
    [(), (math.nan,), (math.inf, -math.inf), (0.0,), (5.0, 5.0, 5.0), (1e-9, 1e12), (-3.0, math.nan, 3.0)],
)
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("kind", ["line", "step", "scatter", "band"])
def test_odd_values_are_drawn_or_left_out(
    tmp_path: Path, values: tuple[float, ...], log: bool, kind: str
) -> None:
    x = tuple(float(n) for n in range(len(values)))
    odd = Series(label="odd", x=x, y=values, low=values, high=values, kind=kind)  # type: ignore[arg-type]
    drawn = text(figure(odd, x_is_time=False, y_log=log), width=50, height=10)
    usable = any(math.isfinite(v) and (v > 0 or not log) for v in values)
    assert ("nothing to draw" in drawn) is not usable
    save(figure(odd, x_is_time=False, y_log=log), tmp_path / "odd.html")


def test_a_series_of_unequal_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        Series(label="a", x=(1.0, 2.0), y=(1.0,))


@example(low=1e6, size=1e-3, about=5)
@given(
    low=st.floats(-1e6, 1e6),
    size=st.floats(1e-3, 1e6),
    about=st.integers(2, 20),
)
def test_ticks_are_within_the_axis_evenly_apart_and_few(low: float, size: float, about: int) -> None:
    axis = Axis(low=low, high=low + size)
    ticks = axis.ticks(about)
    values = [value for value, _ in ticks]
    assert len(values) <= about + 1
    assert all(low - size * 1e-6 <= v <= low + size * (1 + 1e-6) for v in values)
    gaps = [b - a for a, b in pairwise(values)]
    assert not gaps or max(gaps) - min(gaps) <= 1e-6 * max(size, abs(low))
    assert len({label for _, label in ticks}) == len(ticks)  # no two ticks look the same


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (MARCH, MARCH + 3600, "00:15"),
        (MARCH, MARCH + 3 * DAY, "2020-03-02"),
        (MARCH, MARCH + 30 * DAY, "2020-03-12"),
        (MARCH, MARCH + 365 * DAY, "2020-07"),
        (MARCH, MARCH + 3650 * DAY, "2024"),
    ],
)
def test_time_ticks_are_round_and_in_utc(low: float, high: float, expected: str) -> None:
    axis = Axis(low=low, high=high, time=True, label="time")
    labels = [label for _, label in axis.ticks(8)]
    assert expected in labels
    assert 2 <= len(labels) <= 10
    assert axis.name() == ("time (UTC, 2020-03-01)" if high - low < DAY else "time (UTC)")


def test_log_ticks_are_labelled_as_people_write_them() -> None:
    labels = [label for _, label in Axis(low=0.05, high=3000, log=True).ticks(6)]
    assert labels == ["0.1", "1", "10", "100", "1,000"]


def test_huge_and_tiny_numbers_are_short() -> None:
    assert [number(v, 2) for v in (1234567.0, 2.5e9, -3e6, 1234.5, 0.25, 0.00001234, 0.0)] == [
        *("1.235M", "2.5G", "-3M", "1,234.50", "0.25", "1.2e-05", "0.00")
    ]


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=3000))
def test_thinning_keeps_the_ends_and_every_extreme(values: list[float]) -> None:
    whole = Series(label="w", x=tuple(float(n) for n in range(len(values))), y=tuple(values))
    axis = Axis(low=0.0, high=float(max(len(values) - 1, 1)))
    thin = thinned(whole, axis, 10)
    assert len(thin.x) <= min(len(values), 4 * 11)
    assert (min(thin.y), max(thin.y)) == (min(values), max(values))
    assert (thin.x[0], thin.x[-1]) == (whole.x[0], whole.x[-1])
    assert list(thin.x) == sorted(thin.x)


def test_a_page_needs_no_other_address_and_cannot_be_broken_by_a_label(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>"
    save(figure(price(evil), price("b"), title=evil, notes=(evil,)), tmp_path / "p.html")
    page = (tmp_path / "p.html").read_text()
    assert evil not in page
    assert not re.findall(r"(?:src|href)=|https?://|@import|url\(", page)
    assert "prefers-color-scheme:dark" in page
    assert page.count("<script") == 2


def test_a_page_draws_each_series_where_its_values_are(tmp_path: Path) -> None:
    points = Series(label="p", x=(0.0, 5.0, 10.0), y=(0.0, 10.0, 5.0), kind="scatter")
    save(figure(points, x_is_time=False), tmp_path / "p.html")
    found = re.findall(
        r'translate\(([\d.]+) ([\d.]+)\)" d="[^"]+" data-point', (tmp_path / "p.html").read_text()
    )
    (x0, y0), (x1, y1), (x2, y2) = [(float(a), float(b)) for a, b in found][:3]
    assert x1 - x0 == pytest.approx(x2 - x1)
    assert y0 - y1 == pytest.approx(2 * (y0 - y2), rel=0.01)


def test_a_page_is_drawn_twice_for_desk_and_phone_and_every_letter_is_within(tmp_path: Path) -> None:
    save(figure(price("a"), price("b", 0.5), marks=(("under $0.4", 0.4),)), tmp_path / "p.html")
    page = (tmp_path / "p.html").read_text()
    widths = [int(w) for w in re.findall(r'viewBox="0 0 (\d+) \d+"', page)]
    assert max(widths) > 2 * min(widths)
    assert "@media(max-width:600px){.wide{display:none}.narrow{display:block}}" in page
    for width, chart in zip(widths, page.split('<div class="chart')[1:], strict=True):
        labels = re.findall(r'<text x="([\d.]+)" [^>]*text-anchor="middle">([^<]+)<', chart)
        spans = sorted((float(x) - 3.6 * len(said), float(x) + 3.6 * len(said)) for x, said in labels)
        assert len(spans) >= 2
        assert spans[0][0] >= 0
        assert spans[-1][1] <= width
        assert all(before[1] < after[0] for before, after in pairwise(spans))


def test_points_differ_in_shape_and_a_crowd_stays_behind(tmp_path: Path) -> None:
    one = Series(label="one", x=(1.0,), y=(1.0,), kind="scatter")
    other = Series(label="other", x=(2.0,), y=(2.0,), kind="scatter")
    many = Series(label="many", x=tuple(map(float, range(9))), y=tuple(map(float, range(9))), kind="scatter")
    save(figure(one, other, many, x_is_time=False), tmp_path / "p.html")
    chart = (tmp_path / "p.html").read_text().split("<body>")[1].split("</svg>")[0]
    shapes = re.findall(r'd="([^"]+)" data-point', chart)
    assert len(set(shapes)) == 2
    assert chart.rindex(" many") < chart.index("data-point=")


def test_an_axis_that_does_not_begin_at_zero_says_so() -> None:
    assert "$/h (not from zero)" in text(figure(price(level=0.9)))
    assert "not from zero" not in text(figure(price(level=0.0)))
    assert "not from zero" not in text(figure(price(level=0.9), y_log=True))


def test_a_title_too_long_for_a_line_goes_on_in_the_next() -> None:
    drawn = text(figure(price(), title="the finding " * 8), width=60)
    assert drawn.count("finding") == 8
    assert max(map(len, drawn.splitlines())) <= 60


def test_svg_and_png_are_what_their_names_say_and_repeatable(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need the extra `plots`")
    band = Series(
        label="band", x=(MARCH, MARCH + DAY), y=(0.3, 0.4), low=(0.2, 0.3), high=(0.4, 0.5), kind="band"
    )
    drawn = figure(
        price("$a$"), band, price("c", kind="scatter"), marks=(("on-demand $0.90", 0.9),), notes=("n",)
    )
    for name in ("one.svg", "two.svg", "one.png"):
        save(drawn, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    words = " ".join(ET.parse(tmp_path / "one.svg").getroot().itertext())
    assert all(
        word in words for word in ("$a$", "band", "spot price", "on-demand $0.90", "$/h", "UTC", "2020-03-12")
    )
    png = (tmp_path / "one.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20]) > int.from_bytes(png[20:24]) > 400
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.png", "one.svg", "two.svg"]


def test_another_suffix_is_refused_with_what_would_work(tmp_path: Path) -> None:
    for name in ("price.pdf", "price", "price.jpeg"):
        with pytest.raises(Usage) as complaint:
            save(figure(price()), tmp_path / name)
        assert ".png, .svg, .html" in complaint.value.why
        assert "price.svg" in complaint.value.fix
    assert check_suffix(Path("A.PNG")) == ".png"


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(Missing) as complaint:
        save(figure(price()), tmp_path / "absent" / "p.html")
    assert "could not be written" in complaint.value.what


def test_without_matplotlib_the_remedy_is_a_line_to_paste(tmp_path: Path) -> None:
    """A process in which matplotlib cannot be imported: pages still work, pictures say what to install."""
    script = f"""
import sys
sys.modules["matplotlib"] = None
from pathlib import Path
from hotdesk.charts import Figure, Series, save
from hotdesk.core.errors import Missing
figure = Figure(title="t", x_label="x", y_label="y", series=(Series(label="a", x=(0.0, 1.0), y=(1.0, 2.0)),))
save(figure, Path({str(tmp_path / "p.html")!r}))
try:
    save(figure, Path({str(tmp_path / "p.png")!r}))
except Missing as error:
    print(error.fix)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True, env=ENV
    )
    assert done.stdout.strip() == install_line("plots")
    assert [p.name for p in tmp_path.iterdir()] == ["p.html"]


def test_drawing_for_a_terminal_loads_nothing_heavy() -> None:
    script = (
        "import hotdesk.charts, sys; print([m for m in ('numpy', 'matplotlib', 'rich') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True, env=ENV
    )
    assert done.stdout.strip() == "[]"


def _contrast(colour: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Of two sRGB colours, 0 to 255, after WCAG 2.2."""

    def light(rgb: tuple[float, ...]) -> float:
        linear = [v / 3294.6 if v <= 10.3 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in rgb]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05

    ends = sorted((light(colour), light(other)))
    return ends[1] / ends[0]


def _xterm(number: int) -> tuple[float, ...]:
    """The 256 colours from 16 on: a cube of six steps, then greys."""
    if number >= 232:
        return (8 + 10 * (number - 232),) * 3
    steps = (0, 95, 135, 175, 215, 255)
    return tuple(steps[(number - 16) // n % 6] for n in (36, 6, 1))


def test_a_terminals_colours_are_read_on_white_and_on_black() -> None:
    from hotdesk.charts.terminal import _COLOURS
    from hotdesk.cli.ui.render import _CODES

    words = {int(code.rpartition(";")[2]) for code in _CODES.values() if code.startswith("38;5;")}
    assert len(words) == 5
    for one in words | set(_COLOURS):
        assert _contrast(_xterm(one), (255, 255, 255)) >= 3, one
        assert _contrast(_xterm(one), (0, 0, 0)) >= 3, one


def test_a_pictures_colours_stand_out_from_its_paper() -> None:
    from hotdesk.charts.figure import DARK, LIGHT

    for palette, paper in ((LIGHT, "#ffffff"), (DARK, "#161616")):
        behind = tuple(bytes.fromhex(paper[1:]))
        assert len(set(palette)) == len(palette) == 8
        for colour in palette:
            assert _contrast(tuple(bytes.fromhex(colour[1:])), behind) >= 2.9, colour
