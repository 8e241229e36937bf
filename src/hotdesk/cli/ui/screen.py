"""A screen that is drawn again and again: the terminal's own contents come back at the end."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import sys
from collections.abc import Iterator, Sequence

from hotdesk.cli.ui import render

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


def possible() -> bool:
    """Whether there is a terminal to draw on, and one to read a key from."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class Screen:
    """The whole terminal. `wait` returns whether the person wants to go on."""

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines from the top; what does not fit is left out."""
        columns, rows = shutil.get_terminal_size()
        shown = [render.cut(line, columns) for line in lines[: rows - 1]]
        sys.stdout.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in shown) + "\x1b[J")
        sys.stdout.flush()

    def wait(self, seconds: float) -> bool:
        """Whether to go on: not after `q`, or at the end of input."""
        if not select.select([sys.stdin], [], [], seconds)[0]:
            return True
        return os.read(sys.stdin.fileno(), 64) not in {b"q", b"Q", b"\x04", b""}


@contextlib.contextmanager
def whole() -> Iterator[Screen]:
    """The terminal as a `Screen`; as it was afterwards."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    sys.stdout.write(_ENTER)
    try:
        yield Screen()
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
