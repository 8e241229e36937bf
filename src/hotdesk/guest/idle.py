#!/usr/bin/env python3
"""Knows when it is time for a desk to leave: one file, the standard library only.

idle.py run         look every half minute; warn in every terminal; then shut this machine down
idle.py look        one line of JSON: what works here just now
"""

# The owner's limits are in ~/.hotdesk/leave, as JSON, relative to that file's modification time, so that only
# this machine's clock counts: idle_minutes (0: never), lease_seconds, stop_seconds. ~/.hotdesk/stay holds the
# seconds for which nothing but `stop_seconds` ends the desk.

from __future__ import annotations

import contextlib
import json
import os
import pwd
import subprocess
import sys
import time
from typing import Any

from hotdesk.guest.working import LOOK_SECONDS, RUN, TYPES, Work

WARN_SECONDS = 300.0
IDLE_MINUTES = 60.0  # default for a rented machine


class Watch(Work):
    """Watches a desk; `due` says when to end it, and why."""

    def __init__(self, homes: list[str], *, idle_minutes: float = 0.0, **more: Any) -> None:
        super().__init__(homes, **more)
        self.idle_minutes = idle_minutes
        self._warned = ""
        self._note = ""

    # ---- when to leave ---------------------------------------------------------------------------------

    def due(self, now: float | None = None) -> tuple[float, str] | None:
        """When this machine has to end, and why; None if no limit applies."""
        now = time.time() if now is None else now
        limits, since = self._limits()
        stay, stay_since = self._stay()
        idle = self._number(limits.get("idle_minutes"), self.idle_minutes)
        ends: list[tuple[float, str]] = []
        if idle > 0:
            ends.append((self.worked_at + idle * 60, f"idle for {idle:g} minutes"))
        fresh = since >= self.began - 60  # a file from an image was written for another machine
        if fresh and (seconds := self._number(limits.get("lease_seconds"))) > 0:
            ends.append((since + seconds, "its lease has ended: no hotdesk has renewed it"))
        if stay and ends:
            ends = [(max(at, stay_since + stay), why) for at, why in ends]
        if fresh and (seconds := self._number(limits.get("stop_seconds"))) > 0:
            ends.append((since + seconds, "deadline: it was to end now, whatever it does"))
        return min(ends, default=None)

    @staticmethod
    def _number(value: Any, otherwise: float = 0.0) -> float:
        return float(value) if isinstance(value, (int, float)) and value >= 0 else otherwise

    def _limits(self) -> tuple[dict[str, Any], float]:
        for home in self.homes:
            with contextlib.suppress(OSError, ValueError):
                path = f"{home}/.hotdesk/leave"
                with open(path) as file:
                    said = json.loads(file.read(4096))
                if isinstance(said, dict):
                    return said, os.stat(path).st_mtime
        return {}, 0.0

    def _stay(self) -> tuple[float, float]:
        for home in self.homes:
            with contextlib.suppress(OSError, ValueError):
                path = f"{home}/.hotdesk/stay"
                with open(path) as file:
                    seconds = float(file.read(64))
                if 0 < seconds < 10**9:
                    return seconds, os.stat(path).st_mtime
        return 0.0, 0.0

    # ---- telling ---------------------------------------------------------------------------------------

    def turn(self, now: float | None = None) -> str:
        """Check once, and warn if the end is near; return the reason to end now, or ""."""
        now = time.time() if now is None else now
        limited = self.due(now) is not None or bool(self._note)
        works = [work for work in self.look(now, gpu=limited or not self.mark) if work != TYPES]
        if not limited:
            return ""
        due = self.due(now)
        if due and now >= due[0] and self._warned:  # never without a warning: else at the next check
            self._unwarn()
            return due[1] + (f"; {works[0]}" if works else "")
        lead = WARN_SECONDS
        if due and due[1].startswith("idle"):
            lead = min(lead, (due[0] - self.worked_at) / 2)
        if due and now >= due[0] - lead:
            self._warn(due, now)
        elif self._warned:
            self._unwarn()
            self.tell("hotdesk: somebody works here again; this desk stays.")
        return ""

    def _warn(self, due: tuple[float, str], now: float) -> None:
        clock = time.strftime("%H:%M:%S", time.localtime(max(due[0], now + LOOK_SECONDS)))
        longer = "up NAME --until" if due[1].startswith("deadline") else "stay"
        text = f"hotdesk: this desk saves itself and stops at {clock} ({due[1]}). "
        text += f"`hotdesk {longer} 2h` postpones."
        if self._warned == text:
            return
        self._unwarn()
        self._warned = text
        self.tell(text)
        for home in self.homes[:1]:  # Jupyter's file list shows it to notebook users
            with contextlib.suppress(OSError):
                path = f"{home}/THIS-DESK-STOPS-AT-{clock.replace(':', '')}.txt"
                _append(home, "warned", f"{now:.0f} {text}\n")  # hotdesk reads it into its journal
                with open(path, "x") as file:
                    file.write(text + "\n")
                self._note = path

    def _unwarn(self) -> None:
        self._warned = ""
        if self._note:
            with contextlib.suppress(OSError):
                os.unlink(self._note)
            self._note = ""

    def tell(self, text: str) -> None:
        """Write a line to every terminal of the desk."""
        for path in self._terminals():
            with contextlib.suppress(OSError):
                fd = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
                try:
                    os.write(fd, f"\r\n\a{text}\r\n".encode())
                finally:
                    os.close(fd)


def _append(home: str, name: str, text: str) -> None:
    """Add to a file of ~/.hotdesk. Follows no link: on a rented machine this is root, in a home."""
    folder = os.open(f"{home}/.hotdesk", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
        with open(os.open(name, flags, 0o644, dir_fd=folder), "a") as file:
            file.write(text)
    finally:
        os.close(folder)


def _keep(watch: Watch) -> None:
    """Write down when work was last seen, and looked for: hotdesk shows it."""
    with contextlib.suppress(OSError):
        os.makedirs(RUN, exist_ok=True)
        with open(f"{RUN}/worked.new", "w") as file:
            file.write(f"{watch.worked_at:.0f} {watch.looked_at:.0f}\n")
        os.replace(f"{RUN}/worked.new", f"{RUN}/worked")


def homes() -> list[str]:
    """The home folders of the machine's users."""
    return sorted({p.pw_dir for p in pwd.getpwall() if 1000 <= p.pw_uid < 60000 and os.path.isdir(p.pw_dir)})


def main(words: list[str]) -> int:
    watch = Watch(homes(), idle_minutes=IDLE_MINUTES)
    if words == ["look"]:
        watch.look()
        time.sleep(1.0)
        print(json.dumps({"works": watch.look(), "due": watch.due()}))
    elif words == ["run"]:
        while not (reason := watch.turn()):
            _keep(watch)
            time.sleep(LOOK_SECONDS)
        print(f"hotdesk: {reason}", flush=True)
        subprocess.run(["shutdown", "-h", "now", f"hotdesk: {reason}"], check=False)
    else:
        print(__doc__)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
