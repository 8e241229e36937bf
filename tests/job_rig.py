"""Jobs without a desk: the runner as it is sent to one, in a home of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hotdesk.connect.job_runner import packed_runner

SECONDS = 45.0  # a limit for a busy computer, not an expectation


class JobRig:
    """The runner's verbs, and what is left of a job's processes, found without any of its own code."""

    def __init__(self, home: Path, *, path: str = "", **more: str) -> None:
        self.home = home
        name, packed = packed_runner()
        self.runner = home / ".hotdesk" / name
        self.runner.parent.mkdir(parents=True, exist_ok=True)
        self.runner.write_bytes(packed)
        usual = "/usr/local/bin:/usr/bin:/bin"
        (home / ".profile").write_text(f"PATH={path or usual}:{usual}\n")
        (home / "bin").mkdir()
        (home / "bin" / "id").symlink_to("/usr/bin/id")  # Debian's /etc/profile asks it
        self.environment = {
            "HOME": str(home),
            "PATH": str(home / "bin"),  # of the runner, which finds no tmux: a server would outlive the test
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            "JOB_RIG": str(home),  # by which everything that was ever started here is found
            **more,
        }
        self.attempts: dict[str, int] = {}
        self.id = f"1-{abs(hash(str(home))):x}"[:8]  # no other job's, as a real one's

    def ask(self, *words: str, given: str = "") -> str:
        done = subprocess.run(
            [sys.executable, str(self.runner), *words],
            input=given, env=self.environment, cwd=self.home, capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def begin(self, *command: str, id_: str = "", **more: Any) -> None:
        """The job's next attempt."""
        id_ = id_ or self.id
        self.attempts[id_] = attempt = self.attempts.get(id_, 0) + 1
        order = {"id": id_, "attempt": attempt, "command": command, "folder": ".", **more}
        self.ask("begin", given=json.dumps(order))

    def look(self, id_: str = "") -> dict[str, Any]:
        told: list[dict[str, Any]] = json.loads(self.ask("look"))["jobs"]
        return next(job for job in told if job["id"] == (id_ or self.id))

    def folder(self, id_: str = "") -> Path:
        return self.home / ".hotdesk" / "jobs" / (id_ or self.id)

    def log(self, id_: str = "") -> str:
        file = self.folder(id_) / "log"
        return file.read_text(errors="replace") if file.exists() else ""

    def until(self, what: str | Callable[[], object], seconds: float = SECONDS) -> None:
        """Until the job has said this, or that holds."""
        limit = time.monotonic() + seconds
        while not (what in self.log() if isinstance(what, str) else what()):
            assert time.monotonic() < limit, f"never {what!r}:\n{self.log()}"
            time.sleep(0.05)
            if isinstance(what, str) and "ended" in self.phases() and what not in self.log():
                raise AssertionError(f"it ended without {what!r}:\n{self.log()}")

    def phases(self) -> list[str]:
        return [job["phase"] for job in json.loads(self.ask("look"))["jobs"] if not job["alive"]]

    def ended(self, seconds: float = SECONDS) -> dict[str, Any]:
        """How the attempt ended, once it has: nothing of it may live at that moment."""
        limit = time.monotonic() + seconds
        while (told := self.look())["alive"] or told["phase"] == "begun":
            assert time.monotonic() < limit, (told, self.left(), self.log())
            time.sleep(0.05)
        return told

    def left(self) -> dict[int, str]:
        """Every process that was started here and lives, by its first words: renamed or not."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    rows = (entry / "environ").read_bytes() + b"\0"
                    words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    state = (entry / "stat").read_bytes().rpartition(b")")[2].split()[0]
                    here = (entry / "cwd").readlink()
                except OSError:
                    continue
                mine = f"JOB_RIG={self.home}\0".encode() in rows or here.is_relative_to(self.home)
                if mine and state != b"Z":
                    found[int(entry.name)] = words.strip()
        return found

    def nothing_left(self) -> None:
        """Of the ended job nothing lives; its runner, which has told of that end, is at its own."""
        words = self.left().values()
        assert not [said for said in words if " work " not in said], words
        self.until(lambda: not self.left())

    def named(self, part: str) -> list[int]:
        return sorted(pid for pid, words in self.left().items() if part in words)

    def cancel(self) -> None:
        self.ask("cancel", self.id)

    def clear(self) -> None:
        while found := self.left():
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
