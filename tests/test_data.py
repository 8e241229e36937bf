"""Data that do not travel: brought at each place, saved nowhere, never at the cost of what somebody wrote."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hotdesk.config import parse
from hotdesk.connect import carrying
from hotdesk.connect.job_runner import packed_runner
from hotdesk.guest import data_kept, data_record, data_source, inventory
from hotdesk.services import data
from hotdesk.snapshots import snapshot
from tests.conftest import Command
from tests.local_rig import wait_for

OLD = 1_700_000_000


class Desk:
    """A desk's disk, and the runner that every desk has."""

    def __init__(self, disk: Path, **environment: str) -> None:
        self.disk, self.home = disk, disk / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        self.runner = disk / "runner.py"
        self.runner.write_bytes(packed_runner()[1])
        self.environment = {"HOME": str(self.home), "PATH": os.environ["PATH"], **environment}

    def run(self, verb: str) -> Any:
        argv = [sys.executable, str(self.runner), verb]
        done = subprocess.run(argv, capture_output=True, text=True, env=self.environment, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout else None

    def bring(self, *folders: tuple[str, str], mount: bool = False) -> list[dict[str, Any]]:
        """Bring these, and hear how it went; in one process, where `data` would leave that to another."""
        wanted = [{"from": origin, "to": to, "mount": mount} for origin, to in folders]
        note = self.home / ".hotdesk" / "data" / "wanted"
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps({"folders": wanted}))
        self.run("data-bring")
        told: list[dict[str, Any]] = self.told()
        return told

    def told(self) -> Any:
        return self.run("data-told")

    def saved(self, name: str) -> set[str]:
        """The files below home that an image has; its own records are no matter."""
        store, manifest = self.disk.parent / "store", self.disk.parent / f"{name}.manifest"
        snapshot.capture(self.disk, store, manifest)
        assert not snapshot.changed(manifest, self.disk)
        back = self.disk.parent / name
        snapshot.restore(manifest, store, back)
        found = {str(p.relative_to(back / "home")) for p in (back / "home").rglob("*") if p.is_file()}
        return {path for path in found if not path.startswith(".hotdesk/")}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "disk")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Where the data are."""
    folder = tmp_path / "kept"
    for name in ("a", "b", "sub/c", "sub/odd [1]* \\ name"):
        write(folder / name, f"from there: {name}")
    return folder


def write(path: Path, text: str, time: int = OLD) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (time, time))


def test_only_what_came_and_is_unchanged_stays_out_of_an_image(
    desk: Desk, kept: Path, tmp_path: Path
) -> None:
    write(desk.home / "x" / "mine", "was here before")
    write(desk.home / "x" / "a", "my own a")
    [told] = desk.bring((str(kept), "~/x"))
    assert (told["state"], told["count"], told["own"]) == ("whole", 3, 2)
    assert (desk.home / "x" / "a").read_text() == "my own a", "what is here is never written over"
    assert desk.saved("first") == {"x/mine", "x/a"}
    write(desk.home / "x" / "b", "I changed it", OLD + 5)
    write(desk.home / "x" / "sub" / "new", "and added this")
    assert desk.saved("second") == {"x/mine", "x/a", "x/b", "x/sub/new"}

    there = Desk(tmp_path / "second", HOTDESK_MACHINE="another")
    assert there.told()[0]["state"] == "stopped", "what it says of itself was of another place"
    [told] = there.bring((str(kept), "~/x"))
    assert (told["state"], told["count"], told["own"]) == ("whole", 2, 4)
    assert (there.home / "x" / "sub" / "c").read_text() == "from there: sub/c"
    assert (there.home / "x" / "b").read_text() == "I changed it"
    assert sorted(p.name for p in kept.rglob("*") if p.is_file()) == ["a", "b", "c", "odd [1]* \\ name"]


def test_what_is_newer_there_comes_and_what_is_gone_there_is_saved_here(desk: Desk, kept: Path) -> None:
    desk.bring((str(kept), "~/x"))
    write(kept / "a", "newer", OLD + 100)
    (kept / "b").unlink()
    [told] = desk.bring((str(kept), "~/x"))
    assert (told["state"], told["count"], told["own"]) == ("whole", 3, 1)
    assert (desk.home / "x" / "a").read_text() == "newer"
    assert desk.saved("image") == {"x/b"}, "nobody else has it any more"


def test_what_is_the_same_already_is_not_copied_and_does_not_travel(desk: Desk, kept: Path) -> None:
    """A folder that was big and unchanged is marked as data; its files have times of their own."""
    write(desk.home / "x" / "a", "from there: a", OLD + 77)
    desk.bring((str(kept), "~/x"))
    assert (desk.home / "x" / "a").stat().st_mtime == OLD + 77
    assert desk.saved("image") == set()


def test_a_source_that_is_away_takes_nothing_with_it(desk: Desk, kept: Path) -> None:
    desk.bring((str(kept), "~/x"))
    kept.rename(kept.with_name("away"))
    [told] = desk.bring((str(kept), "~/x"))
    assert told["state"] == "failed"
    assert f"there is no folder {kept}" in told["why"]
    assert (desk.home / "x" / "a").exists()
    assert desk.saved("image") == set()


def test_what_is_no_longer_marked_travels_again(desk: Desk, kept: Path) -> None:
    desk.bring((str(kept), "~/x"))
    (desk.home / "x" / "a").unlink()  # of a desk that came here without its data, say
    assert desk.bring() == []
    assert desk.saved("image") == {"x/a", "x/b", "x/sub/c", "x/sub/odd [1]* \\ name"}


def test_half_a_file_is_never_there_and_travels_nowhere(desk: Desk, kept: Path) -> None:
    """A transfer was killed: what it left is neither saved nor carried, and the next one ends it."""
    desk.bring((str(kept), "~/x"))
    write(desk.home / f"x{data_record.ARRIVING}" / "a", "from th")
    assert desk.saved("image") == set()
    assert not any(b"arriving" in rule for rule in data_kept.rules(str(desk.home)) if rule[:1] == b"+")
    assert inventory.files([str(desk.home)])["bytes"] < 5000, "only its records"
    write(kept / "a", "newer there", OLD + 3)
    desk.bring((str(kept), "~/x"))
    assert (desk.home / "x" / "a").read_text() == "newer there"
    assert not (desk.home / f"x{data_record.ARRIVING}").exists()


def test_what_could_not_come_anew_is_still_theirs(desk: Desk, kept: Path) -> None:
    """It is an older one of theirs, and no work of anybody's here: the next time, it comes."""
    desk.bring((str(kept), "~/x"))
    write(kept / "a", "newer there", OLD + 3)
    (desk.home / f"x{data_record.ARRIVING}").touch()  # in the way
    [told] = desk.bring((str(kept), "~/x"))
    assert (told["state"], told["own"]) == ("failed", 0), told
    assert desk.saved("image") == set()
    (desk.home / f"x{data_record.ARRIVING}").unlink()
    assert desk.bring((str(kept), "~/x"))[0]["state"] == "whole"
    assert (desk.home / "x" / "a").read_text() == "newer there"


