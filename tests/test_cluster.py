"""Clusters: what each rank is asked to run, how a gang ends, and a real one whose machine is killed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hotdesk.core.sweep.cluster import Place, Run, ended, filled, launches
from hotdesk.core.sweep.model import State, Task
from hotdesk.core.sweep.plan import LOST_MOST
from hotdesk.providers.local.paths import Folders
from hotdesk.providers.local.runtime import locks
from tests.conftest import Command
from tests.local_rig import tool

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
    deadline = time.monotonic() + SECONDS
    while not (found := what()):
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.5)
    return found


@tool("ssh")
@tool("rsync")
@tool("git")
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

    def last() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(hotdesk("cluster", "show", "blue", "--json").stdout)["runs"][0]
        return found

    done = until(lambda: (found := last())["state"] in {"done", "failed"} and found)
    assert (done["state"], done["attempts"], done["lost"]) == ("done", 2, 1), done
    said = hotdesk("cluster", "logs", "blue").stdout
    began = [line for line in said.splitlines() if line.startswith("rank 0 of 2 from round ")]
    assert began[0] == "rank 0 of 2 from round 0"
    assert int(began[1].rpartition(" ")[2]) >= 4, "from the checkpoint"
    rounds = [json.loads(line)["round"] for line in said.splitlines() if line.startswith("{")]
    assert rounds[-1] == 40
    assert "rank 1 of 2" in hotdesk("cluster", "logs", "blue", "--rank", "1").stdout
    failed = hotdesk(
        "cluster", "run", "blue", "--retries", "0", "--", "python", "-c", "import sys; sys.exit(3)"
    )
    assert (failed.returncode, "Run 2 has failed" in failed.stderr) == (5, True), failed.stderr

    assert hotdesk("cluster", "down", "blue").returncode == 0
    assert [desk["name"] for desk in json.loads(hotdesk("ls", "--json").stdout)] == ["blue"]
    assert json.loads(hotdesk("sweep", "ls", "--json").stdout) == [], "a cluster is no sweep"
