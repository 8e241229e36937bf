"""A line of this computer that is slow, counted, and can be cut: as ssh's ProxyCommand.

    python -m tests.slow_line HOST PORT BYTES_PER_SECOND COUNT_FILE

Appends the bytes of each direction to COUNT_FILE when it ends. All connections of one file share the rate.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import sys
import time
from pathlib import Path


def main(host: str, port: str, rate: str, count: str) -> int:
    pace, passed = float(rate), 0
    with socket.create_connection((host, int(port))) as line:
        ways = {0: line.fileno(), line.fileno(): 1}
        try:
            while True:
                for fd in select.select(list(ways), [], [])[0]:
                    some = os.read(fd, 16384)
                    if not some:
                        return 0
                    passed += len(some)
                    _wait(count, len(some) / pace)
                    while some:
                        some = some[os.write(ways[fd], some) :]
        except OSError:
            return 1
        finally:
            with Path(count).open("ab") as file:
                file.write(b"%d\n" % passed)


def _wait(count: str, seconds: float) -> None:
    """Wait for the line's turn: when it is free again is in a file that all connections share."""
    fd = os.open(f"{count}.free", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        now = time.monotonic()
        free = max(now, float(os.pread(fd, 64, 0).decode() or 0.0)) + seconds
        os.pwrite(fd, f"{free:<32.6f}".encode(), 0)
    finally:
        os.close(fd)
    time.sleep(max(0.0, free - now))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
