"""The façade's sweeps: a command or a Python function for many parameters, on many machines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, overload

from msgspec.structs import replace

if TYPE_CHECKING:
    from hotdesk.core.sweep.model import State
    from hotdesk.services import Services
    from hotdesk.services.sweep_function import FunctionSweep
    from hotdesk.services.sweep_kept import RemovedSweep
    from hotdesk.services.sweep_request import SweepRequest
    from hotdesk.services.sweep_view import SweepResult, SweepView

R = TypeVar("R")


class SweepOptions(TypedDict, total=False):
    """What `Hotdesk.sweep` takes beside parameters: the fields of `SweepRequest`, with its defaults."""

    desk: str  # whose image the machines start from; without it, your only desk
    machines: int
    cpus: float  # of each task
    per_gpu: float  # tasks that share one GPU; 0: a task has none
    memory_gib: float  # a task that uses more is ended
    retries: int  # after a failure
    limit_seconds: float | None  # of one attempt
    environment: Mapping[str, str]
    secrets: Sequence[str]  # variables of this environment that tasks get
    pull: Sequence[str]  # paths in each task's folder that are fetched
    checkpoint: str  # in each task's folder: it goes on from there on another machine
    checkpoint_gib: float  # a greater one stays on its machine
    folder: str | Path  # that is copied to the machines; this one
    push: bool  # False: nothing is copied
    everything: bool  # copy also what git and .hotdeskignore leave out
    tags: Sequence[str]  # parameters that the command has no {NAME} for
    budget_usd: float | None
    deadline_seconds: float | None  # from now
    keep_going: bool  # although the first tasks all fail
    linger_seconds: float  # how long a cloud's machines are kept for the desk's next sweep
    anyway: bool  # agree to what would be asked: park the desk, very many tasks


class Sweeps:
    """`Hotdesk.sweeps`: every sweep that was begun, by its number, or the newest where none is given.

    A sweep goes on in a process of its own; each verb here starts it again should it have died. All raise
    `Unknown` for a sweep or a task that there is not.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    def ls(self) -> list[SweepView]:
        """All sweeps, oldest first: state, tasks, time and cost."""
        self._services.sweeps.revive()
        return self._services.sweeps.views()

    def show(
        self, number: int | None = None, *, states: Sequence[State] = (), wait: bool = False
    ) -> SweepResult:
        """One sweep and its tasks, or those in these states; with `wait`, once it is over.

        Raises `Unknown`.
        """
        from hotdesk.services.sweep_view import SweepResult

        sweeps = self._services.sweeps
        sweeps.revive()
        view = sweeps.wait(sweeps.view(number).sweep.number) if wait else sweeps.view(number)
        return SweepResult(view=view, tasks=tuple(sweeps.tasks(view.sweep.number, states)))

    def logs(self, number: int | None, task: int) -> str:
        """What a task has said so far, all of its attempts in order. Raises `Unknown`."""
        return self._services.sweeps.kept.log(number, task).decode("utf-8", "replace")

    def results(
        self, number: int | None = None, *, output: Path | None = None
    ) -> list[dict[str, str | int | float | bool | None]]:
        """A row for each task, all with the same columns: parameters, metrics, attempts, cost, seconds.

        Metrics are what a task printed as JSON, or the numbers that a function returned. `output` also writes
        them to FILE.csv or FILE.parquet. Raises `Usage` for another suffix, `Missing` without pyarrow for
        Parquet.
        """
        from hotdesk.sweep import results

        sweep = self._services.sweeps.view(number).sweep
        rows = results.rows(self._services.sweeps.tasks(sweep.number), sweep)
        if output is not None:
            results.write(rows, output)
        return rows

    def returned(self, number: int | None = None) -> FunctionSweep[Any]:
        """The calls of a sweep over a Python function, and what each has returned.

        Values are unpickled, which runs what is in them: as trustworthy as what the machines ran. Raises
        `Usage` for a sweep that runs a command.
        """
        sweeps = self._services.sweeps
        view = sweeps.view(number)
        return sweeps.kept.returned(view, sweeps.tasks(view.sweep.number))

    def retry(
        self, number: int | None = None, tasks: Sequence[int] = (), *, wait: bool = True
    ) -> SweepResult:
        """Run again what failed or was cancelled, or these of it; with `wait`, until all have ended.

        Raises `NeedsDecision` while the sweep is being ended, `Usage` for a secret that is not here.
        """
        sweep, count = self._services.sweeps.retry(number, tasks)
        return self.show(sweep.number, wait=wait and count > 0)

    def cancel(
        self, number: int | None = None, tasks: Sequence[int] = (), *, wait: bool = True
    ) -> SweepResult:
        """End a sweep, or some of its tasks: what is done is kept. With `wait`, once the sweep's machines are
        gone, or these tasks have ended.

        Raises `Usage` for a task that is done or has failed.
        """
        sweep = self._services.sweeps.cancel(number, tasks)
        if wait and tasks:
            self._services.sweeps.wait_for(sweep.number, tasks)
        return self.show(sweep.number, wait=wait and not tasks)

    def resume(self, desk: str, *, anyway: bool = False, wait: bool = True) -> SweepResult:
        """Go on here with a desk's sweep that another computer has; with `wait`, until it is over.

        What runs goes on meanwhile, and nothing that is done is done again. Raises `Unknown` where there is
        no such sweep, `Missing` without the desk's key, and `NeedsDecision`, unless `anyway`, where that
        computer still goes on with it, or no machine is left that knows what was done last.
        """
        sweep = self._services.sweeps.resume(desk, anyway=anyway)
        return self.show(sweep.number, wait=wait)

    def rm(
        self, *numbers: int, over_seconds: float | None = None, dry_run: bool = False
    ) -> list[RemovedSweep]:
        """Delete sweeps that are over: record, logs and results; what that was.

        Those of these numbers, and with `over_seconds` all that have been over for so long. `dry_run` deletes
        nothing. Raises `NeedsDecision` for one that is not over; then none is deleted.
        """
        kept = self._services.sweeps.kept
        chosen = [*numbers]
        if over_seconds is not None:
            chosen += kept.over_since(self._services.clock.now() - over_seconds)
        return kept.remove(chosen, dry_run=dry_run)


