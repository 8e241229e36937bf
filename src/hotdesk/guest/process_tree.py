"""Find and end the processes of a job: all its descendants, in any session, under any name.

A launcher such as torchrun starts each rank in a session of its own with closed descriptors; a program may
overwrite its environment with its title (setproctitle). So a job's processes are identified by descent: its
runner adopts orphans (prctl(2), PR_SET_CHILD_SUBREAPER), and records the processes it has seen. After the
runner was killed, and on macOS, which has no such adoption, that record and a mark in the environment are
used.

The standard library only, for Python 3.8 and later: it runs at desks.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable

from hotdesk.guest.job_files import boot, path, read

MARK = "HOTDESK_JOB_FOLDER"  # desks on one computer may have jobs with the same id
LAUNCHER_SECONDS = 30.0  # torchrun's --shutdown-timeout: from its SIGTERM to its ranks to its SIGKILL
LINUX = sys.platform == "linux"
NULL = subprocess.DEVNULL
_SHELLS = {"bash", "sh", "dash", "zsh", "ksh", "fish"}  # they would continue with their next line
_PASS_ON = {"uv"}  # `uv run` catches every signal and passes it to its child, which it may kill

#: `start` distinguishes a process from a later one with the same id; `state` is a letter of ps(1).
Process = collections.namedtuple("Process", "pid parent state start name")


class ProcessTree:
    """All processes of one job."""

    def __init__(self, id_: str) -> None:
        self.id = id_
        self.first = 0  # the process that the runner started
        self.asked: set[tuple[int, str]] = set()  # processes that got SIGTERM
        told = read(path(id_, "processes.json"))
        seen = told.get("seen", ()) if told.get("boot") == boot() else ()
        self.known = {(pid, start) for pid, start in seen}

    def look(self, everywhere: bool = False) -> dict[int, Process]:
        """The job's living processes. `everywhere`: also those that never descended from this runner."""
        table, mine = processes(), os.getpid()
        for p in table.values():
            if p.parent == mine and p.state == "Z" and p.pid != self.first:
                with contextlib.suppress(OSError):
                    os.waitpid(p.pid, os.WNOHANG)  # an adopted one
        found = {p.pid for p in table.values() if p.parent == mine or (p.pid, p.start) in self.known}
        if everywhere or not LINUX:
            found |= marked(f"{MARK}={path(self.id)}", table)
        found -= set(_line(mine, table))
        below: dict[int, list[int]] = {}
        for p in table.values():
            below.setdefault(p.parent, []).append(p.pid)
        todo = list(found)
        while todo:
            more = [pid for pid in below.get(todo.pop(), ()) if pid not in found and pid != mine]
            found.update(more)
            todo += more
        members = {pid: table[pid] for pid in found if table[pid].state != "Z"}
        self._write_down({(p.pid, p.start) for p in members.values()})
        return members

    def _write_down(self, known: set[tuple[int, str]]) -> None:
        if known == self.known:
            return
        self.known, file = known, path(self.id, "processes.json")
        with contextlib.suppress(OSError):  # a full disk
            with open(file + ".new", "w", encoding="utf-8") as target:
                json.dump({"boot": boot(), "seen": sorted(known)}, target)
            os.replace(file + ".new", file)

    def ask(self, number: int) -> list[Process]:
        """Send a signal to the topmost processes that catch it; return them."""
        asked = topmost(self.look(), number)
        _send((p.pid for p in asked), number)
        return asked

    def end(self, members: dict[int, Process]) -> None:
        """Send SIGTERM once to each process: first to those that catch it, at last to all.

        While those save, their children, a `tee` that they write to and a launcher that waits for them live
        on; a shell above them does not, because it would continue with the next line of its script.
        """
        first = topmost(members, signal.SIGTERM)
        above = {pid for p in first for pid in _line(p.pid, members)[1:]}
        shells = [members[pid] for pid in above if members[pid].name in _SHELLS]
        for p in [*shells, *first] if first else members.values():
            if (p.pid, p.start) not in self.asked:
                self.asked.add((p.pid, p.start))
                _send([p.pid], signal.SIGTERM)
                _send([p.pid], signal.SIGCONT)  # a stopped process must continue to handle a signal

    def kill(self, members: dict[int, Process]) -> None:
        _send(members, signal.SIGKILL)


def topmost(members: dict[int, Process], number: int) -> list[Process]:
    """The topmost processes that catch this signal; it would kill the others."""
    catch = {p.pid for p in members.values() if p.name not in _PASS_ON and catches(p.pid, number)}
    return [members[pid] for pid in sorted(catch) if not catch & set(_line(pid, members)[1:])]


