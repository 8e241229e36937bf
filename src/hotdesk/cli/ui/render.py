"""What people see: tables, notes and errors; colour on a terminal, plain aligned text in a pipe."""

from __future__ import annotations

import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from hotdesk.cli.ui import terminal
from hotdesk.core import byte_sizes, lengths
from hotdesk.core.errors import NEED_A_PERSON

if TYPE_CHECKING:
    from hotdesk.core.findings import Finding
    from hotdesk.core.model import Offer, Retained
    from hotdesk.core.money import Amount
    from hotdesk.services.shapes import Failure

#: Of the 256 colours those that are read on white paper and on black: a theme's own yellow and cyan are not.
_CODES = {
    "bold": "1",
    "dim": "2",
    "red": "38;5;160",
    "green": "38;5;28",
    "yellow": "38;5;136",
    "blue": "38;5;33",
    "cyan": "38;5;31",
}
NARROWEST = 24  # a last column with less room than that is cut, not broken
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def colourful(stream: TextIO) -> bool:
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def style(text: str, *names: str, stream: TextIO | None = None) -> str:
    """The text in that style, where its stream shows styles; in colours that are read on light and dark."""
    if not text or not colourful(stream or sys.stdout):
        return text
    return f"\x1b[{';'.join(_CODES[name] for name in names)}m{text}\x1b[0m"


def width(text: str) -> int:
    """How many terminal cells a text takes (Chinese characters take two)."""
    plain = _ESCAPE.sub("", text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in plain
    )


def columns(stream: TextIO | None = None) -> int:
    """The width to print for: the terminal's, or unlimited in a pipe."""
    return shutil.get_terminal_size().columns if (stream or sys.stdout).isatty() else 10_000


def safe(text: str) -> str:
    """Text from elsewhere without control characters, which could write anything on a terminal."""
    return "".join(c if c.isprintable() else "�" for c in text)


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = (), broken: bool = False
) -> str:
    """Aligned columns; `right` names those to align right. The last column is cut to the terminal's width, or
    goes on below itself where it is to be `broken`."""
    cells = [[style(head, "bold") for head in heads], *rows]
    sizes = [max(width(row[n]) for row in cells) for n in range(len(heads))]
    before = sum(sizes[:-1]) + 2 * (len(sizes) - 1)
    room = columns() - before
    if broken and room >= NARROWEST:
        sizes[-1] = min(sizes[-1], room)
        cells = [
            piece
            for row in cells
            for n, last in enumerate(wrapped(row[-1], room) or [""])
            for piece in [[*(row[:-1] if n == 0 else [""] * (len(row) - 1)), last]]
        ]
    lines = []
    for row in cells:
        padded = [
            " " * (size - width(cell)) + cell if head in right else cell + " " * (size - width(cell))
            for cell, size, head in zip(row, sizes, heads, strict=True)
        ]
        lines.append(cut("  ".join(padded).rstrip(), columns()))
    return "\n".join(lines)


def fitted(
    heads: list[str], cells: list[list[str]], room: int, spare: Sequence[str]
) -> tuple[list[str], list[list[str]], list[str]]:
    """Heads and cells without the columns that there is no `room` for, and which those are."""
    spared: list[str] = []

    def needed() -> int:
        kept = [n for n, head in enumerate(heads) if head not in spared]
        return sum(max(width(row[n]) for row in [heads, *cells]) + 2 for n in kept) - 2

    for head in spare:
        if needed() <= room:
            break
        spared.append(head)
    kept = [n for n, head in enumerate(heads) if head not in spared]
    return [heads[n] for n in kept], [[row[n] for n in kept] for row in cells], spared


def cut(text: str, size: int) -> str:
    """The text in at most `size` cells, with an ellipsis where something was left out."""
    if width(text) <= size:
        return text
    out, used, place = [], 0, 0
    while place < len(text):
        if escape := _ESCAPE.match(text, place):
            out.append(escape.group())
            place = escape.end()
            continue
        used += width(text[place])
        if used > size - 1:
            break
        out.append(text[place])
        place += 1
    return "".join(out) + "…" + ("\x1b[0m" if "\x1b[" in text else "")


