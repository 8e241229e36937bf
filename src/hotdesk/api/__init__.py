"""`Hotdesk`: the one façade behind the command line, Python and the page.

Every verb does the same thing: it writes a desk's goal down, and runs the loop until the goal is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from hotdesk.api.at_desk import AtDesk
from hotdesk.api.clustering import Clustering
from hotdesk.api.describing import Describing
from hotdesk.api.questions import Questions
from hotdesk.api.sweeping import Sweeping
from hotdesk.core.lifecycle.shutdown import is_off
from hotdesk.core.model import Desk, Goal, Seen, Want
from hotdesk.core.steps import Row
from hotdesk.services import Services
from hotdesk.services.goals import KEEP_SECONDS
from hotdesk.services.limits import Limits
from hotdesk.services.view import View

if TYPE_CHECKING:
    from hotdesk.core.findings import Finding
    from hotdesk.core.jobs import Job
    from hotdesk.services.billing import Statement
    from hotdesk.services.cleanup import Orphans
    from hotdesk.services.growing import Grown
    from hotdesk.services.jobs import JobView
    from hotdesk.services.measuring import BenchRequest, Measured
    from hotdesk.services.notebook import Notebook
    from hotdesk.services.notices import Sent
    from hotdesk.services.planning import PlanRequest
    from hotdesk.services.tops import Top
    from hotdesk.services.uninstall import Uninstalled

FIRST_NAME = "desk"  # of a desk that nobody named

P = ParamSpec("P")


def _called_like(
    other: Callable[Concatenate[Services, P], None],
) -> Callable[[Callable[..., None]], Callable[Concatenate[Hotdesk, P], None]]:
    """The parameters of `other`, for type checkers and `help`, said once."""
    return wraps(other, assigned=())


class Hotdesk(AtDesk, Clustering, Describing, Questions, Sweeping):
    """Your desks. Use as a context manager, or `close()` it.

    `on_row` and `on_wait` hear of each step as it begins and ends, and of what is waited for; `on_note` of
    what its owner should know. `over_budget` agrees to launch past the month's budget.
    Every verb raises a `HotdeskError` unless the wanted state was seen.
    """

    @_called_like(Services.__init__)
    def __init__(self, *args: Any, **options: Any) -> None:
        self.services = Services(*args, **options)

    def __enter__(self) -> Hotdesk:
        return self

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        self.services.say_faults(error)
        self.close()

    def close(self) -> None:
        """Let go of the state folder. What was asked for stands."""
        self.services.close()

    # ---- verbs ---------------------------------------------------------------------------------------

    def up(
        self,
        name: str | None = None,
        *,
        want: Want | None = None,
        provider: str | None = None,
        fresh: bool = False,
        origin: str = "",
        limits: Limits | None = None,
        rescue: bool = False,
        public: str = "",
        wait_seconds: float = 0.0,
        notify: bool = False,
        template: Path | None = None,
    ) -> View:
        """A desk that can be used: made, resumed, started or only proven, as need be.

        `provider` of a new desk: a provider's name, or "any" for the best of those that are set up here.
        `want` replaces what the desk wanted until now; a running machine that does not fit is an error
        (see `move`). `limits` replaces when it ends itself. `fresh` agrees to go on from what is left
        where the newest work is not to be found; `origin` chooses, where several things have work under
        the desk's name, the image or disk that it goes on from; `Unknown` is raised for one it does not have.
        `rescue`: it is up once a login works, whatever its owner's ~/.bashrc or its Jupyter do.
        `public` opens its Jupyter, see `notebook`. For `wait_seconds`, what is sold out or over a quota is
        tried again; `notify` tells you once it is up. `template` is a file of `export`: what is not said
        otherwise is as there, its packages are installed, and its jobs can be run at this desk.

        Raises `NotAllowed` where nothing fits or may be launched, `NeedsDecision` where only its owner can
        choose, `Usage`, `Missing`, `Busy`, `Unreachable`.
        """
        from hotdesk.loop import watcher
        from hotdesk.services import template as templates

        s = self.services
        s.rescue = rescue
        name = name or s.goals.only(FIRST_NAME)
        made_of = templates.read(template) if template else None
        if made_of:
            want, provider = want or made_of.want, provider or made_of.provider or None
            limits = made_of.limits.changed(limits)
            s.templates.keep(name, made_of)
        want, provider = s.placed(name, want, provider)

        def wish() -> Desk:
            desk = s.goals.wanted(name, Goal.RUNNING, want, provider, fresh, origin=origin)
            return limits.of(desk, s.clock.now()) if limits else desk

        desk = wish()
        if public:
            s.exposure.can_be_public(desk.provider)
        s.notices.begin()
        view = s.pursuit.patiently(desk, wish, wait_seconds)
        desk = s.store.desk(name)
        if notify or wait_seconds:
            s.notices.up(view, asked=notify)
        s.staying.renew(desk)
        if s.notices.watches() and s.store.folder is not None:
            watcher.ask_for(s.store, forever=False)  # it sees what is to be told
        view = self._open(desk, view, public)
        if made_of:
            s.templates.furnish(name, made_of)
        return view

    def _open(self, desk: Desk, view: View, public: str = "") -> View:
        """A desk that was proven: as open as it is wanted, and asked what its owner should know."""
        s = self.services
        if public:
            s.exposure.publish(desk, public)
        else:
            s.exposure.republish(desk)
        remarks = s.guest_events.remarks(desk, view.gpu, s.views.proven)
        return replace(view, public=s.exposure.public.get(desk.name), remarks=remarks)

    def resume(
        self, name: str, *, want: Want | None = None, fresh: bool = False, rescue: bool = False
    ) -> View:
        """A desk that exists, running again. Raises `Unknown` where it does not; else as `up`."""
        self.services.store.desk(name)
        return self.up(name, want=want, fresh=fresh, rescue=rescue)

    def start(self, name: str, *, rescue: bool = False) -> View:
        """A stopped desk, running again. Raises `Unknown` where there is none; else as `up`."""
        return self.resume(name, rescue=rescue)

    def stop(self, name: str, *, anyway: bool = False) -> View:
        """The machine off, its disk kept (and paid).

        Where something works at the desk this raises `NeedsDecision`, as do `park`, `move` and `down`, unless
        it is to be done `anyway`.
        """
        return self._leave(name, Goal.STOPPED, "stop", anyway)

    def park(self, name: str, *, there: bool = False, anyway: bool = False, wait: bool = True) -> View:
        """Everything in one verified image, and nothing else left to pay.

        `there`: the image stays at its machine, of those with an ssh login; `Usage` for any other.

        Raises `NeedsDecision` where work would end, unless `anyway`; nothing is deleted before the image was
        read back. Without `wait` this returns as soon as the machine is off: its disk is kept, and paid,
        until a watcher on this computer has gone on to the same end; the next command here restarts one.
        """
        if there:
            self.services.goals.check_store(name)
        view = self._leave(
            name, Goal.PARKED, "park", anyway, lambda seen: not wait and is_off(seen), there=there
        )
        if view.phase != "parked":
            from hotdesk.loop import watcher

            watcher.ask_for(self.services.store, forever=False)
        return view

    def _leave(
        self,
        name: str,
        goal: Goal,
        verb: str,
        anyway: bool,
        enough: Callable[[Seen], bool] = lambda seen: False,
        *,
        there: bool = False,
    ) -> View:
        s = self.services
        s.work.may_end(s.store.desk(name), verb, anyway)
        view = s.pursuit.pursue(replace(s.goals.wanted(name, goal), there=there), enough)
        s.exposure.close_behind(s.store.desk(name))
        return view

    def move(
        self,
        name: str,
        want: Want | None = None,
        *,
        provider: str | None = None,
        keep_seconds: float = KEEP_SECONDS,
        route: str = "auto",
        anyway: bool = False,
    ) -> View:
        """The same desk on other hardware: with another type in its zone, else parked and resumed there.

        `provider`: where it is to be from then on, or "any" for the best place; for `keep_seconds` its last
        image stays where it was. `route`: "direct" between two rented machines, "here" through this computer,
        or "auto", what is faster.
        Raises `NeedsDecision` where work would end, unless `anyway`, and `NotAllowed` where nothing fits.
        """
        s = self.services
        want, provider = s.placed(name, want, provider, moves=True)
        desk, before = s.goals.moved(name, want, provider, keep_seconds), s.store.desk(name)
        desk = s.carrying.routes.routed(before, desk, route)
        s.work.may_end(desk, "move", anyway)
        view = s.pursuit.pursue(desk)
        s.carrying.tidy(before.provider)
        return self._open(s.store.desk(name), view)

    def disk(self, name: str, gib: int, *, dry_run: bool = False) -> Grown:
        """A bigger disk: at once where the desk runs, with its file system; else from its next start on.

        Raises `Usage` for a smaller one, `NotAllowed` where it cannot be or its cloud refuses, `Unreachable`.
        """
        growing, desk = self.services.growing, self.services.store.desk(name)
        return growing.planned(desk, gib) if dry_run else growing.grow(desk, gib)

    def down(self, name: str, *, anyway: bool = False, keep_logs: bool = False) -> tuple[str, ...]:
        """Nothing left of the desk: machine, disks, images, keys and the logs of its jobs are deleted.

        `keep_logs`: what this computer has of the logs stays. Twice is once.

        What was begun by another computer under the same name is not of this desk: it stays, and is named
        in what is returned. Raises `NeedsDecision` where work would end, unless `anyway`; `Unknown`.
        """
        s = self.services
        desk = s.store.find(name)
        if desk is None and s.store.rows(name, limit=1):  # it was; the journal remembers it, and no lock
            with s.store.hold(name, f"making {name} gone"):
                return ()
        desk = desk or s.store.desk(name)
        if desk.goal is not Goal.GONE:
            s.work.may_end(desk, "down", anyway)
        view = s.pursuit.pursue(s.goals.wanted(name, Goal.GONE))
        s.exposure.close_behind(desk)
        if not keep_logs:
            s.jobs.forget_logs(name)
        return view.kept

    def uninstall(self, *, anyway: bool = False, dry_run: bool = False) -> Uninstalled:
        """Remove what hotdesk made on this computer, and close this; what it was, and what stays.

        Raises `NeedsDecision` where desks here hold work and, unless `anyway`, where desks in a cloud would
        stay, paid for and without their keys. `dry_run`: nothing is removed.
        """
        from hotdesk.services.uninstall import uninstall

        return uninstall(self.services.store, self.services.clouds, anyway=anyway, dry_run=dry_run)

    def stay(self, name: str, seconds: float) -> None:
        """Neither idleness nor the lease ends a running desk for so long. Raises `NeedsDecision`."""
        self.services.staying.stay(self.services.store.desk(name), seconds)

    def watch(self, names: str | Collection[str] | None = None, seconds: float = 5.0) -> None:
        """Keep desks as wanted until interrupted: all, those of these names, or the one of this name."""
        names = [names] if isinstance(names, str) else names
        for name in names or ():
            self.services.store.desk(name)
        self.services.watch(names, seconds)

    # ---- jobs ----------------------------------------------------------------------------------------

    def run(
        self,
        name: str,
        command: str | Sequence[str] = (),
        *,
        job: str = "",
        folder: Path | None = None,
        push: bool = True,
        everything: bool | UnsetType = UNSET,
        anyway: bool = False,
        pull: Sequence[str] | UnsetType = UNSET,
        then: Goal | UnsetType | None = UNSET,
        checkpoint: str | UnsetType = UNSET,
        resume_command: str | UnsetType = UNSET,
        work_seconds: float | UnsetType = UNSET,
        deadline_seconds: float | UnsetType | None = UNSET,
        budget_usd: float | UnsetType | None = UNSET,
        plan: str = "",
        about: PlanRequest | None = None,
        notify: bool | UnsetType = UNSET,
        env: Mapping[str, str | None] | None = None,
        env_file: Sequence[str | Path] | UnsetType = UNSET,
        secret: Mapping[str, str | None] | None = None,
        install: bool | UnsetType = UNSET,
        wait: bool = True,
        on_output: Callable[[bytes], None] = lambda words: None,
    ) -> Job:
        """Run a long job at a desk, which is brought up for it; the job, with its `result` once it has ended.

        Either a `command`, or a `job` of hotdesk.toml: what is given here counts more than what stands there.
        `folder` (this one) is copied to the desk unless `push` is false, `pull` is fetched from it at the
        end, and `then` becomes of the desk (parked, if nothing is said); None: it stays up. The job outlives
        this program; with `wait` this listens until it has ended. Lengths are in seconds, `budget_usd` is
        expected at most. `plan` runs it on the machine that a plan answers: "cheapest", "fastest" or "knee";
        `about` says more of the job than its run time, see `plan`. What works at a desk that would move is a
        `NeedsDecision`, unless `anyway`. `notify` tells you of its end, as [notify] in hotdesk.toml says.

        `env` and `secret` are environment variables of the job, added to those of the `job`; None: the value
        of this environment. No file at the desk holds them. Secrets are replaced in the job's output, too.
        `install` lets the job begin with installing what requirements.txt, uv.lock, environment.yml or
        pyproject.toml name, if that has changed; it is remembered for the folder at this desk.

        Raises `Usage` for what cannot be, `NotAllowed` where deadline or budget cannot be kept, `Unknown`
        for a script that would not be copied (before a machine is paid for), a command that the desk does
        not have, a job or a variable that there is not, `NeedsDecision` where nothing would be copied, or
        into another project, unless `anyway`.
        """
        from hotdesk.loop import watcher
        from hotdesk.services import run_checks

        s = self.services
        given = {
            "command": ((command,) if isinstance(command, str) else tuple(command)) or UNSET,
            "push": push,
            "everything": everything,
            "anyway": anyway,
            "pull": UNSET if pull is UNSET else tuple(pull),
            "then": then,
            "checkpoint": checkpoint,
            "resume_command": resume_command,
            "work_seconds": work_seconds,
            "deadline_seconds": deadline_seconds,
            "budget_usd": budget_usd,
            "notify": notify,
            "env": env or {},
            "env_file": env_file,
            "secret": secret or {},
            "install": install,
        }
        told = {option: value for option, value in given.items() if value is not UNSET}
        request = s.jobs.requested(job, told, folder or Path.cwd(), name)
        request.check()
        if note := run_checks.check_computer(request):
            s.on_note(note)
        if found := run_checks.found_in_folder(request):
            run_checks.check_folder(name, request, found)
        if plan:
            from hotdesk.services.job_plan import planned
            from hotdesk.services.planning import PlanRequest

            chosen = planned(s.goals, name, request, plan, about or PlanRequest())
            work, due = s.jobs.agreed(chosen.row, replace(request, work_seconds=chosen.work_seconds))
            if chosen.moves:
                self.move(name, chosen.row.want, anyway=anyway)
            else:
                self.up(name, want=chosen.row.want, provider=chosen.row.provider)
        else:
            work, due = s.jobs.agreed(name, request)
            self.up(name)
        with s.one_login(name):
            queued = s.jobs.queue(s.store.desk(name), request, work, due, on_note=s.on_note)
            watcher.ask_for(s.store, forever=False)  # should this process end
            if not wait:
                return queued
            ended = s.runs().pursue(queued, on_output, s.on_note)
        s.notices.send()
        return ended

    def jobs(self, name: str | None = None, limit: int = 20) -> list[JobView]:
        """The newest jobs of a desk, or of all, oldest first, with what their desks say of them.

        Raises `Unknown` for a desk that there is not.
        """
        return self.services.jobs.views(name, limit)

    def logs(self, name: str, number: int | None = None) -> str:
        """What a job has said so far: the desk's newest, or the one of that number.

        Raises `Unknown` for no such job, `NeedsDecision` where its desk is off and holds it alone.
        """
        parts: list[bytes] = []
        self.services.jobs.log(self.services.store.job(name, number), parts.append)
        return b"".join(parts).decode("utf-8", "replace")

    def cancel(self, name: str, number: int | None = None, *, every: bool = False) -> list[Job]:
        """End a job, with SIGTERM and then SIGKILL: the only one, the one of that number, or all.

        The jobs that were meant, as they ended. Raises `Usage` where there are several, `Unknown`.
        """
        return self.services.jobs.cancel(name, number, every=every, on_note=self.services.on_note)

    # ---- what is -------------------------------------------------------------------------------------

    def ls(self) -> list[View]:
        """All desks, those that only other computers know after the others; one survey per cloud in use."""
        s = self.services
        desks = s.store.desks()
        views = s.views.all(desks)
        s.exposure.close_behind_all({desk.provider for desk in desks})
        return views

    def show(self, name: str | None = None) -> View:
        """One desk, and what it says of itself (`remarks`). Raises `Unknown`, `NotAllowed`, `Unreachable`."""
        from hotdesk.services import reached

        s = self.services
        desk = s.store.desk(name or s.goals.only())
        view = s.views.of(desk, s.clouds.survey(desk.provider).of(desk.name))
        if view.phase != "ready":
            return view
        remarks = reached.remarks(s, desk, view.gpu)
        view = s.views.idle(desk, view)  # its agent was asked
        return replace(view, remarks=remarks, stays_seconds=s.staying.stays(desk))

    def top(self, name: str | None = None, *, job: int | None = None) -> list[Top]:
        """What one desk, or every desk, is doing just now: load, GPUs, running jobs, cost; or a job's curves.

        `job` is the number of one at the desk (the only one, without `name`), running or ended. Raises
        `Unknown`, and `NeedsDecision` where only a desk that is off has the curves.
        """
        if job is not None:
            return [self.services.tops.of_job(name or self.services.goals.only(), job)]
        return self.services.tops.look(name)

    def notify(self, text: str, *, desk: str = "", dry_run: bool = False) -> tuple[Sent, ...]:
        """Tell yourself something by every way that [notify] in hotdesk.toml names; what became of each.

        `dry_run` only returns the ways. Raises `Damaged` where that section cannot be used.
        """
        self.services.config.need("notify")
        return self.services.notices.say(text, desk, dry_run=dry_run)

    def log(self, name: str | None = None, after: int = 0, limit: int = 1000) -> list[Row]:
        """The newest rows of the journal, oldest first; also of desks that are gone. Raises `Unknown`."""
        rows = self.services.store.rows(name, after, limit)
        if name is not None and not rows:
            self.services.store.desk(name)
        return rows

    def notebook(self, name: str | None = None, *, public: str = "", private: bool = False) -> Notebook:
        """The desk's Jupyter, answering at `url` from this computer; its `password` is asked for there.

        `public` opens it at the machine's own address, with TLS: "caller" for the address that this computer
        calls from, a range such as "203.0.113.0/24", or "everybody". It stays so, also over park and resume,
        until `private`. Raises `NeedsDecision` where the desk does not run, `Usage`, `Unreachable`.
        """
        s = self.services
        return s.notebooks.open(s.store.desk(name or s.goals.only()), public=public, private=private)

    def costs(self, name: str | None = None, *, by: str = "month", compare: str = "") -> Statement:
        """The bill in US dollars, of one desk or of all, those that are gone too; by "month" or "day" (UTC).

        `compare` names a cloud whose own bill of this month is asked for as well, which may cost
        money (AWS: $0.01 a page). Raises `Missing` where it has none, `NotAllowed` where we may not ask.
        """
        return self.services.billing.statement(name, by, compare)

    def gc(self, *, delete: bool = False) -> Orphans:
        """What no desk needs, in every cloud and region: what it costs, and why it may go.

        Nothing is deleted without `delete`, and then only what holds nothing that is not held elsewhere.
        What could not be looked at is in `unread`; nothing is raised for it.
        """
        return self.services.cleanup.orphans(delete=delete)

    def doctor(self, name: str | None = None, *, fix: bool = False) -> list[Finding]:
        """What is wrong, of this computer and of all desks (or of one), why, and how to mend it.

        With `fix`, what is safe to mend is mended, and left out. Raises `Unknown` for no such desk.
        """
        from hotdesk import doctor

        found = doctor.look(self.services, name)
        return [finding for finding in found if not (fix and doctor.mend(finding))]

    def bench(self, name: str | None = None, request: BenchRequest | None = None) -> Measured:
        """Measure how fast this computer trains, or a desk that runs; each rate with the band of 95 %.

        Raises `Missing` where torch or Python is, `NotAllowed` where nothing could be measured, `Usage`.
        """
        from hotdesk.services.measuring import BenchRequest, check, measure

        request = request or BenchRequest()
        check(request)
        if name is None:
            return measure(request)
        return measure(request, (self.show(name), self.services.access(name)))
