"""Files to and from a desk, and commands there."""

from __future__ import annotations

import os
import posixpath
import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from hotdesk.core import wire
from hotdesk.core.errors import Missing, NeedsDecision, Unknown, Unreachable, Usage
from hotdesk.core.model import Value
from hotdesk.core.ports import Access

if TYPE_CHECKING:
    from hotdesk.connect.copying import Arrived, Sent
    from hotdesk.connect.sync import Contents

#: What is told of a folder before it goes: what is in it, and where it goes.
Told = Callable[["Contents", str], None]
_Told = tuple[str, list[tuple[str, int]] | None]  # what guest/listing.py prints


class Completed(Value, frozen=True):
    """A command that has ended at a desk."""

    status: int  # its own; 128 + n where signal n ended it, 255 where the connection was lost
    output: str
    errors: str


class Pulled(Value, frozen=True):
    """Files copied from a desk. Names are relative to the local folder."""

    came: tuple[str, ...]
    bytes: int
    beside: dict[str, str]  # files here that are newer and stayed, and as what the desk's have come


def call(access: Access, command: str | Sequence[str]) -> Completed:
    """Run a command at a desk, as the person who logs in there. A string is a shell line."""
    from hotdesk.connect import ssh
    from hotdesk.core import shell

    line = command if isinstance(command, str) else shlex.join(command)
    argv = ssh.command(access, [shell.told(line)])
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    output, errors = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
    return Completed(status=done.returncode, output=output, errors=errors)


class Goods(Value, frozen=True):
    """A copy to a desk, planned and not yet done: files and destination."""

    sources: tuple[tuple[Path, tuple[str, ...]], ...]  # folders here, and the names below each that go
    to: str  # relative to the desk's home
    folders: tuple[Path, ...] = ()  # that arrive as folders of their names


def gathered(
    desk: str,
    sources: Sequence[str | Path],
    to: str = "",
    *,
    everything: bool = False,
    on_found: Told = lambda found, place: None,
) -> Goods:
    """What goes to a desk's home, or to the folder `to` there, of these files and folders here.

    Of a folder goes what git and .hotdeskignore do not leave out, or `everything`. As with rsync, `data`
    arrives as a folder, `data/` as what is in it. Raises `Unknown` for what is not here, `NeedsDecision`
    where all of a folder is left out.
    """
    to = at_home(to)
    place = f"{desk}:{to or '~'}"
    given = (_of(desk, str(source), everything, place, on_found) for source in sources)
    folders = tuple(Path(s).resolve() for s in map(str, sources) if _arrives_as_folder(s))
    return Goods(sources=tuple((folder, tuple(names)) for folder, names in given), to=to, folders=folders)


def push(
    access: Access,
    goods: Goods,
    on_progress: Callable[[str], None] | None = None,
    *,
    anyway: bool = False,
) -> Sent:
    """Copy them. Again copies only what changed.

    Raises `NeedsDecision` where a folder of that name at the desk came from another one, unless `anyway`;
    `Unreachable`, `Missing`.
    """
    from hotdesk.connect import copying, job_runner

    for folder in goods.folders:
        job_runner.claim(access, posixpath.join(goods.to, folder.name), folder, anyway=anyway)
    return copying.push(access, goods.sources, goods.to, on_progress=on_progress)


def pull(
    access: Access,
    sources: Sequence[str],
    to: Path,
    *,
    on_progress: Callable[[str], None] | None = None,
) -> Arrived:
    """Copy files and folders from a desk, relative to its home, into a folder here.

    A file here that is newer stays, and the desk's comes beside it.
    """
    from hotdesk.connect import copying

    there = [at_home(source) for source in sources]
    return copying.pull(access, there, to, may_replace=_older, on_progress=on_progress)


class Listed(Value, frozen=True):
    """Files at a desk that a pull would look at."""

    names: tuple[str, ...]  # relative to its home
    bytes: int


