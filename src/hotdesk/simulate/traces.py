"""Read recorded availability of spot machines, strictly: invalid data is an error that names its place.

The public format (skypilot-org/spot-traces): a JSON file for each zone and type, named ZONE_GPU_COUNT.json:
{"metadata": {"gap_seconds": 600}, "data": [n, ...]}, where n is how many instances could be had at that tick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from hotdesk.core import wire
from hotdesk.core.errors import Damaged, HotdeskError, Missing, Unknown, Usage
from hotdesk.system import install_line

HELP = "hotdesk simulate --help"
FORMAT = (
    'It should hold {"metadata": {"gap_seconds": 600}, "data": [1, 0, ...]}: instances to be had at a tick.'
)


class Trace(msgspec.Struct, frozen=True):
    zone: str
    kind: str  # what kind of machine: "v100_1"; traces of one kind can serve one job together
    tick_seconds: float
    up: Any  # bool for each tick
    usd: Any = None  # an hour of spot, for each tick, where the trace says it
    usd_on_demand: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.zone}_{self.kind}" if self.kind else self.zone


def check_numpy() -> None:
    """Raises `Missing` where numpy is not installed."""
    import importlib.util

    if importlib.util.find_spec("numpy") is None:
        raise Missing("Simulating needs numpy.", "It is an extra of hotdesk's.", install_line("spot"))


def read_traces(folder: Path, nodes: int = 1) -> list[Trace]:
    """Every trace in a folder (or in the folders below it, if it holds none itself), by name; or one file.

    A zone has spot at a tick where at least `nodes` instances could be had.
    """
    if folder.is_file():
        return [read_trace(folder, nodes)]
    if not folder.is_dir():
        near = sorted(p.name for p in folder.parent.iterdir() if p.is_dir()) if folder.parent.is_dir() else []
        import difflib

        close = difflib.get_close_matches(folder.name, near, n=1)
        where = f"hotdesk simulate --traces {folder.parent / close[0]}" if close else HELP
        raise Unknown(
            f"There is no folder {folder}.", f"Its neighbours: {', '.join(near[:8])}." if near else "", where
        )
    try:
        files = sorted(folder.glob("*.json")) or sorted(folder.rglob("*.json"))
    except OSError as error:
        raise Damaged(f"The folder {folder} cannot be read.", str(error), f"ls -ld {folder}") from None
    traces = [trace for file in files if (trace := _read(file, nodes)) is not None]
    if not traces:
        raise Unknown(
            f"There is no trace in {folder}.",
            "No file that ends in .json, in it or below it."
            if not files
            else "None of its JSON files is a trace.",
            "git clone https://github.com/skypilot-org/spot-traces",
        )
    names = [t.name for t in traces]
    if twice := {n for n in names if names.count(n) > 1}:
        one = next(f for f, n in zip(files, names, strict=False) if n in twice)
        raise Usage(
            f"Two traces are called {sorted(twice)[0]}.",
            f"{folder} holds several sets of traces: choose one of its folders.",
            f"hotdesk simulate --traces {one.parent}",
        )
    return traces


def read_trace(file: Path, nodes: int = 1) -> Trace:
    """Read one trace. Raises `Damaged` if the file is anything else."""
    trace = _read(file, nodes)
    if trace is None:
        raise Damaged(f"{file} is not a trace.", FORMAT, HELP)
    return trace


def _read(file: Path, nodes: int) -> Trace | None:
    """The trace; None for a list of windows, which may lie beside it."""
    import numpy as np

    try:
        content = wire.json(wire.text(file.read_bytes()))
    except OSError as error:
        raise Damaged(f"{file} cannot be read.", str(error), f"ls -l {file}") from None
    except msgspec.DecodeError as error:
        raise _unreadable(file, error) from None
    if isinstance(content, dict) and "starts" in content and "data" not in content:
        return None
    meta = content.get("metadata") if isinstance(content, dict) else None
    data = content.get("data") if isinstance(content, dict) else None
    gap = meta.get("gap_seconds") if isinstance(meta, dict) else None
    if not isinstance(data, list) or not isinstance(gap, int | float) or isinstance(gap, bool):
        raise Damaged(f"{file} is not a trace.", FORMAT, HELP)
    if not data:
        raise Damaged(f"{file} is empty: it holds no tick.", FORMAT, f"rm {file}")
    if not 1 <= gap <= 86400:
        guess = "in hours" if 0 < gap < 1 else "in milliseconds" if gap > 86400 else "wrong"
        right = gap * 3600 if 0 < gap < 1 else gap / 1000
        raise Damaged(
            f"{file}: a tick of {gap:g} s cannot be right; the unit seems to be {guess}.",
            "gap_seconds counts the seconds between two looks: from 1 to 86400.",
            f"""sed -i 's/"gap_seconds": *[^,}}]*/"gap_seconds": {right:g}/' {file}"""
            if gap > 0 and 1 <= right <= 86400
            else f"head -c 200 {file}",
        )
    for place, item in enumerate(data):
        if isinstance(item, bool | int) and item >= 0:
            continue
        if isinstance(item, float) and item >= 0 and item == int(item):
            continue
        raise _bad_tick(file, place, item)
    zone, _, kind = file.stem.partition("_")
    usd, notes = _prices(file, content, len(data))
    dear = _about(content).get("on_demand_price")
    notes = (*notes, *_unread(file, content))
    return Trace(
        zone=zone,
        kind=kind,
        tick_seconds=float(gap),
        up=np.array(data) >= max(nodes, 1),
        usd=usd,
        usd_on_demand=float(dear) if isinstance(dear, int | float) and dear > 0 else None,
        notes=notes,
    )


#: What is read of a trace, by the object that holds it.
_READ = {
    "": ("metadata", "data", "prices"),
    "metadata": ("gap_seconds", "currency", "price_info"),
    "price_info": ("on_demand_price", "currency"),
}


def _unread(file: Path, content: dict[str, Any]) -> list[str]:
    """Names what a trace says besides: a price or a date under another name would be missed in silence."""
    notes = []
    parts = {"": content, "metadata": content["metadata"], "price_info": _about(content)}
    for name, part in parts.items():
        if unknown := sorted(set(part) - set(_READ[name])):
            of = f" of {name}" if name else ""
            read = ", ".join(_READ[name])
            notes.append(
                f"{file.name}: {', '.join(unknown)}{of} is not read; {name or 'a trace'} holds {read}."
            )
    return notes


def _about(content: dict[str, Any]) -> dict[str, Any]:
    """What a trace says of its prices."""
    about = content["metadata"].get("price_info")
    return about if isinstance(about, dict) else {}


def _prices(file: Path, content: dict[str, Any], ticks: int) -> tuple[Any, tuple[str, ...]]:
    """Dollars an hour for each tick, and what is to be said; None where the trace has no prices."""
    import numpy as np

    raw = content.get("prices")
    if raw is None:
        return None, ()
    currency = _about(content).get("currency", content["metadata"].get("currency", "USD"))
    if currency != "USD":
        raise Damaged(
            f"{file}: its prices are in {str(currency)[:8]}, not in USD.",
            "Prices in two currencies cannot be compared without a rate, and none is known here.",
            f"convert them, or leave them out: jq 'del(.prices)' {file}",
        )
    if not isinstance(raw, list) or len(raw) != ticks:
        count = len(raw) if isinstance(raw, list) else "no list"
        raise Damaged(
            f"{file}: {count} prices for {ticks} ticks.", "Each tick has one price.", f"head -c 200 {file}"
        )
    wrong = (int, float, type(None))
    for place, item in enumerate(raw):
        if isinstance(item, bool) or not isinstance(item, wrong) or (item is not None and not 0 < item < 1e6):
            raise Damaged(
                f"{file}: the price at tick {place} is {str(item)[:20]}.",
                "An hour of spot costs more than nothing; a tick whose price is not known is null.",
                f"jq '.prices[{place}] = null' {file}",
            )
    known = np.array([np.nan if item is None else float(item) for item in raw])
    missing = np.isnan(known)
    if missing.all():
        return None, (f"{file.name}: none of its prices is known, so --spot counts.",)
    if not missing.any():
        return known, ()
    last = np.maximum.accumulate(np.where(missing, 0, np.arange(ticks)))
    first = int(np.argmin(missing))
    filled = known[np.maximum(last, first)]
    share = 100 * float(missing.mean())
    return filled, (f"{file.name}: {share:.0f} % of its prices are missing; the last one known counts on.",)


def _unreadable(file: Path, error: Exception) -> HotdeskError:
    text = wire.text(file.read_bytes()).rstrip()
    if any(word in str(error) for word in ("truncated", "end of")) or not text.endswith("}"):
        return Damaged(
            f"{file} ends in the middle: it is truncated.",
            f"It is {file.stat().st_size} bytes long; {error}.",
            f"fetch it again from where it came, or leave it out: mv {file} {file}.broken",
        )
    if "NaN" in text:
        return Damaged(
            f"{file} holds NaN: ticks at which nobody looked.",
            "A tick that was not seen is neither up nor down, and a guess would be somebody's money.",
            f"cut the trace where it was not seen, or say down: sed -i 's/NaN/0/g' {file}",
        )
    return Damaged(f"{file} is not JSON.", str(error), FORMAT)


def _bad_tick(file: Path, place: int, item: Any) -> HotdeskError:
    if item is None:
        what, why = (
            "is missing (null)",
            "A tick that was not seen is neither up nor down: the trace has a gap there.",
        )
        fix = f"cut the trace there, or say down: sed -i 's/null/0/g' {file}"
    elif isinstance(item, int | float) and item < 0:
        what, why, fix = f"is {item:g}", "There cannot be fewer than no instances.", f"head -c 200 {file}"
    elif isinstance(item, float):
        what, why = (
            f"is {item:g}",
            "Instances are counted in whole numbers; a share of time or a price is no trace.",
        )
        fix = f"head -c 200 {file}"
    else:
        what, why, fix = f"is {str(item)[:20]!r}", FORMAT, f"head -c 200 {file}"
    return Damaged(f"{file}: tick {place} {what}.", why, fix)


# ---- windows -----------------------------------------------------------------------------------------


def windows(asked: str, ticks: int, longest: int, tick_seconds: float, name: str) -> list[int]:
    """Ticks at which runs begin: N spread evenly, or those of a JSON file ([...] or {"starts": [...]})."""
    last, hour = ticks - longest, tick_seconds / 3600
    if last < 0:
        raise Usage(
            f"{name} is too short: {ticks * hour:.1f} h of it for a deadline of {longest * hour:.1f} h.",
            "A run needs a trace as long as its deadline, for nobody knows what came after.",
            f"--deadline {int(ticks * hour * 100) / 100:g}   # or a longer trace",
        )
    if asked.isdigit() and int(asked) > 0:
        count = min(int(asked), last + 1)
        return [round(n * last / max(count - 1, 1)) for n in range(count)]
    file = Path(asked)
    if not file.is_file():
        raise Usage(f"--windows {asked} is neither a number nor a file.", "", "--windows 100")
    try:
        content = wire.json(wire.text(file.read_bytes()))
        starts = msgspec.convert(content["starts"] if isinstance(content, dict) else content, list[int])
    except (msgspec.DecodeError, msgspec.ValidationError, KeyError, TypeError) as error:
        raise Damaged(
            f"{file} is not a list of windows.",
            f'[0, 12, ...] or {{"starts": [...]}}: {error}',
            "--windows 100",
        ) from None
    if not starts:
        raise Damaged(f"{file} lists no window.", "", "--windows 100")
    if beyond := [s for s in starts if not 0 <= s <= last]:
        raise Usage(
            f"{len(beyond)} of {len(starts)} windows lie beyond {name}: one begins at tick {beyond[0]}.",
            f"It has {ticks} ticks, and a run of {longest} ticks can begin at tick {last} at the latest.",
            "--windows 100   # spread evenly over what there is",
        )
    return starts
