"""The interactive table of `hotdesk offers -i`: type to filter, arrows to move, Tab to sort, Enter to open.

`Picker` is the whole of it without a terminal: keys in, lines out. `pick` joins it to one.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from hotdesk.cli.ui import render
from hotdesk.cli.ui.offer_table import HEADS, RIGHT, groups, line
from hotdesk.core.errors import Usage
from hotdesk.market.catalog import MARKETS, Catalog

SORTS = ("price", "latency", "speed", "value")
#: What terminals send for the keys that are used here.
KEYS = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1b[5~": "page-up",
    "\x1b[6~": "page-down",
    "\x1b[H": "home",
    "\x1b[F": "end",
    "\t": "sort",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "erase",
    "\b": "erase",
    "\x1b": "leave",
    "\x03": "leave",
    "\x04": "leave",
}
HELP = "type to filter   ↑↓ move   Tab sort   Enter open a desk there   Esc leave"


class Picker:
    """Rows of the table, the words typed so far, and the line that is chosen."""

    def __init__(
        self,
        catalog: Catalog,
        rows: Callable[[str], list[int]],
        *,
        sort: str,
        latency: Mapping[str, float],
        now: float,
    ) -> None:
        """`rows` gives the rows of the catalogue in a named order."""
        self.catalog, self.rows, self.latency, self.now = catalog, rows, latency, now
        self.sort, self.words, self.place = sort, "", 0
        self._arrange()

    def key(self, name: str) -> str:
        """Handle a key; returns "enter" or "leave" if it ends the selection, else ""."""
        last = max(len(self.shown) - 1, 0)
        steps = {"up": -1, "down": 1, "page-up": -10, "page-down": 10, "home": -last, "end": last}
        if name in steps:
            self.place = min(max(self.place + steps[name], 0), last)
        elif name == "sort":
            self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]
            self._arrange()
        elif name == "leave" or (name == "enter" and self.shown):
            return name
        elif name == "erase":
            self.words = self.words[:-1]
            self._filter()
        elif len(name) == 1 and name.isprintable():
            self.words += name
            self._filter()
        return ""

    def screen(self, width: int, height: int) -> list[str]:
        """The lines of the terminal, the chosen one marked."""
        room = max(height - 4, 1)
        top = min(max(self.place - room // 2, 0), max(len(self.shown) - room, 0))
        cells = [self.cells[n] for n in self.shown[top : top + room]]
        table = (
            render.table(HEADS, cells, right=RIGHT).splitlines()
            if cells
            else ["No offer matches this filter."]
        )
        lines = [f"filter: {self.words}▏  sorted by {self.sort}   {len(self.shown)} of {len(self.cells)}"]
        for number, text in enumerate(table):
            chosen = cells and number - 1 == self.place - top
            lines.append(render.cut(("▶ " if chosen else "  ") + text, width))
        return [*lines[: height - 1], render.cut(HELP, width)]

    def command(self) -> list[str]:
        """The command that opens a desk on the chosen line."""
        listed, spot = self.pairs[self.shown[self.place]]
        row = spot if spot is not None else listed
        assert row is not None
        offer = self.catalog.offer(row)
        words = ["up", "--provider", offer.provider, "--type", offer.instance_type, "--region", offer.region]
        if offer.zone:
            words += ["--zone", offer.zone]
        return [*words, "--market", str(MARKETS[self.catalog.market[row]])]

    def _arrange(self) -> None:
        self.pairs = groups(self.catalog, self.rows(self.sort))
        self.cells = [line(self.catalog, pair, self.latency, self.now) for pair in self.pairs]
        self.text = [" ".join(cells).lower() for cells in self.cells]
        self._filter()

    def _filter(self) -> None:
        words = self.words.lower().split()
        self.shown = [n for n, text in enumerate(self.text) if all(word in text for word in words)]
        self.place = 0


def pick(
    catalog: Catalog, rows: Callable[[str], list[int]], *, sort: str, latency: Mapping[str, float], now: float
) -> list[str]:
    """Let the user choose in the terminal; returns the command that opens the desk, or [] if they left.

    Raises `Usage` where there is no terminal.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Usage("There is no terminal to choose in.", "-i needs one.", "hotdesk offers")
    picker = Picker(catalog, rows, sort=sort, latency=latency, now=now)
    with _raw_terminal():
        while True:
            size = os.get_terminal_size()
            body = "\r\n".join(picker.screen(size.columns, size.lines))
            sys.stdout.write("\x1b[H\x1b[J" + body)
            sys.stdout.flush()
            for key in _keys():
                if ended := picker.key(key):
                    return picker.command() if ended == "enter" else []


def ask(command: list[str]) -> bool:
    """Show the command and ask for confirmation: it costs money."""
    import click

    render.echo("  " + render.style(shlex.join(["hotdesk", *command]), "cyan"))
    return click.confirm("Open a desk there?", err=True)


def _keys() -> list[str]:
    """The keys of one read: an arrow comes as several characters at once."""
    text = os.read(sys.stdin.fileno(), 1024).decode(errors="ignore")
    if not text:
        return ["leave"]  # the terminal is gone
    found: list[str] = []
    while text:
        code = next((c for c in sorted(KEYS, key=len, reverse=True) if text.startswith(c)), text[0])
        found.append(KEYS.get(code, code))
        text = text[len(code) :]
    return found


@contextmanager
def _raw_terminal() -> Iterator[None]:
    """Read keys as they are pressed, on the alternate screen."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)
    sys.stdout.write("\x1b[?1049h\x1b[?25l")
    try:
        yield
    finally:
        sys.stdout.write("\x1b[?25h\x1b[?1049l")
        sys.stdout.flush()
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
