"""Hold a throw-away key at one machine and run what goes by it straight to another one.

    way.py ID

A conversation, one line of JSON each. This side begins with its public key. Then it is told where the other
machine is, and says which address answers and how fast; then it is given commands to run, whose output it
passes on. The private key is made here, lies in memory only (tmpfs), has never been at any other machine, and
is gone when the conversation ends, however it ends but by SIGKILL.

Runs at the machine, with the standard library only, for Python 3.8 and later.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Any

PREFIX = "hotdesk-way-"
ALIAS = "hotdesk-way"
_PLACES = ("/dev/shm", f"/run/user/{os.getuid()}")
_PROBE_SECONDS = 2.0
_PROBE_BYTES = 32 << 20
_HOUR = 3600.0


def in_memory() -> str:
    """A folder whose files are never on a disk, nor in an image of one."""
    with open("/proc/mounts", encoding="utf-8", errors="replace") as file:
        mounted = {line.split()[1] for line in file if line.split()[2] in ("tmpfs", "ramfs")}
    for place in _PLACES:
        if place in mounted and os.access(place, os.W_OK | os.X_OK):
            return place
    raise OSError("no folder here is in memory only (/dev/shm)")


def swept(place: str) -> None:
    """Remove what a killed one has left behind, once its key has expired."""
    for name in os.listdir(place):
        path = os.path.join(place, name)
        with contextlib.suppress(OSError):
            if name.startswith(PREFIX) and os.lstat(path).st_mtime < time.time() - _HOUR:
                shutil.rmtree(path)


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


class Way:
    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.child: subprocess.Popen[bytes] | None = None

    def make_key(self) -> str:
        key = os.path.join(self.folder, "key")
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key]
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, capture_output=True)
        with open(key + ".pub", encoding="ascii") as file:
            return " ".join(file.read().split()[:2])

    def settle(self, told: dict[str, Any]) -> None:
        """Find the address that answers: only a machine that shows these very host keys counts."""
        with open(os.path.join(self.folder, "known_hosts"), "w", encoding="ascii") as file:
            file.writelines(f"{ALIAS} {key}\n" for key in told["keys"])
        why = []
        for host, port in told["tries"]:
            self.wrap(told["user"], int(port))
            speed, said = self.probe(host)
            if speed:
                say(host=host, port=port, bytes_per_second=speed)
                return
            why.append(f"{host} port {port}: {said}")
        say(failed="; ".join(why) or "it has no address")

    def wrap(self, user: str, port: int) -> None:
        """The one ssh command: our key, those host keys, nothing of anybody's settings, agents or sockets."""
        options = {
            "IdentityFile": self.folder + "/key", "IdentitiesOnly": "yes", "IdentityAgent": "none",
            "UserKnownHostsFile": self.folder + "/known_hosts", "GlobalKnownHostsFile": "/dev/null",
            "HostKeyAlias": ALIAS, "StrictHostKeyChecking": "yes", "UpdateHostKeys": "no",
            "PreferredAuthentications": "publickey", "BatchMode": "yes", "ForwardAgent": "no",
            "ForwardX11": "no", "ConnectTimeout": "10", "ServerAliveInterval": "15",
            "ServerAliveCountMax": "3", "LogLevel": "ERROR",
        }  # fmt: skip
        words = ["exec", "ssh", "-F", "/dev/null", "-T", "-p", str(port), "-l", user]
        for name, value in options.items():
            words += ["-o", f"{name}={value}"]
        path = os.path.join(self.folder, "ssh")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f'#!/bin/sh\n{" ".join(map(shlex.quote, words))} "$@"\n')
        os.chmod(path, 0o700)

    def probe(self, host: str) -> tuple[float, str]:
        """Bytes a second to there, and what ssh says if there are none."""
        argv = [os.path.join(self.folder, "ssh"), host, "probe"]
        child, sent = self.started(argv), 0
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        timer = threading.Timer(30.0, child.kill)
        timer.start()
        try:
            if child.stdout.readline() == b"\n":
                began, block = time.perf_counter(), os.urandom(1 << 16)
                while sent < _PROBE_BYTES and time.perf_counter() - began < _PROBE_SECONDS:
                    child.stdin.write(block)
                    sent += len(block)
                child.stdin.close()
                if child.stdout.readline() == b"\n":
                    return sent / max(time.perf_counter() - began, 1e-6), ""
            said = child.stderr.read().decode("utf-8", "replace").strip().splitlines()
            return 0.0, said[-1] if said else "it does not answer"
        except OSError as error:
            return 0.0, str(error)
        finally:
            timer.cancel()
            child.kill()
            child.wait()
            self.child = None

    def run(self, words: list[str], given: str) -> None:
        """Run a command, `{way}` in it being our folder; pass on what it prints, and how it ends."""
        argv = [word.replace("{way}", self.folder) for word in words]
        child = self.started(argv)
        assert child.stdin is not None
        assert child.stdout is not None
        tail: list[bytes] = []

        def complain() -> None:
            assert child.stderr is not None
            tail.append(child.stderr.read()[-4000:])

        reader = threading.Thread(target=complain, daemon=True)
        reader.start()
        with contextlib.suppress(OSError):
            child.stdin.write(given.encode("utf-8", "surrogateescape"))
            child.stdin.close()
        while True:
            some = os.read(child.stdout.fileno(), 1 << 16)
            if not some:
                break
            say(said=some.decode("utf-8", "surrogateescape"))
        reader.join()
        self.child = None
        say(ended=child.wait(), complaint=tail[0].decode("utf-8", "replace"))

    def started(self, argv: list[str]) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        self.child = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe)
        return self.child

    def end(self) -> None:
        if self.child is not None:
            with contextlib.suppress(OSError):
                self.child.kill()


def main(words: list[str]) -> int:
    os.umask(0o077)

    def leave(*_: object) -> None:
        raise SystemExit(1)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, leave)
    way: Way | None = None
    try:
        place = in_memory()
        swept(place)
        folder = os.path.join(place, PREFIX + words[0])
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder, 0o700)
        way = Way(folder)
        say(public=way.make_key())
        orders: list[Any] = []
        more = threading.Condition()

        def listen() -> None:
            for line in sys.stdin:
                with more:
                    orders.append(json.loads(line))
                    more.notify()
            with more:  # whoever talks to us is gone: nothing goes on without them
                orders.append(None)
                more.notify()
            if way is not None:
                way.end()
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=listen, daemon=True).start()
        while True:
            with more:
                while not orders:
                    more.wait(1.0)
                order = orders.pop(0)
            if order is None:
                return 0
            if "tries" in order:
                way.settle(order)
            else:
                way.run(order["run"], order.get("given", ""))
    except (OSError, subprocess.SubprocessError) as error:
        with contextlib.suppress(OSError):
            say(failed=str(error))
        return 1
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if way is not None:
            way.end()
            shutil.rmtree(way.folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
