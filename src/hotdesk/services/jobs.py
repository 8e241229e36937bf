"""Queue, list, follow and cancel long jobs. Their loop is in `jobs/`."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from hotdesk.core import clouds, lengths
from hotdesk.core.errors import HotdeskError, NeedsDecision, Unknown, Usage
from hotdesk.core.jobs import Job, SeenJob
from hotdesk.core.model import Desk, Goal, Value
from hotdesk.core.ports import Access, Clock
from hotdesk.services.goals import Goals
from hotdesk.services.installing import Installing
from hotdesk.services.job_variables import Gathered, gather
from hotdesk.state.store import Store
from hotdesk.system import withhold

if TYPE_CHECKING:
    from hotdesk.config import JobSettings
    from hotdesk.connect.sync import Contents
    from hotdesk.jobs.run import Runs


class JobRequest(Value, frozen=True):
    """A job to run on a desk. Durations are in seconds, money in US dollars."""

    folder: str  # here: where it is copied from, and where its results go
    command: tuple[str, ...] = ()  # its words; a single one is a shell line
    push: bool = True  # copy the folder to the desk; else it runs in the desk's as it is
    anyway: bool = False  # copy it also into what another folder of that name has filled at the desk
    everything: bool = False  # copy also what git and .hotdeskignore leave out
    resume_command: str = ""  # run instead after an interruption
    checkpoint: str = ""  # where it writes checkpoints
    signal: str = "SIGUSR1"  # asks it for a checkpoint; "": none
    grace_seconds: float | None = None  # from SIGTERM to SIGKILL; None: 20, or what its launcher needs
    then: Goal | None = Goal.PARKED  # what becomes of the desk; None: it stays up
    pull: tuple[str, ...] = ()  # results, relative to its folder
    work_seconds: float = 0.0  # of running; 0: not known
    deadline_seconds: float | None = None  # from now
    budget_usd: float | None = None  # expected at most
    notify: bool = False  # tell its owner of its end, see [notify]
    install: bool | None = None  # what its files name; None: if that was done for it at this desk before
    gathered: Gathered = Gathered()  # environment variables of the job
    env_files: tuple[Path, ...] = ()  # where some came from: these are not copied

    @property
    def line(self) -> str:
        """The command as a shell line."""
        return self.command[0] if len(self.command) == 1 else shlex.join(self.command)

    def contents(self) -> Contents:
        """What of the folder goes to the desk: no file of variables, which may be secret."""
        from hotdesk.connect import sync

        found = sync.contents(Path(self.folder), everything=self.everything)
        stay = {os.path.realpath(file) for file in self.env_files}
        names = [
            name for name in found.names if not stay or os.path.realpath(found.folder / name) not in stay
        ]
        return replace(found, names=tuple(names))

    def check(self, *, dry_run: bool = False) -> None:
        """Raises `Usage` for requests that are invalid on any desk, `Unknown` where a secret is missing that
        more than a `dry_run` needs."""
        if not any(self.command):
            raise Usage("There is no command to run.", "", "hotdesk run NAME -- python train.py")
        if not dry_run:
            self.gathered.complete()
        if self.deadline_seconds is not None and self.deadline_seconds <= 0:
            raise Usage("--deadline 0 is now.", "The job could not have ended by then.", "--deadline HOURS")
        for path in self.pull:
            inside = PurePosixPath(os.path.normpath(path or "/"))
            if inside.is_absolute() or inside.parts[:1] == ("..",) or path.startswith("~"):
                raise Usage(
                    f"--pull {path!r} is not in the job's folder.",
                    "What is fetched is named relative to that folder; yours is the same by then.",
                    "--pull results   # of another place: hotdesk pull NAME PATH, after the job",
                )
        here = Path(self.folder)
        if here in {Path.home(), Path(here.anchor)} and self.push:
            raise Usage(
                f"{here} is not a project's folder.", "All that is in it would be copied.", "cd the/project"
            )


#: What becomes of a desk when its last job has ended; None: it stays up.
THEN = {"park": Goal.PARKED, "stop": Goal.STOPPED, "stay": None}


def described(job: JobSettings) -> dict[str, Any]:
    """The fields of a `JobRequest` that a job of hotdesk.toml sets."""
    told: dict[str, Any] = {
        "command": job.words or None,
        "resume_command": job.resume_command,
        "checkpoint": job.checkpoint,
        "signal": job.signal and signal_name(job.signal),
        "grace_seconds": _seconds(job.grace, "s"),
        "pull": job.pull,
        "work_seconds": _seconds(job.work, "h"),
        "deadline_seconds": _seconds(job.deadline, "h"),
        "budget_usd": job.budget,
        "everything": job.all,
        "install": job.install,
        "notify": job.notify,
        "env": job.env and {name: str(value) for name, value in job.env.items()},
        "env_file": job.env_file,
        "secret": job.secret and dict.fromkeys(job.secret),
    }
    then = {"then": THEN[job.then]} if job.then else {}
    return {name: value for name, value in told.items() if value is not None} | then


def signal_name(told: str) -> str:
    """The signal that asks for a checkpoint, of a choice of `--signal`; "" for none."""
    return "" if told == "none" else f"SIG{told}"


def _seconds(told: str | float | None, unit: str) -> float | None:
    return None if told is None else lengths.seconds(str(told), unit)


class JobView(Value, frozen=True):
    """A job, and what its desk reports about it now."""

    job: Job
    state: str  # waiting | running | interrupted | ended | done | failed | cancelled | lost
    seen: SeenJob | None = None  # None: its desk does not run, or cannot be asked
    unasked: str = ""  # why its desk could not be asked
    lacks: tuple[str, ...] = ()  # its variables, where their values are not on this computer


@dataclass(kw_only=True, eq=False)
class Jobs:
    """The jobs of all desks. `reach` says how to reach one that runs,
    `proven` one that was just brought up; `runs` makes the loop of jobs."""

    store: Store
    clock: Clock
    goals: Goals
    reach: Callable[[Desk], Access]
    proven: Callable[[Desk], Access]
    runs: Callable[[], Runs]

    @property
    def installing(self) -> Installing:
        return Installing(store=self.store, clock=self.clock)

    def views(self, name: str | None = None, limit: int = 20) -> list[JobView]:
        """The newest jobs, oldest first; of one desk or of all. Raises `Unknown` for no desk."""
        jobs = self.store.jobs(name)
        if name and not jobs:
            self.store.desk(name)
        jobs, runs = jobs[-limit:], self.runs()
        seen: dict[str, SeenJob] = {}
        unasked: dict[str, str] = {}
        for desk in sorted({job.desk for job in jobs if job.result is None}):
            try:
                seen |= runs.seen(desk)
            except HotdeskError as error:
                unasked[desk] = f"{error.what} {error.why}"
        return [
            JobView(
                job=job,
                state=state(job, seen.get(job.id)),
                seen=seen.get(job.id),
                unasked="" if job.result else unasked.get(job.desk, ""),
                lacks=() if job.result or self.store.variables(job) else job.variables,
            )
            for job in jobs
        ]

    def requested(self, job: str, given: Mapping[str, Any], folder: Path, desk: str = "") -> JobRequest:
        """The request for a job of hotdesk.toml, or none, with what is `given` in place of its settings.

        A job that is not there may be of the template that the `desk` was made of.

        Variables and secrets are added to those of the job. Raises `Unknown` where there is no such job, or
        no value, `Damaged` where its settings cannot be used, `Usage`.
        """
        told = described(self._described(job, desk)) if job else {}
        fields = {"folder": str(folder.resolve()), **told, **given}
        env, secrets = ({**told.get(key, {}), **given.get(key, {})} for key in ("env", "secret"))
        files = tuple(folder / Path(file).expanduser() for file in fields.pop("env_file", ()))
        fields = {name: value for name, value in fields.items() if name not in {"env", "secret"}}
        # The watcher and a local desk outlive this process. (A cloud's own keys are what a watcher needs.)
        withhold(secrets.keys() - {key for cloud in clouds.KNOWN.values() for key in cloud.keys})
        return JobRequest(**fields, env_files=files, gathered=gather(env, files, secrets, os.environ))

    def _described(self, job: str, desk: str) -> JobSettings:
        from hotdesk.services import template

        config, state = self.goals.config, self.store.folder
        if not config.is_job(job) and state and (of := template.jobs_of(state, desk).get(job)):
            return of
        return config.job(job)

    def agreed(self, desk: str | Desk, request: JobRequest) -> tuple[float, float | None]:
        """Seconds of work, as far as known, and when it has to be done (our clock).

        Raises `Usage` or `NotAllowed` where deadline or budget cannot be kept.
        """
        from hotdesk.jobs import terms

        work = request.work_seconds or terms.known_seconds(request.line, self.store.jobs())
        if request.deadline_seconds is None and request.budget_usd is None:
            return work, None
        row = self.goals.wanted(desk, Goal.RUNNING) if isinstance(desk, str) else desk
        seconds = terms.agree(row.offers, work, request.deadline_seconds, request.budget_usd)
        return work, None if seconds is None else self.clock.now() + seconds

    def queue(
        self,
        desk: Desk,
        request: JobRequest,
        work_seconds: float,
        deadline_at: float | None,
        *,
        on_progress: Callable[[str], None] | None = None,
        on_kept: Callable[[Sequence[str]], None] = lambda links: None,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> Job:
        """Copy what it needs to a desk that runs, and queue it there; a watcher begins it.

        `on_kept` hears of links here that are folders at the desk, and stayed so, `on_note` of what could be
        installed. Raises `Unknown` for a
        command that the desk does not have, `NeedsDecision` where files of two projects would be mixed.
        """
        from hotdesk.connect import copying, job_runner

        here, access, variables = Path(request.folder), self.proven(desk), request.gathered.complete()
        waiting = self.store.jobs(desk.name, unsettled=True)
        plain = here.name or "project"
        # What runs keeps the files that it began with: a job that has to wait gets a folder of its own.
        target = plain
        if request.push:
            if any(job.folder == plain and job.result is None for job in waiting):
                target = f"{plain}-{max(job.number for job in waiting) + 1}"
            like = plain if target != plain else ""
            job_runner.claim(access, target, here, anyway=request.anyway)
            found = request.contents()  # anew: a launch may take minutes
            sent = copying.push(
                access, [(found.folder, found.names)], target, on_progress=on_progress, like=like
            )
            on_kept(sent.kept)
        elif not job_runner.has(access, plain):
            raise Unknown(
                f"There is no folder {plain} at {desk.name}.",
                "With --no-push nothing is copied, and the job runs in the folder of that name there.",
                f"hotdesk push {desk.name} {shlex.quote(str(here))}   # or: the same without --no-push",
            )
        install = self.installing.wanted(
            desk.name, request, lambda: job_runner.installs(access, here.name), on_note
        )
        program = "" if install else _program(request.command)
        if program and not job_runner.has(access, target, program):
            raise Unknown(
                f"There is no command {program!r} at {desk.name}.",
                "It is neither on the desk's PATH nor in the folder that was copied.",
                f"hotdesk ssh {desk.name} -- 'command -v python3 {program}'",
            )
        return self.store.queue(
            Job(
                id="",
                number=0,
                desk=desk.name,
                command=request.command,
                created_at=self.clock.now(),
                folder=target,
                resume_command=(request.resume_command,) if request.resume_command else (),
                checkpoint=request.checkpoint,
                signal=request.signal,
                grace_seconds=request.grace_seconds,
                then=request.then,
                pull=request.pull,
                pull_to=str(here) if request.pull else "",
                work_seconds=work_seconds,
                deadline_at=deadline_at,
                budget_usd=request.budget_usd,
                notify=request.notify,
                install=plain if install else "",
                variables=tuple(sorted(variables.values)),
            ),
            variables,
        )

    def kept_logs(self, name: str) -> list[Path]:
        """The logs of a desk's ended jobs, as far as they are on this computer, in the order of the jobs."""
        from hotdesk.jobs.run import kept_log

        files = (kept_log(self.store, job) for job in self.store.jobs(name))
        return [file for file in files if file is not None and file.exists()]

    def forget_logs(self, name: str) -> None:
        """Delete them."""
        for file in self.kept_logs(name):
            file.unlink(missing_ok=True)

    def log(self, job: Job, on_output: Callable[[bytes], None]) -> str:
        """Hand on what a job has said so far; what of it is missing, in words, and where it is.

        Raises `NeedsDecision` where only a desk that is off has it.
        """
        from hotdesk.connect import job_runner
        from hotdesk.jobs.run import cut_log, kept_log

        kept = kept_log(self.store, job)
        lacks, text = cut_log(kept.read_bytes()) if kept is not None and kept.exists() else (0, None)
        if text is not None and not lacks:
            on_output(text)
            return ""
        desk = self.store.find(job.desk)
        if text is None and (desk is None or desk.created_at > job.created_at):
            raise Unknown(
                f"The log of job {job.number} is gone with its desk {job.desk}.",
                "hotdesk down --keep-logs keeps what is here of the logs.",
                f"hotdesk jobs {job.desk}",
            )
        try:
            access = self.reach(self.store.desk(job.desk))
            job_runner.follow(access, job.id, 0, on_output, to_the_end=False)
            return ""
        except HotdeskError as error:
            if text is not None:
                on_output(text)
                return (
                    f"This is the end of the log of job {job.number}. The first {lacks / 2**20:.1f} MiB are "
                    f"on {job.desk}, in ~/.hotdesk/jobs/{job.id}/log: hotdesk resume {job.desk}"
                )
            if not isinstance(error, NeedsDecision):
                raise
            raise NeedsDecision(
                f"{job.desk} does not run, and the log of job {job.number} lies at the desk.",
                error.why,
                f"hotdesk resume {job.desk}",
            ) from None

    def cancel(
        self, name: str, number: int | None = None, *, every: bool = False, on_note: Callable[[str], None]
    ) -> list[Job]:
        """End one job of a desk, or all; those that were meant, as they were left.

        One that had ended already is as it was. Raises `Usage` where it is not said which of several.
        """
        chosen = self.to_cancel(name, number, every=every)
        for job in chosen:
            if job.result is None:
                self.store.put_job(job.number, cancelled=True)
        runs = self.runs()
        return [runs.pursue(job, lambda words: None, on_note) for job in chosen]

    def to_cancel(self, name: str, number: int | None = None, *, every: bool = False) -> list[Job]:
        """The jobs that `cancel` would end. Raises `Usage` where it is not said which of several."""
        left = [j for j in self.store.jobs(name, unsettled=True) if j.result is None]
        chosen = left if every else [self.store.job(name, number)] if number else left
        if len(chosen) > 1 and not every:
            listed = ", ".join(str(j.number) for j in chosen)
            raise Usage("Which job?", f"There are several: {listed}.", f"hotdesk cancel {name} --all")
        if not chosen:
            self.store.desk(name)
        return chosen


def state(job: Job, seen: SeenJob | None) -> str:
    """waiting | running | interrupted | ended | done | failed | cancelled | lost"""
    if job.result:
        if job.cancelled:
            return "cancelled"
        if job.result.exit_status is None:
            return "lost"
        return "failed" if job.result.exit_status else "done"
    if seen is None:
        return "waiting"
    return "running" if seen.alive else "ended" if seen.over else "interrupted"


def _program(words: tuple[str, ...]) -> str:
    """The program that a command begins with; "" where a shell decides that."""
    if len(words) > 1:
        return words[0]
    plain = re.match(r"[\w./+-]+(\s|$)", words[0]) is not None and "=" not in words[0].partition(" ")[0]
    return shlex.split(words[0])[0] if plain else ""
