"""A cluster's runs: what each machine is asked to run, and how the ranks of a gang end together. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from hotdesk.core import wire
from hotdesk.core.model import Value
from hotdesk.core.sweep.model import State, Task
from hotdesk.core.sweep.params import Params
from hotdesk.core.sweep.plan import LOST_MOST, LOST_WHY

_LAUNCHERS = ("torch.distributed.run", "torch.distributed.launch")


class Run(Value, frozen=True):
    """A command on one machine of a cluster, or on all of them at once as a gang."""

    command: tuple[str, ...]  # its words; a single one is a shell line
    gang: bool = False
    checkpoint: str = ""  # in its folder: what rank 0 writes there, every rank finds after a restart
    retries: int = 3  # after a failure; a lost machine does not count
    environment: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()  # names of more

    def params(self) -> Params:
        """As a task keeps it."""
        return {"run": msgspec.json.encode(self).decode()}

    @classmethod
    def of(cls, task: Task) -> Run:
        return wire.json(str(task.params["run"]), cls)

    @property
    def title(self) -> str:
        return " ".join(" ".join(self.command).split())


class Place(Value, frozen=True):
    """Where one rank of a gang runs, and where all of them meet."""

    rank: int
    machines: int
    head: str  # the address of rank 0
    port: int
    gpus: int = 0

    def variables(self) -> dict[str, str]:
        """What launchers and programs read from their environment; the names are those of torchrun's."""
        return {
            "MASTER_ADDR": self.head,
            "MASTER_PORT": str(self.port),
            "NNODES": str(self.machines),
            "NODE_RANK": str(self.rank),
        }


def launches(command: Sequence[str]) -> bool:
    """Whether a command is torchrun's, or as `python -m torch.distributed.run`: it wants every machine."""
    words = _words(command)
    named = words[0].rpartition("/")[2] if words else ""
    module = words[words.index("-m") + 1 : words.index("-m") + 2] if "-m" in words else []
    return named == "torchrun" or (named.startswith("python") and bool(module) and module[0] in _LAUNCHERS)


def filled(command: Sequence[str], place: Place) -> tuple[str, ...]:
    """The command of one rank: torchrun is told how many machines there are, its rank, and where they meet.

    What was written by hand stays. Options: https://docs.pytorch.org/docs/stable/elastic/run.html
    """
    if not launches(command):
        return tuple(command)
    words = _words(command)
    told = {w.partition("=")[0].lstrip("-").replace("_", "-") for w in words if w.startswith("-")}
    options = {"nnodes": place.machines}
    if not any(name.startswith("rdzv") for name in told):
        options |= {"node-rank": place.rank, "master-port": place.port}
    added = [f"--{name}={value}" for name, value in options.items() if name not in told]
    if "node-rank" in options and "master-addr" not in told:
        added.append(f"--master-addr={place.head}")
    if "nproc-per-node" not in told:
        added.append(f"--nproc-per-node={place.gpus or 1}")
    behind = words.index("-m") + 2 if words[0].rpartition("/")[2] != "torchrun" else 1
    if len(command) > 1:
        return (*words[:behind], *added, *words[behind:])
    line = command[0].lstrip()
    start = 0
    for word in words[:behind]:  # as they are written: the rest is the shell's
        start = line.index(word, start) + len(word)
    return (f"{line[:start]} {shlex.join(added)}{line[start:]}",)


def _words(command: Sequence[str]) -> list[str]:
    if len(command) > 1:
        return list(command)
    try:
        return shlex.split(command[0]) if command else []
    except ValueError:  # a quote that is not closed: the shell will say so
        return []


def ended(task: Task, statuses: Mapping[int, tuple[int, str]], *, lost: str, now: float) -> Task:
    """The task after all of its ranks have ended: `statuses` has each rank's exit status and reason.

    `lost`: why a machine went, "" where none did; then the gang goes on elsewhere, and that is no failure.
    """
    seconds = max(0.0, now - task.began_at)
    if not lost and all(status == 0 for status, _ in statuses.values()):
        return replace(task, state=State.DONE, exit_status=0, why="", ended_at=now, seconds=seconds)
    if lost:
        count = task.lost + 1
        state = State.FAILED if count >= LOST_MOST else State.WAITING
        return replace(
            task, state=state, lost=count, why=f"{LOST_WHY}: {lost}", ended_at=now, seconds=seconds
        )
    rank, (status, why) = min(
        ((r, s) for r, s in statuses.items() if s[0] != 0), key=lambda item: item[1][1] == "cancelled"
    )
    failed = task.failed + 1
    again = failed <= Run.of(task).retries
    where = f"rank {rank} ended with {status}" if len(statuses) > 1 else ""
    return replace(
        task,
        state=State.WAITING if again else State.FAILED,
        failed=failed,
        exit_status=status,
        why=": ".join(part for part in (where, why) if part),
        ended_at=now,
        seconds=seconds,
    )