def adopt() -> None:
    """Become the parent of orphaned descendants (Linux)."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def launcher_seconds(members: dict[int, Process]) -> float:
    """Seconds that a launcher among them gives its ranks to end; 0 without one."""
    longest = 0.0
    for pid in members:
        words = words_of(pid)
        names = {os.path.basename(word) for word in words[:4]}
        if names & {
            "torchrun",
            "accelerate",
            "accelerate-launch",
            "torch.distributed.run",
            "torch.distributed.launch",
        }:
            longest = max(longest, LAUNCHER_SECONDS)
            for n, word in enumerate(words):
                name, _, value = word.partition("=")
                if name in {"--shutdown-timeout", "--shutdown_timeout"}:
                    with contextlib.suppress(ValueError, IndexError):
                        longest = max(longest, float(value or words[n + 1]))
    return longest


def called(members: Iterable[int], most: int = 3) -> str:
    """The names of processes, for a message."""
    told = [f"{' '.join(words_of(pid))[:60].strip() or 'a process'} ({pid})" for pid in sorted(members)]
    return ", ".join(told[:most]) + (f" and {len(told) - most} more" if told[most:] else "")


def _line(pid: int, table: dict[int, Process]) -> list[int]:
    """A process and its ancestors."""
    line = [pid]
    while line[-1] in table and table[line[-1]].parent in table and table[line[-1]].parent not in line:
        line.append(table[line[-1]].parent)
    return line


def _send(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:  # a process of the job that runs under sudo
            sudo = ["sudo", "-n", "kill", f"-{int(number)}", str(pid)]
            with contextlib.suppress(OSError):
                subprocess.run(sudo, stdin=NULL, stdout=NULL, stderr=NULL, check=False)


# ---- the process table ---------------------------------------------------------------------------------


def processes() -> dict[int, Process]:
    """All processes of this machine, by id."""
    found = {}
    if not LINUX:
        for line in _ps("-A", "-o", "pid=,ppid=,state=,lstart=,comm="):
            words = line.split()
            pid, start = int(words[0]), " ".join(words[3:8])
            name = os.path.basename(" ".join(words[8:])).lstrip("-")
            found[pid] = Process(pid, int(words[1]), words[2][0], start, name)
        return found
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", "rb") as file:
                head, _, rest = file.read().decode("utf-8", "replace").rpartition(")")
                words, name = rest.split(), head.partition("(")[2]
                found[int(entry)] = Process(int(entry), int(words[1]), words[0], words[19], name)
    return found


def marked(mark: str, table: dict[int, Process]) -> set[int]:
    """Processes with this mark in their initial environment, as far as that is readable."""
    if not LINUX:
        return {
            int(line.split()[0]) for line in _ps("-AEww", "-o", "pid=,command=") if f" {mark} " in f"{line} "
        }
    found = set()
    for pid in table:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
            if mark.encode() in file.read().split(b"\0"):
                found.add(pid)
    return found


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for this signal."""
    caught = 0
    with contextlib.suppress(OSError, ValueError, StopIteration):
        if LINUX:
            with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
                caught = int(next(line for line in file if line.startswith("SigCgt:")).split()[1], 16)
        else:
            caught = _caught_on_macos(pid)
    return bool(caught >> (number - 1) & 1)


def _caught_on_macos(pid: int) -> int:
    """sysctl(3) with CTL_KERN, KERN_PROC, KERN_PROC_PID; `p_sigcatch` of XNU's struct extern_proc."""
    import ctypes

    told, size = ctypes.create_string_buffer(648), ctypes.c_size_t(648)  # struct kinfo_proc, 64 bits
    name = (ctypes.c_int * 4)(1, 14, 1, pid)
    if ctypes.CDLL(None).sysctl(name, 4, told, ctypes.byref(size), None, 0) != 0 or size.value != 648:
        return 0
    return int.from_bytes(told.raw[236:240], "little")


def words_of(pid: int) -> list[str]:
    if not LINUX:
        return " ".join(_ps("-ww", "-p", str(pid), "-o", "command=")).split()
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read().decode("utf-8", "replace").rstrip("\0").split("\0")
    return []


def _ps(*options: str) -> list[str]:
    return subprocess.run(
        ["ps", *options], stdout=subprocess.PIPE, text=True, check=False
    ).stdout.splitlines()
