"""Speak with a sweep's resident runner on a machine (guest/sweep_runner.py), over ssh."""

from __future__ import annotations

import hashlib
import io
import shlex
import shutil
import subprocess
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec

import hotdesk
from hotdesk.connect import copying, job_runner, ssh
from hotdesk.core import wire
from hotdesk.core.errors import Missing, Unreachable
from hotdesk.core.ports import Access
from hotdesk.core.sweep.model import Ended, Order
from hotdesk.system import fsync, fsync_folder

_FILES = (
    *("sweep_runner", "sweep_attempts", "sweep_task_files", "sweep_checkpoints", "sweep_processes"),
    "sweep_spawn",
    *("process_tree", "job_files", "ray_node", "ray_start", "ray_engine", "ray_install"),
)
_MAIN = b"import sys\nfrom hotdesk.guest import sweep_runner\nsys.exit(sweep_runner.main(sys.argv[1:]))\n"
T = TypeVar("T")
ARRIVING_SECONDS = 3600.0  # how long half a checkpoint is kept, to be continued
INSTALL_SECONDS = 900.0  # for Ray, 80 MB
_ABSENT = 74  # exit status of our shell line: the runner is not installed


class MachineOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine's runner has to know; see guest/sweep_runner.py and guest/ray_node.py."""

    machine: str
    address: str  # its own in the cluster
    head: str  # the head's address and port
    heads: bool  # whether the head is here
    cpus: int
    gpus: int
    python: str  # that has Ray; "" for none: nothing but the runner
    token: str
    limit_seconds: float | None
    grace_seconds: float
    memory_bytes: int  # of each task; 0: no limit
    memory_total_bytes: int  # of the machine, where tasks reserve some; 0: not counted
    environment: dict[str, str]
    secrets: Mapping[str, str]  # variables too; they stay in the memory of the runner
    pull: tuple[str, ...]
    checkpoint_bytes: int = 0  # greater ones are not kept; 0: no limit
    own: bool = False  # Ray, if the desk has it, is its owner's: another Python's, with a dashboard
    dashboard_port: int = 0
    ports: int = 0  # the first of all that Ray listens on; 0: whichever are free


class Going(msgspec.Struct, frozen=True):
    """An attempt that runs."""

    task: int
    attempt: int
    began_at: float  # by the machine's clock


class Saved(msgspec.Struct, frozen=True):
    """A copy of a checkpoint on a machine."""

    task: int
    attempt: int
    at: float = 0.0  # by the machine's clock
    bytes: int = 0


class Unsaved(msgspec.Struct, frozen=True):
    """Why there is no newer copy of a task's checkpoint."""

    task: int
    why: str


class Known(msgspec.Struct, frozen=True):
    """What a runner says of tasks: those that run, and the newest end of each that it had."""

    machine: str
    running: tuple[Going, ...] = ()
    ended: tuple[Ended, ...] = ()
    engine_failures: int = 0  # how often in a row Ray did not start there
    engine_why: str = ""
    engine: bool = True  # whether the machine has Ray at all
    dashboard: bool = False  # whether that Ray has one
    ready: bool = True  # whether Ray has started there, if it has it
    going: bool = False  # whether its cloud has said that it takes the machine back
    saved: tuple[Saved, ...] = ()
    wanted: tuple[Saved, ...] = ()  # checkpoints for which attempts wait there
    unsaved: tuple[Unsaved, ...] = ()


@cache
def packed() -> tuple[str, bytes]:
    """The runner's file name on a machine, with a digest of its source; and the zip that Python runs."""
    guest = Path(hotdesk.__file__).parent / "guest"
    texts = {f"hotdesk/guest/{name}.py": (guest / f"{name}.py").read_bytes() for name in _FILES}
    texts |= {"hotdesk/__init__.py": b"", "hotdesk/guest/__init__.py": b"", "__main__.py": _MAIN}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in sorted(texts.items()):  # undated, so that equal sources give equal bytes
            file.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    digest = hashlib.sha256(repr(sorted(texts.items())).encode()).hexdigest()[:12]
    return f"sweep-{digest}.py", target.getvalue()


def line(words: Sequence[str], python: str = "python3") -> str:
    """The shell line that runs one of the runner's verbs."""
    name, _ = packed()
    place = "~" + shlex.quote(python[1:]) if python.startswith("~/") else shlex.quote(python)
    return f"test -f .hotdesk/{name} || exit {_ABSENT}; exec {place} .hotdesk/{name} {shlex.join(words)}"


