"""List what would be lost with a desk's machine, before a person, or the end of a job, ends it.

Runs at the desk (`python3 - MARK RUNTIME`), as root if possible, with the standard library only. It uses the
same definition of work as the watch that ends idle desks, and adds what that watch does not need: programs
that have computed for long and are paused now, unsaved changes, and open programs that do nothing.
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

from hotdesk.guest.working import _SHOWING, TYPES, Process, Work, _names, _time

SECONDS = 2.0  # between the two samples
LONG_SECONDS, LONG_SHARE = 30.0, 0.2  # processor time, and its share of the lifetime, of a long computation
OPENED_SECONDS = 20.0  # for which opening a notebook may show as activity of its kernel
SAVED_SECONDS = 3.0  # code that ran this shortly before a save may be in it
_EDITORS = _names("vi vim nvim view vimdiff nano emacs hx micro")
#: Programs that are present in every login session.
_USUAL = _names(
    "sh bash rbash dash zsh fish ksh tcsh csh xonsh nu elvish tmux screen zellij ssh sshd sshd-session login",
    "su sudo systemd (sd-pam) dbus-daemon dbus-broker ssh-agent gpg-agent sftp-server cron agetty script",
    "node",
)
_RUNNER = "a job's runner"
_VIM_DIRTY = 1007  # offset of a swap file's flag for unsaved changes (vim: memline.c)


class Ending(Work):
    """Samples work and open programs over `SECONDS`."""

    def __init__(self, homes: list[str], **more: Any) -> None:
        super().__init__(homes, **more)
        self.silent: list[str] = []
        self.kernels: list[dict[str, Any]] = []
        self.unsaved: list[str] = []

    def report(self) -> dict[str, list[str]]:
        found = self.look()
        if found or self._may_work():
            time.sleep(SECONDS)
            found = self.look()
        found = [w for w in found if w != TYPES]
        below = self._below_prompts()
        found += self._long(below) if not found else []
        works = [*dict.fromkeys([*found, *self.silent])]
        rests = [o for o in self._open(below) if not any(w.startswith(o) for w in works)]
        unsaved = [*self.unsaved, *self._in_vim()]
        return {"works": works, "unsaved": [*dict.fromkeys(unsaved)], "open": [*dict.fromkeys(rests)]}

    # A job is named by its number, and not by what its runner (guest/runner.py) does in tmux.

    def called(self, pid: int) -> str:
        return _RUNNER if self._runs_a_job(pid) else super().called(pid)

    def _in_front(self) -> list[str]:
        return [work for work in super()._in_front() if not work.startswith(_RUNNER)]

    def _bytes(self, pid: str) -> float:
        return 0.0 if self._runs_a_job(pid) else super()._bytes(pid)

    def _runs_a_job(self, pid: str | int) -> bool:
        with contextlib.suppress(OSError):
            return any("/.hotdesk/runner-" in word for word in self._words(pid)[:3])
        return False

    def _may_work(self) -> bool:
        """Whether something is there that a second look could find at work."""
        there = (p for p in self.there.values() if p.state != "Z" and p.comm not in _SHOWING)
        return not self.mark or any(p.pid not in self.prompts for p in there)

    # ---- processes -------------------------------------------------------------------------------------

    def _below_prompts(self) -> set[int]:
        """Processes below Jupyter kernels and prompts, whose work is known by other means."""
        kernels = {p.pid for p in self.there.values() if self._kernel_of(p)}
        parents = {p.pid: p.parent for p in self.there.values()}
        return {pid for pid in parents if any(one in kernels | self.prompts for one in _line(pid, parents))}

    def _kernel_of(self, p: Process) -> str:
        """The kernel id of a process; "" if it is no kernel."""
        with contextlib.suppress(OSError):
            for word in self._words(p.pid):
                name = os.path.basename(word)
                if name.startswith("kernel-") and name.endswith(".json"):
                    return name[7:-5]
        return ""

    def _age(self, key: tuple[int, str]) -> float:
        up = float(self._text("uptime").split()[0])
        return max(0.0, up - int(key[1]) / float(os.sysconf("SC_CLK_TCK")))

    def _long(self, below: set[int]) -> list[str]:
        """Programs that have computed for long, or hold GPU memory, and may only be paused."""
        found = []
        holds = self._on_gpu()
        for key, p in self.there.items():
            if p.pid in below or p.comm in _USUAL or p.state == "Z":
                continue
            age = self._age(key)
            if p.own >= LONG_SECONDS and p.own >= LONG_SHARE * age:
                found.append(f"{self.called(p.pid)} has computed for {max(1, p.own // 60):.0f} min")
            elif p.pid in holds:
                found.append(f"{self.called(p.pid)} holds {holds[p.pid]} of a GPU's memory")
        return found

    def _on_gpu(self) -> dict[int, str]:
        ask = ["nvidia-smi", "--format=csv,noheader", "--query-compute-apps=pid,used_memory"]
        with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
            said = subprocess.run(ask, capture_output=True, text=True, timeout=20, check=True)
            rows = (line.split(",") for line in said.stdout.splitlines())
            return {int(pid): size.strip() for pid, size in rows}
        return {}

    def _in_vim(self) -> list[str]:
        """Files with unsaved changes in vim or a similar editor, by its swap file."""
        found = []
        for p in (
            p for p in self.there.values() if p.comm.partition(".")[0] in {"vi", "vim", "nvim", "view"}
        ):
            for fd in glob.glob(f"{self.proc}/{p.pid}/fd/*"):
                with contextlib.suppress(OSError):
                    name = os.path.basename(os.readlink(fd))
                    if name[-4:-1] == ".sw":
                        with open(fd, "rb") as file:
                            file.seek(_VIM_DIRTY)
                            if file.read(1) == b"\x55":
                                shown = name[:-4].rpartition("%")[2]
                                found.append(f"{shown.lstrip('.') or 'a new text'} in {p.comm}: not saved")
        return found

    def _open(self, below: set[int]) -> list[str]:
        """Idle programs, and kernels that wait for a cell."""
        found = []
        for key, p in sorted(self.there.items()):
            if p.state == "Z" or self._kernel_of(p) or p.comm in (_USUAL | _SHOWING) - _EDITORS:
                continue
            if p.comm == "rclone" and "mount" in self._words(p.pid)[1:2]:  # it goes with what it has mounted
                continue
            if p.pid in self.prompts:
                found.append(f"{self.called(p.pid)} in a terminal")
            elif p.pid not in below and not p.terminal and self._age(key) > 60:
                found.append(self.called(p.pid))
        idle = [k for k in self.kernels if k.get("execution_state") == "idle"]
        return found + [f"the kernel of {k.get('notebook') or 'no notebook'}" for k in idle]

    # ---- Jupyter ---------------------------------------------------------------------------------------

    def _servers(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """The kernels with their notebooks; also collects unsaved notebooks and servers that do not answer.

        Jupyter's REST interface does not know unsaved changes in a browser: it only tells when a kernel was
        last active, and when a file was last written.
        """
        found, self.kernels, self.unsaved, self.silent = [], [], [], []
        for path, server in self._written_down():
            kernels = self._ask(server, "api/kernels")
            if kernels is None:
                if os.path.exists(f"{self.proc}/{server.get('pid')}"):
                    self.silent.append(f"Jupyter at port {server.get('port')} does not answer")
                continue
            sessions = self._ask(server, "api/sessions") or []
            names = {s["kernel"]["id"]: s["path"] for s in sessions if s.get("kernel")}
            for kernel in kernels:
                kernel["notebook"] = names.get(kernel.get("id"), "")
                if kernel["notebook"] and kernel.get("execution_state") == "idle":
                    self._saved(server, kernel)
            self.kernels += kernels
            found.append((path, kernels))
        return found

    def _saved(self, server: dict[str, Any], kernel: dict[str, Any]) -> None:
        import urllib.parse

        ran = _time(kernel.get("last_activity", ""))
        began = [
            time.time() - self._age(k) for k, p in self.there.items() if self._kernel_of(p) == kernel["id"]
        ]
        if not began or ran < began[0] + OPENED_SECONDS:
            return  # it was opened only
        name = urllib.parse.quote(kernel["notebook"])
        file = self._ask(server, f"api/contents/{name}?content=0") or {}
        if file.get("type") == "notebook" and ran > _time(file.get("last_modified", "")) + SAVED_SECONDS:
            self.unsaved.append(f"{kernel['notebook']}: something ran in it after it was last saved")


def _line(pid: int, parents: dict[int, int]) -> list[int]:
    """A process and its ancestors."""
    line = [pid]
    while parents.get(line[-1], 0) not in {0, *line}:
        line.append(parents[line[-1]])
    return line


def main(mark: str = "", runtime: str = "") -> None:
    people = (p for p in pwd.getpwall() if 1000 <= p.pw_uid < 60000 and os.path.isdir(p.pw_dir))
    homes = [os.path.expanduser("~")] if mark else sorted({p.pw_dir for p in people})
    os.write(1, json.dumps(Ending(homes, mark=mark, runtime=runtime).report()).encode())


if __name__ == "__main__":
    main(*sys.argv[1:3])