def listed(access: Access, sources: Sequence[str]) -> Listed:
    """What a pull of these sources would look at; nothing is copied. Raises `Unknown` for what is not there,
    `Unreachable`."""
    from importlib.resources import files as parts

    from hotdesk.connect.job_runner import run_there

    script = parts("hotdesk.guest").joinpath("listing.py").read_bytes()
    done = run_there(access, shlex.join(["exec", "python3", "-", *map(at_home, sources)]), script)
    try:
        told = [wire.json(line, _Told) for line in done.stdout.splitlines()]
    except msgspec.DecodeError:
        told = []
    if len(told) < len(sources):
        why = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise Unreachable(f"{access.desk} cannot be asked.", why, f"hotdesk doctor {access.desk}")
    if absent := [source for source, found in told if found is None]:
        raise _absent(access.desk, absent, "Not everything would be copied")
    every = {name: size for _, found in told for name, size in found or ()}
    return Listed(names=tuple(sorted(every)), bytes=sum(every.values()))


def _absent(desk: str, absent: Sequence[str], what: str) -> Unknown:
    return Unknown(
        f"{what}: there is no {' and no '.join(absent)} at {desk}.",
        "Names are looked for in the desk's home folder.",
        f"hotdesk ssh {desk} -- ls -la",
    )


def complete(desk: str, arrived: Arrived) -> Pulled:
    """What came. Raises `Unknown` where not all of it could be had; the rest is here."""
    if arrived.failed:
        look = f"hotdesk ssh {desk} -- ls -la"
        raise Unknown(f"Not everything could be read at {desk}; the rest is here.", arrived.failed[0], look)
    if arrived.absent:
        raise _absent(desk, arrived.absent, "Not everything was copied")
    placed = arrived.placed
    beside = {str(here): str(came) for here, came in placed.beside.items()}
    return Pulled(came=tuple(map(str, placed.came)), bytes=placed.bytes, beside=beside)


def at_home(path: str) -> str:
    """A path at the desk, relative to its home: what our shell made of a ~/ was meant for the desk's."""
    return path.removeprefix(f"{Path.home()}/").removeprefix("~/")


def _arrives_as_folder(source: str) -> bool:
    """Whether it is a folder whose name is given to it at the desk too, and not only what is in it."""
    path = Path(source)
    return path.is_dir() and not path.is_symlink() and not _inside(source)


def _inside(source: str) -> bool:
    return source.endswith(("/", "/.")) or Path(source).name in {"", ".."}


def _of(desk: str, source: str, everything: bool, place: str, on_found: Told) -> tuple[Path, list[str]]:
    """A source as a folder here, and the names below it that go."""
    path = Path(source)
    if not source or not (path.exists() or path.is_symlink()):
        raise Unknown(
            f"There is no {source or 'file without a name'} here.",
            "What is pushed is on this computer; where it goes at the desk is said with --to.",
            f"hotdesk push {desk} SOURCE... --to FOLDER",
        )
    inside = _inside(source)
    if not path.is_dir() or (path.is_symlink() and not inside):
        if not (path.is_file() or path.is_symlink() or path.is_fifo()):
            raise Usage(f"{source} is a socket or a device.", "It cannot be copied.", f"ls -l {source}")
        return path.parent.absolute(), [path.name]
    from hotdesk.connect.sync import contents

    in_git = ".git" in path.resolve().parts  # named like any other folder, it goes like one
    found = contents(path, everything=everything or in_git)
    check_readable(found)
    on_found(found, place if inside else f"{place.rstrip('/')}/{found.folder.name}")
    if not found.names:
        if found.ignored or found.hotdesk_ignored:
            raise NeedsDecision(
                f"Nothing of {path} would be copied.",
                "All that is in it is left out.",
                f"hotdesk push {desk} --all {path}",
            )
        return path.resolve().parent, [] if inside else [path.resolve().name]
    if inside:
        return found.folder, list(found.names)
    return found.folder.parent, [f"{found.folder.name}/{name}" for name in found.names]


def check_readable(found: Contents) -> None:
    """Raises `Missing` where not all that would be copied can be read."""
    if names := found.unreadable:
        many = f"{len(names):,} file{'s' * (len(names) > 1)}"
        listed = ", ".join([*names[:3], *["…"] * (len(names) > 3)])
        raise Missing(
            f"{many} of {found.folder.name} cannot be read: {listed}.",
            "You may not, so it could not be copied.",
            "chmod u+r …   # or leave it out by a line in .hotdeskignore",
        )


def _older(name: str, here: os.stat_result, came: os.stat_result) -> bool:
    return here.st_mtime <= came.st_mtime
