"""Detect work at a desk: one definition, for everything that may end its machine. Standard library only.

Work is what the processes of the desk use (processor and GPU time, what they write, read and transfer), jobs
of hotdesk, programs in the foreground of a terminal, executing Jupyter kernels, and keys typed; never an open
browser tab.

A program that reads keys is a prompt, whatever its name, and counts as work only by its resource use. It is
recognized by its terminal: the foreground has left line mode or echo, as an editor, a pager and every
readline do until they run something (termios(3)), or is in a read of the terminal (/proc/PID/syscall,
proc(5)).

Processes of a local desk are identified by a mark in the environment and by descent; on a rented machine, all
but the system's services count. Jupyter's server itself is no work. This file is inlined into the programs
that import it (`one_file.source`).
"""

from __future__ import annotations

import calendar
import collections
import contextlib
import fcntl
import glob
import json
import os
import subprocess
import termios
import time
from typing import Any

LOOK_SECONDS = float(os.environ.get("HOTDESK_LOOK_SECONDS", "30"))
CPU_SHARE = 0.05  # of one core, all processes of the desk together
BYTES_PER_SECOND = 20_000.0  # written and read by them; an inactive browser tab causes less than 2 kB/s
NET_BYTES_PER_SECOND = 50_000.0  # of a rented machine as a whole
RUN = os.environ.get("HOTDESK_RUN", "/run/hotdesk")
DRIVER = RUN + "/driver.json"  # how far driver.py is
GPU_PERCENT = 5.0
STARTING_SECONDS = 180.0  # of a kernel
TYPES = "somebody types"

_TICKS = float(os.sysconf("SC_CLK_TCK"))


