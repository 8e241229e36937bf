"""A desk at a machine with an ssh login: what the machine, its owner and the line may do to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotdesk.core.errors import Kind, NeedsDecision, Refused, Usage
from hotdesk.providers.ssh import kit
from hotdesk.providers.ssh.hosts import Hosts, enter
from hotdesk.providers.ssh.kit import Facts
from hotdesk.providers.ssh.line import Far, Silent
from hotdesk.providers.ssh.settings import Machine, Settings
from tests.far_rig import far_machine, needs_sshd

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
