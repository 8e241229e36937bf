#!/usr/bin/env python3
"""The runner at a desk: one job, begun once, whose whole state lies on the desk's disk.

runner.py begin < ORDER      begin one attempt of a job; the same order again begins nothing
runner.py look               every job that this disk knows, as JSON
runner.py log ID OFFSET      what the job has said from this byte on; with -f until it is over
runner.py cancel ID          end the job, kindly first
runner.py notice             tell every running job to write a checkpoint now
runner.py have FOLDER WORD   exit 0 when that program can be run there
runner.py work ID            (inside) run the attempt that was begun

A job lives in ~/.hotdesk/jobs/ID: `order.json`, `log`, `status.json` (written whole or not at all) and
`run.lock`, which the kernel holds for as long as any of the job's processes lives. A status that says
"running" without that lock is an interruption. The standard library only: it runs wherever Python 3.8 does.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

HOME = os.path.expanduser("~")
NULL = subprocess.DEVNULL
JOBS = os.path.join(HOME, ".hotdesk", "jobs")
START_SECONDS = 20.0  # until a worker that was started holds its lock
STOPPING_SECONDS = 0.4  # a machine that stops ends the job and us at about the same time
NOTICE_SECONDS = 300.0  # within which a machine is taken, once that was announced
LOOK_SECONDS = 0.2  # between two looks at a checkpoint folder
STILL_SECONDS = 1.0  # a checkpoint is whole when nothing has changed for so long
SHELLS = {"bash", "zsh", "sh", "dash"}
KEPT = 2  # whole checkpoints that are kept aside
RESERVE_BYTES = 65536  # given back when the disk is full, so that the end can still be written down


def path(id_: str, *names: str) -> str:
    return os.path.join(JOBS, id_, *names)


def read(file: str) -> dict[str, Any]:
    """What a JSON file holds; {} when it is absent or torn."""
    try:
        with open(file, encoding="utf-8") as source:
            value = json.load(source)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write(file: str, value: dict[str, Any]) -> None:
    """The whole new content or the whole old one, whatever happens meanwhile."""
    with open(file + ".new", "w", encoding="utf-8") as target:
        json.dump(value, target, sort_keys=True)
        target.flush()
        os.fsync(target.fileno())
    os.replace(file + ".new", file)


def locked(file: str) -> bool:
    """Whether somebody holds this lock."""
    try:
        with open(file, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


# ---- beginning ---------------------------------------------------------------------------------------


def begin() -> int:
    """Begin the attempt that the order names, unless it was begun before or the job is over."""
    order = json.load(sys.stdin)
    id_ = order["id"]
    os.makedirs(path(id_), mode=0o700, exist_ok=True)
    with open(path(id_, "begin.lock"), "a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status = read(path(id_, "status.json"))
        over = status.get("phase") == "ended" and not order.get("restore")
        if over or status.get("attempt", 0) >= order["attempt"]:
            return 0
        if locked(path(id_, "run.lock")):  # processes of the attempt before still live
            print("an earlier attempt still runs", file=sys.stderr)
            return 75
        write(path(id_, "order.json"), order)
        status.update(attempt=order["attempt"], phase="begun", begun_at=time.time())
        write(path(id_, "status.json"), status)
        start_worker(id_)
        until = time.monotonic() + START_SECONDS
        while read(path(id_, "status.json")).get("phase") == "begun" and time.monotonic() < until:
            time.sleep(0.02)
    return 0


def start_worker(id_: str) -> None:
    """In tmux where there is tmux, so that somebody can attach; else in a session of its own."""
    argv = [sys.executable, os.path.abspath(__file__), "work", id_]
    if shutil.which("tmux"):
        tmux = ["tmux", "new-session", "-d", "-s", "job-" + id_, "-x", "200", "-y", "50", "--", *argv]
        if subprocess.run(tmux, stdin=NULL, stdout=NULL, stderr=NULL).returncode == 0:
            return
    subprocess.Popen(argv, stdin=NULL, stdout=NULL, stderr=NULL, start_new_session=True)


# ---- one attempt -------------------------------------------------------------------------------------


class Attempt:
    """One attempt of one job, from its first process to the status that outlives it."""

    def __init__(self, id_: str) -> None:
        self.id = id_
        self.order = read(path(id_, "order.json"))
        self.status = read(path(id_, "status.json"))
        self.signals: list[int] = []
        self.log: Any = None
        self.child: Any = None
        self.told_at = 0.0

    def run(self) -> int:
        lock = os.open(path(self.id, "run.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 75
        os.set_inheritable(lock, True)  # held until the last process of the job is gone
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, lambda got, frame: self.signals.append(got))
        with contextlib.suppress(OSError), open(path(self.id, "reserve"), "wb") as reserve:
            reserve.write(b"\0" * RESERVE_BYTES)
        self.log = open(path(self.id, "log"), "ab", buffering=0)  # noqa: SIM115 -- until this process ends
        before = self.status.get("seconds", 0.0)
        began, clock = time.time(), time.monotonic()
        first = self.status.setdefault("started_at", began)
        self.tell(phase="running", pid=os.getpid(), started_at=first, attempt_at=began, seconds_before=before)
        try:
            status, stopped = self.command(lock, clock, before)
        finally:
            os.close(lock)
        seconds = before + time.monotonic() - clock
        phase = "interrupted" if stopped and not self.cancelled() else "ended"
        self.tell(
            phase=phase,
            exit_status=None if phase == "interrupted" else status,
            ended_at=time.time(),
            seconds=seconds,
            cancelled=self.cancelled(),
            sure=True,
        )
        return 0

    def cancelled(self) -> bool:
        return os.path.exists(path(self.id, "cancel"))

    def tell(self, sure: bool = False, **changes: Any) -> None:
        """Write the status down. `sure`: however long that takes, for nobody else knows."""
        self.status.update(changes)
        while True:
            try:
                write(path(self.id, "status.json"), self.status)
                return
            except OSError as error:
                self.status["trouble"] = f"{error.strerror or error}"
                with contextlib.suppress(OSError):
                    os.remove(path(self.id, "reserve"))
                if not sure or os.getppid() == 0:
                    return
                time.sleep(1.0)

    def argv(self) -> list[str]:
        again = self.status.get("attempt", 1) > 1 and self.order.get("resume_command")
        words = self.order["resume_command"] if again else self.order["command"]
        shell = os.environ.get("SHELL", "")
        if os.path.basename(shell) not in SHELLS or not os.access(shell, os.X_OK):
            shell = "/bin/sh"
        # A login shell: the desk's own PATH, as in a terminal there.
        line = words[0] if len(words) == 1 else 'exec "$@"'
        return [shell, "-lc", line, "hotdesk", *(words if len(words) > 1 else [])]

    def command(self, lock: int, clock: float, before: float) -> tuple[int, bool]:
        """Run it to its end; its exit status, and whether it was the machine that ended it."""
        folder = os.path.join(HOME, self.order.get("folder") or ".")
        environment = dict(os.environ)
        environment.update(
            PYTHONUNBUFFERED="1",  # else a log comes in lumps
            HOTDESK_JOB=self.id,
            HOTDESK_ATTEMPT=str(self.status.get("attempt", 1)),
        )
        for name in ("TMUX", "TMUX_PANE"):
            environment.pop(name, None)
        places = Checkpoints(self)
        if places.folder:
            environment["HOTDESK_CHECKPOINT"] = places.folder
        try:
            self.child = subprocess.Popen(
                self.argv(),
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(lock,),
            )
        except OSError as error:
            self.say(f"hotdesk: {error.strerror}: {error.filename}\n".encode())
            return 126, False
        reader = selectors.DefaultSelector()
        os.set_blocking(self.child.stdout.fileno(), False)
        reader.register(self.child.stdout, selectors.EVENT_READ)
        stopped, talking = False, True
        kill_at: float | None = None
        done_at: float | None = None
        while True:
            if talking and reader.select(LOOK_SECONDS):
                talking = self.pump(reader)
            elif not talking:
                time.sleep(0.05)
            now = time.monotonic()
            for got in self.take_signals():
                if got == signal.SIGUSR1:
                    places.ask()
                elif got == signal.SIGINT:
                    self.send(signal.SIGINT)
                else:
                    stopped = True
            if (stopped or self.cancelled()) and kill_at is None and self.child.poll() is None:
                # A job that stops is asked for a checkpoint first, if it has said how it wants to be asked.
                if stopped and places.signal not in {None, signal.SIGTERM}:
                    places.ask()
                self.send(signal.SIGTERM)
                kill_at = now + float(self.order.get("grace_seconds", 20.0))
            if kill_at is not None and now > kill_at:
                self.send(signal.SIGKILL)
            places.look(now)
            if now - self.told_at > 5.0:
                self.told_at = now
                self.tell(seconds=before + now - clock)
            if self.child.poll() is not None:
                # What runs on in the background may hold the pipe for ever: its last words are waited for.
                done_at = done_at or now
                if now - done_at > STOPPING_SECONDS and (not talking or now - done_at > 1.0):
                    break
        warned = places.asked_at and time.monotonic() - places.asked_at < NOTICE_SECONDS
        # A job that was told that its machine will be taken, and left in time, has not ended. Asked by a
        # SIGTERM it may say that all went well; to begin it once more is the smaller harm.
        if warned and (self.child.returncode != 0 or places.signal == signal.SIGTERM):
            stopped = True
        self.send(signal.SIGKILL)  # whatever it left in its own group
        status = self.child.returncode
        places.close()
        return (128 - status if status < 0 else status), stopped

    def take_signals(self) -> list[int]:
        got, self.signals = self.signals, []
        return got

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.child.pid, number)

    def pump(self, reader: selectors.BaseSelector) -> bool:
        """Pass on what the job says; whether it may say more."""
        try:
            said = os.read(self.child.stdout.fileno(), 65536)
        except BlockingIOError:
            return True
        if said:
            self.say(said)
            return True
        reader.unregister(self.child.stdout)
        return False

    def say(self, words: bytes) -> None:
        if os.isatty(1):
            with contextlib.suppress(OSError):
                os.write(1, words)
        try:
            self.log.write(words)
        except OSError as error:  # the job goes on; what it says now is lost
            self.status["trouble"] = f"the log is cut: {error.strerror}"


class Checkpoints:
    """The job's checkpoint folder: when one was written, how long it took, and the last whole ones aside."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        order = attempt.order
        name = order.get("checkpoint") or ""
        self.folder = os.path.join(HOME, order.get("folder") or ".", os.path.expanduser(name)) if name else ""
        self.signal = getattr(signal, order.get("signal") or "", None)
        self.asked_at = 0.0
        self.seen = self.survey()
        self.looked_at = time.monotonic()
        self.changed_at = 0.0
        self.burst_at: float | None = None
        number = order.get("restore")
        if self.folder and number:
            self.put_back(number)

    def survey(self) -> dict[str, tuple[int, int, int]]:
        """Names, sizes, times and places of all files there."""
        found = {}
        for folder, _, names in os.walk(self.folder) if self.folder else ():
            for name in names:
                file = os.path.join(folder, name)
                with contextlib.suppress(OSError):
                    stat = os.lstat(file)
                    found[file] = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
        return found

    def ask(self) -> None:
        """Tell the job to write one now."""
        self.asked_at = time.monotonic()
        if self.signal is None or self.attempt.child is None:
            return
        for pid in programs(self.attempt.child.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, self.signal)

    def look(self, now: float) -> None:
        if not self.folder or now - self.looked_at < LOOK_SECONDS:
            return
        found = self.survey()
        if found != self.seen:
            if self.burst_at is None:
                self.burst_at = self.looked_at  # it began after the look before
            self.changed_at = now
        elif self.burst_at is not None and now - self.changed_at >= STILL_SECONDS:
            self.note()
        self.seen, self.looked_at = found, now

    def note(self) -> None:
        """A checkpoint is whole: write down how long it took, and keep it aside."""
        status = self.attempt.status
        took = self.changed_at - (self.burst_at or self.changed_at)
        times = [*status.get("checkpoint_seconds", []), round(took, 2)][-20:]
        count = status.get("checkpoints", 0) + 1
        self.burst_at = None
        kept = self.keep(count)
        self.attempt.tell(
            checkpoints=count,
            checkpoint_seconds=times,
            checkpoint_at=time.time(),
            checkpoint_bytes=sum(size for size, _, _ in self.survey().values()),
            kept=kept,
        )

    def keep(self, number: int) -> list[int]:
        """Copy the folder aside, so that a later broken checkpoint does not cost the last whole one."""
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
            if self.survey() != before:  # it was written to meanwhile: not a whole one
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
        """The checkpoint that was kept under this number, in the place of a broken one."""
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
        """The job is over: what it wrote last counts as well."""
        if self.folder and (self.burst_at is not None or self.survey() != self.seen):
            self.burst_at = self.burst_at or self.looked_at
            self.changed_at = time.monotonic()
            self.note()


