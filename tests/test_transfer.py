"""Disks and images on their way between two computers: over a line that is cut, damaged, or whole."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from hotdesk.core.errors import Kind, Refused
from hotdesk.snapshots import snapshot, transfer
from hotdesk.snapshots.transfer import Cut, Line


class Frail:
    """The reading end of a pipe that is cut after so many bytes, or changes one of them."""

    def __init__(self, fd: int, cut: int = -1, damage: int = -1) -> None:
        self.file, self.left, self.damage = os.fdopen(fd, "rb", buffering=0), cut, damage

    def read(self, count: int) -> bytes:
        if self.left == 0:
            self.file.close()
            return b""
        data = bytearray(self.file.read(count if self.left < 0 else min(count, self.left)) or b"")
        if 0 <= self.damage < len(data):
            data[self.damage] ^= 1
        self.damage -= len(data)
        self.left -= len(data) if self.left > 0 else 0
        return bytes(data)


def between(
    near: Callable[[Line], object], far: Callable[[Line], object], *, cut: int = -1, damage: int = -1
) -> Line:
    """Run both ends; what reaches the near end is frail. Raises what the near end raises."""
    come, goes_there = os.pipe()
    comes_there, goes = os.pipe()
    here = Line(cast(BinaryIO, Frail(come, cut, damage)), os.fdopen(goes, "wb", buffering=0))
    there = os.fdopen(comes_there, "rb", buffering=0), os.fdopen(goes_there, "wb", buffering=0)

    def serve() -> None:
        transfer.serve(far, *there)
        for pipe in there:
            pipe.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        near(here)
        return here
    finally:
        here._goes.close()
        here._came.file.close()  # type: ignore[attr-defined]
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    dice = random.Random(3)
    disk = tmp_path / "disk"
    for number in range(150):
        path = disk / f"d{number % 7}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dice.randbytes(2000) if number % 2 else b"text " * dice.randrange(900))
    (disk / "big").write_bytes(dice.randbytes(5 << 20))
    (disk / "link").symlink_to("big")
    os.link(disk / "d1" / "f1", disk / "hard")
    with (disk / "sparse").open("wb") as file:
        file.truncate(50 << 20)
    (disk / "secret").write_text("mine")
    (disk / "secret").chmod(0o600)
    return disk


def tree(folder: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*")):
        seen = path.lstat()
        content = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        found[str(path.relative_to(folder))] = (seen.st_mode, seen.st_mtime_ns, content)
    return found


def test_there_and_back_everything_is_the_same_and_only_changes_are_sent(tmp_path: Path, disk: Path) -> None:
    store, other = tmp_path / "store", tmp_path / "other"
    give = lambda line: transfer.give(line, disk, tmp_path / "notes")  # noqa: E731
    first = between(lambda line: transfer.pull(line, store, tmp_path / "1.manifest"), give)
    snapshot.verify(tmp_path / "1.manifest", store)
    assert first.received < 6 << 20, "holes are not sent, and text is compressed"
    (disk / "d3" / "f3").write_text("changed")
    second = between(lambda line: transfer.pull(line, store, tmp_path / "2.manifest"), give)
    assert second.received < 30_000, "what is here is not sent"
    take = lambda line: transfer.take(line, other, tmp_path / "there.manifest")  # noqa: E731
    between(lambda line: transfer.push(line, store, tmp_path / "2.manifest"), take)
    snapshot.restore(tmp_path / "there.manifest", other, tmp_path / "back")
    snapshot.compare(tmp_path / "there.manifest", tmp_path / "back")
    assert tree(tmp_path / "back") == tree(disk)
    again = between(lambda line: transfer.push(line, store, tmp_path / "2.manifest"), take)
    assert again.sent < 30_000
    with (tmp_path / "back" / "big").open("r+b") as file:
        file.seek(4_500_000)
        file.write(b"rot")
    os.utime(tmp_path / "back" / "big", ns=(0, (disk / "big").stat().st_mtime_ns))
    with pytest.raises(Refused, match="big") as rotten:
        snapshot.compare(tmp_path / "there.manifest", tmp_path / "back")
    assert rotten.value.kind is Kind.CORRUPT


def test_a_line_that_is_cut_twenty_times_goes_on_where_it_was(tmp_path: Path, disk: Path) -> None:
    store, manifest, dice = tmp_path / "store", tmp_path / "1.manifest", random.Random(8)
    give = lambda line: transfer.give(line, disk, tmp_path / "notes")  # noqa: E731
    lengths = []
    for _ in range(20):
        with pytest.raises(Cut):
            between(lambda line: transfer.pull(line, store, manifest), give, cut=dice.randrange(1, 300_000))
        assert not manifest.exists(), "nothing half-sent counts as an image"
        lengths.append(sum(p.stat().st_size for p in (store / "packs").glob("*.pack")))
    assert lengths == sorted(lengths)
    whole = between(lambda line: transfer.pull(line, store, manifest), give)
    assert whole.received < (6 << 20) - lengths[-1] + 200_000, "what had arrived is not sent again"
    snapshot.verify(manifest, store)


@pytest.mark.parametrize("damage", [0, 5, 40, 3000, 200_000])
def test_what_arrives_damaged_is_not_kept(tmp_path: Path, disk: Path, damage: int) -> None:
    store, manifest = tmp_path / "store", tmp_path / "1.manifest"
    give = lambda line: transfer.give(line, disk, tmp_path / "notes")  # noqa: E731
    try:
        between(lambda line: transfer.pull(line, store, manifest), give, damage=damage)
    except (Cut, Refused):
        assert not manifest.exists()
    between(lambda line: transfer.pull(line, store, manifest), give)
    snapshot.verify(manifest, store)
    snapshot.restore(manifest, store, tmp_path / "back")
    assert tree(tmp_path / "back") == tree(disk)


def test_why_the_other_end_gives_up_is_said(tmp_path: Path) -> None:
    give = lambda line: transfer.give(line, tmp_path / "absent", tmp_path / "notes")  # noqa: E731
    with pytest.raises(Refused) as no:
        between(lambda line: transfer.pull(line, tmp_path / "store", tmp_path / "1.manifest"), give)
    assert no.value.kind is Kind.UNREADABLE
    assert "absent" in no.value.message
