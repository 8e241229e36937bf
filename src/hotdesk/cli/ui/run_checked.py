"""Checks of `hotdesk run` before a machine costs money."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import shutil
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hotdesk.cli.ui import folder_shown, render
from hotdesk.core.clouds import cloud
from hotdesk.core.errors import HotdeskError, Missing, NeedsDecision, Unknown
from hotdesk.core.model import check_name

if TYPE_CHECKING:
    from hotdesk.api import Hotdesk
    from hotdesk.connect.sync import Contents

#: Programs whose first word that is no option may be a script of the project.
_TAKE_SCRIPTS = re.compile(
    r"(python|pypy)[\d.]*|ba?sh|zsh|dash|ksh|Rscript|julia|node|perl|ruby"
    r"|torchrun|deepspeed|accelerate|mpirun|horovodrun|ipython|nohup|time|env|uv|poetry"
)
_RUN_BY = {".py": "python", ".sh": "bash", ".R": "Rscript", ".jl": "julia"}
_SCRIPT = re.compile(r"[^\s-]\S*\.(py|sh|bash|zsh|R|r|jl|js|pl|rb)")
_NO_SCRIPT = re.compile(r"-[A-Za-z]*[cem]|--module|-")  # what follows is text, or a module


def known_desk(desks: Hotdesk, name: str, words: tuple[str, ...], yes: bool) -> None:
    """Ask before a desk with a new name is created: NAME may have been forgotten."""
    if desks.services.store.find(name) is not None or name in desks.services.config.desks:
        return
    check_name(name)
    if _elsewhere(desks, name) or yes:
        return
    names = [desk.name for desk in desks.services.store.desks()]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5) or (names if len(names) == 1 else [])
    command = _TAKE_SCRIPTS.fullmatch(name) is not None or (
        shutil.which(name) is not None and shutil.which(words[0].partition(" ")[0]) is None
    )
    line = shlex.join((name, *words) if command else words)
    if command:
        why = f"{name} is a command: the desk's name may be missing before it."
    elif near:
        why = f"The nearest name is {near[0]}."
    else:
        why = f"There are: {', '.join(names[:12])}." if names else "There is no desk yet."
    fix = f"hotdesk run {near[0] if near else 'NAME'} -- {line}" if near or command else f"hotdesk up {name}"
    confirm(
        f"There is no desk {name}.",
        why,
        f"{fix}   # or, to make {name}: the same command with --yes",
        f"{why} Make a desk called {name}?",
    )


def _elsewhere(desks: Hotdesk, name: str) -> bool:
    """Whether another computer has a desk of that name in the cloud where it would be made."""
    provider = desks.services.goals.provider(name)
    if not cloud(provider).rented:
        return False
    try:
        seen = desks.services.clouds.survey(provider).of(name)
    except HotdeskError:  # the launch itself will say what is wrong
        return False
    return bool(seen.machines or seen.disks or seen.images)


def confirm(what: str, why: str, fix: str, question: str) -> None:
    """Ask; without a terminal, raise `NeedsDecision`."""
    if not sys.stdin.isatty():
        raise NeedsDecision(what, why, fix)
    if not click.confirm(f"{what} {question}", err=True):
        raise click.Abort


def place(here: Path, given: dict[str, Any]) -> None:
    """This folder and this computer. Raises `Missing`."""
    from hotdesk.connect import copying

    if given["pull"] and not os.access(here, os.W_OK | os.X_OK):
        raise Missing(
            f"The results could not be written to {here}.", "You may not write there.", f"ls -ld {here}"
        )
    if (given["pull"] or not given["no_push"]) and (said := copying.check()):
        render.note(said)


def goods(desk: str, here: Path, words: tuple[str, ...], given: dict[str, Any]) -> None:
    """Say what will be copied, and check that the job's program is part of it."""
    from hotdesk.connect.sync import contents

    found = contents(here, everything=given["all"])
    folder_shown.note(found, desk)
    for said in islice(folder_shown.left_behind(found, desk), folder_shown.NAMES):
        render.note(said)
    if not found.names and not given["yes"]:
        reason = "git ignores all that is in it." if found.ignored else "There is no file in it."
        fix = "cd the/project   # or, to begin without any file: --no-push"
        confirm(f"Nothing of {here.name} would be copied.", reason, fix, f"{reason} Run it all the same?")
    if script := script_of(words):
        _is_there(script, found)
    elif words[0] in found.names and "/" not in words[0] and (run_by := _RUN_BY.get(Path(words[0]).suffix)):
        raise Unknown(
            f"{words[0]} is a file of the project, not a command.",
            "A shell looks for commands on its PATH only.",
            f"hotdesk run {desk} -- {run_by} {shlex.join(words)}",
        )


def script_of(words: tuple[str, ...]) -> str:
    """The project's file that a command line begins with: a program by its path, or a script that one is
    given; "" where that cannot be told."""
    if len(words) == 1:
        plain = re.match(r"[\w./=:@%+,\- ]+", words[0])
        if plain is None or (plain.end() < len(words[0]) and words[0][plain.end()] not in ";&|<>\n"):
            return ""
        words = tuple(plain[0].split())
    if not words or (len(words) > 1 and words[0] == "cd"):
        return ""
    if "/" in words[0]:
        return "" if words[0].startswith(("/", "~")) else words[0]
    if not _TAKE_SCRIPTS.fullmatch(words[0]):
        return ""
    for word in words[1:]:
        if _NO_SCRIPT.fullmatch(word):
            return ""
        if _SCRIPT.fullmatch(word):
            return "" if word.startswith(("/", "~")) else word
    return ""


def _is_there(script: str, found: Contents) -> None:
    name = os.path.normpath(script)
    if name in found.names:
        return
    for named in found.names:  # a link to a folder, in the folder or not: what is behind it is not looked at
        if name.startswith(f"{named}/"):
            return
    here = found.folder / name
    if here.exists():
        raise Unknown(
            f"{script} would not be copied.",
            f"It is in {found.folder.name}, and {_why_not(name, found)}.",
            f"git add -f {name}   # or: --all",
        )
    near = difflib.get_close_matches(name, found.names, n=1)
    raise Unknown(
        f"There is no {script} in {found.folder}.",
        f"The nearest is {render.safe(near[0])}." if near else "The current folder is what is copied.",
        "cd the/project   # or, where it is at the desk already: --no-push",
    )


def _why_not(name: str, found: Contents) -> str:
    if name in found.hotdesk_ignored:
        return ".hotdeskignore leaves it out"
    if name.startswith(".."):
        return "outside of what is copied"
    return "git ignores it"
