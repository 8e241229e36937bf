"""Go on with a sweep that another computer began: found by its machines, taken over by a mark in the cloud.

Who goes on with a sweep stands on its image and its machines (`Holds` in core/fleet.py). Its record is on two
of its machines (sweep/record.py).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import Busy, HotdeskError, Missing, NeedsDecision, Refused, Unknown, Unreachable
from hotdesk.core.fleet import Hold
from hotdesk.core.model import Desk, Instance, Phase
from hotdesk.core.ports import Access, Fleets
from hotdesk.core.sweep.model import Sweep
from hotdesk.parallel import side_by_side
from hotdesk.providers.cloud.caller import Computer
from hotdesk.services import sweep_fleet
from hotdesk.services.explain import question_of
from hotdesk.services.sweep_request import values
from hotdesk.sweep import machine as runner
from hotdesk.sweep import record as records
from hotdesk.sweep.record import LIVE_SECONDS, Record
from hotdesk.system import withhold

if TYPE_CHECKING:
    from hotdesk.services.sweeps import Sweeps

_FLEET = re.compile(r"sweep\d+-[0-9a-f]{6}(-\d+)?")
AT_ONCE = 32
Found = tuple[Access, Record, float]  # where a record is, it, and its age in seconds


def resume(sweeps: Sweeps, name: str, *, anyway: bool = False) -> Sweep:
    """Go on here with the sweep of this desk that another computer has; what runs goes on meanwhile.

    Raises `Unknown` where there is none, `Missing` without the desk's key, and `NeedsDecision` where its
    computer still goes on with it, or its record is lost, unless `anyway`.
    """
    desk = sweeps.store.desk(name)
    if not cloud(desk.provider).rented:
        raise Unknown(
            f"{name} is a desk of this computer: its sweeps are here.",
            "A sweep goes on elsewhere where its machines are a cloud's.",
            "hotdesk sweep ls",
        )
    machines = _machines(sweeps, desk)
    found = _newest(_found(sweeps, desk, machines))
    with sweeps.opened() as store:
        here = {s.id: s for s in store.sweeps(left=True) if s.desk == name and not s.away}
    others = [one for one in found if one[1].sweep.id not in here]
    if not others:
        if not here:
            return _from_here(sweeps, desk, anyway=anyway)
        sweep = next(iter(here.values()))  # it is this computer's own
        sweeps.drive(sweep.number)
        return sweep
    access, record, age = others[0]
    if len(others) > 1:
        more = "another sweep" if len(others) == 2 else f"{len(others) - 1} more sweeps"
        sweeps.on_note(f"{name} has {more} elsewhere: the same command again goes on with the next.")
    if age < LIVE_SECONDS and not anyway:
        raise NeedsDecision(
            f"Another computer goes on with this sweep: its last word is of {age:.0f} seconds ago.",
            "It stops by itself once it sees that this one has taken the sweep over, within a minute.",
            f"hotdesk sweep resume {name} --yes",
        )
    given = values(record.sweep.secrets)
    withhold(record.sweep.secrets)
    _fetch_project(sweeps, access, record.sweep)  # before: what fails here disturbs nobody
    record, age = _again(access, record, age)
    record = records.by_clock(record, sweeps.clock.now() - age)
    hold = mark(sweeps, record.sweep, Computer(sweeps.state, sweeps.clock).name, "taken over")
    taken = records.taken(record, hold, sweeps.clock.now(), files=False)
    with sweeps.opened() as store:
        sweep = store.adopt(taken.sweep, taken.tables)
        store.keep_secrets(sweep, given)
    sweeps.drive(sweep.number)
    return sweep


def _fetch_project(sweeps: Sweeps, access: Access, sweep: Sweep) -> None:
    target = sweeps.state / "sweeps"
    target.mkdir(exist_ok=True, mode=0o700)
    folder = target / sweep.id
    if not (folder / "project").is_dir():
        with tempfile.TemporaryDirectory(prefix="new-", dir=target) as new:
            runner.fetch_project(access, sweep.id, Path(new))
            (Path(new) / "project").mkdir(exist_ok=True)
            folder.mkdir(exist_ok=True, mode=0o700)
            for part in ("function", "project"):  # the project last: where it is, all is
                if (Path(new) / part).is_dir():
                    (Path(new) / part).rename(folder / part)


def _machines(sweeps: Sweeps, desk: Desk) -> list[Instance]:
    """The machines of sweeps of this desk, whoever began them."""
    fleets = sweep_fleet.launcher(sweeps.clouds, desk.provider)
    try:
        survey = sweeps.clouds.provider(desk.provider).survey()
    except Refused as no:
        raise question_of(no, f"What {desk.provider} has cannot be seen.") from no
    return [
        m
        for m in survey.instances
        if _FLEET.fullmatch(m.desk)
        and m.phase is Phase.READY
        and not survey.is_others(m)
        and fleets.holds.tags(m.id).get("of") == desk.name
    ]


def _found(sweeps: Sweeps, desk: Desk, machines: Sequence[Instance]) -> list[Found]:
    """The newest record that each of these machines has."""
    if machines and not (sweeps.state / "desks" / desk.name / "id_ed25519").is_file():
        folder = sweeps.state / "desks" / desk.name
        raise Missing(
            f"The key of {desk.name} is not on this computer.",
            "The machines of its sweeps let nobody in without it.",
            f"scp -pr FIRST_COMPUTER:.local/state/hotdesk/desks/{desk.name} {folder}",
        )
    calls = [partial(_record, sweeps, desk, machine) for machine in machines]
    answers = side_by_side(calls, AT_ONCE)
    found = [a for a in answers if isinstance(a, tuple)]
    if not found and machines:
        reasons = [a for a in answers if isinstance(a, HotdeskError)]
        raise (reasons or [Unreachable(f"The machines of {desk.name}'s sweep have no record of it.")])[0]
    return found


def _newest(found: Iterable[Found]) -> list[Found]:
    """The newest record of each fleet: of the sweep that has its machines, as its last computer left it."""
    fleets: dict[str, list[Found]] = {}
    for one in found:
        fleets.setdefault(one[1].sweep.fleet, []).append(one)
    newest = []
    for _, known in sorted(fleets.items()):
        last = min(known, key=lambda one: one[2])[1].sweep.id
        same = [one for one in known if one[1].sweep.id == last]
        newest.append(min(same, key=lambda one: (-one[1].sweep.hold.number, one[2])))
    return newest


def _again(access: Access, record: Record, age: float) -> tuple[Record, float]:
    """The record as it is by now, where it can be read again: fetching the project may have taken long."""
    try:
        kept = next(one for one in runner.records(access) if one.id == record.sweep.id)
        return records.unpacked(runner.record(access, kept.id)), kept.age_seconds
    except (HotdeskError, StopIteration):
        return record, age


def _record(sweeps: Sweeps, desk: Desk, machine: Instance) -> Found | None:
    access = sweeps.clouds.provider(desk.provider).access(machine)
    kept = runner.records(access)
    if not kept:
        return None
    return access, records.unpacked(runner.record(access, kept[0].id)), kept[0].age_seconds


def mark(sweeps: Sweeps, sweep: Sweep, computer: str, what: str) -> Hold:
    """Write down in the cloud that a computer goes on with a sweep; `what` it is then.

    Raises `HotdeskError` where it cannot, or where that is not known.
    """
    fleets = sweep_fleet.launcher(sweeps.clouds, sweep.provider)
    try:
        return take(fleets, sweep, computer)
    except HotdeskError:
        raise
    except Refused as no:
        raise question_of(no, f"Sweep {sweep.number} of {sweep.desk} cannot be {what}.") from no
    except Exception as error:  # the mark may stand there; the next try writes a later one
        raise Unreachable(
            f"Whether sweep {sweep.number} of {sweep.desk} is {what} is not known.",
            f"The cloud's answer was lost, and nothing has changed here: {type(error).__name__}: {error}",
            "the same command",
        ) from error


def take(fleets: Fleets, sweep: Sweep, computer: str) -> Hold:
    """Write down that a computer goes on with a sweep: on the image, and on all of its machines, also those
    that are not up yet. Raises `Busy` where another does so at the same time, and `Refused`."""
    known = fleets.holds.of_image(sweep.fleet, sweep.image)
    shown = fleets.fleet(sweep.fleet, sweep.image.partition("/")[0])
    hold = Hold(number=max(known.number, sweep.hold.number) + 1, computer=computer)
    alive = [machine.id for machine in shown if machine.phase is not Phase.ENDED]
    fleets.holds.write(sweep.fleet, sweep.image, alive, hold)
    if (written := fleets.holds.of_image(sweep.fleet, sweep.image)).ends(hold):
        raise Busy(
            f"{written.computer} takes this sweep over at the same time.",
            "Its mark stands in the cloud, and this computer leaves the sweep to it.",
            f"hotdesk sweep resume {sweep.desk}   # if it does not go on with it",
        )
    return hold


def _from_here(sweeps: Sweeps, desk: Desk, *, anyway: bool) -> Sweep:
    """Go on from what this computer knew, where no machine of the sweep is left that knows more."""
    with sweeps.opened() as store:
        mine = next((s for s in reversed(store.sweeps()) if s.desk == desk.name and s.away), None)
        counts = store.counts(mine.number) if mine else None
    if mine is None or counts is None:
        raise Unknown(
            f"No machine of a sweep of {desk.name} is there.",
            "Its record is on its machines: where none is left, only the computer that had it knows it.",
            "hotdesk sweep ls",
        )
    if not anyway:
        raise NeedsDecision(
            f"No machine of sweep {mine.number} is left: it is over at {mine.away}, or its machines ended.",
            f"This computer knew of {counts.done:,} of {counts.total:,} tasks that are done. What else was"
            f" done at {mine.away} would be done again.",
            f"hotdesk sweep resume {desk.name} --yes",
        )
    given = values(mine.secrets)
    withhold(mine.secrets)
    hold = mark(sweeps, mine, Computer(sweeps.state, sweeps.clock).name, "taken over")
    with sweeps.opened() as store:
        store.keep_secrets(mine, given)
        sweep = store.change(mine.number, hold=hold, held_at=sweeps.clock.now(), away="", origin=mine.origin)
    sweeps.drive(sweep.number)
    return sweep
