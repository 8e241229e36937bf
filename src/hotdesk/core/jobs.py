"""Jobs: what should run on a desk, what the desk reports, and what is left to do. Pure, like the planner.

A job's row says what is wanted; its progress is on the desk's own disk, so it travels with the desk's image
and survives this computer. `plan_jobs` is called after every survey and keeps no state, so any process can
continue after any crash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from math import sqrt

import msgspec

from hotdesk.core.lengths import said
from hotdesk.core.model import Desk, Goal, Instance, Market, Offer, Value
from hotdesk.core.spot.decision import Action, Decision
from hotdesk.core.spot.policy import expected_up_seconds

#: An attempt that fails this soon after an interruption, without writing a checkpoint, could not read one.
BROKEN_SECONDS = 120.0
#: A job that has a checkpoint folder and writes nothing there for so long gets a warning.
SILENT_SECONDS = 600.0
#: A machine is interrupted two minutes after the notice; if it still runs later, it was a false alarm.
TAKEN_SECONDS = 180.0
#: How long a job may take to write a requested checkpoint, before it is moved without one.
ASKED_SECONDS = 120.0


class Result(Value, frozen=True):
    """How a job ended, kept when its desk is parked or gone."""

    exit_status: int | None  # None: it never finished
    why: str
    at: float  # our clock
    seconds: float = 0.0  # its run time on the desk, all attempts together
    usd: float = 0.0  # cost of the desk during the job
    attempts: int = 0
    checkpoints: int = 0
    checkpoint_seconds: float | None = None  # the median
    last_line: str = ""  # of its log


class Variables(Value, frozen=True):
    """The environment variables of a job. Its values are shown by no representation of it."""

    values: dict[str, str] = msgspec.field(default_factory=dict)
    secrets: tuple[str, ...] = ()  # names of those that its output must not show either

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("names", sorted(self.values))]

    def __repr__(self) -> str:
        return f"Variables({', '.join(sorted(self.values))})"


class Job(Value, frozen=True):
    """What should run: a row that commands write and that survives every process."""

    id: str  # also its folder's name on the desk
    number: int  # shown to users
    desk: str
    command: tuple[str, ...]  # a single word is a shell line, several are passed literally
    created_at: float
    folder: str = "."  # on the desk, below its home
    resume_command: tuple[str, ...] = ()  # from the second attempt on; () for the same again
    checkpoint: str = ""  # a folder, relative to `folder`
    signal: str = "SIGUSR1"  # asks the job for a checkpoint; "" for none
    grace_seconds: float | None = None  # from SIGTERM to SIGKILL; None: 20, or what its launcher needs
    then: Goal | None = Goal.PARKED  # the desk's goal when no job is left; None: unchanged
    pull: tuple[str, ...] = ()  # what to fetch at the end, relative to `folder`
    pull_to: str = ""  # a folder of this computer
    work_seconds: float = 0.0  # its run time, as its owner estimated or as it was measured before
    ran_seconds: float = 0.0  # of that, saved in a checkpoint, as the desk last reported
    deadline_at: float | None = None
    budget_usd: float | None = None
    notify: bool = False  # its owner is told of its end, and of what happens to its desk meanwhile
    cancelled: bool = False
    install: str = ""  # the project whose files say what to install first; "": nothing
    variables: tuple[str, ...] = ()  # names; their values are in `state.variables`, until it has ended
    result: Result | None = None
    pulled: bool = False
    fetched: tuple[str, ...] = ()  # what was fetched, and which files here were kept, in words
    settled: bool = False  # nothing is left to do for it
    stayed: str = ""  # what else was working on the desk at its end, so that the desk was left up

    @property
    def words(self) -> str:
        """The command as it was written."""
        from shlex import join

        return self.command[0] if len(self.command) == 1 else join(self.command)


def job_id(number: int, desk: str, created_at: float) -> str:
    """An id that is unique on every disk, even if this computer's state was lost."""
    return f"{number}-{sha256(f'{desk}:{created_at}'.encode()).hexdigest()[:6]}"