def _names(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


#: They only display something, so their resource use is no work. (sshd writes others' output.)
_SHOWING = _names(
    "vi vim nvim nano emacs less more man top htop btop nvtop nvitop gpustat glances watch tail",
    "tmux screen zellij ssh sshd sshd-session mosh-client mosh-server login gdb ncdu mc ranger journalctl",
    "dmesg nvidia-smi tensorboard iostat vmstat",
)
# Where the terminal does not tell, names decide: of prompts, of programs that wait for keys unless they get a
# script, of options with a value, and of arguments that make another program a prompt.
_PROMPTS = _names("psql mysql sqlite sftp hx micro view vimdiff crontab su byobu jupyter-console")
_SHELLS = _names(
    "bash rbash zsh fish sh dash ksh tcsh csh xonsh nu elvish pwsh python ipython R julia node cat"
)
_VALUED = _names("-X -W -t -p --rcfile --init-file")
_ASKING = _names("-i -it -s pdb IPython code exec attach logs log diff show commit ssm login")
_READ = {"0", "63"}  # the number of read(2) on x86-64 and on arm64; other calls with it never wait


#: A process of the desk. `terminal`: its device number, 0 for none. `front`: the process group in the
#: foreground of that terminal. `own`: its processor seconds; `reaped`: those of children it has waited for.
Process = collections.namedtuple("Process", "pid parent group terminal front state comm own reaped bytes")


class Work:
    """Samples the work at a desk; resource use is measured between two samples."""

    def __init__(
        self,
        homes: list[str],
        *,
        mark: str = "",
        runtime: str = "",
        now: float | None = None,
        proc: str = "/proc",
    ) -> None:
        self.homes, self.mark, self.runtime, self.proc = homes, mark, runtime, proc
        self.began = time.time() if now is None else now
        self.worked_at = self.began  # when work was last seen
        self.looked_at = 0.0
        self._mine: dict[tuple[int, str], bool] = {}  # by process and its start
        self.there: dict[tuple[int, str], Process] = {}
        self.prompts: set[int] = set()  # processes in the foreground of a terminal that are no work
        self._net = 0.0
        self._kernels: dict[str, str] = {}

    def look(self, now: float | None = None, gpu: bool = True) -> list[str]:
        """Describe the work going on now; empty without any. Asking GPUs wakes them."""
        now = time.time() if now is None else now
        # A clock that was set back must not keep a desk up for that long.
        self.began, self.worked_at = min(self.began, now), min(self.worked_at, now)
        seconds = now - self.looked_at if self.looked_at else 0.0
        found = [*self._processes(seconds), *self._kernels_at_work(now), *(self._gpu() if gpu else ())]
        if not self.mark:
            if (rate := self._network(seconds)) > NET_BYTES_PER_SECOND:
                found.append(f"{rate / 1000:.0f} kB/s over the network")
            found += self._driver()
        found += self._typing(now)
        self.looked_at = now
        if found:
            self.worked_at = now
        return found

    def _processes(self, seconds: float) -> list[str]:
        every: dict[tuple[int, str], Process] = {}
        mine: dict[tuple[int, str], bool] = {}
        for name in os.listdir(self.proc):
            if not name.isdigit():
                continue
            try:
                comm, rest = self._stat(name)
                key = (int(name), rest[19])
                mine[key] = self._mine[key] if key in self._mine else self._is_mine(name)
                if self.mark or mine[key]:
                    own, reaped = (sum(map(int, rest[n : n + 2])) / _TICKS for n in (11, 13))
                    ids = [int(name), *(int(rest[n]) for n in (1, 2, 4, 5))]
                    every[key] = Process._make([*ids, rest[0], comm, own, reaped, self._bytes(name)])
            except (OSError, ValueError, IndexError):
                continue  # it has ended
        there = self._below(every, mine) if self.mark else every
        servers = {server.get("pid") for _, server in self._written_down()}
        there = {k: p for k, p in there.items() if p.pid not in servers or not self._serves(p.pid)}
        before, self.there, self._mine = self.there, there, mine
        found = [*self._jobs(), *self._in_front()]
        found += [f"{p.comm} waits for a disk" for p in there.values() if p.state == "D"]
        return found + (self._used(before, seconds) if seconds > 0 else [])

    def _below(
        self, every: dict[tuple[int, str], Process], mine: dict[tuple[int, str], bool]
    ) -> dict[tuple[int, str], Process]:
        """The processes with the mark and their descendants, also those of whatever started or adopted them.

        A process may overwrite its environment with its title, and outlive its parent.
        """
        known = {pid for (pid, _), marked in mine.items() if marked}
        parents = {p.pid: p.parent for p in every.values()}
        above = {parents.get(pid, 1) for pid in known} - known - {0, 1}
        for key, p in every.items():
            line = [p.pid]
            while line[-1] not in known | above and line[-1] in parents:
                line.append(parents[line[-1]])
            mine[key] = p.pid not in above and line[-1] in known | above and p.pid != os.getpid()
        return {key: p for key, p in every.items() if mine[key]}

    def _serves(self, pid: int) -> bool:
        """Whether the process is the Jupyter server that recorded its id, and not a later process."""
        with contextlib.suppress(OSError):
            return "jupyter" in " ".join(self._words(pid)[:6])
        return False

    def _used(self, before: dict[tuple[int, str], Process], seconds: float) -> list[str]:
        """Resource use of the processes since the previous sample."""
        found, cpu, moved, most = [], 0.0, 0.0, (0.0, 0)
        known: dict[int, float] = {}  # by parent: seconds of ended children, now in its `reaped`
        for key, p in before.items():
            if key not in self.there:
                known[p.parent] = known.get(p.parent, 0.0) + p.own + p.reaped
        for key, p in self.there.items():
            if p.comm in _SHOWING:
                continue
            old = before.get(key)
            own, reaped, bytes_ = (old.own, old.reaped, old.bytes) if old else (0.0, 0.0, 0.0)
            used = p.own - own + max(0.0, p.reaped - reaped - known.get(p.pid, 0.0))
            cpu, moved, most = cpu + used, moved + p.bytes - bytes_, max(most, (used, p.pid))
        if cpu / seconds > CPU_SHARE:
            found.append(f"{cpu / seconds:.2f} cores in use, most by {self.called(most[1])}")
        if moved / seconds > BYTES_PER_SECOND:
            found.append(f"{moved / seconds / 1000:.0f} kB/s written or read")
        return found

    def _jobs(self) -> list[str]:
        """Running jobs of hotdesk, whose runners hold a lock (guest/runner.py); they always count as work."""
        found = []
        for home in self.homes:
            for path in glob.glob(f"{glob.escape(home)}/.hotdesk/jobs/*/run.lock"):
                with contextlib.suppress(OSError), open(path) as lock:
                    try:
                        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    except BlockingIOError:
                        found.append(f"job {path.split('/')[-2].partition('-')[0]} runs")
        return found

    def _in_front(self) -> list[str]:
        """Programs in the foreground of terminals that do not read keys."""
        groups: dict[tuple[int, int], list[Process]] = {}
        for p in self.there.values():
            if p.terminal and p.group == p.front and p.state != "Z":
                groups.setdefault((p.terminal, p.front), []).append(p)
        found, self.prompts = [], set()
        for members in groups.values():
            leader = min(members, key=lambda p: (p.pid != p.group, p.pid))
            if self._is_job(str(leader.pid), leader.comm, self._reads_keys(members)):
                found.append(f"{self.called(leader.pid)} runs in a terminal")
            else:
                self.prompts.add(leader.pid)
        return found

    def _reads_keys(self, members: list[Process]) -> bool | None:
        """Whether a terminal's foreground is a prompt; None if that cannot be determined."""
        flags = next((f for f in map(self._flags, members) if f is not None), None)
        if flags is None:
            return None
        if not flags & termios.ICANON or not flags & termios.ECHO:
            return True
        waits = [self._waits(p) for p in members]
        return True if True in waits else None if None in waits else False

    def _flags(self, p: Process) -> int | None:
        """The local modes of its terminal, whose name may mean another one inside a container."""
        for path in [*(f"{self.proc}/{p.pid}/fd/{n}" for n in range(3)), *_terminal(p.terminal)]:
            with contextlib.suppress(OSError, termios.error):
                if os.stat(path).st_rdev == _device(p.terminal):
                    fd = os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
                    try:
                        return int(termios.tcgetattr(fd)[3])
                    finally:
                        os.close(fd)
        return None

    def _waits(self, p: Process) -> bool | None:
        """Whether a process is in a read of its terminal; None if the kernel denies the answer."""
        try:
            call = self._text(f"{p.pid}/syscall").split()
            if call[0] not in _READ:
                return False
            return os.stat(f"{self.proc}/{p.pid}/fd/{int(call[1], 16)}").st_rdev == _device(p.terminal)
        except (OSError, ValueError, IndexError):
            return None

    def called(self, pid: int) -> str:
        """The name of a process, for a message."""
        try:
            words = self._words(pid)
            return " ".join(" ".join([os.path.basename(words[0]), *words[1:]]).split())[:60]
        except (OSError, IndexError):
            return "a process"

    def _stat(self, pid: str) -> tuple[str, list[str]]:
        text = self._text(f"{pid}/stat")
        comm, _, rest = text.partition("(")[2].rpartition(")")
        return comm.split(":")[0], rest.split()

    def _text(self, path: str) -> str:
        with open(f"{self.proc}/{path}", "rb") as file:
            return file.read().decode("utf-8", "replace")

    def _is_mine(self, pid: str) -> bool:
        """Whether a process belongs to the desk, by itself."""
        if int(pid) == os.getpid():
            return False
        if self.mark:
            return f"HOTDESK_MACHINE={self.mark}" in self._text(f"{pid}/environ").split("\0")
        group = self._text(f"{pid}/cgroup").strip().rpartition("\n")[2].rpartition("::")[2]
        service = group.startswith("/system.slice/") and ".service" in group
        # Without pam_systemd (a minimal image) logins stay in the ssh server's own control group.
        theirs = any(name in group for name in ("hotdesk-jupyter", "/ssh.service", "/sshd.service"))
        if group in {"", "/", "/init.scope"} or (service and not theirs and not self._is_a_persons(pid)):
            return False
        return not (theirs and self._words(pid)[:1] in (["/usr/sbin/sshd"], ["sshd:"]))

    def _is_a_persons(self, pid: str) -> bool:
        [uid] = [line.split()[1] for line in self._text(f"{pid}/status").splitlines() if line[:4] == "Uid:"]
        return 1000 <= int(uid) < 60000

    def _words(self, pid: str | int) -> list[str]:
        return self._text(f"{pid}/cmdline").split("\0")[:-1]

    def _bytes(self, pid: str) -> float:
        """Bytes that a process has written anywhere, and read from a real disk.

        On a local desk, where network use is not measured, all reads count: an upload would show nowhere
        else.
        """
        try:
            lines = dict(line.split(": ") for line in self._text(f"{pid}/io").splitlines())
            return float(lines["wchar"]) + float(lines["rchar" if self.mark else "read_bytes"])
        except (OSError, ValueError, KeyError):
            return 0.0

    def _is_job(self, pid: str, comm: str, reads: bool | None = None) -> bool:
        """Whether a terminal's foreground works. `reads`: whether it reads keys; None: go by its name."""
        words = self._words(pid) or [comm]
        if words[1:] and os.path.basename(words[1]) == comm:
            words = words[1:]  # a script that was run as a program
        name = os.path.basename(words[0]).lstrip("-")
        if reads or {name, comm, name.rstrip("0123456789.")} & _SHOWING or "logs" in words[1:3]:
            return False
        if reads is False:
            return True
        name = name.rstrip("0123456789.")
        if (
            name in _PROMPTS
            or _ASKING & set(words[1:4])
            or (name == "sudo" and words[-1] in _SHELLS | _PROMPTS)
        ):
            return False
        if name not in _SHELLS:
            return True
        given = [w for n, w in enumerate(words) if n and words[n - 1] not in _VALUED]
        return any(w in {"-c", "-m"} or not w.startswith("-") for w in given)

    def _kernels_at_work(self, now: float) -> list[str]:
        """Kernels that execute something, or did since the last sample, according to their server.

        A kernel without a client stays "starting" for ever, which counts only for `STARTING_SECONDS`.
        """
        found = []
        for server, kernels in self._servers():
            for kernel in kernels:
                state, last = kernel.get("execution_state"), kernel.get("last_activity", "")
                begins = state in {"starting", "restarting"} and now - _time(last) < STARTING_SECONDS
                known = f"{server}{kernel.get('id')}"
                if state == "busy" or begins:
                    found.append(f"{kernel.get('notebook') or 'a notebook'}'s kernel is {state}")
                elif self._kernels.get(known, last) != last:
                    found.append("a kernel has answered")
                self._kernels[known] = last
        return found

    def _servers(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """The kernels of each Jupyter server that answers."""
        told = ((path, self._ask(server, "api/kernels")) for path, server in self._written_down())
        return [(path, kernels) for path, kernels in told if kernels is not None]

    def _written_down(self) -> list[tuple[str, dict[str, Any]]]:
        """The connection files of Jupyter servers; some may have ended."""
        homes = [f"{home}/.local/share/jupyter/runtime" for home in self.homes]
        found = []
        for folder in [self.runtime] if self.runtime else homes:
            for path in glob.glob(f"{glob.escape(folder)}/jpserver-*.json"):
                with contextlib.suppress(OSError, ValueError), open(path) as file:
                    found.append((path, json.load(file)))
        return found

    def _ask(self, server: dict[str, Any], what: str) -> Any:
        """A Jupyter server's answer; None without one."""
        import http.client

        with contextlib.suppress(OSError, ValueError, KeyError, http.client.HTTPException):
            call = http.client.HTTPConnection("127.0.0.1", server["port"], timeout=5)
            try:
                words = {"Authorization": f"token {server['token']}"}
                call.request("GET", f"{server['base_url']}{what}", headers=words)
                answer = call.getresponse()
                if answer.status == 200:
                    return json.loads(answer.read())
            finally:
                call.close()
        return None

    def _gpu(self) -> list[str]:
        ask = ["nvidia-smi", "--format=csv,noheader,nounits"]
        try:
            said = subprocess.run(
                [*ask, "--query-gpu=utilization.gpu"], capture_output=True, text=True, timeout=20, check=True
            )
            busiest = max(float(line) for line in said.stdout.split())
            if busiest < GPU_PERCENT:
                return []
            if self.mark:  # others may use this computer's GPU
                said = subprocess.run(
                    [*ask, "--query-compute-apps=pid"], capture_output=True, text=True, timeout=20, check=True
                )
                users = {int(line) for line in said.stdout.split() if line.isdigit()}
                if not users & {pid for (pid, _), mine in self._mine.items() if mine}:
                    return []
            return [f"a GPU is {busiest:.0f} % in use"]
        except (OSError, ValueError, subprocess.SubprocessError):
            return []  # no GPU, or no answer

    def _driver(self) -> list[str]:
        """A running driver installation, during which the machine must not end."""
        with contextlib.suppress(OSError, ValueError, KeyError), open(DRIVER) as file:
            told = json.load(file)
            if told["state"] == "installing" and "driver.py" in self._text(f"{told['pid']}/cmdline"):
                return ["the NVIDIA driver is being installed"]
        return []

    def _network(self, seconds: float) -> float:
        total = 0.0
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in self._text("net/dev").splitlines()[2:]:
                name, _, numbers = line.partition(":")
                if name.strip() != "lo":
                    total += float(numbers.split()[0]) + float(numbers.split()[8])
        before, self._net = self._net, total
        return (total - before) / seconds if seconds > 0 and before else 0.0

    def _typing(self, now: float) -> list[str]:
        """Terminals with recent keys: reading one updates the access time (Linux: in steps of 8 seconds)."""
        last = 0.0
        for path in self._terminals():
            with contextlib.suppress(OSError):
                last = max(last, os.stat(path).st_atime)
        return [TYPES] if -8 <= now - last < LOOK_SECONDS + 8 and last > self.began else []

    def _terminals(self) -> set[str]:
        """The terminals of the desk's processes."""
        return {path for p in self.there.values() for path in _terminal(p.terminal)}


def _device(number: int) -> int:
    """Convert a terminal's number in /proc/PID/stat to that of stat(2) (Linux: new_encode_dev)."""
    return os.makedev((number >> 8) & 0xFFF, (number & 0xFF) | ((number >> 12) & 0xFFF00))


def _terminal(number: int) -> list[str]:
    """The path of a pseudo-terminal."""
    device = _device(number)
    series = os.major(device) - 136
    return [f"/dev/pts/{os.minor(device) + (series << 20)}"] if 0 <= series < 8 else []


def _time(text: str) -> float:
    """Parse a UTC time of Jupyter; 0 if it is invalid."""
    with contextlib.suppress(ValueError):
        return float(calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")))
    return 0.0
