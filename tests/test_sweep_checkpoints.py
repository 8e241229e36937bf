"""Checkpoints of a sweep's tasks: kept whole on the machine, brought off it, and laid out on the next."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hotdesk.core.sweep.model import MachineState, State, Task, Wish
from hotdesk.guest import sweep_checkpoints
from hotdesk.guest.sweep_attempts import Attempts
from hotdesk.guest.sweep_processes import processes_of
from hotdesk.providers.local.paths import Folders
from hotdesk.sweep.checkpoints import FETCH_SECONDS
from hotdesk.sweep.machine import Saved
from tests.conftest import Command
from tests.local_rig import tool, wait_for
from tests.sweep_world import World
from tests.test_sweep_driver import Story
from tests.test_sweep_faults import kill, processes

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc on this computer")
SECONDS = 300.0  # a limit for a busy computer, not an expectation


def until(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + SECONDS
    while not (found := what()):
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.02)
    return found


def order(line: str, attempt: int = 1, **more: Any) -> dict[str, Any]:
    return {"task": 7, "attempt": attempt, "command": [line], "params": {}, "checkpoint": "ckpt", **more}


class Machine:
    """A machine's runner without its socket: its attempts, and the thread that keeps what they save."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.attempts = Attempts(str(folder), {"grace_seconds": 1.0, **settings}, dict(os.environ))
        self.ended: list[dict[str, Any]] = []

    def begin(self, asked: dict[str, Any]) -> threading.Thread:
        thread = threading.Thread(target=lambda: self.ended.append(self.attempts.run(asked)))
        thread.start()
        return thread

    def saved(self) -> list[tuple[int, int]]:
        self.attempts.keep()
        return [(one["task"], one["attempt"]) for one in self.attempts.kept()["saved"]]

    def copy(self, attempt: int) -> Path:
        return self.folder / "saved" / f"000007-{attempt}.tar"

    def content(self, attempt: int, name: str = "step") -> str:
        with tarfile.open(self.copy(attempt)) as file:
            inside = file.extractfile(f"checkpoint/{name}")
            assert inside is not None
            return inside.read().decode()

    def give(self, copy: Path, attempt: int) -> None:
        target = self.folder / "given" / f"000007-{attempt}.tar"
        Path(f"{target}.new").write_bytes(copy.read_bytes())
        Path(f"{target}.new").rename(target)


SAVE = "mkdir -p ckpt; echo {0} > ckpt/new; mv ckpt/new ckpt/step; "
WAIT = "while ! test -e go; do sleep 0.05; done; "


@pytest.fixture
def first(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path / "first")
    yield machine
    for pid in processes_of(str(machine.folder / "work" / "000007")):
        os.kill(pid, signal.SIGKILL)


def test_what_a_task_saves_is_copied_and_the_next_machine_goes_on_from_it(
    first: Machine, tmp_path: Path
) -> None:
    first.begin(order(SAVE.format(5) + WAIT))
    until(lambda: first.saved() == [(7, 1)])
    assert first.content(1) == "5\n"

    second = Machine(tmp_path / "second")
    second.begin(order("cat ckpt/step; test $(ls ckpt) = step", attempt=2, saved=1))
    until(lambda: second.attempts.kept()["wanted"] == [{"task": 7, "attempt": 1}])
    second.give(first.copy(1), 1)
    until(lambda: second.ended)
    assert (second.ended[0]["exit_status"], second.ended[0]["last"]) == (0, "5")
    assert second.attempts.kept()["wanted"] == []
    assert not list((second.folder / "given").iterdir())
    first.attempts.cancel({7: 1})
    until(lambda: first.ended)


