"""A local provider in a folder of its own, with stock ssh to look inside its desks."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hotdesk.connect.keys import desk_keys
from hotdesk.core.model import Image, Instance, Offer, Phase, Survey, Want
from hotdesk.core.ports import Access
from hotdesk.core.steps import BakeOrder, LaunchOrder
from hotdesk.providers.local.provider import Local
from hotdesk.providers.local.runtime import locks
from tests.conformance import UNSETTLED

SECONDS = 120.0  # a limit for a busy computer, not an expectation

needs = functools.cache(shutil.which)


def tool(name: str) -> pytest.MarkDecorator:
    return pytest.mark.tools(name)


def one_desk(module: str) -> pytest.MarkDecorator:
    """All tests of the module in one process: they share a desk, which takes two seconds of a processor."""
    return pytest.mark.xdist_group(module)


def settled(rig: Any, seconds: float, pause: float = 0.03) -> Survey:
    """The first survey of a rig's provider in which nothing is on its way."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        survey: Survey = rig.provider.survey()
        if not any(t.phase in UNSETTLED for t in (*survey.instances, *survey.disks, *survey.images)):
            return survey
        time.sleep(pause)
    raise AssertionError(f"it does not settle: {survey}\n{rig.logs()}")


class LocalRig:
    def __init__(self, state: Path) -> None:
        self.state = state
        self.cannot: dict[str, str] = {}
        self.free: frozenset[str] = frozenset()
        self.provider = self.again()

    def again(self) -> Local:
        return Local(self.state, functools.partial(desk_keys, self.state))

    def settle_but_ending(self) -> Survey:
        """A survey in which a deletion that nobody works on may be under way for ever."""
        return self.provider.survey()

    def settle(self) -> Survey:
        return settled(self, SECONDS)

    def logs(self) -> str:
        return "\n".join(
            f"--- {p}\n{p.read_text(errors='replace')[-3000:]}" for p in self.state.glob("local/*/*/*.log")
        )

    def offer(self) -> Offer:
        return next(o for o in self.provider.offers(Want()) if o.instance_type == "local.cpu")

    def up(self, desk: str, generation: int = 1, image_id: str = "") -> Instance:
        order = LaunchOrder(
            desk=desk, born=1.5, generation=generation, attempt=0, offer=self.offer(), image_id=image_id
        )
        id_ = self.provider.launch(order)
        return self.now(id_, Phase.READY)

    def now(self, id_: str, phase: Phase) -> Instance:
        machine = next(i for i in self.settle().instances if i.id == id_)
        assert machine.phase is phase, f"{machine}\n{self.logs()}"
        return machine

    def stop(self, machine: Instance) -> Instance:
        self.provider.power(machine.id, False)
        return self.now(machine.id, Phase.STOPPED)

    def start(self, machine: Instance) -> Instance:
        self.provider.power(machine.id, True)
        return self.now(machine.id, Phase.READY)

    def image_of(self, machine: Instance, attempt: int = 0) -> Image:
        """A verified image of a stopped machine."""
        order = BakeOrder(
            desk=machine.desk,
            born=1.5,
            generation=machine.generation,
            attempt=attempt,
            source_id=machine.id,
            started_at=self.now(machine.id, Phase.STOPPED).started_at,
            region="local",
        )
        id_ = self.provider.bake(order)
        image = next(i for i in self.settle().images if i.id == id_)
        assert image.phase is Phase.READY, f"{image}\n{self.logs()}"
        self.provider.verify(id_)
        image = next(i for i in self.settle().images if i.id == id_)
        assert image.verified, f"{image}\n{self.logs()}"
        return image

    def disk(self, desk: str) -> Path:
        return self.state / "local" / "disks" / desk

    def folder(self, machine: Instance) -> Path:
        return self.state / "local" / "machines" / machine.id

    def supervisor_pid(self, machine: Instance) -> int:
        pid = locks.worker_pid(self.folder(machine) / "run.lock")
        assert pid
        return pid

    def mark(self, machine: Instance) -> str:
        import msgspec

        return str(msgspec.json.decode((self.folder(machine) / "machine.json").read_bytes())["mark"])

    def write(self, machine: Instance, name: str, text: str) -> None:
        self.ssh(machine, f"cat > {name}", text=text)

    def read(self, machine: Instance, name: str) -> str | None:
        done = self.ssh(machine, f"cat {name}", check=False)
        return done.stdout if done.returncode == 0 else None

    # ---- stock OpenSSH -------------------------------------------------------------------------------

    def options(self, machine: Instance) -> list[str]:
        access = self.provider.access(machine)
        return ssh_options(access)

    def ssh(
        self,
        machine: Instance,
        *words: str,
        text: str = "",
        check: bool = True,
        flags: Sequence[str] = (),
        seconds: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        access = self.provider.access(machine)
        argv = [
            "ssh",
            *ssh_options(access),
            "-p",
            str(access.port),
            *flags,
            f"{access.user}@127.0.0.1",
            *words,
        ]
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=seconds, check=False)
        assert done.returncode == 0 or not check, done
        return done

    # ---- the end -------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Delete everything, and see that no process of it is left."""
        marks = [self.mark(i) for i in self.provider.survey().instances]
        for _ in range(5):
            survey = self.settle()
            things = [*survey.instances, *survey.disks, *survey.images, *survey.leftovers]
            for thing in things:
                self.provider.delete(thing.id)
            if not things:
                break
        assert not things, things
        for mark in marks:
            assert not marked(mark)


def ssh_options(access: Access) -> list[str]:
    known_hosts = access.known_hosts_path
    if " " in known_hosts:
        known_hosts = f'"{known_hosts}"'
    options = (
        "BatchMode=yes",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        f"UserKnownHostsFile={known_hosts}",
        f"HostKeyAlias={access.alias}",
        "StrictHostKeyChecking=yes",
        "LogLevel=ERROR",
    )
    return ["-F", "none", "-i", access.key_path, *(x for o in options for x in ("-o", o))]


def marked(mark: str) -> list[int]:
    """Processes that carry a machine's mark in their environment, found without any of its own code."""
    if not Path("/proc/self/environ").exists():
        pytest.skip("no /proc on this computer")
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if f"HOTDESK_MACHINE={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def wait_for(what: object, seconds: float = 20.0, pause: float = 0.03) -> object:
    """Call it until it returns something true; that. `pause`: seconds between two calls."""
    deadline = time.monotonic() + seconds
    while not (value := what()):  # type: ignore[operator]
        assert time.monotonic() < deadline, f"still {value!r} after {seconds} s"
        time.sleep(pause)
    return value


@contextlib.contextmanager
def rig_in(state: Path) -> Iterator[LocalRig]:
    rig = LocalRig(state)
    try:
        yield rig
    finally:
        rig.clear()
