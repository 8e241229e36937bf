"""Find and end all processes of a machine, by the mark in their environment.

A process that leaves its session and its parent still has the environment it was started with. Below a
running supervisor the mark is not needed: orphaned descendants are re-parented to it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from hotdesk.providers.local.runtime import clock

MARK = "HOTDESK_MACHINE"
_POLITE_SECONDS = 5.0
_STRAY_SECONDS = 15.0  # more than a supervisor's own time limits together
_SHELLS = frozenset({"bash", "zsh", "fish", "sh", "dash", "ksh", "tmux", "screen"})


def adopt_orphans() -> None:
    """Become the parent of orphaned descendants (Linux only; elsewhere the mark has to suffice)."""
    if sys.platform == "linux":
        pr_set_child_subreaper = 36
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def marked(mark: str) -> list[psutil.Process]:
    """All processes of this machine, except the caller."""
    mine, found = os.getuid(), []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.uids().real != mine:
                continue
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark:
                found.append(process)
    return found


def end_stray(state: Path, id_: str, mark: str) -> None:
    """End a machine whose folder is gone: it would go on running unseen."""
    words = ["hotdesk.providers.local.runtime.supervisor", str(state), id_]
    strays = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.cmdline()[-3:] == words:
                process.terminate()
                strays.append(process)
    for process in psutil.wait_procs(strays, timeout=_STRAY_SECONDS)[1]:
        with contextlib.suppress(psutil.Error):
            process.kill()
    end_all(mark)


def descendants() -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return [
            p
            for p in psutil.Process().children(recursive=True)
            if p.is_running() and p.status() != psutil.STATUS_ZOMBIE
        ]
    return []


def end_all(mark: str, *, below_me: bool = False) -> int:
    """End all processes of a machine, first by SIGTERM, after some seconds by SIGKILL; return their number.

    A job gets SIGTERM first, so that it can write a checkpoint. Shells ignore it at their prompt and pass
    SIGHUP on to their jobs, so they get SIGHUP when the others are done.
    """

    def present() -> list[psutil.Process]:
        found = marked(mark)
        return list({p.pid: p for p in (found + descendants() if below_me else found)}.values())

    left = present()
    total = len(left)
    _signal(left, signal.SIGTERM, signal.SIGCONT)  # a stopped process must continue to handle a signal
    _wait(lambda: [p for p in left if _runs(p) and not _is_shell(p)], _POLITE_SECONDS)
    left = present() if total else []
    _signal(left, signal.SIGHUP, signal.SIGTERM)
    _wait(lambda: [p for p in left if _runs(p)], 1.0)
    for _ in range(50):  # a process that forks meanwhile is found by the next round
        left = present() if total else []
        if not left:
            break
        _signal(left, signal.SIGKILL)
        clock.pause(0.05)
    return total


def _wait(left: Callable[[], list[psutil.Process]], seconds: float) -> None:
    deadline = clock.ticks() + seconds
    while left() and clock.ticks() < deadline:
        clock.pause(0.03)


def _is_shell(process: psutil.Process) -> bool:
    try:
        return process.name().lstrip("-").split(":")[0] in _SHELLS
    except psutil.Error:
        return False


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _signal(processes: Iterable[psutil.Process], *signals: signal.Signals) -> None:
    for process in processes:
        for number in signals:
            with contextlib.suppress(psutil.Error, OSError):
                process.send_signal(number)


class ZombieReaper:
    """Reaps adopted zombie processes.

    A child of our own is reaped within milliseconds by the code that started it, so only one that is a zombie
    at two calls in a row is reaped here.
    """

    def __init__(self) -> None:
        self._dead: set[int] = set()

    def look(self) -> bool:
        """Reap; return whether to call again later."""
        dead = set()
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process().children():
                with contextlib.suppress(psutil.Error):
                    if child.status() == psutil.STATUS_ZOMBIE:
                        dead.add(child.pid)
        for pid in dead & self._dead:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        self._dead = dead - self._dead
        return bool(self._dead)
