"""What a click does: the command line's verbs of `Hotdesk`, each with its plan and its line to paste."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec

from hotdesk.api import Hotdesk
from hotdesk.core import lengths
from hotdesk.core.errors import NeedsDecision, Usage
from hotdesk.core.model import Desk, Goal, Value, Want
from hotdesk.core.ports import Clock
from hotdesk.core.steps import Start
from hotdesk.parallel import aside
from hotdesk.services import exposure, forms
from hotdesk.services.exposure import CALLER
from hotdesk.services.goals import KEEP_SECONDS
from hotdesk.services.limits import Limits
from hotdesk.services.route import AUTO
from hotdesk.services.wanting import wanted
from hotdesk.web.asking import DOES, Asker
from hotdesk.web.live import Board, Things

ENDS = {"park": Goal.PARKED, "stop": Goal.STOPPED, "down": Goal.GONE}
OPENS = {"up", "resume", "start"}
MOST_GIB = 65536
KEPT_ACTS = 30  # that have ended
SHOWN_OFFERS = 6


class Asked(Value, frozen=True):
    """A verb and its options, as the page sends them. What is "" or null was not said."""

    verb: Literal["up", "resume", "start", "park", "stop", "move", "down", "stay", "disk"]
    name: str
    provider: str = ""
    instance_type: str = ""
    gpu: str = ""
    cheap: bool = False
    market: Literal["", "on-demand", "spot", "cheapest"] = ""
    regions: tuple[str, ...] = ()
    zone: str = ""
    disk_gib: int | None = None
    image: str = ""
    initialization_rate: int | None = None
    usd_per_hour_max: float | None = None
    idle: str = ""  # as after --idle: 45m, or never
    lease: str = ""
    until: str = ""
    seconds: str = ""  # of `stay`: 2h
    off: bool = False  # of `stay`: as usual again
    fresh: bool = False
    origin: str = ""  # the image or volume to go on from, where several hold work
    rescue: bool = False
    public_to: str = ""  # of `up`: who reaches its Jupyter without a tunnel; CALLER: this computer
    wait: str = ""  # of `up`: how long what is sold out is tried again
    notify: bool = False
    there: bool = False  # of `park`: its image stays at its machine
    no_wait: bool = False
    route: Literal["", "auto", "direct", "here"] = ""
    keep_old: str = ""  # of `move`: how long its last image stays where it was
    keep_logs: bool = False
    over_budget: bool = False
    anyway: bool = False  # what would end was shown, and agreed to
    typed: str = ""  # the desk's name, typed by who wants it deleted

    @property
    def given(self) -> dict[str, Any]:
        """The options about hardware that were said."""
        names = (
            "instance_type",
            "gpu",
            "cheap",
            "market",
            "regions",
            "zone",
            "disk_gib",
            "image",
            "initialization_rate",
            "usd_per_hour_max",
        )
        said = {name: getattr(self, name) for name in names}
        return {
            name: value for name, value in said.items() if value not in (None, "", ()) and value is not False
        }

    @property
    def limits(self) -> Limits:
        """When it ends itself. Raises `Usage` for what is no length of time."""
        return Limits(
            idle_minutes=length(self.idle, "m"),
            lease_hours=length(self.lease, "h"),
            hours=length(self.until, "h"),
        )

    @property
    def keep_seconds(self) -> float:
        """For how long its last image stays in a place that it leaves. Raises `Usage`."""
        hours = length(self.keep_old, "h")
        return KEEP_SECONDS if hours is None else 3600.0 * hours

    @property
    def size(self) -> int:
        """GiB of a disk that grows. Raises `Usage` where nobody said how many."""
        if not 0 < (self.disk_gib or 0) <= MOST_GIB:
            raise Usage(
                "How big shall it be?", f"1 to {MOST_GIB:,} GiB.", f"hotdesk disk {self.name} --size 200"
            )
        return self.disk_gib or 0

    @property
    def line(self) -> list[str]:
        """The same for a terminal, as words."""
        said = ["hotdesk", self.verb, self.name]
        if self.verb == "stay":
            return [*said, "--off"] if self.off else [*said, self.seconds]
        disk = "" if self.disk_gib is None else str(self.disk_gib)
        for option, value in (
            ("--provider", self.provider if self.verb in {"up", "move"} else ""),
            ("--type", self.instance_type),
            ("--gpu", self.gpu),
            ("--market", self.market),
            *(("--region", region) for region in self.regions),
            ("--zone", self.zone),
            ("--size" if self.verb == "disk" else "--disk", disk),
            ("--image", self.image),
            ("--initialization-rate", str(self.initialization_rate or "")),
            ("--max-usd", "" if self.usd_per_hour_max is None else f"{self.usd_per_hour_max:g}"),
            ("--idle", self.idle),
            ("--lease", self.lease),
            ("--until", self.until),
            ("--public-to", "" if self.public_to == CALLER else self.public_to),
            ("--from", self.origin),
            ("--wait-for-capacity", self.wait),
            ("--route", self.route),
            ("--keep-old", self.keep_old),
        ):
            said += [option, value] if value else []
        for flag, on in (
            ("--cheap", self.cheap),
            ("--public", self.public_to == CALLER),
            ("--fresh", self.fresh),
            ("--rescue", self.rescue),
            ("--notify", self.notify),
            ("--there", self.there),
            ("--no-wait", self.no_wait),
            ("--keep-logs", self.keep_logs),
            ("--over-budget", self.over_budget),
            ("--yes", self.anyway),
        ):
            said += [flag] if on else []
        return said


class Clicked(Protocol):
    """What takes long, and is told about on the board while it goes on."""

    @property
    def verb(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def line(self) -> list[str]: ...
    @property
    def over_budget(self) -> bool: ...


class Numbered(Value, frozen=True):
    """A desk's job."""

    name: str
    number: int


