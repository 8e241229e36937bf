"""Images that stay in the store of another machine, and go from there to a third: by its own programs."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from hotdesk.core.errors import Kind, Refused
from hotdesk.providers.local.paths import Folders
from hotdesk.snapshots import kept, snapshot
from tests.test_transfer import between, tree

SERVED = [sys.executable, "-m", "hotdesk.providers.local.served"]
IMAGE = "hotdesk-blue-g1-abc"
_CUTTING = """
import os, sys
left = int(sys.argv[1])
while left > 0 and (some := os.read(0, min(left, 65536))):
    left -= len(some)
    while some:
        some = some[os.write(1, some):]
"""


@pytest.fixture
def old(tmp_path: Path) -> Folders:
    """A machine's own store with one image."""
    dice, disk = random.Random(5), tmp_path / "disk"
    (disk / "d").mkdir(parents=True)
    for number in range(12):
        (disk / "d" / f"f{number}").write_bytes(dice.randbytes(1 << 20))
    (disk / "d" / "text").write_text("one")
    folders = Folders.of(tmp_path / "old")
    folders.make()
    here = tmp_path / "here.manifest"
    keep = lambda line: kept.keep(line, disk, folders.store, folders.manifest(IMAGE))  # noqa: E731
    told: list[str] = []
    line = between(lambda line: kept.kept(line, here, lambda share, words: told.append(words)), keep)
    assert line.received < 60_000, "no content is on this line"
    assert told
    assert here.read_bytes() == folders.manifest(IMAGE).read_bytes()
    return folders


def ssh(folder: Path, state: Path, cut: int) -> Path:
    """What `{way}/ssh` is: a command that reaches `take` at the other machine; cut after so many bytes."""
    path = folder / "ssh"
    cutting = f"{sys.executable} -c '{_CUTTING}' {cut} | " if cut else ""
    path.write_text(f"#!/bin/sh\n{cutting}exec {' '.join(SERVED)} {state} take {IMAGE}\n")
    path.chmod(0o755)
    return path


def across(old: Folders, program: Path) -> tuple[int, list[dict[str, object]]]:
    argv = [*SERVED, str(old.root.parent), "across", IMAGE, str(program), "host"]
    done = subprocess.run(argv, capture_output=True, check=False, env={**os.environ, "PYTHONWARNINGS": ""})
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_a_way_that_is_cut_goes_on_without_sending_what_arrived(tmp_path: Path, old: Folders) -> None:
    new = Folders.of(tmp_path / "new")
    status, said = across(old, ssh(tmp_path, tmp_path / "new", 7 << 20))
    assert status
    assert "cut" in said[-1]
    assert not new.manifest(IMAGE).exists(), "half an image is none"
    status, said = across(old, ssh(tmp_path, tmp_path / "new", 0))
    assert (status, said[0]["words"]) == (0, "sending files")
    assert 0 < int(str(said[-1]["sent"])) < 9 << 20, "of 12 MiB, what had arrived is not sent again"
    snapshot.restore(new.manifest(IMAGE), new.store, tmp_path / "back")
    snapshot.compare(new.manifest(IMAGE), tmp_path / "back")
    assert tree(tmp_path / "back") == tree(tmp_path / "disk")
    status, said = across(old, ssh(tmp_path, tmp_path / "new", 0))
    assert int(str(said[-1]["sent"])) < 20_000, "a second time nothing but the list of files is sent"


def test_an_image_is_read_back_where_it_is_and_must_be_the_one_that_is_known_here(
    tmp_path: Path, old: Folders
) -> None:
    here = tmp_path / "here.manifest"
    check = lambda line: kept.check(line, old.store, old.manifest(IMAGE))  # noqa: E731
    between(lambda line: kept.read(line, here, lambda share, words: None), check)
    whole = old.manifest(IMAGE).read_bytes()
    old.manifest(IMAGE).write_bytes(whole + b"x")
    with pytest.raises(Refused, match="another list") as other:
        between(lambda line: kept.read(line, here, lambda share, words: None), check)
    assert other.value.kind is Kind.CORRUPT
    old.manifest(IMAGE).write_bytes(whole)
    [pack, *_] = sorted((old.store / "packs").glob("*.pack"))
    pack.chmod(0o600)
    with pack.open("r+b") as file:
        file.seek(5000)
        file.write(b"rot")
    with pytest.raises(Refused) as rotten:
        between(lambda line: kept.read(line, here, lambda share, words: None), check)
    assert rotten.value.kind is Kind.CORRUPT


def test_a_disk_with_no_room_for_an_image_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "big").write_bytes(b"x" * 100_000)
    usage = type("Usage", (), {"free": 50_000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    keep = lambda line: kept.keep(line, tmp_path / "disk", tmp_path / "s", tmp_path / "m")  # noqa: E731
    with pytest.raises(Refused) as full:
        between(lambda line: kept.kept(line, tmp_path / "here", lambda share, words: None), keep)
    assert full.value.kind is Kind.NO_SPACE
