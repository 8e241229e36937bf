"""Checks of a run before a machine costs money."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import shutil
from pathlib import Path

from hotdesk.connect import copying
from hotdesk.connect.sync import Contents
from hotdesk.core.clouds import cloud
from hotdesk.core.errors import HotdeskError, Missing, NeedsDecision, Unknown
from hotdesk.core.names import check_name
from hotdesk.services.files import check_readable
from hotdesk.services.goals import Goals
from hotdesk.services.jobs import JobRequest

#: Programs whose first word that is no option may be a script of the project.
_TAKE_SCRIPTS = re.compile(
    r"(python|pypy)[\d.]*|ba?sh|zsh|dash|ksh|Rscript|julia|node|perl|ruby"
    r"|torchrun|deepspeed|accelerate|mpirun|horovodrun|ipython|nohup|time|env|uv|poetry"
)
_RUN_BY = {".py": "python", ".sh": "bash", ".R": "Rscript", ".jl": "julia"}
_SCRIPT = re.compile(r"[^\s-]\S*\.(py|sh|bash|zsh|R|r|jl|js|pl|rb)")
_NO_SCRIPT = re.compile(r"-[A-Za-z]*[cem]|--module|-")  # what follows is text, or a module


def check_name_is_meant(goals: Goals, name: str, command: tuple[str, ...], job: str = "") -> None:
    """Raises `NeedsDecision` where a desk would be made of a name that nobody has used: it may be a slip."""
    if goals.store.find(name) is not None or name in goals.config.desks:
        return
    check_name(name)
    if _elsewhere(goals, name):
        return
    names = [desk.name for desk in goals.store.desks()]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5) or (names if len(names) == 1 else [])
    program = _TAKE_SCRIPTS.fullmatch(name) is not None or (
        shutil.which(name) is not None and shutil.which(command[0].partition(" ")[0]) is None
    )
    line = job or f"-- {shlex.join((name, *command) if program else command)}"
    if program:
        why = f"{name} is a command: the desk's name may be missing before it."
    elif near:
        why = f"The nearest name is {near[0]}."
    else:
        why = f"There are: {', '.join(names[:12])}." if names else "There is no desk yet."
    fix = f"hotdesk run {near[0] if near else 'NAME'} {line}" if near or program else f"hotdesk up {name}"
    raise NeedsDecision(
        f"There is no desk {name}.", why, f"{fix}   # or, to make {name}: the same command with --yes"
    )


def _elsewhere(goals: Goals, name: str) -> bool:
    """Whether another computer has a desk of that name in the cloud where it would be made."""
    provider = goals.provider(name)
    if not cloud(provider).rented:
        return False
    try:
        seen = goals.clouds.survey(provider).of(name)
    except HotdeskError:  # the launch itself will say what is wrong
        return False
    return bool(seen.machines or seen.disks or seen.images)


def check_computer(request: JobRequest) -> str:
    """How this computer copies, where it is not the usual way. Raises `Missing` where it cannot."""
    here = Path(request.folder)
    if request.pull and not os.access(here, os.W_OK | os.X_OK):
        raise Missing(
            f"The results could not be written to {here}.", "You may not write there.", f"ls -ld {here}"
        )
    return copying.check() if request.pull or request.push else ""


def found_in_folder(request: JobRequest) -> Contents | None:
    """What would be copied of a run's folder; None: nothing is to be. Raises `Missing`, `NeedsDecision`."""
    if not request.push:
        return None
    found = request.contents()
    check_readable(found)
    return found


def check_folder(desk: str, request: JobRequest, found: Contents) -> None:
    """Raises `Unknown` where what shall run is not copied, `NeedsDecision` where nothing is, see `anyway`."""
    words = request.command
    if script := script_of(words):
        _is_there(script, found)
    elif words[0] in found.names and "/" not in words[0] and (run_by := _RUN_BY.get(Path(words[0]).suffix)):
        raise Unknown(
            f"{words[0]} is a file of the project, not a command.",
            "A shell looks for commands on its PATH only.",
            f"hotdesk run {desk} -- {run_by} {shlex.join(words)}",
        )
    if not found.names and not request.anyway:
        reason = "git ignores all that is in it." if found.ignored else "There is no file in it."
        fix = "cd the/project   # or, to begin in an empty folder: --yes"
        raise NeedsDecision(f"Nothing of {found.folder.name} would be copied.", reason, fix)


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
        f"The nearest is {near[0]}." if near else "The current folder is what is copied.",
        "cd the/project   # or, where it is at the desk already: --no-push",
    )


def _why_not(name: str, found: Contents) -> str:
    if name in found.hotdesk_ignored:
        return ".hotdeskignore leaves it out"
    if name.startswith(".."):
        return "outside of what is copied"
    return "git ignores it"
