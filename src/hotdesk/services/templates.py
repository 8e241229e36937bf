"""Make a desk of a template: what it is made of is kept with it, and its packages are installed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotdesk.core.errors import NeedsDecision, Usage
from hotdesk.core.model import Desk
from hotdesk.core.names import check_name
from hotdesk.services.jobs import JobRequest, Jobs
from hotdesk.services.template import FILE, Template
from hotdesk.system import write_atomically

if TYPE_CHECKING:
    from hotdesk.jobs.run import Runs

PROJECT = "environment"  # the folder at such a desk that names its packages


@dataclass(kw_only=True, eq=False)
class Templates:
    """Makes desks of templates."""

    state: Path
    jobs: Jobs
    runs: Callable[[], Runs]
    on_note: Callable[[str], None]

    def keep(self, name: str, template: Template) -> None:
        """Write down what a new desk is made of. Raises `Usage` for a desk that there is already."""
        check_name(name)
        file = self.state / "desks" / name / FILE
        known = file.read_text("utf-8") if file.exists() else ""
        if self.jobs.store.find(name) is not None and known != template.text:
            raise Usage(
                f"{name} is there already.",
                "A template makes a new desk.",
                f"hotdesk up {name}-2 --from FILE",
            )
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(file, template.text)

    def furnish(self, name: str, template: Template) -> None:
        """Install the template's packages at a desk that is up, as a job, unless that has been done.

        Raises `NeedsDecision` where not all could be installed.
        """
        store = self.jobs.store
        desk = store.desk(name)
        if not template.environment.packages or any(_furnished(store.jobs(name), desk)):
            return
        with tempfile.TemporaryDirectory(prefix="hotdesk-") as parent:
            folder = Path(parent) / PROJECT
            folder.mkdir()
            packages = "\n".join(template.environment.packages)
            (folder / "requirements.txt").write_text(f"{packages}\n", "utf-8")
            request = JobRequest(
                command=("true",), folder=str(folder), install=True, anyway=True, then=None, everything=True
            )
            queued = self.jobs.queue(desk, request, 0.0, None)
        job = self.runs().pursue(queued, lambda words: None, self.on_note)
        if job.result is None or job.result.exit_status != 0:
            raise NeedsDecision(
                f"{name} is up, and not all packages of the template could be installed there.",
                f"They are those of a desk with Python {template.environment.python}.",
                f"hotdesk logs {name} {job.number}   # what the installer said",
            )


def _furnished(jobs: list[Any], desk: Desk) -> Iterator[bool]:
    for job in jobs:
        if job.install == PROJECT and job.created_at >= desk.created_at:
            yield bool(job.result and job.result.exit_status == 0)
