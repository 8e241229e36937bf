"""Whether a job begins with installing what its folder names, and what was decided about that."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hotdesk.core.ports import Clock
from hotdesk.guest.install import kind_of
from hotdesk.state.store import Store

if TYPE_CHECKING:
    from hotdesk.services.jobs import JobRequest


@dataclass(kw_only=True, eq=False)
class Installing:
    """Decisions are kept on this computer, by desk and folder; what was installed, at the desk."""

    store: Store
    clock: Clock

    def undecided(self, desk: str, request: JobRequest, names: Iterable[str]) -> str:
        """The file of these names that could be installed, where nobody has decided about it; else ""."""
        kind = _offered(request, names)
        return kind if request.install is None and self.decided(desk, request.folder) is None else ""

    def decided(self, desk: str, folder: str) -> bool | None:
        """What was decided for a folder at a desk; None: nothing."""
        kept = self.store.cached(_key(desk, folder))
        return None if kept is None else kept[1] == b"yes"

    def decide(self, desk: str, folder: str, *, install: bool) -> None:
        """Remember a decision: later runs of the folder at the desk follow it."""
        self.store.keep(_key(desk, folder), b"yes" if install else b"no", self.clock.now())

    def wanted(
        self, desk: str, request: JobRequest, before: Callable[[], bool], on_note: Callable[[str], None]
    ) -> bool:
        """Whether to install: as asked, else as decided, else if it was done at the desk `before`."""
        if request.install is not None:
            if request.install:
                self.decide(desk, request.folder, install=True)
            return request.install
        kind = kind_of({path.name for path in Path(request.folder).iterdir()}) if request.push else ""
        if not kind:
            return False
        decided = self.decided(desk, request.folder)
        if decided is not None:
            return decided
        if before():
            return True
        if _offered(request, [kind]):
            on_note(
                f"{kind} is not installed at {desk}. The same command with --install does that, "
                "and again whenever the file has changed."
            )
        return False


def _offered(request: JobRequest, names: Iterable[str]) -> str:
    kind = kind_of(set(names)) if request.push else ""
    return "" if kind == "pyproject.toml" else kind  # that may be only settings of tools


def _key(desk: str, folder: str) -> str:
    return f"install:{desk}:{os.path.realpath(folder)}"
