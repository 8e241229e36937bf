"""The instance metadata service of one machine, at the well-known address inside its namespace.

Version 2: every question carries a token. Version 1 is answered to cloud-init alone, which finds no firmware
in a container to tell it that this is EC2 and therefore does not ask for one.
"""

from __future__ import annotations

import secrets
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import Any

VERSIONS = ("2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "latest")
CLOUD_INIT = ("Cloud-Init/", "python-requests/")  # it says the latter when it asks for user data


class Service(ThreadingMixIn, HTTPServer):
    """Answers on a socket that is listening already."""

    daemon_threads = True

    def __init__(self, listening: socket.socket, machine: dict[str, Any], address: str) -> None:
        super().__init__(listening.getsockname(), _Answers, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_name, self.server_port = listening.getsockname()[:2]
        self.tree = tree(machine, address)
        self.user_data: bytes = machine["user_data"]
        self.tokens: set[str] = set()
        threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class _Answers(BaseHTTPRequestHandler):
    server: Service

    def log_message(self, *_: Any) -> None: ...

    def do_PUT(self) -> None:
        if self.path != "/latest/api/token" or not self.headers.get("X-aws-ec2-metadata-token-ttl-seconds"):
            self._say(400, b"")
            return
        token = secrets.token_urlsafe(32)
        self.server.tokens.add(token)
        self._say(200, token.encode())

    def do_GET(self) -> None:
        old = self.headers.get("User-Agent", "").startswith(CLOUD_INIT)
        if self.headers.get("X-aws-ec2-metadata-token") not in self.server.tokens and not old:
            self._say(401, b"")
            return
        version, _, path = self.path.lstrip("/").partition("/")
        if not version:
            self._say(200, "\n".join(VERSIONS).encode())
        elif version not in VERSIONS:
            self._say(404, b"")
        elif path.rstrip("/") == "user-data":
            self._say(200 if self.server.user_data else 404, self.server.user_data)
        elif path.startswith("meta-data"):
            told = find(self.server.tree, path.removeprefix("meta-data"))
            self._say(404 if told is None else 200, (told or "").encode())
        elif not path:
            self._say(200, b"meta-data\nuser-data")
        else:
            self._say(404, b"")

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def tree(machine: dict[str, Any], address: str) -> dict[str, Any]:
    """What a machine is told of itself, as EC2 arranges it."""
    host = f"ip-{machine['private_ip'].replace('.', '-')}.ec2.internal"
    told: dict[str, Any] = {
        "ami-id": machine["image_id"],
        "hostname": host,
        "instance-id": machine["id"],
        "instance-life-cycle": "spot" if machine["market"] == "spot" else "on-demand",
        "instance-type": machine["type"],
        "local-hostname": host,
        "local-ipv4": machine["private_ip"],
        "mac": machine["mac"],
        "placement": {"availability-zone": machine["zone"], "region": machine["region"]},
        "public-ipv4": address,
        "spot": {},
    }
    if machine["public_key"]:
        told["public-keys"] = {"0": {"openssh-key": machine["public_key"]}}
    return told


def find(tree: dict[str, Any], path: str) -> str | None:
    """The answer at a path: a value, a listing of a folder, or None."""
    here: Any = tree
    for part in path.strip("/").split("/"):
        if part:
            here = here.get(part) if isinstance(here, dict) else None
    if not isinstance(here, dict):
        return None if here is None else str(here)
    if path.strip("/") == "public-keys":  # its listing is like no other
        return "\n".join(f"{number}=hotdesk" for number in here)
    return "\n".join(f"{name}/" if isinstance(below, dict) else name for name, below in here.items())
