"""What can be known of a sweep before it is begun: whether it can run here, its image, and what is copied."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from hotdesk.core.errors import Missing, NeedsDecision, Usage
from hotdesk.core.model import Desk, Image, Seen
from hotdesk.core.sweep import params
from hotdesk.core.sweep.params import MANY
from hotdesk.services.sweep_request import Function, SweepRequest
from hotdesk.system import install_line

RAY = "2.60.0"  # as pinned; Ray refuses a machine of another version


def check_ray() -> None:
    """Raises `Missing` where no sweep can run on this computer."""
    if sys.platform != "linux":
        raise Missing(
            "A sweep on this computer needs Linux.",
            "Its machines are told apart by addresses (127.0.0.2, .3, …) that other systems do not have.",
            "hotdesk run NAME -- …   # one task after another",
        )
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("ray")
    except PackageNotFoundError:
        raise Missing(
            "Sweeps and clusters need Ray, which is not installed.",
            "It is an extra of 80 MB, which nothing else needs.",
            install_line("sweep"),
        ) from None
    if found != RAY:
        raise Missing(
            f"Ray {found} is installed, and a sweep needs {RAY}.",
            "A cluster refuses machines of another version.",
            f'pip install "ray=={RAY}"',
        )


def check_size(request: SweepRequest) -> None:
    """Raises `Usage`, and `NeedsDecision` where it was not agreed to, for very many tasks."""
    size = request.space.size
    if size > 10 * MANY:
        raise Usage(
            f"The sweep would have {size:,} tasks.",
            f"At most {10 * MANY:,} make one.",
            "--samples 1000   # with random parameters: log:, uniform:, int:",
        )
    if size > MANY and not request.anyway:
        raise NeedsDecision(
            f"The sweep has {size:,} tasks.",
            f"Each leaves a folder and a log: about {size * 12 / 2**20:,.0f} GiB and {2 * size:,} files."
            f" At a second each on {os.cpu_count() or 1} processors they take"
            f" {size / (os.cpu_count() or 1) / 3600:,.0f} hours.",
            "the same command with --yes",
        )


def newest_image(desk: Desk, seen: Seen, request: SweepRequest) -> Image | None:
    """The desk's newest verified image. Raises `NeedsDecision` where there is none, or newer work."""
    if seen.live is None and seen.newest is not None:
        return seen.newest
    if request.anyway and seen.live is not None:
        return None  # it is parked first
    what = f"{desk.name} has no image yet." if seen.live is None else f"{desk.name} is not parked."
    again = "the same command with --yes parks it" if seen.live is not None else "it is made by parking"
    raise NeedsDecision(
        what,
        "Each machine starts from the desk's verified image.",
        f"hotdesk {'park' if seen.live is not None else 'up'} {desk.name}   # {again}",
    )


# ---- its folder --------------------------------------------------------------------------------------


def check_folder(request: SweepRequest) -> tuple[str, ...]:
    """The names of the files that would be copied. Raises `Unknown` if the script is not among them."""
    if not request.push:
        return ()
    from hotdesk.connect.sync import contents
    from hotdesk.services import run_checks
    from hotdesk.services.files import check_readable
    from hotdesk.services.jobs import JobRequest

    found = contents(Path(request.folder), everything=request.everything)
    check_readable(found)
    if request.function:
        return found.names
    command = params.fill(request.command, next(request.space.tasks()), 1)
    job = JobRequest(command=command, folder=request.folder, anyway=True)
    run_checks.check_folder(request.desk, job, found)
    return found.names


def copy(folder: Path, names: Iterable[str], project: Path) -> None:
    """Copy these files of a folder to a new one."""
    project.mkdir(mode=0o700)
    for name in names:
        source, target = folder / name, project / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir() and not source.is_symlink():
            target.mkdir(exist_ok=True)
        else:
            shutil.copy2(source, target, follow_symlinks=False)


def written(function: Function, folder: Path) -> Path:
    """A folder with what a function's tasks need."""
    for name, content in function.files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / name).write_bytes(content)
    return folder