def test_no_file_is_written_through_a_link(desk: Desk, kept: Path, tmp_path: Path) -> None:
    write(tmp_path / "other" / "c", "not to be touched")
    (desk.home / "x").mkdir()
    (desk.home / "x" / "sub").symlink_to(tmp_path / "other")
    desk.bring((str(kept), "~/x"))
    assert (tmp_path / "other" / "c").read_text() == "not to be touched"
    assert (desk.home / "x" / "b").exists()


def test_a_folder_of_the_machine_can_be_a_link(desk: Desk, kept: Path) -> None:
    [told] = desk.bring((str(kept), "~/in/x"), mount=True)
    assert told["state"] == "whole"
    assert (desk.home / "in" / "x" / "a").read_text() == "from there: a"
    assert desk.saved("image") == set()
    (desk.home / "y").mkdir()
    write(desk.home / "y" / "mine", "mine")
    told = {one["to"]: one for one in desk.bring((str(kept), "~/y"), mount=True)}
    assert told["~/y"]["state"] == "failed"
    assert (desk.home / "y" / "mine").exists()


def test_a_full_disk_is_said_before_anything_comes(desk: Desk, kept: Path) -> None:
    with (kept / "big").open("wb") as file:
        file.truncate(2 * shutil.disk_usage(kept).free)
    [told] = desk.bring((str(kept), "~/x"))
    assert told["state"] == "failed"
    assert "GiB free" in told["why"]
    assert not (desk.home / "x").exists()


