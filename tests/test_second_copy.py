"""Images on another disk: copied, read back, and what is damaged or missing here brought from there."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from hotdesk.api import Hotdesk
from hotdesk.connect import second_place
from hotdesk.core.errors import NeedsDecision, NotAllowed, Unknown, Unreachable, Usage
from hotdesk.core.model import Desk, Goal
from hotdesk.core.steps import BakeOrder
from hotdesk.providers.local import records
from hotdesk.providers.local.provider import Local
from hotdesk.services import images
from hotdesk.snapshots.pack_file import Pack
from hotdesk.snapshots.pack_file import damage_of as really
from tests.conftest import Command
from tests.far_rig import far_machine, needs_sshd


class Computer:
    """A state folder with parked desks whose homes were packed here."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.local = Local(state, lambda desk: pytest.fail("no keys are needed"))
        self.desks = Hotdesk(state)

    def park(self, desk: str, generation: int, *, born: float = 1.0, **files: bytes) -> str:
        disk = self.state.parent / f"{self.state.name}-{desk}-{born}-{generation}"
        for name, content in files.items():
            (disk / "home").mkdir(parents=True, exist_ok=True)
            (disk / "home" / name).write_bytes(content)
        order = BakeOrder(
            desk=desk, born=born, generation=generation, attempt=0, source_id=f"machine-{generation}",
            started_at=float(generation), region="local",
        )  # fmt: skip
        self.local.pack(order, str(disk), lambda share, words: None)
        self.know(desk)
        return order.name

    def know(self, desk: str) -> None:
        row = Desk(name=desk, goal=Goal.PARKED, since=1.0, created_at=1.0, provider="local")
        self.desks.services.store.put(row)

    def packs(self) -> list[Path]:
        return sorted((self.state / "local" / "store" / "packs").glob("*.pack"))

    def content(self, image: str, name: str) -> bytes:
        folder = self.state / f"restored-{image}"
        return (Path(self.local.unpack(image, str(folder), lambda share, words: None)) / name).read_bytes()


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Computer]:
    made = Computer(tmp_path / "mine")
    yield made
    made.desks.services.close()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


