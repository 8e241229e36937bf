# ruff: noqa: PTH101, PTH102, PTH115, PTH123, PTH208, PTH211
"""Images of local desks: what was captured comes back exactly, whatever happens on the way.

python tests/test_snapshot.py SEED COUNT      kill capture, restore and forget COUNT times each
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotdesk.core.errors import Kind, Refused
from hotdesk.snapshots import chunk_store, pack_file
from hotdesk.snapshots.cache import smudge
from hotdesk.snapshots.rmtree import remove_tree
from hotdesk.snapshots.snapshot import capture, forget, remove, restore, verify
from hotdesk.snapshots.tree import Entry

SRC = Path(__file__).parents[1] / "src"
MIB = 1 << 20
NOBODY = 65534  # a user id


# A second, independent opinion of what a tree is


def picture(folder: Path) -> dict[bytes, Any]:
    """Everything that must come back, by path below `folder`; plain os calls, nothing of the code tested."""
    seen: dict[bytes, Any] = {}
    groups: dict[tuple[int, int], bytes] = {}
    todo = [b""]
    top = os.fsencode(folder)
    while todo:
        below = todo.pop()
        path = top + b"/" + below if below else top
        status = os.lstat(path)
        row: list[Any] = [stat.filemode(status.st_mode), status.st_mtime_ns, status.st_uid, status.st_gid]
        if stat.S_ISDIR(status.st_mode):
            todo += [below + b"/" + n if below else n for n in sorted(os.listdir(path))]
        elif stat.S_ISLNK(status.st_mode):
            row.append(os.readlink(path))
        elif stat.S_ISREG(status.st_mode):
            row += [content(path), holes(path)]
        elif stat.S_ISSOCK(status.st_mode):
            continue
        if not stat.S_ISDIR(status.st_mode) and status.st_nlink > 1:
            row.append(("one with", groups.setdefault((status.st_dev, status.st_ino), below)))
        if hasattr(os, "listxattr") and not stat.S_ISLNK(status.st_mode):
            names = sorted(os.listxattr(path))
            row.append([(n, os.getxattr(path, n)) for n in names])
        seen[below] = row
    # the first of a group depends on the order of the walk: name it by its smallest path
    smallest: dict[bytes, bytes] = {}
    for below, row in seen.items():
        for cell in row:
            if isinstance(cell, tuple):
                smallest[cell[1]] = min(smallest.get(cell[1], below), below)
    return {
        below: [("one with", smallest[c[1]]) if isinstance(c, tuple) else c for c in row]
        for below, row in seen.items()
    }


def content(path: bytes) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def holes(path: bytes) -> list[tuple[int, int]]:
    fd = os.open(path, os.O_RDONLY)
    try:
        size, at, found = os.fstat(fd).st_size, 0, []
        while at < size:
            begin = os.lseek(fd, at, os.SEEK_HOLE)
            if begin >= size:
                break
            at = size
            with contextlib.suppress(OSError):  # ENXIO: a hole up to the end
                at = os.lseek(fd, begin, os.SEEK_DATA)
            found.append((begin, at))
        return found
    finally:
        os.close(fd)


class Place:
    """A disk, a store and manifests below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disk, self.store, self.copy = folder / "disk", folder / "store", folder / "copy"
        self.manifest, self.before = folder / "manifest", folder / "before"

    def park(self) -> Any:
        if self.manifest.exists():
            self.manifest.rename(self.before)
        previous = self.before if self.before.exists() else None
        done = capture(self.disk, self.store, self.manifest, previous=previous)
        verify(self.manifest, self.store)
        return done

    def resume(self) -> Path:
        remove(self.copy)
        restore(self.manifest, self.store, self.copy)
        return self.copy

    def check(self) -> None:
        assert picture(self.resume()) == picture(self.disk)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    here = Place(tmp_path)
    here.disk.mkdir()
    yield here
    for folder in (here.disk, here.copy):
        remove(folder)  # deeper than what others can delete


@contextlib.contextmanager
def scratch() -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as name:
        here = Place(Path(name))
        here.disk.mkdir()
        try:
            yield here
        finally:
            remove(here.disk)
            remove(here.copy)


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def refusal(kind: Kind, act: Callable[[], object]) -> Refused:
    with pytest.raises(Refused) as caught:
        act()
    assert caught.value.kind is kind, caught.value
    return caught.value


