"""Data that are mounted at each place: read there, saved nowhere, and changed by nobody."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotdesk.guest import mounts
from tests.conftest import Command
from tests.fuse import needs_fuse
from tests.local_rig import wait_for
from tests.test_data import Desk, bucket, kept, write

__all__ = ["bucket", "kept"]
pytestmark = [pytest.mark.slow, pytest.mark.tools("rclone")]


@pytest.fixture
def desk(tmp_path: Path, kept: Path) -> Iterator[Desk]:
    settings = tmp_path / "rclone.conf"
    settings.write_text(
        f"[mine]\ntype = alias\nremote = {tmp_path}\n[gone]\ntype = alias\nremote = /absent\n"
    )
    desk = Desk(tmp_path / "disk", RCLONE_CONFIG=str(settings))
    yield desk
    for pid in programs(desk.home):
        os.kill(pid, signal.SIGTERM)
    mounts.free(os.fsencode(tmp_path))


def programs(home: Path) -> list[int]:
    """The processes that mount something below this folder."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = line.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[1:2] == [b"mount"] and words[-2].startswith(os.fsencode(home)):
            found.append(int(line.parent.name))
    return found


@needs_fuse
def test_a_remote_is_mounted_to_be_read_and_no_image_has_it(desk: Desk, kept: Path) -> None:
    write(desk.home / "mine", "mine")
    [told] = desk.bring(("mine:kept", "~/in/x"), mount=True)
    assert (told["state"], told["why"]) == ("whole", "mounted by rclone, to be read")
    assert (desk.home / "in" / "x" / "sub" / "c").read_text() == "from there: sub/c"
    with pytest.raises(OSError, match="Read-only"):
        (desk.home / "in" / "x" / "new").write_text("no")
    [first] = programs(desk.home)
    desk.bring(("mine:kept", "~/in/x"), mount=True)
    assert programs(desk.home) == [first], "what is mounted is left as it is"
    assert desk.saved("image") == {"mine"}

    [told] = desk.bring(("mine:kept/sub", "~/in/x"), mount=True)
    assert sorted(p.name for p in (desk.home / "in" / "x").iterdir()) == ["c", "odd [1]* \\ name"]
    assert desk.bring() == []
    assert not mounts.mounted(os.fsencode(desk.home))
    assert not (desk.home / "in" / "x").exists()
    assert (kept / "sub" / "c").exists()


@needs_fuse
def test_a_mount_whose_program_was_killed_is_made_again(desk: Desk) -> None:
    desk.bring(("mine:kept", "~/x"), mount=True)
    [first] = programs(desk.home)
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: not programs(desk.home))
    [told] = desk.bring(("mine:kept", "~/x"), mount=True)
    assert told["state"] == "whole", str(told)
    assert (desk.home / "x" / "a").read_text() == "from there: a"
    assert len(mounts.mounted(os.fsencode(desk.home))) == 1


@needs_fuse
def test_what_cannot_be_mounted_is_said_and_hides_nothing(desk: Desk) -> None:
    write(desk.home / "x" / "mine", "mine")
    told = {
        one["to"]: one
        for one in desk.bring(("mine:kept", "~/x"), ("gone:", "~/y"), ("nobody:kept", "~/z"), mount=True)
    }
    assert told["~/x"]["why"] == "it holds files, which a mount would hide"
    assert {one["state"] for one in told.values()} == {"failed"}
    assert "nobody" in told["~/z"]["why"]
    assert (desk.home / "x" / "mine").read_text() == "mine"
    assert not mounts.mounted(os.fsencode(desk.home))
    assert not programs(desk.home)


@needs_fuse
def test_a_bucket_is_mounted(desk: Desk, bucket: dict[str, str]) -> None:
    desk.environment |= bucket
    [told] = desk.bring(("s3://bucket/x", "~/x"), mount=True)
    assert told["state"] == "whole", str(told)
    assert (desk.home / "x" / "odd [1]* name").read_text() == "from there: odd [1]* name"
    [told] = desk.bring(("s3://misspelt/x", "~/x"), mount=True)
    assert told["state"] == "failed", str(told)
    assert not mounts.mounted(os.fsencode(desk.home)), "and the server of the test has no guest at its end"
    assert desk.saved("image") == set()


def test_without_fuse_it_is_copied_if_there_is_room(desk: Desk, kept: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "rclone").symlink_to(str(shutil.which("rclone")))
    desk.environment["PATH"] = str(tools)
    [told] = desk.bring(("mine:kept", "~/x"), mount=True)
    assert (told["state"], told["count"]) == ("whole", 4), told
    assert told["why"].startswith("copied, because ")
    assert desk.saved("image") == set()
    with (kept / "big").open("wb") as file:
        file.truncate(2 * shutil.disk_usage(kept).free)
    told = {one["to"]: one for one in desk.bring(("mine:kept", "~/y"), mount=True)}
    assert told["~/y"]["state"] == "failed"
    assert "so it would be copied: it needs" in told["~/y"]["why"]
    assert told["~/y"]["fix"]
    assert not (desk.home / "y").exists()


@needs_fuse
def test_as_typed(hotdesk: Command, home: Path, kept: Path) -> None:
    """It is mounted while the desk is up, parked without it, and mounted again."""
    (home / "hotdesk.toml").write_text('[[desks.blue.data]]\nfrom = "mine:"\nto = "~/x"\nmount = true\n')

    def said() -> str:
        return hotdesk("show", "blue").stdout

    assert hotdesk("up", "blue").returncode == 0
    assert hotdesk("ssh", "blue", "--", f"rclone config create mine alias remote={kept}").returncode == 0
    assert hotdesk("up", "blue").returncode == 0
    wait_for(lambda: "mounted by rclone" in said(), 60)
    assert hotdesk("ssh", "blue", "--", "cat x/a").stdout == "from there: a"
    parked = hotdesk("park", "blue")
    assert parked.returncode == 0, parked.stderr
    assert not mounts.mounted(os.fsencode(home))
    assert sorted(p.name for p in kept.rglob("*") if p.is_file()) == ["a", "b", "c", "odd [1]* \\ name"]
    assert hotdesk("up", "blue").returncode == 0
    wait_for(lambda: hotdesk("ssh", "blue", "--", "cat x/a").stdout == "from there: a", 60)
    assert hotdesk("down", "blue", "--yes").returncode == 0
    wait_for(lambda: not mounts.mounted(os.fsencode(home)), 60)
    assert (kept / "a").read_text() == "from there: a"
