"""Read the regions of a cloud, most of which hold nothing of ours, concurrently and with few requests.

A region where something of ours was found that may change, or where this computer is about to create
something, is *busy* and read in full. Every other one is asked a cheap question, whether it holds anything,
and read if it does. What was found there stands for `QUIET_SECONDS`, or as long as a cloud says where its
questions are many.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, TypeVar

from hotdesk.core.errors import Kind, Refused, Usage
from hotdesk.core.ports import Cache, Clock
from hotdesk.core.spot.prices import region_of
from hotdesk.core.steps import AnyStep, Copy, Hold, Launch
from hotdesk.parallel import side_by_side
from hotdesk.providers.cloud.kept import keep, kept

#: How long a process does not ask again a region that is not busy.
QUIET_SECONDS = 20.0

T = TypeVar("T")


class RegionMemory:
    """Which regions are busy: on disk before anything is created there, so that a survey misses nothing.

    A region stays busy until it was found empty in two looks, of which the second began `lag_seconds` after
    the first: a process that died may have created something that its cloud did not list yet. What one
    process adds, another does not take away. `expect` and `read` use the disk, and belong to the cache's own
    thread; in any other, `will_make_in` finds its region expected.
    """

    def __init__(
        self,
        cache: Cache | None,
        key: str,
        clock: Clock,
        *,
        lag_seconds: float,
        quiet_seconds: float = QUIET_SECONDS,
    ) -> None:
        self._cache, self._key, self._clock = cache, key, clock
        self.lag_seconds, self.quiet_seconds = lag_seconds, quiet_seconds
        #: Busy regions, and since when each is empty. 0 or less: it is not; minus the time when something was
        #: begun there, so that a look that was overtaken by it can tell.
        self._empty: dict[str, float] = self._on_disk()
        self.quiet: dict[
            str, tuple[float, Any]
        ] = {}  # when others were asked, and what was read; None: nothing
        self._making: set[str] = set()  # busy ones, where this process created something
        self._unproven: set[str] = set()  # busy ones, where nothing was read or created yet
        self._forbidden: set[str] = set()  # no longer busy, and not yet said so on disk

    @property
    def busy(self) -> frozenset[str]:
        return frozenset(self._empty)

    def expect(self, steps: Sequence[AnyStep]) -> None:
        """Before these steps: regions where they create something are busy, whatever others found there."""
        launched = {step.order.offer.region for step in steps if isinstance(step, Launch | Hold)}
        self._begin(launched | {step.region for step in steps if isinstance(step, Copy)})

    def will_make_in(self, region: str) -> None:
        """Before anything else is created there; nothing is to be done where it was expected."""
        if region not in self._making:
            self._begin({region})

    def _begin(self, regions: Set[str]) -> None:
        self._making |= regions
        self._unproven |= regions - self.busy
        self._remember(dict.fromkeys(regions, -self._clock.now()))

    def is_unproven(self, region: str) -> bool:
        """Whether it is unknown if this account may read and create there."""
        return region in self._unproven

    def proven(self, region: str) -> None:
        """Something was created there."""
        self._unproven.discard(region)

    def forbidden(self, region: str) -> None:
        """A policy forbids to create anything there; nothing was."""
        self._making.discard(region)
        self._unproven.discard(region)
        self._empty.pop(region, None)
        self._forbidden.add(region)

    def read(self, holding: Mapping[str, bool], began: float) -> None:
        """Regions that were read in full, and whether they hold anything of ours that may change.

        `began`: a time just before they were read.
        """
        self._unproven -= holding.keys() & self.busy
        told: dict[str, float | None] = dict.fromkeys(self._forbidden - self.busy)
        self._forbidden.clear()
        told |= {region: 0.0 for region, holds in holding.items() if holds}
        for region in self.busy & holding.keys() - told.keys() - self._making:
            since = self._empty[region] if self._empty[region] > 0.0 else began
            told[region] = since if began - since < self.lag_seconds else None
        self._remember({r: at for r, at in told.items() if at is None or self._empty.get(r) != at})

    def _remember(self, told: Mapping[str, float | None]) -> None:
        """Note since when regions are empty (as `_empty` has it), or that they are not busy (None)."""
        if not told:
            return
        others = self._on_disk()
        empty = self._empty | others
        for region, at in told.items():
            overtaken = region in self._empty and empty[region] != self._empty[region]
            if at is not None and (at <= 0.0 or not overtaken):
                empty[region] = at
            elif not overtaken:  # else another process has begun something there since this one looked
                empty.pop(region, None)
        self._empty = empty
        if empty != others:
            keep(self._cache, self._key, empty, self._clock.now())

    def _on_disk(self) -> dict[str, float]:
        told = kept(self._cache, self._key, 0.0, dict[str, float], None)
        return told[1] if told else {}


def look(
    regions: Iterable[str],
    memory: RegionMemory,
    now: float,
    *,
    holds_any: Callable[[str], bool | T],
    read: Callable[[str], T],
    unreachable: Callable[[Exception], Exception],
) -> tuple[dict[str, T], dict[str, Exception]]:
    """What `read` returns of each region that holds something, and the errors of regions that failed.

    A busy region is read also where `regions` lacks it: settings may have changed since.
    `holds_any`: the cheap question; instead of True, it may return all that is there. `unreachable`: what a
    person is told of a failed connection. Raises `Refused` if no region allows reading, and that if none
    answers.
    """
    regions = [*dict.fromkeys([*regions, *sorted(memory.busy)])]
    full = [r for r in regions if r in memory.busy]
    kept = {r: held for r in regions if r not in memory.busy and (held := _quiet(memory, r, now))}
    rest = [r for r in regions if r not in memory.busy and r not in kept]
    jobs: list[Callable[[], Any]] = [partial(read, r) for r in full] + [partial(holds_any, r) for r in rest]
    told: dict[str, Any] = dict(zip((*full, *rest), side_by_side(jobs), strict=True))
    more = [region for region in rest if told[region] is True]
    told |= dict(zip(more, side_by_side([partial(read, region) for region in more]), strict=True))
    fresh = [region for region in rest if not isinstance(told[region], Exception)]
    memory.quiet |= {region: (now, told[region] or None) for region in fresh}
    silent = {region: answer for region, answer in told.items() if isinstance(answer, Exception)}
    if silent and len(silent) == len(regions):
        _nothing_at_all([*silent.values()], unreachable)
    # A region that a policy denies to us holds nothing that we could have created.
    unread = {
        region: error
        for region, error in silent.items()
        if not (region in rest and isinstance(error, Refused) and error.kind is Kind.DENIED)
    }
    told |= {region: held for region, (_, held) in kept.items()}
    empty = {region for region in regions if told[region] is None or told[region] is False}
    return {r: told[r] for r in regions if r not in silent and r not in empty}, unread


#: What `why_closed` is told of a region.
ON, OFF = "on", "off"


def why_closed(
    silent: Mapping[str, Exception], states: Callable[[], Mapping[str, str]], *, label: str, switch_on: str
) -> tuple[str, str]:
    """Why a region that does not answer never will, before a person does something, and what that is.

    ("", "") where it may answer later. `states`: ON or OFF by each region that the cloud lists; asked only if
    one is silent. `switch_on`: a command, with the region put in, that switches one on.
    """
    asked = [r for r, e in silent.items() if not (isinstance(e, Refused) and e.kind is Kind.THROTTLED)]
    told: Mapping[str, str] = {}
    with contextlib.suppress(Exception):  # the cloud may not answer this either
        told = states() if asked else {}
    for region in sorted(asked) if told else ():
        if region not in told:
            why = f"{label} has no region {region} any more: nothing there can be seen, saved or deleted."
            return why, f"ask {label}'s support what became of it; elsewhere: hotdesk up another-name"
        if told[region] == OFF:
            why = f"{region} is switched off for this account: nobody is let in, and what runs there runs on."
            return why, switch_on.format(region=region)
    denied = next((e for e in silent.values() if isinstance(e, Refused) and e.kind is Kind.DENIED), None)
    return (denied.message, denied.fix) if denied else ("", "")


def named(known: Sequence[str], places: Sequence[str], again: str) -> list[str]:
    """The account's regions that these names, zones or globs mean; all, where none is given.

    Raises `Usage` where that is none of them; `again` is a command that would do.
    """
    found = [r for r in known if not places or any(fnmatchcase(r, p) or region_of(p) == r for p in places)]
    if not found:
        what = f"No region of this account is called {', '.join(places)}."
        raise Usage(what, f"It has: {', '.join(known)}.", again)
    return found


def _quiet(memory: RegionMemory, region: str, now: float) -> tuple[float, Any] | None:
    """What was read there a moment ago."""
    at, held = memory.quiet.get(region, (-memory.quiet_seconds, None))
    return (at, held) if 0 <= now - at < memory.quiet_seconds else None


def _nothing_at_all(errors: list[Exception], unreachable: Callable[[Exception], Exception]) -> None:
    """Raise the most useful error: one that the user can fix, else throttling, else an unreachable cloud."""
    refused = [error for error in errors if isinstance(error, Refused)]
    for error in sorted(refused, key=lambda no: no.kind is Kind.THROTTLED):
        raise error
    raise unreachable(errors[0]) from errors[0]
