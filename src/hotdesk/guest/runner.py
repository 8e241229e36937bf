#!/usr/bin/env python3
"""The job runner at a desk; all state of its jobs is on the desk's disk.

runner.py begin < ORDER      begin one attempt of a job; the same order again begins nothing; then look
runner.py look               every job that this disk knows, as JSON
runner.py log ID OFFSET      what the job has said from this byte on; with -f until it is over, and then
                             look, on standard error
runner.py busy               how busy the machine is, and what `look` says, as JSON
runner.py cancel ID          end the job, kindly first
runner.py notice             tell every running job to write a checkpoint now
runner.py ready              begin the person's hook for a desk that is up, unless this machine has begun it
runner.py hook NAME          (inside) run that hook
runner.py installed PROJECT  exit 0 when something was installed for it here
runner.py install PROJECT ID (inside) install what the working folder names, before the job
runner.py data < FOLDERS     bring these folders of data, in a process of its own (guest/data.py)
runner.py data-told          how far each is, as JSON
runner.py data-bring         (inside) bring them
runner.py work ID            (inside) run the attempt that was begun

A job's files are in ~/.hotdesk/jobs/ID: `order.json`, `log`, `samples` (how busy the machine was),
`status.json` (replaced atomically) and `run.lock`, which the attempt's runner holds until all its processes
have ended. A status of "running" without that lock means an interruption; processes that a killed runner left
(`processes.json`) are ended before the next attempt begins. It uses only the standard library of Python 3.8,
and runs from a zip file with its imports (packed by connect/job_runner.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from hotdesk.guest import variables
from hotdesk.guest.job_files import HOME, JOBS, TELL_SECONDS, locked, path, place, read, write

LINE_BYTES = 1000  # of a log's end, for its last line
START_SECONDS = 20.0  # for a started worker to acquire its lock


# ---- beginning ---------------------------------------------------------------------------------------


def begin() -> int:
    """Begin the attempt in the order, unless it was begun before or the job is over.

    The values of its variables are handed on through a pipe: the order that is kept has their names.
    """
    order = json.load(sys.stdin)
    id_ = order["id"]
    given = {name: order.pop(name, empty) for name, empty in (("variables", {}), ("secrets", []))}
    order["variables"] = sorted(given["variables"])
    os.makedirs(path(id_), mode=0o700, exist_ok=True)
    with open(path(id_, "begin.lock"), "a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status = read(path(id_, "status.json"))
        over = status.get("phase") == "ended" and not order.get("restore")
        if over or status.get("attempt", 0) >= order["attempt"]:
            return look()
        if locked(path(id_, "run.lock")):
            print("an earlier attempt still runs", file=sys.stderr)
            return 75
        write(path(id_, "order.json"), order)
        saved = status.get("checkpoint_at", 0.0) > status.get("attempt_at", 0.0)
        times = status.get("times_killed", 0) + 1 if was_killed(status) and not saved else 0
        status.update(attempt=order["attempt"], phase="begun", begun_at=time.time())
        status.update(place=place(), times_killed=times)
        write(path(id_, "status.json"), status)
        if given["variables"]:
            variables.prepare(id_)
        start_worker(id_)
        if given["variables"]:
            variables.hand_over(id_, given)
        until = time.monotonic() + START_SECONDS
        while read(path(id_, "status.json")).get("phase") == "begun" and time.monotonic() < until:
            time.sleep(0.02)
    return look()


def was_killed(status: dict[str, Any]) -> bool:
    """Whether an attempt that is not over has ended although its machine has not, nor was to."""
    unfinished = status.get("phase") in {"begun", "running", "interrupted"}
    here = status.get("place") == place() and not os.path.exists("/run/nologin")  # a system that shuts down
    return unfinished and here and not status.get("asked_at")


def start_worker(id_: str) -> None:
    """Start the worker in tmux if there is one, so that the user can attach; else in its own session."""
    import subprocess

    null = subprocess.DEVNULL
    argv = [sys.executable, os.path.abspath(sys.argv[0]), "work", id_]
    if shutil.which("tmux"):
        tmux = ["tmux", "new-session", "-d", "-s", "job-" + id_, "-x", "200", "-y", "50", "--", *argv]
        if subprocess.run(tmux, stdin=null, stdout=null, stderr=null).returncode == 0:
            return
    subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, start_new_session=True)


# ---- looking -----------------------------------------------------------------------------------------


def look(to: TextIO | None = None) -> int:
    print(json.dumps({"now": time.time(), "jobs": jobs()}), file=to)
    return 0


def busy() -> int:
    from hotdesk.guest import measure

    print(json.dumps({"load": measure.now(), "jobs": jobs()}))
    return 0


def jobs() -> list[dict[str, Any]]:
    """Every job that this disk knows."""
    found = []
    for id_ in sorted(os.listdir(JOBS)) if os.path.isdir(JOBS) else ():
        status = read(path(id_, "status.json"))
        if not status:
            continue
        status["id"] = id_
        if status.get("phase") != "ended":
            status["cancelled"] = os.path.exists(path(id_, "cancel"))
        status["alive"] = locked(path(id_, "run.lock")) or locked(path(id_, "begin.lock"))
        if not status["alive"]:  # it may have ended between the two reads
            status.update(read(path(id_, "status.json")))
            status["killed"] = was_killed(status)
        elif status.get("phase") == "running" and status.get("seconds", 0.0) > status.get(
            "seconds_before", 0.0
        ):
            since = time.time() - os.path.getmtime(path(id_, "status.json"))  # it was told so then
            status["seconds"] += min(max(0.0, since), TELL_SECONDS)
        if status.get("asked_at") and status.get("asked_place") == place():
            status["asked_seconds"] = max(0.0, time.time() - status["asked_at"])
            status["saved"] = status.get("checkpoint_at", 0.0) > status["asked_at"]
        with contextlib.suppress(OSError):
            status["log_bytes"] = os.path.getsize(path(id_, "log"))
        with contextlib.suppress(OSError), open(path(id_, "log"), "rb") as log:
            log.seek(max(0, os.path.getsize(path(id_, "log")) - LINE_BYTES))
            status["last_line"] = last_line(log.read(LINE_BYTES))
        found.append(status)
    return found


def last_line(end: bytes) -> str:
    """The last line of a log's end as a terminal would show it: a progress bar returns to its beginning."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", end.decode("utf-8", "replace"))  # colours, cursor movements
    lines = [line.strip() for line in re.split(r"[\r\n]", text)]
    return next((line for line in reversed(lines) if line), "")[-200:]


