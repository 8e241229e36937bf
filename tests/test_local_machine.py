"""Machines on this computer: what dies with what, what the next start mends, and what is never lost."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from hotdesk.connect.readiness import prove
from hotdesk.core.errors import Kind, Refused
from hotdesk.core.model import Instance, Phase, Want
from hotdesk.core.steps import BakeOrder, LaunchOrder
from hotdesk.providers.local import records
from hotdesk.providers.local.runtime import locks
from tests.local_rig import LocalRig, marked, one_desk, rig_in, tool, wait_for

pytestmark = [tool("ssh"), one_desk("local machine")]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRig]:
    with rig_in(tmp_path_factory.mktemp("state")) as rig:
        yield rig


@pytest.fixture
def rig(shared: LocalRig) -> LocalRig:
    return shared


@pytest.fixture(scope="module")
def blue(shared: LocalRig) -> Instance:
    return shared.up("blue")


@pytest.fixture
def desk(rig: LocalRig, blue: Instance) -> Instance:
    """The module's desk, running, whatever the test before did to it."""
    machine = next(i for i in rig.settle().instances if i.id == blue.id)
    return machine if machine.phase is Phase.READY else rig.start(machine)


def jupyter(rig: LocalRig, machine: Instance) -> psutil.Process:
    for pid in marked(rig.mark(machine)):
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if any("jupyterlab" in word for word in process.cmdline()):
                return process
    raise AssertionError("no Jupyter")


def order(rig: LocalRig, name: str, **changes: object) -> LaunchOrder:
    base = LaunchOrder(desk=name, born=1.5, generation=1, attempt=0, offer=rig.offer())
    return msgspec.structs.replace(base, **changes)


# ---- its end -----------------------------------------------------------------------------------------


def test_stopping_ends_everything_that_was_ever_started(rig: LocalRig, desk: Instance) -> None:
    """Sessions of their own, orphans of orphans, and one without any environment: none remains."""
    rig.ssh(
        desk,
        "exec >/dev/null 2>&1 </dev/null; "
        "setsid -f sleep 5001; (setsid sh -c 'sleep 5002 & sleep 5003' &) ; nohup sleep 5004 & "
        "env -i setsid -f sleep 5005; tmux new -d -s job 'sleep 5006'; "
        "env -i setsid -f sh -c 'trap \"\" TERM HUP; while :; do sleep 5007; done'",
    )  # fmt: skip

    def running() -> set[str]:
        found = set()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if words[:1] == ["sleep"] and words[1] in {str(n) for n in range(5001, 5008)}:
                    found.add(words[1])
        return found

    wait_for(lambda: len(running()) == 7)
    supervisor = psutil.Process(rig.supervisor_pid(desk))
    off = rig.stop(desk)
    assert not off.reason, "it was asked to stop"
    assert not running()
    assert not marked(rig.mark(desk))
    assert not supervisor.is_running() or supervisor.status() == psutil.STATUS_ZOMBIE


def test_a_job_is_asked_to_end_before_it_is_made_to(rig: LocalRig, desk: Instance) -> None:
    rig.ssh(
        desk,
        'nohup sh -c \'trap "sleep 0.3; echo saved > ~/checkpoint; exit" TERM; '
        "echo on > ~/begun; while :; do sleep 0.1; done' >/dev/null 2>&1 </dev/null &",
    )
    wait_for(lambda: rig.read(desk, "begun"))
    rig.stop(desk)
    assert (rig.disk("blue") / "home" / "checkpoint").read_text() == "saved\n"


def test_a_killed_supervisor_shows_as_stopped_and_is_mended_by_a_start(rig: LocalRig, desk: Instance) -> None:
    rig.ssh(desk, "exec >/dev/null 2>&1; setsid -f sleep 5011; tmux new -d -s job 'sleep 5012'")
    stale = set(marked(rig.mark(desk)))
    os.kill(rig.supervisor_pid(desk), signal.SIGKILL)
    wait_for(lambda: rig.settle().of("blue").machines[0].phase is Phase.STOPPED)
    off = rig.now(desk.id, Phase.STOPPED)
    assert "unexpectedly" in off.reason
    wait_for(lambda: not any(_is_jupyter(pid) for pid in stale))  # it does not stay open without a supervisor
    on = rig.start(off)
    assert on.started_at > desk.started_at
    assert not stale & set(marked(rig.mark(desk))), "of the earlier run nothing is left"
    prove(rig.provider.access(on))


