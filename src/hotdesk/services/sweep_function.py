"""Python functions as the tasks of a sweep: sent with all they need, their values brought back.

A function travels as Ray's do, by cloudpickle: one of a script, a notebook or a closure by value, with the
globals it names; one of an installed package or of the copied folder by the name of its module. The machine's
Python must be of the same minor version, because byte code is; the task says so where it is not.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import pickle
import sys
import sysconfig
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from hotdesk.core.errors import HotdeskError, Missing, Unknown, Usage
from hotdesk.core.model import Value
from hotdesk.core.sweep.model import State, Task
from hotdesk.core.sweep.params import Params, Scalar, Space, read_table
from hotdesk.services.sweep_request import Function, SweepRequest
from hotdesk.services.sweep_view import SweepView
from hotdesk.system import install_line

R = TypeVar("R")

RETURNED = "hotdesk-returned.pickle"  # guest/sweep_function.py
COMMAND = 'python "$HOTDESK_TASK/../../function/sweep_function.py"'
_LABEL = 60  # characters of a value that is shown by its repr


class TaskFailed(HotdeskError):
    """A task of a sweep has not returned anything: it failed, or was cancelled."""

    exit_code = 5


class Returned(Value, Generic[R], frozen=True):
    """One call of a function: its parameters, and what it returned."""

    task: Task
    file: Path | None  # where what it returned is, once it has been fetched
    log: str = ""  # how to read what it has said

    @property
    def params(self) -> Params:
        """As they are shown: a value that JSON cannot hold by its label."""
        return self.task.params

    @property
    def value(self) -> R:
        """What the function returned; unpickled at each use, so keep it.

        Raises `TaskFailed` where it raised or was cancelled, `Unknown` where it has not returned yet.
        """
        task = self.task
        if task.state in {State.FAILED, State.CANCELLED}:
            said = task.why or task.last or f"It ended with {task.exit_status}."
            how = "has failed" if task.state is State.FAILED else "was cancelled"
            raise TaskFailed(f"Task {task.number} {how}: {_shown(task.params)}.", said, self.log)
        if task.state is not State.DONE or self.file is None:
            raise Unknown(f"Task {task.number} has not returned yet.", f"It is {task.state}.", self.log)
        try:
            with self.file.open("rb") as file:
                value: R = pickle.load(file)
        except FileNotFoundError:
            raise Unknown(
                f"What task {task.number} returned is not on this computer.",
                "It is fetched each minute, and before its machine goes.",
                self.log,
            ) from None
        return value


class FunctionSweep(Value, Generic[R], frozen=True):
    """A sweep of a Python function: the sweep, and each call in order."""

    view: SweepView
    calls: tuple[Returned[R], ...]

    @property
    def values(self) -> list[R]:
        """What the calls returned, in order. Raises `TaskFailed` for the first that did not."""
        return [call.value for call in self.calls]


def _shown(params: Params) -> str:
    return ", ".join(f"{name}={value}" for name, value in params.items())


# ---- sending -----------------------------------------------------------------------------------------


def request_of(function: Callable[..., object], space: Space, told: dict[str, Any]) -> SweepRequest:
    """The request for a function, which is not packed yet. Raises `Usage` for arguments it does not take."""
    name = getattr(function, "__name__", type(function).__name__)
    names = tuple(space.names)
    try:
        signature = inspect.signature(function)
    except ValueError:  # a builtin without one: the call will tell
        signature = inspect.signature(lambda **given: given)
    wanted = f"{{{', '.join(f'{n!r}: […]' for n in signature.parameters)}}}"
    for params in space.each or [dict.fromkeys(names)]:
        try:
            signature.bind(**params)
        except TypeError as error:
            raise Usage(
                f"{name} cannot be called with {', '.join(params) or 'no argument'}.",
                f"{str(error)[:1].upper()}{str(error)[1:]}: the parameters of a sweep are its arguments.",
                f"sweep({name}, {wanted})",
            ) from None
    told = {**told, "tags": names, "pull": (RETURNED, *told["pull"])}
    return SweepRequest(command=(COMMAND,), space=space, function=Function(name=name), **told)


def packed(function: Callable[..., object], values: Mapping[str, Mapping[str, object]], folder: Path | None,
           names: Collection[str]) -> Function:  # fmt: skip
    """The function with all it needs. `names` are the files of `folder` that go to the machines.

    Raises `Missing` without cloudpickle, `Usage` where something that the function needs cannot be pickled.
    """
    try:
        cloudpickle = import_module("cloudpickle")
    except ImportError:
        raise Missing(
            "Python functions are sent by cloudpickle, which is not installed.",
            "It is a part of what sweeps need.",
            install_line("sweep"),
        ) from None
    name = getattr(function, "__name__", type(function).__name__)
    try:
        with _by_value(cloudpickle, _module(function), folder, names):
            body = cloudpickle.dumps((function, dict(values)), protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise Usage(
            f"{name} cannot be sent to another machine.",
            f"Something that it uses cannot be pickled: {error}",
            "Make it inside of the function: an open file, a lock, a connection belongs to one computer.",
        ) from error
    told = {"python": sys.version_info[:2], "paths": _paths(folder)}
    source = Path(str(cloudpickle.__file__)).parent
    guest = Path(__file__).parents[1] / "guest" / "sweep_function.py"
    files = {
        "sweep_function.py": guest.read_bytes(),
        "function.json": json.dumps(told).encode(),
        "function.pickle": body,
        **{f"cloudpickle/{file.name}": file.read_bytes() for file in sorted(source.glob("*.py"))},
    }
    return Function(name=name, files=tuple(files.items()))


def _module(function: Callable[..., object]) -> ModuleType | None:
    return sys.modules.get(getattr(function, "__module__", "") or "")


@contextlib.contextmanager
def _by_value(
    cloudpickle: Any, module: ModuleType | None, folder: Path | None, names: Collection[str]
) -> Iterator[None]:
    """Pickle a module's functions and classes by value, where the machines have no such module."""
    named = getattr(module, "__file__", None)  # None: of this program alone, or built in
    goes_along = named and folder and any((folder / n).resolve() == Path(named).resolve() for n in names)
    installed = [Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "purelib", "platlib")]
    is_there = named and any(Path(named).resolve().is_relative_to(place) for place in installed)
    if module is None or module.__name__ == "__main__" or not named or goes_along or is_there:
        yield
    else:
        top = sys.modules.get(module.__name__.partition(".")[0], module)
        cloudpickle.register_pickle_by_value(top)
        try:
            yield
        finally:
            cloudpickle.unregister_pickle_by_value(top)


