"""Starting a sweep from the page: its tasks and its price before the click, and the click."""

from __future__ import annotations

import shlex
from typing import Any, Literal

from msgspec import to_builtins
from msgspec.structs import replace

from hotdesk.api import Hotdesk
from hotdesk.core.errors import Usage
from hotdesk.core.model import Goal, Value
from hotdesk.core.sweep.params import Space, read_parameter
from hotdesk.services import sweep_checks, sweep_shapes
from hotdesk.services.sweep_request import SweepRequest
from hotdesk.web.starting import folder_here
from hotdesk.web.verbs import length


class NewSweep(Value, frozen=True):
    """A sweep to begin, in the words of its command line. What is "" or null was not said."""

    name: str  # of a desk that there is
    command: str  # a shell line
    params: tuple[str, ...]  # each NAME=VALUES
    folder: str = ""  # in full; else where the page is served from
    samples: int | None = None
    machines: int | None = None
    cpus: float | None = None
    per_gpu: float | None = None
    memory: float | None = None  # GiB
    retries: int | None = None
    time_limit: str = ""
    deadline: str = ""
    budget: float | None = None  # US dollars
    pull: tuple[str, ...] = ()
    checkpoint: str = ""
    checkpoint_gib: float | None = None
    anyway: bool = False
    over_budget: bool = False
    verb: Literal["sweep"] = "sweep"

    @property
    def request(self) -> SweepRequest:
        """As `hotdesk sweep start` asks for it. Raises `Usage`."""
        parameters = [read_parameter(text) for text in self.params]
        names = [parameter.name for parameter in parameters]
        if twice := next((name for name in names if names.count(name) > 1), ""):
            raise Usage(
                f"The parameter {twice} is given twice.", "Its values belong in one list.", f"{twice}=1,2"
            )
        numbers = {
            "machines": self.machines,
            "cpus": self.cpus,
            "per_gpu": self.per_gpu,
            "memory_gib": self.memory,
            "retries": self.retries,
            "budget_usd": self.budget,
            "checkpoint_gib": self.checkpoint_gib,
        }
        for name, number in numbers.items():
            least = 0 if name in {"retries", "budget_usd"} else 1 if name == "machines" else 0.001
            if number is not None and number < least:
                raise Usage(
                    f"{name} is {number:g}.", f"It is at least {least}.", "hotdesk sweep start --help"
                )
        hours = length(self.deadline, "h")
        return SweepRequest(
            desk=self.name,
            command=self.words,
            space=Space(parameters=tuple(parameters), samples=max(1, self.samples or 1)),
            folder=str(folder_here(self.folder)),
            limit_seconds=length(self.time_limit, "s") or None,
            deadline_seconds=None if hours is None else 3600 * hours,
            pull=self.pull,
            checkpoint=self.checkpoint,
            anyway=self.anyway,
            **{name: number for name, number in numbers.items() if number is not None},  # type: ignore[arg-type]
        )

    @property
    def words(self) -> tuple[str, ...]:
        """The command as words, where it has nothing of a shell; else as one line. Raises `Usage`."""
        try:
            words = tuple(shlex.split(self.command))
        except ValueError as error:
            raise Usage("The command is not whole.", f"{error}.", shlex.quote(self.command)) from None
        if not words:
            raise Usage(
                "The command is missing.",
                "{NAME} stands where a parameter goes.",
                "python train.py --lr {lr}",
            )
        return (self.command.strip(),) if _SHELL & set(self.command) else words

    @property
    def line(self) -> list[str]:
        """The same for a terminal in that folder, as words."""
        said = ["hotdesk", "sweep", "start", self.name]
        for text in self.params:
            said += ["--param", text]
        for option, value in (
            ("--samples", self.samples),
            ("--machines", self.machines),
            ("--cpus", self.cpus),
            ("--per-gpu", self.per_gpu),
            ("--memory", self.memory),
            ("--retries", self.retries),
            ("--time-limit", self.time_limit or None),
            ("--deadline", self.deadline or None),
            ("--budget", self.budget),
            *(("--pull", path) for path in self.pull),
            ("--checkpoint", self.checkpoint or None),
            ("--checkpoint-gib", self.checkpoint_gib),
        ):
            if value is not None:
                said += [option, value if isinstance(value, str) else f"{value:g}"]
        said += ["--yes"] if self.anyway else []
        return [*said, "--detach", "--", *self.words]


_SHELL = frozenset("|&;<>()$`*?[]~\n")


def plan(desks: Hotdesk, asked: NewSweep) -> dict[str, Any]:
    """What would be begun, and what it costs. Raises as `hotdesk sweep start` for what cannot be."""
    sweeps, request = desks.services.sweeps, asked.request
    request.check()
    names = sweep_checks.check_folder(request)
    sweep = sweeps.planned(request)
    told = sweep_shapes.plan(sweep, request, len(names), sweep_shapes.first_lines(sweep, request.space))
    steps = (
        []
        if sweep.image
        else to_builtins(desks.services.goals.steps(desks.services.goals.wanted(sweep.desk, Goal.PARKED)))
    )
    return {**told, "line": asked.line, "folder": request.folder, "steps": steps}


def begin(desks: Hotdesk, asked: NewSweep) -> dict[str, Any]:
    """Begin it, parking its desk where that was agreed to; its number. Its own process goes on with it."""
    sweeps, request = desks.services.sweeps, asked.request
    sweeps.planned(request)
    request = replace(request, anyway=True)
    sweeps.parked(request)
    return {"sweep": sweeps.start(request).number}
