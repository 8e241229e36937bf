"""An image that stays at a machine of one's own goes straight to a cloud's machine: real sshd at both."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import hotdesk
from hotdesk.core.errors import Kind, Refused, Unreachable
from hotdesk.core.lines import NotStraight, Target
from hotdesk.core.ports import Keys
from hotdesk.core.steps import BakeOrder
from hotdesk.guest.outward import address
from hotdesk.providers.cloud import admitting
from hotdesk.providers.local import records
from hotdesk.providers.local.images import Images
from hotdesk.providers.ssh import elsewhere
from hotdesk.providers.ssh.hosts import enter
from hotdesk.providers.ssh.line import library_name
from hotdesk.providers.ssh.provider import Ssh
from hotdesk.providers.ssh.settings import Settings
from tests.far_rig import FarMachine, needs_sshd
from tests.test_move_direct import Two, beside, keys_left, running, two_machines

#: The machine has a home of its own, so that a Python in ours is not there.
PYTHON = next(
    (
        path
        for path in map(os.path.realpath, (sys.executable, f"/usr/bin/python3.{sys.version_info[1]}"))
        if os.access(path, os.X_OK) and not Path(path).is_relative_to(pwd.getpwuid(os.getuid()).pw_dir)
    ),
    "",
)
pytestmark = [pytest.mark.tools("ssh", "ssh-keyscan", "unshare", "rsync"), pytest.mark.root, needs_sshd]


class Rules:
    """Who may connect to a cloud's machine."""

    address_url = ""

    def __init__(self) -> None:
        self.now: dict[str, str] = {}  # address by note
        self.past: list[str] = []

    def let_in(self, machine_id: str, cidr: str, note: str) -> None:
        self.now[note] = cidr
        self.past.append(cidr)

    def shut_out(self, machine_id: str, note: str) -> None:
        self.now.pop(note, None)


