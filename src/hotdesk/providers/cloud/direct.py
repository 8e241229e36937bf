"""A way straight from one machine to another, for an hour at most: neither has to trust this computer's keys.

    with way(state, source, target, body) as direct:
        direct.run([...])      # at the source; {way}/ssh is the one command that gets through

The key is made at the source, in memory, and never leaves it (guest/way.py). At the target it may run `body`
and nothing else, by a line in authorized_keys with an end (guest/door.py). What is opened is written down
here before it is opened, so that the next command closes what a killed one has left: `sweep`.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import json
import re
import secrets
import shlex
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from hotdesk import system
from hotdesk.core import wire
from hotdesk.core.lines import NotStraight
from hotdesk.core.model import Value
from hotdesk.guest.one_file import source as program

KEY_SECONDS = 3600.0
#: Around a probe, which only measures: what arrives is thrown away.
PROBE = 'if [ "$SSH_ORIGINAL_COMMAND" = probe ]; then echo; head -c 67108864 >/dev/null; echo; exit; fi\n'
_KEY = re.compile(r"[a-z0-9@.-]+ [A-Za-z0-9+/=]+", re.ASCII)
_USER = re.compile(r"[A-Za-z0-9_][\w.@-]*", re.ASCII)
_ANSWER_SECONDS = 60.0
_SSH_FAILED = 255
_TRIES = 4  # addresses that are tried
_AGAIN_SECONDS = 60.0  # until a machine that did not answer is asked again to close a way
_FORGET_SECONDS = 7 * 86400.0


NoWay = NotStraight


class Lost(OSError):
    """One of the two machines does not answer any more; the same again may go on."""


class End(Value, frozen=True):
    """One of the two machines, as this computer reaches it."""

    name: str
    ssh: tuple[str, ...]  # an ssh command line, to which a shell line is added
    python: str = "python3"  # there, as a word of a line for sh


class Reached(Value, frozen=True):
    """How a machine is reached, and what it shows as its keys, by its own words (guest/door.py)."""

    host: str = ""
    port: int = 22
    addresses: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    user: str = ""
    until: float = 0.0  # by its own clock

    def places(self) -> list[tuple[str, int]]:
        """Its addresses, without those that mean another machine at another place."""
        found = []
        for host in (self.host, *self.addresses):
            with contextlib.suppress(ValueError):
                address = ipaddress.ip_address(host.partition("%")[0])
                if not address.is_loopback and not address.is_link_local:
                    found.append((str(address), self.port))
        return found


class Opened(Value, frozen=True):
    """A way that may be open: state/ways/ID.json."""

    source: End
    target: End
    until: float  # (our clock) when its key has expired


class Direct:
    """An open way. `bytes_per_second` was measured just now, from one machine to the other."""

    def __init__(self, talk: _Talk, host: str, bytes_per_second: float) -> None:
        self._talk, self.host, self.bytes_per_second = talk, host, bytes_per_second

    def run(
        self, words: Sequence[str], given: str = "", heard: Callable[[str], None] = lambda said: None
    ) -> tuple[int, str]:
        """Run a command at the source; its exit status, and what it said on standard error. Raises `Lost`.

        `{way}` in a word is the folder with `ssh`, which takes a host (`self.host`) and a command.
        """
        self._talk.tell(run=list(words), given=given)
        while True:
            answer = self._talk.hear()
            match answer:
                case {"said": str(said)}:
                    heard(said)
                case {"ended": int(status), "complaint": str(complaint)}:
                    return status, complaint
                case _:
                    raise Lost(f"what {self._talk.name} says is no answer")


class _Talk:
    """The conversation with the source (guest/way.py)."""

    def __init__(self, source: End, id_: str) -> None:
        self.name = source.name
        argv = [*source.ssh, _started(source, "way", id_)]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def tell(self, **what: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(what).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise Lost(f"the line to {self.name} was cut: {error}") from error

    def hear(self) -> dict[str, Any]:
        """The next line. Raises `Lost` if the line is gone, `NoWay` with what went wrong there."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            assert self._process.stderr is not None
            said = self._process.stderr.read().decode("utf-8", "replace").strip().splitlines()
            why = said[-1] if said else f"no reason is given ({self._ended()})"
            raise Lost(f"the line to {self.name} was cut: {why}")
        try:
            answer = wire.json(line, dict[str, Any])
        except msgspec.MsgspecError as error:
            raise Lost(f"what {self.name} says is no answer: {error}") from None
        if "failed" in answer:
            raise NoWay(str(answer["failed"]))
        return answer

    def _ended(self) -> str:
        try:
            status = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return "ssh still runs"
        return f"ssh was killed by signal {-status}" if status < 0 else f"exit status {status}"

    def end(self) -> None:
        """Its key is gone when this returns, if it answers at all."""
        with contextlib.suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for rest in (self._process.stdout, self._process.stderr):
            if rest:
                rest.close()


