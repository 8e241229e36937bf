"""A bridge with a network of its own, a namespace and an address per machine, and the way out.

Everything is named after the rig, so that it can be taken away by name by whoever comes later.
"""

from __future__ import annotations

import ctypes
import ipaddress
import json
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.rig.commands import attempt, run

POOL = ipaddress.IPv4Network("10.192.0.0/11")  # private addresses that few networks use
METADATA = "169.254.169.254"
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_CLONE_NEWNET = 0x40000000


@dataclass
class Network:
    """One rig's network. `open` once, `close` at the end."""

    name: str
    subnet: ipaddress.IPv4Network = POOL
    taken: dict[str, int] = field(default_factory=dict)  # namespace -> number of its address
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def gateway(self) -> str:
        return str(self.subnet[1])

    def open(self) -> None:
        self.subnet = _free()
        run("ip", "link", "add", self.name, "type", "bridge")
        run("ip", "addr", "add", f"{self.gateway}/24", "dev", self.name)
        run("ip", "link", "set", self.name, "up")
        FORWARD.write_text("1")
        run(
            "nft",
            "-f",
            "-",
            given=f"""table ip {self.name} {{
  chain out {{
    type nat hook postrouting priority 100;
    ip saddr {self.subnet} oifname != "{self.name}" masquerade;
  }}
}}
""",
        )

    def close(self) -> None:
        attempt("nft", "delete", "table", "ip", self.name)
        attempt("ip", "link", "del", self.name)

    def plug(self, number: int) -> tuple[str, str]:
        """A namespace with an address of its own; both."""
        space, host = f"{self.name}n{number}", f"{self.name}v{number}"
        with self.lock:
            self.taken[space] = next(i for i in range(2, 254) if i not in self.taken.values())
            address = str(self.subnet[self.taken[space]])
        run("ip", "netns", "add", space)
        run("ip", "link", "add", host, "type", "veth", "peer", "name", "host0", "netns", space)
        run("ip", "link", "set", host, "master", self.name, "up")
        for words in (
            ("addr", "add", f"{address}/24", "dev", "host0"),
            ("addr", "add", f"{METADATA}/32", "dev", "lo"),  # where its metadata service will listen
            ("link", "set", "lo", "up"),
            ("link", "set", "host0", "up"),
            ("route", "add", "default", "via", self.gateway),
        ):
            run("ip", "-n", space, *words)
        return space, address

    def unplug(self, space: str) -> None:
        attempt("ip", "netns", "del", space)  # its end of the cable goes with it, and so the other
        with self.lock:
            self.taken.pop(space, None)


def listening_in(space: str, address: str, port: int) -> socket.socket:
    """A socket that listens inside a namespace and is served from here: it stays where it was made."""
    return _inside(space, lambda: socket.create_server((address, port)))


def _inside(space: str, do: Callable[[], socket.socket]) -> socket.socket:
    """In a thread of its own, because a namespace is entered by a thread and not by its process."""
    answers: list[socket.socket | Exception] = []

    def enter() -> None:
        fd = os.open(f"/run/netns/{space}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(fd, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"cannot enter {space}")
            answers.append(do())
        except OSError as error:
            answers.append(error)
        finally:
            os.close(fd)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if isinstance(answer := answers[0], Exception):
        raise answer
    return answer


def _free() -> ipaddress.IPv4Network:
    """A network that this computer has no route to, other than by default."""
    routes = [r["dst"] for r in json.loads(run("ip", "-j", "-4", "route")) if r["dst"] != "default"]
    known = [ipaddress.IPv4Network(r) for r in routes]
    candidates = list(POOL.subnets(new_prefix=24))
    first = os.getpid() % len(candidates)  # two rigs that start together seldom want the same one
    for network in candidates[first:] + candidates[:first]:
        if not any(network.overlaps(k) for k in known):
            return network
    raise RuntimeError("every private network of the pool is in use")