def stream(id_: str, offset: int, follow: bool) -> int:
    """Write the log from byte `offset` on to standard output."""
    while not os.path.exists(path(id_, "log")):
        if not follow or over(id_):
            return look(sys.stderr)
        time.sleep(0.1)
    with open(path(id_, "log"), "rb", buffering=0) as log:
        size = os.fstat(log.fileno()).st_size
        log.seek(min(offset, size))  # a restored disk may have an older log
        while True:
            ended = not follow or over(id_)  # checked before reading, so that no output is missed
            while chunk := log.read(65536):
                os.write(1, chunk)
            if ended:
                return look(sys.stderr)
            time.sleep(0.1)


def over(id_: str) -> bool:
    phase = read(path(id_, "status.json")).get("phase")
    running = locked(path(id_, "run.lock")) or locked(path(id_, "begin.lock"))
    return phase in {"ended", "interrupted"} or not running


def work(id_: str) -> int:
    from hotdesk.guest.attempt import Attempt  # not for verbs that a person waits for

    return Attempt(id_).run()


def cancel(id_: str) -> int:
    """Cancel a job, even one that was never begun."""
    from hotdesk.guest.process_tree import ProcessTree

    os.makedirs(path(id_), mode=0o700, exist_ok=True)
    with open(path(id_, "cancel"), "wb"):
        pass
    with open(path(id_, "begin.lock"), "a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status = read(path(id_, "status.json"))
        if status.get("phase") == "ended" or locked(path(id_, "run.lock")):
            return 0
        if ProcessTree(id_).look(everywhere=True):
            start_worker(id_)  # to end processes that a killed runner left
        else:
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


def ready() -> int:
    from hotdesk.guest import hooks

    return hooks.ready()


def hook(name: str) -> int:
    from hotdesk.guest import hooks

    hooks.run(HOME, name, hooks.READY_SECONDS, os.environ)
    return 0


def installs(project: str, id_: str) -> int:
    from hotdesk.guest import install

    return install.begin(project, id_)


def installed(project: str) -> int:
    from hotdesk.guest import install

    return 0 if install.remembered(project) else 1


def main(words: list[str]) -> int:
    verb, given = (words[0] if words else ""), words[1:]
    if verb == "log":
        with contextlib.suppress(BrokenPipeError):  # the reader has gone
            return stream(given[0], int(given[1]), "-f" in given[2:])
        return 0
    if verb.startswith("data"):
        from hotdesk.guest import data

        return data.VERBS[verb]()
    verbs: dict[str, Callable[..., int]] = {
        "begin": begin, "look": look, "busy": busy, "notice": notice, "cancel": cancel,
        "ready": ready, "hook": hook, "install": installs, "installed": installed, "work": work,
    }  # fmt: skip
    if verb not in verbs:
        print(__doc__)
        return 2
    return verbs[verb](*given)
