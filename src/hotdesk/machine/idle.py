#!/usr/bin/env python3
"""Knows whether a desk works, and when it is time to leave: one file, the standard library only.

idle.py run         look every half minute; warn in every terminal; then shut this machine down
idle.py look        one line of JSON: what works here just now

Idleness is judged by work, never by browsers: processor and GPU time of the desk's processes, programs in
the foreground of a terminal, executing Jupyter kernels, what is written and transferred, and keys typed.
On a local desk the supervisor looks (`Watch`), and what belongs to the desk is told by a mark in its
environment; on a rented machine it is everything but the system's own services.

The owner's limits lie in ~/.hotdesk/leave, as JSON in seconds from that file's own time, so that only
this machine's clock counts: idle_minutes (0: never), lease_seconds, stop_seconds. ~/.hotdesk/stay holds
the seconds for which nothing but `stop_seconds` ends the desk.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import pwd
import subprocess
import sys
import time
from typing import Any

LOOK_SECONDS = float(os.environ.get("HOTDESK_LOOK_SECONDS", "30"))
WARN_SECONDS = 300.0
CPU_SHARE = 0.05  # of one core, all processes of the desk together
BYTES_PER_SECOND = 20_000.0  # written by them; what a silent browser tab causes is below 2 kB/s
NET_BYTES_PER_SECOND = 50_000.0  # of a rented machine as a whole
DRIVER = os.environ.get("HOTDESK_RUN", "/run/hotdesk") + "/driver.json"  # how far driver.py is
GPU_PERCENT = 5.0
IDLE_MINUTES = 60.0  # of a rented machine that nobody told otherwise

_TICKS = float(os.sysconf("SC_CLK_TCK"))
#: In the foreground of a terminal, and yet no work: they show something, or wait for keys.
_SHOWING = frozenset(
    {
        "vi",
        "vim",
        "nvim",
        "nano",
        "emacs",
        "less",
        "more",
        "most",
        "man",
        "top",
        "htop",
        "btop",
        "atop",
        "nvtop",
        "nvitop",
        "glances",
        "watch",
        "tail",
        "tmux",
        "screen",
        "ssh",
        "mosh-client",
        "login",
        "gdb",
        "ncdu",
        "mc",
        "journalctl",
        "dmesg",
    }
)
#: Without a script to run, these wait for keys as well.
_WAITING = frozenset(
    {"bash", "zsh", "fish", "sh", "dash", "ksh", "python", "ipython", "R", "julia", "node", "su", "sudo"}
)


class Watch:
    """Looks at a desk again and again; `due` says when it is time to leave, and why."""

    def __init__(
        self,
        homes: list[str],
        *,
        mark: str = "",
        runtime: str = "",
        idle_minutes: float = 0.0,
        now: float | None = None,
        proc: str = "/proc",
    ) -> None:
        self.homes, self.mark, self.runtime, self.proc = homes, mark, runtime, proc
        self.idle_minutes = idle_minutes
        self.began = time.time() if now is None else now
        self.worked_at = self.began  # when work was last seen
        self._looked_at = 0.0
        self._mine: dict[tuple[int, str], bool] = {}
        self._used: dict[tuple[int, str], tuple[float, float]] = {}  # processor seconds, bytes
        self._net = 0.0
        self._kernels: dict[str, str] = {}
        self._warned = ""
        self._note = ""

    # ---- what works ------------------------------------------------------------------------------------

    def look(self, now: float | None = None) -> list[str]:
        """What works just now, in words; empty when nothing does."""
        now = time.time() if now is None else now
        seconds = now - self._looked_at if self._looked_at else 0.0
        found = [*self._processes(seconds), *self._kernels_at_work(), *self._gpu()]
        if not self.mark:
            if (rate := self._network(seconds)) > NET_BYTES_PER_SECOND:
                found.append(f"{rate / 1000:.0f} kB/s over the network")
            found += self._driver()
        found += self._typing(now)
        self._looked_at = now
        if found:
            self.worked_at = now
        return found

    def _processes(self, seconds: float) -> list[str]:
        used: dict[tuple[int, str], tuple[float, float]] = {}
        mine: dict[tuple[int, str], bool] = {}
        found, cpu, written, most = [], 0.0, 0.0, (0.0, "")
        self.terminals: dict[int, int] = {}
        for name in os.listdir(self.proc):
            if not name.isdigit():
                continue
            try:
                comm, rest = self._stat(name)
                key = (int(name), rest[19])
                mine[key] = self._mine[key] if key in self._mine else self._is_mine(name)
                if not mine[key]:
                    continue
                used[key] = (sum(map(int, rest[11:15])) / _TICKS, self._bytes(name))
                terminal, group, front = int(rest[4]), int(rest[2]), int(rest[5])
                if terminal:
                    self.terminals[int(name)] = terminal
                if terminal and group == front == int(name) and self._is_job(name, comm):
                    found.append(f"{comm} runs in a terminal")
                if rest[0] == "D":
                    found.append(f"{comm} waits for a disk")
                before = self._used.get(key)
                if comm in _SHOWING or (before is None and not seconds):
                    continue
                delta = used[key][0] - (before[0] if before else 0.0)
                cpu += delta
                most = max(most, (delta, comm))
                written += used[key][1] - (before[1] if before else 0.0)
            except (OSError, ValueError, IndexError):
                continue  # it ended meanwhile
        self._mine, self._used = mine, used
        if seconds > 0:
            if cpu / seconds > CPU_SHARE:
                found.append(f"{cpu / seconds:.2f} cores in use, most by {most[1]}")
            if written / seconds > BYTES_PER_SECOND:
                found.append(f"{written / seconds / 1000:.0f} kB/s written")
        return found

    def _stat(self, pid: str) -> tuple[str, list[str]]:
        text = self._text(f"{pid}/stat")
        comm, _, rest = text.partition("(")[2].rpartition(")")
        return comm.split(":")[0], rest.split()

    def _text(self, path: str) -> str:
        with open(f"{self.proc}/{path}", "rb") as file:
            return file.read().decode("utf-8", "replace")

    def _is_mine(self, pid: str) -> bool:
        """Whether a process belongs to the desk. Its Jupyter server does not: it works for others."""
        if int(pid) == os.getpid():
            return False
        if self.mark:
            if f"HOTDESK_MACHINE={self.mark}" not in self._text(f"{pid}/environ").split("\0"):
                return False
        else:
            group = self._text(f"{pid}/cgroup").strip().rpartition("\n")[2].rpartition("::")[2]
            service = group.startswith("/system.slice/") and ".service" in group
            # Without pam_systemd (a minimal image) whoever logs in stays in the ssh server's own group.
            theirs = any(name in group for name in ("hotdesk-jupyter", "/ssh.service", "/sshd.service"))
            if group in {"", "/", "/init.scope"} or (service and not theirs and not self._is_a_persons(pid)):
                return False
            if theirs and self._words(pid)[:1] in (["/usr/sbin/sshd"], ["sshd:"]):
                return False
        words = self._words(pid)
        return not any("jupyterlab" in w or "jupyter_server" in w or "jupyter-lab" in w for w in words[:6])

    def _is_a_persons(self, pid: str) -> bool:
        [uid] = [line.split()[1] for line in self._text(f"{pid}/status").splitlines() if line[:4] == "Uid:"]
        return 1000 <= int(uid) < 60000

    def _words(self, pid: str) -> list[str]:
        return self._text(f"{pid}/cmdline").split("\0")[:-1]

    def _bytes(self, pid: str) -> float:
        """What a process has written anywhere, and read from a real disk."""
        try:
            lines = dict(line.split(": ") for line in self._text(f"{pid}/io").splitlines())
            return float(lines["wchar"]) + float(lines["read_bytes"])
        except (OSError, ValueError, KeyError):
            return 0.0

    def _is_job(self, pid: str, comm: str) -> bool:
        words = self._words(pid)
        name = os.path.basename(words[0]).lstrip("-") if words else comm
        if {name, comm} & _SHOWING:
            return False
        name = name.rstrip("0123456789.")
        return name not in _WAITING or any(w in {"-c", "-m"} or not w.startswith("-") for w in words[1:])

    def _kernels_at_work(self) -> list[str]:
        """Kernels that execute something, or did since the last look, by what their server says."""
        found = []
        for server, kernels in self._servers():
            for kernel in kernels:
                id_, state, last = kernel["id"], kernel["execution_state"], kernel["last_activity"]
                if state in {"busy", "starting", "restarting"}:
                    found.append(f"a notebook's kernel is {state}")
                elif self._kernels.get(f"{server}{id_}", last) != last:
                    found.append("a notebook's kernel has answered")
                self._kernels[f"{server}{id_}"] = last
        return found

    def _servers(self) -> list[tuple[str, list[dict[str, str]]]]:
        import http.client

        folders = (
            [self.runtime] if self.runtime else [f"{h}/.local/share/jupyter/runtime" for h in self.homes]
        )
        found = []
        for path in (p for folder in folders for p in glob.glob(f"{glob.escape(folder)}/jpserver-*.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, http.client.HTTPException):
                with open(path) as file:
                    server = json.load(file)
                call = http.client.HTTPConnection("127.0.0.1", server["port"], timeout=5)
                try:
                    words = {"Authorization": f"token {server['token']}"}
                    call.request("GET", f"{server['base_url']}api/kernels", headers=words)
                    answer = call.getresponse()
                    if answer.status == 200:
                        found.append((path, json.loads(answer.read())))
                finally:
                    call.close()
        return found

    def _gpu(self) -> list[str]:
        ask = ["nvidia-smi", "--format=csv,noheader,nounits"]
        try:
            said = subprocess.run(
                [*ask, "--query-gpu=utilization.gpu"], capture_output=True, text=True, timeout=20, check=True
            )
            busiest = max(float(line) for line in said.stdout.split())
            if busiest < GPU_PERCENT:
                return []
            if self.mark:  # somebody else may use this computer's GPU
                said = subprocess.run(
                    [*ask, "--query-compute-apps=pid"], capture_output=True, text=True, timeout=20, check=True
                )
                users = {int(line) for line in said.stdout.split() if line.isdigit()}
                if not users & {pid for (pid, _), mine in self._mine.items() if mine}:
                    return []
            return [f"a GPU is {busiest:.0f} % in use"]
        except (OSError, ValueError, subprocess.SubprocessError):
            return []  # there is none, or it does not tell

    def _driver(self) -> list[str]:
        """An installation in a service of the system's, which a machine must not leave in the middle."""
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
        """A terminal's access time moves when a key is read from it (Linux: in steps of 8 seconds)."""
        last = 0.0
        for path in self._terminals():
            with contextlib.suppress(OSError):
                last = max(last, os.stat(path).st_atime)
        return ["somebody types"] if -8 <= now - last < LOOK_SECONDS + 8 and last > self.began else []

    def _terminals(self) -> set[str]:
        """The terminals of the desk's processes."""
        found = set()
        for number in set(getattr(self, "terminals", {}).values()):
            minor = (number & 0xFF) | ((number >> 12) & 0xFFF00)
            if 136 <= (number >> 8) & 0xFFF <= 143:
                found.add(f"/dev/pts/{minor + ((((number >> 8) & 0xFFF) - 136) << 8)}")
        return found

    # ---- when to leave ---------------------------------------------------------------------------------

    def due(self, now: float | None = None) -> tuple[float, str] | None:
        """When this machine is to end, and why; None while nothing says so."""
        now = time.time() if now is None else now
        limits, since = self._limits()
        stay, stay_since = self._stay()
        idle = self._number(limits.get("idle_minutes"), self.idle_minutes)
        ends: list[tuple[float, str]] = []
        if idle > 0:
            ends.append((self.worked_at + idle * 60, f"idle for {idle:g} minutes"))
        fresh = since >= self.began - 60  # what an image brought along was said of another machine
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
        """One look, and what follows from it: the reason to end now, or "" to go on."""
        now = time.time() if now is None else now
        due = self.due(now)
        if due is None and not self._note:
            return ""  # nothing can end this desk: nothing needs to be known
        self.look(now)
        due = self.due(now)
        if due and now >= due[0]:
            self._unwarn()
            return due[1]
        lead = WARN_SECONDS
        if due and due[1].startswith("idle"):
            lead = min(lead, (due[0] - self.worked_at) / 2)
        if due and now >= due[0] - lead:
            self._warn(due, now)
        elif self._note:
            self._unwarn()
            self.tell("hotdesk: somebody works here again; this desk stays.")
        return ""

    def _warn(self, due: tuple[float, str], now: float) -> None:
        clock = time.strftime("%H:%M:%S", time.localtime(due[0]))
        text = (
            f"hotdesk: this desk saves itself and stops at {clock} ({due[1]}). `hotdesk stay 2h` postpones."
        )
        if self._warned == text:
            return
        self._unwarn()
        self._warned = text
        self.tell(text)
        for home in self.homes[:1]:  # Jupyter's own list of files is where a notebook's user looks
            with contextlib.suppress(OSError):
                path = f"{home}/THIS-DESK-STOPS-AT-{clock.replace(':', '')}.txt"
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
        """A line in every terminal of the desk."""
        for path in self._terminals():
            with contextlib.suppress(OSError):
                fd = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
                try:
                    os.write(fd, f"\r\n\a{text}\r\n".encode())
                finally:
                    os.close(fd)


def homes() -> list[str]:
    """The folders where people keep their work."""
    return sorted({p.pw_dir for p in pwd.getpwall() if 1000 <= p.pw_uid < 60000 and os.path.isdir(p.pw_dir)})


def main(words: list[str]) -> int:
    watch = Watch(homes(), idle_minutes=IDLE_MINUTES)
    if words == ["look"]:
        watch.look()
        time.sleep(1.0)
        print(json.dumps({"works": watch.look(), "due": watch.due()}))
    elif words == ["run"]:
        while not (reason := watch.turn()):
            time.sleep(LOOK_SECONDS)
        print(f"hotdesk: {reason}", flush=True)
        subprocess.run(["shutdown", "-h", "now", f"hotdesk: {reason}"], check=False)
    else:
        print(__doc__)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
