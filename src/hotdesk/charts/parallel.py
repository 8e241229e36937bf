"""Parallel coordinates: an upright axis for each quantity, and a line across all of them for each thing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hotdesk.charts.figure import Axis
from hotdesk.core.model import Value

if TYPE_CHECKING:
    from hotdesk.charts.terminal import Canvas

#: From low to high on the last axis, told apart by colour-blind eyes (after Matplotlib's viridis, in the 256
#: colours of a terminal). They only repeat what the last axis shows.
RAMP = ("#440154", "#3b528b", "#21918c", "#5ec962", "#c8b900")
_FEW = 8
_TERMINAL_RAMP = (54, 61, 30, 71, 142)


class Scale(Value, frozen=True):
    """One upright axis: numbers, or names from below to above where it has some."""

    label: str
    axis: Axis
    names: tuple[str, ...] = ()
    values: tuple[float, ...] = ()  # that stand at it, where they are few; else round numbers do

    @classmethod
    def of(cls, label: str, values: Sequence[object]) -> Scale:
        """The axis of these values: logarithmic where positive numbers span a factor of ten."""
        known = [v for v in values if v is not None]
        numbers = [float(v) for v in known if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(numbers) == len(known):
            finite = [v for v in numbers if math.isfinite(v)] or [0.0]
            each = tuple(sorted(set(finite)))
            axis = Axis.around(finite, log=spans(finite, 10), exact=True)
            return cls(label=label, axis=axis, values=each if len(each) <= _FEW else ())
        names = tuple(dict.fromkeys(map(str, known)))
        return cls(label=label, axis=Axis(low=-0.5, high=len(names) - 0.5), names=names)

    def place(self, value: object) -> float | None:
        """Where on the axis, 0 to 1; None where it is not on it."""
        if self.names:
            return self.axis.place(self.names.index(str(value))) if str(value) in self.names else None
        if isinstance(value, int | float) and self.axis.drawable(value):
            return self.axis.place(value)
        return None

    def ticks(self, about: int) -> list[tuple[float, str]]:
        """Places from 0 to 1, with what stands there."""
        if self.names:
            return [(self.axis.place(n), name) for n, name in enumerate(self.names)]
        if self.values:
            return [(self.axis.place(value), f"{value:.4g}") for value in self.values]
        found = self.axis.ticks(about)
        low, high = self.axis.low, self.axis.high
        if len(found) < 2:
            found = [(low, f"{low:.4g}"), (high, f"{high:.4g}")]
        return [(self.axis.place(value), label) for value, label in found]


class Parallel(Value, frozen=True):
    """`lines` has a value for each scale, or None; the last scale gives a line its colour."""

    title: str
    scales: tuple[Scale, ...]
    lines: tuple[tuple[object, ...], ...]
    notes: tuple[str, ...] = ()

    def places(self) -> list[list[tuple[int, float]]]:
        """Of each line, from low to high on the last axis: (number of the scale, place on it)."""
        found = []
        for line in self.lines:
            told = [(n, scale.place(v)) for n, (scale, v) in enumerate(zip(self.scales, line, strict=True))]
            found.append([(n, place) for n, place in told if place is not None])
        last = len(self.scales) - 1
        return sorted(found, key=lambda line: line[-1][1] if line and line[-1][0] == last else 2.0)

    def shade(self, line: Sequence[tuple[int, float]]) -> int | None:
        """Which colour of the ramp a line has; None for one that does not reach the last axis."""
        if not line or line[-1][0] != len(self.scales) - 1:
            return None
        return min(len(RAMP) - 1, int(line[-1][1] * len(RAMP)))


def spans(values: Sequence[float], factor: float) -> bool:
    """Whether numbers are better shown by their logarithms: positive ones that differ by this factor."""
    return bool(values) and min(values) > 0 and max(values) / min(values) >= factor


def text(parallel: Parallel, *, width: int, height: int, colour: bool, canvas: type[Canvas]) -> str:
    """In at most `width` cells a line, with each tick beside its axis."""
    across = Axis(low=0.0, high=max(1.0, len(parallel.scales) - 1.0))
    drawn = canvas(width, max(4, height - 3), across, Axis(low=0.0, high=1.0), _TERMINAL_RAMP)
    for line in reversed(parallel.places()):  # what is low on the last axis lies on top
        shade = parallel.shade(line)
        drawn.path(len(RAMP) if shade is None else shade, line)
    heads = [" "] * width
    for n, scale in enumerate(parallel.scales):
        column = drawn.column(n)
        drawn.upright(n)
        last = n == len(parallel.scales) - 1 and n > 0
        for place, label in scale.ticks(max(2, height // 4)):
            drawn.write(n, place, label[: max(1, width // len(parallel.scales) - 2)], left=last)
        name = scale.label[: width // max(1, len(parallel.scales)) - 1]
        start = min(max(0, column - (len(name) - 1 if last else 0)), width - len(name))
        heads[start : start + len(name)] = name
    lines = [parallel.title[:width], "".join(heads).rstrip(), *drawn.lines(colour), *parallel.notes]
    return "\n".join(line.rstrip() for line in lines)


def draw(axes: Any, parallel: Parallel) -> None:
    """Into the axes of a matplotlib figure."""
    for line in parallel.places():
        shade = parallel.shade(line)
        axes.plot(
            [n for n, _ in line],
            [place for _, place in line],
            color="#bbbbbb" if shade is None else RAMP[shade],
            alpha=0.85 if len(parallel.lines) < 200 else 0.4,
            linewidth=1.3,
            zorder=2 if shade is None else 10 - shade,
        )
    last = len(parallel.scales) - 1
    for n, scale in enumerate(parallel.scales):
        axes.axvline(n, color="#333333", linewidth=1.0, zorder=12)
        for place, label in scale.ticks(6):
            axes.annotate(
                label,
                (n, place),
                xytext=(-4 if n == last else 4, 0),
                textcoords="offset points",
                ha="right" if n == last else "left",
                va="center",
                fontsize=8,
                zorder=13,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6},
            )
    axes.set_title(parallel.title, loc="left", fontsize=12, fontweight="bold")
    axes.set_xticks(range(last + 1), [scale.label for scale in parallel.scales])
    axes.set_yticks([])
    axes.set_xlim(-0.05, last + 0.05)
    axes.set_ylim(-0.03, 1.03)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)
