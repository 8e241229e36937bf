"""The words of `hotdesk run`: a desk, and a command or the name of a job of hotdesk.toml."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable

import click
from msgspec.structs import replace

from hotdesk.cli.ui import options, render, terminal
from hotdesk.config import JOB_NAME, load
from hotdesk.core.errors import Unknown, Usage
from hotdesk.services import template
from hotdesk.services.installing import Installing
from hotdesk.services.jobs import JobRequest
from hotdesk.system import config_files, state_folder

_JOB = "hotdesk.job"  # in the context: the job's name


def job_of(context: click.Context) -> str:
    """The job of hotdesk.toml that was named; "" where a command was given."""
    return str(context.meta.get(_JOB, ""))


class Command(click.Command):
    """Without `--`, one word after the desk is a job of hotdesk.toml, and options may follow it.

    Other words are the job's own command: options of hotdesk end before it, with or without `--`.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        valued = options.valued(self, ctx)
        names: list[str] = []
        place = 0
        while place < len(args) and args[place] != "--":
            word = args[place]
            if not word.startswith("-") or word == "-":
                names.append(word)
                if len(names) == 2:
                    if not _is_job(word, args[place + 1 :], names[0]):
                        args = [*args[:place], "--", *args[place:]]
                        break
                    ctx.meta[_JOB] = word
                    args = [*args[:place], *args[place + 1 :]]
                    continue
                if len(names) == 3:
                    raise _more(names[0], names[1], args[place:])
            elif word not in valued and word.partition("=")[0] not in valued:
                break  # click says so
            place += 2 if valued.get(word) else 1
        asks = {"--help", "-h"} & set(args[:place])
        if not asks and not names and place < len(args) and args[place] == "--":
            raise click.UsageError("The desk's name is missing before '--'.", ctx)
        if not asks and len(names) == 1 and place >= len(args) - 1:
            raise _lacks(names[0])
        if job_of(ctx) and "--" in args:
            raise _more(names[0], job_of(ctx), args[args.index("--") + 1 :])
        return super().parse_args(ctx, args)


def variables(told: tuple[str, ...]) -> dict[str, str | None]:
    """`--env KEY[=VALUE]`, by name; None where the value is to be this environment's."""
    parts = [word.partition("=") for word in told]
    return {name: value if given else None for name, given, value in parts}


def secrets(told: tuple[str, ...]) -> dict[str, str | None]:
    """`--secret KEY`. Raises `Usage` for a value, which every process of this computer could read."""
    for word in told:
        name, given, _ = word.partition("=")
        if given:
            raise Usage(
                f"--secret {name} takes no value.",
                "The shell keeps command lines, and other users of this computer can read them.",
                f"read -rs {name} && export {name}   # then --secret {name}; or answer when you are asked",
            )
    return dict.fromkeys(told)


def asked(request: JobRequest) -> JobRequest:
    """With the secrets that this environment lacks, as the person at the terminal types them."""
    if not request.gathered.missing or not terminal.can_ask():
        return request
    answers = {name: click.prompt(name, hide_input=True, err=True) for name in request.gathered.missing}
    return replace(request, gathered=request.gathered.answered(answers))


def offered(installing: Installing, desk: str, request: JobRequest, names: Iterable[str]) -> JobRequest:
    """With the answer of the person at the terminal to installing what the folder names: asked once, before
    a machine is paid for, and remembered."""
    kind = installing.undecided(desk, request, names)
    if not kind or not terminal.can_ask():
        return request
    question = f"Install {kind} at {desk} first, and again whenever it changes?"
    install = click.confirm(question, default=True, err=True)
    installing.decide(desk, request.folder, install=install)
    other = "one run without" if install else "to install it all the same"
    flag = "--no-install" if install else "--install"
    render.note(f"Remembered for this folder at {desk}; {other}: {flag}")
    return replace(request, install=install)


def _is_job(word: str, rest: list[str], desk: str) -> bool:
    """Whether a word names a job. Raises `Unknown` where it could be nothing else and there is none."""
    if not JOB_NAME.fullmatch(word):
        return False
    config = load(config_files())
    jobs = [*config.jobs, *template.jobs_of(state_folder(), desk)]
    if config.is_job(word) or word in jobs:
        return True
    if rest:
        return False
    config.need()  # a file that cannot be read may have it
    command = f"hotdesk run {desk} -- {word}"
    near = difflib.get_close_matches(word, jobs, n=1)
    raise Unknown(
        f"There is no job {word!r}.",
        f"Without --, one word after the desk is a job of hotdesk.toml. {_there(jobs)}",
        f"hotdesk run {desk} {near[0]}   # or, as a command: {command}" if near else command,
    )


def _there(jobs: Iterable[str]) -> str:
    return (
        f"There are: {', '.join(jobs)}." if jobs else "hotdesk.toml has no job here: hotdesk init shows how."
    )


def _more(desk: str, job: str, rest: list[str]) -> Usage:
    return Usage(
        f"{job} is a job of hotdesk.toml, and takes no words of its own.",
        f"After it came: {shlex.join(rest)}",
        f"hotdesk run {desk} {job}   # or, as a command: hotdesk run {desk} -- {job} {shlex.join(rest)}",
    )


def _lacks(word: str) -> Usage:
    """One word alone: a desk without a command, or a job without a desk."""
    config = load(config_files())
    desk = next(iter(config.desks), "NAME")
    fix = f"hotdesk run {word} -- python train.py"
    if config.is_job(word):
        fix = f"hotdesk run {desk} {word}   # or, if {word} is the desk: {fix}"
    elif config.jobs:
        fix = f"hotdesk run {word} {next(iter(config.jobs))}   # or: {fix}"
    return Usage(
        f"`hotdesk run {word}` is incomplete.",
        f"If {word} is a desk, add what to run there; if it is a job, put the desk before it. "
        f"{_there(config.jobs)}",
        fix,
    )
