"""Write docs/benchmarks.md from what `benchmarks.peers` measured: python -m benchmarks.report [--check]"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MEASURED = ROOT / "benchmarks" / "results" / "peers.json"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
#: Steps that both have, and what each has done when it ends.
STEPS = (
    ("launch", "hotdesk: login and Jupyter have answered; SkyPilot: the login has"),
    ("status", "EC2 was asked"),
    ("stop", "the machine is off"),
    ("start", "as at the launch"),
    ("down", "nothing is left that costs money"),
)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--check", action="store_true", help="say whether the document is that of the figures")
    text = "\n".join(page(json.loads(MEASURED.read_text()))) + "\n"
    if ask.parse_args().check:
        sys.exit(DOCUMENT.read_text() != text)
    DOCUMENT.write_text(text)


def page(found: dict[str, Any]) -> Iterator[str]:
    """The document, line by line."""
    yield "# Beside the peers"
    yield ""
    yield from _prose(
        f"""`python -m benchmarks.peers` measures all of this in one run and `python -m benchmarks.report`
        writes this page. Last on {found["date"]}, commit {found["commit"]}, Python {found["python"]},
        {found["machine"]}. The load was {found["load"]:.1f} as it began: compare wall times within one table
        only. Processor time is user and system together."""
    )
    yield from _installed(found["installed"])
    yield from _commands(found["commands"])
    if "calls" in found:
        yield from _calls(found["calls"])
    yield "## More"
    yield ""
    yield "* [speed.md](speed.md): calls, waits, many small files"
    yield "* [spot.md](spot.md): policies over recorded traces, beside the exact optimum"
    yield "* [plan.md](plan.md): predictions"
    yield "* [sweep.md](sweep.md): rates beside bare Ray"


def _installed(rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield "## What is installed"
    yield ""
    yield from _prose("Into an empty environment, without pip's cache. The seconds depend on the line.")
    yield from _table(
        ("", "what", "packages", "MB", "seconds"),
        [(name, f"`{r['what']}`", r["packages"], r["mb"], r["seconds"]) for name, r in rows.items()],
    )
    times = rows["SkyPilot"]["mb"] / rows["hotdesk"]["mb"]
    yield from _prose(
        f"""SkyPilot with AWS takes {times:.0f} times the space of hotdesk alone, which lists offers,
        plans and simulates without any extra. `local` brings JupyterLab, which is most of its size. gpuhunt
        is a catalogue: it launches nothing."""
    )


def _commands(taken: dict[str, dict[str, list[float]]]) -> Iterator[str]:
    yield "## What a command costs"
    yield ""
    yield from _prose("Processor seconds: median (least to most) of runs in turn.")
    names = list(dict.fromkeys(name for row in taken.values() for name in row))
    rows = [(f"`{what}`", *(_spread(row.get(name)) for name in names)) for what, row in taken.items()]
    yield from _table(("", *names), rows)


def _calls(days: dict[str, dict[str, list[float]]]) -> Iterator[str]:
    yield "## Which calls to EC2"
    yield ""
    yield from _prose(
        """One machine's day against the fake EC2 at the pace of EC2, with one region enabled and nothing in
        the account. Processor seconds in brackets: SkyPilot runs in one process here, hotdesk in a new one
        for each step."""
    )
    ours, theirs = days["hotdesk"], days["SkyPilot"]
    rows = [
        (f"`{step}`", *(f"{d[step][0]:g} ({d[step][1]:.1f} s)" for d in (ours, theirs)), meant)
        for step, meant in STEPS
    ]
    yield from _table(("", "hotdesk", "SkyPilot", "done when"), rows)
    more = [f"`{step}`" for step, _ in STEPS if ours[step][0] > theirs[step][0]]
    if more:
        yield from _prose(
            f"""hotdesk makes more calls in {", ".join(more)}: it surveys what is there before it acts, and
            proves afterwards what it claims, from the cloud and not from a file of its own."""
        )


def _spread(values: Sequence[float] | None) -> str:
    if not values:
        return "–"
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def _prose(text: str) -> Iterator[str]:
    yield from textwrap.wrap(" ".join(text.split()), 118, break_long_words=False, break_on_hyphens=False)
    yield ""


def _table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(str(cell) for cell in row) + " |"
    yield ""


if __name__ == "__main__":
    main()