class Sweeping:
    """What `Hotdesk` does with sweeps."""

    services: Services

    @property
    def sweeps(self) -> Sweeps:
        """Those begun: `ls`, `show`, `logs`, `results`, `returned`, `retry`, `cancel`, `resume`, `rm`."""
        return Sweeps(self.services)

    @overload
    def sweep(self, what: SweepRequest, *, wait: bool = True) -> SweepResult: ...

    @overload
    def sweep(
        self,
        what: str | Sequence[str],
        params: Mapping[str, object] | Iterable[Mapping[str, object]],
        *,
        samples: int = 1,
        seed: int = 0,
        wait: bool = True,
        **options: Unpack[SweepOptions],
    ) -> SweepResult: ...

    @overload
    def sweep(
        self,
        what: Callable[..., R],
        params: Mapping[str, object] | Iterable[Mapping[str, object]],
        *,
        samples: int = 1,
        seed: int = 0,
        wait: bool = True,
        **options: Unpack[SweepOptions],
    ) -> FunctionSweep[R]: ...

    def sweep(
        self,
        what: SweepRequest | str | Sequence[str] | Callable[..., R],
        params: Mapping[str, object] | Iterable[Mapping[str, object]] = (),
        *,
        samples: int = 1,
        seed: int = 0,
        wait: bool = True,
        **options: Unpack[SweepOptions],
    ) -> SweepResult | FunctionSweep[R]:
        """Run a command or a function once for each set of parameters, on machines of a desk's image.

        `params` is a grid, {"lr": [1e-4, 3e-4], "seed": range(5)}, in which every value is combined with
        every other, or a list with the arguments of each task. A text is as after --param: "0..4",
        "log:1e-5..1e-1"; random ones are drawn `samples` times, the same for the same `seed`. A command has
        {lr} where a value goes, and what it prints as JSON are its metrics.

        A function is called with the parameters by name, in a copy of `folder` (this one) on some machine,
        whose Python must be of the same minor version. It travels with its closure and the globals that it
        names (cloudpickle); modules are imported there, from that folder or what is installed. What it
        returns is pickled and comes back: `values` of the result has all of it, and raises `TaskFailed`, with
        what was raised there, for a call that failed. A call changes nothing in this program's memory.

        With `wait`, until all tasks have ended; a sweep goes on without this program. Raises `Usage` for what
        cannot be, `Unknown` for a desk or script that there is not, `Missing` without Ray, `NeedsDecision`
        where the desk must be parked first or the tasks are very many, unless `anyway`.
        """
        from hotdesk.services import sweep_checks
        from hotdesk.services import sweep_function as functions
        from hotdesk.services.sweep_request import SweepRequest

        sweeps = self.services.sweeps
        if isinstance(what, SweepRequest):
            return sweeps.run(what, wait=wait)
        told: dict[str, Any] = dict(options)
        told.setdefault("desk", None)
        told["desk"] = told["desk"] or self.services.goals.only()
        told["folder"] = str(told.get("folder", Path.cwd()))
        for name in ("secrets", "pull", "tags"):
            told[name] = tuple(told.get(name, ()))
        told["environment"] = tuple(dict(told.get("environment", {})).items())
        space, values = functions.space_of(params, samples=samples, seed=seed)
        if not callable(what):
            functions.only_scalars(values)
            command = (what,) if isinstance(what, str) else tuple(what)
            return sweeps.run(SweepRequest(command=command, space=space, **told), wait=wait)
        request = functions.request_of(what, space, told)
        names = sweep_checks.check_folder(request)
        folder = Path(request.folder) if request.push else None
        request = replace(request, function=functions.packed(what, values, folder, names))
        result = sweeps.run(request, wait=wait)
        return sweeps.kept.returned(result.view, result.tasks)
