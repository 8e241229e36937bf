"""A sweep: its wish, its tasks, their attempts and its machines. Times are by this computer's clock."""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256

import msgspec

from hotdesk.core.fleet import Hold
from hotdesk.core.model import MarketChoice, Offer, Value
from hotdesk.core.sweep.params import Params, Scalar


class State(StrEnum):
    """Of a task."""

    WAITING = "waiting"
    ASKED = "asked"  # the engine has been asked to place this attempt; whether it has begun is not known
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = (State.ASKED, State.RUNNING)
LEFT = (State.WAITING, *OPEN)


class Wish(StrEnum):
    """What its owner wants of a sweep."""

    RUN = "run"
    CANCEL = "cancel"


class Sweep(Value, frozen=True):
    """What was asked for, and what has become of it."""

    number: int
    desk: str  # whose image and folder its machines have
    image: str
    provider: str
    command: tuple[str, ...]
    created_at: float
    folder: str  # here
    function: str = ""  # its name, where the tasks are calls of a Python function
    tags: tuple[str, ...] = ()
    machines: int = 1
    market: MarketChoice = MarketChoice.CHEAPEST  # of all machines but the head
    pools: tuple[Offer, ...] = ()  # where they may be launched, best first
    cpus: float = 1.0  # of each task
    gpus: float = 0.0
    memory_gib: float = 0.0  # 0: no limit of its own
    retries: int = 1  # after a failure; a lost machine does not count
    limit_seconds: float | None = None
    grace_seconds: float = 20.0
    environment: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()  # names of more: their values are in no database, and on no command line
    pull: tuple[str, ...] = ()
    checkpoint: str = ""  # what each task saves, in its folder: it goes on from there on another machine
    checkpoint_gib: float = 0.0  # greater ones stay where they are; 0: no limit
    budget_usd: float | None = None
    deadline_at: float | None = None
    token: str = ""  # of its cluster
    head_port: int = 0
    wish: Wish = Wish.RUN
    keep_going: bool = False  # also where everything fails
    stopped: str = ""  # why it has stopped early
    epoch: int = (
        0  # raised by each process that takes the sweep over: what an earlier one asked for is refused
    )
    over_at: float = 0.0  # all of it, its machines too; 0: not yet
    cluster: bool = False  # machines for its owner's own programs: its tasks are runs (core/sweep/cluster.py)
    idle_seconds: float | None = None  # of a cluster: it ends when nothing has run for so long
    dashboard_port: int = 0  # of a cluster: Ray's, at the loopback address of its head
    linger_seconds: float = 0.0  # how long a machine that has nothing left to do is kept for the next sweep
    heir: int = 0  # the sweep that gets its machines
    after: int = 0  # the sweep whose machines it gets
    group: str = ""  # the name of its machines in a cloud, where it is not of its own
    origin: int = 0  # its number at the computer that began it, by which its machines know it; 0: this one
    hold: Hold = Hold()  # by which this computer goes on with it
    held_at: float = 0.0  # … since when
    away: str = ""  # the computer that goes on with it instead of this one

    @property
    def title(self) -> str:
        """What its tasks run, in one line."""
        if self.cluster:
            return f"cluster of {self.desk}"
        words = " ".join(" ".join(self.command).split())
        return f"{self.function}({', '.join(self.tags)})" if self.function else words

    def member(self, number: int) -> str:
        """The name of a machine, from 1."""
        return f"{'cluster' if self.cluster else 'sweep'}{self.origin or self.number}-{number}"

    @property
    def id(self) -> str:
        """Unique on every disk, even where this computer's state was lost."""
        digest = sha256(f"{self.desk}:{self.created_at}".encode()).hexdigest()
        return f"{self.origin or self.number}-{digest[:6]}"

    @property
    def fleet(self) -> str:
        """The name of its machines in a cloud, as a desk's."""
        return self.group or f"{'cluster' if self.cluster else 'sweep'}{self.id}"


class Task(Value, frozen=True):
    """One task: a set of parameters, and how far it is."""

    number: int
    params: Params
    state: State = State.WAITING
    attempt: int = 0  # the newest that was asked for
    failed: int = 0  # attempts that failed
    lost: int = 0  # attempts that went with their machine
    machine: str = ""
    began_at: float = 0.0
    ended_at: float = 0.0
    seconds: float = 0.0  # of the attempt that counts
    usd: float = 0.0
    exit_status: int | None = None
    metrics: dict[str, Scalar] = msgspec.field(default_factory=dict)
    why: str = ""
    last: str = ""  # the last line of its log


class Attempt(Value, frozen=True):
    """One attempt of a task, as it ended."""

    task: int
    number: int
    machine: str
    began_at: float
    seconds: float
    exit_status: int | None  # None: its machine was lost
    why: str = ""


class MachineState(StrEnum):
    WANTED = "wanted"
    UP = "up"  # its runner answers
    LOST = "lost"  # it did, and does not any more
    LEAVING = "leaving"  # its results are fetched, then it is deleted
    WARM = "warm"  # … or kept for a while, for the next sweep (core/sweep/linger.py)
    GONE = "gone"


class Machine(Value, frozen=True):
    """A machine of a sweep: a member of its fleet, under a name of its own."""

    name: str
    number: int  # from 1; the first has the cluster's head
    state: MachineState = MachineState.WANTED
    address: str = ""  # in the cluster
    slots: int = 0
    gpus: int = 0
    usd_per_hour: float = 0.0
    instance: str = ""  # which machine of the cloud the runner was started on
    since: float = 0.0  # of this state
    lost_at: float = 0.0  # when it was lost last: what had been asked for by then may have begun there
    unmet: bool = False  # whether it has not told this computer yet what another one has begun there
    fetched: bool = False  # whether all that is to be kept of it is here, so that it may be deleted
    why: str = ""

    @property
    def may_go(self) -> bool:
        """Whether nothing of it is needed: it is fetched, or nothing has ever run there."""
        return self.state is MachineState.LEAVING and (self.fetched or not self.instance)


class Order(msgspec.Struct, frozen=True):
    """One attempt, as an engine is asked to begin it. Equal orders are begun once."""

    task: int
    attempt: int
    command: tuple[str, ...]
    params: Params
    epoch: int
    begun: bool = False  # it was: it is waited for where it runs, and not begun where it does not
    checkpoint: str = ""  # what it saves, in its folder
    keeps: bool = True  # whether a copy of that is made: of a gang, rank 0 alone
    saved: int = 0  # the attempt from whose checkpoint it goes on; 0: none


class Ended(msgspec.Struct, frozen=True):
    """How an attempt ended, as the machine's runner tells it."""

    task: int
    attempt: int
    exit_status: int
    seconds: float
    began_at: float  # by the machine's clock
    metrics: dict[str, Scalar] = msgspec.field(default_factory=dict)
    why: str = ""
    last: str = ""
    saved_at: float = 0.0  # of the newest copy of its checkpoint, by the machine's clock; 0: there is none


class Checkpoint(Value, frozen=True):
    """A copy of a task's checkpoint on this computer."""

    task: int
    attempt: int  # that saved it; 0: there is no copy
    at: float  # by the machine's clock
    bytes: int
    fetched_at: float
    why: str = ""  # why there is no newer one


class Counts(Value, frozen=True):
    """The tasks of a sweep by state."""

    waiting: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        return self.waiting + self.running + self.done + self.failed + self.cancelled

    @property
    def left(self) -> int:
        return self.waiting + self.running
