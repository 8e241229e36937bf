"""`hotdesk run --plan cheapest|fastest|knee`: run the job on the machine that `hotdesk plan` chooses."""

from __future__ import annotations

import functools
import math
import shlex
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from hotdesk.cli.ui import options, render
from hotdesk.cli.ui.renamed import current
from hotdesk.core.errors import NotAllowed, Usage
from hotdesk.core.model import Desk, Market, Offer, Value
from hotdesk.market.refused import left_out
from hotdesk.services.job_plan import Plans
from hotdesk.services.planning import PlanRequest

if TYPE_CHECKING:
    from hotdesk.api import Hotdesk
    from hotdesk.core.sizing.frontier import Answer, Choice

F = TypeVar("F", bound=Callable[..., Any])

ANSWERS = ("cheapest", "fastest", "knee")


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


class Chosen(Value, frozen=True):
    """Where the job will run. `move`: the desk has another machine now."""

    row: Desk  # the row that the desk would get
    work_seconds: float
    move: bool = False


def choose(desks: Hotdesk, name: str, words: str, ask: Ask, given: dict[str, Any]) -> Chosen | None:
    """Plan the job, say the answer and why, and ask before money is spent. None after a dry run."""
    desk = desks.services.store.find(name)
    provider = desk.provider if desk else ask.provider or desks.services.goals.provider(name)
    request = _about(desks, desk, words, ask, given)
    plans = Plans(desks.services.goals, name, provider, request, _news, _left_out)
    live = plans.live
    answer, choice, row = plans.verified(ask.answer)
    if choice is None or row is None:
        raise _none(answer, plans.request)
    stays = plans.is_there(choice.offer)
    if live and not stays and desks.services.store.jobs(name, unsettled=True):
        raise Usage(
            f"{name} has other work on {live.instance_type}, and the plan would move it.",
            f"Its {ask.answer} is {_place(choice.offer)}.",
            f"hotdesk jobs {name}   # or another desk: hotdesk run {name}-2 --plan {ask.answer} …",
        )
    _say(answer, ask.answer, name, stays)
    if ask.dry_run:
        options.show_plan(desks, row)
        return None
    if choice.offer.usd_per_hour and not stays:
        if warning := desks.services.billing.check_budget():
            render.note(warning)
        options.agreed(
            f"{'Move ' + name + ' to' if live else 'Launch'} {_place(choice.offer)}"
            f" for about {render.usd(choice.finish.usd)}?",
            ask.yes,
            f"hotdesk run {name} --plan {ask.answer} --yes …",
        )
    if desk and live and not stays:
        options.agreed_to_end(desks, desk, ask.yes)
    return Chosen(row=row, work_seconds=choice.work_hours * 3600, move=bool(live and not stays))


def launch(desks: Hotdesk, name: str, chosen: Chosen) -> None:
    """The desk, running on the planned machine."""
    if chosen.move:
        desks.move(name, chosen.row.want, anyway=True)  # `choose` has asked
    else:
        desks.up(name, want=chosen.row.want, provider=chosen.row.provider)


# ---- the job as a plan request -----------------------------------------------------------------------


def _news(offer: Offer, now: Offer | None) -> None:
    """An offer that differs from what was known about it."""
    news = f"costs {render.per_hour(now.usd_per_hour, now.told_per_hour)} now" if now else "cannot be had"
    render.note(f"{_place(offer)} {news}: planned again.")


def _left_out(reasons: Mapping[str, int]) -> None:
    render.note(f"Left out, refused lately: {left_out(reasons)}. hotdesk offers --all shows them.")


