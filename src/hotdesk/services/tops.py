"""What desks are doing just now, and what a job was like over its life."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from hotdesk.connect import load
from hotdesk.core.errors import HotdeskError, NeedsDecision
from hotdesk.core.jobs import Job, SeenJob
from hotdesk.core.load import Curve, Load, read_curves
from hotdesk.core.model import Desk, Goal, Value
from hotdesk.core.ports import Access, Clock
from hotdesk.core.progress import progress
from hotdesk.jobs.run import kept_samples
from hotdesk.loop.clouds import Clouds
from hotdesk.parallel import side_by_side
from hotdesk.services.view import View, Views
from hotdesk.state.store import Store

_VIEW_SECONDS = 30.0  # between two surveys: a cloud is asked for less often than a desk
_AT_ONCE = 8  # desks


class RunningJob(Value, frozen=True):
    """A job that runs at a desk."""

    number: int
    command: str
    seconds: float  # so far, all its attempts
    last_line: str = ""
    progress: float | None = None  # the share that is done, as its last line says; None: it does not
    work_seconds: float = 0.0  # of running in all, as its owner said or as it took before; 0: not known


class Top(Value, frozen=True):
    """A desk, and what it is doing just now; or the curves of one of its jobs."""

    view: View
    load: Load | None = None  # None: it does not run, or cannot be asked
    jobs: tuple[RunningJob, ...] = ()
    curves: tuple[Curve, ...] = ()  # of the job that was asked for
    why: str = ""  # why it could not be asked


@dataclass(kw_only=True, eq=False)
class Tops:
    """Asks desks how busy they are. `reach` says how to reach one that was just surveyed, `access` any."""

    store: Store
    clock: Clock
    clouds: Clouds
    views: Views
    reach: Callable[[Desk], Access]
    access: Callable[[Desk], Access]
    _views: dict[str, View] = field(default_factory=dict, init=False)
    _viewed_at: float = field(default=0.0, init=False)

    def look(self, name: str | None = None) -> list[Top]:
        """One desk, or all. Surveys are repeated every half minute, desks are asked each time."""
        desks = [self.store.desk(name)] if name else self.store.desks()
        now = self.clock.now()
        if not 0 <= now - self._viewed_at < _VIEW_SECONDS or {d.name for d in desks} - self._views.keys():
            self._views, self._viewed_at = {view.name: view for view in self._surveyed(desks)}, now
        ready = [desk for desk in desks if self._views[desk.name].phase == "ready"]
        reached = [(desk, self.reach(desk)) for desk in ready]
        said = side_by_side([partial(load.ask, access) for _, access in reached], _AT_ONCE)
        busy = dict(zip((desk.name for desk in ready), said, strict=True))
        return [self._top(desk, busy.get(desk.name)) for desk in desks]

    def _top(self, desk: Desk, said: load.Busy | BaseException | None) -> Top:
        view = self._views[desk.name]
        if isinstance(said, HotdeskError):
            return Top(view=view, why=f"{said.what} {said.why}")
        if isinstance(said, BaseException):
            raise said
        if said is None:
            return Top(view=view)
        rows = {job.id: job for job in self.store.jobs(desk.name, unsettled=True)}
        jobs = [_running(rows[seen.id], seen) for seen in said.jobs if seen.alive and seen.id in rows]
        return Top(view=view, load=said.load, jobs=tuple(jobs))

    def of_job(self, name: str, number: int) -> Top:
        """A desk, and the curves of one of its jobs, which runs or has ended.

        Raises `Unknown` for no such job, `NeedsDecision` where only a desk that is off has them.
        """
        job = self.store.job(name, number)
        kept = kept_samples(self.store, job)
        if job.result and kept is not None and kept.exists():
            text = kept.read_bytes()
        else:
            try:
                text = load.samples(self.access(self.store.desk(name)), job.id)
            except NeedsDecision as error:
                raise NeedsDecision(
                    f"{name} does not run, and what was measured of job {number} lies at the desk.",
                    error.why,
                    f"hotdesk resume {name}",
                ) from None
        desk = self.store.find(name)
        view = (
            self._surveyed([desk])[0] if desk else View(name=name, goal=Goal.GONE, phase="none", provider="")
        )
        return Top(view=view, jobs=(_running(job, None),), curves=read_curves(text))

    def _surveyed(self, desks: Sequence[Desk]) -> list[View]:
        looks = self.clouds.look_at_each({desk.provider for desk in desks})
        return [self.views.of(desk, looks[desk.provider].of(desk.name)) for desk in desks]


def _running(job: Job, seen: SeenJob | None) -> RunningJob:
    line = seen.last_line if seen else ""
    seconds = seen.seconds if seen else job.result.seconds if job.result else 0.0
    return RunningJob(
        number=job.number,
        command=" ".join(job.words.split()),
        seconds=seconds,
        last_line=line,
        progress=progress(line),
        work_seconds=job.work_seconds,
    )
