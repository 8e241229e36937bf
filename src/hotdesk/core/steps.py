"""The verbs: each step is one call to a provider, or a wait, or a question, and says why it is taken.

A step is a value that is written into the journal *before* it is taken. `key` names its effect: two steps
with the same key are the same request, and must be idempotent.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from hotdesk.core.errors import OFFER_KINDS, Kind
from hotdesk.core.model import Goal, Offer, Scope, Value
from hotdesk.core.money import Amount


def _digest(value: object) -> str:
    import hashlib  # OpenSSL: 4 MB, also where a far machine only sends files

    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:24]


class LaunchOrder(Value, frozen=True):
    """Exactly one machine. Only equal orders have equal names and tokens."""

    desk: str
    born: float  # the desk's creation: an earlier desk of this name used other tokens
    generation: int
    attempt: int  # raised only after a definite refusal of the attempt before
    offer: Offer
    image_id: str = ""  # the desk's own saved image; "" for a base image
    base_image: str = ""  # a base image the owner named; "" lets the provider choose
    disk_gib: int = 0
    initialization_rate: int = 0  # MiB/s, of a disk that is restored from an image
    placeholder: bool = False  # it keeps a place for the desk's machine, holds nothing, and soon ends itself

    @property
    def token(self) -> str:
        """The idempotency token (24 hex digits; EC2 allows 64 characters)."""
        place = self.offer
        return _digest(
            (self.desk, self.born, self.generation, self.attempt, place.key, place.region, place.zone,
             self.image_id, self.base_image, self.disk_gib,
             *([self.initialization_rate] if self.initialization_rate else []),
             *(["placeholder"] if self.placeholder else []))
        )  # fmt: skip

    @property
    def name(self) -> str:
        return f"hotdesk-{self.desk}-g{self.generation}-{self.token[:8]}"


class BakeOrder(Value, frozen=True):
    """One image of the present content of a machine or disk."""

    desk: str
    born: float
    generation: int
    attempt: int
    source_id: str  # an instance that is stopped, or a disk
    started_at: float  # the source's last start: waking it makes every earlier image stale
    region: str
    there: bool = False  # it may stay where its machine is, if the provider has a store there

    @property
    def name(self) -> str:
        return f"hotdesk-{self.desk}-g{self.generation}-{_digest(self)[:12]}"


class Noted(msgspec.Struct, frozen=True, kw_only=True, tag_field="step", tag=str.lower):
    """What a journal row is about: a step in a desk's cloud, or an event on the desk."""

    why: str

    @property
    def key(self) -> str:
        raise NotImplementedError


class Step(Noted, frozen=True, kw_only=True, tag=str.lower):
    #: Whether it changes something in the cloud, and so must be journaled before it is taken.
    acts: ClassVar[bool] = True


class Launch(Step, frozen=True, kw_only=True):
    order: LaunchOrder

    @property
    def key(self) -> str:
        return f"launch:{self.order.token}"


class Hold(Step, frozen=True, kw_only=True):
    """Ask for a placeholder, while the desk's machine works: who is refused has lost nothing."""

    order: LaunchOrder

    @property
    def key(self) -> str:
        return f"hold:{self.order.token}"


class Start(Step, frozen=True, kw_only=True):
    id: str
    started_at: float  # the start before this one: each start is another effect
    usd_per_hour: float = 0.0  # its price from then on
    ran_seconds: float | None = None  # length of the run before, if the cloud reports it

    @property
    def key(self) -> str:
        return f"start:{self.id}:{self.started_at}"


class Stop(Step, frozen=True, kw_only=True):
    id: str
    started_at: float

    @property
    def key(self) -> str:
        return f"stop:{self.id}:{self.started_at}"


class Retype(Step, frozen=True, kw_only=True):
    """Change a stopped machine to the type of an offer in its own zone; its disk stays."""

    id: str
    started_at: float
    offer: Offer
    generation: int  # the desk's, which the machine serves from then on

    @property
    def key(self) -> str:
        return f"retype:{self.id}:{self.started_at}:{self.offer.instance_type}:{self.generation}"


class Grow(Step, frozen=True, kw_only=True):
    """Make the root disk of a machine bigger; its file system is grown at the desk, or by its next boot."""

    id: str  # of the machine
    gib: int
    disk_usd_per_month: float = 0.0  # of the machine's disks before, for the bill

    @property
    def key(self) -> str:
        return f"grow:{self.id}:{self.gib}"


