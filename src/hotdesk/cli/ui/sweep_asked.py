"""What `hotdesk sweep start` asks for, from its words, its options and its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hotdesk.cli.ui import options
from hotdesk.core.errors import Usage
from hotdesk.core.model import MarketChoice
from hotdesk.core.sweep.params import Space, read_parameter
from hotdesk.services.sweep_file import read_file
from hotdesk.services.sweep_request import CHECKPOINT_GIB, SweepRequest


class Machines(options.OfCounts):
    """A number of machines, or `auto`, which is 0."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if value == "auto":
            return 0
        return int(click.IntRange(1).convert(value, param, ctx))


class Words(click.Command):
    """Options end where the command to run begins, with or without `--`; it is in the context's `words`."""

    file = ""  # suffix of a file that may be the second argument

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        valued = options.valued(self, ctx)
        names, place = 0, 0
        while place < len(args) and args[place] != "--":
            word = args[place]
            if not word.startswith("-") or word == "-":
                names += 1
                if names >= 2 and not (names == 2 and self.file and word.endswith(self.file)):
                    args = [*args[:place], "--", *args[place:]]
                    break
            elif word not in valued and word.partition("=")[0] not in valued:
                break  # click says so
            place += 2 if valued.get(word) else 1
        before, after = args, []
        if "--" in args:
            place = args.index("--")
            before, after = args[:place], args[place + 1 :]
        ctx.meta["words"] = tuple(after)
        return super().parse_args(ctx, before)


class Start(Words):
    file = ".toml"


def request(words: tuple[str, ...], desk: str, file: Path | None, given: dict[str, Any]) -> SweepRequest:
    space, told = read_file(file) if file else (Space(), {})
    parameters = {p.name: p for p in space.parameters}
    named: list[str] = []
    for text in given["given"]:
        found = read_parameter(text)
        if found.name in named:
            raise Usage(
                f"The parameter {found.name} is given twice.",
                "Its values belong in one list.",
                f"--param {found.name}=1,2,3",
            )
        named.append(found.name)
        parameters[found.name] = found
    lines = space.lines
    if given["lines"] is not None:
        lines = _lines(given["lines"])
    command = told.get("command", ())
    words = words or ((command,) if isinstance(command, str) else tuple(command))  # type: ignore[arg-type]
    if not words and lines:
        words = ("{line}",)
    if not words:
        raise Usage(
            "The command is missing.",
            "It stands behind --, with {NAME} where a parameter goes.",
            f"hotdesk sweep start {desk} --param seed=0..4 -- python train.py --seed {{seed}}",
        )
    variables = {**told.get("env", {}), **dict(map(variable, given["variables"]))}  # type: ignore[dict-item]

    def choose(name: str, default: Any, file_name: str = "") -> Any:
        value = given[name]
        unsaid = value is None or value is False or value == ()  # a 0 was said
        return told.get(file_name or name, default) if unsaid else value

    limit = choose("time_limit", None)
    if isinstance(limit, str):
        limit = options.seconds_of(limit, 'time_limit = "90m"')
    linger = choose("linger", 0.0)
    return SweepRequest(
        desk=desk,
        command=tuple(map(str, words)),
        space=Space(
            parameters=tuple(parameters.values()),
            samples=given["samples"] or space.samples,
            seed=space.seed if given["seed"] is None else given["seed"],
            lines=lines,
        ),
        folder=str(Path.cwd()),
        push=not given["no_push"],
        everything=given["everything"],
        anyway=given["yes"],
        tags=tuple(choose("tags", (), "tag")),
        machines=_machines(told.get("machines", 1) if given["machines"] is None else given["machines"]),
        each_seconds=float(given["each"] or 0.0),
        market=_market(choose("market", "cheapest")),
        cpus=float(choose("cpus", 1.0)),
        per_gpu=float(choose("per_gpu", 0.0)),
        memory_gib=float(choose("memory", 0.0, "memory_gib")),
        retries=choose("retries", 1),
        limit_seconds=None if limit is None else float(limit),
        environment=tuple((name, str(value)) for name, value in variables.items()),
        secrets=given["secrets"],
        pull=tuple(choose("pull", ())),
        checkpoint=choose("checkpoint", ""),
        checkpoint_gib=float(choose("checkpoint_gib", CHECKPOINT_GIB)),
        budget_usd=given["budget"],
        deadline_seconds=None if given["deadline"] is None else 3600 * given["deadline"],
        keep_going=bool(choose("keep_going", False)),
        linger_seconds=options.seconds_of(linger, 'linger = "10m"')
        if isinstance(linger, str)
        else 60 * linger,
    )


def _machines(told: object) -> int:
    """Of an option, or of a file: a number, or "auto"."""
    if told == "auto":
        return 0
    if not isinstance(told, int) or told < 0:
        raise Usage(f"machines = {told!r} is no number of machines.", "", 'machines = 4   # or "auto"')
    return told


def _market(text: str) -> MarketChoice:
    if text not in {str(m) for m in MarketChoice}:
        raise Usage(f"{text!r} is no market.", f"There are: {', '.join(MarketChoice)}.", 'market = "spot"')
    return MarketChoice(text)


def variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise Usage(f"--env {text!r} is not NAME=VALUE.", "", "--env OMP_NUM_THREADS=1")
    return name, value


def _lines(file: Path) -> tuple[str, ...]:
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Usage(f"{file} cannot be read.", str(error), f"ls -l {file}") from None
    found = [line.strip() for line in text.splitlines()]
    lines = tuple(line for line in found if line and not line.startswith("#"))
    if not lines:
        raise Usage(f"{file} has no line.", "Each line that is not empty is a task.", f"wc -l {file}")
    return lines
