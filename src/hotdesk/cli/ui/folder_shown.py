"""Describe in one line what is copied from a folder to a desk, and what is left out."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from hotdesk.cli.ui import render
from hotdesk.connect.sync import Contents

NAMES = 3


def note(found: Contents, desk: str) -> None:
    """Say it, before anything is launched or sent."""
    if found.rule:
        render.note(render.sentence(render.safe(found.rule)))
    render.note(line(found, desk))


def line(found: Contents, desk: str) -> str:
    """The number of files copied, and everything left out, with a count of each kind."""
    stays = [".git"] if found.repositories == 1 else []
    if found.repositories > 1:
        stays = [f"{found.repositories} .git folders"]
    for names, why in (
        (found.ignored, "that git ignores"),
        (found.hotdesk_ignored, "by .hotdeskignore"),
        (found.unfit, "that cannot be copied"),
    ):
        if names:
            stays.append(f"{len(names)} {why} ({some(names)})")
    size = f" ({render.size(found.bytes / 2**30)})" if found.bytes >= 1024 else ""
    go = "goes" if len(found.names) == 1 else "go"
    text = f"{found.folder.name or found.folder}: {count(len(found.names), 'file')}{size} {go} to {desk}"
    text += f"; left out: {', '.join(stays)}" if stays else ""
    if out := found.outward:
        lead = "link leads" if len(out) == 1 else "links lead"
        text += f"; {len(out)} {lead} out of the folder ({some(out)})"
    return render.safe(text)


def left_behind(found: Contents, desk: str) -> Iterator[str]:
    """Where links out of the folder lead, and what brings that to their place at the desk.

    A folder there stays one when the link of its name comes (`connect/copying.py`).
    """
    for name in found.outward:
        link, at = found.folder / name, f"{found.folder.name}/{name}"
        source, to = str(link.resolve()), at
        if link.is_dir():
            source += "/"
        elif link.resolve().name == link.name:
            to = at.rpartition("/")[0]
        else:
            continue
        if link.exists():
            words = shlex.join(["hotdesk", "push", desk, source, "--to", to])
            yield render.safe(f"{name} leads to {source}, which does not go; to bring it: {words}")


def count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def some(names: Sequence[str]) -> str:
    """The first of many names."""
    shown = [render.safe(name) for name in names[:NAMES]]
    return ", ".join([*shown, "…"] if len(names) > NAMES else shown)
