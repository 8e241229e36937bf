"""A wide area network for tests, in one process and one private network namespace. Needs root on Linux.

    unshare --net --mount --kill-child python -m tests.wan plan.json -- command…

runs a command in a namespace where every host of the plan is reached through a TUN device: {"HOST":
{"rtt_ms": 60, "loss": 0.1, "mbit": 100}}, or {"HOST": null} for a black hole. `mbit` is the rate of each
direction, with a queue of 100 ms before it, beyond which packets are lost. The namespace has no name, so
nothing is left when its processes end, however they end.

A packet that leaves through the device is held for half the round trip, then comes back with source and
destination exchanged, so that this computer answers itself: no checksum changes, and both directions pass.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import heapq
import ipaddress
import json
import os
import random
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE, FIRST = "10.77.0.1", ipaddress.IPv4Address("10.78.0.1")
_TUNSETIFF, _TUN, _NO_INFO = 0x400454CA, 0x0001, 0x1000
_MS_BIND = 4096
_QUEUE_SECONDS = 0.1


def why_not() -> str:
    """Why there can be no such network here; "" when there can."""
    if sys.platform != "linux":
        return "a TUN device and namespaces need Linux"
    if os.geteuid() != 0:
        return "making a network namespace needs root"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "/dev/net/tun is not there"
    for tool in ("unshare", "ip"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    try:
        run({"here.example": {"rtt_ms": 1}}, ["true"], dict(os.environ))
    except (OSError, subprocess.SubprocessError) as error:
        told = getattr(error, "stderr", "") or str(error)
        return f"no such network can be made: {str(told).strip().splitlines()[-1:]}"
    return ""


def run(
    plan: dict[str, dict[str, float] | None], command: list[str], env: dict[str, str], seconds: float = 120
) -> str:
    """What the command prints inside such a network. Raises CalledProcessError when it fails."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.json"
        path.write_text(json.dumps(plan))
        words = [
            "unshare",
            "--net",
            "--mount",
            "--kill-child",
            sys.executable,
            "-m",
            "tests.wan",
            str(path),
            "--",
        ]
        done = subprocess.run(
            [*words, *command],
            capture_output=True,
            text=True,
            timeout=seconds,
            env=env,
            cwd=Path(__file__).parents[1],
        )
        done.check_returncode()
        return done.stdout


class Wan:
    def __init__(self, plan: dict[str, dict[str, float] | None]) -> None:
        self.plan = {str(FIRST + n): (name, link) for n, (name, link) in enumerate(plan.items())}
        self.seeded = random.Random(5)
        self.waiting: list[tuple[float, int, bytes]] = []
        self.count = 0
        self.free: dict[bytes, float] = {}  # by direction, its address and port: when its line is free again
        self.tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.tun, _TUNSETIFF, struct.pack("16sH", b"wan0", _TUN | _NO_INFO))
        for words in (
            "link set lo up",
            f"addr add {HERE}/32 dev wan0",
            "link set wan0 mtu 9000 up",  # fewer packets: each is carried by this program
            "route add 10.78.0.0/16 dev wan0",
        ):
            subprocess.run(["ip", *words.split()], check=True)
        self.server = socket.create_server(("", 443), backlog=1024)
        self.server.setblocking(False)

    def hosts(self) -> str:
        return "127.0.0.1 localhost\n" + "".join(
            f"{address} {name}\n" for address, (name, _) in self.plan.items()
        )

    def turn(self, at_most_seconds: float) -> None:
        """Carry packets for a while."""
        until = time.perf_counter() + at_most_seconds
        while (now := time.perf_counter()) < until:
            while self.waiting and self.waiting[0][0] <= now:
                with contextlib.suppress(OSError):
                    os.write(self.tun, heapq.heappop(self.waiting)[2])
            due = min(until, self.waiting[0][0] if self.waiting else until)
            ready, _, _ = select.select([self.tun, self.server], [], [], max(0.0, due - now))
            if self.tun in ready:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        self.take(os.read(self.tun, 65536))
            if self.server in ready:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        self.server.accept()[0].close()

    def take(self, packet: bytes) -> None:
        if packet[0] >> 4 != 4:
            return
        _, link = self.plan.get(socket.inet_ntoa(packet[16:20]), ("", None))
        if link is None or self.seeded.random() < link.get("loss", 0.0):
            return
        back = packet[:12] + packet[16:20] + packet[12:16] + packet[20:]
        self.count += 1
        sent = time.perf_counter()
        if rate := link.get("mbit"):
            begin = 4 * (packet[0] & 0x0F)
            way = packet[16:20] + packet[begin + 2 : begin + 4]  # of TCP and UDP: where it goes
            begins = max(sent, self.free.get(way, 0.0))
            if begins - sent > _QUEUE_SECONDS:
                return
            self.free[way] = sent = begins + 8 * len(packet) / (1e6 * rate)
        heapq.heappush(self.waiting, (sent + link["rtt_ms"] / 2000, self.count, back))


def main(plan: str, command: list[str]) -> int:
    wan = Wan(json.loads(Path(plan).read_text()))
    with tempfile.NamedTemporaryFile("w", suffix=".hosts") as hosts:
        hosts.write(wan.hosts())
        hosts.flush()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(hosts.name.encode(), b"/etc/hosts", None, _MS_BIND, None):
            raise OSError(ctypes.get_errno(), "binding /etc/hosts")
        with contextlib.suppress(OSError):
            os.nice(-20)  # neighbours' work on this computer is not part of the network
        child = subprocess.Popen(command)
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        try:
            while child.poll() is None:
                wan.turn(0.05)
        finally:
            child.kill()
            child.wait()
        return child.returncode


if __name__ == "__main__":
    separator = sys.argv.index("--")
    sys.exit(main(sys.argv[1], sys.argv[separator + 1 :]))
