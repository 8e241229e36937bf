"""One light machine: `python -m tests.light.machine VOLUME ADDRESS MARK` serves ssh until it is ended.

It says "ready" once it listens. When its standard input ends, whoever started it has gone, and it goes too,
with every process that it has ever started: they carry its mark in their environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import asyncssh

from hotdesk.providers.local.runtime import ssh_session

ROOT = Path(__file__).parents[2]
#: On the machine's own address. A real machine's is 22, which only root may take.
PORT = int(os.environ.get("HOTDESK_LIGHT_PORT", "2022"))
MARK = "HOTDESK_MACHINE"  # as at a local desk
_JUPYTER = "HTTP/1.1 200 OK\r\nX-Hotdesk-Machine: {}\r\nContent-Length: 2\r\n\r\n{{}}"


def environment(volume: Path, mark: str) -> dict[str, str]:
    """What a process at the machine finds: nothing of this computer's own but its programs."""
    ssh = Path(shutil.which("ssh") or "/usr/bin/ssh").parent  # the one that knows the machines' port
    usual = ("/usr/local/bin", "/usr/bin", "/bin")
    path = os.pathsep.join([str(ssh), str(Path(sys.executable).parent), *usual])
    return {
        "HOME": str(volume / "home"),
        "PATH": path,
        "SHELL": str(volume / "etc" / "bash"),
        # The file that a rented machine has in /etc/profile.d (guest/cloud_init.py), if a test lays it down.
        "HOTDESK_START": str(volume / "etc" / "hotdesk.sh"),
        "USER": "ubuntu",
        "LANG": "C.UTF-8",
        "TMUX_TMPDIR": f"/tmp/hdl-{mark}",
        "HOTDESK_RUN": str(volume / "run"),
        MARK: mark,
    }


def own_ports(volume: Path, address: str) -> dict[str, str]:
    """What makes a process listen on the machine's own address, and not on all of this computer's."""
    library = volume.parent / "bind.so"
    if not library.exists():
        return {}
    return {"LD_PRELOAD": str(library), "HOTDESK_LIGHT_ADDRESS": address}


def marked(mark: str) -> list[int]:
    """Every process of that machine but ourselves."""
    found, words = [], f"{MARK}={mark}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if words in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def end_all(mark: str) -> None:
    """Cut the power: nothing of the machine runs on."""
    until = time.monotonic() + 10
    while (pids := marked(mark)) and time.monotonic() < until:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


class Door(asyncssh.SSHServer):
    def __init__(self, public_keys: Path, mark: str) -> None:
        self.public_keys, self.mark = public_keys, mark

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        known = {one.public_data for one in asyncssh.read_public_key_list(self.public_keys)}
        return username == "ubuntu" and key.public_data in known

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> object:
        """Jupyter's port is answered by ourselves."""

        async def answer(reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
            with contextlib.suppress(OSError, asyncssh.Error, asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(_JUPYTER.format(self.mark).encode())
            writer.close()

        return answer if dest_port == 8888 else False


async def serve(volume: Path, address: str, mark: str) -> None:
    env = environment(volume, mark) | own_ports(volume, address)

    async def talk(process: asyncssh.SSHServerProcess[bytes]) -> None:
        await ssh_session.serve(process, env, volume / "home")

    await asyncssh.create_server(
        lambda: Door(volume / "etc" / "authorized_keys", mark),
        host=address,
        port=PORT,
        server_host_keys=[str(volume / "etc" / "host_key")],
        process_factory=talk,
        encoding=None,
        line_editor=False,
        password_auth=False,
        kbdint_auth=False,
        gss_host=None,
    )
    print("ready", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    volume, address, mark = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

    def follow() -> None:
        sys.stdin.read()
        end_all(mark)
        os._exit(0)

    threading.Thread(target=follow, daemon=True).start()
    asyncio.run(serve(volume, address, mark))


if __name__ == "__main__":
    main()