def a_home(disk: Path) -> None:
    """A bit of everything."""
    write(disk / "notes.txt", b"one\n")
    write(disk / "empty", b"")
    write(disk / "src" / "train.py", b"import os\n" * 400).chmod(0o755)
    write(disk / "ckpt" / "epoch1.pt", noise(9 * MIB))
    write(disk / "ckpt" / "zeros.bin", bytes(5 * MIB))
    (disk / "nothing" / "below").mkdir(parents=True)
    (disk / "dangling").symlink_to("/nowhere/at/all")
    os.link(disk / "notes.txt", disk / "src" / "same-notes")
    os.mkfifo(disk / "pipe", 0o640)
    with (disk / "sparse.img").open("wb") as file:
        file.seek(3 * MIB)
        file.write(b"in the middle")
        file.truncate(40 * MIB)
    for odd in (b"-rf", b"new\nline", b"\xff\xfe not utf-8", b"x" * 255, " spaced 字 ".encode()):
        path = os.fsencode(disk) + b"/" + odd
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o604))
        os.utime(path, ns=(1, 1_234_567_891_123_456_789))
    (disk / "src").chmod(0o2750)
    (disk / "nothing").chmod(0o1777)
    (disk / "empty").chmod(0o4711)
    os.utime(disk / "ckpt", ns=(5, 5_000_000_001))
    os.utime(disk / "dangling", ns=(7, 7_000_000_003), follow_symlinks=False)
    os.utime(disk, ns=(9, 999_999_999_999_999_999))


# Round trips


def test_everything_comes_back(place: Place) -> None:
    a_home(place.disk)
    before = picture(place.disk)
    done = place.park()
    assert picture(place.disk) == before, "a capture changes nothing"
    assert picture(place.resume()) == before
    assert done.note == ""
    assert done.bytes == sum(len(row[4]) for row in before.values() if row[0][0] == "-") - (
        40 * MIB - 4096 + len(b"one\n")
    ), "holes and second names are not counted"
    assert {stat.S_IMODE(p.stat().st_mode) for p in (place.manifest, *place.store.glob("packs/*"))} == {0o600}
    assert stat.S_IMODE((place.store / "packs").stat().st_mode) == 0o700


names = st.one_of(
    st.sampled_from([b"a", b"b", b"c", b"-n", b"\xff", b"new\nline", b"y" * 255]),
    st.binary(min_size=1, max_size=12).map(lambda b: b.replace(b"/", b"_").replace(b"\0", b"0")),
).filter(lambda name: name not in (b".", b".."))
contents = st.one_of(
    st.binary(max_size=40),
    st.builds(lambda unit, times: unit * times, st.binary(min_size=1, max_size=9), st.integers(0, 60_000)),
    st.sampled_from([bytes(70_000), noise(MIB + 1), noise(2 * MIB, 2)]),
)
nodes = st.tuples(
    st.integers(0, 30),  # in which of the folders there are
    names,
    st.sampled_from(["folder", "folder", "file", "file", "sparse", "symlink", "link", "fifo", "socket"]),
    contents,
    st.sampled_from([0o644, 0o755, 0, 0o4755, 0o2711, 0o1777, 0o400, 0o077]),
    st.integers(-(2**31), 2**33).map(lambda s: s * 1_000_000_000 + abs(s) % 999_999_999),
    st.sampled_from([0, 1000, 65534]),
    st.dictionaries(st.sampled_from(["user.a", "user.\u00e9t\u00e9"]), st.binary(max_size=30), max_size=2),
)


def grow(disk: Path, rows: list[Any]) -> None:
    """A tree of these nodes; what cannot be (a name twice) is left out."""
    folders, others, finish = [os.fsencode(disk)], [], []
    for where, name, kind, data, mode, mtime_ns, owner, xattrs in rows:
        path = folders[where % len(folders)] + b"/" + name
        if os.path.lexists(path) or len(path) > 3000:
            continue
        if kind == "folder":
            os.mkdir(path)
            folders.append(path)
        elif kind == "symlink":
            os.symlink(data[:200].replace(b"\0", b"/") or b"x", path)
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "socket":
            if len(path) < 100:
                with socket.socket(socket.AF_UNIX) as server:
                    server.bind(path)
            continue
        elif kind == "link" and others:
            os.link(others[where % len(others)], path, follow_symlinks=False)
            continue
        else:
            fd = os.open(path, os.O_CREAT | os.O_WRONLY)
            if kind == "sparse":
                os.ftruncate(fd, 300_000 + len(data))
                os.pwrite(fd, data[:5000], where * 4096)
            else:
                pack_file.write_at(fd, data, 0)
            os.close(fd)
        if kind != "folder":
            others.append(path)
        finish.append((path, kind, mode, mtime_ns, owner, xattrs))
    for path, kind, mode, mtime_ns, owner, xattrs in reversed(finish):
        if kind not in ("symlink", "fifo") and hasattr(os, "setxattr"):
            with contextlib.suppress(OSError):  # a file system without them
                for key, value in xattrs.items():
                    os.setxattr(path, key, value)
        if os.geteuid() == 0:
            os.chown(path, owner, owner + 1, follow_symlinks=False)
        if kind != "symlink":
            os.chmod(path, mode)
        os.utime(path, ns=(0, mtime_ns), follow_symlinks=False)


