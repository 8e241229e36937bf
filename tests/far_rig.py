"""A machine with an ssh login: the system's own sshd, on a port of the loopback, and a folder of its own."""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotdesk.connect import ssh
from hotdesk.connect.keys import desk_keys
from hotdesk.core.model import Instance, Survey
from hotdesk.core.ports import Access
from hotdesk.providers.ssh.hosts import enter
from hotdesk.providers.ssh.provider import Ssh
from hotdesk.providers.ssh.settings import Settings
from tests.local_rig import settled

SECONDS = 600.0  # a limit for a busy computer, not an expectation
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or ""

needs_sshd = pytest.mark.skipif(not SSHD, reason="sshd is not installed: apt-get install openssh-server")


class FarMachine:
    """One sshd; `cut` ends it with all its connections, `serve` begins it again."""

    def __init__(
        self, folder: Path, name: str = "far", listen: str = "127.0.0.1", *, account: bool = False
    ) -> None:
        self.folder, self.name, self.account = folder, name, account
        self.home = folder / "there"
        self.home.mkdir(parents=True)
        self.root = folder / "root"
        (self.root / ".ssh").mkdir(parents=True, mode=0o700)
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        for key in ("host", "mine"):
            self._keygen(key)
        (folder / "authorized").write_bytes((folder / "mine.pub").read_bytes())
        (folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress {listen}\nHostKey {folder}/host\nPidFile none\n"
            f"AuthorizedKeysFile {folder}/authorized .ssh/authorized_keys\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\n"
            "MaxStartups 100\nMaxSessions 100\nPermitRootLogin yes\nPrintMotd no\n"
        )
        (folder / "ssh_config").write_text(
            f"Host {name}\n  HostName 127.0.0.1\n  Port {self.port}\n  User {getpass.getuser()}\n"
            f"  IdentityFile {folder}/mine\n  IdentitiesOnly yes\n  HostKeyAlias {name}\n"
        )
        self.serve()

    def _keygen(self, key: str) -> None:
        (self.folder / key).unlink(missing_ok=True)
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / key)]
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)

    @property
    def fingerprint(self) -> str:
        argv = ["ssh-keygen", "-lf", str(self.folder / "host.pub")]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()[1]

    @property
    def address(self) -> dict[str, str]:
        return {"host": self.name, "folder": str(self.home / "hotdesk")}

    def serve(self) -> None:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True, mode=0o755)
        argv = [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        if self.account:  # a home folder of its own, in a mount namespace: needs root
            home = pwd.getpwuid(os.getuid()).pw_dir  # whatever HOME is in a test
            script = f"mount --bind {self.root} {home} && mount -t tmpfs none /dev/shm && "
            script += f"exec {' '.join(argv)}"
            argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
        with (self.folder / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        raise AssertionError((self.folder / "sshd.log").read_text())

    @property
    def memory(self) -> Path:
        """What it has in memory only, of an `account`."""
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}/root/dev/shm")

    def cut(self) -> None:
        """End sshd and every connection through it; what it has started stays."""
        if self._process is None:
            return
        for pid in [*self.connections(), self._process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def connections(self) -> list[int]:
        """The sshd processes below ours."""
        found, todo = [], [self._process.pid] if self._process else []
        while todo:
            parent = todo.pop()
            with contextlib.suppress(OSError):
                for word in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
                    with contextlib.suppress(OSError):
                        if Path(f"/proc/{word}/comm").read_text().startswith("sshd"):
                            found.append(int(word))
                            todo.append(int(word))
        return found

    def lets_in_nobody_else(self) -> None:
        """From now on only the key of this test opens it, whatever the account's own file says."""
        self.cut()
        settings = self.folder / "sshd_config"
        settings.write_text(settings.read_text().replace(" .ssh/authorized_keys", ""))
        self.serve()

    def new_key(self) -> None:
        """As after a new installation."""
        self.cut()
        self._keygen("host")
        self.serve()

    def on_path(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """This computer's ssh knows the machine by its name."""
        programs = self.folder / "bin"
        programs.mkdir(exist_ok=True)
        for name in ("ssh",):
            real = shutil.which(name)
            (programs / name).write_text(f'#!/bin/sh\nexec {real} -F {self.folder}/ssh_config "$@"\n')
            (programs / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")


@contextlib.contextmanager
def far_machine(folder: Path, name: str = "far") -> Iterator[FarMachine]:
    machine = FarMachine(folder, name)
    with pytest.MonkeyPatch.context() as patch:
        machine.on_path(patch)
        try:
            yield machine
        finally:
            machine.cut()


class FarRig:
    """The ssh provider of one state folder, and one machine that it knows."""

    def __init__(self, state: Path, machine: FarMachine) -> None:
        self.state, self.machine = state, machine
        self.cannot: dict[str, str] = {}
        self.free: frozenset[str] = frozenset()
        self.settings = Settings(poll_seconds=0.2)
        enter(state, self.settings, machine.address, machine.fingerprint)
        self.provider = self.again()

    def again(self) -> Ssh:
        return Ssh(self.state, functools.partial(desk_keys, self.state), self.settings)

    def settle(self) -> Survey:
        return settled(self, SECONDS, pause=0.1)

    def logs(self) -> str:
        logs = [*self.state.glob("places/machines/*/*"), *self.state.glob("local/*/*.log")]
        logs += self.machine.home.glob("hotdesk/of-*/local/*/*/*.log")
        return "\n".join(f"--- {p}\n{p.read_text(errors='replace')[-2000:]}" for p in logs if p.is_file())

    def access(self, machine: Instance) -> Access:
        return self.provider.access(machine)

    def run(self, machine: Instance, line: str) -> subprocess.CompletedProcess[bytes]:
        argv = ssh.question(self.access(machine), line)
        return subprocess.run(argv, capture_output=True, check=False, stdin=subprocess.DEVNULL)

    def write(self, machine: Instance, name: str, text: str) -> None:
        argv = ssh.question(self.access(machine), f"cat > {name}")
        subprocess.run(argv, input=text.encode(), check=True)

    def read(self, machine: Instance, name: str) -> str | None:
        done = self.run(machine, f"cat {name}")
        return done.stdout.decode() if done.returncode == 0 else None
