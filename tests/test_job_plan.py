"""What is left to do for a desk's jobs: a pure plan; what it may cost; the runner in a home of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotdesk.connect.job_runner import packed_runner
from hotdesk.core.errors import NotAllowed, Usage
from hotdesk.core.jobs import (
    SILENT_SECONDS,
    TAKEN_SECONDS,
    End,
    Fetch,
    Follow,
    Job,
    Pause,
    Ready,
    Record,
    Rest,
    Result,
    SeenJob,
    Settle,
    Start,
    advice,
    interval_seconds,
    job_id,
    plan_jobs,
)
from hotdesk.core.model import Desk, Goal, Market, Offer
from hotdesk.core.spot.availability import zones
from hotdesk.core.spot.policy import Greedy, OnDemand
from hotdesk.core.steps import Begin, Done, Launch, LaunchOrder
from hotdesk.jobs.run import Runs, kept_log
from hotdesk.jobs.terms import agree, known_seconds, place
from hotdesk.state.store import Store

DESK = Desk(name="blue", goal=Goal.RUNNING, since=1.0, created_at=1.0)
ONE = Job(id="1-a", number=1, desk="blue", command=("python", "train.py"), created_at=2.0)
TWO = msgspec.structs.replace(ONE, id="2-b", number=2)
OK = Result(exit_status=0, why="", at=9.0, seconds=7200.0)


def change(value, **changes):  # type: ignore[no-untyped-def]
    return msgspec.structs.replace(value, **changes)


def seen(id_: str = "1-a", **more: object) -> dict[str, SeenJob]:
    return {id_: SeenJob(id=id_, **{"attempt": 1, **more})}  # type: ignore[arg-type]


def test_a_job_from_its_asking_to_a_parked_desk() -> None:
    assert plan_jobs(DESK, [], None) is None
    assert isinstance(plan_jobs(DESK, [ONE, TWO], None), Ready)
    match plan_jobs(DESK, [ONE, TWO], {}):
        case Start(job=job, attempt=1):
            assert job == ONE
        case other:
            raise AssertionError(other)
    assert isinstance(plan_jobs(DESK, [ONE, TWO], seen(alive=True, phase="begun")), Follow)
    match plan_jobs(DESK, [ONE, TWO], seen(phase="running", attempt=3)):
        case Start(attempt=4, restore=0):
            pass
        case other:
            raise AssertionError(other)
    match plan_jobs(DESK, [ONE, TWO], seen(phase="ended", exit_status=3)):
        case Record(exit_status=3):
            pass
        case other:
            raise AssertionError(other)
    first = change(ONE, result=OK)
    match plan_jobs(DESK, [first, TWO], None):
        case Settle(goal=None):  # the other is next
            pass
        case other:
            raise AssertionError(other)
    match plan_jobs(DESK, [first], None):
        case Settle(goal=Goal.PARKED):
            pass
        case other:
            raise AssertionError(other)
    assert plan_jobs(DESK, [change(first, settled=True)], None) is None


def test_why_an_attempt_begins_is_told_as_it_is() -> None:
    for facts, why in (
        ({"killed": True}, "its runner was killed"),
        ({}, "its machine is gone"),
        ({"asked_seconds": TAKEN_SECONDS, "killed": True}, "its machine was not interrupted after all"),
    ):
        act = plan_jobs(DESK, [ONE], seen(phase="interrupted", **facts))
        assert isinstance(act, Start)
        assert act.why == f"{why}; the job continues"


def test_results_are_fetched_before_the_desk_is_left() -> None:
    job = change(ONE, result=OK, pull=("out",))
    assert isinstance(plan_jobs(DESK, [job], {}), Fetch)
    assert isinstance(plan_jobs(DESK, [job], None), Ready)
    assert isinstance(plan_jobs(DESK, [change(job, pulled=True)], {}), Settle)


def test_the_owner_comes_first() -> None:
    """A desk that its owner parks stays parked; one that is gone ends its jobs, one born later has none."""
    parked = change(DESK, goal=Goal.PARKED)
    assert isinstance(plan_jobs(parked, [ONE], None), Rest)
    stopped = change(DESK, goal=Goal.STOPPED)
    match plan_jobs(stopped, [change(ONE, result=OK)], None):
        case Settle(goal=None):
            pass
        case other:
            raise AssertionError(other)
    for desk in (None, change(DESK, created_at=3.0), change(DESK, goal=Goal.GONE)):
        assert isinstance(plan_jobs(desk, [ONE], None), Record)


def test_cancelling() -> None:
    gone = change(ONE, cancelled=True)
    assert isinstance(plan_jobs(DESK, [gone], {}), End)
    assert isinstance(plan_jobs(DESK, [gone], seen(alive=True, phase="running")), End)
    parked = change(DESK, goal=Goal.PARKED)
    assert isinstance(plan_jobs(parked, [gone], None), Record)
    second = change(TWO, cancelled=True)
    match plan_jobs(DESK, [ONE, second], seen(alive=True, phase="running")):
        case Record(job=job):
            assert job.number == 2
        case other:
            raise AssertionError(other)


@pytest.mark.parametrize(
    ("status", "restore"),
    [
        ({"kept": (4, 5)}, 5),
        ({"kept": (4, 5), "restored": 5}, 4),
        ({"kept": (4, 5), "restored": 4}, None),
        ({"kept": ()}, None),
        ({"kept": (4, 5), "attempt": 1}, None),  # it failed without ever having been interrupted
        ({"kept": (4, 5), "exit_status": 0}, None),
        ({"kept": (4, 5), "seconds": 500.0}, None),  # it had gone on well
        ({"kept": (4, 5), "checkpoint_at": 11.0, "attempt_at": 10.0}, None),
        ({"kept": (4, 5), "cancelled": True}, None),
    ],
)
def test_a_broken_checkpoint_gives_way_to_the_one_before(
    status: dict[str, object], restore: int | None
) -> None:
    told = {"phase": "ended", "attempt": 2, "exit_status": 1, "seconds": 103.0, "seconds_before": 100.0}
    act = plan_jobs(DESK, [ONE], seen(**{**told, **status}))
    if restore is None:
        assert isinstance(act, Record)
    else:
        assert isinstance(act, Start)
        assert (act.restore, act.attempt) == (restore, 3)


def test_nothing_is_begun_on_a_machine_that_is_about_to_be_taken() -> None:
    """A job that left in time, on the notice, waits for its next machine; a false alarm ends that."""
    for asked, kind in ((-1.0, Start), (5.0, Pause), (TAKEN_SECONDS, Start)):
        told = seen(phase="interrupted", attempt=1, asked_seconds=asked)
        assert isinstance(plan_jobs(DESK, [ONE], told), kind)


def test_a_job_that_never_writes_a_checkpoint_is_told_what_that_could_cost() -> None:
    job = change(ONE, checkpoint="ckpt")
    told = seen(alive=True, phase="running", seconds=7200.0, seconds_before=3600.0)[ONE.id]
    assert advice(job, told) == ("no checkpoint in ckpt so far: an interruption now would lose 60 min")
    assert advice(job, change(told, seconds=SILENT_SECONDS)) == ""
    assert advice(ONE, told) == ""  # nobody knows where it writes
    writes = change(told, checkpoint_seconds=(4.0, 6.0, 5.0))
    assert "a checkpoint takes 5.0 s" in advice(job, writes)


@given(st.floats(0.01, 3600), st.floats(60, 1e6))
def test_the_interval_is_the_best_of_its_kind(cost: float, life: float) -> None:
    """Against the exact expectation for exponential failures, e^(I+C)/M - 1 per I (Daly 2006, eq. 13)."""
    from math import expm1

    best = interval_seconds(cost, life)
    assert best > 0
    if cost < life / 20:

        def price(interval: float) -> float:
            return expm1((interval + cost) / life) / interval

        assert price(best) <= min(price(best * f) for f in (0.8, 1.25))


# ---- deadline and budget -----------------------------------------------------------------------------


def offer(zone: str, market: Market, usd: float) -> Offer:
    return Offer(provider="aws", region="r", zone=zone, instance_type="g", market=market, usd_per_hour=usd)


OFFERS = (
    offer("a", Market.SPOT, 0.3),
    offer("b", Market.SPOT, 0.4),
    offer("a", Market.ON_DEMAND, 1.0),
)


def test_what_cannot_be_is_said_up_front() -> None:
    hour = 3600.0
    assert agree(OFFERS, 0.0, None, None) is None
    with pytest.raises(Usage, match="is unknown"):
        agree(OFFERS, 0.0, hour, None)
    with pytest.raises(NotAllowed) as late:
        agree(OFFERS, 10 * hour, 10 * hour, None)
    assert (
        late.value.fix == "--deadline 10.34"
    )  # in whole ticks of ten minutes: 10 h 12 min, then 10 h 20 min
    assert agree(OFFERS, 10 * hour, 11 * hour, None) == 11 * hour
    with pytest.raises(NotAllowed, match="does not pay") as dear:
        agree(OFFERS[2:], 10 * hour, None, 10.0)
    assert dear.value.fix.startswith("--budget 10.2")
    assert agree(OFFERS[2:], 10 * hour, 12 * hour, 10.3) == 12 * hour
    free = (Offer(provider="local", region="local", zone="local", instance_type="local.cpu"),)
    assert agree(free, 60.0, 120.0, 0.01) == 120.0


def test_a_budget_is_turned_into_the_earliest_deadline_that_it_pays_for() -> None:
    pytest.importorskip("numpy")
    hour = 3600.0
    with pytest.raises(NotAllowed, match="cannot be expected"):
        agree(OFFERS, 10 * hour, None, 2.0)
    patient, hasty = agree(OFFERS, 10 * hour, None, 5.0), agree(OFFERS, 10 * hour, None, 8.0)
    assert patient is not None
    assert hasty is not None
    assert 10 * hour < hasty < patient
    with pytest.raises(NotAllowed, match="not expected to finish within"):
        agree(OFFERS, 10 * hour, 10.5 * hour, 5.0)


def test_where_a_job_with_a_deadline_goes_next() -> None:
    job = change(ONE, created_at=0.0, work_seconds=36000.0, deadline_at=60 * 3600.0)
    there = zones(OFFERS, {}, 0.0)
    assert place(ONE, OFFERS, there, 0.0)[0] == OFFERS  # no deadline: as the desk wants it
    at_once, decision = place(job, OFFERS, there, 0.0, policy=lambda terms: Greedy())
    assert decision is not None
    assert [o.key for o in at_once] == [o.key for o in OFFERS]
    assert at_once[0].why == decision.why
    gone = zones(OFFERS, {}, 0.0, refused={OFFERS[0].key})
    moved, _ = place(job, OFFERS, gone, 0.0, policy=lambda terms: Greedy())
    assert moved[0].zone == "b"
    late, decision = place(job, OFFERS, there, 50 * 3600.0, policy=lambda terms: Greedy())
    assert decision is not None
    assert decision.action == "on-demand"
    assert [o.market for o in late] == sorted(o.market for o in late), "on-demand first"
    assert {o.key for o in late} == {o.key for o in OFFERS}, (
        "spot is better than nothing, if that is sold out"
    )
    assert place(job, OFFERS, there, 0.0, policy=lambda terms: OnDemand())[0][0].market is Market.ON_DEMAND


def test_each_place_is_decided_as_if_those_before_had_refused() -> None:
    """Spot that is worth it, on-demand, then the rest of spot for when that is sold out; what costs more than
    on-demand is nobody's way out."""
    dear = offer("c", Market.SPOT, 1.2)
    some = (dear, *OFFERS)
    job = change(ONE, created_at=0.0, work_seconds=36000.0, deadline_at=60 * 3600.0)
    known = zones(some, {}, 0.0)
    early, decision = place(job, some, known, 0.0, policy=lambda terms: Greedy())
    assert decision is not None
    assert (decision.action, decision.otherwise) == ("spot", "wait"), "with days to spare it would wait"
    assert [(o.zone, o.market) for o in early] == [("a", "spot"), ("b", "spot"), ("a", "on-demand")]
    late, decision = place(job, some, known, 50 * 3600.0, policy=lambda terms: Greedy())
    assert decision is not None
    assert decision.otherwise == "on-demand"
    assert [(o.zone, o.market) for o in late] == [("a", "on-demand"), ("a", "spot"), ("b", "spot")]


