"""What a sweep is begun with."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from hotdesk.core.errors import Usage
from hotdesk.core.model import MarketChoice, Value
from hotdesk.core.sweep import params
from hotdesk.core.sweep.params import Space

CHECKPOINT_GIB = 2.0  # a greater one stays on its machine, unless its owner says otherwise


class Function(Value, frozen=True):
    """A Python function as it is sent to a machine: files beside the project (services/sweep_function.py)."""

    name: str
    files: tuple[tuple[str, bytes], ...] = ()


class SweepRequest(Value, frozen=True):
    """A sweep to begin. Durations are in seconds, money in US dollars, memory in GiB."""

    desk: str
    command: tuple[str, ...]  # its words; a single one is a shell line
    space: Space
    function: Function | None = None  # whose calls the tasks are
    folder: str = "."  # here
    push: bool = True
    everything: bool = False  # copy also what git and .hotdeskignore leave out
    anyway: bool = False  # agree to what would be asked
    tags: tuple[str, ...] = ()
    machines: int = 1  # 0: as many as deadline and budget ask for
    whole: bool = False  # each task has a machine to itself
    each_seconds: float = 0.0  # how long a task takes, by its owner; 0: not told
    market: MarketChoice = MarketChoice.CHEAPEST  # of a cloud's machines, but the first, which is on demand
    cpus: float = 1.0
    per_gpu: float = 0.0  # tasks that share one GPU; 0: a task has none
    memory_gib: float = 0.0
    retries: int = 1
    limit_seconds: float | None = None
    environment: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()  # variables of this computer's environment that tasks get
    pull: tuple[str, ...] = ()
    checkpoint: str = ""  # in each task's folder: it goes on from there on another machine
    checkpoint_gib: float = CHECKPOINT_GIB  # a greater one stays on its machine
    budget_usd: float | None = None
    deadline_seconds: float | None = None
    keep_going: bool = False
    linger_seconds: float = 0.0  # how long a cloud's machines are kept for the next sweep

    def check(self) -> None:
        """Raises `Usage` for requests that are impossible on any desk."""
        params.check(self.space, self.command, self.tags)
        for path in self.pull:
            check_inside("--pull", path, "a task's folder", "results")
        if self.checkpoint:
            check_inside("--checkpoint", self.checkpoint, "a task's folder", "ckpt")
        values(self.secrets)
        if self.deadline_seconds is not None and self.deadline_seconds <= 0:
            raise Usage("--deadline 0 is now.", "No task could have ended by then.", "--deadline 8h")
        if self.deadline_seconds is not None and self.each_seconds > self.deadline_seconds:
            raise Usage(
                "No number of machines meets this deadline.",
                f"One task takes {self.each_seconds / 60:g} minutes, and the deadline is"
                f" {self.deadline_seconds / 60:g} from now.",
                f"--deadline {2 * self.each_seconds / 3600:.2g}h",
            )
        here = Path(self.folder)
        if self.push and here in {Path.home(), Path(here.anchor)}:
            raise Usage(
                f"{here} is not a project's folder.", "All that is in it would be copied.", "cd the/project"
            )


def check_inside(option: str, path: str, folder: str, example: str) -> None:
    """Raises `Usage` for a path that is not below the folder that a program runs in."""
    inside = PurePosixPath(os.path.normpath(path or "/"))
    if inside.is_absolute() or inside.parts[:1] in {("..",), ()} or path.startswith("~"):
        raise Usage(
            f"{option} {path!r} is not in {folder}.",
            "It is named relative to the folder that the program runs in.",
            f"{option} {example}",
        )


def values(secrets: Iterable[str]) -> dict[str, str]:
    """Variables of this environment. Raises `Usage` for one that there is not."""
    for name in secrets:
        if name not in os.environ:
            raise Usage(
                f"--secret {name} is not in your environment.",
                "Its value is taken from there, so that it stands in no command line.",
                f"read -rs {name} && export {name}",
            )
    return {name: os.environ[name] for name in secrets}
