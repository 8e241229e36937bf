"""Desks: whether each has reached its goal, answers, and accepts a login; and orphaned resources."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING

import hotdesk
from hotdesk.core.clouds import cloud
from hotdesk.core.errors import HotdeskError, Refused
from hotdesk.core.findings import Finding
from hotdesk.core.lifecycle.shutdown import powered
from hotdesk.core.model import Desk, Goal, Instance, Survey
from hotdesk.core.money import shown
from hotdesk.core.ports import Examiner, KeyFiles
from hotdesk.core.steps import Ask
from hotdesk.system import upgrade_line

if TYPE_CHECKING:
    from hotdesk.services import Services


def findings(services: Services, only: str | None) -> Iterator[Finding]:
    rows = services.store.desks()
    if only:
        rows = [services.store.desk(only)]
    surveys: dict[str, Survey] = {}
    for provider in sorted(services.clouds.in_use()):
        try:
            surveys[provider] = services.clouds.survey(provider)
        except HotdeskError as error:
            yield Finding(level="bad", what=error.what, why=error.why, fix=error.fix)
    for provider in sorted(services.clouds.in_use()):
        cloud = services.clouds.provider(provider)
        if isinstance(cloud, Examiner):
            mine = [d for d in rows if d.provider == provider]
            files = [_key_files(services, d) for d in mine]
            yield from cloud.examine(mine, files, surveys.get(provider))
    for desk in rows:
        yield from _halves(services, desk)
        if desk.provider in surveys:
            yield from _desk(services, desk, surveys[desk.provider])
    if only is None:
        for survey in surveys.values():
            yield from _nobodys(survey, services)
            if others := survey.others():
                whose = ", ".join(f"{name} ({' and '.join(who)})" for name, who in sorted(others.items()))
                yield Finding(
                    level="ok",
                    what=f"Other people's desks in the same account are left alone: {whose}.",
                    why=f"Here it is {survey.owner}. If they are yours too: "
                    f'owner = "…" under [{survey.provider}].',
                )


def _desk(services: Services, desk: Desk, survey: Survey) -> Iterator[Finding]:
    from hotdesk.core.lifecycle.plan import plan

    seen = survey.of(desk.name)
    if open_ := [r for r in services.store.rows(desk.name) if r.outcome is None]:
        yield Finding(
            level="note",
            what=f"{desk.name}: {len(open_)} steps never ended, the last: {open_[-1].step.key}.",
            why="A command was killed, or is still running. The next one first looks what became of them.",
            fix=f"hotdesk watch --once {desk.name}",
        )
    if cloud(desk.provider).rented and desk.idle_minutes == 0 and seen.live is not None:
        yield Finding(
            level="note",
            what=f"{desk.name} never shuts down when idle.",
            why=f"You said so (--idle never). It costs {seen.live.usd_per_hour:.4g} dollars an hour.",
            fix=f"hotdesk up {desk.name} --idle 60",
        )
    if seen.live is not None and seen.live.charged_while_off and not powered(seen.live):
        yield Finding(
            level="note",
            what=f"{desk.name} is off and still costs {seen.live.usd_per_hour:.4g} dollars an hour.",
            why=f"{cloud(desk.provider).label} charges this machine while it is stopped, too.",
            fix=f"hotdesk park {desk.name}",
        )
    if seen.live is not None and (lost := _lost_keys(services, desk)):
        yield Finding(
            level="bad",
            what=f"{desk.name} runs, and this computer has lost its {', '.join(lost)}.",
            why=(
                "They were made here and exist nowhere else, so nobody can log in to this machine any more. "
                "Its files are whole: parked and resumed, the desk gets new keys (what runs there ends)."
            ),
            fix=f"hotdesk park {desk.name} && hotdesk resume {desk.name}",
        )
        return
    if seen.live is not None:
        yield from _version(desk, seen.live)
        if seen.live.open_to:
            yield _open(desk, seen.live)
    steps = plan(desk, seen, services.store.past(desk), services.clock.now())
    match steps:
        case []:
            yield Finding(level="ok", what=f"{desk.name} is {desk.goal}, as you asked.")
            if desk.goal is Goal.RUNNING:
                yield from _watched(services, desk)
        case [Ask(what=what, why=why, fix=fix), *_]:
            yield Finding(level="bad", what=what, why=why, fix=fix)
        case [step, *_]:
            verb = type(step).__name__.lower()
            if desk.goal is Goal.RUNNING and verb == "prove":
                yield from _answers(services, desk)
                yield from _watched(services, desk)
                return
            yield Finding(
                level="note",
                what=f"{desk.name} is not {desk.goal} yet; next: {verb}.",
                why=step.why,
                fix=f"hotdesk watch --once {desk.name}",
            )


def _version(desk: Desk, machine: Instance) -> Iterator[Finding]:
    """Whether the programs on the desk are from another version of hotdesk than this one."""
    here, there = hotdesk.__version__, machine.version
    if there in {"", here}:
        return
    again = "park" if cloud(desk.provider).rented else "stop"
    newer = _numbers(there) > _numbers(here)
    yield Finding(
        level="note",
        what=f"hotdesk is {here} here, and {there} at {desk.name}.",
        why="What runs at a desk came with its last start: what only the newer one has may be missing there.",
        fix=upgrade_line(there)
        if newer
        else f"hotdesk {again} {desk.name} && hotdesk {'resume' if again == 'park' else 'start'} {desk.name}",
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


def _open(desk: Desk, machine: Instance) -> Finding:
    """Who can reach Jupyter's port of a machine without a tunnel."""
    who, private = ", ".join(machine.open_to), f"hotdesk notebook {desk.name} --private"
    if not desk.public:
        return Finding(
            level="note",
            what=f"{desk.name}: port 8888 of its machine is open to {who}.",
            why="Another computer opened it, or an older hotdesk all desks; or closing it was cut off.",
            fix=private,
        )
    wide = [r for r in machine.open_to if int(r.partition("/")[2] or 128) < 24]
    return Finding(
        level="bad" if wide else "note",
        what=f"{desk.name}'s Jupyter is open to {who}, with TLS and its password.",
        why=f"You said so (--public). {', '.join(wide)} is many strangers."
        if wide
        else "You said so (--public).",
        fix=private,
    )


