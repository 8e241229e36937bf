"""What goes from a machine with an ssh login once the last desk has left it: hotdesk's own alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hotdesk.providers.ssh import elsewhere
from hotdesk.providers.ssh.hosts import enter
from hotdesk.providers.ssh.line import Far, library_name
from hotdesk.providers.ssh.settings import Settings
from tests.far_rig import FarMachine, far_machine, needs_sshd

pytestmark = [pytest.mark.tools("ssh"), needs_sshd]
KIT = "kit-0123456789ab"


@pytest.fixture
def far(tmp_path: Path) -> Iterator[FarMachine]:
    with far_machine(tmp_path / "machine") as machine:
        yield machine


def ours(far: FarMachine, state: Path) -> Far:
    """The machine as a computer sees it that had a desk there, in a folder that has more than hotdesk's."""
    enter(state, Settings(), far.address, far.fingerprint)
    there = elsewhere.far(state, "far")
    for name in (there.owner, KIT, f"{KIT}.{there.owner}", library_name(), f"{library_name()}.77"):
        (far.home / "hotdesk" / name).mkdir(parents=True)
    return there


def test_a_persons_own_files_beside_hotdesks_stay(far: FarMachine, tmp_path: Path) -> None:
    there, top = ours(far, tmp_path / "state"), far.home / "hotdesk"
    own = {"kit-data", "lib-torch", "lib-0123456789abc", "kit-0123456789ab-of-mine", "thesis"}
    for name in own:
        (top / name).mkdir()
    there.leave()
    assert {path.name for path in top.iterdir()} == own


@pytest.mark.parametrize("what", ["part", "part elsewhere", "being brought"])
def test_what_another_computer_needs_there_stays(far: FarMachine, tmp_path: Path, what: str) -> None:
    """Its part may be a link to a disk that is not mounted now; and it may be bringing its first desk."""
    there, top, another = ours(far, tmp_path / "state"), far.home / "hotdesk", "of-ba9876543210"
    kept = f"{KIT}.{another}" if what == "being brought" else another
    if what == "part elsewhere":
        (top / kept).symlink_to("/nowhere")
    else:
        (top / kept).mkdir()
    there.leave()
    assert {path.name for path in top.iterdir()} >= {kept, KIT, library_name()}
    assert there.owner not in {path.name for path in top.iterdir()}


def test_nothing_is_left_by_the_last(far: FarMachine, tmp_path: Path) -> None:
    there = ours(far, tmp_path / "state")
    there.leave()
    there.leave()
    assert not (far.home / "hotdesk").exists()
