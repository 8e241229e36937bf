"""The verbs: each step is one call to a provider, or a wait, or a question, and says why it is taken.

A step is a value, and what is written into the journal *before* it is taken. `key` names its effect:
two steps of one key are the same request, so doing it twice must be doing it once.
"""

from __future__ import annotations

import hashlib
from typing import ClassVar

import msgspec

from hotdesk.core.errors import OFFER_KINDS, Kind
from hotdesk.core.model import Goal, Offer, Scope, Value


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:24]


class LaunchOrder(Value, frozen=True):
    """Exactly one machine. Equal orders have equal names and tokens, and no others have."""

    desk: str
    born: float  # the desk's creation: an earlier desk of this name used other tokens
    generation: int
    attempt: int  # raised only after a definite refusal of the attempt before
    offer: Offer
    image_id: str = ""  # the desk's own saved image; "" for a base image
    base_image: str = ""  # a base image the owner named; "" lets the provider choose
    disk_gib: int = 0
    initialization_rate: int = 0  # MiB/s, of a disk that is restored from an image

    @property
    def token(self) -> str:
        """What makes a repeated request the same request (24 hex digits; EC2 allows 64 characters)."""
        place = self.offer
        return _digest(
            (self.desk, self.born, self.generation, self.attempt, place.key, place.region, place.zone,
             self.image_id, self.base_image, self.disk_gib,
             *([self.initialization_rate] if self.initialization_rate else []))
        )  # fmt: skip

    @property
    def name(self) -> str:
        return f"hotdesk-{self.desk}-g{self.generation}-{self.token[:8]}"


class BakeOrder(Value, frozen=True):
    """One image of one machine's or disk's present content."""

    desk: str
    born: float
    generation: int
    attempt: int
    source_id: str  # an instance that is stopped, or a disk
    started_at: float  # the source's last start: waking it makes every earlier image stale
    region: str

    @property
    def name(self) -> str:
        return f"hotdesk-{self.desk}-g{self.generation}-{_digest(self)[:12]}"


class Noted(msgspec.Struct, frozen=True, kw_only=True, tag_field="step", tag=str.lower):
    """What the journal says of a desk: a step in its cloud, or something that happened there."""

    why: str

    @property
    def key(self) -> str:
        raise NotImplementedError


class Step(Noted, frozen=True, kw_only=True, tag=str.lower):
    #: Whether it changes something in the cloud, and so must stand in the journal before it is taken.
    acts: ClassVar[bool] = True


class Launch(Step, frozen=True, kw_only=True):
    order: LaunchOrder

    @property
    def key(self) -> str:
        return f"launch:{self.order.token}"


class Start(Step, frozen=True, kw_only=True):
    id: str
    started_at: float  # the start before this one: each waking is another effect
    usd_per_hour: float = 0.0  # what it costs from then on
    ran_seconds: float | None = None  # from then until it was off, where the cloud tells

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
    """Give a machine that is off the type of an offer in its own zone; its disk stays where it is."""

    id: str
    started_at: float
    offer: Offer
    generation: int  # the desk's, which the machine serves from then on

    @property
    def key(self) -> str:
        return f"retype:{self.id}:{self.started_at}:{self.offer.instance_type}:{self.generation}"


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
    region: str  # where a copy shall be
    name: str  # another for each attempt: a cloud answers the same request with what it made then

    @property
    def key(self) -> str:
        return f"copy:{self.id}:{self.name}"


