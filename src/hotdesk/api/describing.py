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
        copy_to: Path | None = None,
        copy_from: Path | None = None,
    ) -> KeptImages:
        """The images of all desks, or of one: where each is, how big, for how much, and until when it stays.

        `copy_from` and `copy_to`: before that, those in this computer's store are mended from, or copied to,
        a store on another disk, below this folder; what is there is not copied again. `verify`: those here
        are read again, every byte. Raises `Unknown` for a desk that there is not, `Usage` for a folder that
        is not there, `NotAllowed` where a copy cannot be made.
        """
        from hotdesk.services import images

        s, only, done = self.services, name or "", []
        if name and copy_from is not None and s.store.find(name) is None:
            name = None  # of a computer that was lost: it is no desk here yet
        elif name:
            s.store.desk(name)
        for folder, back in ((copy_from, True), (copy_to, False)):
            if folder is not None:
                done += images.copied(s.clouds, folder, only, back=back, on_wait=s.on_wait)
        found = images.images(s.store, s.clouds, s.clock, name, verify=verify, on_wait=s.on_wait)
        return {**found, "copied": done}

    def config(self, name: str | None = None) -> list[Setting]:
        """Which value of each setting counts, and where it comes from; of one desk, or of everything.

        Raises `Damaged` where hotdesk.toml cannot be used in full, `Unknown` for no such desk.
        """
        from hotdesk.services import settings

        return settings.settings(self.services.goals, name)
