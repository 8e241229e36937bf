"""First and last time each resource was seen in a survey, for the bill.

The journal tells what hotdesk did; this tells what it saw, which is more. For example, no step shows that
somebody deleted by hand the disk of an interrupted machine, or that a machine shut itself down. Every
survey is evaluated, and only news is saved.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping

from msgspec.structs import replace

from hotdesk.core.model import Disk, Image, Instance, Market, Phase, Seen, Survey, Value
from hotdesk.core.money import Amount

#: Maximum age of the record of an existing resource; that much of its time is uncertain.
FRESH_SECONDS = 600.0

_ON = frozenset({Phase.PENDING, Phase.READY})
_GONE = frozenset({Phase.ENDING, Phase.ENDED})


class SeenRun(Value, frozen=True):
    """One run of a machine. Times are this computer's, and 0 for never, but where it is said."""

    started_at: float  # by the cloud's clock: what tells one run from the next
    on_first: float = 0.0
    on_last: float = 0.0
    off_at: float = 0.0  # the first look that showed that it was over
    ran_seconds: float | None = None  # by the cloud's clock, where it tells


class Sighting(Value, frozen=True):
    """One thing, by all looks so far. Times are this computer's, and 0 for never, but where it is said."""

    id: str
    kind: str  # machine | disk | image
    desk: str
    provider: str
    region: str
    name: str = ""
    first: float = 0.0
    last: float = 0.0
    gone: float = 0.0  # the first look that showed that it was no more
    made_at: float = 0.0  # by the cloud's clock
    of: str = ""  # the machine that left a disk; the machine or disk that an image shows
    generation: int = 0
    usd_per_month: float = 0.0  # of the disk, also a machine's own, or of the image
    told_per_usd: Amount | None = None  # one dollar of that as the cloud tells it, if not in US dollars
    usd_per_hour: float = 0.0
    told_per_hour: Amount | None = None  # the same as the cloud told it, if not in US dollars
    dear: tuple[float, float] | None = None  # the last look that showed it free, and the first with a price
    charged_while_off: bool = False
    zone: str = ""
    instance_type: str = ""
    market: Market = Market.ON_DEMAND
    runs: tuple[SeenRun, ...] = ()

    @property
    def ended_unseen(self) -> bool:
        """Whether it is a spot machine that is no more, and nothing tells for how long it ran."""
        lost = bool(self.gone and self.runs) and self.market is Market.SPOT
        return lost and self.runs[-1].ran_seconds is None

    def ran_until(self, at: float) -> Sighting:
        """The same, when its last run ended at that time by the cloud's clock."""
        last = self.runs[-1]
        ran = replace(last, ran_seconds=at - last.started_at if at > last.started_at else None)
        return replace(self, runs=(*self.runs[:-1], ran))


def news(
    known: Mapping[str, Sighting], survey: Survey, desks: Collection[str], before: float, after: float
) -> list[Sighting]:
    """What one survey, taken between these two times (our clock), adds to the records of these desks."""
    found: list[Sighting] = []
    listed = {machine.id for machine in survey.hidden}  # there, as far as anybody knows
    things: list[Instance | Disk | Image] = [*survey.instances, *survey.disks, *survey.images]
    for thing in things:
        if thing.desk in desks and not survey.is_others(thing):
            listed.add(thing.id)
            old = known.get(thing.id)
            new = _seen(old or _new(thing), thing, survey, before, after)
            if old is None or _differ(old, new):
                found.append(new)
    for old in known.values():
        # Right after creation a listing may show a resource and then omit it: its absence proves nothing yet.
        settled = after >= old.first + survey.lag_seconds
        missing = old.id not in listed and old.region not in survey.unread and old.desk in desks
        if not old.gone and missing and settled and old.provider == survey.provider:
            found.append(_ended(old, survey, after))
    return found


def merged(old: Sighting, new: Sighting) -> Sighting:
    """Combine what two processes have seen of one resource."""
    last = max(old.last, new.last)
    runs = {run.started_at: run for run in old.runs}
    for run in new.runs:
        runs[run.started_at] = _one_run(runs[run.started_at], run) if run.started_at in runs else run
    return replace(
        new,
        first=_least(old.first, new.first),
        last=last,
        gone=_least(*(gone for gone in (old.gone, new.gone) if gone >= last)),
        runs=tuple(runs[at] for at in sorted(runs)),
    )


def fresh(things: Iterable[Sighting], seen: Seen, now: float) -> list[Sighting]:
    """The same records, with this look at the desk as the last one at what it shows.

    Records are up to `FRESH_SECONDS` old, so that not every look is written down.
    """
    there = {disk.id for disk in seen.disks} | {image.id for image in seen.images}
    machines = {m.id: m for m in seen.machines if m.phase is not Phase.ENDING}
    found = []
    for old in things:
        new, machine = old, machines.get(old.id)
        if old.first and not old.gone and (machine or old.id in there):
            new = replace(old, last=max(old.last, now))
            if machine and machine.phase in _ON:
                runs = (_until(r, now) if r.started_at == machine.started_at else r for r in old.runs)
                new = replace(new, runs=tuple(runs))
        found.append(new)
    return found


