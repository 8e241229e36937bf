"""What is had of a desk that runs: what it says of itself, and how an editor reaches it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hotdesk.core.findings import Remark
from hotdesk.core.model import Desk

if TYPE_CHECKING:
    from hotdesk.services import Services
    from hotdesk.services.shapes import Editor


def remarks(services: Services, desk: Desk, gpu: str) -> tuple[Remark, ...]:
    """What it says of itself: a driver that is missing, how far its data are."""
    from hotdesk.services import data

    proven = services.views.proven
    said = services.guest_events.remarks(desk, gpu, proven)
    return said + data.remarks(services.state, services.config, desk.name, lambda: proven(desk))


def editor(services: Services, name: str, *, setup: bool = False) -> Editor:
    """A desk as a host of editors that work over ssh; `setup`: ~/.ssh/config includes it.

    Raises `Unknown`, `NeedsDecision`, `Unreachable`.
    """
    from hotdesk.connect import editor as editors

    access, theirs = services.access(name), Path.home() / ".ssh" / "config"
    hosts = editors.write_host(access, services.state)
    if setup and editors.include(theirs, hosts):
        services.on_note(f"{theirs} now includes {hosts}.")
    return {"desk": name, "link": editors.link(access), "included": editors.includes(theirs, hosts)}