class Bake(Step, frozen=True, kw_only=True):
    order: BakeOrder
    ran_seconds: float | None = None  # of the machine whose disk it is: see Start

    @property
    def key(self) -> str:
        return f"bake:{self.order.name}"


class Verify(Step, frozen=True, kw_only=True):
    id: str  # an image

    @property
    def key(self) -> str:
        return f"verify:{self.id}"


class Copy(Step, frozen=True, kw_only=True):
    id: str  # an image
    region: str  # the destination
    name: str  # new for each attempt: a cloud answers a repeated request with what it made first

    @property
    def key(self) -> str:
        return f"copy:{self.id}:{self.name}"


class Delete(Step, frozen=True, kw_only=True):
    """Terminate a machine, or delete a disk, an image or a leftover."""

    id: str
    keep_disk: bool = False  # of a machine: its disk holds the only copy of the work
    usd_per_month: float = 0.0  # its price until then, for the bill
    told_per_usd: Amount | None = None  # one of these dollars as the cloud tells it, if not in US dollars
    ran_seconds: float | None = None  # of a stopped machine: see Start
    kind: str = ""  # machine | disk | image | …: an id alone does not tell
    of: str = ""  # the machine that a disk belonged to, if the cloud still reports it
    started_at: float | None = None  # of a saved machine: it is deleted only if that is its last start
    for_good: bool = False  # other computers need not ask about it: its owner wants it gone, or never used it

    @property
    def key(self) -> str:
        return f"{'release' if self.keep_disk else 'delete'}:{self.id}"


class Prove(Step, frozen=True, kw_only=True):
    """Log in over ssh and get an answer from Jupyter. It changes nothing; only success is recorded."""

    acts: ClassVar[bool] = False
    id: str
    generation: int
    started_at: float
    name: str = ""  # of the machine
    usd_per_hour: float = 0.0

    @property
    def key(self) -> str:
        return f"prove:{self.id}:{self.started_at}"


class Leave(Step, frozen=True, kw_only=True):
    """Change the desk's goal to parked or stopped: its machine ended itself, or was stopped elsewhere.

    Changes only the desk's row, nothing in the cloud.
    """

    id: str
    started_at: float
    goal: Goal = Goal.PARKED
    ran_seconds: float | None = None  # see Start

    @property
    def key(self) -> str:
        return f"leave:{self.id}:{self.started_at}"


class Vacate(Step, frozen=True, kw_only=True):
    """Change the desk's goal to parked, because its cloud is about to end its machine.

    Changes only the desk's row. Refused while a job is to go on elsewhere: the job is moved instead.
    """

    id: str
    ends_at: float  # by the cloud's clock

    @property
    def key(self) -> str:
        return f"vacate:{self.id}:{self.ends_at:.0f}"


class Hand(Step, frozen=True, kw_only=True):
    """Hand a desk that is saved and has no machine to the provider it is bound for.

    Changes only the desk's row, nothing in a cloud: before it the old place has the desk, then the new one.
    """

    id: str  # of the image that holds all of its work; "": it never had any
    provider: str  # the new one
    since: float  # when its owner asked for it (our clock)

    @property
    def key(self) -> str:
        return f"hand:{self.provider}:{self.since}"


class Fetch(Step, frozen=True, kw_only=True):
    """Bring the files of a running machine into this computer's store, as a verified image.

    What runs there ends first. It changes nothing in a cloud; only success is recorded.
    """

    acts: ClassVar[bool] = False
    order: BakeOrder  # its source is the machine

    @property
    def key(self) -> str:
        return f"fetch:{self.order.name}"


class Bring(Step, frozen=True, kw_only=True):
    """Bring the content of an image in this computer's store to a machine, and read it back there.

    Changes nothing but what is on that machine, which was never used; only success is recorded.
    """

    acts: ClassVar[bool] = False
    id: str  # of the machine
    image: str
    started_at: float

    @property
    def key(self) -> str:
        return f"bring:{self.id}:{self.image}"


class Begin(Noted, frozen=True, kw_only=True):
    """Begin one attempt of a job on the desk."""

    id: str  # of the job
    attempt: int

    @property
    def key(self) -> str:
        return f"begin:{self.id}:{self.attempt}"