def _until(run: SeenRun, now: float) -> SeenRun:
    return replace(run, on_last=max(run.on_last, now)) if run.on_first and not run.off_at else run


def is_shown(thing: Sighting, seen: Seen) -> bool:
    """Whether `fresh` makes up for all that further looks at this thing can add to its record."""
    [new] = fresh([thing], seen, math.inf)
    return new.last == math.inf and all(run.on_last == math.inf or run.off_at for run in new.runs)


def only_later(old: Sighting, new: Sighting) -> bool:
    """Whether another look at the same thing has told no more than that it is still there, as before."""
    if old.gone or len(old.runs) != len(new.runs):
        return False
    runs = (
        replace(a, on_last=b.on_last) if a.on_first and not a.off_at else a
        for a, b in zip(old.runs, new.runs, strict=True)
    )
    return replace(old, last=new.last, runs=tuple(runs)) == new


def _new(thing: Instance | Disk | Image) -> Sighting:
    kind = "machine" if isinstance(thing, Instance) else type(thing).__name__.lower()
    return Sighting(
        id=thing.id, kind=kind, desk=thing.desk, provider=thing.provider, region=thing.region,
        generation=thing.generation,
    )  # fmt: skip


def _seen(
    old: Sighting, thing: Instance | Disk | Image, survey: Survey, before: float, after: float
) -> Sighting:
    match thing:
        case Instance():
            told = replace(
                old, name=thing.name, made_at=old.made_at or thing.started_at, zone=thing.zone,
                instance_type=thing.instance_type, market=thing.market, usd_per_hour=thing.usd_per_hour,
                told_per_hour=thing.told_per_hour, told_per_usd=thing.told_per_usd or old.told_per_usd,
                usd_per_month=thing.disk_usd_per_month or old.usd_per_month,
                dear=_dear(old, thing, after),
                runs=_runs(old.runs, thing, before, after),
                charged_while_off=old.charged_while_off or thing.charged_while_off,
            )  # fmt: skip
        case Disk():
            told = replace(
                old, made_at=thing.made_at, of=thing.instance_id or old.of,
                usd_per_month=thing.usd_per_month, told_per_usd=thing.told_per_usd, zone=thing.zone,
            )  # fmt: skip
        case Image():
            told = replace(
                old, name=thing.name, made_at=thing.taken_at, of=thing.source_id,
                usd_per_month=thing.usd_per_month, told_per_usd=thing.told_per_usd,
            )  # fmt: skip
    if thing.phase is Phase.ENDING and isinstance(thing, Instance):
        return told  # it may take its time, and its disk with it: neither there for certain, nor gone
    if thing.phase in _GONE:
        return told if told.gone else _ended(told, survey, after)
    return replace(told, first=told.first or after, last=max(told.last, before), gone=0.0)


def _dear(old: Sighting, machine: Instance, after: float) -> tuple[float, float] | None:
    """Since when a machine costs something that cost nothing: what it ran in was no longer reserved."""
    if not machine.usd_per_hour or not old.last:
        return None
    return old.dear if old.usd_per_hour else (old.last, after)


def _runs(runs: tuple[SeenRun, ...], machine: Instance, before: float, after: float) -> tuple[SeenRun, ...]:
    old = next(
        (r for r in runs if r.started_at == machine.started_at), SeenRun(started_at=machine.started_at)
    )
    if machine.phase in _ON:
        new = replace(old, on_first=old.on_first or after, on_last=max(old.on_last, before))
    else:
        ran = machine.ran_seconds
        new = replace(old, off_at=old.off_at or after, ran_seconds=old.ran_seconds if ran is None else ran)
    return (*(r for r in runs if r.started_at != machine.started_at), new)


def _ended(thing: Sighting, survey: Survey, after: float) -> Sighting:
    """It is no more. A machine's disk may yet be listed, where machines leave them late."""
    late = 0.0 if thing.kind != "machine" or survey.disks_throughout else survey.lag_seconds
    runs = tuple(run if run.off_at else replace(run, off_at=after) for run in thing.runs)
    return replace(thing, gone=after + late, runs=runs)


def _differ(old: Sighting, new: Sighting) -> bool:
    """Whether there is more to tell than that it is still there."""
    if new.last - old.last >= FRESH_SECONDS:
        return True
    return _timeless(old) != _timeless(new)


def _timeless(thing: Sighting) -> Sighting:
    return replace(thing, last=0.0, runs=tuple(replace(run, on_last=0.0) for run in thing.runs))


def _one_run(old: SeenRun, new: SeenRun) -> SeenRun:
    return SeenRun(
        started_at=old.started_at,
        on_first=_least(old.on_first, new.on_first),
        on_last=max(old.on_last, new.on_last),
        off_at=_least(old.off_at, new.off_at),
        ran_seconds=old.ran_seconds if new.ran_seconds is None else new.ran_seconds,
    )


def _least(*times: float) -> float:
    """The earliest of them that ever was."""
    return min((at for at in times if at), default=0.0)
