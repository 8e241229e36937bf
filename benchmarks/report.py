"""Write docs/benchmarks.md from what `python -m benchmarks` measured: python -m benchmarks.report
[--check]"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.builds import HERE

RESULTS = HERE / "benchmarks" / "results"
DOCUMENT = HERE / "docs" / "benchmarks.md"
#: Steps that a tool may have, and what each has done when it ends.
STEPS = (
    ("launch", "hotdesk: login and Jupyter have answered; the others: the login has"),
    ("status", "EC2 was asked"),
    ("stop", "hotdesk, SkyPilot: the machine is off; Ray: it was told to stop"),
    ("start", "as at the launch"),
    ("down", "hotdesk: nothing is left that costs money; the others: the machine is gone"),
)
#: What is shown of the page, with its unit and aim.
PAGE = (
    ("first contentful paint", "ms", 300),
    ("usable, 50 desks", "ms", 600),
    ("work until then", "ms", 0),
    ("60,000 offers: a filter painted", "ms", 100),
    ("work of a filter", "ms", 0),
    ("scrolling as by a wheel, with live changes", "frames/s", 50),
    ("memory of the server, six windows", "MB", 60),
    ("a change of a desk, on the wire", "bytes", 1000),
    ("what a browser loads, gzipped", "kB", 150),
)
Found = Mapping[str, Any]
Compared = Mapping[str, Mapping[str, Sequence[float]]]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--check", action="store_true", help="say whether the document is that of the figures")
    if ask.parse_args().check:
        sys.exit(DOCUMENT.read_text() != text())
    write()


def write() -> None:
    DOCUMENT.write_text(text())


def text() -> str:
    """The document that the figures at hand make."""
    known = {
        name: json.loads(file.read_text()) for name in SECTIONS if (file := RESULTS / f"{name}.json").exists()
    }
    return "\n".join(_page(known)) + "\n"


def _page(known: Mapping[str, Found]) -> Iterator[str]:
    yield "# Beside the peers"
    yield ""
    yield from _prose(
        """`python -m benchmarks` measures all of this in one run, installs what it compares with, and
        writes this page. Processor time is user and system together. Cells are medians, with the least and
        the most in brackets and how many times hotdesk's it is. Compare wall times within one table
        only."""
    )
    for name, document in known.items():
        title, section = SECTIONS[name]
        yield f"## {title}"
        yield ""
        yield from section(document["found"])
        taken = document["taken"]
        yield from _prose(
            f"""`python -m benchmarks {name}`, {taken["date"]}, commit {taken["commit"]}, Python
            {taken["python"]}, {taken["machine"]}; a load of {taken["load"]:.1f} as it began."""
        )
    yield "## More"
    yield ""
    yield "* [speed.md](speed.md): calls, waits, many small files, beside earlier builds"
    yield "* [spot.md](spot.md): policies over many zones and prices, beside the exact optimum"
    yield "* [plan.md](plan.md): predictions and their bands"
    yield "* [sweep.md](sweep.md): a thousand machines, simulated; fleets"
    yield "* [page.md](page.md): the page in a browser"
    yield "* [anywhere.md](anywhere.md): a desk over a slow line, beside `rsync`"


def _installed(rows: Found) -> Iterator[str]:
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


def _commands(taken: Compared) -> Iterator[str]:
    yield from _prose(
        """Processor seconds of whole processes, in turn, with an empty home. `offers` is `hotdesk offers
        --gpu L4` from the shipped prices; the others' listings ask a server."""
    )
    yield from _compared({f"`{what}`": row for what, row in taken.items()}, "{:.2f}")


def _calls(days: Mapping[str, Mapping[str, Sequence[float]]]) -> Iterator[str]:
    yield from _prose(
        """Calls to EC2, and processor seconds in brackets. One machine's day against the fake EC2 at the
        pace of EC2, with one region enabled and nothing in the account. SkyPilot runs in one process here,
        hotdesk and Ray in a new one for each step."""
    )
    rows = [(f"`{step}`", *(_call(day.get(step)) for day in days.values()), meant) for step, meant in STEPS]
    yield from _table(("", *days, "done when"), rows)
    ours = days["hotdesk"]
    more = [
        f"`{step}`"
        for step, _ in STEPS
        if ours[step][0] > min(day[step][0] for day in days.values() if step in day)
    ]
    if more:
        yield from _prose(
            f"""hotdesk makes more calls than the best of them in {", ".join(more)}: it surveys what is
            there before it acts, and proves afterwards what it claims, from the cloud and not from a file
            of its own."""
        )


def _call(took: Sequence[float] | None) -> str:
    return f"{took[0]:g} ({took[1]:.1f} s)" if took else "–"