def test_an_image_of_a_killed_machine_waits_for_no_writer(rig: LocalRig, desk: Instance) -> None:
    """1. a job writes on and on, in tmux. 2. the supervisor is killed, the job is not. 3. the image is taken
    of a disk on which nobody writes any more; tmux's socket does no harm."""
    rig.ssh(desk, "tmux new -d -s job 'while :; do date >> ~/written; done'")
    wait_for(lambda: rig.read(desk, "written"))
    os.kill(rig.supervisor_pid(desk), signal.SIGKILL)
    wait_for(lambda: rig.settle().of("blue").machines[0].phase is Phase.STOPPED)
    image = rig.image_of(rig.now(desk.id, Phase.STOPPED), attempt=9)
    assert not marked(rig.mark(desk))
    rig.provider.delete(image.id)
    (rig.disk("blue") / "home" / "written").unlink()


def _is_jupyter(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return any("jupyterlab" in word for word in psutil.Process(pid).cmdline())
    return False


def test_a_killed_jupyter_takes_nothing_else_with_it(rig: LocalRig, desk: Instance) -> None:
    """As at a rented machine, where systemd starts it again."""
    rig.ssh(desk, "setsid -f sleep 5021 >/dev/null 2>&1")
    before = rig.provider.access(desk)
    jupyter(rig, desk).kill()
    wait_for(lambda: "Jupyter ended by itself (killed by SIGKILL)" in rig.now(desk.id, Phase.READY).reason)
    assert rig.ssh(desk, "pgrep -f 'sleep 5021'").stdout, "what runs at the desk goes on"
    wait_for(lambda: rig.now(desk.id, Phase.READY).reason == "")
    prove(rig.provider.access(desk))
    assert rig.provider.access(desk) == before
    assert not marked(rig.mark(rig.stop(desk)))


def test_a_supervisor_that_does_not_answer_is_stopped_all_the_same(
    rig: LocalRig, desk: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.kill(rig.supervisor_pid(desk), signal.SIGSTOP)
    rig.stop(desk)
    assert not marked(rig.mark(desk))


# ---- its start ---------------------------------------------------------------------------------------


def test_its_ports_are_kept_and_given_up_when_they_are_taken(rig: LocalRig, desk: Instance) -> None:
    before = rig.provider.access(desk)
    again = rig.provider.access(rig.start(rig.stop(desk)))
    assert (again.port, again.notebook_port) == (before.port, before.notebook_port)
    off = rig.stop(desk)
    with (
        socket.create_server(("127.0.0.1", before.port)),
        socket.create_server(("127.0.0.1", before.notebook_port)),
    ):
        on = rig.start(off)
        other = rig.provider.access(on)
        assert other.port != before.port
        assert other.notebook_port != before.notebook_port
        prove(other)


def test_each_start_is_later_although_the_clock_was_set_back(rig: LocalRig, desk: Instance) -> None:
    off = rig.stop(desk)
    path = rig.folder(off) / "run.json"
    run = records.read(path, records.Run)
    assert run
    future = run.started_at + 1000.0  # as if the clock had been a quarter of an hour ahead, and was mended
    records.write(path, msgspec.structs.replace(run, started_at=future))
    image = rig.image_of(off)
    assert image.taken_at > future
    on = rig.start(off)
    assert on.started_at > image.taken_at, "an image from before the start is older than the start"
    rig.provider.delete(image.id)


def test_a_launch_that_was_interrupted_is_finished_by_the_same_order(rig: LocalRig) -> None:
    """1. the order is written down; 2. the computer dies; 3. the same order again finishes it."""
    wanted = order(rig, "pink")
    rig.provider.launch(wanted)
    os.kill(rig.supervisor_pid(rig.provider.survey().of("pink").machines[0]), signal.SIGKILL)
    (machine,) = rig.settle().of("pink").machines
    (rig.folder(machine) / "run.json").unlink()
    assert rig.settle().of("pink").machines[0].phase is Phase.STOPPED
    rig.provider.launch(wanted)
    rig.provider.delete(rig.now(machine.id, Phase.READY).id)


def test_one_order_from_many_processes_is_one_machine(rig: LocalRig) -> None:
    code = (
        "import sys, functools, pathlib, msgspec\n"
        "from hotdesk.core.steps import LaunchOrder\n"
        "from hotdesk.connect.keys import desk_keys\n"
        "from hotdesk.providers.local.provider import Local\n"
        "state = pathlib.Path(sys.argv[1])\n"
        "order = msgspec.json.decode(sys.argv[2], type=LaunchOrder)\n"
        "print(Local(state, functools.partial(desk_keys, state)).launch(order))\n"
    )
    wanted = order(rig, "gold")
    words = [sys.executable, "-c", code, str(rig.state), msgspec.json.encode(wanted).decode()]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, env=env) for _ in range(4)]
    assert {p.communicate(timeout=60)[0].decode().strip() for p in running} == {wanted.name}
    (machine,) = rig.provider.survey().of("gold").machines
    supervisors = [
        p.pid
        for p in psutil.process_iter()
        if _words(p)[3:4] == ["hotdesk.providers.local.runtime.supervisor"] and _words(p)[-1] == machine.id
        and _words(p)[-2] == str(rig.state)
    ]  # fmt: skip
    assert len(supervisors) == 1
    rig.provider.delete(machine.id)


