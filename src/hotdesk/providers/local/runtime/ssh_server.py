"""The desk's ssh server: on this computer's loopback only, for the desk's own key only."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import asyncssh

from hotdesk.core.ports import Keys
from hotdesk.providers.local.runtime import ssh_session

#: ssh clients announce the end of reading (eow@openssh.com) only to servers that identify as OpenSSH.
VERSION = "OpenSSH_compatible_hotdesk"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


async def open_door(
    keys: Keys, environment: Mapping[str, str], home: Path, ports: Sequence[int]
) -> asyncssh.SSHAcceptor:
    """Start the server on 127.0.0.1, on the first of these ports that is free, else on any. `0`: any."""

    async def serve(process: asyncssh.SSHServerProcess[bytes]) -> None:
        await ssh_session.serve(process, environment, home)

    def files(channel: asyncssh.SSHServerChannel[bytes]) -> asyncssh.SFTPServer:
        return _Files(channel, home)

    for candidate in (*filter(None, ports), 0):
        try:
            return await asyncssh.create_server(
                lambda: _Door(Path(keys.user_key_path + ".pub")),
                host="127.0.0.1",
                port=candidate,
                server_version=VERSION,
                server_host_keys=[keys.host_key_path],
                process_factory=serve,
                sftp_factory=files,
                allow_scp=False,  # the old scp protocol is served by the system's own scp, as a command
                encoding=None,
                line_editor=False,
                x11_forwarding=False,
                password_auth=False,
                kbdint_auth=False,
                host_based_auth=False,
                gss_host=None,
                login_timeout=20,
                keepalive_interval=30,
                keepalive_count_max=4,
                reuse_address=True,
            )
        except OSError:
            if candidate == 0:
                raise
    raise AssertionError


class _Door(asyncssh.SSHServer):
    def __init__(self, public_key: Path) -> None:
        self._public_key = public_key

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        with contextlib.suppress(OSError, asyncssh.KeyImportError):
            return key.public_data == asyncssh.read_public_key(self._public_key).public_data
        return False

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        if dest_host.lower() in _LOOPBACK:
            return True
        raise asyncssh.ChannelOpenError(
            asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "a desk forwards to its own loopback only"
        )

    def server_requested(self, listen_host: str, listen_port: int) -> bool:
        return listen_host.lower() in _LOOPBACK  # remote forwards listen on the loopback only


class _Files(asyncssh.SFTPServer):
    """SFTP in which relative paths begin at the desk's home."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], home: Path) -> None:
        super().__init__(channel)
        self._home = os.fsencode(home)
        self._channel = channel

    def map_path(self, path: bytes) -> bytes:
        if path == b"~" or path.startswith(b"~/"):
            path = path[2:]
        return os.path.join(self._home, path)  # noqa: PTH118 - bytes, as a client sends them

    def realpath(self, path: bytes) -> bytes:
        return os.path.realpath(self.map_path(path))

    def exit(self) -> None:
        # OpenSSH 9's scp counts a missing exit status of the sftp subsystem as a failure.
        with contextlib.suppress(OSError):
            self._channel.exit(0)