def programs(pid: int) -> list[int]:
    """Whom to ask: the job's own program, or what our shell started; its helpers would die of a signal."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as words:
            ours = words.read().split(b"\0")[1:2] == [b"-lc"]
        with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as children:
            return [int(child) for child in children.read().split()] if ours else [pid]
    except OSError:
        return [pid]


# ---- looking -----------------------------------------------------------------------------------------


def look() -> int:
    found = []
    for id_ in sorted(os.listdir(JOBS)) if os.path.isdir(JOBS) else ():
        status = read(path(id_, "status.json"))
        if not status:
            continue
        status["id"] = id_
        status["alive"] = locked(path(id_, "run.lock")) or locked(path(id_, "begin.lock"))
        if not status["alive"]:  # it may have ended between the two looks
            status.update(read(path(id_, "status.json")))
        with contextlib.suppress(OSError):
            status["log_bytes"] = os.path.getsize(path(id_, "log"))
        with contextlib.suppress(OSError), open(path(id_, "log"), "rb") as log:
            log.seek(max(0, os.path.getsize(path(id_, "log")) - 400))
            lines = [line for line in log.read(400).decode("utf-8", "replace").split("\n") if line.strip()]
            status["last_line"] = lines[-1].strip()[-200:] if lines else ""
        found.append(status)
    print(json.dumps({"now": time.time(), "jobs": found}))
    return 0


def stream(id_: str, offset: int, follow: bool) -> int:
    """The log from a byte on, to standard output."""
    while not os.path.exists(path(id_, "log")):
        if not follow or over(id_):
            return 0
        time.sleep(0.1)
    with open(path(id_, "log"), "rb", buffering=0) as log:
        size = os.fstat(log.fileno()).st_size
        log.seek(min(offset, size))  # an older state of the disk has an older log
        while True:
            ended = not follow or over(id_)  # asked before reading: nothing is said after the end
            while chunk := log.read(65536):
                os.write(1, chunk)
            if ended:
                return 0
            time.sleep(0.1)


def over(id_: str) -> bool:
    phase = read(path(id_, "status.json")).get("phase")
    running = locked(path(id_, "run.lock")) or locked(path(id_, "begin.lock"))
    return phase in {"ended", "interrupted"} or not running


def cancel(id_: str) -> int:
    """End a job for good; one that was never begun is over as well."""
    os.makedirs(path(id_), mode=0o700, exist_ok=True)
    with open(path(id_, "cancel"), "wb"):
        pass
    with open(path(id_, "begin.lock"), "a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status = read(path(id_, "status.json"))
        if status.get("phase") != "ended" and not locked(path(id_, "run.lock")):
            status.update(phase="ended", cancelled=True, exit_status=143, ended_at=time.time())
            write(path(id_, "status.json"), status)
    return 0


def notice() -> int:
    for id_ in os.listdir(JOBS) if os.path.isdir(JOBS) else ():
        status = read(path(id_, "status.json"))
        if status.get("phase") == "running" and locked(path(id_, "run.lock")):
            with contextlib.suppress(ProcessLookupError):
                os.kill(status["pid"], signal.SIGUSR1)
    return 0


def have(folder: str, word: str) -> int:
    if "/" in word:
        place = os.path.join(HOME, folder, os.path.expanduser(word))
        return 0 if os.access(place, os.X_OK) else 127
    shell = os.environ.get("SHELL") or "/bin/sh"
    line = 'command -v "$1" >/dev/null 2>&1'
    return 0 if subprocess.run([shell, "-lc", line, "sh", word]).returncode == 0 else 127


def main(words: list[str]) -> int:
    verb, given = (words[0] if words else ""), words[1:]
    if verb == "log":
        return stream(given[0], int(given[1]), "-f" in given[2:])
    verbs: dict[str, Callable[..., int]] = {
        "begin": begin, "look": look, "notice": notice, "cancel": cancel, "have": have,
        "work": lambda id_: Attempt(id_).run(),
    }  # fmt: skip
    if verb not in verbs:
        print(__doc__)
        return 2
    return verbs[verb](*given)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main(sys.argv[1:]))
