"""The attempts of a sweep's tasks on one machine: begun once, waited for, ended, and never forgotten.

A journal (`begun.jsonl`) holds each attempt before its command runs, and how it ended. A command runs in a
session of its own below a shell that writes its exit status, so neither a killed runner nor a lost connection
ends it, and the next runner waits for it.

The standard library only, for Python 3.8 and later: it runs at desks.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from hotdesk.guest import sweep_checkpoints, sweep_spawn, sweep_task_files
from hotdesk.guest.process_tree import processes, topmost
from hotdesk.guest.sweep_checkpoints import Keeper
from hotdesk.guest.sweep_processes import children, is_zombie, leader, mark_of, processes_of, resident

COPIED_BYTES = 1 << 20  # a project's greater files are links in a task's folder
LIMIT_STATUS, MEMORY_STATUS, CANCELLED_STATUS, LOST_STATUS = 124, 137, 143, 130
UNKEPT_STATUS = 74  # EX_IOERR (sysexits.h)
_SIGNALLED = 128  # exit statuses above are of processes that a signal has ended
_POLL_SECONDS = 0.1
# $0: the file of the exit status; $1: a line for the shell, or the first word of a command.
_TRAP = 'trap \'s=$?; echo "$HOTDESK_ATTEMPT $s" >"$0"\' EXIT; '
_HERE = _TRAP + 'cd "$HOTDESK_TASK" || exit 126; '
_WORDS, _LINE = _HERE + '"$@"', _HERE + 'eval "$1"'

if TYPE_CHECKING:
    from collections.abc import Callable

    Order = dict[str, Any]  # task, attempt, epoch, command, params, gpus, checkpoint, keeps, saved
    Ended = dict[str, Any]  # task, attempt, exit_status, seconds, began_at, metrics, why, last, saved_at


class Running:
    """One attempt that runs."""

    def __init__(self, order: Order, pid: int, began_at: float) -> None:
        self.order = order
        self.pid = pid  # of its shell, and so of its session
        self.began_at = began_at
        self.over = threading.Event()
        self.end_as: tuple[int, str] | None = None  # exit status and reason, where we end it
        self.ended: Ended | None = None
        self.keeper: Keeper | None = None  # of what it saves


class Attempts:
    """All attempts of one sweep on this machine. Its methods may be called from any thread."""

    def __init__(self, folder: str, settings: dict[str, Any], environment: dict[str, str]) -> None:
        self.folder = folder
        # limit_seconds, grace_seconds, memory_bytes, environment, pull, checkpoint_bytes
        self.settings = settings
        self.environment = environment
        self.shell = shutil.which("bash") or "/bin/sh"
        self.lock = threading.Lock()
        self.running: dict[int, Running] = {}
        self.ended: dict[int, Ended] = {}  # by task, the newest attempt
        self.fenced: dict[int, int] = {}  # by task: attempts up to this one are not begun here
        self.wanted: dict[int, int] = {}  # by task: the attempt whose checkpoint has to be brought here
        self.epoch = 0  # what an earlier driver has asked for is not begun any more
        with contextlib.suppress(OSError, ValueError), open(self._path("epoch"), encoding="ascii") as file:
            self.epoch = int(file.read())
        self.files = sweep_task_files.files(os.path.join(folder, "project"))
        for name in ("work", "out", "given"):
            os.makedirs(os.path.join(folder, name), mode=0o700, exist_ok=True)
        known = self._read()
        self.journal = os.open(self._path("begun.jsonl"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for line in known:
            self._adopt(line)

    def run(self, order: Order) -> Ended:
        """Begin this attempt, unless it was begun or a later one is known, and wait for its end."""
        task, attempt = order["task"], order["attempt"]
        with self.lock:
            known, ended = self.running.get(task), self.ended.get(task)
            if known is None:
                done = ended is not None and ended["exit_status"] == 0 and not order.get("gang")
                if ended is not None and (ended["attempt"] >= attempt or done):
                    return ended
                if self.fenced.get(task, 0) >= attempt:
                    return _ended(order, CANCELLED_STATUS, 0.0, time.time(), "cancelled")
                if order.get("begun") or order.get("epoch", 0) < self.epoch:
                    return _ended(order, CANCELLED_STATUS, 0.0, time.time(), "fenced")
                known = self.running[task] = Running(order, 0, time.time())
                mine = True
            else:
                mine = False
        if mine:
            self._begin(known)
        known.over.wait()
        assert known.ended is not None
        return known.ended

    def cancel(self, tasks: dict[int, int]) -> None:
        """End these tasks' attempts up to a number, and begin none of them later."""
        with self.lock:
            self.fenced.update(tasks)
            chosen = [r for t, r in self.running.items() if r.order["attempt"] <= tasks.get(t, 0)]
        for one in chosen:
            self.end(one, CANCELLED_STATUS, "cancelled")

    def end(self, one: Running, status: int, why: str) -> None:
        """End a running attempt: SIGTERM, and SIGKILL after the grace. Returns at once."""
        if one.end_as is None:
            one.end_as = (status, why)
            threading.Thread(target=self._end, args=(one,), daemon=True).start()

    def look(self) -> list[dict[str, Any]]:
        """What runs: task, attempt, began_at."""
        with self.lock:
            return [
                {"task": task, "attempt": r.order["attempt"], "began_at": r.began_at}
                for task, r in self.running.items()
            ]

    def known(self, epoch: int, tasks: dict[int, int]) -> dict[str, Any]:
        """What has become of these tasks here; and from now on nothing of an earlier epoch is begun."""
        with self.lock:
            if epoch > self.epoch:
                self.epoch = epoch
                with open(self._path("epoch.new"), "w", encoding="ascii") as file:
                    file.write(str(epoch))
                os.replace(self._path("epoch.new"), self._path("epoch"))
            ended = [self.ended[task] for task in tasks if task in self.ended]
        return {"running": [item for item in self.look() if item["task"] in tasks], "ended": ended}

    # ---- checkpoints ---------------------------------------------------------------------------------

    def keep(self) -> None:
        """Copy what has been saved, where it is time to."""
        for keeper in self._keepers():
            keeper.look()

    def notice(self, number: int, seconds: float) -> None:
        """The machine is about to go: ask for a checkpoint by this signal, and copy it without delay.

        As with a job, it reaches the topmost processes that handle it: others it would end.
        """
        for keeper in self._keepers():
            keeper.hurried_until = time.monotonic() + seconds
            table = processes()
            mine = {pid: table[pid] for pid in processes_of(self._path("work", keeper.name)) if pid in table}
            for process in topmost(mine, number):
                with contextlib.suppress(OSError):
                    os.kill(process.pid, number)

    def kept(self) -> dict[str, Any]:
        """The copies here, why there is no newer one, and which are to be brought here."""
        with self.lock:
            wanted = dict(self.wanted)
        lacks = {int(k.name): k.why for k in self._keepers() if k.why}
        return {
            "saved": list(sweep_checkpoints.copies(self.folder).values()),
            "wanted": [{"task": task, "attempt": attempt} for task, attempt in wanted.items()],
            "unsaved": [{"task": task, "why": why} for task, why in lacks.items()],
        }

    def _keepers(self) -> list[Keeper]:
        with self.lock:
            return [one.keeper for one in self.running.values() if one.keeper is not None]

    def _keeper(self, order: Order, new: bool) -> Keeper | None:
        if not order.get("checkpoint") or not order.get("keeps", True):
            return None
        limit = self.settings.get("checkpoint_bytes", 0)
        name = label(order["task"])
        return Keeper(self.folder, name, order["attempt"], order["checkpoint"], limit=limit, new=new)

    def _go_on(self, one: Running, work: str) -> None:
        """Lay out the checkpoint from which an attempt goes on, once it was brought here.

        What this machine's own attempts have left is as new, unless one elsewhere came after. All ranks of
        a gang begin from the same. Raises `OSError`.
        """
        order, state = one.order, work + ".attempt"  # whose state the folder has
        task, saved = order["task"], order.get("saved", 0)
        here = 0
        with contextlib.suppress(OSError, ValueError), open(state, encoding="ascii") as file:
            here = int(file.read())
        if saved and (here < saved or order.get("gang")):
            copy = self._path("given", f"{label(task)}-{saved}.tar")
            with self.lock:
                self.wanted[task] = saved
            while not os.path.exists(copy) and one.end_as is None:
                time.sleep(_POLL_SECONDS)
            with self.lock:
                self.wanted.pop(task, None)
            if one.end_as is not None:
                return
            if os.path.getsize(copy):  # an empty one: it is nowhere any more
                sweep_checkpoints.lay_out(copy, work, order["checkpoint"])
            os.remove(copy)
        with open(state + ".new", "w", encoding="ascii") as file:
            file.write(str(order["attempt"]))
        os.replace(state + ".new", state)

    # ---- beginning -----------------------------------------------------------------------------------

    def _begin(self, one: Running) -> None:
        order = one.order
        name = label(order["task"])
        work, status = self._path("work", name), self._path("out", name + ".status")
        words: list[str] = order["command"]
        try:
            self._lay_out(work, order)
            if order.get("checkpoint"):
                self._go_on(one, work)
            if one.end_as is not None:  # while it waited
                self._over(one, *one.end_as)
                return
            one.began_at, one.keeper = time.time(), self._keeper(order, True)
            log = os.open(self._path("out", name + ".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except Exception as error:  # whatever it is: an attempt that does not end is waited for
            self._over(one, 126, f"its folder cannot be made: {getattr(error, 'strerror', None) or error}")
            return
        try:
            if order["attempt"] > 1:
                os.write(log, f"hotdesk: attempt {order['attempt']}\n".encode())
            line = len(words) == 1
            argv = [self.shell if line else "/bin/sh", "-c", _LINE if line else _WORDS, status, *words]
            self._write({**{key: order[key] for key in order if key != "secrets"}, "at": one.began_at})
            one.pid = sweep_spawn.spawn(argv, self._environment(order, work), log)
        except (OSError, ValueError) as error:  # no such folder; a zero byte in a word
            self._over(one, 126, f"it cannot be begun: {getattr(error, 'strerror', None) or error}")
            return
        finally:
            os.close(log)
        self._see_to_the_end(one, sweep_spawn.wait)

    def _environment(self, order: Order, work: str) -> dict[str, str]:
        found = dict(self.environment)
        found.update(self.settings.get("environment", {}))
        found.update(order.get("environment", {}))
        found.update(order.get("secrets", {}))
        found.update(
            PYTHONUNBUFFERED="1",
            HOTDESK_SWEEP=os.path.basename(self.folder),
            HOTDESK_TASK=work,
            HOTDESK_TASK_NUMBER=str(order["task"]),
            HOTDESK_ATTEMPT=str(order["attempt"]),
            HOTDESK_PARAMS=json.dumps(order["params"]),
        )
        if order.get("gpus") is not None:
            found["CUDA_VISIBLE_DEVICES"] = order["gpus"]
        return found

    def _lay_out(self, work: str, order: Order) -> None:
        """The task's own copy of the project: what it writes there, no other task sees."""
        project, files = self._path("project"), self.files
        if order.get("gang"):  # each run of a cluster has a folder of its own
            project = self._path("run-" + label(order["task"]))
            files = sweep_task_files.files(project)
        try:
            os.mkdir(work, 0o700)
        except FileExistsError:  # a later attempt goes on with what the one before has left
            if os.path.exists(work + ".part"):
                shutil.rmtree(work)
                os.mkdir(work, 0o700)
            else:
                return
        if not files:
            return
        part = work + ".part"  # while it is there, the copy is not whole
        with open(part, "w", encoding="ascii"):
            pass
        for name, size in files:
            target = os.path.join(work, name)
            if size < 0:
                os.makedirs(target, exist_ok=True)
            elif size > COPIED_BYTES:
                os.symlink(os.path.join(project, name), target)
            else:
                shutil.copy2(os.path.join(project, name), target, follow_symlinks=False)
        os.remove(part)

    # ---- ending --------------------------------------------------------------------------------------

    def _over(self, one: Running, status: int, why: str) -> None:
        """Record how an attempt ended, and wake whoever waits for it."""
        order, now = one.order, time.time()
        name = label(order["task"])
        found = _ended(order, status, now - one.began_at, one.began_at, why)
        found["metrics"], found["last"] = sweep_task_files.told(self._path("out", name + ".log"))
        if pull := self.settings.get("pull"):
            try:
                absent = self._keep(name, pull)
                if status == 0:  # a failure has a reason of its own
                    found["why"] = found["why"] or absent
            except OSError as error:  # a full disk: its results go with the machine, so it has not succeeded
                found["exit_status"] = status or UNKEPT_STATUS
                found["why"] = f"its results cannot be kept: {error.strerror or error}"
        if one.keeper is not None and found["exit_status"] != 0:
            one.keeper.close(killed=one.end_as is not None or found["exit_status"] > _SIGNALLED)
            found["saved_at"] = one.keeper.at
        elif one.keeper is not None:
            sweep_checkpoints.forget(self.folder, name)
        one.ended = found
        with self.lock:
            self.ended[order["task"]] = found
            self.running.pop(order["task"], None)
        self._write({"ended": found})
        one.over.set()

    def _keep(self, name: str, pull: list[str]) -> str:
        """Move results beside the log, from where they are fetched; what is absent, in words."""
        absent = []
        for path in pull:
            source, target = self._path("work", name, path), self._path("out", name, path)
            if not os.path.lexists(source):
                absent.append(path)
                continue
            os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(target) if os.path.isdir(target) else os.remove(target)
            if os.path.isdir(source):
                shutil.copytree(source, target, symlinks=True, copy_function=sweep_task_files.linked)
            else:
                sweep_task_files.linked(source, target)
        return "not found in its folder: " + ", ".join(absent) if absent else ""

    def _end(self, one: Running) -> None:
        while one.pid == 0 and not one.over.wait(0.01):
            pass  # it is being begun
        work = self._path("work", label(one.order["task"]))
        until = time.monotonic() + self.settings.get("grace_seconds", 20.0)
        number = signal.SIGTERM
        while True:
            left = processes_of(work)
            if not left and one.over.wait(_POLL_SECONDS):
                return
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, number)
            if number == signal.SIGTERM:
                while processes_of(work) and time.monotonic() < until:
                    time.sleep(_POLL_SECONDS)
                number = signal.SIGKILL
            time.sleep(_POLL_SECONDS)

    def tidy(self) -> None:
        """Reap adopted processes, and end what a task has left behind when its command ended."""
        found = children()
        with self.lock:
            own = {r.pid for r in self.running.values()}
            busy = {self._path("work", label(task)) for task in self.running}
        for pid in found - own:
            with contextlib.suppress(OSError):
                if not is_zombie(pid):
                    if (mark := mark_of(pid)) and mark not in busy:
                        os.kill(pid, signal.SIGKILL)
                elif 0 not in own:  # else it may be one that is being begun: its own thread waits for it
                    os.waitpid(pid, os.WNOHANG)

    def relieve(self, available_bytes: int, low_bytes: int) -> None:
        """End the tasks that exceed their memory, and the greatest where the machine is short of it."""
        limit = self.settings.get("memory_bytes")
        low = available_bytes < low_bytes
        if not (limit or low):
            return
        with self.lock:
            chosen = {r.pid: r for r in self.running.values() if r.pid}
        used = resident(set(chosen))
        if limit:
            for pid, size in used.items():
                if size > limit:
                    self.end(chosen[pid], MEMORY_STATUS, f"it used {size / 2**30:.1f} GiB of memory")
        elif used:
            pid = max(used, key=lambda p: used[p])
            if used[pid] > low_bytes:  # else something other than this sweep has the memory
                why = f"the machine ran out of memory; this task used {used[pid] / 2**30:.1f} GiB"
                self.end(chosen[pid], MEMORY_STATUS, why)

    # ---- the journal ---------------------------------------------------------------------------------

    def _read(self) -> list[Order]:
        """The attempts that were begun and have not ended as far as the journal says."""
        begun: dict[int, Order] = {}
        file_name = self._path("begun.jsonl")
        with contextlib.suppress(FileNotFoundError), open(file_name, "rb") as file:
            for text in file:
                try:
                    line = json.loads(text)
                except ValueError:  # the last line of a runner that was killed
                    continue
                if "ended" in line:
                    self.ended[line["ended"]["task"]] = line["ended"]
                    begun.pop(line["ended"]["task"], None)
                else:
                    begun[line["task"]] = line
        return list(begun.values())

    def _adopt(self, line: Order) -> None:
        """Go on with an attempt of a runner that was killed: wait for it, or read how it ended."""
        one = Running(line, 0, line["at"])
        one.keeper = self._keeper(line, False)
        self.running[line["task"]] = one
        wait = partial(self._gone, one)
        threading.Thread(target=self._see_to_the_end, args=(one, wait), daemon=True).start()

    def _see_to_the_end(self, one: Running, wait: Callable[[int], int | None]) -> None:
        """Wait for it, up to its time limit, and record how it ended."""
        limit, timer = self.settings.get("limit_seconds"), None
        if limit:
            left = one.began_at + limit - time.time()
            timer = threading.Timer(left, self.end, (one, LIMIT_STATUS, f"its time limit of {limit:g} s"))
            timer.daemon = True
            timer.start()
        status = wait(one.pid)
        if timer is not None:
            timer.cancel()
        if status is None:
            status = self._written(label(one.order["task"]), one.order["attempt"])
        if status is None and one.end_as is None:
            one.end_as = (LOST_STATUS, "lost")
        self._over(one, *(one.end_as or (status or 0, "")))

    def _gone(self, one: Running, _: int) -> None:
        """Wait until nothing of an attempt runs that is no child of ours, or its shell has ended."""
        name = label(one.order["task"])
        while self._written(name, one.order["attempt"]) is None:
            left = processes_of(self._path("work", name))
            one.pid = leader(left)
            if not left:
                break
            time.sleep(_POLL_SECONDS)

    def _written(self, name: str, attempt: int) -> int | None:
        """The exit status that an attempt's own shell has written."""
        written = self._path("out", name + ".status")
        with contextlib.suppress(OSError, ValueError), open(written, encoding="ascii") as file:
            number, status = file.read().split()
            if int(number) == attempt:
                return int(status)
        return None

    def _write(self, line: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # a full disk: the machine that asked is told all the same
            os.write(self.journal, json.dumps(line).encode() + b"\n")

    def _path(self, *names: str) -> str:
        return os.path.join(self.folder, *names)


def label(task: int) -> str:
    """A task's name in paths: 000012."""
    return f"{task:06d}"


def _ended(order: Order, status: int, seconds: float, began_at: float, why: str) -> Ended:
    return {
        "task": order["task"], "attempt": order["attempt"], "exit_status": status, "seconds": seconds,
        "began_at": began_at, "metrics": {}, "why": why, "last": "", "saved_at": 0.0,
    }  # fmt: skip
