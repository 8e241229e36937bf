"""hotdesk push"""

from __future__ import annotations

from pathlib import Path

import click

from hotdesk.api import Hotdesk
from hotdesk.cli.ui import folder_shown, options, render
from hotdesk.cli.ui.live import Live
from hotdesk.core.errors import NeedsDecision, Unknown, Usage


@click.command()
@options.name
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--to",
    "target",
    default="",
    metavar="FOLDER",
    help="Destination folder on the desk.  [default: its home]",
)
@click.option("--all", "everything", is_flag=True, help="Copy whole folders, even what git ignores.")
def command(name: str, sources: tuple[str, ...], target: str, everything: bool) -> None:
    """Copy files and folders to the desk. Repeated, it copies only changes.

    Each SOURCE is on this computer and is copied into the desk's home, or into --to, which is created if
    needed. As with rsync, `data` copies the folder, `data/` its contents. Inside a folder, files that git or
    .hotdeskignore ignore are skipped, and so is .git; a path named as SOURCE is always copied.

    \b
    hotdesk push blue train.py data
    hotdesk push blue data --to projects/one
    """
    from hotdesk.connect import copying

    if said := copying.check():
        render.note(said)
    here = f"{Path.home()}/"  # what our shell made of a ~/ that was meant for the desk
    target = target.removeprefix(here).removeprefix("~/")
    place = f"{name}:{target or '~'}"
    given = [_of(name, source, everything, place) for source in sources]
    if single := [source for source in sources if Path(source).is_file()]:
        go = "goes" if len(single) == 1 else "go"
        render.note(f"{folder_shown.some(single)} {go} to {render.safe(place)}")
    with Hotdesk() as desks:
        access = desks.services.access(name)
    with Live() as live:
        sent = copying.push(access, given, target, on_progress=live.progress(f"copying to {name}"))
    for link in sent.kept:
        render.note(f"{render.safe(link)} is a link here and a folder at {name}: that one stays.")


def _of(desk: str, source: str, everything: bool, place: str) -> tuple[Path, list[str]]:
    """A source as a folder here, and the names below it that go."""
    path = Path(source)
    if not source or not (path.exists() or path.is_symlink()):
        raise Unknown(
            f"There is no {source or 'file without a name'} here.",
            "What is pushed is on this computer; where it goes at the desk is said with --to.",
            f"hotdesk push {desk} SOURCE... --to FOLDER",
        )
    inside = source.endswith(("/", "/.")) or path.name in {"", ".."}
    if not path.is_dir() or (path.is_symlink() and not inside):
        if not (path.is_file() or path.is_symlink() or path.is_fifo()):
            raise Usage(f"{source} is a socket or a device.", "It cannot be copied.", f"ls -l {source}")
        return path.parent.absolute(), [path.name]
    return _of_folder(desk, path, inside, everything, place)


def _of_folder(desk: str, path: Path, inside: bool, everything: bool, place: str) -> tuple[Path, list[str]]:
    from hotdesk.connect.sync import contents

    in_git = ".git" in path.resolve().parts  # named like any other folder, it goes like one
    found = contents(path, everything=everything or in_git)
    folder_shown.note(found, place if inside else f"{place.rstrip('/')}/{found.folder.name}")
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
