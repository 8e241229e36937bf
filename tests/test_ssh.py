"""A desk at a machine with an ssh login: what the machine, its owner and the line may do to it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotdesk.core.errors import HotdeskError, Kind, NeedsDecision, Refused, Usage
from hotdesk.core.model import Instance, Phase, Want
from hotdesk.providers.local.runtime import locks
from hotdesk.providers.ssh import kit
from hotdesk.providers.ssh.hosts import Hosts, enter
from hotdesk.providers.ssh.kit import Facts
from hotdesk.providers.ssh.line import Far, Silent
from hotdesk.providers.ssh.records import machine as machine_folder
from hotdesk.providers.ssh.settings import Machine, Settings
from tests.conformance import bake_for, order_for
from tests.far_rig import FarRig, far_machine, needs_sshd

pytestmark = [pytest.mark.tools("ssh"), needs_sshd]


# ---- whose key it is ---------------------------------------------------------------------------------


def test_an_unknown_host_key_is_asked_about_and_another_one_is_not_believed(tmp_path: Path) -> None:
    state, settings = tmp_path / "state", Settings()
    with far_machine(tmp_path / "far") as far:
        address = far.address
        with pytest.raises(NeedsDecision) as unknown:
            enter(state, settings, address)
        assert far.fingerprint in unknown.value.what
        assert f"--host-key {far.fingerprint}" in unknown.value.fix
        with pytest.raises(NeedsDecision):
            enter(state, settings, address, "SHA256:" + "A" * 43)
        asked: list[str] = []
        assert enter(state, settings, address, ask=lambda q: bool(asked.append(q)) or True) == "far"
        assert far.fingerprint in asked[0]
        assert enter(state, settings, address) == "far", "it is believed from then on, under the same name"
        hosts = Hosts(state, settings)
        machine = hosts.find("far")
        assert kit.look(Far(hosts, "far", machine)).system == "Linux"
        far.new_key()
        with pytest.raises(Refused) as changed:
            kit.look(Far(hosts, "far", machine))
        assert changed.value.kind is Kind.DENIED
        assert far.fingerprint in changed.value.message
        assert "another host key than before" in changed.value.message
        enter(state, settings, address, far.fingerprint)
        assert kit.look(Far(hosts, "far", machine)).system == "Linux"
        far.cut()
        with pytest.raises(Silent):
            kit.look(Far(hosts, "far", machine))


@pytest.mark.parametrize("host", ["", "-oProxyCommand=x", "me@-x", "a b", "x;y", "me@host/../", "$(id)"])
def test_what_is_no_address_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(Usage):
        enter(tmp_path, Settings(), {"host": host})
    assert not (tmp_path / "places").exists()


# ---- what a machine lacks ----------------------------------------------------------------------------

FACTS = Facts(system="Linux", machine="x86_64", libc="glibc 2.36", pythons=(("3.11", "/usr/bin/python3"),))


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"system": "Darwin"}, "Linux"),
        ({"locked": True}, "does not let you write"),
        ({"pythons": (("3.8", "/usr/bin/python3"),)}, "it has: 3.8"),
        ({"pythons": ()}, "it has: none"),
    ],
)
def test_a_machine_that_cannot_have_a_desk_says_why(
    tmp_path: Path, facts: dict[str, object], words: str
) -> None:
    import msgspec

    far = Far(Hosts(tmp_path, Settings()), "lab", Machine(host="me@lab"))
    with pytest.raises(Refused, match=words) as no:
        kit._python(far, msgspec.structs.replace(FACTS, **facts))
    assert no.value.kind in {Kind.UNSUPPORTED, Kind.DENIED}


def test_wheels_are_chosen_by_the_c_library() -> None:
    import msgspec

    assert kit._tags(FACTS)[0] == "manylinux_2_36_x86_64"
    assert "manylinux2014_x86_64" in kit._tags(FACTS)
    musl = msgspec.structs.replace(FACTS, libc="/lib/ld-musl-x86_64.so.1")
    assert all(tag.startswith("musllinux") for tag in kit._tags(musl))


# ---- a desk there ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarRig]:
    with far_machine(tmp_path_factory.mktemp("far")) as machine:
        yield FarRig(tmp_path_factory.mktemp("state"), machine)


def up(rig: FarRig, desk: str, **changes: object) -> Instance:
    offer = rig.provider.offers(Want())[-1]
    id_ = rig.provider.launch(order_for(offer, desk, **changes))
    machine = next(i for i in rig.settle().instances if i.id == id_)
    assert machine.phase is Phase.READY, f"{machine}\n{rig.logs()}"
    return machine


def park(rig: FarRig, machine: Instance) -> str:
    rig.provider.power(machine.id, False)
    stopped = next(i for i in rig.settle().instances if i.id == machine.id)
    id_ = rig.provider.bake(bake_for(stopped))
    rig.settle()
    rig.provider.verify(id_)
    image = next(i for i in rig.settle().images if i.id == id_)
    assert image.verified, f"{image}\n{rig.logs()}"
    rig.provider.delete(machine.id)
    rig.settle()
    return id_


@pytest.mark.slow
def test_a_desk_survives_its_line_and_its_machine_and_leaves_nothing(rig: FarRig) -> None:
    """1. Up. 2. The line is cut: nothing is concluded. 3. The machine is rebooted: the desk is off, its files
    are there. 4. Another desk is beside it. 5. Parked: its files are here. 6. Both gone: so is all that was
    put there."""
    machine = up(rig, "one")
    rig.write(machine, "work.txt", "monday\n")
    assert rig.run(machine, "echo $HOME").stdout.decode().strip().startswith(str(rig.machine.home))
    rig.machine.cut()
    seen = rig.provider.survey().of("one")
    assert seen.unread == ("far",), "it did not answer, so nothing is concluded"
    assert not seen.instances
    rig.machine.serve()
    assert rig.settle().of("one").live == machine
    for pid in marked(machine.id):  # the power goes
        os.kill(pid, 9)
    [off] = rig.settle().of("one").instances
    assert off.phase is Phase.STOPPED
    rig.provider.power(machine.id, True)
    [again] = rig.settle().of("one").instances
    assert again.started_at > machine.started_at
    assert rig.read(again, "work.txt") == "monday\n"
    other = up(rig, "two")
    assert rig.provider.access(other).port != rig.provider.access(again).port
    assert rig.read(other, "work.txt") is None
    image = park(rig, again)
    assert rig.read(other, ".profile")
    rig.provider.forget("one")  # the other desk is still there
    assert rig.settle().of("two").live == other
    rig.provider.delete(other.id)
    rig.settle()
    rig.provider.delete(image)
    rig.provider.forget("two")
    assert not list(rig.machine.home.iterdir()), "nothing of ours is left there"
    assert not rig.provider.hosts.used()


@pytest.mark.slow
def test_a_file_that_cannot_be_read_is_named_and_nothing_is_lost(rig: FarRig) -> None:
    machine = up(rig, "three")
    place = rig.run(machine, "mkdir kept; mkfifo kept/pipe; ln -s pipe kept/link; pwd")
    home = Path(place.stdout.decode().strip())
    rig.provider.power(machine.id, False)
    [off] = rig.settle().of("three").instances
    shutil.move(home.parent, home.parent.with_name("away"))
    with pytest.raises((Refused, HotdeskError)):
        rig.provider.bake(bake_for(off))  # a machine without its disk has nothing to save
    shutil.move(home.parent.with_name("away"), home.parent)
    id_ = rig.provider.bake(bake_for(off, attempt=1))
    image = next(i for i in rig.settle().images if i.id == id_)
    assert image.phase is Phase.READY, rig.logs()
    rig.provider.delete(machine.id)
    rig.provider.delete(id_)
    rig.settle()
    rig.provider.forget("three")


@pytest.mark.slow
def test_a_desk_whose_bringing_is_killed_or_whose_line_is_gone_goes_on_later(rig: FarRig) -> None:
    """1. The worker is killed: the machine is off. 2. Started while nobody answers: it says so. 3. Started
    again: it is up. 4. Deleted while nobody answers: nothing is concluded, and then it is gone."""
    offer = rig.provider.offers(Want())[-1]
    id_ = rig.provider.launch(order_for(offer, "four"))
    lock = machine_folder(rig.state, id_).lock
    while (pid := locks.worker_pid(lock)) is None:
        time.sleep(0.01)
    os.kill(pid, 9)
    [off] = rig.settle().of("four").instances
    if off.phase is not Phase.READY:  # else it was quicker
        assert (off.phase, off.reason) == (Phase.STOPPED, "its launch was interrupted")
    rig.provider.power(id_, True)
    [up_now] = rig.settle().of("four").instances
    assert up_now.phase is Phase.READY, rig.logs()
    rig.machine.cut()
    with pytest.raises(Silent):
        rig.provider.delete(id_)
    assert rig.provider.survey().of("four").unread == ("far",)
    rig.machine.serve()
    [still] = rig.settle().of("four").instances
    assert still == up_now, "it was not told"
    rig.provider.delete(id_)
    assert not rig.settle().of("four").instances
    rig.provider.forget("four")


def marked(word: str) -> list[int]:
    """Processes of a machine, by the mark in their environment or their arguments."""
    found = []
    until = time.monotonic() + 5
    while not found and time.monotonic() < until:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    told = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if word.encode() in told and b"hotdesk.providers.ssh" not in told:
                    found.append(int(entry.name))
    return found
