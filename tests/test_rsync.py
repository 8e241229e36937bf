"""What goes to a cloud's machine by rsync is the same there, and what is not is noticed."""

from __future__ import annotations

import os
from pathlib import Path

from hotdesk.snapshots import rsync
from tests.local_rig import tool

pytestmark = tool("rsync")


def odd(here: Path, there: Path) -> list[str]:
    return rsync.different(rsync.run([*rsync.words(), *rsync.COMPARE, f"{here}/", f"{there}/"])[1])


def test_names_holes_links_and_attributes_go_along(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "deep").mkdir(parents=True)
    there.mkdir()
    (here / "deep" / "a\nb \udcff").write_text("odd name")
    (here / "deep" / "same").hardlink_to(here / "deep" / "a\nb \udcff")
    (here / "link").symlink_to("deep")
    with (here / "holes").open("wb") as file:
        file.truncate(64 << 20)
    os.setxattr(here / "link", b"user.tag", b"mine")
    status, _, complaint = rsync.run([*rsync.words(), f"{here}/", f"{there}/"])
    assert (status, complaint) == (0, "")
    assert (there / "deep" / "same").stat().st_nlink == 2
    assert (there / "holes").stat().st_blocks < 2048
    assert (there / "holes").stat().st_size == 64 << 20
    assert os.getxattr(there / "deep", b"user.tag") == b"mine"
    assert odd(here, there) == []
    os.setxattr(there / "deep", b"user.tag", b"other")
    assert odd(here, there) == ["deep/"]


def test_thousands_of_complaints_do_not_stop_it(tmp_path: Path) -> None:
    """A pipe that nobody empties is full after 64 KiB."""
    names = [f"{tmp_path}/{'x' * 60}-{number}" for number in range(2000)]
    status, _, complaint = rsync.run([*rsync.words(), *names, f"{tmp_path}/there/"])
    assert status == 23
    assert complaint.count("\n") > 1000
