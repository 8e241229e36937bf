"""A figure in characters: braille dots for curves, so that 80 x 20 cells hold 160 x 80 dots."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from string import ascii_lowercase
from textwrap import wrap

from hotdesk.charts.figure import Axis, Figure, Series, thinned
from hotdesk.charts.parallel import Parallel
from hotdesk.charts.parallel import text as parallel_text

#: Bits of the braille block (U+2800) by row and column of a dot in its cell.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_COLOURS = (32, 166, 29, 170, 244, 136, 99, 31)  # of the 256, those that are read on white and on black
_DASH, _POINT, _SWATCH = "╌", "●", "━"
_LETTERS = ascii_lowercase + ascii_lowercase.upper()


def text(figure: Figure | Parallel, *, width: int = 80, height: int = 20, colour: bool = False) -> str:
    """The figure in at most `width` cells a line; `height` counts the lines between title and legend.

    A curve among several carries its letter, which the legend explains: not all eyes tell colours apart.
    """
    width, height = max(width, 30), max(height, 6)
    if isinstance(figure, Parallel):
        return parallel_text(figure, width=width, height=height, colour=colour, canvas=Canvas)
    x, y = figure.axes()
    labels = {_row(y, value, height - 2): label for value, label in y.ticks(max(3, (height - 2) // 4))}
    left = max(map(_cells, labels.values()), default=0)
    canvas = Canvas(width - left - 2, height - 2, x, y)
    lettered = len(figure.series) > 1
    # bands lie under curves, curves under points
    order = sorted(
        range(len(figure.series)),
        key=lambda n: ("band", "line", "step", "scatter").index(figure.series[n].kind),
    )
    for n in order:
        canvas.draw(n, figure.series[n], _letter(n) if lettered else "")
    for _, value in figure.marks:
        canvas.dash(value)

    title = wrap(_clip(figure.title, 3 * width), width) or [""]
    lines = [*title, _clip(" " * (left + 1) + y.name(), width)]
    for row, cells in enumerate(canvas.lines(colour)):
        label = labels.get(row, "")
        lines.append(f"{label:>{left}} {'┤' if label else '│'}{cells}".rstrip())
    lines += [*_x_axis(x, left, canvas.width), *_legend(figure, width, colour, lettered)]
    lines += [line for note in figure.notes for line in wrap(_clip(note, 4 * width), width)]
    if not any(canvas.drew):
        lines.append("(nothing to draw: no finite values)")
    return "\n".join(line.rstrip() for line in lines if line.strip())


class Canvas:
    """Cells of braille dots, each with the series it was last drawn by, and single characters above them."""

    def __init__(
        self, width: int, height: int, x: Axis, y: Axis, colours: tuple[int, ...] = _COLOURS
    ) -> None:
        self.width, self.height, self.x, self.y, self.colours = width, height, x, y, colours
        self.bits = [[0] * width for _ in range(height)]
        self.owner = [[-1] * width for _ in range(height)]
        self.over: dict[tuple[int, int], str] = {}
        self.drew: list[bool] = []

    def draw(self, number: int, series: Series, letter: str) -> None:
        series = thinned(series, self.x, 2 * self.width)
        if series.kind == "band":
            self._fill(number, series)
        points = [
            (
                self._dot(self.x, x, 2 * self.width),
                4 * self.height - 1 - self._dot(self.y, y, 4 * self.height),
            )
            if self.x.drawable(x) and self.y.drawable(y)
            else None
            for x, y in zip(series.x, series.y, strict=True)
        ]
        seen = [p for p in points if p]
        self.drew.append(bool(seen))
        if series.kind == "scatter":
            for px, py in seen:
                self._mark(number, px, py, letter or _POINT)
            return
        for before, after in pairwise(points):
            if before and after:
                corner = (after[0], before[1]) if series.kind == "step" else after
                self._line(number, before, corner)
                self._line(number, corner, after)
        if len(seen) == 1:
            self._mark(number, *seen[0], letter or _POINT)
        elif letter:
            self._letters(number, [p for p in points if p], series.kind, letter)

    def dash(self, value: float) -> None:
        """A horizontal mark behind whatever is drawn."""
        if not self.y.drawable(value):
            return
        row = _row(self.y, value, self.height)
        for column in range(self.width):
            if not self.bits[row][column]:
                self.over.setdefault((row, column), _DASH)

    def lines(self, colour: bool) -> list[str]:
        found = []
        for row in range(self.height):
            cells, current = [], -1
            for column in range(self.width):
                bits, owner = self.bits[row][column], self.owner[row][column]
                cell = self.over.get((row, column)) or (chr(0x2800 + bits) if bits else " ")
                if colour and owner != current:
                    cells.append("\x1b[0m" if owner < 0 else self._paint(owner))
                    current = owner
                cells.append(cell)
            found.append("".join(cells).rstrip() + ("\x1b[0m" if current >= 0 else ""))
        return found

    def _paint(self, owner: int) -> str:
        return f"\x1b[38;5;{self.colours[owner % len(self.colours)]}m"

    # ---- parallel coordinates --------------------------------------------------------------------------

    def path(self, number: int, points: Sequence[tuple[float, float]]) -> None:
        """A curve through these points, that nothing thins out and no letter marks."""
        bottom = 4 * self.height - 1
        dots = [
            (self._dot(self.x, x, 2 * self.width), bottom - self._dot(self.y, y, 4 * self.height))
            for x, y in points
        ]
        for before, after in pairwise(dots):
            self._line(number, before, after)

    def column(self, x: float) -> int:
        """The column of cells in which a value is drawn."""
        return self._dot(self.x, x, 2 * self.width) // 2

    def upright(self, x: float) -> None:
        """An axis from top to bottom."""
        for row in range(self.height):
            self.over[row, self.column(x)] = "│"

    def write(self, x: float, y: float, label: str, *, left: bool = False) -> None:
        """A label beside an upright axis."""
        row, column = _row(self.y, y, self.height), self.column(x)
        start = column - len(label) if left else column + 1
        self.over[row, column] = "┤" if left else "├"
        for n, character in enumerate(label):
            self.over[row, start + n] = character

    def _dot(self, axis: Axis, value: float, dots: int) -> int:
        return min(dots - 1, max(0, math.floor(axis.place(value) * (dots - 1) + 0.5)))

    def _set(self, number: int, px: int, py: int) -> None:
        row, column = py // 4, px // 2
        self.bits[row][column] |= _DOTS[py % 4][px % 2]
        self.owner[row][column] = number

    def _mark(self, number: int, px: int, py: int, character: str) -> None:
        self._set(number, px, py)
        self.over[(py // 4, px // 2)] = character

    def _line(self, number: int, start: tuple[int, int], end: tuple[int, int]) -> None:
        (x0, y0), (x1, y1) = start, end
        steps = max(abs(x1 - x0), abs(y1 - y0))
        for n in range(steps + 1):
            part = n / steps if steps else 0.0
            self._set(
                number, math.floor(x0 + (x1 - x0) * part + 0.5), math.floor(y0 + (y1 - y0) * part + 0.5)
            )

    def _fill(self, number: int, series: Series) -> None:
        """Every second dot between low and high: seen as grey beside a full curve."""
        edges = [
            (
                self._dot(self.x, x, 2 * self.width),
                *(self._dot(self.y, v, 4 * self.height) for v in (low, high)),
            )
            for x, low, high in zip(series.x, series.low, series.high, strict=True)
            if self.x.drawable(x) and self.y.drawable(low) and self.y.drawable(high)
        ]
        for (x0, low0, high0), (x1, low1, high1) in pairwise(edges):
            for px in range(x0, x1 + 1):
                part = (px - x0) / (x1 - x0) if x1 > x0 else 0.0
                low, high = (round(a + (b - a) * part) for a, b in ((low0, low1), (high0, high1)))
                for py in range(low, high + 1):
                    if (px + 2 * py) % 4 == 0:
                        self._set(number, px, 4 * self.height - 1 - py)

    def _letters(self, number: int, points: list[tuple[int, int]], kind: str, letter: str) -> None:
        """The curve's letter on it, at places that differ between series so that they do not meet."""
        spacing = max(12, self.width // 4)
        spots = [*range((number * 5 + 3) % spacing, self.width, spacing)]
        for column in spots:
            before = [p for p in points if p[0] <= 2 * column]
            after = next((p for p in points if p[0] > 2 * column), None)
            if not before or not after:
                continue
            (x0, y0), (x1, y1) = before[-1], after
            py = y0 if kind == "step" else round(y0 + (y1 - y0) * (2 * column - x0) / (x1 - x0))
            if self.owner[py // 4][column] == number:
                self.over[(py // 4, column)] = letter


def _row(axis: Axis, value: float, height: int) -> int:
    """The line of cells in which a value is drawn."""
    dots = 4 * height
    return (dots - 1 - min(dots - 1, max(0, math.floor(axis.place(value) * (dots - 1) + 0.5)))) // 4


def _x_axis(x: Axis, left: int, width: int) -> list[str]:
    """The rule with its ticks, their labels, and what they count."""
    rule, labels, free = ["─"] * width, [" "] * (width + left + 2), 0
    for value, label in x.ticks(max(2, width // (14 if x.time else 12))):
        column = round(x.place(value) * (width - 1))
        start = min(max(left + 2 + column - len(label) // 2, 0), len(labels) - len(label))
        if start < free:
            continue
        rule[column] = "┬"
        labels[start : start + len(label)] = label
        free = start + len(label) + 2
    name = _clip(x.name(), width)
    return [" " * (left + 1) + "└" + "".join(rule), "".join(labels), " " * (left + 2) + name.rjust(width)]


def _legend(figure: Figure, width: int, colour: bool, lettered: bool) -> list[str]:
    entries: list[tuple[int, str]] = []
    for n, series in enumerate(figure.series):
        if len(figure.series) == 1 and not figure.marks:
            break
        swatch = {"band": "░", "scatter": _POINT}.get(series.kind, _SWATCH)
        if lettered:
            swatch = _letter(n) + (" ░" if series.kind == "band" else "")
        label = _clip(series.label, width - 6)
        paint = f"\x1b[38;5;{_COLOURS[n % len(_COLOURS)]}m{swatch}\x1b[0m" if colour else swatch
        entries.append((_cells(swatch) + 1 + _cells(label), f"{paint} {label}"))
    for label, value in figure.marks:
        # a mark's own name often ends in its value already
        entry = _clip(
            f"{_DASH}{_DASH} {label} {value:g}" if f"{value:g}" not in label else f"{_DASH}{_DASH} {label}",
            width,
        )
        entries.append((_cells(entry), entry))
    lines, used = [""], 0
    for size, entry in entries:
        if used and used + 3 + size > width:
            lines.append("")
            used = 0
        lines[-1] += ("   " if used else "") + entry
        used += size + (3 if used else 0)
    return lines


def _letter(number: int) -> str:
    return _LETTERS[number % len(_LETTERS)]


def _cells(label: str) -> int:
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in label
    )


def _clip(label: str, width: int) -> str:
    """Printable characters only, at most `width` cells of them."""
    label = "".join(c if c.isprintable() else "�" for c in label)
    if _cells(label) <= width:
        return label
    while _cells(label) > width - 1:
        label = label[:-1]
    return label + "…"