def rot(pack: Path) -> None:
    """A byte goes bad, which neither size nor time shows."""
    seen = pack.stat()
    pack.chmod(0o600)
    content = bytearray(pack.read_bytes())
    content[len(content) // 3] ^= 0xFF
    with pack.open("r+b") as file:
        file.write(content)
    os.utime(pack, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def noise(seed: int, size: int = 300_000) -> bytes:
    return random.Random(seed).randbytes(size)


def test_only_what_is_not_there_is_copied_and_each_is_read_back(mine: Computer, disk: Path) -> None:
    shared = noise(1)
    blue, red = mine.park("blue", 1, a=shared), mine.park("red", 1, a=shared, b=noise(2))
    first = mine.desks.images(copy_to=disk)["copied"]
    assert {one["id"]: one["bytes"] for one in first} in (
        {blue: 300_000, red: 300_000},
        {blue: 0, red: 600_000},
    )
    assert [one["bytes"] for one in mine.desks.images(copy_to=disk)["copied"]] == [0, 0]
    later = mine.park("blue", 2, a=shared, c=b"new")
    assert {one["id"]: one["bytes"] for one in mine.desks.images("blue", copy_to=disk)["copied"]} == {
        later: 3, blue: 0
    }  # fmt: skip


def test_what_rots_is_found_by_reading_and_mended_from_the_copy(mine: Computer, disk: Path) -> None:
    blue = mine.park("blue", 1, a=noise(1))
    mine.desks.images(copy_to=disk)
    assert [one["damage"] for one in mine.desks.images()["images"]] == [None], "it was not read"
    assert [one["damage"] for one in mine.desks.images(verify=True)["images"]] == [""]
    [pack] = mine.packs()
    rot(pack)
    [found] = mine.desks.images(verify=True)["images"]
    assert "a is lost" in str(found["damage"])
    mended = mine.desks.images(copy_from=disk, verify=True)
    assert [(one["id"], one["bytes"]) for one in mended["copied"]] == [(blue, 300_000)]
    assert [one["damage"] for one in mended["images"]] == [""]
    assert mine.content(blue, "a") == noise(1)
    assert mine.desks.images(copy_from=disk)["copied"] == [], "what is whole is left as it is"


def test_what_images_share_is_listed_for_each(mine: Computer, disk: Path) -> None:
    blue = mine.park("blue", 1, a=noise(1), b=noise(2))
    mine.park("red", 1, a=noise(1))
    mine.park("green", 1, c=noise(3))
    rows = mine.desks.images()["images"]
    assert {one["desk"]: one["shared_bytes"] for one in rows} == {"blue": 300_000, "red": 300_000, "green": 0}
    [row] = mine.desks.images("blue")["images"]
    assert row["shared_bytes"] == 300_000, "also with desks that are not listed"
    assert row["age_seconds"] is not None
    folders = mine.local.images.folders
    picture = records.read(folders.image(blue), records.Picture)
    assert picture is not None
    records.write(folders.image(blue), replace(picture, at="gpu1"))  # its content is elsewhere
    shares = mine.local.shared([blue, *(row["id"] for row in rows if row["desk"] == "red")])
    assert [*shares.values()] == [0], "it is no image of this computer's store"
    records.write(folders.image(blue), picture)
    folders.manifest(blue).write_bytes(b"nonsense")
    rows = mine.desks.images()["images"]
    assert {one["desk"]: one["shared_bytes"] for one in rows} == {"blue": None, "red": 0, "green": 0}


def test_what_images_share_is_read_once(mine: Computer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parked each evening, the images of a desk have nearly everything in common."""
    for generation in range(1, 6):
        mine.park("blue", generation, a=noise(1), day=noise(generation, 5000))
    packs = mine.packs()
    read: list[Path] = []

    def damage_of(pack: Pack) -> str:
        read.append(pack.path)
        return really(pack)

    monkeypatch.setattr("hotdesk.snapshots.chunk_store.damage_of", damage_of)
    found = mine.desks.images(verify=True)["images"]
    assert [one["damage"] for one in found] == [""] * 5
    assert sorted(read) == packs


def test_a_copy_that_is_damaged_mends_nothing_and_spoils_nothing(mine: Computer, disk: Path) -> None:
    blue = mine.park("blue", 1, a=noise(1))
    mine.desks.images(copy_to=disk)
    [pack] = (disk / "hotdesk-images" / "store" / "packs").glob("*.pack")
    rot(pack)
    rot(mine.packs()[0])
    with pytest.raises(NotAllowed, match="is damaged"):
        mine.desks.images(copy_from=disk)
    assert [one["id"] for one in mine.desks.images()["images"]] == [blue]


def test_another_computer_gets_the_newest_and_never_goes_back(
    mine: Computer, disk: Path, tmp_path: Path
) -> None:
    mine.park("blue", 1, a=b"monday")
    newest = mine.park("blue", 2, a=b"tuesday")
    mine.desks.images(copy_to=disk)
    other = Computer(tmp_path / "other")
    with other.desks:
        assert [one["id"] for one in other.desks.images(copy_from=disk)["copied"]] == [newest]
        assert other.content(newest, "a") == b"tuesday"
        other.park("blue", 3, a=b"wednesday")
        other.local.delete(newest)
        assert other.desks.images(copy_from=disk)["copied"] == [], "what is here is newer"


def test_a_disk_that_is_not_there_is_noticed(mine: Computer, disk: Path) -> None:
    mine.park("blue", 1, a=b"monday")
    with pytest.raises(Usage, match="There is no folder"):
        mine.desks.images(copy_to=disk / "not mounted")
    with pytest.raises(Usage, match="holds no copies"):
        mine.desks.images(copy_from=disk)
    with pytest.raises(Unknown):
        mine.desks.images("red", copy_to=disk)
    assert list(disk.iterdir()) == []


def test_old_copies_go_after_a_question_and_never_the_last_whole_one(mine: Computer, disk: Path) -> None:
    days = [mine.park("blue", day, a=noise(day)) for day in (1, 2, 3)]
    red = mine.park("red", 1, a=noise(9))
    mine.desks.images(copy_to=disk)
    with pytest.raises(NeedsDecision, match=f"{days[1]}, {days[0]}"):
        mine.desks.images(copy_to=disk, keep=1)
    store = disk / "hotdesk-images"
    before = {path: path.read_bytes() for path in (store / "store" / "packs").glob("*.pack")}
    assert len(list((store / "images").glob("*.json"))) == 4, "nothing goes before somebody agrees"
    for path in before:
        rot(path)
    with pytest.raises(NotAllowed, match="which is to stay, is damaged"):
        images.second(mine.desks.services.clouds, str(disk), "").prune(1, 0.0, anyway=True)
    assert len(list((store / "images").glob("*.json"))) == 4
    for path, content in before.items():
        path.write_bytes(content)
    assert mine.desks.images(copy_to=disk, keep=1, keep_seconds=3600.0, anyway=True)["pruned"] == []
    assert mine.desks.images(copy_to=disk, keep=2, anyway=True)["pruned"] == [days[0]]
    assert mine.desks.images("blue", copy_to=disk, keep=1, anyway=True)["pruned"] == [days[1]]
    left = {path.stem for path in (store / "images").glob("*.json")}
    assert left == {days[2], red}


def test_an_earlier_desk_of_that_name_takes_no_place_of_the_one_that_is(mine: Computer, disk: Path) -> None:
    """It was parked more often: its generation is the higher one."""
    earlier = mine.park("blue", 7, a=b"long ago")
    mine.desks.images(copy_to=disk)
    mine.local.delete(earlier)
    assert [one["id"] for one in mine.desks.images(copy_from=disk)["copied"]] == [earlier]
    mine.local.delete(earlier)
    newest = mine.park("blue", 1, born=2.0, a=b"today")
    done = mine.desks.images(copy_to=disk, keep=1, anyway=True)
    assert ([one["id"] for one in done["copied"]], done["pruned"]) == ([newest], [])
    assert mine.desks.images(copy_from=disk)["copied"] == [], "blue would continue from it"
    mine.local.delete(newest)
    assert [one["id"] for one in mine.desks.images(copy_from=disk)["copied"]] == [newest]


def test_what_cannot_be_read_there_keeps_its_content(mine: Computer, disk: Path) -> None:
    """1. A record of a later hotdesk, say: the rest goes. 2. A manifest: nothing goes, as is said."""
    red, old = mine.park("red", 1, a=noise(1)), mine.park("green", 1, a=noise(2))
    mine.park("green", 2, a=noise(3))
    mine.desks.images(copy_to=disk)
    folder = disk / "hotdesk-images" / "images"
    record, manifest = folder / f"{red}.json", folder / f"{red}.manifest"
    known, listing = record.read_bytes(), manifest.read_bytes()
    record.write_bytes(known.replace(b'"phase":"', b'"phase":"later-'))
    manifest.chmod(0o600)
    manifest.write_bytes(listing[:-9])
    green = images.second(mine.desks.services.clouds, str(disk), "green")
    with pytest.raises(NotAllowed, match="Nothing was deleted"):
        green.prune(1, 0.0, anyway=True)
    assert len(list(folder.glob("*.json"))) == 3
    manifest.write_bytes(listing)
    assert green.prune(1, 0.0, anyway=True) == [old]
    record.write_bytes(known)
    mine.local.delete(red)
    mine.desks.images(copy_from=disk)
    assert mine.content(red, "a") == noise(1)


class Elsewhere(second_place.Place):
    """A store as at another computer, by a shell of this one; `meanwhile` is called before what is named."""

    def __init__(self, folder: Path) -> None:
        (folder / "ssh").write_text(f'#!/bin/sh\nshift\nPATH={folder}:$PATH exec sh -c "$1"\n')
        (folder / "ssh").chmod(0o755)
        super().__init__("far", str(folder), [str(folder / "ssh")])
        self.store = folder / "hotdesk-images"
        self.meanwhile: dict[str, Callable[[], None]] = {}

    def _now(self, what: str) -> None:
        self.meanwhile.pop(what, lambda: None)()

    def put(self, name: str, content: Path | bytes) -> None:
        self._now(name)
        super().put(name, content)

    def damaged(self, known: dict[str, str]) -> list[str]:
        self._now("damaged")
        return super().damaged(known)


@pytest.fixture
def elsewhere(disk: Path, monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    place = Elsewhere(disk)
    monkeypatch.setattr(second_place, "opened", lambda host, folder: contextlib.nullcontext(place))
    return place


def test_what_is_missing_beside_a_record_elsewhere_is_sent(mine: Computer, elsewhere: Elsewhere) -> None:
    """The list of packs is missing where a store was begun as one on a disk."""
    blue = mine.park("blue", 1, a=noise(1))
    mine.desks.images(copy_to="far:x")
    for ending in ("packs", "manifest"):
        file = elsewhere.store / "images" / f"{blue}.{ending}"
        file.unlink()
        mine.desks.images(copy_to="far:x")
        assert file.exists()


def test_two_computers_at_one_store_elsewhere(mine: Computer, elsewhere: Elsewhere) -> None:
    """1. One deletes what the other counts on. 2. One copies while the other deletes."""
    monday, tuesday = (mine.park("blue", day, a=noise(day)) for day in (1, 2))
    packs, folder = elsewhere.store / "store" / "packs", elsewhere.store / "images"
    elsewhere.meanwhile[f"images/{monday}.json"] = lambda: min(packs.iterdir()).unlink()
    with pytest.raises(NotAllowed, match="was deleted at far"):
        mine.desks.images(copy_to="far:x")
    mine.desks.images(copy_to="far:x")
    record = folder / f"{tuesday}.json"
    elsewhere.meanwhile["damaged"] = lambda: os.link(record, folder / "new.json")
    with pytest.raises(NotAllowed, match="was copied there meanwhile"):
        mine.desks.images(copy_to="far:x", keep=1, anyway=True)
    assert (folder / f"{monday}.json").exists()


def test_a_record_elsewhere_that_cannot_be_read_keeps_its_packs(mine: Computer, elsewhere: Elsewhere) -> None:
    """Here `wc` leaves it out, as it does without the right to read."""
    red = mine.park("red", 1, a=noise(3))
    for day in (1, 2):
        mine.park("blue", day, a=noise(day))
    mine.desks.images(copy_to="far:x")
    known = sorted(path for path in elsewhere.store.rglob("*") if path.is_file())
    wc, real = elsewhere.store.parent / "wc", shutil.which("wc")
    lines = ["#!/bin/sh", f'{real} "$@" | grep -v {red}.json', "echo Permission denied >&2", "exit 1"]
    wc.write_text("\n".join(lines))
    wc.chmod(0o755)
    blue = images.second(mine.desks.services.clouds, "far:x", "blue")
    with pytest.raises(NotAllowed, match="Permission denied"):
        blue.prune(1, 0.0, anyway=True)
    assert sorted(path for path in elsewhere.store.rglob("*") if path.is_file()) == known


@needs_sshd
def test_a_copy_at_another_computer(mine: Computer, tmp_path: Path) -> None:
    """1. Only what is new is sent. 2. What rots there is sent anew. 3. Old ones go. 4. It comes back."""
    monday = mine.park("blue", 1, a=noise(1))
    with far_machine(tmp_path / "far") as far:
        known = far.folder / "known"
        known.write_text(f"far {(far.folder / 'host.pub').read_text()}")
        with (far.folder / "ssh_config").open("a") as file:
            file.write(f"  UserKnownHostsFile {known}\n")
        there, where = far.home / "copies of mine", f"far:{far.home}/copies of mine"
        with pytest.raises(Usage, match="There is no folder"):
            mine.desks.images(copy_to=where)
        there.mkdir()
        with pytest.raises(Usage, match="no copies of images"):
            mine.desks.images(copy_from=where)
        [first] = mine.desks.images(copy_to=where)["copied"]
        assert first["id"] == monday
        assert 300_000 <= first["bytes"] < 400_000
        assert [one["bytes"] for one in mine.desks.images(copy_to=where)["copied"]] == [0]
        tuesday = mine.park("blue", 2, a=noise(1), b=noise(2))
        second = mine.desks.images(copy_to=where)["copied"]
        assert {one["id"]: one["bytes"] > 290_000 for one in second} == {tuesday: True, monday: False}
        [*packs] = (there / "hotdesk-images" / "store" / "packs").glob("*.pack")
        rot(packs[0])
        assert sum(one["bytes"] for one in mine.desks.images(copy_to=where)["copied"]) == 0, "it was not read"
        assert sum(one["bytes"] for one in mine.desks.images(copy_to=where, verify=True)["copied"]) > 290_000
        with pytest.raises(NeedsDecision, match=monday):
            mine.desks.images(copy_to=where, keep=1)
        rot(packs[0])
        with pytest.raises(NotAllowed, match="which is to stay"):
            mine.desks.images(copy_to=where, keep=1, anyway=True)
        rot(packs[0])
        assert mine.desks.images(copy_to=where, keep=1, anyway=True)["pruned"] == [monday]
        other = Computer(tmp_path / "other")
        with other.desks:
            assert [one["id"] for one in other.desks.images(copy_from=where)["copied"]] == [tuesday]
            assert other.content(tuesday, "b") == noise(2)
            assert other.desks.images(copy_from=where)["copied"] == []
        far.cut()
        with pytest.raises(Unreachable, match="does not answer"):
            mine.desks.images(copy_to=where)


def test_what_is_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert second_place.place_of("me@nas:a b") == ("me@nas", "a b")
    assert second_place.place_of("nas:~/x") == ("nas", "~/x")
    for folder in ("/mnt/usb", "./a:b", "/mnt/a:b", "-oProxyCommand=x:y", "usb"):
        assert second_place.place_of(folder) is None, folder
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a:b").mkdir()
    assert second_place.place_of("a:b") is None, "it is a folder here"
    assert second_place.read_packs("store/packs/../../x.pack 1\n") is None


def test_as_typed(hotdesk: Command, tmp_path: Path) -> None:
    """A desk is parked and copied; its computer is lost; on the next one it comes back from the copy."""
    disk = tmp_path / "usb"
    disk.mkdir()
    assert hotdesk("up", "blue").returncode == 0
    hotdesk("ssh", "blue", "--", "echo kept > file")
    assert hotdesk("park", "blue").returncode == 0
    done = hotdesk("images", "--copy-to", str(disk))
    assert done.returncode == 0, done.stderr
    assert "is in both places, read back" in done.stderr
    assert "whole" in hotdesk("images", "--verify").stdout
    assert hotdesk("down", "blue", "--yes").returncode == 0
    (tmp_path / "state").rename(tmp_path / "lost")
    back = hotdesk("images", "blue", "--copy-from", str(disk))
    assert back.returncode == 0, back.stderr
    assert "blue is no desk here yet: hotdesk up blue" in back.stderr
    again = json.loads(hotdesk("images", "--copy-from", str(disk), "--json").stdout)
    assert (again["copied"], again["unread"]) == ([], [])
    up = hotdesk("up", "blue")
    assert up.returncode == 0, up.stderr
    assert hotdesk("ssh", "blue", "--", "cat", "file").stdout == "kept\n"
    nowhere = hotdesk("images", "--copy-to", str(tmp_path / "none"))
    assert nowhere.returncode == 2
    assert "There is no folder" in nowhere.stderr
