"""What is mounted at a desk by FUSE is kept elsewhere: never saved, never deleted."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hotdesk.guest import data_kept, inventory, mounts
from hotdesk.snapshots import snapshot
from hotdesk.snapshots.rmtree import remove_tree
from tests import fuse
from tests.fuse import needs_fuse
from tests.test_snapshot import _MOUNT, OWN_MOUNTS, needs_mounts, run_script


def kept_in(folder: Path) -> Path:
    (folder / "kept" / "sub").mkdir(parents=True)
    (folder / "kept" / "sub" / "precious").write_text("the only copy")
    return folder / "kept"


@needs_fuse
@pytest.mark.parametrize("killed", [False, True], ids=["alive", "its program was killed"])
def test_an_image_has_nothing_of_what_is_mounted(tmp_path: Path, killed: bool) -> None:
    disk, kept = tmp_path / "disk", kept_in(tmp_path)
    (disk / "home").mkdir(parents=True)
    (disk / "home" / "mine").write_text("mine")
    manifest, store = tmp_path / "manifest", tmp_path / "store"
    with fuse.mount(kept, disk / "home" / "odd [1]* bucket", "--read-only") as process:
        if killed:
            process.kill()
            process.wait()
            with pytest.raises(OSError, match="not connected"):
                list((disk / "home" / "odd [1]* bucket").iterdir())
        taken = snapshot.capture(disk, store, manifest)
        assert (taken.files, taken.bytes) == (1, 4)
        assert taken.note == "mounted there and kept elsewhere, so not saved (home/odd [1]* bucket)"
        told = inventory.files([str(disk / "home")])
        assert (told["files"], told["bytes"], told["unreadable"]) == (1, 4, [])
        assert told["mounted"] == [str(disk / "home" / "odd [1]* bucket")]
        rules = tmp_path / "rules"
        rules.write_bytes(b"".join(rule + b"\0" for rule in data_kept.rules(str(disk / "home"))))
        argv = ["rsync", "-a", "--from0", f"--filter=merge {rules}", f"{disk}/home/", f"{tmp_path}/carried/"]
        assert subprocess.run(argv, capture_output=True, check=False).returncode == 0
        assert [path.name for path in (tmp_path / "carried").rglob("*")] == ["mine"]
    snapshot.restore(manifest, store, tmp_path / "back")
    assert sorted(path.name for path in (tmp_path / "back").rglob("*")) == ["home", "mine"]


@needs_fuse
@pytest.mark.parametrize("killed", [False, True], ids=["alive", "its program was killed"])
def test_deleting_a_disk_deletes_nothing_of_what_is_mounted(tmp_path: Path, killed: bool) -> None:
    disk, kept = tmp_path / "disk", kept_in(tmp_path)
    with fuse.mount(kept, disk / "home" / "bucket") as process:
        if killed:
            process.kill()
            process.wait()
        remove_tree(disk)
        assert not disk.exists()
        assert not mounts.mounted(os.fsencode(tmp_path))
    assert (kept / "sub" / "precious").read_text() == "the only copy"


@needs_mounts
def test_a_disk_that_is_mounted_in_another_is_not_deleted_with_it(tmp_path: Path) -> None:
    said, left = run_script(
        tmp_path,
        _MOUNT
        + """
from hotdesk.snapshots.rmtree import remove_tree
(disk / "home").mkdir(parents=True)
tmpfs(disk / "home" / "scratch", "size=2m")
(disk / "home" / "scratch" / "inside").write_text("in the mount")
try:
    remove_tree(disk)
    said = ""
except OSError as error:
    said = error.strerror
print(json.dumps([said, (disk / "home" / "scratch" / "inside").read_text()]))
""",
        before=OWN_MOUNTS,
    )
    assert (said, left) == ("a file system (tmpfs) is mounted there", "in the mount")


def test_a_list_of_mounts_is_read_whatever_the_names(tmp_path: Path) -> None:
    top = Path(os.path.realpath(tmp_path))
    text = (
        f"22 1 8:1 / {top}/with\\040a\\134space rw,nosuid shared:1 - fuse.rclone kept: ro\n"
        f"23 1 0:55 / {top}/with\\040a\\134space/deeper rw - ext4 /dev/x rw\n"
        f"24 1 0:56 / {top}beside rw - fuse.sshfs a rw\n"
        "25 1 nonsense\n26 1 0:57 / / rw - fuseblk /dev/sdb1 rw\n"
    )
    (tmp_path / "list").write_text(text)
    list_ = str(tmp_path / "list")
    there = os.fsencode(top / "with a\\space")
    assert mounts.mounted(os.fsencode(top), list_) == [(there + b"/deeper", "ext4"), (there, "fuse.rclone")]
    assert mounts.elsewhere(list_) == {os.makedev(8, 1): "fuse.rclone", os.makedev(0, 56): "fuse.sshfs"}
    assert mounts.mounted(os.fsencode(top), str(tmp_path / "absent")) == []
