"""What is wrong, why, and how to mend it; as findings, which the doors show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hotdesk.core.errors import Damaged, HotdeskError, Newer
from hotdesk.core.findings import Finding
from hotdesk.core.lifecycle.adopt import adoptable
from hotdesk.core.model import Desk
from hotdesk.services import Services
from hotdesk.state.store import Store
from hotdesk.system import SystemClock, state_folder


def findings(only: str | None = None) -> Iterator[Finding]:
    """Findings about this computer and all desks (or one), without duplicates."""
    said: set[tuple[str, str]] = set()
    for found in _findings(only):
        if (found.what, found.why) not in said:
            said.add((found.what, found.why))
            yield found


def _findings(only: str | None) -> Iterator[Finding]:
    from hotdesk.doctor import computer, desks

    folder = state_folder()
    yield from computer.findings(folder)
    try:
        with Services() as services:
            yield from desks.findings(services, only)
    except HotdeskError as error:
        yield Finding(level="bad", what=error.what, why=error.why, fix=error.fix)


def look(services: Services, only: str | None = None) -> list[Finding]:
    """Like `examine`, for a state folder that is already open."""
    from hotdesk.doctor import computer, desks

    found = [*computer.findings(services.state), *desks.findings(services, only)]
    return list({(finding.what, finding.why): finding for finding in reversed(found)}.values())[::-1]


def mend(found: Finding) -> bool:
    """Apply the safe fix of a finding; returns whether something was done."""
    verb, _, path = found.mends.partition(" ")
    match verb:
        case "chmod":
            target = Path(path)
            target.chmod(0o700 if target.is_dir() else 0o600)
        case "public":  # the public key can be derived from the private one
            from hotdesk.connect.keys import write_public

            write_public(Path(path))
        case _:
            return False
    return True


def adopt() -> list[Desk]:
    """Make rows for desks that are seen and have none; the rows made.

    A state file that cannot be read is set aside first, never deleted.
    """
    folder = state_folder()
    try:
        with Store(folder) as store:
            store.desks()
    except Newer:
        raise
    except Damaged:
        stamp = int(SystemClock().now())
        for file in (folder / "hotdesk.db", folder / "hotdesk.db-wal", folder / "hotdesk.db-shm"):
            if file.exists():
                file.rename(file.with_name(f"{file.name}.damaged-{stamp}"))
    made = []
    with Services() as services:
        store, clouds = services.store, services.clouds
        for provider in clouds.in_sight():
            try:
                survey = clouds.survey(provider)
            except HotdeskError:
                if provider in clouds.in_use():
                    raise
                continue  # credentials that are not for this
            for name, seen in survey.by_desk().items():
                desk = None if store.find(name) else adoptable(name, seen, provider, services.clock.now())
                if desk:
                    store.put(desk)
                    made.append(desk)
    return made
