"""What hotdesk made on this computer: list it, and remove it. What it rents in a cloud is none of it."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from hotdesk.core.clouds import KNOWN, cloud
from hotdesk.core.errors import NeedsDecision
from hotdesk.core.model import Value
from hotdesk.loop.clouds import Clouds
from hotdesk.state.store import Store
from hotdesk.system import space

#: What hotdesk writes into its state folder. What else lies there is somebody's own.
_OURS = (
    *(
        "desks",
        "jobs",
        "locks",
        "local",
        "places",
        "ssh",
        "bench",
        "policies",
        "optima",
        "fetched",
        "sweeps",
        "variables",
    ),
    *("computer", "looked", "watcher", "watcher.log", "watcher-on", "defect.log", "web.json", "web.lock"),
    *(f"{file}.{kind}" for file in ("hotdesk", "sweeps") for kind in ("db*", "opening", "reserve")),
)


class Made(Value, frozen=True, omit_defaults=False):
    """One thing that hotdesk made on this computer."""

    what: str
    path: str
    bytes: int = 0
    removed: bool = False


class Uninstalled(Value, frozen=True, omit_defaults=False):
    """What was made here, and what stays although it is removed."""

    made: tuple[Made, ...]
    held: tuple[str, ...]  # desks on this computer, whose work is in it: they are deleted first
    rented: tuple[str, ...]  # desks in a cloud, which stay and are paid for
    stays: tuple[str, ...]  # files of the person's own that name hotdesk


def uninstall(store: Store, clouds: Clouds, *, anyway: bool, dry_run: bool) -> Uninstalled:
    """List what hotdesk made here and, but in a dry run, remove it.

    Raises `NeedsDecision` where a desk on this computer still holds work and, unless `anyway`, where desks
    in a cloud would stay without their keys.
    """
    assert store.folder is not None
    here, rented = _desks(store, clouds)
    if here and not dry_run:
        adopt = "" if all(map(store.find, here)) else "hotdesk doctor --adopt; "
        raise NeedsDecision(
            f"Desks on this computer hold work: {', '.join(here)}.",
            "It would be deleted with hotdesk's own files.",
            adopt + " && ".join(f"hotdesk down {name}" for name in here),
        )
    if rented and not (anyway or dry_run):
        raise NeedsDecision(
            f"{', '.join(rented)} would stay in the cloud, and be paid for.",
            "Their ssh keys are on this computer and would be deleted: nobody could log in from here.",
            f"hotdesk down {rented[0]}   # or leave them as they are: hotdesk uninstall --yes",
        )
    found = list(_made(store.folder))
    if not dry_run:
        found = _removed(store, found, [*here, *rented])
    return Uninstalled(made=tuple(found), held=tuple(here), rented=tuple(rented), stays=tuple(_stays()))


def _desks(store: Store, clouds: Clouds) -> tuple[list[str], list[str]]:
    """Names of the desks on this computer, known or not, and of those in a cloud that are known here."""
    desks = store.desks()
    here = {desk.name for desk in desks if not cloud(desk.provider).rented}
    for provider in (name for name, known in KNOWN.items() if not known.rented):  # the rows may be lost
        here |= clouds.survey(provider).by_desk().keys() - {""}
    return sorted(here), sorted(desk.name for desk in desks if cloud(desk.provider).rented)


def _made(folder: Path) -> Iterator[Made]:
    from hotdesk.connect import editor

    config, hosts = Path.home() / ".ssh" / "config", folder / "ssh" / "*.conf"
    if editor.includes(config, hosts):
        yield Made(what="a line", path=str(config))
    mine = {path for pattern in _OURS for path in folder.glob(pattern)}
    for path in sorted(mine):
        yield Made(what="folder" if path.is_dir() else "file", path=str(path), bytes=space(path))


def _removed(store: Store, found: list[Made], desks: list[str]) -> list[Made]:
    from hotdesk.connect import editor, forwards, tunnel
    from hotdesk.loop import watcher

    assert store.folder is not None
    folder = store.folder
    watcher.dismiss(store)
    for name in {path.name for path in (folder / "desks").glob("*")} | set(desks):
        forwards.forget(folder / "desks" / name)
        tunnel.close(folder / "desks" / name)
    with contextlib.suppress(OSError):
        editor.exclude(Path.home() / ".ssh" / "config", folder / "ssh" / "*.conf")
    store.close()
    done = []
    for one in found:
        path = Path(one.path)
        if path.is_relative_to(folder):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            gone = not os.path.lexists(path)
        else:
            gone = not editor.includes(path, folder / "ssh" / "*.conf")
        done.append(Made(what=one.what, path=one.path, bytes=one.bytes, removed=gone))
    with contextlib.suppress(OSError):  # something of somebody's own is in it
        folder.rmdir()
    return done


def _stays() -> Iterator[str]:
    """Files that the person made for hotdesk."""
    from hotdesk.system import config_files

    unit = Path.home() / ".config" / "systemd" / "user" / "hotdesk.service"
    for path in (*config_files(), unit):
        if path.is_file():
            yield str(path)
