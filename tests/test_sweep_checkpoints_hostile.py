"""Checkpoints of tasks that lie, disks that are full, clocks that jump: what others saved stays theirs."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from hotdesk.connect import copying
from hotdesk.connect.sync import ARRIVING
from hotdesk.core.errors import Missing, Unreachable
from hotdesk.core.sweep.model import Ended, Sweep
from hotdesk.guest import sweep_checkpoints
from hotdesk.guest.sweep_checkpoints import Keeper
from hotdesk.sweep import machine as runner
from hotdesk.sweep import reached
from hotdesk.sweep.machine import Saved, Unsaved
from hotdesk.sweep.reached import Reached
from tests.test_sweep_checkpoints import Machine, first_task, order, saving, until

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc on this computer")


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    (tmp_path / "work" / "000007" / "ckpt").mkdir(parents=True)
    return Keeper(str(tmp_path), "000007", 1, "ckpt", limit=0, new=True)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def looked(keeper: Keeper) -> None:
    """Two looks, a second and more apart, at what is still."""
    keeper.look()
    keeper.changed_at -= 2.0
    keeper.look_at = keeper.next_at = float("-inf")
    keeper.look()


# ---- on the machine ------------------------------------------------------------------------------------


def test_a_copy_that_fails_leaves_nothing_on_the_disk_and_the_others_are_kept(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(keeper.source)
    (source / "step").write_text("1")
    packed = sweep_checkpoints.pack

    def full(source: str, target: str, folder: str) -> None:
        packed(source, target, folder)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sweep_checkpoints, "pack", full)
    looked(keeper)
    assert keeper.why == "it cannot be copied: No space left on device"
    assert not names(Path(keeper.folder) / "saved")

    def deep(source: str, target: str, folder: str) -> None:
        packed(source, target, folder)
        raise RecursionError

    monkeypatch.setattr(sweep_checkpoints, "pack", deep)
    looked(keeper)
    assert keeper.why == "it cannot be copied: RecursionError"
    monkeypatch.undo()
    looked(keeper)
    assert (keeper.why, names(Path(keeper.folder) / "saved")) == ("", ["000007-1.tar"])


def test_a_folder_too_deep_to_pack_ends_neither_the_copies_nor_the_attempt(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine")
    script = "import os\nfor n in range(1500): os.mkdir('d'); os.chdir('d')\nopen('f', 'w').close()"
    machine.begin(order(f'mkdir ckpt; cd ckpt; python3 -c "{script}"; exit 3'))
    until(lambda: machine.ended)
    subprocess.run(["rm", "-rf", str(machine.folder / "work")], check=True)
    assert machine.ended[0]["exit_status"] == 3
    assert not list((machine.folder / "saved").glob("*.new"))


def test_what_changes_for_ever_is_said(keeper: Keeper) -> None:
    source = Path(keeper.source)
    for number in range(3):
        (source / "log").write_text("x" * number)
        keeper.look_at = float("-inf")
        keeper.look()
    assert keeper.why == ""
    keeper.new_since -= 1000.0
    (source / "log").write_text("and on")
    keeper.look_at = float("-inf")
    keeper.look()
    assert "changes all the time" in keeper.why
    looked(keeper)
    assert keeper.why == ""


def test_a_copy_in_vain_is_not_made_again_at_once(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    (Path(keeper.source) / "step").write_text("1")
    packed = sweep_checkpoints.pack

    def slow(source: str, target: str, folder: str) -> None:
        packed(source, target, folder)
        time.sleep(0.2)
        (Path(source) / "step").write_text("on and on")

    monkeypatch.setattr(sweep_checkpoints, "pack", slow)
    looked(keeper)
    assert keeper.why == "it was written to while it was copied"
    assert keeper.next_at - time.monotonic() > 1.0
    assert not names(Path(keeper.folder) / "saved")


def test_a_link_is_as_great_and_as_new_as_what_it_leads_to(keeper: Keeper, tmp_path: Path) -> None:
    great = tmp_path / "disk.bin"
    great.write_bytes(b"x" * 100_000)
    Path(keeper.source).rmdir()
    Path(keeper.source).symlink_to(great)
    keeper.limit_bytes = 50_000
    looked(keeper)
    assert "at most" in keeper.why
    keeper.limit_bytes = 0
    looked(keeper)
    assert keeper.why == ""
    great.write_bytes(b"y" * 100_000)
    looked(keeper)
    with tarfile.open(keeper.file) as file:
        inside = file.extractfile("checkpoint")
        assert inside is not None
        assert inside.read(1) == b"y"


def test_a_link_to_a_folder_that_leads_elsewhere_now_is_copied(keeper: Keeper) -> None:
    source = Path(keeper.source)
    for name in ("one", "second"):
        (source / name).mkdir()
    (source / "last").symlink_to("one")
    looked(keeper)
    time.sleep(0.02)  # the file system's times move on every few milliseconds
    (source / "last").unlink()
    (source / "last").symlink_to("second")
    looked(keeper)
    with tarfile.open(keeper.file) as file:
        assert file.getmember("checkpoint/last").linkname == "second"


def test_two_links_to_a_file_with_two_names_are_whole(keeper: Keeper, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    base = tmp_path / "project" / "base.bin"
    base.write_bytes(b"b" * 5000)
    os.link(base, tmp_path / "another")
    for name in ("a", "b"):
        (Path(keeper.source) / name).symlink_to(base)
    looked(keeper)
    with tarfile.open(keeper.file) as file:
        assert [file.getmember(f"checkpoint/{name}").size for name in "ab"] == [5000, 5000]


@pytest.mark.parametrize(("killed", "kept"), [(False, True), (True, False)])
def test_what_is_killed_while_it_writes_is_not_kept(keeper: Keeper, killed: bool, kept: bool) -> None:
    (Path(keeper.source) / "step").write_text("half")
    keeper.close(killed)
    assert Path(keeper.file).exists() == kept


def test_a_time_limit_kills_too(tmp_path: Path) -> None:
    """Exit status 124 is ours, after SIGKILL: what was written in that second may be half a file."""
    machine = Machine(tmp_path / "machine", limit_seconds=1.0, grace_seconds=0.2)
    busy = "mkdir ckpt; while :; do echo more >> ckpt/step; sleep 0.05; done"
    machine.begin(order(busy))
    until(lambda: machine.ended)
    assert machine.ended[0]["exit_status"] == 124
    assert machine.ended[0]["saved_at"] == 0.0


def test_a_file_of_tomorrow_is_kept_when_its_task_is_killed(keeper: Keeper) -> None:
    """The clock was set back, or the file came with its time from another machine."""
    step = Path(keeper.source) / "step"
    step.write_text("1")
    os.utime(step, (time.time() + 86400, time.time() + 86400))
    keeper.look()
    keeper.changed_at -= 2.0
    keeper.close(killed=True)
    assert Path(keeper.file).exists()


def test_what_a_task_puts_beside_the_copies_is_no_copy(tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    (saved / "000001-1.tar").mkdir(parents=True)
    (saved / "000002-1.tar").symlink_to("/etc/hostname")
    for name in ("000003-²".encode(), b"\xff-1", b"x-1", b"1" * 30 + b"-1"):
        Path(os.fsdecode(os.fsencode(saved) + b"/" + name + b".tar")).touch()
    (saved / "000004-2.tar").write_text("x")
    (saved / "000004-2.tar.new").write_text("of a runner that was killed")
    assert [(one["task"], one["attempt"]) for one in sweep_checkpoints.copies(str(tmp_path)).values()] == [
        (4, 2)
    ]
    sweep_checkpoints.forget(str(tmp_path), "000004")
    assert not list(saved.glob("000004*"))


# ---- laid out ------------------------------------------------------------------------------------------


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    info.size = 1 if kind == tarfile.REGTYPE else 0
    return info


def tar(path: Path, *members: tarfile.TarInfo) -> None:
    with tarfile.open(path, "w") as file:
        for info in members:
            file.addfile(info, io.BytesIO(b"x") if info.size else None)


FOLDER = member("checkpoint", tarfile.DIRTYPE, mode=0o755)


@pytest.mark.parametrize("filters", [True, False], ids=["today", "Python 3.8"])
@pytest.mark.parametrize(
    "evil",
    [
        [FOLDER, member("checkpoint/../../escaped")],
        [FOLDER, member("../escaped")],
        [member("escaped")],
        [FOLDER, member("checkpoint/out", tarfile.SYMTYPE, "OUT"), member("checkpoint/out/escaped")],
        [member("checkpoint", tarfile.SYMTYPE, "OUT"), member("checkpoint/escaped")],
        [member("checkpoint", tarfile.SYMTYPE, "OUT")],
        [FOLDER, member("checkpoint/same", tarfile.LNKTYPE, "../../../secret")],
        [FOLDER, member("checkpoint/disk", tarfile.BLKTYPE)],
    ],
    ids=["up", "above", "other", "through", "is", "only", "hard", "device"],
)
def test_a_copy_that_lies_writes_nothing_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evil: list[tarfile.TarInfo], filters: bool
) -> None:
    if not filters:
        monkeypatch.delattr(tarfile, "tar_filter", raising=False)
    outside = tmp_path / "outside"
    outside.mkdir()
    for info in evil:
        info.linkname = info.linkname.replace("OUT", str(outside))
    tar(tmp_path / "copy", *evil)
    work = tmp_path / "sweep" / "work" / "000007"
    (work / "ckpt").mkdir(parents=True)
    (work / "ckpt" / "mine").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OSError, match="cannot be unpacked"):
        sweep_checkpoints.lay_out(str(tmp_path / "copy"), str(work), "ckpt")
    assert sorted(tmp_path.rglob("*")) == before


def test_odd_names_travel_and_special_bits_do_not(keeper: Keeper, tmp_path: Path) -> None:
    source = os.fsencode(keeper.source)
    for name in (b"new\nline", b"\xff\xfe", b" ", b"-rf", "ü".encode()):
        Path(os.fsdecode(source + b"/" + name)).write_bytes(name)
    (Path(keeper.source) / "run").touch()
    (Path(keeper.source) / "run").chmod(0o4755)
    os.mkfifo(source + b"/pipe")
    looked(keeper)
    assert keeper.why == ""
    sweep_checkpoints.lay_out(keeper.file, str(tmp_path / "there"), "ckpt")
    found = tmp_path / "there" / "ckpt"
    assert names(found) == names(Path(keeper.source))
    assert (found / "run").stat().st_mode & 0o7777 == 0o755


def test_an_attempt_whose_copy_is_no_tar_ends_and_leaves_its_folder(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine")
    machine.begin(order("true", attempt=2, saved=1))
    until(lambda: machine.attempts.kept()["wanted"])
    new = machine.folder / "given" / "new"
    new.write_bytes(b"\x1f\x8b" + b"nothing of the kind" * 100)
    new.rename(machine.folder / "given" / "000007-1.tar")
    until(lambda: machine.ended)
    assert machine.ended[0]["exit_status"] == 126
    assert "its checkpoint cannot be unpacked" in machine.ended[0]["why"]
    assert not (machine.folder / "work" / "000007.checkpoint").exists()


# ---- off the machine -----------------------------------------------------------------------------------


def test_a_machine_that_tells_of_tasks_that_there_are_not_ends_no_sweep() -> None:
    story = saving()
    machine = first_task(story).machine
    lies = {n: Saved(task=n, attempt=1, at=1.0, bytes=1) for n in (0, -1, 99, 10**30)}
    story.world.runners[machine].saved.update(lies)
    story.go(lambda: bool(story.store.checkpoints(story.number)))
    known = story.world.look(story.driver.sweep, machine)
    odd = tuple(Unsaved(task=n, why="?") for n in (0, 99, 10**30))
    story.driver.checkpoints.hear(story.driver.sweep, machine, replace(known, unsaved=odd))
    assert [c.task for c in story.store.checkpoints(story.number)] == [1]
    story.go()
    story.check()


def test_an_error_of_any_kind_ends_no_copying_and_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    story = saving()

    def broken(*_: object) -> list[int]:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(story.world, "fetch_checkpoints", broken)
        story.go(lambda: bool(story.store.checkpoints(story.number)))
        assert story.store.checkpoints(story.number)[0].why == "can't start new thread"
    story.go(lambda: story.store.checkpoints(story.number)[0].attempt == 1)


def test_a_checkpoint_that_cannot_be_sent_is_said_and_sent_later(monkeypatch: pytest.MonkeyPatch) -> None:
    story = saving()
    story.go(lambda: bool(story.store.checkpoints(story.number)))
    tried: list[float] = []

    def full(*_: object) -> None:
        tried.append(story.world.clock.now())
        raise Unreachable("Not everything was copied.", "No space left on device", "")

    with monkeypatch.context() as patch:
        patch.setattr(story.world, "give_checkpoint", full)
        story.world.kill_machine(first_task(story).machine)
        story.go(lambda: len(tried) == 3)
        assert "No space left on device" in story.store.checkpoints(story.number)[0].why
        assert tried[1] - tried[0] >= 30.0
    story.go()
    assert story.world.went_on == [(1, 2, 1)]


def test_a_clock_set_back_hides_no_newer_checkpoint() -> None:
    story = saving()
    story.go(lambda: bool(story.store.checkpoints(story.number)))
    [here] = story.store.checkpoints(story.number)
    told = Ended(
        task=1, attempt=1, exit_status=1, seconds=1.0, began_at=0.0, why="", saved_at=here.at - 7200.0
    )
    checkpoints = story.driver.checkpoints
    checkpoints.ended("sweep1-1", told)
    assert checkpoints.awaited(1, {"sweep1-1"}), "the older one is here"


# ---- on this computer ----------------------------------------------------------------------------------


class Here(Reached):
    def __init__(self, folder: Path) -> None:
        self.folder, self._reach = folder, {"m": object(), "n": object()}  # type: ignore[dict-item]


def test_copies_from_many_machines_leave_the_disk_free_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = reached.SPARE_BYTES + 1000

    class Disk:
        def __init__(self) -> None:
            self.free = free

    monkeypatch.setattr(reached.shutil, "disk_usage", lambda folder: Disk())
    site, begun, go = Here(tmp_path), threading.Event(), threading.Event()

    def slow(*_: object) -> list[str]:
        begun.set()
        assert go.wait(60)
        return []

    monkeypatch.setattr(runner, "fetch_checkpoints", slow)
    sweep = Sweep(
        number=1, provider="local", desk="blue", image="i", command=("x",), folder="/p", created_at=0.0
    )
    of = [Saved(task=1, attempt=1, at=1.0, bytes=700)]
    thread = threading.Thread(target=site.fetch_checkpoints, args=(sweep, "m", of))
    thread.start()
    assert begun.wait(60)
    with pytest.raises(Missing, match="nearly full"):
        site.fetch_checkpoints(sweep, "n", of)
    go.set()
    thread.join()
    assert site.fetch_checkpoints(sweep, "n", of) == []


def test_a_folder_in_place_of_a_copy_ends_no_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = tmp_path / "checkpoints"

    def pull(*_: object, **__: object) -> Any:
        (copies / "000001-1.tar").mkdir(exist_ok=True)
        (copies / "000002-1.tar").symlink_to("/etc/hostname")
        (copies / "000003-1.tar").write_text("x")
        return copying.Arrived(copying.placing.Placed(), [], [])

    monkeypatch.setattr(copying, "pull", pull)
    names = [f"00000{n}-1.tar" for n in (1, 2, 3)]
    access: Any = None
    assert runner.fetch_checkpoints(access, "x", names, copies) == names[:2]
    assert [file.name for file in copies.iterdir()] == names[2:]
    (copies / "000004-1.tar").mkdir()
    Here(tmp_path).forget_checkpoints([(3, 1), (4, 1), (5, 1)])
    assert [file.name for file in copies.iterdir()] == ["000004-1.tar"]


def test_halves_of_checkpoints_do_not_fill_the_disk(tmp_path: Path) -> None:
    """Machines are taken while they are copied from: nobody goes on with that."""
    for name, age in (("old", 7200), ("new", 60), ("busy", 7200), ("slow", 7200)):
        folder = tmp_path / ARRIVING / name
        (folder / "partial").mkdir(parents=True)
        (folder / "lock").touch()
        for path in (folder / "lock", folder / "partial", folder):
            os.utime(path, (time.time() - age, time.time() - age))
    os.utime(tmp_path / ARRIVING / "slow" / "partial")  # it took long
    with copying.arriving(tmp_path, "busy") as busy:
        for path in (busy / "lock", busy / "partial", busy):
            os.utime(path, (time.time() - 7200, time.time() - 7200))
        copying.forget_interrupted(tmp_path, 3600.0)
        left = sorted(path.name for path in (tmp_path / ARRIVING).iterdir())
    assert left == ["busy", "new", "slow"]