def _key_files(services: Services, desk: Desk) -> KeyFiles:
    private = services.state / "desks" / desk.name / "id_ed25519"
    public = private.with_name(private.name + ".pub")
    text = public.read_text("utf-8", "replace") if public.exists() else ""
    return KeyFiles(desk=desk.name, public=text, private=private.exists())


def _halves(services: Services, desk: Desk) -> Iterator[Finding]:
    """A private key whose public key is missing, or is another key's and would be imported."""
    private = services.state / "desks" / desk.name / "id_ed25519"
    if not private.exists():
        return
    said = subprocess.run(
        ["ssh-keygen", "-y", "-P", "", "-f", str(private)], capture_output=True, text=True, check=False
    )
    if said.returncode:
        yield Finding(
            level="bad",
            what=f"{desk.name}: its private key cannot be read.",
            why=(said.stderr.strip().splitlines() or ["ssh-keygen does not say why"])[-1],
            fix=f"mv {private} {private}.old && hotdesk park {desk.name} && hotdesk resume {desk.name}",
        )
        return
    public = private.with_name(private.name + ".pub")
    here = public.read_text("utf-8", "replace").split()[:2] if public.exists() else []
    if here != said.stdout.split()[:2]:
        yield Finding(
            level="bad",
            what=f"{public} is {'not the half of the private key beside it' if here else 'missing'}.",
            why="A new machine is given the public half; with a wrong one, logins would fail.",
            fix="hotdesk doctor --fix   # recreates it from the private half",
            mends=f"public {private}",
        )


def _watched(services: Services, desk: Desk) -> Iterator[Finding]:
    """Whether the desk's idle watch is running, with the limits that were set."""
    from hotdesk.connect import limits

    try:
        told = limits.ask(services.access(desk.name))
    except (HotdeskError, Refused):
        return  # another finding reports that it does not answer
    if dead := sorted(unit for unit, state in told.units.items() if state != "active"):
        yield Finding(
            level="bad",
            what=f"{desk.name}: {' and '.join(dead)} {'is' if len(dead) == 1 else 'are'} not running there.",
            why="It shuts the machine down when idle; without it, you pay until you park the desk.",
            fix=f"hotdesk ssh {desk.name} -- sudo systemctl restart {' '.join(dead)}",
        )
    wanted = limits.limits(desk, services.clock.now())
    if {k: v for k, v in wanted.items() if k != "stop_seconds"} != {
        k: v for k, v in told.limits.items() if k != "stop_seconds"
    } or ("stop_seconds" in wanted) != ("stop_seconds" in told.limits):
        yield Finding(
            level="bad",
            what=f"{desk.name} has the wrong shutdown limits.",
            why=f"It has {told.limits or 'none'}; you asked for {wanted}.",
            fix=f"hotdesk up {desk.name}   # sets them again",
        )
    elif desk.lease_hours and told.age_seconds > desk.lease_hours * 3600 / 2:
        left = desk.lease_hours - told.age_seconds / 3600
        yield Finding(
            level="note",
            what=f"{desk.name}: its lease is not being renewed and expires in {max(0.0, left):.1f} h.",
            why="It is renewed while hotdesk watches, or has a terminal or notebook open there.",
            fix=f"hotdesk watch --detach   # or: hotdesk up {desk.name}",
        )


def _lost_keys(services: Services, desk: Desk) -> list[str]:
    """Missing key files: a login needs both the public and the private key."""
    folder = services.state / "desks" / desk.name
    needed = {
        "id_ed25519": "private key",
        "known_hosts": "pinned host key",
        "notebook-password": "notebook password",
    }
    return [what for name, what in needed.items() if not (folder / name).exists()]


def _answers(services: Services, desk: Desk) -> Iterator[Finding]:
    from hotdesk.connect.readiness import prove

    try:
        prove(services.access(desk.name))
    except Refused as refused:
        fix = refused.fix or f"hotdesk up {desk.name}"
        yield Finding(level="bad", what=f"{desk.name} does not answer.", why=refused.message, fix=fix)
    except HotdeskError as error:
        yield Finding(level="bad", what=error.what, why=error.why, fix=error.fix)
    else:
        yield Finding(level="ok", what=f"{desk.name} answers: ssh and Jupyter.")


def _nobodys(survey: Survey, services: Services) -> Iterator[Finding]:
    from hotdesk.services.orphans import things

    known = {desk.name for desk in services.store.desks()}
    for thing in things(survey, services.store.desks(), services.clock.now(), past=services.store.past):
        month = shown(thing.usd_per_month, thing.told_per_month, " a month")
        month = f", {month}" if thing.usd_per_month else ""
        whose = f" of {thing.desk}" if thing.desk else ""
        word = "is not needed" if thing.safe else "belongs to no desk on this computer"
        if thing.desk in known and not thing.safe:
            word = f"is kept: it holds work of another beginning{_age(thing.age_seconds)}"
        yield Finding(
            level="note",
            what=f"{survey.provider}: {thing.kind} {thing.id}{whose} {word}{month}.",
            why=thing.why,
            fix=thing.fix or "hotdesk gc --yes",
        )


def _age(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f", {seconds / 86400:.0f} days old" if seconds > 2 * 86400 else f", {seconds / 3600:.1f} h old"
