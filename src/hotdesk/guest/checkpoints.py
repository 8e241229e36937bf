"""Watch a job's checkpoints: when they are written and how long that takes; keep copies of the last ones.

The standard library only, for Python 3.8 and later: it runs at desks.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from typing import TYPE_CHECKING

from hotdesk.guest.job_files import HOME, path, place
from hotdesk.guest.process_tree import called, topmost

if TYPE_CHECKING:
    from hotdesk.guest.attempt import Attempt

LOOK_SECONDS = 0.2  # between two checks of a checkpoint folder
STILL_SECONDS = 1.0  # a checkpoint is complete when nothing has changed for this long
HEARD_SECONDS = float(
    os.environ.get("HOTDESK_HEARD_SECONDS", "30")
)  # for a program to install its signal handlers
UNHEARD = (
    "hotdesk: nothing in this job catches {0}, so its own checkpoints must do when its machine is taken. "
    "In Python: signal.signal(signal.{0}, save), see docs/tools.md\n"
)
KEPT = 2  # copies of complete checkpoints to keep


class Checkpoints:
    """A job's checkpoint folder, and the copies of its last complete checkpoints."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        order = attempt.order
        name = order.get("checkpoint") or ""
        self.folder = os.path.join(HOME, order.get("folder") or ".", os.path.expanduser(name)) if name else ""
        self.signal = getattr(signal, order.get("signal") or "", None)
        self.asked_at = 0.0
        self.heard_at = time.monotonic() + HEARD_SECONDS
        self.unheard = False
        self.seen = self.survey()
        self.looked_at = time.monotonic()
        self.changed_at = 0.0
        self.burst_at: float | None = None
        number = order.get("restore")
        if self.folder and number:
            self.put_back(number)

    def survey(self) -> dict[str, tuple[int, int, int]]:
        """Size, time and inode of all files there, by path."""
        found = {}
        for folder, _, names in os.walk(self.folder) if self.folder else ():
            for name in names:
                file = os.path.join(folder, name)
                with contextlib.suppress(OSError):
                    stat = os.lstat(file)
                    found[file] = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
        return found

    def ask(self, announced: bool = True) -> None:
        """Ask the job to write one now.

        `announced`: the machine's interruption was announced, so no more attempts begin on it. A machine that
        is only being stopped may be started again.
        """
        self.asked_at = time.monotonic()
        if announced:
            self.attempt.tell(asked_at=time.time(), asked_place=place())
        if self.signal is not None and self.attempt.tree.ask(self.signal):
            self.heard_at = float("inf")

    def say_who_is_asked(self) -> None:
        """Log whether any process of the job catches the signal, once it has had time to start."""
        if self.signal is None or time.monotonic() < self.heard_at:
            return
        self.heard_at = time.monotonic() + HEARD_SECONDS
        asked = topmost(self.attempt.tree.look(), self.signal)
        if not asked and self.attempt.child.poll() is not None:
            return  # it has ended
        name = signal.Signals(self.signal).name
        if asked and self.unheard:
            self.attempt.say(f"hotdesk: {name} now reaches {called(p.pid for p in asked)}\n".encode())
        elif not asked and not self.unheard:
            self.attempt.say(UNHEARD.format(name).encode())
        self.unheard = not asked
        if asked:
            self.heard_at = float("inf")

    def look(self, now: float) -> None:
        self.say_who_is_asked()
        if not self.folder or now - self.looked_at < LOOK_SECONDS:
            return
        found = self.survey()
        if found != self.seen:
            if self.burst_at is None:
                self.burst_at = self.looked_at  # it began after the previous check
            self.changed_at = now
        elif self.burst_at is not None and now - self.changed_at >= STILL_SECONDS:
            self.note()
        self.seen, self.looked_at = found, now

    def note(self) -> None:
        """Record a complete checkpoint with the time it took, and keep a copy."""
        status = self.attempt.status
        began = self.burst_at or self.changed_at
        took = self.changed_at - began
        times = [*status.get("checkpoint_seconds", []), round(took, 2)][-20:]
        count = status.get("checkpoints", 0) + 1
        self.burst_at = None
        kept = self.keep(count)
        self.attempt.tell(
            checkpoints=count,
            checkpoint_seconds=times,
            checkpoint_at=time.time(),
            # What it holds was computed before its writing began.
            saved_seconds=began - self.attempt.useful_since,
            checkpoint_bytes=sum(size for size, _, _ in self.survey().values()),
            kept=kept,
        )

    def keep(self, number: int) -> list[int]:
        """Copy the folder, so that a later broken checkpoint does not cost the last complete one."""
        aside = path(self.attempt.id, "checkpoints")
        try:
            target = os.path.join(aside, str(number))
            shutil.rmtree(target + ".new", ignore_errors=True)
            size = sum(size for size, _, _ in self.survey().values())
            os.makedirs(aside, exist_ok=True)
            if shutil.disk_usage(aside).free < 3 * size + (1 << 28):
                return self.kept()  # room for the job's own files comes first
            before = self.survey()
            shutil.copytree(self.folder, target + ".new", symlinks=True)
            if self.survey() != before:  # it was written to meanwhile: incomplete
                shutil.rmtree(target + ".new", ignore_errors=True)
                return self.kept()
            os.replace(target + ".new", target)
            for old in self.kept()[:-KEPT]:
                shutil.rmtree(os.path.join(aside, str(old)), ignore_errors=True)
        except OSError as error:
            self.attempt.status["trouble"] = f"no checkpoint could be kept aside: {error}"
        return self.kept()

    def kept(self) -> list[int]:
        with contextlib.suppress(OSError):
            return sorted(int(n) for n in os.listdir(path(self.attempt.id, "checkpoints")) if n.isdigit())
        return []

    def put_back(self, number: int) -> None:
        """Replace a broken checkpoint by the copy with this number."""
        source = path(self.attempt.id, "checkpoints", str(number))
        if not os.path.isdir(source):
            return
        broken = path(self.attempt.id, "broken")
        shutil.rmtree(broken, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            shutil.move(self.folder, broken)
        shutil.copytree(source, self.folder, symlinks=True)
        self.seen = self.survey()
        self.attempt.status["restored"] = number
        self.attempt.say(f"hotdesk: checkpoint {number} was put back\n".encode())

    def close(self) -> None:
        """Record the last checkpoint of a job that has ended."""
        if self.folder and (self.burst_at is not None or self.survey() != self.seen):
            self.burst_at = self.burst_at or self.looked_at
            self.changed_at = time.monotonic()
            self.note()
