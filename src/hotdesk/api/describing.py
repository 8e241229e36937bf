"""The façade's files: hotdesk.toml, what counts of it, a desk as a file to share, and desks' images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotdesk.services import Services
    from hotdesk.services.move_shapes import KeptImages
    from hotdesk.services.settings import Setting
    from hotdesk.services.template import Exported


class Describing:
    """Settings and templates. Nothing here changes a desk."""

    services: Services

    def init(self, folder: Path | None = None) -> Path:
        """Write a commented hotdesk.toml for a folder (this one): what can be set, with today's values.

        Raises `NeedsDecision` where there is one, which stays; `Damaged`, `Missing`.
        """
        from hotdesk.services import settings

        return settings.init(self.services.goals, folder or Path.cwd())

    def export(self, name: str) -> Exported:
        """A desk as a file to share: hardware, limits, packages, and the jobs of this folder; no secrets.

        Packages are in it where the desk runs. `up(template=…)` makes a desk of it. Raises `Unknown`.
        """
        from hotdesk.services import template

        s = self.services
        return template.export(s.goals, name, s.views.access)

    def images(
        self,
        name: str | None = None,
        *,
        verify: bool = False,
        copy_to: Path | str | None = None,
        copy_from: Path | str | None = None,
        keep: int | None = None,
        keep_seconds: float = 0.0,
        anyway: bool = False,
    ) -> KeptImages:
        """The images of all desks, or of one: where each is, how big, for how much, and until when it stays.

        `copy_from` and `copy_to`: before that, those in this computer's store are mended from, or copied to,
        a store on another disk, below this folder, or at another computer: "me@host:folder". What is there is
        not copied again. With `keep`, copies there are deleted but for that many of each desk, the newest,
        and those of the last `keep_seconds`; `NeedsDecision` is raised with their names, unless `anyway`.
        `verify`: those here are read again, every byte. Raises `Unknown` for a desk that there is not,
        `Usage` for a folder that is not there, `Unreachable`, `NotAllowed` where a copy cannot be made.
        """
        from hotdesk.services import images

        s, only, done = self.services, name or "", []
        if name and copy_from is not None and s.store.find(name) is None:
            name = None  # of a computer that was lost: it is no desk here yet
        elif name:
            s.store.desk(name)
        pruned: list[str] = []
        if copy_from is not None:
            done += images.second(s.clouds, str(copy_from), only, s.on_wait).bring()
        if copy_to is not None:
            second = images.second(s.clouds, str(copy_to), only, s.on_wait)
            done += second.copy(verify=verify, keep=keep, keep_seconds=keep_seconds)
            if keep is not None:
                pruned = second.prune(keep, keep_seconds, anyway=anyway)
        found = images.images(s.store, s.clouds, s.clock, name, verify=verify, on_wait=s.on_wait)
        return {**found, "copied": done, "pruned": pruned}

    def config(self, name: str | None = None) -> list[Setting]:
        """Which value of each setting counts, and where it comes from; of one desk, or of everything.

        Raises `Damaged` where hotdesk.toml cannot be used in full, `Unknown` for no such desk.
        """
        from hotdesk.services import settings

        return settings.settings(self.services.goals, name)