def _words(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return list(process.cmdline())
    return []


# ---- a no --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"generation": 2}, Kind.MISMATCH, "already has a machine"),
        ({"desk": "none", "image_id": "no-such"}, Kind.BAD_REQUEST, "no image"),
        ({"desk": "none", "base_image": "ubuntu"}, Kind.BAD_REQUEST, "no image ubuntu"),
        ({"desk": "../none"}, Kind.BAD_REQUEST, "folder's name"),
    ],
)
def test_an_order_that_cannot_be_served(
    rig: LocalRig, blue: Instance, changes: dict[str, object], kind: Kind, words: str
) -> None:
    before = rig.settle()
    with pytest.raises(Refused) as refused:
        rig.provider.launch(order(rig, "blue", **changes))
    assert refused.value.kind is kind
    assert words in refused.value.message
    after = rig.settle()
    assert after == before, f"{before!r}\nis now\n{after!r}"


def test_a_type_that_this_computer_is_not(rig: LocalRig) -> None:
    offer = msgspec.structs.replace(rig.offer(), instance_type="p5.48xlarge")
    with pytest.raises(Refused) as refused:
        rig.provider.launch(order(rig, "none", offer=offer))
    assert refused.value.kind is Kind.UNSUPPORTED
    if not any(o.gpu for o in rig.provider.offers(Want())):
        offer = msgspec.structs.replace(rig.offer(), instance_type="local.gpu")
        with pytest.raises(Refused) as refused:
            rig.provider.launch(order(rig, "none", offer=offer))
        assert refused.value.kind is Kind.UNSUPPORTED


def test_a_disk_of_unknown_origin_is_shown_and_never_overwritten(rig: LocalRig) -> None:
    disk = rig.disk("lost")
    (disk / "home").mkdir(parents=True)
    (disk / "home" / "thesis.txt").write_text("the only copy")
    with pytest.raises(Refused) as refused:
        rig.provider.launch(order(rig, "lost"))
    assert refused.value.kind is Kind.MISMATCH
    (shown,) = rig.settle().of("lost").disks
    bake = BakeOrder(
        desk="lost", born=1.5, generation=shown.generation, attempt=0, source_id=shown.id, started_at=0.0,
        region="local",
    )  # fmt: skip
    id_ = rig.provider.bake(bake)
    (image,) = rig.settle().of("lost").images
    rig.provider.verify(image.id)
    assert rig.settle().of("lost").images[0].verified
    rig.provider.delete(shown.id)
    again = rig.up("lost", generation=shown.generation + 1, image_id=id_)
    assert rig.read(again, "thesis.txt") == "the only copy"
    rig.provider.delete(again.id)
    rig.provider.delete(id_)


def test_a_mark_on_the_wall_is_not_trusted(rig: LocalRig, desk: Instance) -> None:
    """The lock names a process; a stale name is never ended in its place."""
    off = rig.stop(desk)
    lock = rig.folder(off) / "run.lock"
    lock.write_text(str(os.getpid()))
    assert locks.worker_pid(lock) is None
    rig.provider.power(off.id, False)
    rig.provider.delete("no-such-thing")
    rig.now(off.id, Phase.STOPPED)


# ---- images ------------------------------------------------------------------------------------------


def lock_of(rig: LocalRig, id_: str) -> Path:
    return rig.state / "local" / "images" / f"{id_}.lock"


def bake_order(machine: Instance, attempt: int = 0) -> BakeOrder:
    return BakeOrder(
        desk=machine.desk, born=1.5, generation=machine.generation, attempt=attempt, source_id=machine.id,
        started_at=machine.started_at, region="local",
    )  # fmt: skip


def test_a_killed_baker_leaves_a_failed_image_and_a_whole_disk(rig: LocalRig, desk: Instance) -> None:
    big = rig.disk("blue") / "home" / "big"
    with big.open("wb") as file:
        for _ in range(120):
            file.write(os.urandom(1 << 20))
    off = rig.stop(desk)
    id_ = rig.provider.bake(bake_order(off, attempt=3))
    with pytest.raises(Refused) as refused:
        rig.provider.power(off.id, True)
    assert refused.value.kind is Kind.NOT_READY, "who wakes it now would write into the image"
    pid = wait_for(lambda: locks.worker_pid(lock_of(rig, id_)))
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    image = next(i for i in rig.settle().images if i.id == id_)
    assert image.phase is Phase.FAILED
    assert not image.verified
    with pytest.raises(Refused):
        rig.provider.verify(id_)
    rig.provider.delete(id_)
    whole = rig.image_of(off, attempt=4)
    rig.provider.delete(whole.id)
    big.unlink()


