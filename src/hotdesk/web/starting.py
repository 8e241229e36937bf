"""Starting a job from the page: what can be, its price before the click, and the click."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from msgspec import UNSET, to_builtins

from hotdesk.api import Hotdesk
from hotdesk.core.errors import Usage
from hotdesk.core.model import Goal, Value
from hotdesk.services import run_checks
from hotdesk.services.job_cost import expected
from hotdesk.services.jobs import THEN, JobRequest
from hotdesk.web.verbs import length


class Run(Value, frozen=True):
    """A job to start: of hotdesk.toml, or a shell line. What is "" was not said."""

    name: str  # of a desk that there is
    job: str = ""
    command: str = ""
    folder: str = ""  # of the command; a job's is where the page is served from
    then: Literal["", "park", "stop", "stay"] = ""
    work: str = ""  # how long it runs: 10h
    anyway: bool = False
    over_budget: bool = False
    verb: Literal["run"] = "run"

    @property
    def here(self) -> Path:
        """The folder that is copied. Raises `Usage` where there is none."""
        return folder_here("" if self.job else self.folder)

    @property
    def line(self) -> list[str]:
        """The same for a terminal in that folder, as words."""
        said = ["hotdesk", "run", self.name, "--detach"]
        for option, value in (("--then", self.then), ("--work", self.work)):
            said += [option, value] if value else []
        for flag, on in (("--over-budget", self.over_budget), ("--yes", self.anyway)):
            said += [flag] if on else []
        return [*said, self.job] if self.job else [*said, "--", self.command]

    @property
    def given(self) -> dict[str, Any]:
        """The options that were said, as `Jobs.requested` takes them."""
        hours = length(self.work, "h")
        return {
            **({} if self.job else {"command": (self.command.strip(),)}),
            **({"then": THEN[self.then]} if self.then else {}),
            **({"work_seconds": hours * 3600} if hours else {}),
            "anyway": self.anyway,
        }


def folder_here(said: str) -> Path:
    """A folder named in full; else where the page is served from. Raises `Usage` where there is none."""
    folder = Path(said).expanduser() if said else Path.cwd()
    if not folder.is_absolute() or not folder.is_dir():
        raise Usage(f"{folder} is no folder here.", "The folder is named in full.", f"ls -d {folder}")
    return folder


def choices(desks: Hotdesk, said: Mapping[str, str]) -> dict[str, Any]:
    """The jobs of hotdesk.toml with their command, and the folder where the page is served from."""
    jobs = desks.services.goals.config.jobs
    return {"folder": str(Path.cwd()), "jobs": {name: " ".join(job.words) for name, job in jobs.items()}}


def plan(desks: Hotdesk, asked: Run) -> dict[str, Any]:
    """What would be done, and what it costs. Raises as `Hotdesk.run` does."""
    services = desks.services
    name = services.store.desk(asked.name).name
    request: JobRequest = services.jobs.requested(asked.job, asked.given, asked.here, name)
    request.check()
    run_checks.check_computer(request)
    found = run_checks.found_in_folder(request)
    if found:
        run_checks.check_folder(name, request, found)
    work, _ = services.jobs.agreed(name, request)
    row = services.goals.wanted(name, Goal.RUNNING)
    if services.billing.launches(row) and not asked.over_budget:
        services.billing.within_budget(row)
    cost = expected(services.goals, row, work)
    before = [job.number for job in services.store.jobs(name, unsettled=True) if job.result is None]
    return {
        "line": asked.line,
        "folder": request.folder,
        "command": request.line,
        "files": len(found.names) if found else 0,
        "steps": to_builtins(services.goals.steps(row)),
        "cost": cost and {**to_builtins(cost), "told": cost.told},
        "after": before[-1] if before else None,
        "then": next(verb for verb, goal in THEN.items() if goal is request.then),
    }


def run(desks: Hotdesk, asked: Run) -> dict[str, Any]:
    """Start it; its number. The desk comes up for it, and the watcher sees to its end."""
    given = asked.given
    job = desks.run(
        asked.name,
        given.get("command", ()),
        job=asked.job,
        folder=asked.here,
        anyway=asked.anyway,
        then=given.get("then", UNSET),
        work_seconds=given.get("work_seconds", UNSET),
        wait=False,
    )
    return {"job": job.number}