@pytest.mark.tools("rsync")
def test_what_comes_from_a_cloud_leaves_data_there(desk: Desk, kept: Path, tmp_path: Path) -> None:
    """1. The desk's own files in a data folder go, with their folders. 2. Old copies here go away."""
    write(kept / "sub" / "star *", "x")
    desk.bring((str(kept), "~/x"))
    write(desk.home / "x" / "sub" / "star *", "changed here", OLD + 5)
    write(desk.home / "x" / "deep" / "er" / "new", "new")
    (desk.home / "x" / "empty").mkdir()
    write(desk.home / "work", "w")
    here = tmp_path / "here"
    write(here / "x" / "a", "of an older image")
    rules = tmp_path / "rules"
    rules.write_bytes(b"".join(rule + b"\0" for rule in data_kept.rules(str(desk.home))))
    assert carrying.are_of_data(rules.read_bytes())
    order = ["-a", "--delete", "--from0", f"--filter=merge {rules}", f"{desk.home}/", f"{here}/"]
    subprocess.run(["rsync", *order], check=True)
    found = {str(p.relative_to(here)) for p in here.rglob("*") if not p.is_dir() or p.name == "empty"}
    assert {path for path in found if not path.startswith(".hotdesk/")} == {
        "x/sub/star *", "x/deep/er/new", "x/empty", "work"
    }  # fmt: skip
    counted = inventory.files([str(desk.home)])
    assert (counted["data_files"], counted["data_bytes"] > 20) == (4, True)


def test_a_desk_has_no_file_of_this_computer_merged_into_the_rules() -> None:
    for rule in (b".- /etc/passwd", b"merge /etc/passwd", b": .x", b"- /x\n. /etc/passwd", b" + /x", b"!"):
        assert not carrying.are_of_data(b"H /x/**\0" + rule + b"\0"), rule


@pytest.mark.tools("rclone")
def test_a_remote_of_rclone(desk: Desk, kept: Path, tmp_path: Path) -> None:
    """Real rclone: listed, compared, copied, and left as it was."""
    settings = tmp_path / "rclone.conf"
    settings.write_text(f"[mine]\ntype = alias\nremote = {tmp_path}\n")
    desk.environment["RCLONE_CONFIG"] = str(settings)
    write(desk.home / "x" / "a", "from there: a", OLD + 77)
    write(desk.home / "x" / "b", "of the same  ")
    [told] = desk.bring(("mine:kept", "~/x"))
    assert (told["state"], told["count"], told["own"]) == ("whole", 3, 1), told
    assert (desk.home / "x" / "b").read_text() == "of the same  "
    assert desk.saved("image") == {"x/b"}
    write(kept / "sub" / "c", "newer there", OLD + 9)
    desk.bring(("mine:kept", "~/x"))
    assert (desk.home / "x" / "sub" / "c").read_text() == "newer there"
    assert desk.saved("again") == {"x/b"}
    [told] = desk.bring(("nobody:kept", "~/x"))
    assert told["state"] == "failed"
    assert "nobody" in told["why"]


def test_a_tool_that_is_not_there_is_said_with_the_line_that_installs_it(desk: Desk, tmp_path: Path) -> None:
    empty = tmp_path / "no tools"
    empty.mkdir()
    desk.environment["PATH"] = str(empty)
    told = desk.bring(("mine:x", "~/x"), ("oss://bucket/y", "~/y"))
    assert [one["state"] for one in told] == ["failed", "failed"]
    assert told[0]["why"] == "rclone is not installed here"
    assert "ossutil" in told[1]["why"]
    [remark] = data.remarked("blue", [data.Told(to="~/x", state="failed", fix=told[0]["fix"])])
    assert remark.fix == "hotdesk ssh blue -- sudo apt-get install -y rclone"
    [remark] = data.remarked("blue", [data.Told(to="~/x", state="failed", fix="true; reboot")])
    assert remark.fix == "hotdesk ssh blue -- 'true; reboot'", "all of it runs at the desk"


