"""The data of a drawing (`Figure`, `Series`), and the position of values and ticks on an axis (`Axis`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal

from msgspec.structs import replace

from hotdesk.core.model import Value

Kind = Literal["line", "step", "scatter", "band"]

#: Told apart by colour-blind eyes (after Okabe and Ito, Color Universal Design, 2008), by day and by night.
LIGHT = ("#0072b2", "#d55e00", "#009e73", "#b8558f", "#333333", "#b09000", "#7a5cc4", "#2a9fd8")
DARK = ("#56b4e9", "#f0883e", "#2cc295", "#e58cc0", "#e6e6e6", "#f0e442", "#9d8cff", "#8ab8ff")
#: The second sign beside colour: on and off lengths of a stroke.
DASHES = ((), (7, 3), (2, 2), (8, 2, 2, 2), (12, 3), (4, 2), (1, 3), (8, 2, 2, 2, 2, 2))

#: Points of a scatter that are many: they make a background, and few ones stand out from it.
CROWD = 6

MINUTE, HOUR, DAY = 60, 3600, 86400
_TIME_STEPS = (
    1,
    5,
    15,
    30,
    MINUTE,
    5 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
)
_DAY_STEPS = (1, 2, 7, 14)
_MONTH_STEPS = (1, 2, 3, 6, 12, 24, 60, 120)
_MONTH_SECONDS = 365.2425 * DAY / 12


class Series(Value, frozen=True):
    """Points of one thing. A `band` fills from `low` to `high`, with `y` as its middle line."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    kind: Kind = "line"
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        lengths = {len(self.x), len(self.y)} | (
            {len(self.low), len(self.high)} if self.kind == "band" else set()
        )
        if len(lengths) > 1:
            raise ValueError(f"series {self.label!r}: x, y, low and high differ in length: {sorted(lengths)}")


class Figure(Value, frozen=True):
    """One drawing: series over two axes. Times are seconds since the epoch and shown in UTC, as ISO 8601
    writes them: every reader takes them for the same day."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    x_log: bool = False
    y_log: bool = False
    x_is_time: bool = False
    marks: tuple[tuple[str, float], ...] = ()  # labelled horizontal lines
    notes: tuple[str, ...] = ()

    def axes(self) -> tuple[Axis, Axis]:
        """Both axes, wide enough for every series and mark."""
        xs = [v for s in self.series for v in (*_ends(s.x, self.x_log),)]
        ys = [v for s in self.series for part in (s.y, s.low, s.high) for v in _ends(part, self.y_log)]
        ys += _ends([value for _, value in self.marks], self.y_log)
        x = Axis.around(xs, log=self.x_log, time=self.x_is_time, label=self.x_label, exact=True)
        y = Axis.around(ys, log=self.y_log, label=self.y_label)
        if y.low > 0 and not y.log:  # heights would deceive whoever does not look at the ticks
            y = replace(y, label=f"{y.label} (not from zero)".lstrip())
        return x, y


class Axis(Value, frozen=True):
    low: float
    high: float
    log: bool = False
    time: bool = False
    label: str = ""

    @classmethod
    def around(
        cls,
        values: Sequence[float],
        *,
        log: bool = False,
        time: bool = False,
        label: str = "",
        exact: bool = False,
    ) -> Axis:
        """An axis that holds these values: from zero where zero is near, else with a little air."""
        low, high = (min(values), max(values)) if values else (1.0, 10.0) if log else (0.0, 1.0)
        if log:
            if low == high:
                low, high = low / 2, high * 2
            elif not exact:
                low, high = low / 1.1, high * 1.1
        elif low == high:
            air = HOUR if time else abs(low) / 2 or 1.0
            low, high = (0.0 if low > 0 and not time else low - air), high + air
        elif not exact:
            air = (high - low) * 0.05
            low, high = (0.0 if 0 <= low <= high / 2 else low - air), high + air
        return cls(low=low, high=high, log=log, time=time, label=label)

    def place(self, value: float) -> float:
        """Where on the axis, 0 to 1. Only for values that `drawable`."""
        if self.log:
            return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)

    def drawable(self, value: float) -> bool:
        return math.isfinite(value) and not (self.log and value <= 0)

    def name(self) -> str:
        """The axis's label; a time axis says that it is UTC, and of which day where its ticks cannot."""
        if not self.time:
            return self.label
        first, last = (f"{datetime.fromtimestamp(v, UTC):%Y-%m-%d}" for v in (self.low, self.high))
        return f"{self.label} (UTC{f', {first}' if first == last else ''})".lstrip()

    def ticks(self, about: int) -> list[tuple[float, str]]:
        """Round values with their labels: no more than roughly `about` of them."""
        about = max(about, 2)
        if self.time:
            return _time_ticks(self.low, self.high, about)
        if self.log and self.high / self.low >= 3:
            return _log_ticks(self.low, self.high, about)
        return _linear_ticks(self.low, self.high, about)

    def format(self, value: float) -> str:
        """One value in words, as a reader of the axis would write it."""
        if self.time:
            return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M")
        return number(value, max(0, 3 - _exponent(max(abs(value), 1e-12))) if abs(value) < 1000 else 0)