@contextlib.contextmanager
def way(
    state: Path,
    source: End,
    target: End,
    body: str,
    *,
    tries: Sequence[tuple[str, int]] = (),
) -> Iterator[Direct]:
    """Open a way, and close it whatever happens. Raises `NoWay` where there is none, `Lost` if cut.

    `tries`: addresses and ports of the target as they are known here; those that it tells itself come after.
    """
    folder, id_ = state / "ways", secrets.token_hex(8)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with system.locked(folder / f"{id_}.lock"):
        record = Opened(source=source, target=target, until=_now() + KEY_SECONDS)
        system.write_atomically(folder / f"{id_}.json", msgspec.json.encode(record), durable=True)
        talk = None
        try:
            talk = _Talk(source, id_)
            public = str(talk.hear().get("public"))
            if not _KEY.fullmatch(public):
                raise NoWay(f"{source.name} makes no key")
            opened = _open(target, id_, public, body)
            found = list(dict.fromkeys([*tries, *opened.places()]))[:_TRIES]
            talk.tell(tries=found, user=opened.user, keys=opened.keys)
            match talk.hear():
                case {"host": str(host), "bytes_per_second": int() | float() as speed}:
                    yield Direct(talk, host, float(speed))
                case _:
                    raise Lost(f"what {source.name} says is no answer")
        finally:
            if talk is not None:
                talk.end()
            _close(folder, id_, record)


def _open(target: End, id_: str, public: str, body: str) -> Reached:
    line = _started(target, "door", "open", id_, public, str(KEY_SECONDS))
    try:
        done = subprocess.run(
            [*target.ssh, line],
            input=body.encode(),
            capture_output=True,
            timeout=_ANSWER_SECONDS,
            check=False,
        )
        found = wire.json(done.stdout, Reached)
    except subprocess.TimeoutExpired:
        raise Lost(f"{target.name} does not answer") from None
    except msgspec.MsgspecError:
        if done.returncode == _SSH_FAILED:
            raise Lost(f"{target.name} does not answer") from None
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise NoWay(f"{target.name} lets no key in: {said[-1] if said else 'no reason is given'}") from None
    if not found.keys or not all(map(_KEY.fullmatch, found.keys)) or not _USER.fullmatch(found.user):
        raise NoWay(f"{target.name} does not tell its host keys (ssh-keyscan)")
    return found


def _close(folder: Path, id_: str, record: Opened) -> None:
    """Take everything away; what could not be stays written down, for `sweep`."""
    closed = _shut(record.target, _started(record.target, "door", "close", id_))
    forget = f'rm -rf /dev/shm/hotdesk-way-{id_} "/run/user/$(id -u)/hotdesk-way-{id_}"'
    closed &= _shut(record.source, f"exec sh -c {shlex.quote(forget)}")
    if closed:
        for suffix in ("json", "lock"):  # the lock is held until the end all the same
            (folder / f"{id_}.{suffix}").unlink(missing_ok=True)


def _shut(end: End, line: str) -> bool:
    try:
        done = subprocess.run(
            [*end.ssh, line],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ANSWER_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def sweep(state: Path) -> int:
    """Close the ways that a killed process has left open; how many there still are.

    Costs one look at a folder, unless there are some.
    """
    folder, left = state / "ways", 0
    try:
        records = sorted(folder.glob("*.json"))
    except OSError:
        return 0
    for path in records:
        lock = path.with_suffix(".lock")
        if system.is_locked(lock):
            continue
        record, now = _read(path), _now()
        since = now - path.stat().st_mtime if path.exists() else 0.0
        if record is None or now > record.until + _FORGET_SECONDS:  # sshd lets that key in no more
            path.unlink(missing_ok=True)
        elif now < record.until or since > _AGAIN_SECONDS:
            with contextlib.suppress(OSError):
                path.touch()
            _close(folder, path.stem, record)
        if path.exists():
            left += 1
        else:
            lock.unlink(missing_ok=True)
    return left


def _read(path: Path) -> Opened | None:
    try:
        return wire.json(path.read_bytes(), Opened)
    except (OSError, msgspec.MsgspecError):
        return None


def _now() -> float:
    return system.SystemClock().now()


def _started(end: End, name: str, *words: str) -> str:
    """A shell line that starts a program of `guest/` at a machine, whatever the shell of its account."""
    line = f"exec {end.python} -c {shlex.quote(_loader(name))} {shlex.join(words)}"
    return f"exec sh -c {shlex.quote(line)}"


@cache
def _loader(name: str) -> str:
    """A program of `guest/` as the argument of `python3 -c`: standard input is for what it is told."""
    packed = base64.b64encode(program(name).encode()).decode()
    return f'import base64;exec(base64.b64decode("{packed}"))'