def ask(access: Access, *words: str, given: bytes = b"", seconds: float = job_runner.SECONDS) -> bytes:
    """What a verb of the runner answers, installing it if absent. Raises `Unreachable`."""
    done = job_runner.run_there(access, line(words), given, seconds)
    if done.returncode == _ABSENT:
        install(access)
        done = job_runner.run_there(access, line(words), given, seconds)
    if done.returncode != 0:
        told = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Unreachable(
            f"The sweep's runner at {access.desk} does not answer.",
            told[-1] if told else f"It ended with {done.returncode}.",
            f"hotdesk ssh {access.desk} -- tail .hotdesk/sweeps/*/runner.log",
        )
    return done.stdout


def install(access: Access) -> None:
    name, text = packed()
    file = f".hotdesk/{name}"
    job_runner.run_there(access, f"umask 077; mkdir -p .hotdesk && {whole(file, text)}", text)


def whole(file: str, text: bytes) -> str:
    """The shell line that writes its input to a file, if all of it has come: where the connection breaks, the
    shell there only sees the end of its input."""
    return f'cat > {file}.new && test "$(wc -c < {file}.new)" -eq {len(text)} && mv {file}.new {file}'


def serve(access: Access, id_: str, order: MachineOrder) -> None:
    """Make sure that the runner runs there. Raises `Unreachable`."""
    ask(access, "serve", id_, given=msgspec.json.encode(order))


def push(access: Access, id_: str, folder: Path) -> None:
    """Copy the sweep's project, and its function, to the machine, as they were when the sweep began."""
    sent = [path for part in ("project", "function") for path in sorted((folder / part).rglob("*"))]
    if sent:
        names = [str(path.relative_to(folder)) for path in sent]
        copying.push(access, [(folder, names)], f".hotdesk/sweeps/{id_}")


class Ray(msgspec.Struct, frozen=True):
    """A Python with Ray on a machine."""

    python: str = ""
    version: str = ""  # of Python
    ray: str = ""
    why: str = ""  # why there is none


def ray(access: Access) -> Ray:
    """Where Ray is there; it is installed where it is missing, once. Raises `Missing`, `Unreachable`."""
    lock = (Path(hotdesk.__file__).parent / "guest" / "ray.lock").read_bytes()
    found = _read(access, ask(access, "ray", given=lock, seconds=INSTALL_SECONDS), Ray)
    if found.why:
        raise Missing(
            f"Ray cannot be installed at {access.desk}.",
            f"{found.why[:1].upper()}{found.why[1:]}.",
            f"hotdesk ssh {access.desk}   # it needs Python 3.11 or later there, and a way to packages",
        )
    return found


def look(access: Access, id_: str) -> Known:
    """What runs there. Raises `Unreachable`."""
    return _known(access, ask(access, "look", id_))


def known(access: Access, id_: str, epoch: int, tasks: Iterable[int]) -> Known:
    """What became of these tasks there; nothing that an earlier epoch asked for is begun from now on."""
    given = {"epoch": epoch, "tasks": {str(task): 0 for task in tasks}}
    return _known(access, ask(access, "known", id_, given=msgspec.json.encode(given)))


def _known(access: Access, said: bytes) -> Known:
    return _read(access, said, Known)


def _read(access: Access, said: bytes, kind: type[T]) -> T:
    try:
        return wire.json(said, kind)
    except msgspec.DecodeError as error:
        raise Unreachable(
            f"{access.desk} gave an unreadable answer.", str(error), f"hotdesk show {access.desk}"
        ) from error


def cancel(access: Access, id_: str, attempts: Mapping[int, int]) -> None:
    """End these tasks' attempts up to a number, and begin none of them. Raises `Unreachable`."""
    given = {"tasks": {str(task): number for task, number in attempts.items()}}
    ask(access, "cancel", id_, given=msgspec.json.encode(given))


def bring_run(access: Access, id_: str, task: int, folder: Path) -> None:
    """Copy the folder of a cluster's run to a machine."""
    names = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*"))]
    copying.push(access, [(folder, names)], f".hotdesk/sweeps/{id_}/run-{task:06d}")