class Nothing(Value, frozen=True):
    """No options."""


def length(text: str, unit: str) -> float | None:
    """A length in its unit, 0 for never; None where nothing was said. Raises `Usage`."""
    if not text:
        return None
    try:
        seconds = 0.0 if text == lengths.NEVER else lengths.seconds(text, unit)
    except ValueError as error:
        raise Usage(str(error), "", "45m, 1.5h, 2d or never") from None
    return seconds / lengths.SECONDS[unit]


def plan(desks: Hotdesk, asked: Asked) -> dict[str, Any]:
    """What a verb would do: steps with their reasons, offers with prices, and what would end with a machine.

    Nothing is done. Raises as the verb itself for what cannot be.
    """
    services = desks.services
    found: dict[str, Any] = {"steps": [], "offers": [], "works": [], "unsaved": [], "open": [], "lost": []}
    if asked.verb == "stay":
        length(asked.seconds, "h")
        return found
    if asked.verb == "disk":
        return {**found, "grown": msgspec.to_builtins(desks.disk(asked.name, asked.size, dry_run=True))}
    if asked.there:
        services.goals.check_store(asked.name)
    if asked.public_to:
        exposure.who_may(asked.public_to)
        services.exposure.can_be_public(asked.provider or services.goals.provider(asked.name))
    known = desks.services.store.find(asked.name)
    row = _row(desks, asked)
    ending = asked.verb in ENDS or asked.verb == "move"
    if ending:
        work = services.work.at_work(row)
        found |= {"works": work.works, "unsaved": work.unsaved, "open": work.open}
        found["lost"] = [] if asked.verb == "down" else services.work.at_stake(row)
    if row.goal is Goal.RUNNING and services.billing.launches(row) and not asked.over_budget:
        services.billing.within_budget(row)
    steps = services.goals.steps(row)
    found["steps"] = msgspec.to_builtins(steps)
    for step, told in zip(steps, found["steps"], strict=True):
        if isinstance(step, Start):
            machines = services.clouds.looks[row.provider].of(row.name).instances
            told["told_per_hour"] = next((m.told_per_hour for m in machines if m.id == step.id), None)
    if row.goal is Goal.RUNNING:
        offers = row.bound.offers if row.bound else row.offers
        found["offers"] = msgspec.to_builtins(offers[:SHOWN_OFFERS])
    if asked.verb == "move" and known:
        found["carries"] = services.carrying.planned(known, row, asked.route or AUTO)
    return found


def _row(desks: Hotdesk, asked: Asked) -> Desk:
    """The desk's row as the verb would write it."""
    goals, store = desks.services.goals, desks.services.store
    if goal := ENDS.get(asked.verb):
        return goals.wanted(store.desk(asked.name).name, goal)
    if asked.verb == "move":
        return goals.moved(asked.name, *_move_to(desks, asked), asked.keep_seconds)
    want, provider = _want(desks, asked)
    row = goals.wanted(asked.name, Goal.RUNNING, want, provider, asked.fresh, origin=asked.origin)
    return asked.limits.of(row, desks.services.clock.now())


def _want(desks: Hotdesk, asked: Asked) -> tuple[Want | None, str | None]:
    """The hardware and the place to open a desk with; where "any" is asked for, the best place."""
    known = desks.services.store.find(asked.name)
    if known is None and asked.verb != "up":
        known = desks.services.store.desk(asked.name)
    base = known.want if known else desks.services.goals.configured(asked.name, asked.provider or None)
    return desks.services.placed(asked.name, wanted(base, asked.given), asked.provider or None)


def _move_to(desks: Hotdesk, asked: Asked) -> tuple[Want | None, str | None]:
    """The same for a move. Raises `Usage` where it would go nowhere."""
    from hotdesk.services.anywhere import destination

    services = desks.services
    desk = services.store.desk(asked.name)
    return destination(services.goals, desk, asked.given, asked.provider or None, services.on_note)


