"""One attempt of a job at its desk, from its first process to the status that outlives it.

The standard library only, for Python 3.8 and later: it runs at desks.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import shlex
import signal
import subprocess
import sys
import time
from typing import Any

from hotdesk.guest import install, variables
from hotdesk.guest.checkpoints import LOOK_SECONDS, Checkpoints
from hotdesk.guest.job_files import HOME, SHELL, TELL_SECONDS, path, read, write
from hotdesk.guest.measure import Curves
from hotdesk.guest.process_tree import Process, ProcessTree, adopt, called, launcher_seconds

STOPPING_SECONDS = 0.4  # a stopping machine ends the job and us at about the same time
GRACE_SECONDS = 20.0  # from SIGTERM to SIGKILL, unless the job's owner says otherwise
LAUNCHER_GRACE_SECONDS = 10.0  # in addition to what a launcher gives its ranks
TREE_SECONDS = 1.0  # between two checks of the job's processes while it runs
STUCK_SECONDS = 10.0  # after SIGKILL, for a process that waits for a disk or a driver
NOTICE_SECONDS = 300.0  # within which a machine is interrupted after its notice
KILLED_TIMES = 3  # in succession, on one machine, without a checkpoint, before a job is given up
RESERVE_BYTES = 65536  # freed when the disk is full, so that the end can still be recorded
DRIVER = os.path.join(os.environ.get("HOTDESK_RUN", "/run/hotdesk"), "driver.json")  # how far driver.py is
DRIVER_SECONDS = 1900.0  # how long to wait for it; its unit allows half an hour


class Attempt:
    """One attempt of one job, from its first process to the status that outlives it."""

    def __init__(self, id_: str) -> None:
        self.id = id_
        self.order = read(path(id_, "order.json"))
        self.status = read(path(id_, "status.json"))
        self.signals: list[int] = []
        self.log: Any = None
        self.child: Any = None
        self.tree = ProcessTree(id_)
        self.given: dict[str, str] = {}  # the job's variables; they are in no file
        self.mask = variables.Mask([])
        self.told_at = 0.0
        self.useful_since = 0.0  # start of the work that counts, on the monotonic clock

    def run(self) -> int:
        lock = os.open(path(self.id, "run.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        if not take(lock):
            return 75
        adopt()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, lambda got, frame: self.signals.append(got))
        # Its tmux server has ended, and the job goes on without. (SIG_IGN would be inherited by the job.)
        signal.signal(signal.SIGHUP, lambda got, frame: None)
        with contextlib.suppress(OSError), open(path(self.id, "reserve"), "wb") as reserve:
            reserve.write(b"\0" * RESERVE_BYTES)
        self.log = open(path(self.id, "log"), "ab", buffering=0)  # noqa: SIM115 -- until this process ends
        Curves(self.id).follow()
        given = self.receive()
        before = self.status.get("seconds", 0.0)
        # The useful work of earlier attempts: with a checkpoint folder, only what was saved there.
        kept = self.status.get("saved_seconds", 0.0) if self.order.get("checkpoint") else before
        began = time.time()
        first = self.status.setdefault("started_at", began)
        self.tell(
            phase="running",
            pid=os.getpid(),
            started_at=first,
            attempt_at=began,
            seconds_before=before,
            asked_at=0.0,
        )
        try:
            gone: tuple[int | None, bool] | None = self.end_the_one_before() or self.give_up()
            gone = gone or given or self.wait_for_driver()
            clock = time.monotonic()
            self.useful_since = clock - kept
            status, stopped = gone or self.command(clock, before)
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
        finally:
            os.close(lock)
        return 0

    def receive(self) -> tuple[None, bool] | None:
        """Take the values of the job's variables; return (no status, stopped) if they did not come."""
        names = self.order.get("variables")
        if not names or self.cancelled():
            return None
        told = variables.take_over(self.id)
        self.given = told.get("variables", {})
        self.mask = variables.Mask([self.given[name] for name in told.get("secrets", ())])
        return None if sorted(self.given) == names else (None, True)

    def cancelled(self) -> bool:
        return os.path.exists(path(self.id, "cancel"))

    def tell(self, sure: bool = False, **changes: Any) -> None:
        """Write the status. `sure`: retry until it succeeds, because it is recorded nowhere else."""
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

    def end_the_one_before(self) -> tuple[int, bool] | None:
        """End processes left by a killed runner; return (status, stopped) if the job was cancelled."""
        if left := self.tree.look(everywhere=True):
            self.say(f"hotdesk: an earlier attempt's processes are ended first: {called(left)}\n".encode())
            ending = Ending(self, time.monotonic())
            while not ending.over(self.tree.look(everywhere=True), time.monotonic()):
                time.sleep(0.05)
        return (143, False) if self.cancelled() else None

    def give_up(self) -> tuple[None, bool] | None:
        """Return (no status, stopped) if this job was killed too often on a machine that lived on."""
        times = self.status.get("times_killed", 0)
        if times < KILLED_TIMES:
            return None
        why = f"its runner was killed {times} times on one machine, by the job itself or for want of memory"
        self.say(f"hotdesk: {why}: it is not begun again\n".encode())
        self.tell(trouble=why)
        return None, False

    def wait_for_driver(self) -> tuple[int, bool] | None:
        """Wait while a GPU driver is installed; return (status, stopped) if the attempt ended meanwhile."""
        if not driver_at_work():
            return None
        until = time.monotonic() + DRIVER_SECONDS
        self.say(b"hotdesk: the NVIDIA driver is being installed; the job begins when that is done\n")
        while driver_at_work() and time.monotonic() < until:
            if self.cancelled() or signal.SIGINT in self.signals:
                return 143 if self.cancelled() else 130, False
            if signal.SIGTERM in self.signals:
                return 143, True
            time.sleep(0.2)
        told = read(DRIVER)
        if told.get("version"):
            self.say(f"hotdesk: NVIDIA driver {told['version']} after {told['seconds']:.0f} s\n".encode())
        else:
            why = told.get("why") or f"it was cut off while {told.get('step')}"
            self.say(f"hotdesk: there is no NVIDIA driver: {why}; the job begins without\n".encode())
        return None

    def argv(self) -> list[str]:
        again = self.status.get("attempt", 1) > 1 and self.order.get("resume_command")
        words = self.order["resume_command"] if again else self.order["command"]
        line = words[0] if len(words) == 1 else '"$@"\nexit' if self.order.get("before") else 'exec "$@"'
        line = self.installing() + line
        line = self.order.get("before", "") + variables.exports(sorted(self.given)) + line
        return [*SHELL, line, "hotdesk", *(words if len(words) > 1 else [])]

    def installing(self) -> str:
        """Shell lines that install what the project names, and let the job find it."""
        if not self.order.get("install"):
            return ""
        program = [sys.executable, os.path.abspath(sys.argv[0]), "install", self.order["install"], self.id]
        activate = shlex.quote(path(self.id, install.ACTIVATE))
        return f"{' '.join(map(shlex.quote, program))} || exit\n[ ! -r {activate} ] || . {activate}\n"

    def environment(self) -> dict[str, str]:
        """The job's environment."""
        found = dict(
            os.environ,
            PYTHONUNBUFFERED="1",  # else output reaches the log late
            HOTDESK_JOB=self.id,
            HOTDESK_JOB_FOLDER=path(self.id),  # the mark by which process_tree.py finds its processes
            HOTDESK_ATTEMPT=str(self.status.get("attempt", 1)),
        )
        found.update({variables.FIRST + name: value for name, value in self.given.items()})
        for name in ("TMUX", "TMUX_PANE"):
            found.pop(name, None)
        lines = os.path.join(
            os.path.abspath(sys.argv[0]), "lines"
        )  # holds sitecustomize.py, in the zip file that runs
        found["PYTHONPATH"] = os.pathsep.join(filter(None, [lines, found.get("PYTHONPATH")]))
        return found

    def command(self, clock: float, before: float) -> tuple[int, bool]:
        """Run the command until all its processes have ended; return (status, ended by the machine)."""
        places, environment = Checkpoints(self), self.environment()
        if places.folder:
            environment["HOTDESK_CHECKPOINT"] = places.folder
        try:
            self.child = subprocess.Popen(
                self.argv(),
                cwd=os.path.join(HOME, self.order.get("folder") or "."),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            self.say(f"hotdesk: {error.strerror}: {error.filename}\n".encode())
            return 126, False
        self.given.clear()
        self.tree.first = self.child.pid
        reader = selectors.DefaultSelector()
        os.set_blocking(self.child.stdout.fileno(), False)
        reader.register(self.child.stdout, selectors.EVENT_READ)
        stopped, talking, looked_at = False, True, 0.0
        ending: Ending | None = None
        done_at: float | None = None
        while True:
            if talking and reader.select(LOOK_SECONDS if done_at is None and ending is None else 0.05):
                talking = self.pump(reader)
            elif not talking:
                time.sleep(0.05)
            now = time.monotonic()
            for got in self.take_signals():
                if got == signal.SIGUSR1:
                    places.ask()
                elif got == signal.SIGINT:
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.killpg(self.child.pid, signal.SIGINT)
                else:
                    stopped = True
            if (stopped or self.cancelled()) and ending is None:
                # Ask the job for a checkpoint before it is stopped, if it has a signal for that.
                if stopped and not done_at and places.signal not in {None, signal.SIGTERM}:
                    places.ask(announced=False)
                ending = Ending(self, now)
            places.look(now)
            if now - self.told_at > TELL_SECONDS:
                self.told_at = now
                self.tell(seconds=before + now - clock)
            if self.child.poll() is not None:
                done_at = done_at or now
            elif ending is None and now - looked_at < TREE_SECONDS:
                continue
            looked_at = now
            left = self.tree.look(everywhere=done_at is not None)
            if ending is not None:
                ending.over(left, now)
            elif done_at and left and now - done_at > 2 * STOPPING_SECONDS:
                self.say(f"hotdesk: the command has ended, and this is ended too: {called(left)}\n".encode())
                ending = Ending(self, now)
            # If another process still holds the pipe, wait a moment for the last output.
            if (
                done_at
                and not left
                and now - done_at > STOPPING_SECONDS
                and (not talking or now - done_at > 1.0)
            ):
                break
        warned = places.asked_at and time.monotonic() - places.asked_at < NOTICE_SECONDS
        # A job that exits after an interruption notice is interrupted, not done. If it was asked by SIGTERM
        # it may exit with 0 all the same; running it again does less harm than not finishing it.
        if warned and (self.child.returncode != 0 or places.signal == signal.SIGTERM):
            stopped = True
        status = self.child.returncode
        places.close()
        return (128 - status if status < 0 else status), stopped

    def take_signals(self) -> list[int]:
        got, self.signals = self.signals, []
        return got

    def pump(self, reader: selectors.BaseSelector) -> bool:
        """Copy output to the log; return whether there may be more."""
        try:
            said = os.read(self.child.stdout.fileno(), 65536)
        except BlockingIOError:
            return True
        if said:
            self.say(self.mask.feed(said))
            return True
        self.say(self.mask.rest())
        reader.unregister(self.child.stdout)
        return False

    def say(self, words: bytes) -> None:
        if os.isatty(1):
            with contextlib.suppress(OSError):
                os.write(1, words)
        try:
            self.log.write(words)
        except OSError as error:  # the job goes on; this output is lost
            self.status["trouble"] = f"the log is cut: {error.strerror}"


class Ending:
    """Ends all processes of a job: SIGTERM, grace period, SIGKILL."""

    def __init__(self, attempt: Attempt, now: float) -> None:
        self.attempt, self.began, self.stuck = attempt, now, False
        self.grace = 0.0

    def over(self, left: dict[int, Process], now: float) -> bool:
        """Take the next step; return whether all have ended."""
        tree = self.attempt.tree
        given = self.attempt.order.get("grace_seconds")
        if given is None:
            seconds = launcher_seconds(left)
            given = seconds + LAUNCHER_GRACE_SECONDS if seconds else GRACE_SECONDS
        self.grace = max(self.grace, float(given))  # kept when the launcher has ended
        if now - self.began <= self.grace:
            tree.end(left)
        else:
            tree.kill(left)
            if left and not self.stuck and now - self.began > self.grace + STUCK_SECONDS:
                self.stuck = True
                self.attempt.tell(trouble=f"cannot be ended, and is waited for: {called(left)}")
        return not left


def take(lock: int) -> bool:
    """Acquire a lock, retrying because another process may just be testing it."""
    for _ in range(20):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.05)
    return False


def driver_at_work() -> bool:
    """Whether driver.py is running at this boot, by its state file and its process."""
    told = read(DRIVER)
    if told.get("state") not in {"looking", "installing"}:
        return False
    try:
        with open(f"/proc/{told['pid']}/cmdline", "rb") as words:
            return b"driver.py" in words.read()
    except OSError:
        return False
