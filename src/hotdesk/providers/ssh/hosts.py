"""The machines that are known here: those of hotdesk.toml, and those that `--host` has named.

places/hosts.json   the latter, by name
places/used         names of machines where something of ours may be; written before anything is put there
places/known_hosts  their host keys, as their owner has confirmed them
"""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from hotdesk.core import wire
from hotdesk.core.errors import Kind, NeedsDecision, Refused, Unreachable, Usage
from hotdesk.core.names import check_name
from hotdesk.providers.ssh.settings import FOLDER, Machine, Settings
from hotdesk.system import locked, write_atomically

#: In the state folder. ("ssh" there has settings for people's own ssh: connect/editor.py)
FOLDER_HERE = "places"
_HOST = re.compile(r"(?:[A-Za-z0-9_][\w.+-]*@)?[A-Za-z0-9\[][\w.:\]%-]*\Z", re.ASCII)


class Hosts:
    """The machines by name. What hotdesk.toml says of one counts."""

    def __init__(self, state: Path, settings: Settings) -> None:
        self.folder = state / FOLDER_HERE
        self._settings = settings

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    def all(self) -> dict[str, Machine]:
        return {**self._named(), **self._settings.machines}

    def find(self, name: str) -> Machine:
        """Raises `Refused` for a name that no machine has."""
        known = self.all()
        if name not in known:
            raise Refused(
                Kind.BAD_REQUEST,
                f"There is no machine {name!r}. {_listed(known)}",
                fix="hotdesk up --provider ssh --host me@gpu.example.edu",
            )
        return known[name]

    def _named(self) -> dict[str, Machine]:
        try:
            return wire.json((self.folder / "hosts.json").read_bytes(), dict[str, Machine])
        except (FileNotFoundError, msgspec.MsgspecError):
            return {}

    def add(self, machine: Machine) -> str:
        """Remember a machine; its name, which is made of its host's if it is new here."""
        if name := self.name_of(machine):
            known = self.all()[name]
            if machine.folder not in {known.folder, FOLDER}:
                raise Usage(
                    f"{name} has its folder at {known.folder} already.",
                    "Everything of hotdesk's at one machine is below one folder.",
                    f"hotdesk up --provider ssh --zone {name}",
                )
            return name
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self.folder / "hosts.lock"):
            named = self._named()
            name = base = _name(machine.host)
            number = 1
            while name in self.all():
                number += 1
                name = f"{base[:28]}-{number}"
            self._write("hosts.json", msgspec.json.encode({**named, name: machine}))
        return name

    def name_of(self, machine: Machine) -> str | None:
        """The name by which the machine is known here."""
        wanted = machine.host, machine.port, machine.jump
        found = (name for name, one in self.all().items() if (one.host, one.port, one.jump) == wanted)
        return next(found, None)

    def remember(self, name: str, machine: Machine) -> None:
        """Keep a machine for the processes that bring desks there: hotdesk.toml may say something new."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self.folder / "hosts.lock"):
            named = self._named()
            if named.get(name) != machine:
                self._write("hosts.json", msgspec.json.encode({**named, name: machine}))

    def used(self) -> tuple[str, ...]:
        """Machines where something of ours may be."""
        try:
            return tuple((self.folder / "used").read_text("utf-8").split())
        except FileNotFoundError:
            return ()

    def use(self, name: str, yes: bool = True) -> None:
        """Write down that something of ours may be at a machine from now on, or is no more."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self.folder / "hosts.lock"):
            names = {*self.used(), name} if yes else {*self.used()} - {name}
            if names != {*self.used()}:
                self._write("used", "".join(f"{one}\n" for one in sorted(names)).encode())

    def _write(self, name: str, data: bytes) -> None:
        write_atomically(self.folder / name, data, durable=True)

    # ---- host keys -----------------------------------------------------------------------------------

    def ssh(self, machine: Machine, *options: str) -> list[str]:
        """An ssh command line to the machine, up to the destination, by its owner's own ssh settings.

        It never asks, and believes no host key that its owner has not confirmed, here or to ssh itself.
        """
        files = f"{_quoted(str(self.known_hosts))} ~/.ssh/known_hosts ~/.ssh/known_hosts2"
        return [
            "ssh", "-T",
            "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={files}",
            "-o", "VerifyHostKeyDNS=no", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=10",
            "-o", "ServerAliveCountMax=3", "-o", "ControlMaster=no", "-o", "ControlPath=none",
            "-o", "RemoteCommand=none", "-o", "PermitLocalCommand=no", "-o", "ClearAllForwardings=yes",
            "-o", "ForwardAgent=no", "-o", "ForwardX11=no", "-o", "LogLevel=ERROR", "-o", "RequestTTY=no",
            *options, *_route(machine), machine.host,
        ]  # fmt: skip

    def shown_key(self, machine: Machine) -> tuple[str, list[str]]:
        """The fingerprint of the machine's host key, as it shows it now, and its lines for known_hosts.

        Nothing is sent to it that a stranger might use. Raises `Unreachable`.
        """
        with tempfile.TemporaryDirectory(prefix="hotdesk-") as folder:
            shown = Path(folder) / "shown"
            argv = [
                "ssh", "-T", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
                "-o", f"UserKnownHostsFile={_quoted(str(shown))}", "-o", "GlobalKnownHostsFile=/dev/null",
                "-o", "HashKnownHosts=no", "-o", "UpdateHostKeys=no", "-o", "ControlPath=none",
                "-o", "PreferredAuthentications=none", "-o", "ConnectTimeout=10", "-o", "RemoteCommand=none",
                *_route(machine), machine.host, "true",
            ]  # fmt: skip
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
            if not shown.exists():
                words = done.stderr.decode("utf-8", "replace").strip().splitlines()
                raise Unreachable(
                    f"{machine.host} does not answer.",
                    words[-1] if words else "ssh gives no reason.",
                    f"{shlex.join(['ssh', *_route(machine), machine.host])}   # does it work by hand?",
                )
            told = subprocess.run(
                ["ssh-keygen", "-lf", str(shown)], capture_output=True, text=True, check=False
            )
            _, fingerprint, *_ = [*told.stdout.split(), "", ""]
            return fingerprint, shown.read_text("utf-8").splitlines()

    def confirm(self, machine: Machine, fingerprint: str) -> None:
        """Believe the machine's host key from now on, if it is the one of this fingerprint.

        Raises `NeedsDecision` if the machine shows another.
        """
        shown, lines = self.shown_key(machine)
        if shown != fingerprint:
            raise NeedsDecision(
                f"The host key of {machine.host} is not {fingerprint}.",
                f"The machine shows {shown}.",
                "ask whoever keeps that machine which of them is right",
            )
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self.folder / "hosts.lock"):
            old = self.known_hosts.read_text("utf-8").splitlines() if self.known_hosts.exists() else []
            names = {line.split(" ", 1)[0] for line in lines}
            kept = [line for line in old if line.split(" ", 1)[0] not in names]
            write_atomically(self.known_hosts, "".join(f"{line}\n" for line in [*kept, *lines]), durable=True)

    def stranger(self, name: str, machine: Machine, *, changed: bool) -> Refused:
        """The refusal to talk to a machine whose host key was not confirmed."""
        try:
            shown = self.shown_key(machine)[0]
        except Unreachable:
            shown = "FINGERPRINT"
        what = (
            f"{name} ({machine.host}) shows another host key than before: {shown}. It was set up anew, or "
            "somebody stands between it and this computer"
            if changed
            else f"the host key of {name} ({machine.host}) is not known here: {shown}"
        )
        return Refused(Kind.DENIED, what, fix=_believing(machine, shown), seconds=0.0)

    def refusal(self, machine: Machine) -> str:
        """What ssh says if it does not let us in; "" if it does. Raises nothing."""
        done = subprocess.run(
            [*self.ssh(machine), "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        if done.returncode != 255:
            return ""
        return done.stderr.decode("utf-8", "replace").strip() or "ssh gives no reason."


def enter(
    state: Path,
    settings: Settings,
    address: Mapping[str, Any],
    key: str = "",
    ask: Callable[[str], bool] = lambda question: False,
) -> str:
    """Remember a machine (`host`, `port`, `jump`, `folder`) and return its name.

    `key`: the fingerprint of its host key, which is believed then; where none is known, `ask` is asked about
    the one that the machine shows. A machine that is new here and lets nobody in is not remembered.
    Raises `NeedsDecision` where nobody says yes, `Usage`, `Unreachable`.
    """
    machine = Machine(**address)
    if not _HOST.match(machine.host) or "@-" in machine.host:
        raise Usage(
            f"{machine.host!r} is no address of a machine.",
            "It is as ssh takes it: a host, with the name of the user there if that is not yours here.",
            "hotdesk up --host me@gpu.example.edu",
        )
    hosts = Hosts(state, settings)
    if key:
        hosts.confirm(machine, key)
    elif not (refusal := hosts.refusal(machine)):
        pass
    elif re.search("host key|identification", refusal, re.IGNORECASE):
        shown = hosts.shown_key(machine)[0]
        if not ask(
            f"{machine.host} shows the host key {shown}, which is not known here. Is it that machine's?"
        ):
            raise NeedsDecision(
                f"The host key of {machine.host} is not known here: {shown}.",
                "Nothing is sent to a machine before its owner, or you, have confirmed its key.",
                _believing(machine, shown),
            )
        hosts.confirm(machine, shown)
    elif hosts.name_of(machine) is None:
        raise Unreachable(
            f"{machine.host} does not let you in.",
            refusal.splitlines()[-1],
            f"{machine.by_hand}   # does it let you in?",
        )
    return hosts.add(machine)


def _believing(machine: Machine, shown: str) -> str:
    line = f"hotdesk up --host {shlex.join([machine.host, *_options(machine)])} --host-key {shown}"
    return f"{line}   # once whoever keeps that machine has said that this is its key"


def _route(machine: Machine) -> list[str]:
    port = ["-p", str(machine.port)] if machine.port else []
    return [*port, *(["-J", machine.jump] if machine.jump else [])]


def _options(machine: Machine) -> list[str]:
    port = ["--port", str(machine.port)] if machine.port else []
    folder = ["--folder", machine.folder] if machine.folder != FOLDER else []
    return [*port, *(["--jump", machine.jump] if machine.jump else []), *folder]


def _name(host: str) -> str:
    first = host.rpartition("@")[2].strip("[]")
    whole = first if re.fullmatch(r"[\d.:]+", first) else first.partition(".")[0]
    return check_name(re.sub(r"[^a-z0-9]+", "-", whole.lower()).strip("-")[:32].strip("-") or "machine")


def _listed(known: dict[str, Machine]) -> str:
    return f"There are: {', '.join(sorted(known))}." if known else "There is none yet."


def _quoted(path: str) -> str:
    escaped = path.replace("%", "%%")
    return f'"{escaped}"' if any(c.isspace() for c in escaped) else escaped