def test_on_demand_is_where_the_rest_of_the_work_costs_least() -> None:
    """An hour costs less in the other region, and bringing the checkpoint there $5."""
    far = Offer(
        provider="aws", region="s", zone="s1", instance_type="g", market=Market.ON_DEMAND, usd_per_hour=0.9
    )
    job = change(ONE, created_at=0.0, work_seconds=36000.0, deadline_at=11 * 3600.0)
    for move, zone in ((5.0, "a"), (0.5, "s1")):
        found, _ = place(
            job, (*OFFERS, far), zones(OFFERS, {}, 0.0), 0.0,
            on_demand_move_usd={far.key: move}, policy=lambda terms: OnDemand(),
        )  # fmt: skip
        assert found[0].zone == zone


def test_jobs_are_kept(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        first, second = store.queue(change(ONE, id="", number=0)), store.queue(change(TWO, id="", number=0))
        assert (first.number, second.number) == (1, 2)
        assert first.id == job_id(1, "blue", 2.0) != second.id
        store.put_job(1, result=OK)
        store.put_job(1, settled=True)  # what another process has written stays
    with Store(tmp_path) as store:
        assert [j.number for j in store.jobs("blue", unsettled=True)] == [2]
        assert store.job("blue").number == 2
        assert store.job("blue", 1).result == OK
        assert known_seconds("python train.py", store.jobs()) == 7200.0


def test_a_job_costs_what_its_desk_costs_while_it_runs(tmp_path: Path) -> None:
    """1. A machine at $3.60 an hour is launched. 2. The job begins 100 s later. 3. It is over in 1000 s."""
    clock = SimpleNamespace(now=lambda: 1101.0)
    order = LaunchOrder(
        desk="blue", born=1.0, generation=1, attempt=0, offer=offer("a", Market.ON_DEMAND, 3.6)
    )
    with Store(tmp_path) as store:
        store.put(DESK)
        job = store.queue(ONE)
        for at, step in (
            (1.0, Launch(order=order, why="")),
            (101.0, Begin(id=job.id, attempt=1, why="")),
        ):
            (row,) = store.begin([("blue", step)], at)
            store.end(row, Done(id="i-1"), at)
        log = kept_log(store, job)
        assert log
        log.parent.mkdir()
        log.touch()  # it was fetched before
        runs = Runs(store=store, clock=clock, access=lambda desk: None, settle=lambda name: None)
        told = seen(job.id, phase="ended", exit_status=0, seconds=990.0)
        act = plan_jobs(DESK, store.jobs(), told)
        assert isinstance(act, Record)
        runs.take(act, told)
        result = store.job("blue").result
    assert result is not None
    assert (result.exit_status, result.seconds, round(result.usd, 6)) == (0, 990.0, 1.0)


# ---- the runner ------------------------------------------------------------------------------------


Runner = Callable[..., str]


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """The runner in a home of its own, without tmux."""
    python = Path(sys.executable).resolve()
    (tmp_path / "bin").mkdir()
    for program in ("sh", "sleep", "id"):  # all that a job and a login shell want here
        found = shutil.which(program)
        assert found
        (tmp_path / "bin" / program).symlink_to(found)
    environment = {"HOME": str(tmp_path), "PATH": str(tmp_path / "bin"), "SHELL": "/bin/sh"}
    name, packed = packed_runner()
    (tmp_path / name).write_bytes(packed)

    def run(*words: str, **order: object) -> str:
        done = subprocess.run(
            [str(python), str(tmp_path / name), *words],
            input=json.dumps(order),
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def until_over(runner: Runner, id_: str) -> dict[str, object]:
    limit = time.monotonic() + 60
    while True:
        (job,) = [j for j in json.loads(runner("look"))["jobs"] if j["id"] == id_]
        if job["phase"] == "ended" and not job["alive"]:
            found: dict[str, object] = job
            return found
        assert time.monotonic() < limit, job
        time.sleep(0.05)


def test_begun_twice_is_begun_once(runner: Runner, tmp_path: Path) -> None:
    line = "echo once >> count; sleep 0.3"
    for _ in range(3):
        runner("begin", id="1-a", attempt=1, command=[line])
    assert until_over(runner, "1-a")["exit_status"] == 0
    runner("begin", id="1-a", attempt=2, command=[line])  # it is over: no later attempt either
    time.sleep(0.3)
    assert (tmp_path / "count").read_text() == "once\n"


def test_a_full_disk_costs_words_of_the_log_and_not_the_exit_status(runner: Runner, tmp_path: Path) -> None:
    """1. The log cannot be written: the job goes on. 2. Nor can the status, until there is room again."""
    folder = tmp_path / ".hotdesk" / "jobs" / "1-a"
    folder.mkdir(parents=True)
    (folder / "log").symlink_to("/dev/full")
    runner(
        "begin", id="1-a", attempt=1, command=["echo lost; while [ ! -e go ]; do sleep 0.05; done; exit 5"]
    )
    limit = time.monotonic() + 30
    while not (folder / "status.json.new").is_symlink():
        assert time.monotonic() < limit
        with contextlib.suppress(FileExistsError):  # it is being written just now
            (folder / "status.json.new").symlink_to("/dev/full")
    (tmp_path / "go").touch()
    time.sleep(1.5)
    assert json.loads((folder / "status.json").read_text())["phase"] == "running"
    (folder / "log").unlink()  # for those who read it
    (folder / "status.json.new").unlink()
    job = until_over(runner, "1-a")
    assert job["exit_status"] == 5
    assert "No space left" in str(job["trouble"])


def test_processes_of_an_earlier_attempt_end_before_the_next_one(runner: Runner, tmp_path: Path) -> None:
    """A runner that was killed alone leaves its job behind: two of them must never write side by side."""
    runner("begin", id="1-a", attempt=1, command=[": > begun; while [ ! -e go ]; do sleep 0.05; done"])
    limit = time.monotonic() + 30
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < limit
        time.sleep(0.05)
    (job,) = json.loads(runner("look"))["jobs"]
    os.kill(job["pid"], 9)
    runner("begin", id="1-a", attempt=2, command=["false"], resume_command=["echo again"])
    assert until_over(runner, "1-a")["exit_status"] == 0
    said, again = runner("log", "1-a", "0").splitlines()
    assert "an earlier attempt's processes are ended first: /bin/sh" in said
    assert again == "again"


def test_jobs_of_one_name_on_two_desks_never_end_each_other(runner: Runner, tmp_path: Path) -> None:
    environment = {**os.environ, "HOTDESK_JOB": "1-a", "HOTDESK_JOB_FOLDER": "/elsewhere/jobs/1-a"}
    with subprocess.Popen(["sleep", "60"], env=environment) as other:
        runner("begin", id="1-a", attempt=1, command=["echo done"])
        assert until_over(runner, "1-a")["exit_status"] == 0
        assert runner("log", "1-a", "0") == "done\n"
        assert other.poll() is None
        other.kill()


@pytest.mark.parametrize(
    ("name", "last", "phase"),
    [("SIGTERM", "0", "interrupted"), ("SIGUSR1", "0", "ended"), ("SIGUSR1", "3", "interrupted")],
)
def test_leaving_in_time_is_not_ending(runner: Runner, name: str, last: str, phase: str) -> None:
    """The machine will be taken, the job is told, writes its checkpoint and leaves."""
    line = f"trap 'echo saved; exit {last}' {name[3:]}; echo listening; while :; do sleep 0.05; done"
    runner("begin", id="1-a", attempt=1, command=["sh", "-c", line], signal=name)
    limit = time.monotonic() + 30
    while "listening" not in runner("log", "1-a", "0"):
        assert time.monotonic() < limit
    runner("notice")
    assert runner("log", "1-a", "0", "-f") == "listening\nsaved\n"
    (job,) = json.loads(runner("look"))["jobs"]
    assert job["phase"] == phase
    runner("begin", id="1-a", attempt=2, command=["echo again"])
    assert until_over(runner, "1-a")["attempt"] == (1 if phase == "ended" else 2)