def test_a_killed_reader_leaves_an_image_that_can_be_read_again(rig: LocalRig, desk: Instance) -> None:
    off = rig.stop(desk)
    id_ = rig.provider.bake(bake_order(off, attempt=5))
    rig.settle()
    for attempt in range(3):
        rig.provider.verify(id_)
        pid = locks.worker_pid(lock_of(rig, id_))
        if pid:
            os.kill(pid, signal.SIGKILL)
        image = next(i for i in rig.settle().images if i.id == id_)
        if image.verified:  # it was faster
            break
        assert image.phase is (Phase.READY if attempt < 2 else Phase.FAILED)
    rig.provider.delete(id_)


def test_a_rotten_image_is_noticed_and_its_launch_says_so(rig: LocalRig, desk: Instance) -> None:
    """1. baked and verified. 2. the disk of this computer loses a few bytes. 3. a launch from it does not
    become a desk, says why, and parking that launch changes nothing for the better or worse."""
    off = rig.stop(desk)
    image = rig.image_of(off, attempt=6)
    rig.provider.delete(off.id)
    assert not rig.settle().of("blue").machines
    pack = max(
        (rig.state / "local" / "store" / "packs").rglob("*"), key=lambda p: p.is_file() and p.stat().st_size
    )
    whole = pack.read_bytes()
    pack.chmod(0o600)
    pack.write_bytes(whole[: len(whole) // 2] + bytes(64) + whole[len(whole) // 2 + 64 :])
    try:
        rig.provider.launch(order(rig, "blue", generation=2, image_id=image.id))
        (half,) = rig.settle().of("blue").machines
        assert half.phase is Phase.STOPPED
        assert half.reason
        # What such a machine holds is what it was to be made from: never half of it.
        copy = rig.provider.bake(bake_order(half))
        taken = next(i for i in rig.settle().images if i.id == copy)
        assert taken.phase is Phase.READY
        rig.provider.verify(copy)
        assert next(i for i in rig.settle().images if i.id == copy).kind is Kind.CORRUPT
        rig.provider.delete(copy)
    finally:
        pack.write_bytes(whole)
    on = rig.start(half)
    prove(rig.provider.access(on))
    rig.provider.delete(on.id)
    rig.provider.delete(image.id)


# ---- deleting ----------------------------------------------------------------------------------------


def test_a_killed_deletion_shows_as_a_leftover_and_is_taken_up_again(rig: LocalRig) -> None:
    machine = rig.stop(rig.up("grey"))
    locked = rig.disk("grey") / "home" / "locked" / "inner"
    locked.mkdir(parents=True)
    (locked / "file").touch()
    locked.parent.chmod(0o500)
    # As if the worker had died before it could do anything.
    records.write(rig.folder(machine) / "ending.json", records.Ending())
    seen = rig.settle_but_ending().of("grey")
    assert [i.phase for i in seen.machines] == [Phase.ENDING]
    (leftover,) = seen.leftovers
    rig.provider.delete(leftover.id)
    seen = rig.settle().of("grey")
    assert not [*seen.machines, *seen.disks, *seen.leftovers]
    assert not rig.disk("grey").exists()
    wait_for(lambda: not list((rig.state / "local" / "trash").iterdir()))


def test_an_interrupted_order_without_a_record_is_a_leftover(rig: LocalRig) -> None:
    folder = rig.state / "local" / "machines" / order(rig, "mauve").name
    folder.mkdir(parents=True)
    (leftover,) = rig.settle().of("mauve").leftovers
    rig.provider.delete(leftover.id)
    wait_for(lambda: not folder.exists())


def test_a_survey_looks_at_locks_and_records_only(rig: LocalRig, blue: Instance) -> None:
    code = (
        "import sys, pathlib\n"
        "from hotdesk.providers.local.provider import Local\n"
        "seen = Local(pathlib.Path(sys.argv[1]), None).survey()\n"
        "assert seen.poll_seconds == 0.1 and seen.lag_seconds == 0.0\n"
        "heavy = {'psutil', 'asyncio', 'asyncssh', 'subprocess', 'jupyter_server', 'argon2', 'blake3'}\n"
        "print(*sorted(heavy & set(sys.modules)))\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(rig.state)], capture_output=True, text=True, env=env, check=True
    )
    assert done.stdout.strip() == ""