def perform(desks: Hotdesk, asked: Asked) -> dict[str, Any]:
    """Do it, until it is seen to be so; what it came to. Raises as the verb of `Hotdesk`."""
    name, anyway = asked.name, asked.anyway
    match asked.verb:
        case "stay":
            desks.stay(name, 0.0 if asked.off else length(asked.seconds, "s") or 0.0)
            return {}
        case "disk":
            told: dict[str, Any] = msgspec.to_builtins(desks.disk(name, asked.size))
            return told
        case "down":
            had = [thing.id for thing in desks.services.store.sighted(name)]
            beside = desks.down(name, anyway=anyway, keep_logs=asked.keep_logs)
            kept, unread = desks.services.cleanup.retained(had)
            return {"kept": [*beside, *(thing.id for thing in kept)], "unread": list(unread)}
        case "park":
            return forms.desk(desks.park(name, there=asked.there, anyway=anyway, wait=not asked.no_wait))
        case "stop":
            return forms.desk(desks.stop(name, anyway=anyway))
        case "move":
            want, provider = _move_to(desks, asked)
            moved = desks.move(
                name,
                want,
                provider=provider,
                keep_seconds=asked.keep_seconds,
                route=asked.route or AUTO,
                anyway=anyway,
            )
            return forms.desk(moved)
    want, provider = _want(desks, asked)
    up = desks.up(
        name,
        want=want,
        provider=provider,
        fresh=asked.fresh,
        origin=asked.origin,
        limits=asked.limits,
        rescue=asked.rescue,
        public=asked.public_to,
        wait_seconds=3600.0 * (length(asked.wait, "h") or 0.0),
        notify=asked.notify,
    )
    return forms.desk(up)


def planned(desks: Hotdesk, asked: Asked) -> dict[str, Any]:
    """A verb's plan, and its line for the terminal."""
    return {"line": asked.line, **plan(desks, asked)}


def clean(desks: Hotdesk, asked: Nothing) -> dict[str, Any]:
    """Delete what no desk needs and is safe to delete."""
    return forms.orphans(desks.gc(delete=True))


def cancel(desks: Hotdesk, asked: Numbered) -> Any:
    """End a job; it as it ended."""
    ended = {job.number for job in desks.cancel(asked.name, asked.number)}
    return [forms.job(view) for view in desks.jobs(asked.name) if view.job.number in ended]


def mend(desks: Hotdesk, asked: Nothing) -> Any:
    """Mend what is safe to mend; what is left."""
    return msgspec.to_builtins(desks.doctor(fix=True))


class Acts:
    """The verbs that were clicked: `asker` does each, and the board is told how it goes."""

    def __init__(self, board: Board, asker: Asker, clock: Clock, on_end: Callable[[], None]) -> None:
        self.board, self.asker, self.clock, self.on_end = board, asker, clock, on_end
        self._numbers = itertools.count(1)

    def begin(self, name: str, asked: Clicked) -> str:
        """Begin what a click of this name asks for (web/changes.py); its id on the board.

        Raises `NeedsDecision` where a deletion was not meant for sure.
        """
        if isinstance(asked, Asked) and asked.verb == "down" and asked.typed != asked.name:
            why = "Deleting cannot be undone, so its name is asked for."
            raise NeedsDecision(f"{asked.name} was not deleted.", why, f"hotdesk down {asked.name}")
        act = str(next(self._numbers))
        said = {
            "verb": asked.verb,
            "name": asked.name,
            "line": asked.line,
            "began": self.clock.now(),
            "ended": None,
            "wait": None,
            "notes": [],
            "error": None,
            "result": None,
        }
        ended = [id_ for id_, other in self.board.parts["acts"].items() if other["ended"]]
        kept = {k: v for k, v in self.board.parts["acts"].items() if k not in ended[:-KEPT_ACTS]}
        self.board.tell("acts", {**kept, act: said}, whole=True)
        aside(lambda: self._run(act, name, asked))
        return act

    @property
    def going(self) -> list[str]:
        """The desks that something is being done about."""
        return [act["name"] for act in self.board.parts["acts"].values() if not act["ended"]]

    def _run(self, act: str, name: str, asked: Clicked) -> None:
        def hear(told: bytes) -> None:
            changed: Things = {act: msgspec.json.decode(told)}
            self.board.tell_soon("acts", changed)

        _, said = self.asker.ask(DOES + name, msgspec.json.encode(asked), hear)
        told = msgspec.json.decode(said)
        ended = {"ended": self.clock.now(), "wait": None, "error": told.get("error")}
        self.board.tell_soon("acts", {act: {**ended, "result": told.get("answer")}})
        self.on_end()