_OSSUTIL = """#!/bin/sh
case $1 in
ls) for f in a sub/c; do
    printf '2026-11-30 10:00:00 +0000 CST%13d      Standard   %s      oss://bucket/x/%s\\n' \\
        "$(wc -c < "$KEPT/$f")" "$(md5sum < "$KEPT/$f" | cut -c-32 | tr a-f A-F)" "$f"; done ;;
cp) for last; do :; done; cp "$KEPT/${3#oss://bucket/x/}" "$last" ;;
esac
"""


def test_a_bucket_whose_tool_gives_files_the_time_of_their_arrival(desk: Desk, kept: Path) -> None:
    """ossutil cannot be had here: what stands for it prints what its documentation shows."""
    tool = kept.with_name("ossutil")
    tool.write_text(_OSSUTIL)
    tool.chmod(0o755)
    desk.environment |= {"KEPT": str(kept), "PATH": f"{tool.parent}:{os.environ['PATH']}"}
    write(desk.home / "x" / "a", "from there: a", OLD + 77)
    [told] = desk.bring(("oss://bucket/x", "~/x"))
    assert (told["state"], told["count"], told["own"]) == ("whole", 2, 0), told
    assert (desk.home / "x" / "sub" / "c").read_text() == "from there: sub/c"
    assert desk.saved("image") == set()
    (desk.home / "x" / "sub" / "c").write_text("changed since")
    assert desk.bring(("oss://bucket/x", "~/x"))[0]["own"] == 1
    assert desk.saved("again") == {"x/sub/c"}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """A bucket that the tool of its cloud can read: the variables for it."""
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    import boto3

    running = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    told = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="bucket")
    for name in ("a", "sub/c", "odd [1]* name"):
        s3.put_object(Bucket="bucket", Key=f"x/{name}", Body=f"from there: {name}".encode())
    s3.put_object(Bucket="bucket", Key="xy", Body=b"beside it")
    yield told
    running.stop()


@pytest.mark.slow
def test_a_bucket_by_the_tool_of_its_cloud(desk: Desk, bucket: dict[str, str]) -> None:
    tool = shutil.which("aws", path=str(Path(sys.executable).parent))
    if tool is None:
        pytest.skip("awscli is not installed")
    desk.environment |= {**bucket, "PATH": f"{Path(tool).parent}:{os.environ['PATH']}"}
    write(desk.home / "x" / "a", "from there: a", OLD)
    write(desk.home / "x" / "sub" / "c", "of the same siz")
    [told] = desk.bring(("s3://bucket/x", "~/x"))
    assert (told["state"], told["own"]) == ("whole", 1), told
    assert (desk.home / "x" / "sub" / "c").read_text() == "of the same siz"
    assert (desk.home / "x" / "odd [1]* name").read_text() == "from there: odd [1]* name"
    assert not (desk.home / "xy").exists()
    assert "x/sub/c" in (saved := desk.saved("image"))
    assert "x/a" not in saved


