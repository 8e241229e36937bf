"""Clusters: what each rank is asked to run, how a gang ends, and a real one whose machine is killed."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from hotdesk import Hotdesk
from hotdesk.core.errors import Busy
from hotdesk.core.model import Desk, Goal
from hotdesk.core.sweep.cluster import Place, Run, ended, filled, launches
from hotdesk.core.sweep.model import State, Sweep, Task, Wish
from hotdesk.core.sweep.plan import LOST_MOST
from hotdesk.providers.local.paths import Folders
from hotdesk.providers.local.runtime import locks
from hotdesk.services import sweep_checks
from hotdesk.services.sweeps import Sweeps
from hotdesk.sweep.cluster import WHOLE_SECONDS, ClusterDriver
from tests.conftest import Command
from tests.local_rig import tool, wait_for
from tests.sweep_world import World, holding
from tests.test_sweep_driver import Story

SECONDS = 300.0  # a limit for a busy computer, not an expectation
PLACE = Place(rank=1, machines=4, head="10.0.0.1", port=6390, gpus=8)
MEET = ("--nnodes=4", "--node-rank=1", "--master-port=6390", "--master-addr=10.0.0.1")


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        (("torchrun", "train.py"), ("torchrun", *MEET, "--nproc-per-node=8", "train.py")),
        (
            ("python", "-m", "torch.distributed.run", "t.py", "-m"),
            ("python", "-m", "torch.distributed.run", *MEET, "--nproc-per-node=8", "t.py", "-m"),
        ),
        (
            ("torchrun", "--nproc_per_node", "2", "t.py"),
            ("torchrun", *MEET, "--nproc_per_node", "2", "t.py"),
        ),
        (
            ("torchrun", "--rdzv-endpoint=h:1", "t.py"),
            ("torchrun", "--nnodes=4", "--nproc-per-node=8", "--rdzv-endpoint=h:1", "t.py"),
        ),
        (
            ('torchrun train.py --name "$X" > log',),
            (f'torchrun {" ".join(MEET)} --nproc-per-node=8 train.py --name "$X" > log',),
        ),
        (("python", "train.py"), ("python", "train.py")),
        (("python -m json.tool",), ("python -m json.tool",)),
        (("echo 'open",), ("echo 'open",)),
    ],
)
def test_torchrun_is_told_where_it_is(command: tuple[str, ...], asked: tuple[str, ...]) -> None:
    assert filled(command, PLACE) == asked
    assert launches(command) == (asked != command)


def of(**more: Any) -> Task:
    run = Run(command=("torchrun", "t.py"), gang=True, retries=1)
    return Task(number=1, params=run.params(), state=State.RUNNING, attempt=1, began_at=10.0, **more)


def test_a_gang_is_done_when_every_rank_is() -> None:
    task = ended(of(), {0: (0, ""), 1: (0, "")}, lost="", now=30.0)
    assert (task.state, task.exit_status, task.seconds) == (State.DONE, 0, 20.0)


def test_the_rank_that_failed_is_named_not_the_one_that_was_ended_for_it() -> None:
    task = ended(of(), {0: (143, "cancelled"), 1: (3, "ValueError: x")}, lost="", now=30.0)
    assert (task.state, task.failed, task.exit_status) == (State.WAITING, 1, 3)
    assert task.why == "rank 1 ended with 3: ValueError: x"
    assert ended(of(failed=1), {0: (3, "")}, lost="", now=30.0).state is State.FAILED


def test_a_lost_machine_is_no_failure_until_it_is_the_cause() -> None:
    task = ended(of(), {0: (0, "")}, lost="m-2 went", now=30.0)
    assert (task.state, task.lost, task.failed, task.why) == (State.WAITING, 1, 0, "lost: m-2 went")
    assert ended(of(lost=LOST_MOST - 1), {}, lost="m-2 went", now=1.0).state is State.FAILED


class Cluster(Story):
    """A cluster of three machines in memory."""

    kind = ClusterDriver

    def __init__(self, world: World | None = None, **wish: Any) -> None:
        super().__init__(0, world, cluster=True, **wish)

    def run(self, *, gang: bool = True, retries: int = 1, secrets: tuple[str, ...] = ()) -> int:
        number = self.store.counts(self.number).total + 1
        run = Run(
            command=("torchrun", "t.py"), gang=gang, retries=retries, checkpoint="ckpt", secrets=secrets
        )  # fmt: skip
        self.store.put(self.number, [Task(number=number, params=run.params())])
        return number

    def check(self) -> None:
        """Every run has ended, each rank began once in an attempt, and no machine is left."""
        assert not self.store.counts(self.number).left
        assert not self.world.runners
        assert max(Counter(self.world.began).values(), default=0) <= 1

    def end(self) -> None:
        self.store.change(self.number, wish=Wish.CANCEL, stopped="you cancelled it")
        self.go()
        self.check()

    def task(self, number: int = 1) -> Task:
        return self.store.task(self.number, number)


# ---- asked for from several terminals ------------------------------------------------------------------


@pytest.fixture
def clusters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder with a cluster that nobody goes on with, and a desk; and a project beside it."""
    monkeypatch.setattr(Sweeps, "drive", lambda sweeps, number: None)
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "t.py").write_text("new")
    with Hotdesk(tmp_path) as desks:
        desks.services.store.put(Desk(name="blue", goal=Goal.PARKED, since=1.0, created_at=1.0))
        with desks.services.sweeps.opened() as store:
            asked = {"command": (), "created_at": 1.0, "folder": "", "provider": "local", "image": "i"}
            sweep = store.create(Sweep(number=0, desk="blue", cluster=True, **asked), [])
        desks.services.sweeps.kept.folder(sweep).mkdir(parents=True)
    return tmp_path