class Move(Noted, frozen=True, kw_only=True):
    """Move a job to another machine, although this one works: a change of the desk's row.

    Saving and launching follow as steps of their own.
    """

    id: str  # of the job
    generation: int  # the least generation of the desk's machine from now on
    to: str  # the best offer

    @property
    def key(self) -> str:
        return f"move:{self.id}:{self.generation}"


class Told(Noted, frozen=True, kw_only=True):
    """An event that the desk recorded while it was not being watched; `why` says what. Nothing is done."""

    id: str  # of the event, given by the desk
    at: float  # the desk's clock
    age_seconds: float = 0.0  # when it was heard, by the desk's clock; 0: not known

    @property
    def key(self) -> str:
        return f"told:{self.id}"


class Wait(Step, frozen=True, kw_only=True):
    acts: ClassVar[bool] = False
    seconds: float
    progress: float | None = None  # 0..1 of what is waited for
    silent: bool = False  # the cloud gives no answer: nothing of the desk is on its way

    @property
    def key(self) -> str:
        return "wait"


class Ask(Step, frozen=True, kw_only=True):
    """Stop here: a person must choose. `why` says what the choice is about."""

    acts: ClassVar[bool] = False
    what: str
    fix: str
    kind: Kind | None = None  # of the refusal behind it, if any
    ids: tuple[str, ...] = ()  # of the resources that the choice is about
    unsure: bool = False  # the survey may be stale: ask only once this has held for the listing's lag

    @property
    def key(self) -> str:
        return "ask"


#: What carries a desk's work between two places.
Moving = Fetch | Bring
#: Steps that are journaled: one call to a cloud each, or a change of the desk's row.
Act = (
    Launch
    | Hold
    | Start
    | Stop
    | Retype
    | Grow
    | Bake
    | Verify
    | Copy
    | Delete
    | Prove
    | Leave
    | Vacate
    | Hand
    | Moving
)
#: What the planner returns.
AnyStep = Act | Wait | Ask
#: Events on a desk that are only journaled: what its jobs do, and what it reports.
Event = Begin | Move | Told
#: What a line of the journal is about.
Entry = Act | Event


class _Ended(Value, frozen=True, tag_field="status"):
    """How a step ended."""

    @property
    def status(self) -> str:
        """done | refused | unknown: as the journal and `--json` say it."""
        return str(self.__struct_config__.tag)


class Done(_Ended, frozen=True, tag="done"):
    id: str = ""  # of what was made


class Refusal(_Ended, frozen=True, tag="refused"):
    """A definite no: nothing was changed."""

    kind: Kind | None = None
    message: str = ""
    fix: str = ""
    until: float = 0.0  # valid until then: the same is not asked again before (our clock)
    scope: Scope | None = None  # of a refused launch: which offers it applies to

    @property
    def of_offer(self) -> bool:
        """Whether it concerns an offer, so that another one may well succeed."""
        return self.kind in OFFER_KINDS or self.scope is not None


class Unsure(_Ended, frozen=True, tag="unknown"):
    """The request may or may not have had its effect."""

    message: str = ""
    kind: Kind | None = None  # throttled: back off …
    until: float = 0.0  # … until then (our clock)


Outcome = Done | Refusal | Unsure


class Row(Value, frozen=True):
    """One row of the journal: what was begun or reported, and, once known, how it ended."""

    id: int
    desk: str
    at: float
    step: Entry
    ended_at: float | None = None
    outcome: Outcome | None = None

    @property
    def done(self) -> bool:
        return isinstance(self.outcome, Done)

    @property
    def made(self) -> str:
        """The id of what was made; "" if nothing was, or it is not known."""
        return self.outcome.id if isinstance(self.outcome, Done) else ""

    @property
    def refused(self) -> bool:
        return isinstance(self.outcome, Refusal)

    @property
    def refusal(self) -> Refusal | None:
        return self.outcome if isinstance(self.outcome, Refusal) else None

    @property
    def unsure(self) -> bool:
        """Whether its outcome is unknown: something of its name may exist."""
        return self.outcome is None or isinstance(self.outcome, Unsure)

    @property
    def in_vain(self) -> bool:
        """Whether the cloud answered only that it cannot answer now."""
        return isinstance(self.outcome, Refusal | Unsure) and self.outcome.kind is Kind.THROTTLED

    @property
    def said(self) -> str:
        """The cloud's answer; "" if it was done, or is not known."""
        return "" if self.outcome is None or isinstance(self.outcome, Done) else self.outcome.message
