"""Go on with a sweep that another computer began: found by its machines, taken over by a mark in the cloud.

Who goes on with a sweep stands on its image and its machines (`Holds` in core/fleet.py). Its record is on two
of its machines (sweep/record.py).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import HotdeskError, Missing, NeedsDecision, Refused, Unknown, Unreachable
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
    found = _newest(sweeps, desk, machines)
    if found is None:
        return _from_here(sweeps, desk, machines, anyway=anyway)
    access, record, age = found
    with sweeps.opened() as store:
        mine = next((s for s in store.sweeps() if s.id == record.sweep.id), None)
    if mine is not None and not mine.away and not mine.over_at:
        sweeps.drive(mine.number)
        return mine
    if age < LIVE_SECONDS and not anyway:
        raise NeedsDecision(
            f"Another computer goes on with this sweep: its last word is of {age:.0f} seconds ago.",
            "It stops by itself once it sees that this one has taken the sweep over, within a minute.",
            f"hotdesk sweep resume {name} --yes",
        )
    given = values(record.sweep.secrets)
    withhold(record.sweep.secrets)
    fleet = [m for m in machines if m.desk == record.sweep.fleet]
    hold = _take(sweeps, record.sweep, fleet)
    taken = records.taken(record, hold, sweeps.clock.now(), files=False)
    target = sweeps.state / "sweeps"
    target.mkdir(exist_ok=True, mode=0o700)
    folder = target / record.sweep.id
    if not (folder / "project").is_dir():
        with tempfile.TemporaryDirectory(prefix="new-", dir=target) as new:
            runner.fetch_project(access, record.sweep.id, Path(new))
            (Path(new) / "project").mkdir(exist_ok=True)
            folder.mkdir(exist_ok=True, mode=0o700)
            for part in ("function", "project"):  # the project last: where it is, all is
                if (Path(new) / part).is_dir():
                    (Path(new) / part).rename(folder / part)
    with sweeps.opened() as store:
        sweep = store.adopt(taken.sweep, taken.tables)
        store.keep_secrets(sweep, given)
    sweeps.drive(sweep.number)
    return sweep


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


def _newest(sweeps: Sweeps, desk: Desk, machines: Sequence[Instance]) -> Found | None:
    """The newest record that any of these machines has."""
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
    return min(found, key=lambda one: (-one[1].sweep.hold.number, one[2]), default=None)


def _record(sweeps: Sweeps, desk: Desk, machine: Instance) -> Found | None:
    access = sweeps.clouds.provider(desk.provider).access(machine)
    kept = runner.records(access)
    if not kept:
        return None
    return access, records.unpacked(runner.record(access, kept[0].id)), kept[0].age_seconds


def _take(sweeps: Sweeps, sweep: Sweep, machines: Sequence[Instance]) -> Hold:
    """Write down in the cloud that this computer goes on with a sweep. Raises where it cannot."""
    fleets = sweep_fleet.launcher(sweeps.clouds, sweep.provider)
    try:
        return take(fleets, sweep, [m.id for m in machines], Computer(sweeps.state, sweeps.clock).name)
    except Refused as no:
        raise question_of(no, f"Sweep {sweep.number} of {sweep.desk} cannot be taken over.") from no


def take(fleets: Fleets, sweep: Sweep, machine_ids: Sequence[str], computer: str) -> Hold:
    """Write down in the cloud that this computer goes on with a sweep. Raises `Refused`."""
    known = fleets.holds.of_image(sweep.fleet, sweep.image)
    hold = Hold(number=max(known.number, sweep.hold.number) + 1, computer=computer)
    fleets.holds.write(sweep.fleet, sweep.image, machine_ids, hold)
    return hold


def _from_here(sweeps: Sweeps, desk: Desk, machines: Sequence[Instance], *, anyway: bool) -> Sweep:
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
    hold = _take(sweeps, mine, machines)
    with sweeps.opened() as store:
        store.keep_secrets(mine, given)
        sweep = store.change(mine.number, hold=hold, held_at=sweeps.clock.now(), away="", origin=mine.origin)
    sweeps.drive(sweep.number)
    return sweep