class _Line:
    drawn = False


def draw(text: str) -> None:
    """Draw a line that moves, in place of the one before; whatever is printed next takes its place."""
    beside(f"\r\x1b[2K{text}")
    _Line.drawn = True


def lift() -> None:
    """Take that line away."""
    if _Line.drawn:
        _Line.drawn = False
        beside("\r\x1b[2K")


def echo(text: str = "") -> None:
    """The answer, for a person: beside it where the answer is JSON."""
    lift()
    print(text, flush=True, file=sys.stderr if terminal.speaks_json() else sys.stdout)


def wrapped(text: str, size: int, indent: int = 0) -> list[str]:
    """The text in lines of at most `size` cells, broken between words; a longer word stays whole.

    All lines but the first of each paragraph are set in by `indent` cells.
    """
    lines: list[str] = []
    for part in text.splitlines():
        first = len(lines)
        for word in part.split():
            if len(lines) > first and width(lines[-1]) + 1 + width(word) <= size:
                lines[-1] += " " + word
            else:
                lines.append(" " * indent * (len(lines) > first) + word)
    return lines


def folded(text: str, size: int, indent: int = 2) -> str:
    """The text as it is if `size` cells hold it; else broken between words, below its own beginning."""
    if width(text) <= size:
        return text
    begin = len(text) - len(text.lstrip(" "))
    lines = wrapped(text, size - begin, indent)
    return "\n".join(" " * begin + line for line in lines)


def hanging(begin: str, text: str) -> str:
    """A beginning with the text beside it, which goes on below itself where the terminal ends."""
    before = width(begin)
    room = max(columns() - before, NARROWEST)
    return begin + folded(text, room, 0).replace("\n", "\n" + " " * before)


def paragraph(text: str, *styles: str, indent: int = 0) -> None:
    """An answer in words: broken between words where the terminal ends; one line in a pipe."""
    echo(style(folded(text, columns(), indent), *styles))


def no_room(spared: Sequence[str]) -> None:
    """Say which columns a narrow terminal does without."""
    if spared:
        paragraph(too_narrow(spared), "dim")


def too_narrow(spared: Sequence[str]) -> str:
    return f"The terminal is too narrow for: {'; '.join(spared)}."


def sentence(text: str) -> str:
    """Words that stand alone: with a capital and a full stop."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def note(text: str, indent: int = 0) -> None:
    """Something beside the answer: it goes to standard error, so that pipes carry answers only.

    On a terminal a sentence is broken between words, and goes on below itself by `indent`. What is indented
    is a command to paste, or aligned, and stays as it is.
    """
    lift()
    whole = text.startswith((" ", "\n"))
    beside((text if whole else folded(text, columns(sys.stderr), indent)) + "\n")


def beside(text: str) -> None:
    """Write to standard error as it is. A full disk behind it is no reason to stop working; a reader of a
    pipe who left is one."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except BrokenPipeError:
        raise
    except OSError:
        pass


def error(what: str, why: str = "", fix: str = "") -> None:
    """What happened, why, and what to do next; three lines on standard error."""
    first, *more = wrapped(what, columns(sys.stderr) - 2) or [""]
    note(style("✗ ", "red", "bold", stream=sys.stderr) + style(safe(first), "bold", stream=sys.stderr))
    for line in more:
        note("  " + style(safe(line), "bold", stream=sys.stderr))
    for n, line in enumerate(wrapped(why, columns(sys.stderr) - 7)):
        note(f"  {'why: ' if n == 0 else '     '}{safe(line)}")
    if fix:
        note("  fix: " + style(fix, "cyan", stream=sys.stderr))


def finding(found: Finding) -> None:
    """One result of a check-up, with why and the fix below it."""
    sign, colour = {"ok": ("✓", "green"), "note": ("•", "yellow"), "bad": ("✗", "red")}[found.level]
    paragraph(f"{style(sign, colour)} {safe(found.what)}", indent=2)
    if found.why:
        paragraph(f"    why: {safe(found.why)}", indent=5)
    if found.fix:
        echo("    fix: " + style(found.fix, "cyan"))