def _about(desks: Hotdesk, desk: Desk | None, words: str, ask: Ask, given: dict[str, Any]) -> PlanRequest:
    """The plan request: from --job, completed by what is known without it."""
    from hotdesk.cli.commands.plan import asked
    from hotdesk.cli.commands.plan import command as plan
    from hotdesk.jobs.terms import known_run

    about = dict(plan.make_context("plan", current("plan", shlex.split(ask.about))).params)
    if about["machines"] not in ("", "1"):
        raise Usage(
            "A desk is one machine.",
            f"--job asks for {about['machines']}.",
            "hotdesk plan … --machines 1,10,100   # what more of them would bring",
        )
    about["machines"] = "1"
    del about["picture"], about["as_json"]
    for mine, its in (("deadline", "deadline_hours"), ("budget", "budget_usd")):
        if about[its] is None:
            about[its] = given[mine]
    if about["items"] is not None:
        return asked(about)
    reference = about["reference"]
    run = known_run(words, desks.services.store.jobs())
    if about["took"] is None and about["work_hours"] is None:
        about["work_hours"] = given["work"]
    if about["took"] is not None or about["work_hours"] is not None:
        reference = reference or (_machine_at(desks, desk.name, None) if desk else "")
    elif run is not None and run.result is not None:
        hours = about["work_hours"] = run.result.seconds / 3600
        reference = reference or _machine_at(desks, run.desk, run.result.at)
        render.note(
            f"Job {run.number} took {render.duration(hours * 3600)}"
            + (reference and f" on {reference}")
            + "."
        )
    else:
        raise Usage(
            "The run time of this job is unknown.",
            "A plan compares the time and cost of the work on each machine.",
            '--work 10h   # on this desk; or: --job "--took 48m --on V100", or other options of hotdesk plan',
        )
    if not reference:
        raise Usage(
            "The machine that this run time is about is missing.",
            "Machines can only be compared from the speed on one of them.",
            '--job "--on V100"   # a GPU, or an instance type such as local.cpu',
        )
    about["reference"] = reference
    return asked(about)


def _machine_at(desks: Hotdesk, name: str, at: float | None) -> str:
    """The instance type that the desk had then (now, when `at` is None); "" where no row says so."""
    from hotdesk.core.steps import Launch

    for row in reversed(desks.services.store.rows(name, limit=10_000)):
        if isinstance(row.step, Launch) and row.done and (at is None or row.at <= at):
            offer = row.step.order.offer
            return offer.gpu if offer.gpu and offer.gpu_count == 1 else offer.instance_type
    return ""


def _none(answer: Answer, request: PlanRequest) -> NotAllowed:
    if answer.front and (request.deadline_hours is not None or request.budget_usd is not None):
        best = answer.front[0]
        return NotAllowed(
            "No machine finishes this job within the deadline and the budget in 9 of 10 cases.",
            f"The cheapest is {_place(best.offer)}: {_figures(best)}.",
            " ".join(
                f"--{name} {math.ceil(enough * 10) / 10:g}"
                for name, limit, enough in (
                    ("deadline", request.deadline_hours, best.hours_p90),
                    ("budget", request.budget_usd, best.finish.usd_high),
                )
                if limit is not None
            ),
        )
    why = answer.lost[0].why if answer.lost else "nothing that fits is known"
    return NotAllowed("No machine that is known finishes this job.", why + ".", "hotdesk offers")


# ---- output ----------------------------------------------------------------------------------------------


def _say(answer: Answer, asked: str, name: str, stays: bool) -> None:
    """The answers, the one that is taken marked, and what its speed rests on."""
    named: dict[Choice, list[str]] = {}
    for label in ANSWERS:
        if (choice := getattr(answer, label)) is not None:
            named.setdefault(choice, []).append(label)
    rows = [(" and ".join(labels), _place(c.offer), _figures(c)) for c, labels in named.items()]
    sizes = [max(len(row[n]) for row in rows) for n in (0, 1)]
    for row, labels in zip(rows, named.values(), strict=True):
        mark = render.style("→", "green", "bold", stream=sys.stderr) if asked in labels else " "
        render.note(f"{mark} {row[0]:{sizes[0]}}  {row[1]:{sizes[1]}}  {row[2]}")
    taken: Choice = getattr(answer, asked)
    why = (
        f"its speed: {taken.evidence.value}, {taken.why}"
        if taken.why
        else f"its speed: {taken.evidence.value}"
    )
    render.note(f"{name} {'is there already' if stays else 'goes there'}; {why}.")


def _place(offer: Offer) -> str:
    gpu = f" ({offer.gpu}{f' x{offer.gpu_count:g}' if offer.gpu_count > 1 else ''})" if offer.gpu else ""
    spot = " spot" if offer.market is Market.SPOT else ""
    return f"{offer.instance_type}{spot}{gpu} in {offer.region}, {render.price(offer)}"


def _figures(choice: Choice) -> str:

    done = choice.finish
    time, low, high = (render.duration(3600 * h) for h in (done.hours, done.hours_low, done.hours_high))
    time = f"{time} ({low} to {high})"
    cost = f"{render.usd(done.usd)} ({render.usd(done.usd_low)} to {render.usd(done.usd_high)})"
    return f"{time}, {cost}" if done.usd_high else time