def _paths(folder: Path | None) -> list[str]:
    """From where modules of the copied folder are imported, relative to it."""
    found = ["."]
    if folder is not None:
        for entry in sys.path:
            inside = Path(entry).resolve()
            if entry and inside.is_relative_to(folder.resolve()) and "site-packages" not in inside.parts:
                found.append(str(inside.relative_to(folder.resolve())))
    return list(dict.fromkeys(found))


# ---- parameters --------------------------------------------------------------------------------------

Grid = Mapping[str, object] | Iterable[Mapping[str, object]]


def space_of(grid: Grid, *, samples: int = 1, seed: int = 0) -> tuple[Space, dict[str, dict[str, object]]]:
    """The tasks of a grid, or of a list of arguments; and, by name, the values that stand behind labels.

    Each value of a mapping is an iterable of values, a text as of `--param`, or one value. What is no text,
    number or truth value is shown by a label. Raises `Usage`.
    """
    labels = _Labels()
    if isinstance(grid, Mapping):
        parameters = []
        for name, values in grid.items():
            if isinstance(values, str):
                parameters.append(read_table(name, values))
            else:
                several = isinstance(values, Iterable) and not isinstance(values, Mapping | bytes)
                listed: list[object] = list(values) if several else [values]  # type: ignore[arg-type]
                parameters.append(read_table(name, [labels.of(name, value) for value in listed]))
        return Space(parameters=tuple(parameters), samples=samples, seed=seed), labels.values
    each: list[Params] = []
    for arguments in grid:
        if not isinstance(arguments, Mapping):
            raise Usage(
                f"A task's arguments are not a mapping: {arguments!r}.",
                "A list of tasks has a dict of arguments for each.",
                'sweep(train, [{"lr": 0.1}, {"lr": 0.2}])',
            )
        values = {str(name): labels.of(str(name), value) for name, value in arguments.items()}
        each.append({name: read_table(name, [value]).values[0] for name, value in values.items()})
    return Space(each=tuple(each), seed=seed), labels.values


def only_scalars(values: Mapping[str, Mapping[str, object]]) -> None:
    """Raises `Usage` where a command would get something else than text and numbers."""
    for name, labels in values.items():
        raise Usage(
            f"{name} has a value that is not text or a number: {next(iter(labels.values()))!r}.",
            "Each value replaces a placeholder in the command.",
            "Hotdesk().sweep(function, …) takes any value that can be pickled",
        )


class _Labels:
    """Scalars as they are; anything else under a label that is unique for its parameter."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, object]] = {}

    def of(self, name: str, value: Any) -> Scalar:
        if getattr(value, "shape", None) == () and hasattr(value, "item"):
            value = value.item()  # numpy's numbers
        if type(value) in {str, int, float, bool}:
            scalar: Scalar = value
            return scalar
        known = self.values.setdefault(name, {})
        for label, before in known.items():
            if before is value:
                return label
        said = getattr(value, "__qualname__", "") or " ".join(repr(value).split())
        if len(said) > _LABEL or " at 0x" in said:
            said = type(value).__name__
        label, number = said, 1
        while label in known:
            number += 1
            label = f"{said} #{number}"
        known[label] = value
        return label


# ---- bringing back -----------------------------------------------------------------------------------


def returned(view: SweepView, tasks: Sequence[Task], places: Mapping[int, Path | None]) -> FunctionSweep[Any]:
    """The calls of a sweep. `places`: where results of tasks are, by number. Raises `Usage` for another."""
    if not view.sweep.function:
        raise Usage(
            f"Sweep {view.sweep.number} runs a command, which returns nothing.",
            "What it printed as JSON is in its results.",
            f"hotdesk sweep results {view.sweep.number}",
        )
    calls = []
    for task in tasks:
        place = places.get(task.number)
        log = f"hotdesk sweep logs {view.sweep.number} {task.number}"
        calls.append(Returned[Any](task=task, file=place / RETURNED if place else None, log=log))
    return FunctionSweep[Any](view=view, calls=tuple(calls))