def begin(
    access: Access, id_: str, order: Order, environment: Mapping[str, str], secrets: Mapping[str, str]
) -> None:
    """Begin a rank of a cluster's run, without waiting for its end. Again changes nothing."""
    told = {**msgspec.to_builtins(order), "environment": environment, "secrets": secrets, "gang": True}
    ask(access, "begin", id_, given=msgspec.json.encode({"orders": [told]}))


def checkpoint(task: int, attempt: int) -> str:
    """The name of the file that has a copy of what an attempt saved."""
    return f"{task:06d}-{attempt}.tar"


def fetch_checkpoints(access: Access, id_: str, names: Sequence[str], to: Path) -> list[str]:
    """Copy checkpoints to a folder here, each whole or not at all; which did not come."""
    to.mkdir(parents=True, exist_ok=True, mode=0o700)
    copying.forget_interrupted(to, ARRIVING_SECONDS)
    below = f".hotdesk/sweeps/{id_}/saved"
    came = copying.pull(access, names, to, below=below, may_replace=lambda name, here, came: True)
    absent = {n for n in names if n in came.absent or any(n in said for said in came.failed)}
    return [name for name in names if name in absent or not _is_whole(to / name)]


def _is_whole(file: Path) -> bool:
    """Whether a file came, which a power cut does not take away; what is none is deleted."""
    if file.is_dir() and not file.is_symlink():
        shutil.rmtree(file, ignore_errors=True)
        return False
    if file.is_symlink() or not file.is_file():
        file.unlink(missing_ok=True)
        return False
    with file.open("rb") as content:
        fsync(content.fileno())
    fsync_folder(file.parent)
    return True


def give_checkpoint(access: Access, id_: str, file: Path) -> None:
    """Bring a checkpoint to where an attempt waits for it; an empty file where there is none here."""
    target = f".hotdesk/sweeps/{id_}/given"
    if file.exists():
        copying.push(access, [(file.parent, [file.name])], target)
    else:
        job_runner.run_there(access, f"touch {target}/{file.name}")


def keep_record(access: Access, id_: str, record: bytes) -> None:
    """Leave the sweep's record there. Raises `Unreachable`."""
    file = f".hotdesk/sweeps/{id_}/record"
    job_runner.run_there(access, f"umask 077; {whole(file, record)}", record)


class Kept(msgspec.Struct, frozen=True):
    """A record of a sweep on a machine."""

    id: str
    age_seconds: float  # since it was left there, by the machine's clock


def records(access: Access) -> list[Kept]:
    """The records there, the newest first. Raises `Unreachable`."""
    line = (
        "for f in .hotdesk/sweeps/*/record; do "
        '[ -f "$f" ] && echo "$(($(date +%s) - $(stat -c %Y "$f"))) $f"; done; true'
    )
    said = job_runner.run_there(access, line).stdout.decode("utf-8", "replace").split("\n")
    found = [one.partition(" ") for one in said if one.strip()]
    kept = [Kept(path.split("/")[2], float(age)) for age, _, path in found]
    return sorted(kept, key=lambda one: one.age_seconds)


def record(access: Access, id_: str) -> bytes:
    """Raises `Unreachable`."""
    return job_runner.run_there(access, f"cat .hotdesk/sweeps/{id_}/record").stdout


def fetch_project(access: Access, id_: str, to: Path) -> None:
    """Copy the sweep's project, and its function, from a machine to a folder here. Raises `Unreachable`."""
    names = [f".hotdesk/sweeps/{id_}/{part}" for part in ("project", "function")]
    copying.pull(access, names, to, may_replace=lambda name, here, came: True)


def stop(access: Access, id_: str) -> None:
    """End the runner, Ray and all that runs there. Raises `Unreachable`."""
    ask(access, "stop", id_)


def log(access: Access, id_: str, task: int, offset: int = 0) -> bytes:
    """What a task has said there from this byte on. Raises `Unreachable`."""
    return ask(access, "log", id_, str(task), str(offset))


def fetch(access: Access, id_: str, to: Path) -> None:
    """Copy logs and results from the machine into a folder here. Raises `Unreachable`, `Missing`."""
    to.mkdir(parents=True, exist_ok=True, mode=0o700)
    copying.pull(access, [f".hotdesk/sweeps/{id_}/out"], to, may_replace=lambda name, here, came: True)


def engine(access: Access, id_: str, python: str) -> subprocess.Popen[bytes]:
    """The engine beside the head, over its standard input and output (guest/ray_engine.py)."""
    return subprocess.Popen(
        ssh.question(access, line(("engine", id_), python)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