def test_a_copy_is_the_older_one_until_the_next_is_whole(first: Machine) -> None:
    """The second is written for seconds, in place: in that time, and if it is killed, the first counts."""
    slow = "while test -e slow; do echo more >> ckpt/step; sleep 0.1; done"
    thread = first.begin(order(SAVE.format("first") + WAIT + "echo half > ckpt/step; " + slow))
    until(first.saved)
    work = first.folder / "work" / "000007"
    [keeper] = first.attempts._keepers()
    keeper.next_at = float("-inf")
    (work / "slow").touch()
    (work / "go").touch()
    until(lambda: (work / "ckpt" / "step").read_text().count("more") > 15)
    first.attempts.keep()
    assert first.content(1) == "first\n"
    for pid in processes_of(str(work)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    thread.join()
    assert first.ended[0]["exit_status"] > 128
    assert first.content(1) == "first\n"


def test_a_task_that_fails_leaves_what_it_saved_last_and_one_that_is_done_nothing(first: Machine) -> None:
    first.begin(order(SAVE.format(1) + "exit 3"))
    until(lambda: first.ended)
    assert first.content(1) == "1\n"
    assert first.ended[0]["saved_at"] == first.copy(1).stat().st_mtime
    first.begin(order("cat ckpt/step", attempt=2, saved=1))  # on the same machine: its folder is as new
    until(lambda: len(first.ended) == 2)
    assert (first.ended[1]["exit_status"], first.ended[1]["last"]) == (0, "1")
    assert first.saved() == []


def test_what_this_machine_has_left_is_replaced_by_what_came_after_it_elsewhere(
    first: Machine, tmp_path: Path
) -> None:
    """1. Attempt 1 here, then silence. 2. Attempt 2 elsewhere gets further. 3. Attempt 3 is here again."""
    first.begin(order(SAVE.format(10) + "exit 1"))
    until(lambda: first.ended)
    second = Machine(tmp_path / "second")
    second.begin(order(SAVE.format(30) + "exit 1", attempt=2))
    until(lambda: second.ended)
    first.begin(order("cat ckpt/step", attempt=3, saved=2))
    until(lambda: first.attempts.kept()["wanted"])
    first.give(second.copy(2), 2)
    until(lambda: len(first.ended) == 2)
    assert first.ended[1]["last"] == "30"


def test_a_checkpoint_that_is_nowhere_any_more_is_no_reason_to_wait_for_ever(first: Machine) -> None:
    first.begin(order("echo anew", attempt=2, saved=1))
    until(lambda: first.attempts.kept()["wanted"])
    (first.folder / "given" / "000007-1.tar").touch()
    until(lambda: first.ended)
    assert first.ended[0]["last"] == "anew"


def test_an_attempt_that_waits_for_its_checkpoint_can_be_cancelled(first: Machine) -> None:
    first.begin(order("echo anew", attempt=2, saved=1))
    until(lambda: first.attempts.kept()["wanted"])
    first.attempts.cancel({7: 2})
    until(lambda: first.ended)
    assert first.ended[0]["why"] == "cancelled"
    assert first.attempts.kept()["wanted"] == []


def test_too_great_a_checkpoint_is_not_kept_and_it_is_said(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine", checkpoint_bytes=1000)
    machine.begin(order("mkdir ckpt; head -c 2000 /dev/zero > ckpt/big; " + WAIT))
    told = until(lambda: machine.attempts.keep() or machine.attempts.kept()["unsaved"])
    assert told[0]["task"] == 7
    assert "at most" in told[0]["why"]
    (machine.folder / "work" / "000007" / "go").touch()
    until(lambda: machine.ended)
    assert machine.saved() == []


def test_a_notice_asks_for_a_checkpoint_which_is_copied_at_once(first: Machine) -> None:
    handler = "trap 'echo asked > ckpt/new; mv ckpt/new ckpt/step' USR1; echo > ready; "
    first.begin(order(SAVE.format(1) + handler + "while :; do sleep 0.1; done"))
    until(lambda: first.saved() and (first.folder / "work" / "000007" / "ready").exists())
    first.attempts.notice(signal.SIGUSR1, 300.0)  # the copy before is some seconds old
    until(lambda: first.saved() and first.content(1) == "asked\n")
    first.attempts.cancel({7: 1})
    until(lambda: first.ended)


def test_a_runner_that_was_killed_leaves_the_copies_to_the_next(first: Machine) -> None:
    first.begin(order(SAVE.format(1) + WAIT))
    until(first.saved)
    again = Machine(first.folder)  # it adopts what runs
    work = first.folder / "work" / "000007"
    (work / "ckpt" / "step").write_text("2\n")
    until(lambda: again.saved() and again.content(1) == "2\n")
    again.attempts.cancel({7: 1})
    until(lambda: 7 in again.attempts.ended)
    until(lambda: first.ended)


def test_links_and_second_names_survive(tmp_path: Path) -> None:
    source, there = tmp_path / "sweep" / "work" / "1" / "ckpt", tmp_path / "there"
    (tmp_path / "sweep" / "project").mkdir(parents=True)
    (tmp_path / "sweep" / "project" / "base.bin").write_text("base")
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "a").write_text("a")
    os.link(source / "sub" / "a", source / "same")
    (source / "last").symlink_to("sub/a")
    (source / "base").symlink_to(tmp_path / "sweep" / "project" / "base.bin")
    sweep_checkpoints.pack(str(source), str(tmp_path / "copy"), str(tmp_path / "sweep"))
    (there / "out" / "ckpt" / "old").mkdir(parents=True)
    sweep_checkpoints.lay_out(str(tmp_path / "copy"), str(there), "out/ckpt")
    found = there / "out" / "ckpt"
    assert sorted(file.name for file in found.iterdir()) == ["base", "last", "same", "sub"]
    assert (found / "same").read_text() == "a"
    assert (found / "last").readlink() == Path("sub/a")
    assert (found / "base").read_text() == "base"
    assert not (found / "base").is_symlink()
    (tmp_path / "torn").write_bytes((tmp_path / "copy").read_bytes()[:700])
    with pytest.raises(OSError, match="cannot be unpacked"):
        sweep_checkpoints.lay_out(str(tmp_path / "torn"), str(there), "out/ckpt")
    assert (found / "same").read_text() == "a", "what was there stays"


# ---- between machines ------------------------------------------------------------------------------------


def saving(tasks: int = 1, commands: Callable[[int, int], tuple[float, int]] | None = None) -> Story:
    """A sweep whose tasks have saved something on each machine, and run on."""
    world = World(slots=1, commands=commands or (lambda task, attempt: (300.0, 0)))
    story = Story(tasks=tasks, machines=2, world=world, checkpoint="ckpt")
    story.go(lambda: story.states()[State.RUNNING] == tasks)
    for name in world.runners:
        world.save(name)
    return story


def first_task(story: Story) -> Task:
    return story.store.task(story.number, 1)


def test_a_lost_machines_task_goes_on_elsewhere_from_what_it_saved() -> None:
    story = saving()
    story.go(lambda: bool(story.store.checkpoints(story.number)))
    story.world.kill_machine(first_task(story).machine)
    story.go(lambda: first_task(story).attempt == 2)
    assert first_task(story).why == "its machine was lost; it goes on from the checkpoint of attempt 1"
    story.go()
    story.check()
    assert story.states() == {State.DONE: 1}
    assert story.world.went_on == [(1, 2, 1)]
    assert story.world.copies == {}
    assert story.store.checkpoints(story.number) == []


def test_what_was_not_saved_begins_anew() -> None:
    story = Story(tasks=1, machines=2, world=World(slots=1, commands=lambda t, a: (60.0, 0)), checkpoint="c")
    story.go(lambda: story.states()[State.RUNNING] == 1)
    story.world.kill_machine(first_task(story).machine)
    story.go()
    assert story.world.went_on == []
    assert story.states() == {State.DONE: 1}


def test_the_next_driver_goes_on_from_what_was_fetched_before() -> None:
    story = saving()
    story.go(lambda: bool(story.store.checkpoints(story.number)))
    story.world.kill_engine()
    story.kill_driver()
    story.world.kill_machine(first_task(story).machine)
    story.go()
    assert story.world.went_on == [(1, 2, 1)]


def test_a_machine_that_was_given_up_replaces_nothing_when_it_is_back() -> None:
    """1. Attempt 1 saves and falls silent. 2. Attempt 2 saves elsewhere. 3. Attempt 1 saves again."""
    story = saving(2, lambda task, attempt: (900.0 if task == 2 else 100.0, 0))
    old = story.world.runners["sweep1-2"]
    [task] = old.running
    assert task == 2
    story.go(lambda: len(story.store.checkpoints(story.number)) == 2)
    old.silent = True
    story.go(lambda: story.world.went_on == [(2, 2, 1)])
    story.world.save("sweep1-1")
    story.go(lambda: [c.attempt for c in story.store.checkpoints(story.number)] == [2])
    old.saved[2] = Saved(task=2, attempt=1, at=story.world.clock.now(), bytes=10)
    old.silent = False
    story.go(lambda: 2 not in old.running)
    assert set(story.world.copies) == {(2, 2)}
    story.world.kill_machine("sweep1-1")
    story.go(rounds=20_000)
    assert story.world.went_on[-1] == (2, 3, 2)


def test_a_task_that_failed_is_not_begun_again_without_what_it_saved_last() -> None:
    """It fails between two looks; the machine whose place is free would have nothing of it."""
    story = saving(commands=lambda task, attempt: (30.0 if attempt == 1 else 1.0, 1 if attempt == 1 else 0))
    story.go(lambda: bool(story.store.checkpoints(story.number)))
    story.world.clock.sleep(20.0)
    story.world.save(first_task(story).machine)
    saved_at = story.world.clock.now()
    story.go(lambda: first_task(story).attempt == 2)
    assert story.world.copies == {(1, 1): saved_at}
    story.go()
    assert story.states() == {State.DONE: 1}


def test_copies_are_as_rare_as_was_said_and_at_once_on_a_notice() -> None:
    story = saving()
    story.go(lambda: bool(story.store.checkpoints(story.number)))
    machine, fetched = first_task(story).machine, story.world.clock.now()
    story.world.save(machine)
    story.go(lambda: story.store.checkpoints(story.number)[0].fetched_at > fetched)
    assert story.world.clock.now() - fetched >= FETCH_SECONDS
    at = story.world.clock.now()
    story.world.runners[machine].going = True
    story.world.save(machine)
    story.go(lambda: story.store.checkpoints(story.number)[0].fetched_at > at)
    assert story.world.clock.now() - at < FETCH_SECONDS
    [taken] = [m for m in story.store.machines(story.number) if m.why]
    assert (taken.name, taken.why, taken.state) == (machine, "its cloud takes it back", MachineState.UP)


def test_what_a_cancelled_task_saved_last_is_brought_home() -> None:
    story = saving()
    story.driver = story.new_driver()
    story.store.change(story.number, wish=Wish.CANCEL, stopped="you cancelled it")
    story.go()
    assert [(c.task, c.attempt) for c in story.store.checkpoints(story.number)] == [(1, 1)]
    assert set(story.world.copies) == {(1, 1)}


# ---- on this computer, with real Ray ---------------------------------------------------------------------

#: Training that saves its weights after each step, and holds after the fifth until it may go on.
STEPS = """
import json, os, sys, time
weights = json.load(open("ckpt/weights")) if os.path.exists("ckpt/weights") else []
print("from step", len(weights), flush=True)
os.makedirs("ckpt", exist_ok=True)
for step in range(len(weights), 8):
    while step == 5 and not os.path.exists(os.environ["GO"] + sys.argv[1]):
        time.sleep(0.1)
    weights.append(step * step)
    json.dump(weights, open("ckpt/new", "w"))
    os.replace("ckpt/new", "ckpt/weights")
print(json.dumps({"sum": sum(weights)}))
"""


@tool("ssh")
@tool("rsync")
@tool("git")
@pytest.mark.long
@pytest.mark.xdist_group("ray")
def test_training_goes_on_from_its_checkpoint_where_its_machine_was(
    hotdesk: Command, home: Path, tmp_path: Path
) -> None:
    """1. A task holds at step 5. 2. Its machine is killed, and its disk emptied. 3. It goes on from there."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'hotdesk[sweep]'")
    go, state = tmp_path / "go", Path(os.environ["HOTDESK_STATE"])
    (home / "project").mkdir()
    (home / "project" / "train.py").write_text(STEPS)
    os.chdir(home / "project")
    assert hotdesk("up", "blue").returncode == 0
    assert hotdesk("park", "blue").returncode == 0
    words = ["--param", "n=1", "--checkpoint", "ckpt", "--env", f"GO={go}", "--detach"]
    begun = hotdesk("sweep", "start", "blue", *words, "--", "python", "train.py", "{n}")
    assert begun.returncode == 0, begun.stderr

    def task() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(hotdesk("sweep", "show", "--json").stdout)
        return {**found["each"][0], "over": found["over_at"]}

    wait_for(lambda: (task()["checkpoint"] or {}).get("attempt") == 1, 400, pause=0.5)
    assert "a checkpoint of 1 task is here" in hotdesk("sweep", "show").stdout
    kill(processes("sweep1-1"), signal.SIGKILL)
    shutil.rmtree(Folders.of(state).disks / "sweep1-1" / "home" / ".hotdesk" / "sweeps")
    Path(f"{go}1").touch()
    last = wait_for(lambda: (found := task())["over"] and found, 400, pause=0.5)
    assert (last["state"], last["lost"], last["metrics"]) == ("done", 1, {"sum": 140}), last
    assert last["checkpoint"] is None, "what is done needs none"
    assert hotdesk("sweep", "logs", "1").stdout.splitlines()[-2:] == ["from step 5", '{"sum": 140}']
    assert not list((state / "sweeps").glob("*/checkpoints/*"))
