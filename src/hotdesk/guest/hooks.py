"""Run a person's own hooks at a desk: ~/.hotdesk/hooks/ready when it is up, parking before it stops.

A hook has a time limit, and what it prints is in ~/.hotdesk/hooks/log. Whatever it does, the desk goes on.
The standard library only, for Python 3.8 and later: it runs at desks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping

from hotdesk.guest.job_files import HOME, place

READY_SECONDS = 600.0
LOG_BYTES = 1 << 20  # then it begins anew


def run(home: str, name: str, seconds: float, environment: Mapping[str, str]) -> str:
    """Run one hook for so long at most; how it ended, "" where there is none."""
    hook, log = (os.path.join(home, ".hotdesk", "hooks", file) for file in (name, "log"))
    if not os.access(hook, os.X_OK):
        return ""
    began = time.monotonic()
    try:
        with contextlib.suppress(OSError):
            if os.path.getsize(log) > LOG_BYTES:
                os.replace(log, log + ".old")
        with open(log, "ab", buffering=0) as said:
            said.write(f"== {name}, {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
            with subprocess.Popen(
                [hook],
                cwd=home,
                env={**environment, "HOTDESK_HOOK": name},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as child:
                try:
                    ended = f"ended with {child.wait(seconds)}"
                except subprocess.TimeoutExpired:
                    os.killpg(child.pid, signal.SIGKILL)
                    ended = "was ended, for the time was over,"
            ended = f"{hook} {ended} after {time.monotonic() - began:.1f} s"
            said.write(f"== {ended}\n".encode())
    except OSError as error:  # a full disk, no such interpreter
        return f"{hook} could not be run: {error}"
    return ended


def ready() -> int:
    """Begin the hook of a desk that is up, once for each start of its machine; it goes on by itself."""
    mark = os.path.join(HOME, ".hotdesk", "hooks", ".ready")
    with contextlib.suppress(OSError), open(mark, encoding="utf-8") as file:
        if file.read() == place():
            return 0
    with contextlib.suppress(OSError), open(mark, "w", encoding="utf-8") as file:
        file.write(place())
    null = subprocess.DEVNULL
    argv = [sys.executable, os.path.abspath(sys.argv[0]), "hook", "ready"]
    subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, start_new_session=True)
    return 0