@settings(max_examples=60)
@given(rows=st.lists(nodes, max_size=25), changes=st.lists(nodes, max_size=5))
def test_any_tree_comes_back_also_when_it_is_parked_again(rows: list[Any], changes: list[Any]) -> None:
    if os.geteuid():  # the second opinion reads by path
        rows, changes = ([(*r[:4], r[4] | 0o700, *r[5:]) for r in some] for some in (rows, changes))
    with scratch() as here:
        grow(here.disk, rows)
        before = picture(here.disk)
        here.park()
        assert picture(here.disk) == before
        here.check()
        here.disk, here.copy = here.copy, here.disk  # go on working in what was restored
        grow(here.disk, changes)
        here.park()
        here.check()


def test_a_tree_deeper_than_any_path_may_be_long(place: Place) -> None:
    def descend(folder: Path, act: Callable[[int, int], None]) -> None:
        fd = os.open(folder, os.O_RDONLY)
        try:
            for level in range(1200):
                act(fd, level)
                fd, above = os.open(b"level-of-the-tree", os.O_RDONLY, dir_fd=fd), fd
                os.close(above)
        finally:
            os.close(fd)

    def make(fd: int, level: int) -> None:
        os.mkdir(b"level-of-the-tree", dir_fd=fd)
        if level % 300 == 0:
            os.close(os.open(f"file{level}", os.O_CREAT, dir_fd=fd))
            os.mkdir(f"zz{level}", dir_fd=fd)  # visited after the long way down and up again
            os.symlink("x", f"zz{level}/link", dir_fd=fd)

    found: list[list[str]] = []
    descend(place.disk, make)
    place.park()
    again = place.resume()
    descend(again, lambda fd, _: found.append(sorted(os.listdir(fd))))
    assert len(found) == 1200
    assert found[900] == ["file900", "level-of-the-tree", "zz900"]
    for folder in (place.disk, again):
        remove_tree(folder)  # pytest cannot, and says so whenever it tidies up


def test_sockets_are_left_out_and_named(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.disk)  # a socket's path must be short
    for name in ("tmux", "other"):
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(name)
    monkeypatch.chdir("/")
    assert place.park().note == "2 sockets left out (other, tmux)"
    own = place.disk / "run" / f"tmux-{os.getuid()}"
    own.mkdir(parents=True)
    monkeypatch.chdir(own)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("default")
    monkeypatch.chdir("/")
    assert place.park().note == "2 sockets left out (other, tmux)", "that of the desk's own tmux is no news"
    place.check()


def test_a_link_out_of_the_disk_is_not_followed(place: Place) -> None:
    write(place.folder / "secret" / "key", b"private")
    (place.disk / "out").symlink_to(place.folder / "secret")
    assert place.park().bytes == 0
    place.check()


def test_names_are_told_apart_from_their_escapes(place: Place) -> None:
    (place.disk / "gone\nwrong").mkdir()
    (place.disk / "gone\nwrong" / "x").write_bytes(noise(5000))
    place.park()
    for pack in place.store.glob("packs/*.pack"):
        pack.unlink()
    assert "gone\\nwrong/x" in refusal(Kind.CORRUPT, lambda: verify(place.manifest, place.store)).message


def test_access_lists_come_back_and_none_are_inherited(place: Place) -> None:
    rows = [(1, 6, -1), (2, 4, 1000), (4, 4, -1), (16, 4, -1), (32, 0, -1)]  # owner, a user, group, mask
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *row) for row in rows)
    file = write(place.disk / "shared" / "file", b"x")
    try:
        os.setxattr(file, "system.posix_acl_access", acl)
    except (OSError, AttributeError):
        pytest.skip("no access lists on this file system")
    place.park()
    os.setxattr(place.folder, "system.posix_acl_default", acl)
    place.check()
    assert os.getxattr(place.copy / "shared" / "file", "system.posix_acl_access") == acl
    assert os.listxattr(place.copy) == []


# What it costs


def bytes_read() -> int:
    """By this process, through system calls, so far."""
    counts = Path("/proc/self/io").read_text().split()
    return int(counts[counts.index("rchar:") + 1])


needs_counts = pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="no count of bytes read here")