def begun(state: Path, word: str) -> int:
    with Hotdesk(state) as desks:
        return desks.services.clusters.run("blue", ("python", "t.py", word), folder=state / "project").number


def test_a_run_has_its_own_secrets_and_none_outlives_the_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of run 1, the process that asked for it was killed before the run was written down."""
    cluster = Cluster()
    cluster.store.folder = tmp_path
    sweep = cluster.store.sweep(cluster.number)
    begun: list[dict[str, str]] = []
    begin = cluster.world.begin

    def hear(*asked: Any) -> None:
        begun.append(dict(asked[-1]))
        begin(*asked)

    monkeypatch.setattr(cluster.world, "begin", hear)
    cluster.store.keep_secrets(sweep, {"OLD": "old"}, 1)
    cluster.run()
    cluster.store.keep_secrets(sweep, {"NEW": "new"}, 2)
    cluster.run(secrets=("NEW",))
    cluster.go(lambda: cluster.states() == {State.DONE: 2})
    assert [*begun[0], *begun[-1]] == ["NEW"]
    cluster.store.keep_secrets(sweep, {"LATE": "late"}, 3)
    cluster.store.change(cluster.number, wish=Wish.CANCEL)
    cluster.go()
    assert not list((tmp_path / "variables").iterdir())


def test_runs_that_are_begun_at_once_have_a_number_each(
    clusters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, copy = threading.Barrier(2, timeout=SECONDS), sweep_checks.copy

    def at_once(*given: Any) -> None:
        copy(*given)
        both.wait()

    monkeypatch.setattr(sweep_checks, "copy", at_once)
    with ThreadPoolExecutor(2) as pool:
        numbers = [*pool.map(lambda word: begun(clusters, word), ("one", "two"))]
    assert sorted(numbers) == [1, 2]
    with Hotdesk(clusters) as desks:
        tasks = desks.services.sweeps.tasks(1)
    assert {Run.of(task).command[-1] for task in tasks} == {"one", "two"}


def test_what_a_run_that_was_killed_before_it_was_written_down_has_left_is_not_run(clusters: Path) -> None:
    with Hotdesk(clusters) as desks:
        folder = desks.services.sweeps.kept.folder(desks.services.clusters.show("blue").view.sweep)
    project = folder / "runs" / "000001" / "project"
    project.mkdir(parents=True)
    (project / "t.py").write_text("old")
    assert begun(clusters, "one") == 1
    assert (project / "t.py").read_text() == "new"


def test_a_cluster_is_begun_by_one_process_at_a_time(clusters: Path) -> None:
    with Hotdesk(clusters) as one, Hotdesk(clusters) as other:
        with one.services.sweeps.opened() as store:
            store.change(1, over_at=2.0)
        with one.services.store.hold("@cluster-blue", "hotdesk cluster up blue") as mine:
            assert mine
            with pytest.raises(Busy, match="Another process is beginning a cluster of blue"):
                other.services.clusters.up("blue", machines=2, anyway=True)


# ---- runs ------------------------------------------------------------------------------------------------


def test_a_gang_runs_once_on_every_machine_and_a_single_on_the_first() -> None:
    story = Cluster()
    story.run()
    story.run(gang=False)
    story.go(lambda: story.states() == {State.DONE: 2})
    assert story.world.ranks == [
        *((1, 1, rank, f"cluster1-{rank + 1}") for rank in range(3)),
        (2, 1, 0, "cluster1-1"),
    ]
    story.end()
    assert {m.name for m in story.store.machines(story.number)} == {f"cluster1-{n}" for n in (1, 2, 3)}


def test_all_ranks_begin_again_where_one_fails_or_loses_its_machine() -> None:
    """1. A machine goes. 2. A rank of the second attempt fails. 3. The third attempt ends well."""
    world = World(commands=lambda task, attempt: (60.0, 3 if attempt == 2 else 0))
    story = Cluster(world)
    story.run()
    story.go(lambda: len(world.ranks) == 3)
    world.kill_machine("cluster1-2")
    story.go(lambda: story.task().state is State.DONE)
    task = story.task()
    assert (task.attempt, task.lost, task.failed, task.exit_status) == (3, 1, 1, 0)
    assert Counter(attempt for _, attempt, _, _ in world.ranks) == {1: 3, 2: 3, 3: 3}
    assert [a.why.partition(":")[0] for a in story.store.attempts(story.number)] == [
        "lost", "rank 0 ended with 3", "",
    ]  # fmt: skip
    story.end()


def test_a_killed_driver_costs_no_run_and_the_next_one_can_end_the_cluster() -> None:
    story = Cluster(World(commands=lambda task, attempt: (300.0, 0)))
    story.run()
    story.go(lambda: len(story.world.ranks) == 3)
    story.kill_driver()
    story.go(lambda: story.world.clock.now() > 1200.0, rounds=20_000)
    assert (story.task().state, story.task().attempt) == (State.RUNNING, 1)
    story.kill_driver()
    story.end()
    assert story.task().state is State.CANCELLED


def test_a_run_is_cancelled_and_the_machines_stay() -> None:
    story = Cluster(World(commands=lambda task, attempt: (900.0, 0)))
    first = story.run()
    story.go(lambda: len(story.world.ranks) == 3)
    story.store.want(story.number, [first], wanted=False)
    story.go(lambda: story.task().state is State.CANCELLED)
    assert len(story.world.runners) == 3
    assert not any(runner.running for runner in story.world.runners.values())
    story.end()


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        ({"idle_seconds": 600.0}, "nothing has run for 10 minutes"),
        ({"deadline_at": 2500.0}, "its deadline"),
        ({"budget_usd": 3.0}, "its budget of $3.00 is spent"),
    ],
)
def test_a_cluster_ends_by_itself(limit: dict[str, float], why: str) -> None:
    world = World(commands=lambda task, attempt: (400.0, 0))
    world.usd_per_hour = 4.0
    story = Cluster(world, **limit)
    story.run()
    story.go(rounds=20_000)
    story.check()
    assert story.store.sweep(story.number).stopped == why
    assert story.task().state is State.DONE
    if why.startswith("nothing"):
        assert world.clock.now() >= 1000 + 20 + 400 + 600


def test_a_cluster_in_a_cloud_is_ended_where_not_all_of_its_machines_can_be_had() -> None:
    """Those that are there would cost money for nothing."""
    world = World()
    world.refused = {"cluster1-3"}
    story = Cluster(world, provider="aws")
    story.go(rounds=20_000)
    story.check()
    assert story.store.sweep(story.number).stopped.startswith("not all of its machines can be had: ")


def test_a_cluster_in_a_cloud_waits_half_an_hour_for_its_last_machine() -> None:
    world = World()
    world.wanted_at["cluster1-3"] = 1e9
    story = Cluster(world, provider="aws")
    story.go(rounds=20_000)
    story.check()
    assert story.store.sweep(story.number).stopped == "not all of its machines were there within 30 minutes"
    assert world.clock.now() >= 1000 + WHOLE_SECONDS


def test_a_cluster_that_was_whole_waits_for_a_machine_in_the_place_of_one_that_went() -> None:
    world = World(commands=lambda task, attempt: (9000.0, 0))
    story = Cluster(world, provider="aws")
    story.run()
    story.go(lambda: len(world.ranks) == 3)
    world.launch_seconds = 2 * WHOLE_SECONDS
    world.kill_machine("cluster1-3")
    story.go(lambda: len(world.ranks) == 6, rounds=20_000)
    assert world.clock.now() >= 1000 + 2 * WHOLE_SECONDS
    story.end()


#: Ranks that add their numbers over TCP, as an all-reduce does; rank 0 saves how far they are.
GANG = """
import json, os, socket, sys, time
rank, ranks = int(os.environ["NODE_RANK"]), int(os.environ["NNODES"])
at = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
saved = "ckpt/round.json"
start = json.load(open(saved))["round"] if os.path.exists(saved) else 0
print(f"rank {rank} of {ranks} from round {start}", flush=True)
if rank == 0:
    server = socket.create_server(at)
    files = [server.accept()[0].makefile("rw") for _ in range(ranks - 1)]