def test_an_etag_is_that_of_the_content(tmp_path: Path) -> None:
    """Of two parts of 8 MiB and 1 byte: MD5 of the MD5s, as S3 makes it."""
    import hashlib

    file, part = tmp_path / "f", b"x" * (8 << 20)
    file.write_bytes(part + b"y")
    both = hashlib.md5(hashlib.md5(part).digest() + hashlib.md5(b"y").digest()).hexdigest()
    assert data_source.is_md5(str(file), f"{both}-2")
    assert not data_source.is_md5(str(file), f"{both}-3")
    assert data_source.is_md5(str(file), hashlib.md5(part + b"y").hexdigest())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('from = "s3://b/x", to = "~/x"', ""),
        ('from = "mine:x y", to = "~/x"', ""),
        ('from = "/data", to = "~/x", mount = true', ""),
        ('from = "/data", to = "~/x/"', ""),
        ('from = "s3://b/x", to = "~/x", mount = true', ""),
        ('from = "oss://b/x", to = "~/x", mount = true', "as a remote of rclone alone"),
        ('from = "data", to = "~/x"', "from is 'data'"),
        ('from = ":sftp,ssh=date:x", to = "~/x"', "from is ':sftp"),
        ('from = "mine,ssh=date:x", to = "~/x"', "from is 'mine"),
        ('from = "-x:y", to = "~/x"', "from is '-x"),
        ('from = "/data", to = "/x"', "must be a folder below the desk's home"),
        ('from = "/data", to = "~"', "must be a folder below"),
        ('from = "/data", to = "~/../x"', "must be a folder below"),
        ('from = "/data", to = "~/.hotdesk/x"', "not a place for data"),
        ('from = "/data", too = "~/x"', "unknown"),
    ],
)
def test_what_can_be_a_data_folder(line: str, said: str) -> None:
    config = parse(f"[desks.blue]\ndata = [{{{line}}}]\n", Path("hotdesk.toml"))
    if said:
        assert said in config.faults["desks.blue"].why
    else:
        assert not config.faults
        [folder] = config.desks["blue"].data
        assert folder.to == "~/x"


def test_folders_that_lie_in_each_other_are_refused() -> None:
    text = '[[desks.blue.data]]\nfrom = "/a"\nto = "~/x"\n[[desks.blue.data]]\nfrom = "/b"\nto = "~/x/y/"\n'
    assert "lies in another" in parse(text, Path("t")).faults["desks.blue"].why


def test_a_hotdesk_toml_that_does_not_know_the_desk_changes_nothing(tmp_path: Path) -> None:
    """It is asked for in another folder, or its section has a mistake: no reason to carry 84 GiB."""
    known = parse('[[desks.blue.data]]\nfrom = "/a"\nto = "~/x"\n', Path("t"))
    note = tmp_path / "desks" / "blue" / data.FILE
    assert data.wanted(tmp_path, parse("", Path("t")), "blue") is None
    note.parent.mkdir(parents=True)
    note.write_text('[{"from": "/a", "to": "~/x"}]')
    assert data.wanted(tmp_path, parse("", Path("t")), "blue") == known.desks["blue"].data
    assert data.wanted(tmp_path, parse("[desks.blue]\nbad = 1", Path("t")), "blue") is None
    assert data.wanted(tmp_path, parse("[desks.blue]\n", Path("t")), "blue") == ()
    data.forget(tmp_path, "blue")
    assert data.wanted(tmp_path, parse("", Path("t")), "blue") is None


def test_a_list_that_was_damaged_lists_nothing_else() -> None:
    good = data_record.listing({"a b": (1, 2), "ü\udc80": (3, 4)})
    assert dict(data_record.listed(good)) == {"a b": (1, 2), "ü\udc80": (3, 4)}
    assert list(data_record.listed(b'1 2 "../a"\n1 2\nx y "a"\n1 2 "a\n1 2 ["a"]\n\xff\n')) == []
    assert data_record.parsed(b'{"to": "~/../x"}') == {}


def test_as_typed(hotdesk: Command, home: Path, kept: Path) -> None:
    """A desk has its data when it is up, `show` says so, and its image has none of them."""
    (home / "hotdesk.toml").write_text(f'[[desks.blue.data]]\nfrom = "{kept}"\nto = "~/x"\n')
    assert hotdesk("up", "blue").returncode == 0
    wait_for(lambda: "~/x from" in (said := hotdesk("show", "blue").stdout) and "is there" in said, 60)
    assert hotdesk("ssh", "blue", "--", "cat x/a; echo mine > x/mine").stdout == "from there: a"
    parked = hotdesk("park", "blue")
    assert parked.returncode == 0, parked.stderr
    (kept / "a").write_text("later")
    assert hotdesk("up", "blue").returncode == 0
    wait_for(lambda: hotdesk("ssh", "blue", "--", "cat x/a x/mine").stdout == "latermine\n", 60)