def number(value: float, digits: int) -> str:
    """A number with thousands apart, huge and tiny ones in short."""
    size = abs(value)
    for scale, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if size >= scale:
            return f"{value / scale:.4g}{letter}"
    if 0 < size < 1e-4:
        return f"{value:.2g}"
    return f"{value:,.{min(digits, 6)}f}"


def thinned(series: Series, axis: Axis, buckets: int) -> Series:
    """The same look with far fewer points: of every bucket the first, lowest, highest and last stay."""
    if len(series.x) <= 4 * buckets or series.kind == "scatter":
        return series
    keep: list[int] = []
    bucket: list[int] = []
    current = None
    for n, x in enumerate(series.x):
        if not (axis.drawable(x) and math.isfinite(series.y[n])):
            continue
        place = int(axis.place(x) * buckets)
        if place != current:
            keep += _outline(bucket, series)
            bucket, current = [], place
        bucket.append(n)
    keep += _outline(bucket, series)

    def pick(values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(values[n] for n in keep) if values else ()

    return Series(
        label=series.label,
        kind=series.kind,
        x=pick(series.x),
        y=pick(series.y),
        low=pick(series.low),
        high=pick(series.high),
    )


def _outline(bucket: list[int], series: Series) -> list[int]:
    if not bucket:
        return []
    height = series.y.__getitem__
    low = min(bucket, key=series.low.__getitem__ if series.low else height)
    high = max(bucket, key=series.high.__getitem__ if series.high else height)
    return sorted({bucket[0], low, high, bucket[-1]})


def _ends(values: Iterable[float], log: bool) -> list[float]:
    kept = [v for v in values if math.isfinite(v) and not (log and v <= 0)]
    return [min(kept), max(kept)] if kept else []


def _exponent(value: float) -> int:
    return math.floor(math.log10(value))


def _linear_ticks(low: float, high: float, about: int) -> list[tuple[float, str]]:
    rough = (high - low) / about
    ten = 10.0 ** _exponent(rough)
    step = next(s * ten for s in (1, 2, 2.5, 5, 10) if s * ten >= rough * (1 - 1e-9))
    # 2.5 needs one digit more than its power of ten
    digits = max(0, -_exponent(step) + (1 if abs(step / ten - 2.5) < 1e-9 else 0))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    values = [n * step for n in range(first, last + 1)]
    labels = [number(value, digits) for value in values]
    if len(set(labels)) < len(labels):  # too close together for the short form
        labels = [f"{value:,.{digits}f}" for value in values]
    return list(zip(values, labels, strict=True))


def _log_ticks(low: float, high: float, about: int) -> list[tuple[float, str]]:
    first, last = _exponent(low), _exponent(high) + 1
    found: list[tuple[float, str]] = []
    for digits in ((1, 2, 5), (1, 3), (1,)):
        found = [
            (d * 10.0**e, number(d * 10.0**e, max(0, -e)))
            for e in range(first, last)
            for d in digits
            if low * (1 - 1e-9) <= d * 10.0**e <= high * (1 + 1e-9)
        ]
        if len(found) <= about + 1:
            return found
    return found[:: math.ceil(len(found) / about)]


def _time_ticks(low: float, high: float, about: int) -> list[tuple[float, str]]:
    rough = (high - low) / about
    for step in _TIME_STEPS:
        if step >= rough:
            return _clock_ticks(low, high, step)
    for days in _DAY_STEPS:
        if days * DAY >= rough:
            return _steps(low, high, days * DAY, lambda t: f"{t:%Y-%m-%d}")
    months = next((m for m in _MONTH_STEPS if m * _MONTH_SECONDS >= rough), _MONTH_STEPS[-1])
    return _month_ticks(low, high, months)


def _clock_ticks(low: float, high: float, step: int) -> list[tuple[float, str]]:
    clock = "%H:%M:%S" if step < MINUTE else "%H:%M"
    days = {datetime.fromtimestamp(v, UTC).date() for v in (low, high)}

    def label(t: datetime) -> str:
        midnight = t.hour == t.minute == t.second == 0
        return f"{t:%Y-%m-%d}" if midnight and len(days) > 1 else t.strftime(clock)

    return _steps(low, high, step, label)


def _steps(low: float, high: float, step: int, label: Callable[[datetime], str]) -> list[tuple[float, str]]:
    first, last = math.ceil(low / step), math.floor(high / step)
    return [(n * step, label(datetime.fromtimestamp(n * step, UTC))) for n in range(first, last + 1)]


def _month_ticks(low: float, high: float, months: int) -> list[tuple[float, str]]:
    found = []
    start = datetime.fromtimestamp(low, UTC)
    month = (start.year * 12 + start.month - 1) // months * months
    while (at := datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)).timestamp() <= high:
        if at.timestamp() >= low:
            found.append((at.timestamp(), str(at.year) if months >= 12 else f"{at:%Y-%m}"))
        month += months
    return found
