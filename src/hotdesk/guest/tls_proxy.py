#!/usr/bin/env python3
"""Serve Jupyter on a machine's outward address with TLS: one file, standard library only, run as root.

public.py on NAME PORT    a certificate (kept once made), a service that listens; prints both as JSON
public.py off             no service any more; the certificate stays
public.py serve PORT      (inside) TLS on the outward address, handed on to the same port of the loopback

Jupyter itself still listens on the loopback without TLS, for the ssh tunnel. Its password is required on both
ways. The service drops root after reading its private key.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time

FOLDER = "/opt/hotdesk/tls"
UNIT = "/etc/systemd/system/hotdesk-public.service"
DAYS = 800  # browsers accept at most 825
CONNECTIONS = 256
HANDSHAKE_SECONDS = 10.0

_UNIT = """\
[Unit]
Description=hotdesk: Jupyter on the outward address, with TLS
Wants=network-online.target
After=network-online.target

[Service]
ExecStart=/usr/bin/python3 /opt/hotdesk/public.py serve {port}
Restart=on-failure
RestartSec=2

[Install]
WantedBy=multi-user.target
"""


def outward() -> str:
    """This machine's address towards the internet; connects a UDP socket, which sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # an address reserved for documentation (RFC 5737)
        return str(probe.getsockname()[0])


def certificate(name: str, folder: str = FOLDER) -> str:
    """The certificate as PEM; created if there is none, or if it expires within a month."""
    key, public = f"{folder}/key.pem", f"{folder}/certificate.pem"
    os.makedirs(folder, mode=0o700, exist_ok=True)
    lasts = ["openssl", "x509", "-in", public, "-noout", "-checkend", str(30 * 86400)]
    whole = os.path.exists(key) and os.path.exists(public)
    if not whole or subprocess.run(lasts, capture_output=True).returncode != 0:
        words = [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", str(DAYS), "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"),
            *("-keyout", f"{key}.new", "-out", f"{public}.new"),
        ]
        before = os.umask(0o077)
        try:
            subprocess.run(words, check=True, capture_output=True)
        finally:
            os.umask(before)
        os.replace(f"{public}.new", public)
        os.replace(f"{key}.new", key)
    with open(public) as file:
        return file.read()


def fingerprint(pem: str) -> str:
    """SHA-256 over the certificate, as browsers show it."""
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
    return ":".join(digest[i : i + 2] for i in range(0, 64, 2))


async def serve(address: str, port: int, behind: tuple[str, int], folder: str = FOLDER) -> None:
    """Serve TLS until ended, forwarding to the port behind."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(f"{folder}/certificate.pem", f"{folder}/key.pem")
    room = asyncio.Semaphore(CONNECTIONS)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with room:
            try:
                inner = await asyncio.open_connection(*behind)
            except OSError:  # it is starting
                writer.close()
                return
            ways = [asyncio.create_task(_hand_on(*way)) for way in ((reader, inner[1]), (inner[0], writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for end in (writer, inner[1]):
                end.close()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    server = await asyncio.start_server(
        talk, address, port, ssl=context, ssl_handshake_timeout=HANDSHAKE_SECONDS
    )
    _become_nobody()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with server:
        await ended.wait()


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, ssl.SSLError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


def wait_for_it(address: str, port: int, seconds: float = 10.0) -> None:
    """Wait until something listens there. Raises OSError after `seconds`."""
    until = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((address, port), timeout=2).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def _become_nobody() -> None:
    """Drop root, which is only needed to read the key and to bind the port."""
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)


def _systemctl(*words: str) -> None:
    subprocess.run(["systemctl", *words], check=True, capture_output=True)


def main(words: list[str]) -> int:
    if words[:1] == ["on"] and len(words) == 3:
        name, port = words[1], int(words[2])
        if shutil.which("openssl") is None:
            print("openssl is not installed here, and a certificate cannot be made", file=sys.stderr)
            return 1
        pem = certificate(name)
        with open(UNIT, "w") as file:
            file.write(_UNIT.format(port=port))
        _systemctl("daemon-reload")
        _systemctl("enable", "hotdesk-public.service")
        _systemctl("restart", "hotdesk-public.service")
        wait_for_it(outward(), port)
        print(json.dumps({"certificate": pem, "fingerprint": fingerprint(pem)}))
    elif words == ["off"]:
        if os.path.exists(UNIT):
            _systemctl("disable", "--now", "hotdesk-public.service")
            os.unlink(UNIT)
            _systemctl("daemon-reload")
    elif words[:1] == ["serve"] and len(words) == 2:
        asyncio.run(serve(outward(), int(words[1]), ("127.0.0.1", int(words[1]))))
    else:
        print(__doc__)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