class SeenJob(msgspec.Struct, frozen=True, kw_only=True):
    """What a desk reports about one job. Times are by the desk's clock."""

    id: str
    alive: bool = False  # whether any of its processes is running
    phase: str = ""  # begun | running | interrupted | ended
    attempt: int = 0
    exit_status: int | None = None
    started_at: float = 0.0
    attempt_at: float = 0.0
    ended_at: float = 0.0
    seconds: float = 0.0
    seconds_before: float = 0.0
    cancelled: bool = False
    checkpoints: int = 0
    checkpoint_seconds: tuple[float, ...] = ()
    checkpoint_at: float = 0.0
    checkpoint_bytes: int = 0
    saved_seconds: float = 0.0  # of work that the newest checkpoint holds
    asked_seconds: float = -1.0  # since it was asked for a checkpoint on this machine; -1: it was not
    saved: bool = False  # whether it has written one since
    kept: tuple[int, ...] = ()
    restored: int = 0
    killed: bool = False  # it ended unfinished, although its machine did not, nor was to
    trouble: str = ""
    log_bytes: int = 0
    last_line: str = ""

    @property
    def over(self) -> bool:
        return self.phase == "ended"

    @property
    def median_checkpoint_seconds(self) -> float | None:
        times = sorted(self.checkpoint_seconds)
        return times[len(times) // 2] if times else None


# ---- what is left to do ------------------------------------------------------------------------------


class Act(msgspec.Struct, frozen=True, kw_only=True):
    why: str


class Ready(Act, frozen=True, kw_only=True):
    """Reconcile the desk with its goal."""

    waits: bool = False  # the policy waits without a machine for now


class Start(Act, frozen=True, kw_only=True):
    """Begin exactly this attempt. Idempotent."""

    job: Job
    attempt: int
    restore: int = 0  # number of the kept checkpoint to restore first; 0: none


class Pause(Act, frozen=True, kw_only=True):
    """Nothing to do for now: look again in a moment."""

    job: Job


class Notify(Act, frozen=True, kw_only=True):
    """Ask the job for a checkpoint: it is about to be moved."""

    job: Job


class Seek(Act, frozen=True, kw_only=True):
    """Ask for a better place, while the job works on this machine."""

    job: Job
    offers: tuple[Offer, ...]  # best first; each is better than to stay


class Shift(Act, frozen=True, kw_only=True):
    """Move the job to another machine, although this one works."""

    job: Job
    offers: tuple[Offer, ...]  # destinations, best first
    on_demand_at: float = 0.0  # no on-demand machine before (our clock), whatever is refused


class Follow(Act, frozen=True, kw_only=True):
    """It is running: only its output is of interest."""

    job: Job


class End(Act, frozen=True, kw_only=True):
    """Cancel the job on the desk."""

    job: Job


class Record(Act, frozen=True, kw_only=True):
    """Record how it ended."""

    job: Job
    exit_status: int | None


class Fetch(Act, frozen=True, kw_only=True):
    """Copy its results here."""

    job: Job


class Settle(Act, frozen=True, kw_only=True):
    """Close the job; `goal` is the desk's goal from now on, None: unchanged."""

    job: Job
    goal: Goal | None


class Rest(Act, frozen=True, kw_only=True):
    """Nothing can be done until the desk's owner changes its goal."""

    job: Job


AnyAct = Ready | Start | Follow | Pause | Notify | Seek | Shift | End | Record | Fetch | Settle | Rest


def plan_jobs(desk: Desk | None, jobs: Sequence[Job], seen: Mapping[str, SeenJob] | None) -> AnyAct | None:
    """The next action for a desk's jobs, in the order of their numbers; None when all is done.

    `seen`: what the desk reported just now. None: it was not asked; the answer may then be `Ready`.
    """
    left = sorted((j for j in jobs if not j.settled), key=lambda j: j.number)
    if not left:
        return None
    job = left[0]
    if desk is None or desk.goal is Goal.GONE or desk.created_at > job.created_at:  # a later one
        gone = f"the desk {job.desk} is gone"
        if job.result is None:
            return Record(job=job, exit_status=None, why=gone)
        return Settle(job=job, goal=None, why=gone)
    for later in left[1:]:
        if later.result is not None:
            return Settle(job=later, goal=None, why=f"job {later.number} ended before its turn")
        if later.cancelled and seen is not None and later.id not in seen:
            return Record(job=later, exit_status=None, why="cancelled before its turn")
    last = len(left) == 1
    if job.result is not None and (job.pulled or not job.pull):
        goal = job.then if last and desk.goal is Goal.RUNNING else None
        why = f"job {job.number} is over" + ("" if last else f", job {left[1].number} is next")
        return Settle(job=job, goal=goal, why=why)
    if job.cancelled and job.result is None and desk.goal is not Goal.RUNNING:
        return Record(job=job, exit_status=None, why="cancelled while the desk was away")
    if desk.goal is not Goal.RUNNING:
        return Rest(job=job, why=f"{desk.name} is wanted {desk.goal}; the job goes on when it runs again")
    if seen is None:
        return Ready(why=f"{desk.name} is wanted for job {job.number}")
    if job.result is not None:
        return Fetch(job=job, why=f"the results of job {job.number}")
    return _of(job, seen.get(job.id))


def _of(job: Job, seen: SeenJob | None) -> AnyAct:
    if seen is not None and seen.over:
        if broken := _unreadable(job, seen):
            return broken
        why = "cancelled" if seen.cancelled else seen.trouble or ""
        return Record(job=job, exit_status=seen.exit_status, why=why)
    if job.cancelled:
        if seen is not None and seen.cancelled and seen.alive:
            return Follow(job=job, why="it is given time to end")
        return End(job=job, why="you cancelled it")
    if seen is None:
        return Start(job=job, attempt=1, why="it is its turn")
    if seen.alive:
        return Follow(job=job, why="it runs")
    if 0 <= seen.asked_seconds < TAKEN_SECONDS:
        return Pause(job=job, why="the machine is about to be interrupted: the job continues on the next one")
    why = "its machine is gone"
    if seen.asked_seconds >= 0:
        why = "its machine was not interrupted after all"
    elif seen.killed:
        why = "its runner was killed"
    return Start(job=job, attempt=seen.attempt + 1, why=f"{why}; the job continues")


def _unreadable(job: Job, seen: SeenJob) -> Start | None:
    """Another attempt from an older checkpoint, when the newest seems to be broken.

    An attempt after an interruption that fails at once and writes nothing could not read what it found.
    """
    ran = seen.seconds - seen.seconds_before
    failed = seen.exit_status not in {0, None} and not seen.cancelled and not job.cancelled
    if not (failed and seen.attempt > 1 and seen.kept and ran < BROKEN_SECONDS):
        return None
    if seen.checkpoint_at > seen.attempt_at:
        return None
    older = [n for n in seen.kept if not seen.restored or n < seen.restored]
    if not older:
        return None
    return Start(
        job=job,
        attempt=seen.attempt + 1,
        restore=max(older),
        why=f"attempt {seen.attempt} could not read the newest checkpoint; the one before is restored",
    )


def leave_machine(
    job: Job, seen: SeenJob, machine: Instance, decision: Decision, here: str
) -> Notify | Shift | Pause | None:
    """Carry out a policy's decision on a working machine: ask for a checkpoint, then move. None: stay.

    `here`: the key of the offer that the machine was launched from. The request for a checkpoint is recorded
    on the desk, so any process can continue from there. The caller puts the destinations into a `Shift`.
    """
    markets = {Action.ON_DEMAND: Market.ON_DEMAND, Action.SPOT: Market.SPOT}
    same = markets.get(decision.action, machine.market) is machine.market
    stays = same and (decision.action is not Action.SPOT or decision.zone in {"", here})
    return None if stays else depart(job, seen, decision.why)


def depart(job: Job, seen: SeenJob, why: str) -> Notify | Shift | Pause | None:
    """Leave a working machine: ask for a checkpoint first, where it may come. None: the job is over."""
    if seen.over:
        return None
    asked, patience = seen.asked_seconds, ASKED_SECONDS if job.checkpoint else job.grace_seconds or 20.0
    if seen.alive and job.signal and asked < 0:
        return Notify(job=job, why=why)
    if seen.alive and job.signal and not seen.saved and asked < patience:
        return Pause(job=job, why="it is asked for a checkpoint, then it moves")
    return Shift(job=job, offers=(), why=why)


# ---- checkpoints -------------------------------------------------------------------------------------


def interval_seconds(checkpoint_seconds: float, life_seconds: float) -> float:
    """How long to compute between two checkpoints, where one takes `checkpoint_seconds`.

    A machine lasts `life_seconds` on average. Daly's higher-order estimate (2006), whose first term is
    Young's (1974).
    """
    cost, life = checkpoint_seconds, life_seconds
    if cost <= 0:
        return 0.0
    if cost >= 2 * life:
        return life
    share = sqrt(cost / (2 * life))
    return sqrt(2 * cost * life) * (1 + share / 3 + share * share / 9) - cost


def life_seconds(seen: SeenJob, prior_seconds: float) -> float:
    """Mean lifetime of this job's machines: those observed, with `prior_seconds` as one more machine."""
    return (seen.seconds + prior_seconds) / max(1, seen.attempt)


def advice(job: Job, seen: SeenJob) -> str:
    """A remark on a running job's checkpoints, or ""."""
    took = seen.median_checkpoint_seconds
    if job.checkpoint and took is None and seen.seconds > SILENT_SECONDS:
        lost = said(seen.seconds - seen.seconds_before, 2)
        return f"no checkpoint in {job.checkpoint} so far: an interruption now would lose {lost}"
    if took is None:
        return ""
    life = life_seconds(seen, expected_up_seconds(0.0))
    best = interval_seconds(max(took, 0.1), life)
    return f"a checkpoint takes {took:.1f} s, a machine lasts {said(life, 2)}: best interval {said(best, 2)}"
