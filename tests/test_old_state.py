"""What an older hotdesk wrote down is read: its desks, its journal, its jobs.

`states/VERSION.sql` is what `sqlite3 hotdesk.db .dump` says of a state file that this version made, in the
middle of its work. Each later form of the state file keeps reading all of them.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from hotdesk.core.errors import Newer
from hotdesk.core.lifecycle.plan import plan
from hotdesk.core.matching import read_gpu
from hotdesk.core.model import Goal, Image, Instance, Phase, Survey, Want
from hotdesk.core.steps import Bake, Delete, Launch, Noted
from hotdesk.state.store import Store
from tests.conftest import Command

STATES = sorted(Path(__file__).with_name("states").glob("*.sql"))


@pytest.fixture(params=STATES, ids=lambda path: path.stem)
def state(request: pytest.FixtureRequest, home: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    with closing(sqlite3.connect(folder / "hotdesk.db")) as made:
        made.executescript(request.param.read_text("utf-8"))
    (folder / "hotdesk.db").chmod(0o600)
    return folder


def test_its_desks_journal_and_jobs_are_read(state: Path) -> None:
    with Store(state) as store:
        assert {d.name: d.goal for d in store.desks()} == {
            "blue": Goal.RUNNING,
            "green": Goal.PARKED,
            "red": Goal.PARKED,
        }
        rows = store.rows(limit=1000)
        assert all(isinstance(row.step, Noted) for row in rows)
        assert {type(row.step) for row in rows} >= {Launch, Bake, Delete}
        jobs = store.jobs()
        assert [(job.desk, job.command[-1]) for job in jobs] == [("blue", "long.py"), ("blue", "short.py")]
        assert {thing.kind for thing in store.sighted()} == {"machine", "image"}


def test_a_park_that_it_began_is_gone_on_with(state: Path) -> None:
    """1. 0.1.0 was killed while it parked red: the image was taken, and not yet read back. 2. The planner of
    today reads it back before anything goes."""
    with Store(state) as store:
        red = store.desk("red")
        past = store.past(red)
        rows = store.rows("red", limit=1000)
        [bake] = [r.step for r in rows if isinstance(r.step, Bake)]
        [launched] = [r for r in rows if isinstance(r.step, Launch)]
        assert isinstance(launched.step, Launch)
        assert launched.outcome is not None
    order = bake.order
    common = {"desk": "red", "provider": "local", "region": "local"}
    machine = Instance(
        id=order.source_id, name=order.source_id, generation=1, phase=Phase.STOPPED, zone="here",
        instance_type="local.cpu", started_at=order.started_at, **common,
    )  # fmt: skip
    image = Image(
        id=order.name, name=order.name, generation=1, phase=Phase.READY, source_id=order.source_id,
        taken_at=order.started_at + 5, started_at=order.started_at, machine=order.source_id, **common,
    )  # fmt: skip
    look = Survey(provider="local", instances=(machine,), images=(image,), linear=True)
    first, *_ = plan(red, look.of("red"), past, rows[-1].at + 3600)
    assert first.key.startswith("verify:"), first


def test_the_commands_that_read_work_on_it(state: Path, hotdesk: Command) -> None:
    for words in (["log"], ["jobs"], ["costs"], ["log", "blue", "--json"]):
        done = hotdesk(*words)
        assert done.returncode == 0, done.stderr
    assert "red" in hotdesk("log").stdout


def test_a_newer_state_file_is_refused_with_the_line_that_mends_it(state: Path) -> None:
    with closing(sqlite3.connect(state / "hotdesk.db")) as newer:
        newer.execute("PRAGMA user_version = 1000")
    with pytest.raises(Newer) as raised:
        Store(state).desks()
    assert raised.value.fix


@pytest.mark.parametrize("asked", ["L4", "L4:2", "L4:2.0"])
def test_what_a_desk_wants_is_written_as_0_1_0_reads_it(asked: str) -> None:
    """1. A watcher of 0.1.0 still runs, and somebody asks for a GPU. 2. It reads the row: its `gpu_count` is
    an integer. One row that it cannot read and every command and every park fails there."""
    wish = read_gpu(asked)
    row = msgspec.json.encode(Want(gpu=wish.said, gpu_count=wish.number))
    again = msgspec.json.encode(msgspec.json.decode(row, type=Want))
    for written in (row, again):
        assert isinstance(msgspec.json.decode(written).get("gpu_count", 0), int), written
    assert msgspec.json.decode(b'{"gpu_count":0.5}', type=Want).gpu_count == 0.5