else:
    while True:
        try:
            files = [socket.create_connection(at).makefile("rw")]
            break
        except OSError:
            time.sleep(0.1)
for number in range(start, 40):
    time.sleep(0.25)
    if rank:
        files[0].write(f"{rank}\\n"), files[0].flush()
        if not files[0].readline():
            sys.exit("rank 0 went")
        continue
    total = sum(int(file.readline()) for file in files)
    for file in files:
        file.write(f"{total}\\n"), file.flush()
    os.makedirs("ckpt", exist_ok=True)
    with open("ckpt/new", "w") as file:
        json.dump({"round": number + 1}, file)
    os.rename("ckpt/new", saved)
    print(json.dumps({"round": number + 1, "total": total}), flush=True)
"""


def until(what: Callable[[], Any]) -> Any:
    return wait_for(what, SECONDS, pause=0.5)


def commands() -> list[bytes]:
    """What every process was begun with, as `ps` shows it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found.append((process / "cmdline").read_bytes())
    return found


@tool("ssh")
@tool("rsync")
@tool("git")
@pytest.mark.xdist_group("ray")
def test_a_gang_goes_on_from_its_checkpoint_when_a_machine_is_killed(hotdesk: Command, home: Path) -> None:
    """1. Two ranks run. 2. The machine of rank 1 is killed. 3. Both go on from where rank 0 was."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'hotdesk[sweep]'")
    state = Path(os.environ["HOTDESK_STATE"])
    project = home / "project"
    project.mkdir()
    (project / "gang.py").write_text(GANG)
    os.chdir(project)
    assert hotdesk("up", "blue").returncode == 0
    assert "blue is not parked" in hotdesk("cluster", "up", "blue", "--machines", "2").stderr
    assert hotdesk("cluster", "run", "blue", "--", "true").returncode == 4
    up = hotdesk("cluster", "up", "blue", "--machines", "2", "--yes")
    assert up.returncode == 0, up.stderr
    assert hotdesk("cluster", "up", "blue").returncode == 6
    run = ["cluster", "run", "blue", "--every", "--checkpoint", "ckpt", "--detach", "--", "python", "gang.py"]
    assert hotdesk(*run).returncode == 0
    until(lambda: '"round": 4' in hotdesk("cluster", "logs", "blue").stdout)
    [machine] = Folders.of(state).machines.glob("*cluster1-2*")
    supervisor = locks.worker_pid(machine / "run.lock")
    assert supervisor
    os.kill(supervisor, signal.SIGKILL)

    def runs() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(hotdesk("cluster", "show", "blue", "--json").stdout)["runs"]
        return found

    done = until(lambda: (found := runs()[0])["state"] in {"done", "failed"} and found)
    assert (done["state"], done["attempts"], done["lost"]) == ("done", 2, 1), done
    said = hotdesk("cluster", "logs", "blue").stdout
    began = [line for line in said.splitlines() if line.startswith("rank 0 of 2 from round ")]
    assert began[0] == "rank 0 of 2 from round 0"
    assert int(began[1].rpartition(" ")[2]) >= 4, "from the checkpoint"
    rounds = [json.loads(line)["round"] for line in said.splitlines() if line.startswith("{")]
    assert rounds[-1] == 40
    assert "rank 1 of 2" in hotdesk("cluster", "logs", "blue", "--rank", "1").stdout
    os.environ["SECRET"] = secret = f"hf_{token_hex(8)}"
    held = 'test -n "$SECRET" && echo ${#SECRET} && while ! test -e ../go; do sleep 0.1; done'
    assert hotdesk("cluster", "run", "blue", "--secret", "SECRET", "--detach", "--", held).returncode == 0
    until(lambda: hotdesk("cluster", "logs", "blue", "2").stdout == "19\n")
    del os.environ["SECRET"]
    assert [file.parent.name for file in holding(secret.encode())] == ["variables"]
    assert not [pid for pid in commands() if secret.encode() in pid]
    [work] = (Folders.of(state).disks / "cluster1-1" / "home" / ".hotdesk" / "sweeps").glob("*/work")
    (work / "go").touch()
    until(lambda: runs()[1]["state"] == "done")
    assert holding(secret.encode()) == []

    failed = hotdesk(
        "cluster", "run", "blue", "--retries", "0", "--", "python", "-c", "import sys; sys.exit(3)"
    )
    assert (failed.returncode, "Run 3 has failed" in failed.stderr) == (5, True), failed.stderr

    assert hotdesk("cluster", "down", "blue").returncode == 0
    assert [desk["name"] for desk in json.loads(hotdesk("ls", "--json").stdout)] == ["blue"]
    assert json.loads(hotdesk("sweep", "ls", "--json").stdout) == [], "a cluster is no sweep"