def failure(kind: str, exit_code: int, what: str, why: str = "", fix: str = "") -> int:
    """Say what went wrong, as JSON on standard output where the answer would be JSON; the exit code."""
    if not (terminal.speaks_json() and terminal.answered()):
        error(what, why, fix)
        return exit_code
    told: Failure = {
        "kind": kind,
        "exit_code": exit_code,
        "what": what,
        "why": why,
        "fix": fix,
        "needs_person": exit_code in NEED_A_PERSON,
    }
    json({"error": told})
    return exit_code


def json(value: Any) -> None:
    """One JSON document on standard output."""
    import msgspec

    lift()
    terminal.answered()
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode(), flush=True)


def json_line(value: Any) -> None:
    """One of several JSON documents, each on a line of its own."""
    import msgspec

    print(msgspec.json.encode(value).decode(), flush=True)


def at(thing: str, zone: str) -> str:
    """A machine's type and its place, as in a sentence."""
    return f"{thing} here" if zone == "here" else f"{thing} in {zone}"


def usd(amount: float, digits: int = 2) -> str:
    return f"${amount:,.{digits}f}"


def money(usd: float, told: Amount | None = None, each: str = "") -> str:
    from hotdesk.core.money import shown

    return shown(usd, told, each)


def per_hour(usd: float, told: Amount | None = None) -> str:
    from hotdesk.core.money import per_hour

    return per_hour(usd, told)


def price(offer: Offer, each: str = "") -> str:
    """An offer's price an hour: with its date if it is from a shipped table; "~" if it is an estimate."""
    from datetime import UTC, datetime

    from hotdesk.core.pricelist import is_estimate, is_shipped

    about = "~" if is_estimate(offer.source) else ""
    shown = f"{about}{per_hour(offer.usd_per_hour, offer.told_per_hour)}{each}"
    if not offer.price_time or not is_shipped(offer.source):
        return shown
    return f"{shown} as of {datetime.fromtimestamp(offer.price_time, UTC):%Y-%m-%d}"


def others(desks: Mapping[str, Collection[str]]) -> None:
    """Print other owners' desks in the same account, which are left alone."""
    if desks:
        whose = ", ".join(f"{name} ({' and '.join(sorted(who))})" for name, who in sorted(desks.items()))
        paragraph(f"other people's in the same account, left alone: {safe(whose)}", "dim")


def retained(kept: Collection[Retained], unread: Collection[str]) -> None:
    """Print what a cloud retains and bills after its deletion, and regions where that is unknown."""
    from datetime import UTC, datetime

    for region in sorted({r.region for r in kept}):
        here = [r for r in kept if r.region == region]
        kinds = [(kind, sum(r.kind == kind for r in here)) for kind in ("image", "snapshot", "disk")]
        what = " and ".join(f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in kinds if n)
        until = datetime.fromtimestamp(max(r.until for r in here), UTC)
        note(
            f"The Recycle Bin of {region} keeps {what} until {until:%Y-%m-%d}, and bills them until then: "
            "a retention rule of the account says so, and nobody can delete them earlier."
        )
    if unread:
        note(
            f"Whether the Recycle Bin of {', '.join(unread)} keeps, and bills, what was deleted is not known "
            "(hotdesk iam prints the policy that lets hotdesk look)."
        )


def moment(time: float) -> str:
    """A time to the minute, as this computer's clocks show it."""
    from datetime import datetime

    return f"{datetime.fromtimestamp(time).astimezone():%Y-%m-%d %H:%M %Z}".rstrip()


def as_of(time: float) -> str:
    """A note that a price is from hotdesk's own table, with its date."""
    from datetime import UTC, datetime

    return f"the cloud did not tell the price: it was so on {datetime.fromtimestamp(time, UTC):%Y-%m-%d}"


def size(gib: float) -> str:
    return byte_sizes.said(gib * 2**30)


duration = lengths.said
