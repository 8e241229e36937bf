"""One suite for every engine of a sweep: in memory, and Ray itself with a real runner."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from hotdesk.core.sweep.model import Order
from hotdesk.guest.ray_node import MARK, RayNode
from hotdesk.guest.sweep_processes import processes_of
from hotdesk.sweep.engine import Batch, Engine, EngineLost, Told
from hotdesk.sweep.machine import packed
from hotdesk.sweep.ray_engine import RayEngine
from tests.local_rig import wait_for
from tests.sweep_world import Runner, World

SECONDS = 600.0  # a limit for a busy computer, not an expectation


@dataclass
class Rig:
    engine: Engine
    address: str
    lose: Callable[[], None]  # end the engine


@contextmanager
def memory() -> Iterator[Rig]:
    def command(task: int, attempt: int) -> tuple[float, int]:
        return (1000.0, 0) if task >= 900 else (0.5, task % 2)

    world = World(slots=2, commands=command)
    world.runners["m-1"] = Runner("m-1", "i-1", 0.0, served=True)
    from hotdesk.core.sweep.model import Machine

    engine = world.engine(None, Machine(name="m-1", number=1))  # type: ignore[arg-type]
    yield Rig(engine, "10.0.0.1", world.kill_engine)


@contextmanager
def ray(folder: Path) -> Iterator[Rig]:
    """A head with two places, at an address of this computer's own."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'hotdesk[sweep]'")
    from hotdesk.services.sweeps import free_port

    program, home = folder / "packed.py", folder / "home"
    program.write_bytes(packed()[1])
    home.mkdir()
    environment = {**os.environ, "HOME": str(home)}
    address = "127.0.0.7"
    told = {
        "machine": "m-1", "address": address, "head": f"{address}:{free_port()}", "heads": True, "cpus": 2,
        "gpus": 0, "python": sys.executable, "token": "5" * 64, "grace_seconds": 1.0,
    }  # fmt: skip

    def call(verb: str, text: str = "") -> None:
        argv = [sys.executable, str(program), verb, "s1"]
        subprocess.run(
            argv, input=text, text=True, env=environment, check=True, capture_output=True, timeout=120
        )

    call("serve", json.dumps(told))
    try:
        engine = None
        deadline = time.monotonic() + SECONDS
        while engine is None:
            process = subprocess.Popen(
                [sys.executable, str(program), "engine", "s1"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=environment,
            )
            with suppress(EngineLost):
                engine = RayEngine(process)
            if engine is None:
                assert time.monotonic() < deadline, (home / ".hotdesk/sweeps/s1/runner.log").read_text()[
                    -2000:
                ]
                time.sleep(1.0)
        yield Rig(engine, address, process.kill)
        engine.close()
    finally:
        call("stop")
        assert not processes_of(str(home / ".hotdesk" / "sweeps" / "s1"), "HOTDESK_RAY"), "no process is left"


@pytest.fixture(
    params=["memory", pytest.param("ray", marks=[pytest.mark.slow, pytest.mark.xdist_group("ray")])]
)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with memory() if request.param == "memory" else ray(tmp_path) as made:
        yield made


def batch(number: int, *tasks: int, node: str = "", attempt: int = 1, begun: bool = False) -> Batch:
    """Tasks of even numbers end well; those from 900 on run until ended."""
    orders = []
    for task in tasks:
        line = "exec sleep 1000" if task >= 900 else f"echo '{{\"task\": {task}}}'; exit {task % 2}"
        orders.append(
            Order(task=task, attempt=attempt, command=(line,), params={"n": task}, epoch=1, begun=begun)
        )
    return Batch(batch=number, orders=tuple(orders), node=node)


def told(engine: Engine, count: int) -> dict[int, Told]:
    """So many batches, as they ended."""
    found: dict[int, Told] = {}
    deadline = time.monotonic() + SECONDS
    while len(found) < count:
        assert time.monotonic() < deadline, found
        found |= {one.batch: one for one in engine.wait(0.2)}
    return found


def statuses(one: Told) -> Sequence[tuple[int, int]]:
    return [(ended.task, ended.exit_status) for ended in one.results]


@pytest.mark.long
@pytest.mark.xdist_group("ray")
@pytest.mark.parametrize(("name", "seconds"), [("gcs_server", 15), ("/raylet/raylet", 50), ("/agent.py", 40)])
def test_a_node_that_is_slow_to_start_is_waited_for(tmp_path: Path, name: str, seconds: float) -> None:
    """As on a busy computer: one of its processes gets no time for so long that Ray would give it up."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'hotdesk[sweep]'")
    from hotdesk.services.sweeps import free_port

    (tmp_path / "token").write_text("5" * 64)
    log = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    order = {"python": sys.executable, "address": "127.0.0.7", "head": f"127.0.0.7:{free_port()}"}
    node = RayNode(str(tmp_path), {**order, "heads": True, "cpus": 1, "gpus": 0}, dict(os.environ), log)

    def begun() -> int:
        for pid in processes_of(str(tmp_path), MARK):
            with suppress(OSError):
                words = Path("/proc", str(pid), "cmdline").read_bytes().split(b"\0")
                if any(word.endswith(name.encode()) for word in words[:3]):
                    return pid
        return 0

    node.start()
    try:
        pid = wait_for(begun, SECONDS, pause=0.01)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(pid, signal.SIGCONT)
        wait_for(lambda: node.ready() or node.failures, SECONDS, pause=0.2)
        assert node.failures == 0, node.why
    finally:
        node.stop()
        os.close(log)


def test_an_engine(rig: Rig) -> None:
    """One story, as Ray takes long to start: batches, a chosen node, ends that are told, cancelling."""
    engine = rig.engine
    assert [(node.address, node.cpus) for node in engine.nodes()] == [(rig.address, 2.0)]

    assert engine.wait(0.0) == []
    engine.begin([batch(1, 2, 3, 4), batch(2, 5), batch(3, 6, node=rig.address)])
    found = told(engine, 3)
    assert statuses(found[1]) == [(2, 0), (3, 1), (4, 0)], "one after the other, in order"
    assert statuses(found[2]) == [(5, 1)]
    assert statuses(found[3]) == [(6, 0)]
    assert all(one.machine == "m-1" and not one.lost for one in found.values())

    engine.begin([batch(4, 2), batch(5, 8, begun=True)])
    found = told(engine, 2)
    assert statuses(found[4]) == [(2, 0)], "what has ended is told again, and not begun"
    assert found[5].results[0].why == "fenced", "what is only waited for is not begun"

    engine.begin([batch(6, 901), batch(7, 902), batch(8, 903)])
    assert engine.wait(0.5) == [], "the third waits for a place"
    engine.cancel({901: 1, 902: 1, 903: 1})
    found = told(engine, 3)
    ended = [(e.exit_status, e.why) for one in found.values() for e in one.results]
    assert all(one == (143, "cancelled") for one in ended)
    assert all(one.lost in {"", "withdrawn"} for one in found.values())

    rig.lose()
    with pytest.raises(EngineLost):
        ask_until_lost(engine)


def ask_until_lost(engine: Engine) -> None:
    for _ in range(100):
        engine.begin([batch(9, 10)])
        engine.wait(0.1)
