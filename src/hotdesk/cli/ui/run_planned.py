"""`hotdesk run --plan cheapest|fastest|knee`: run the job on the machine that `hotdesk plan` chooses."""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from hotdesk.cli.ui import options, render
from hotdesk.cli.ui.renamed import current
from hotdesk.core.errors import Usage
from hotdesk.core.model import Market, Offer, Value
from hotdesk.market.refused import left_out
from hotdesk.services.job_plan import ANSWERS, Planned, planned
from hotdesk.services.planning import PlanRequest

if TYPE_CHECKING:
    from hotdesk.api import Hotdesk
    from hotdesk.core.sizing.frontier import Choice
    from hotdesk.services.jobs import JobRequest

F = TypeVar("F", bound=Callable[..., Any])


def plan_options(function: F) -> F:
    """Options of `hotdesk run` about the plan; the command gets them together as `plan`."""

    @click.option(
        "--plan", "answer", type=click.Choice(ANSWERS), help="Run on the machine that `hotdesk plan` answers."
    )
    @click.option(
        "--job", "about", default="", metavar="OPTIONS", help="Options of `hotdesk plan` about the job."
    )
    @options.provider("Provider of a new desk: {names}.  [default: hotdesk.toml's]")
    @options.yes
    @options.dry_run
    @functools.wraps(function)
    def call(
        *args: Any,
        answer: str | None,
        about: str,
        provider: str | None,
        yes: bool,
        dry_run: bool,
        **more: Any,
    ) -> Any:
        if answer is None and (about or provider):
            raise Usage(
                "--job and --provider belong to --plan.",
                "Without it a run takes the desk as it is.",
                "hotdesk run NAME --plan knee --dry-run -- python train.py",
            )
        ask = Ask(answer=answer, about=about, provider=provider, yes=yes, dry_run=dry_run) if answer else None
        return function(*args, plan=ask, yes=yes, dry_run=dry_run, **more)

    return cast(F, call)


class Ask(Value, frozen=True):
    answer: str
    about: str = ""
    provider: str | None = None
    yes: bool = False
    dry_run: bool = False


def choose(desks: Hotdesk, name: str, request: JobRequest, ask: Ask) -> Planned:
    """Plan the job, say the answer and why, and ask before money is spent, but in a dry run."""
    s = desks.services
    plan = planned(
        s.goals, name, request, ask.answer, _about(ask.about),
        provider=ask.provider, on_news=_news, on_left_out=_left_out,
    )  # fmt: skip
    if plan.known:
        run, machine = plan.known
        took = render.duration(run.result.seconds if run.result else 0.0)
        render.note(f"Job {run.number} took {took}{machine and f' on {machine}'}.")
    _say(plan, name)
    if ask.dry_run:
        return plan
    choice = plan.choice
    if choice.offer.usd_per_hour and not plan.stays:
        if warning := s.billing.check_budget(plan.row.offers):
            render.note(warning)
        options.agreed(
            f"{f'Move {name} to' if plan.moves else 'Launch'} {_place(choice.offer)}"
            f" for about {render.usd(choice.finish.usd)}?",
            ask.yes,
            f"hotdesk run {name} --plan {ask.answer} --yes …",
        )
    if plan.moves:
        options.agreed_to_end(desks, s.store.desk(name), ask.yes)
    return plan


def _about(words: str) -> PlanRequest:
    """What --job says, as `hotdesk plan` reads it."""
    from hotdesk.cli.commands.plan import asked
    from hotdesk.cli.commands.plan import command as plan

    given = dict(plan.make_context("plan", current("plan", shlex.split(words))).params)
    del given["picture"], given["as_json"]
    return asked(given)


def _news(offer: Offer, now: Offer | None) -> None:
    """An offer that differs from what was known about it."""
    news = f"costs {render.per_hour(now.usd_per_hour, now.told_per_hour)} now" if now else "cannot be had"
    render.note(f"{_place(offer)} {news}: planned again.")


def _left_out(reasons: Mapping[str, int]) -> None:
    render.note(f"Left out: {left_out(reasons)}. hotdesk offers --all shows them.")


# ---- output ----------------------------------------------------------------------------------------------


def _say(plan: Planned, name: str) -> None:
    """The answers, the one that is taken marked, and what its speed rests on."""
    answer, asked = plan.answer, plan.asked
    named: dict[Choice, list[str]] = {}
    for label in ANSWERS:
        if (choice := getattr(answer, label)) is not None:
            named.setdefault(choice, []).append(label)
    rows = [(" and ".join(labels), _place(c.offer), _figures(c)) for c, labels in named.items()]
    sizes = [max(len(row[n]) for row in rows) for n in (0, 1)]
    for row, labels in zip(rows, named.values(), strict=True):
        mark = render.style("→", "green", "bold", stream=sys.stderr) if asked in labels else " "
        render.note(f"{mark} {row[0]:{sizes[0]}}  {row[1]:{sizes[1]}}  {row[2]}")
    taken = plan.choice
    why = (
        f"its speed: {taken.evidence.value}, {taken.why}"
        if taken.why
        else f"its speed: {taken.evidence.value}"
    )
    place = f"{name} is on {_place(taken.offer)}" if plan.stays else f"{name} goes to {_place(taken.offer)}"
    plans = "the only plan" if answer.considered == 1 else f"the {asked} of {answer.considered:,} plans"
    render.note(f"{place}: {plans}; {why}.")


def _place(offer: Offer) -> str:
    gpu = f" ({offer.gpu}{f' x{offer.gpu_count:g}' if offer.gpu_count > 1 else ''})" if offer.gpu else ""
    spot = " spot" if offer.market is Market.SPOT else ""
    return f"{offer.instance_type}{spot}{gpu} in {offer.region}, {render.price(offer)}"


def _figures(choice: Choice) -> str:
    from hotdesk.cli.ui import plan_shown

    done = choice.finish
    hours = plan_shown.band(plan_shown.time, done.hours_low, done.hours_high, done.hours, done.hours_mean)
    time = f"{plan_shown.time(done.hours)} ({hours})"
    usd = plan_shown.band(render.usd, done.usd_low, done.usd_high, done.usd, done.usd_mean)
    cost = f"{render.usd(done.usd)} ({usd})"
    return f"{time}, {cost}" if done.usd_high else time