def age() -> None:
    """Wait until the files' change times are old enough to be trusted (their clock ticks every few ms)."""
    threading.Event().wait(0.05)


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="Linux only")
def test_a_file_that_may_not_be_written_gets_its_attributes_back() -> None:
    """As somebody who is not root: Linux lets them set attributes of what they may write."""
    me = os.geteuid()
    with tempfile.TemporaryDirectory(prefix="hotdesk-") as name:
        top = Path(name)
        file = top / "disk" / "file"
        file.parent.mkdir()
        file.write_bytes(b"mine")
        try:
            os.setxattr(file, "user.mine", b"1")
        except OSError:
            pytest.skip("this file system has no attributes")
        file.chmod(0o444)
        capture(file.parent, top / "store", top / "manifest")
        restore(top / "manifest", top / "store", top / "first")  # and all is imported
        for path in [top, *top.rglob("*")]:
            os.chown(path, me or NOBODY, -1)
        try:
            os.seteuid(me or NOBODY)
            restore(top / "manifest", top / "store", top / "back")
        finally:
            os.seteuid(me)
        assert os.getxattr(top / "back" / "file", "user.mine") == b"1"
        assert stat.S_IMODE((top / "back" / "file").stat().st_mode) == 0o444


@needs_counts
def test_parking_again_costs_the_change(place: Place) -> None:
    for number in range(200):
        write(place.disk / f"src/{number % 9}/{number}.py", noise(3000, number))
    big = write(place.disk / "big.pt", noise(30 * MIB))
    age()
    first = place.park()
    assert first.stored_bytes > 30 * MIB
    with big.open("ab") as file:
        file.write(noise(1000))
    write(place.disk / "src/3/3.py", b"changed")
    age()
    start = bytes_read()
    second = place.park()
    assert second.files == first.files
    assert second.new_bytes < 2 * pack_file.CHUNK + 10
    assert bytes_read() - start < 30 * MIB + 3 * pack_file.CHUNK + MIB, (
        "the grown file, and what is new read back"
    )
    age()
    start = bytes_read()
    third = place.park()
    assert (third.new_bytes, third.stored_bytes) == (0, 0)
    assert bytes_read() - start < 300_000
    place.check()


@needs_counts
def test_the_first_park_after_a_resume_reads_almost_nothing(place: Place) -> None:
    os.link(write(place.disk / "big.pt", noise(60 * MIB)), place.disk / "link.pt")
    place.park()
    place.resume()
    place.disk, place.copy = place.copy, place.disk
    start = bytes_read()
    assert place.park().new_bytes == 0
    assert bytes_read() - start < 2 * MIB
    place.check()


def test_the_same_content_is_kept_once(place: Place) -> None:
    for number in range(20):
        write(place.disk / f"{number}/same.bin", noise(2 * MIB))
        write(place.disk / f"{number}/small", b"the same little file")
    done = place.park()
    assert done.new_bytes == 2 * MIB + len(b"the same little file")
    assert done.bytes == 20 * done.new_bytes
    place.check()


def test_a_change_right_after_a_capture_is_seen_even_if_size_and_time_are_the_same(place: Place) -> None:
    """Racy timestamps: the file is changed within the tick of the clock in which it was captured."""
    file = place.disk / "weights"
    for number in range(40):
        file.write_bytes(b"%08d" % number)
        os.utime(file, ns=(0, 10**18))
        place.park()
        assert (place.resume() / "weights").read_bytes() == b"%08d" % number