class Kept:
    """This computer, and an image whose content is in the store of `old` alone."""

    def __init__(self, two: Two, folder: Path) -> None:
        self.two, self.state = two, folder / "state"
        self.rules = Rules()
        enter(self.state, Settings(), two.old.address, two.old.fingerprint)
        self.provider = Ssh(self.state, self._no_keys, Settings())
        far = elsewhere.far(self.state, "old")
        top = two.old.home / "hotdesk"
        python = top / far.owner / "kit" / "bin" / "python"
        python.parent.mkdir(parents=True)
        site = f"{msgspec.__path__[0]}/.."
        python.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{site}" exec {PYTHON} "$@"\n')
        python.chmod(0o755)
        (top / library_name()).mkdir()
        (top / library_name() / "hotdesk").symlink_to(Path(hotdesk.__file__).parent)
        disk = folder / "disk"
        (disk / "home" / "deep").mkdir(parents=True)
        (disk / "home" / "big").write_bytes(os.urandom(40 << 20))
        (disk / "home" / "deep" / "a\nb ü").write_text("odd name")
        (disk / "home" / "deep" / "same").hardlink_to(disk / "home" / "big")
        (disk / "home" / "deep").chmod(0o750)
        os.setxattr(disk / "home" / "big", b"user.tag", b"mine")
        site = disk / "env" / "lib" / "python3.11" / "site-packages" / "mine-1.0.dist-info"
        site.mkdir(parents=True)
        (site / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
        order = BakeOrder(
            desk="blue", born=1.0, generation=1, attempt=0, source_id="m", started_at=1.0, region="ssh"
        )
        self.image = order.name
        there, here = Images(top / far.owner), Images(self.state)
        there.pack(order, disk, lambda share, words: None)
        here.folders.make()
        shutil.copy(there.folders.manifest(order.name), here.folders.manifest(order.name))
        picture = there.picture(order.name)
        assert picture is not None
        records.write(here.folders.image(order.name), msgspec.structs.replace(picture, at="old"))

    @staticmethod
    def _no_keys(desk: str) -> Keys:
        raise AssertionError(desk)

    def bring(self) -> list[str] | None:
        to = Target(
            name="blue",
            ssh=("ssh", *_KNOWN, "new"),
            place=("127.0.0.1", self.two.new.port),
            url="",
            admit=lambda cidr: admitting.admitted(self.state, self.rules, "aws", "i-1", cidr),
        )
        return self.provider.bring(self.image, to, lambda share, words: None)


_KNOWN = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR")


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    with two_machines(tmp_path / "two", monkeypatch) as two:
        if not PYTHON:
            pytest.skip("this Python is in a home folder alone")
        yield Kept(two, tmp_path)


def is_whole(far: FarMachine, disk: Path) -> bool:
    """Whether the new machine has what the image has."""
    big, same = far.root / "big", far.root / "deep" / "same"
    return (
        big.read_bytes() == (disk / "home" / "big").read_bytes()
        and big.stat().st_ino == same.stat().st_ino
        and (far.root / "deep" / "a\nb ü").read_text() == "odd name"
        and stat.S_IMODE((far.root / "deep").stat().st_mode) == 0o750
        and os.getxattr(big, b"user.tag") == b"mine"
    )


def test_straight_to_a_machine_without_hotdesk_cut_once(kept: Kept, tmp_path: Path) -> None:
    """1. Whoever sends is killed in the middle. 2. The same again goes on. Nothing of it stays anywhere."""
    mine = kept.two.new.root / ".ssh" / "authorized_keys"
    mine.write_text("# mine\n")
    killed: list[int] = []

    def kill(over: object) -> None:
        partial = kept.two.new.root
        while not killed and not over.wait(0.002):  # type: ignore[attr-defined]
            if sum(p.stat().st_size for p in partial.glob("**/*big*") if p.is_file()) > 1 << 20:
                for pid in running(kept.image):
                    with contextlib.suppress(OSError):
                        if b"outward" in Path(f"/proc/{pid}/cmdline").read_bytes():
                            os.kill(pid, signal.SIGKILL)
                            killed.append(pid)

    with beside(kill):
        try:
            lock = kept.bring()
        except OSError:
            lock = kept.bring()
    assert killed, "nothing was killed"
    assert lock == ["mine==1.0"], "the list of packages comes here, to be installed there"
    assert is_whole(kept.two.new, tmp_path / "disk")
    assert mine.read_text() == "# mine\n"
    assert keys_left(kept.two.old, kept.two.new) == []
    assert kept.rules.now == {}, "the address is let in no longer"
    assert set(kept.rules.past) == {"127.0.0.1/32"}, "and no other ever was"
    assert not [*(kept.state / "ways").iterdir()]
    assert not [p for p in kept.two.old.home.glob("hotdesk/of-*/local/outward/*") if p.is_dir()]


def test_where_there_is_no_way_everything_is_as_before(kept: Kept) -> None:
    kept.two.new.lets_in_nobody_else()
    with pytest.raises(NotStraight):
        kept.bring()
    assert keys_left(kept.two.old, kept.two.new) == []
    assert kept.rules.now == {}


def test_the_one_copy_of_an_image_is_not_tidied_away(kept: Kept) -> None:
    """Neither as long as it is known here, nor where hotdesk there runs no more."""
    far, images = elsewhere.far(kept.state, "old"), Images(kept.state)
    kept.provider.hosts.use("old")
    kept.provider.tidy()
    manifest = Images(kept.two.old.home / "hotdesk" / far.owner).folders.manifest(kept.image)
    assert manifest.exists()
    shutil.rmtree(kept.two.old.home / "hotdesk" / far.owner / "kit")
    images.folders.image(kept.image).unlink()
    kept.provider.tidy()
    with pytest.raises(Refused, match="files of a desk are still at old"):
        far.leave()
    assert manifest.exists()


def test_an_image_that_is_here_goes_from_here(kept: Kept) -> None:
    images = Images(kept.state)
    picture = images.whole(kept.image)
    records.write(images.folders.image(kept.image), msgspec.structs.replace(picture, at=""))
    assert kept.bring() is None


def test_a_rule_that_a_killed_process_has_left_is_taken_away_by_the_next_look(tmp_path: Path) -> None:
    """Not by another cloud's, nor as long as the way is open."""
    rules = Rules()
    with admitting.admitted(tmp_path, rules, "aws", "i-1", "203.0.113.7/32"):
        [record] = (tmp_path / "ways").glob("*.rule")
        left = record.read_bytes()
        admitting.sweep(tmp_path, rules, "aws")
        assert [*rules.now.values()] == ["203.0.113.7/32"], "it is in use"
        [note] = rules.now
    assert rules.now == {}
    rules.let_in("i-1", "203.0.113.7/32", note)
    record.write_bytes(left)
    admitting.sweep(tmp_path, rules, "aliyun")
    assert rules.now
    admitting.sweep(tmp_path, rules, "aws")
    assert rules.now == {}
    assert not [*(tmp_path / "ways").iterdir()]
    assert admitting.is_over(note, 9e9)
    assert not admitting.is_over(note, 0.0)
    assert not admitting.is_over("ssh of a colleague until 5", 9e9)


@pytest.mark.parametrize("no", [Refused(Kind.THROTTLED, "too busy"), Unreachable("no answer")])
def test_a_rule_that_cannot_be_taken_away_stays_written_down(tmp_path: Path, no: Exception) -> None:
    class Busy(Rules):
        def shut_out(self, machine_id: str, note: str) -> None:
            raise no

    with admitting.admitted(tmp_path, Busy(), "aws", "i-1", "203.0.113.7/32"):
        pass
    admitting.sweep(tmp_path, Busy(), "aws")
    assert len([*(tmp_path / "ways").glob("*.rule")]) == 1


def test_the_address_is_that_of_the_way_to_there() -> None:
    assert address("127.0.0.1", "") == "127.0.0.1"
    assert address("no.such.host.invalid", "") == ""
