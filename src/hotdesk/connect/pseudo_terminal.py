"""A program in a pseudo-terminal of its own, for a door that is no terminal itself."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Sequence

#: Makes the pseudo-terminal the controlling one of its session, so that the program is told of a new size and
#: of a hang-up, even where whoever opened it was killed. A process with threads must not run code of its own
#: between fork and exec, so this is a program too.
_LOGIN = """\
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
MOST_COLUMNS, MOST_ROWS = 1000, 500
END_SECONDS = 3.0  # from the hang-up until it is killed


class PseudoTerminal:
    """A running program; `fd` reads what it prints and writes what is typed, and neither waits."""

    def __init__(self, argv: Sequence[str], columns: int, rows: int) -> None:
        self.fd, inner = os.openpty()
        try:
            self.resize(columns, rows)
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _LOGIN, *argv],
                stdin=inner,
                stdout=inner,
                stderr=inner,
                start_new_session=True,
                env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
            )
        except BaseException:
            os.close(self.fd)
            raise
        finally:
            os.close(inner)
        os.set_blocking(self.fd, False)

    def resize(self, columns: int, rows: int) -> None:
        """Tell the program how large its window is."""
        import fcntl
        import termios

        size = max(1, min(rows, MOST_ROWS)), max(1, min(columns, MOST_COLUMNS))
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))

    def close(self) -> int:
        """Hang up, and wait until it has ended; its exit status (128 + n for signal n)."""
        os.close(self.fd)
        try:
            status = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            status = self._process.wait()
        return 128 - status if status < 0 else status
