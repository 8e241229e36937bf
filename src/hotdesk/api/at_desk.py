"""What the façade does at a desk that runs: commands, files and ports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotdesk.services import Services
    from hotdesk.services.files import Completed, Pulled
    from hotdesk.services.forwarding import Forward


class AtDesk:
    """What `Hotdesk` does at desks that run; each raises `NeedsDecision` where one does not."""

    services: Services

    def ssh(self, name: str, command: str | Sequence[str]) -> Completed:
        """Run a command at a desk: its exit status, and what it wrote to standard output and error, as text.

        A string is a line for the desk's shell; words are taken to the letter. Standard input is empty.
        Raises `NeedsDecision` where the desk does not run, `Unreachable`, `Missing` without ssh.
        """
        from hotdesk.services import files

        return files.call(self.services.access(name), command)

    def push(
        self,
        name: str,
        *sources: str | Path,
        to: str = "",
        everything: bool = False,
        anyway: bool = False,
    ) -> tuple[str, ...]:
        """Copy files and folders from here to the desk's home, or to the folder `to` there.

        Again copies only what changed. Of a folder goes what git and .hotdeskignore leave in, or
        `everything`; `data` arrives as a folder, `data/` as what is in it. Links here that are folders at
        the desk stay so, and are returned. Raises `Unknown` for what is not here, `NeedsDecision` where all
        of a folder is left out, the desk does not run, or has a folder of that name from another one
        (`anyway`: it is copied all the same).
        """
        from hotdesk.services import files

        goods = files.gathered(name, sources, to, everything=everything)
        return files.push(self.services.access(name), goods, anyway=anyway).kept

    def pull(self, name: str, *sources: str, to: str | Path = ".") -> Pulled:
        """Copy files and folders from the desk, relative to its home, to a folder here; what came.

        A file here that is newer stays, and the desk's comes beside it. Raises `Unknown` where not all of it
        could be had (the rest has come), `NeedsDecision` where the desk does not run.
        """
        from hotdesk.services import files

        return files.complete(name, files.pull(self.services.access(name), sources, Path(to)))

    def forward(self, name: str, *ports: str | int, stop: bool = False) -> tuple[Forward, ...]:
        """Ports of a desk at this computer's loopback, kept open in the background; all that are.

        "8000:80" is port 80 of the desk at 8000 here, 6006 is at 6006 if that is free. `stop` closes these,
        or all, and returns them. Raises `NeedsDecision` where the desk does not run, `Unreachable`, `Usage`.
        """
        desk = self.services.store.desk(name)
        if stop:
            return self.services.forwarding.close(name, ports)
        return self.services.forwarding.open(desk, ports)