def test_files_changed_moments_ago_are_not_trusted_by_their_times() -> None:
    def entry(ctime_ns: int) -> Entry:
        return Entry(0, b"x", "f", 0o644, 0, 0, 0, ctime_ns, 1)

    now = 1_700_000_000_123_456_789
    fine = [entry(now - ns) for ns in (-5_000_000, 0, 4_000_000, 15_000_000, 50_000_000)]
    whole_seconds = [entry(now // 10**9 * 10**9 - ns) for ns in (0, 10**9, 2 * 10**9)]
    smudge([*fine, *whole_seconds], now)
    assert [e.ctime_ns > 0 for e in fine] == [False] * 4 + [True]
    assert [e.ctime_ns > 0 for e in whole_seconds] == [False, False, True]


def test_progress_is_told_seldom_and_ends_at_one(place: Place) -> None:
    for number in range(300):
        write(place.disk / str(number), noise(300_000, number))
    for act in (
        lambda tell: capture(place.disk, place.store, place.manifest, progress=tell),
        lambda tell: verify(place.manifest, place.store, progress=tell),
        lambda tell: restore(place.manifest, place.store, place.copy, progress=tell),
    ):
        told: list[tuple[float, str]] = []
        act(lambda fraction, what, told=told: told.append((fraction, what)))  # type: ignore[misc]
        assert 2 <= len(told) <= 8
        assert [f for f, _ in told] == sorted(f for f, _ in told)
        assert told[-1][0] == 1.0


def test_an_interrupt_leaves_no_thread_and_no_half_disk(place: Place) -> None:
    for number in range(60):
        write(place.disk / str(number), noise(2 * MIB, number))

    threads = threading.active_count()

    def interrupt(fraction: float, what: str) -> None:
        if fraction > 0.2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        capture(place.disk, place.store, place.manifest, progress=interrupt)
    assert threading.active_count() == threads
    assert not place.manifest.exists()
    place.park()
    with pytest.raises(KeyboardInterrupt):
        restore(place.manifest, place.store, place.copy, progress=interrupt)
    assert threading.active_count() == threads
    assert not place.copy.exists()
    place.check()


# Damage


def damage_flip(pack: Path, rng: random.Random) -> None:
    data = bytearray(pack.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    pack.write_bytes(data)


def damage_cut(pack: Path, rng: random.Random) -> None:
    os.truncate(pack, rng.randrange(pack.stat().st_size))


def damage_remove(pack: Path, rng: random.Random) -> None:
    pack.unlink()


@pytest.mark.parametrize("harm", [damage_flip, damage_cut, damage_remove])
def test_a_damaged_pack_is_noticed_and_healed_by_the_next_park(
    tmp_path: Path, harm: Callable[[Path, random.Random], None]
) -> None:
    rng = random.Random(7)
    for attempt in range(8):
        here = Place(tmp_path / str(attempt))
        here.disk.mkdir(parents=True)
        write(here.disk / "data.bin", noise(300_000))
        write(here.disk / "text", b"words " * 9000)
        here.park()
        pack = rng.choice(sorted(here.store.glob("packs/*.pack")))
        harm(pack, rng)
        for act in (
            lambda here=here: verify(here.manifest, here.store),
            lambda here=here: restore(here.manifest, here.store, here.copy),
        ):
            error = refusal(Kind.CORRUPT, act)
            assert error.fix
            assert "data.bin" in error.message or "text" in error.message
            assert harm is damage_remove or str(pack) in error.message
        assert not here.copy.exists(), "never a silently wrong file"
        assert [p.name for p in here.folder.iterdir() if "restoring" in p.name] == []
        here.park()
        here.check()


def test_rot_that_leaves_the_stat_signature_alone_is_noticed_by_restore(place: Place) -> None:
    """1. parked and verified; 2. a bit rots on the medium, so no time changes; 3. resume."""
    write(place.disk / "data.bin", noise(MIB))
    place.park()
    (pack,) = place.store.glob("packs/*.pack")
    damage_flip(pack, random.Random(3))
    with chunk_store.opened(place.store) as store:  # as if the signature had stayed
        store._verified[pack.name] = pack_file.signature_of(pack.stat())
        store._write_verified()
    refusal(Kind.CORRUPT, lambda: restore(place.manifest, place.store, place.copy))
    refusal(Kind.CORRUPT, lambda: verify(place.manifest, place.store))
    place.park()
    place.check()


def test_any_flipped_bit_of_a_manifest_is_noticed(place: Place) -> None:
    write(place.disk / "file", b"content")
    place.park()
    good = place.manifest.read_bytes()
    for at in range(len(good)):
        place.manifest.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
        error = refusal(Kind.CORRUPT, lambda: verify(place.manifest, place.store))
        assert str(place.manifest) in error.message
    for bad in (good[:-1], good[:30], b"", None):
        place.manifest.unlink() if bad is None else place.manifest.write_bytes(bad)
        refusal(Kind.CORRUPT, lambda: verify(place.manifest, place.store))
        refusal(Kind.CORRUPT, lambda: restore(place.manifest, place.store, place.copy))
        refusal(Kind.CORRUPT, lambda: forget(place.store, [place.manifest]))
        assert not place.copy.exists()
    place.manifest.write_bytes(good)
    verify(place.manifest, place.store)


def test_a_damaged_earlier_manifest_only_costs_reading(place: Place) -> None:
    write(place.disk / "file", noise(2 * MIB))
    place.park()
    place.before.write_bytes(b"rubbish")
    assert capture(place.disk, place.store, place.manifest, previous=place.before).new_bytes == 0
    place.check()


# Files that cannot be captured


def test_a_file_that_grows_while_it_is_read(place: Place) -> None:
    write(place.disk / "run" / "log.bin", noise(24 * MIB))
    stop = threading.Event()

    def append() -> None:
        with (place.disk / "run" / "log.bin").open("ab", buffering=0) as file:
            while not stop.wait(0.001):
                file.write(b"more")

    writer = threading.Thread(target=append)
    writer.start()
    try:
        error = refusal(Kind.UNREADABLE, lambda: capture(place.disk, place.store, place.manifest))
    finally:
        stop.set()
        writer.join()
    assert "run/log.bin" in error.message
    assert "changes" in error.message
    assert error.fix
    assert not place.manifest.exists()
    place.park()
    place.check()


def test_the_store_may_not_lie_in_the_disk(place: Place) -> None:
    refusal(Kind.BAD_REQUEST, lambda: capture(place.disk, place.disk / "store", place.manifest))
    assert list(place.disk.iterdir()) == []


# Restoring where something is


def test_a_disk_with_work_in_it_is_never_touched(place: Place) -> None:
    write(place.disk / "file", b"saved")
    place.park()
    write(place.copy / "thesis.tex", b"months of work")
    error = refusal(Kind.MISMATCH, lambda: restore(place.manifest, place.store, place.copy))
    assert str(place.copy) in error.message
    assert (place.copy / "thesis.tex").read_bytes() == b"months of work"


def test_restoring_twice_is_restoring_once(place: Place) -> None:
    write(place.disk / "file", b"saved")
    place.park()
    place.resume()
    write(place.copy / "file", b"worked on since")
    restore(place.manifest, place.store, place.copy)
    assert (place.copy / "file").read_bytes() == b"worked on since"
    # Made while the other still stands: a file system may give a new folder the number of one just removed.
    stranger = place.copy.with_name("stranger")
    write(stranger / "file", b"of somebody else, by now")
    remove(place.copy)
    stranger.rename(place.copy)
    refusal(Kind.MISMATCH, lambda: restore(place.manifest, place.store, place.copy))


def test_an_empty_folder_and_a_half_way_restore_are_replaced(place: Place) -> None:
    a_home(place.disk)
    place.park()
    place.copy.mkdir()
    half = place.copy.with_name(".copy.restoring")
    write(half / "src" / "train.py", b"half-way and wrong")
    (half / "src").chmod(0)
    restore(place.manifest, place.store, place.copy)
    assert picture(place.copy) == picture(place.disk)
    assert not half.exists()


def test_one_disk_is_captured_by_one_process_at_a_time(place: Place) -> None:
    write(place.disk / "file", noise(MIB))
    refused: list[Refused] = []

    def again(fraction: float, what: str) -> None:
        if not refused:
            refused.append(refusal(Kind.NOT_READY, lambda: capture(place.disk, place.store, place.before)))

    capture(place.disk, place.store, place.manifest, progress=again)
    assert "another process" in refused[0].message
    place.check()


def test_several_disks_are_captured_at_once_into_one_store(tmp_path: Path) -> None:
    def one(number: int) -> Place:
        here = Place(tmp_path / str(number))
        here.store = tmp_path / "store"
        for file in range(30):
            write(here.disk / f"{file}.bin", noise(400_000, file + number * 10))
        return here

    places = [one(number) for number in range(4)]
    threads = [threading.Thread(target=here.park) for here in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert forget(tmp_path / "store", (here.manifest for here in places)) >= 0
    for here in places:
        verify(here.manifest, here.store)
        here.check()


# Other users, full disks: done for real, in a process of their own

_PRELUDE = f"""
    import errno, json, os, subprocess, sys
    from pathlib import Path
    sys.path[:0] = [{str(SRC)!r}, {str(Path(__file__).parent)!r}]
    import blake3, msgspec, zstandard, ctypes
    from hotdesk.core.errors import Refused
    from hotdesk.snapshots import chunk_store, pack_file
    from hotdesk.snapshots.snapshot import *
    from hotdesk.snapshots.snapshot import remove
    here = Path(sys.argv[1])
    disk, store, manifest, copy = (here / n for n in ("disk", "store", "manifest", "copy"))
    def refused(act):
        try:
            act()
        except Refused as error:
            return [error.kind, error.message, error.fix]
"""


def run_script(folder: Path, script: str, *, before: tuple[str, ...] = ()) -> Any:
    text = textwrap.dedent(_PRELUDE) + textwrap.dedent(script)
    done = subprocess.run(
        [*before, sys.executable, "-c", text, str(folder)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user can reach and write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "theirs"
        folder.mkdir()
        Path(name).chmod(0o755)
        folder.chmod(0o777)
        yield folder
        remove(folder)


AS_SOMEBODY = "os.getuid() or (os.setgroups([]), os.setgid(65534), os.setuid(65534))\n"


def test_files_that_their_owner_may_not_read_are_saved_with_their_modes(open_folder: Path) -> None:
    found = run_script(
        open_folder,
        AS_SOMEBODY
        + """
disk.mkdir()
(disk / "shut" / "deeper").mkdir(parents=True)
(disk / "shut" / "deeper" / "in.txt").write_text("inside")
for number in range(40):
    (disk / "shut" / str(number)).mkdir()
(disk / "secret").write_bytes(os.urandom(5_000_000))
(disk / "small").write_text("little")
(disk / "kept").mkdir()
(disk / "kept" / "file").write_text("read only")
for path, mode in (("secret", 0), ("small", 0o200), ("shut/deeper", 0o300), ("shut", 0), ("kept", 0o555)):
    (disk / path).chmod(mode)
capture(disk, store, manifest)
verify(manifest, store)
restore(manifest, store, copy)
seen = []
for at in (disk, copy):
    modes = []
    for path in ("secret", "small", "shut", "kept"):
        modes.append(oct((at / path).stat().st_mode))
    (at / "shut").chmod(0o700)
    modes.append(oct((at / "shut" / "deeper").stat().st_mode))
    for path in ("shut/deeper", "secret", "small"):
        (at / path).chmod(0o700)
    secret = pack_file.digest((at / "secret").read_bytes()).hex()
    seen.append([modes, (at / "shut/deeper/in.txt").read_text(), secret])
remove(copy)
print(json.dumps([seen, copy.exists(), len(list(store.glob("disks/*.modes")))]))
""",
    )
    (disk, copy), left, notes = found
    assert disk == copy
    assert disk[0] == ["0o100000", "0o100200", "0o40000", "0o40555", "0o40300"]
    assert (left, notes) == (False, 0)


@pytest.mark.root
def test_a_file_of_another_user_is_refused_by_name(open_folder: Path) -> None:
    write(open_folder / "disk" / "ours.txt", b"fine")
    write(open_folder / "disk" / "docker" / "theirs.bin", b"not readable").chmod(0o600)
    found = run_script(
        open_folder,
        AS_SOMEBODY
        + "print(json.dumps([refused(lambda: capture(disk, store, manifest)), manifest.exists()]))",
    )
    (kind, message, fix), there = found
    assert kind == "unreadable"
    assert "docker/theirs.bin" in message
    assert fix
    assert not there
    (open_folder / "disk" / "docker").chmod(0o700)
    found = run_script(
        open_folder, AS_SOMEBODY + "print(json.dumps(refused(lambda: capture(disk, store, manifest))))"
    )
    assert found[0] == "unreadable"
    assert "docker" in found[1]


def _own_mounts() -> tuple[str, ...]:
    """A command that runs another with mounts of its own, which end with it; () where that cannot be."""
    for flags in (("-m",), ("-r", "-m")):
        command = ("unshare", *flags)
        with contextlib.suppress(OSError):
            probe = "mount -t tmpfs -o size=1m none /mnt"
            if not subprocess.run([*command, "sh", "-c", probe], capture_output=True).returncode:
                return command
    return ()


OWN_MOUNTS = _own_mounts()
needs_mounts = pytest.mark.skipif(not OWN_MOUNTS, reason="mounts of one's own are not possible here")
_MOUNT = """
def tmpfs(folder, options):
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True)
"""


@needs_mounts
def test_a_full_disk_while_capturing(tmp_path: Path) -> None:
    write(tmp_path / "disk" / "big.bin", noise(12 * MIB))
    write(tmp_path / "disk" / "small.txt", b"words")
    found = run_script(
        tmp_path,
        _MOUNT
        + """
tmpfs(store, "size=30m")
ballast = store / "ballast"
ballast.write_bytes(bytes(21 << 20))
no = refused(lambda: capture(disk, store, store / "manifest"))
left = [p.name for p in store.rglob("*") if p.name.startswith("new-") or "manifest" in p.name]
ballast.unlink()
capture(disk, store, store / "manifest")
verify(store / "manifest", store)
restore(store / "manifest", store, copy)
print(json.dumps([no, left]))
""",
        before=OWN_MOUNTS,
    )
    (kind, message, fix), left = found
    assert kind == "no-space"
    assert "12.0 MiB" in message
    assert "free" in message
    assert fix
    assert left == []
    assert picture(tmp_path / "copy") == picture(tmp_path / "disk")


@needs_mounts
@pytest.mark.parametrize(("mib", "files"), [(19, 0), (0, 180)])
def test_a_full_disk_while_restoring(tmp_path: Path, mib: int, files: int) -> None:
    for number in range(100):
        write(tmp_path / "disk" / f"{number}.bin", noise(100_000, number))
    found = run_script(
        tmp_path,
        _MOUNT
        + f"""
capture(disk, store, manifest)
tmpfs(here / "small", "size=24m,nr_inodes=220")
ballast = here / "small" / "ballast"
ballast.mkdir()
(ballast / "big").write_bytes(bytes({mib} << 20))
for number in range({files}):
    (ballast / str(number)).touch()
no = refused(lambda: restore(manifest, store, here / "small" / "copy"))
left = [p.name for p in (here / "small").iterdir()]
remove(ballast)
restore(manifest, store, here / "small" / "copy")
same = subprocess.run(["diff", "-r", str(disk), str(here / "small" / "copy")]).returncode
print(json.dumps([no, left, same]))
""",
        before=OWN_MOUNTS,
    )
    (kind, message, fix), left, same = found
    assert kind == "no-space"
    assert "9.5 MiB" in message
    assert ("quota" in message) == bool(files)
    assert fix
    assert left == ["ballast"]
    assert same == 0


@needs_mounts
def test_a_file_system_mounted_inside_is_saved_and_named(tmp_path: Path) -> None:
    found = run_script(
        tmp_path,
        _MOUNT
        + """
disk.mkdir()
tmpfs(disk / "scratch", "size=2m")
(disk / "scratch" / "inside").write_text("in the mount")
(disk / "outside").write_text("x")
first, second = (capture(disk, store, manifest, previous=manifest) for _ in range(2))
verify(manifest, store)
restore(manifest, store, copy)
print(json.dumps([first.note, second.note, (copy / "scratch" / "inside").read_text()]))
""",
        before=OWN_MOUNTS,
    )
    assert found == ["other file systems saved as plain folders (scratch)"] * 2 + ["in the mount"]


# kill -9 at any moment


def kill_at(count: int, act: Callable[[], object]) -> bool:
    """Run `act` in a process that kills itself at its `count`th call that touches files; whether it did."""
    pid = os.fork()
    if not pid:
        calls = 0
        lock = threading.Lock()

        def hook(event: str, args: tuple[Any, ...]) -> None:
            nonlocal calls
            if event != "os.kill" and (event == "open" or event.startswith(("os.", "fcntl."))):
                with lock:
                    calls += 1
                    if calls == count:
                        os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(hook)
            act()
            os._exit(0)
        except BaseException as error:
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status != 0


def kills(folder: Path, seed: int, count: int) -> dict[str, int]:
    """`count` rounds of each verb, killed at moments drawn from `seed` until it gets through.

    After each kill nothing may be lost, half done or taken for whole. Returns how often each was killed.
    """
    chunk_store.PACK = 200_000  # many packs, so many moments between them
    rng = random.Random(seed)
    here = Place(folder)
    here.disk.mkdir(parents=True)
    if os.getuid() == 0:  # root never needs to loosen a mode
        for path in (folder, here.disk):
            os.chown(path, 65534, 65534)
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    for number in range(12):
        write(here.disk / f"{number % 3}" / f"{number}.bin", noise(rng.randrange(90_000), number))
    write(here.disk / "shut" / "secret", noise(1000)).chmod(0)
    (here.disk / "shut").chmod(0o300)
    older = here.folder / "older"
    capture(here.disk, here.store, older)
    done = {"capture": 0, "restore": 0, "forget": 0}

    def look(at: Path) -> Any:
        """The picture of a tree with a folder that may not be listed."""
        modes = [(at / "shut").stat().st_mode, (at / "shut" / "secret").stat().st_mode]
        (at / "shut").chmod(0o700)
        (at / "shut" / "secret").chmod(0o400)
        try:
            return modes, picture(at)
        finally:
            (at / "shut" / "secret").chmod(modes[1] & 0o777)
            (at / "shut").chmod(modes[0] & 0o777)

    def until_through(verb: str, act: Callable[[], object], check: Callable[[], object]) -> None:
        calls = 30
        while kill_at(rng.randrange(1, calls), act):
            done[verb] += 1
            calls += calls // 5
            check()

    older_look = look(here.disk)
    for number in range(count):
        write(here.disk / "0" / "changes.bin", noise(rng.randrange(500_000), number))
        write(here.disk / "new" / str(number % 7), noise(rng.randrange(200_000), -number))
        wanted = look(here.disk)
        keep = [older, here.manifest]

        def whole(keep: list[Path] = keep) -> None:
            for manifest in keep:
                if manifest is older or manifest.exists():
                    verify(manifest, here.store)

        until_through("capture", lambda: capture(here.disk, here.store, here.manifest), whole)
        assert look(here.disk) == wanted, "permission bits given for a moment are taken back"
        verify(here.manifest, here.store)

        def absent_or_exact(wanted: Any = wanted) -> None:
            assert not here.copy.exists() or look(here.copy) == wanted

        until_through("restore", lambda: restore(here.manifest, here.store, here.copy), absent_or_exact)
        assert look(here.copy) == wanted
        remove(here.copy)
        until_through("forget", lambda keep=keep: forget(here.store, keep), whole)  # type: ignore[misc]
        assert not list(here.store.glob("packs/new-*"))
        for manifest, expected in ((here.manifest, wanted), (older, older_look)):
            restore(manifest, here.store, here.copy)
            assert look(here.copy) == expected
            remove(here.copy)
        here.manifest.unlink()
    return done


def test_kills_at_random_moments_lose_nothing(open_folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, __file__, "11", "4", str(open_folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SRC)},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert min(counts.values()) >= 1, counts
    assert sum(counts.values()) >= 20, counts


if __name__ == "__main__":
    with contextlib.ExitStack() as stack:
        if len(sys.argv) > 3:
            base = Path(sys.argv[3])
        else:
            base = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            os.getuid() or os.chown(base, 65534, 65534)
        print(json.dumps(kills(base / "kills", int(sys.argv[1]), int(sys.argv[2]))))
        remove(base / "kills")