def _offers(taken: Compared) -> Iterator[str]:
    yield from _prose(
        "Processor milliseconds of a question about a made catalogue of 60,000 offers, held in memory."
    )
    milli = {
        what: {who: [1000 * s for s in took] for who, took in row.items()} for what, row in taken.items()
    }
    yield from _compared(milli, "{:.1f}")


def _files(found: Found) -> Iterator[str]:
    yield from _prose(
        f"""A home of {found["files"]:,} files and {found["bytes"] / 1e9:.1f} GB, saved, brought back, and
        saved again after ten sources and a checkpoint changed. hotdesk and restic read back what they have
        saved and compare it with its sums, restic only the first time; tar and rsync do not. Processor
        seconds:"""
    )
    yield from _compared(found["cpu"], "{:.1f}")
    yield "Seconds:"
    yield ""
    yield from _compared(found["wall"], "{:.1f}")


def _policies(by_deadline: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    yield from _prose(
        """48 hours of work on spot by a deadline: the mean cost, as a share of on-demand for all of it,
        over 2,400 windows of eight recorded pools of 2022, the tested pool left out of what is learnt. The
        optimum knows the future."""
    )
    names = [name for name in next(iter(by_deadline.values())) if name != "late"]
    rows = [(f"{hours} h", *(f"{row[name]:.3f}" for name in names)) for hours, row in by_deadline.items()]
    yield from _table(("deadline", *names), rows)
    late = sum(row["late"] for row in by_deadline.values())
    yield from _prose(f"hotdesk was late in {late:.0f} of {2400 * len(by_deadline):,} runs.")


def _predictions(by_source: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    yield from _prose(
        """How much more the chosen GPU costs for a job than the best one, by published speeds and made
        prices; the speed of the tested GPU is left out."""
    )
    ways = list(next(iter(by_source.values())))
    rows = [
        (source, *(f"{row[way]:,.0f}" if way == "choices" else f"{row[way]:.1%}" for way in ways))
        for source, row in by_source.items()
    ]
    yield from _table(("measured by", *ways), rows)


def _rate(found: Found) -> Iterator[str]:
    yield from _prose(
        f"""{found["tasks"]:,} one-line commands on two slots of this computer, on {found["file system"]},
        in turn. Bare Ray runs a subprocess for each; a sweep also keeps each one's log, exit status and
        place."""
    )
    rows = {
        "commands a second": {name: [one["rate"] for one in found[name]] for name in ("sweep", "bare Ray")},
        "processor ms of a command": {
            name: [one["ms"] for one in found[name]] for name in ("sweep", "bare Ray")
        },
    }
    yield from _compared(rows, "{:.1f}", ours="sweep")
    share = statistics.median(one["share"] for one in found["sweep"])
    yield from _prose(f"The sweep's driver takes {share:.1%} of a processor.")


def _look(told: Mapping[str, Sequence[float]]) -> Iterator[str]:
    yield from _prose(
        """`hotdesk web` in Chromium: 50 desks, 1,000 jobs, 60,000 offers and changes every second. Work is
        processor time of the page's main thread, which depends least on what else the computer does."""
    )
    rows = [
        (name, f"{statistics.median(v):,.0f} ({min(v):,.0f}–{max(v):,.0f}) {unit}", f"{aim:g}" if aim else "")
        for name, unit, aim in PAGE
        if (v := told.get(name))
    ]
    yield from _table(("", "measured", "aim"), rows)


def _compared(rows: Compared, form: str, ours: str = "hotdesk") -> Iterator[str]:
    """Medians, least and most, and each rival's multiple of hotdesk's."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))

    def cell(row: Mapping[str, Sequence[float]], name: str) -> str:
        values = row.get(name)
        if not values:
            return "–"
        middle = statistics.median(values)
        spread = f"{form} ({form}–{form})".format(middle, min(values), max(values))
        mine = statistics.median(row[ours]) if row.get(ours) else 0.0
        return spread if name == ours or not mine else f"{spread}, {middle / mine:.2g} ×"

    table = [(what, *(cell(row, name) for name in names)) for what, row in rows.items()]
    yield from _table(("", *names), table)


def _prose(words: str) -> Iterator[str]:
    yield from textwrap.wrap(" ".join(words.split()), 118, break_long_words=False, break_on_hyphens=False)
    yield ""


def _table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(str(cell) for cell in row) + " |"
    yield ""


SECTIONS: dict[str, tuple[str, Callable[[Any], Iterator[str]]]] = {
    "installed": ("What is installed", _installed),
    "commands": ("What a command costs", _commands),
    "calls": ("Which calls to EC2", _calls),
    "offers": ("How fast offers are found", _offers),
    "files": ("Saving a home and bringing it back", _files),
    "policies": ("What a deadline costs on spot", _policies),
    "predictions": ("How well a GPU is chosen", _predictions),
    "rate": ("How fast a sweep's tasks run", _rate),
    "page": ("The page in a browser", _look),
}

if __name__ == "__main__":
    main()