class Delete(Step, frozen=True, kw_only=True):
    """End a machine, delete a disk, an image or a leftover."""

    id: str
    keep_disk: bool = False  # of a machine: its disk holds the only copy of the work
    usd_per_month: float = 0.0  # what it has cost until then: the bill's last word on it
    ran_seconds: float | None = None  # of a machine that is off: see Start
    kind: str = ""  # machine | disk | image | …: an id alone does not tell
    of: str = ""  # the machine that left a disk, where the cloud still tells
    started_at: float | None = None  # of a machine that is saved: it goes only if that is its last start
    for_good: bool = False  # no other computer shall miss it: the desk shall be gone, or nobody ever used it

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
    """The machine ended itself, or was turned off elsewhere: from now on the desk is wanted parked (or off).

    A change of the desk's row, and of nothing in the cloud.
    """

    id: str
    started_at: float
    goal: Goal = Goal.PARKED
    ran_seconds: float | None = None  # see Start

    @property
    def key(self) -> str:
        return f"leave:{self.id}:{self.started_at}"


class Begin(Noted, frozen=True, kw_only=True):
    """Begin one attempt of a job at the desk."""

    id: str  # of the job
    attempt: int

    @property
    def key(self) -> str:
        return f"begin:{self.id}:{self.attempt}"


class Move(Noted, frozen=True, kw_only=True):
    """A job goes on on another machine, although this one works: a change of the desk's row.

    What follows from it (saving, launching) are steps of their own.
    """

    id: str  # of the job
    generation: int  # that the desk's machine has to be of from now on
    to: str  # the offer that comes first now

    @property
    def key(self) -> str:
        return f"move:{self.id}:{self.generation}"


class Told(Noted, frozen=True, kw_only=True):
    """Something that happened at the desk while nobody here looked; `why` says what. Nothing is done."""

    id: str  # of the event, as the desk named it
    at: float  # the desk's clock

    @property
    def key(self) -> str:
        return f"told:{self.id}"


class Wait(Step, frozen=True, kw_only=True):
    acts: ClassVar[bool] = False
    seconds: float
    progress: float | None = None  # 0..1 of what is waited for

    @property
    def key(self) -> str:
        return "wait"


class Ask(Step, frozen=True, kw_only=True):
    """Stop here: only a person may choose. `why` says what the choice is about."""

    acts: ClassVar[bool] = False
    what: str
    fix: str
    kind: Kind | None = None  # the refusal behind it, where there is one
    ids: tuple[str, ...] = ()  # of what the choice is about
    unsure: bool = False  # it rests on a look that may be behind: asked once it stands for the listing's lag

    @property
    def key(self) -> str:
        return "ask"


#: What is taken in a cloud, one call each; a change of the desk's row is one too.
Act = Launch | Start | Stop | Retype | Bake | Verify | Copy | Delete | Prove | Leave
#: What a planner answers.
AnyStep = Act | Wait | Ask
#: What happens at a desk, and is only written down: what its jobs do, and what it tells.
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
    until: float = 0.0  # it is believed until then, and nothing is asked before (our clock)
    scope: Scope | None = None  # of a refused launch: every offer that it is said of

    @property
    def of_offer(self) -> bool:
        """Whether it speaks of an offer, so that another one may well succeed."""
        return self.kind in OFFER_KINDS or self.scope is not None


class Unsure(_Ended, frozen=True, tag="unknown"):
    """The request may or may not have had its effect."""

    message: str = ""
    kind: Kind | None = None  # throttled: the cloud is to be left alone
    until: float = 0.0  # … until then (our clock)


Outcome = Done | Refusal | Unsure


class Row(Value, frozen=True):
    """One line of the journal: what was begun or told, and, once known, how it ended."""

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
        """The id of what was made; "" for nothing, and while that is not known."""
        return self.outcome.id if isinstance(self.outcome, Done) else ""

    @property
    def refused(self) -> bool:
        return isinstance(self.outcome, Refusal)

    @property
    def refusal(self) -> Refusal | None:
        return self.outcome if isinstance(self.outcome, Refusal) else None

    @property
    def unsure(self) -> bool:
        """Begun, and never known to have ended or failed: something of its name may exist."""
        return self.outcome is None or isinstance(self.outcome, Unsure)

    @property
    def said(self) -> str:
        """What was answered; "" where it was done, or is not known."""
        return "" if self.outcome is None or isinstance(self.outcome, Done) else self.outcome.message
