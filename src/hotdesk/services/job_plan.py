"""A plan for a desk's job, confirmed by the desk's own cloud before anything is launched."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import HotdeskError, NotAllowed, Usage
from hotdesk.core.jobs import Job
from hotdesk.core.model import Desk, Goal, Market, MarketChoice, Offer, Value, Want
from hotdesk.core.money import per_hour
from hotdesk.core.sizing.frontier import Answer, Choice
from hotdesk.core.steps import Launch
from hotdesk.services.goals import Goals
from hotdesk.services.jobs import JobRequest
from hotdesk.services.planning import Candidates, PlanRequest, catalogue, plan_job

LOOKS = 12  # at the cloud, for offers that turn out to be gone or to cost more than was known
LOCAL_MINUTES = 0.2  # until a desk on this computer answers
DEARER = 1.02  # than was known: above it the plan is made again


ANSWERS = ("cheapest", "fastest", "knee")


class Planned(Value, frozen=True):
    """The machine that a plan chooses for a desk's job."""

    answer: Answer
    asked: str  # one of `ANSWERS`
    choice: Choice  # the answer that was asked for, as its cloud confirms it
    row: Desk  # the desk's row for it
    stays: bool  # whether the desk's machine is the one chosen
    moves: bool  # whether the desk has another machine now
    known: tuple[Job, str] | None = None  # the run whose time the plan rests on, and its machine

    @property
    def work_seconds(self) -> float:
        """The run time of the job there."""
        return self.choice.work_hours * 3600


def planned(
    goals: Goals,
    name: str,
    request: JobRequest,
    asked: str,
    about: PlanRequest,
    *,
    provider: str | None = None,
    on_news: Callable[[Offer, Offer | None], None] = lambda offer, now: None,
    on_left_out: Callable[[Mapping[str, int]], None] = lambda reasons: None,
) -> Planned:
    """Plan a desk's job by what is said `about` it and what is known; nothing is changed.

    Deadline and budget are the request's where `about` has none. The listeners: see `Plans`. Raises `Usage`
    where the job's size or reference is not known, or other work is at the desk; `NotAllowed` where no
    machine finishes it.
    """
    if asked not in ANSWERS:
        raise Usage(f"{asked!r} is no answer of a plan.", f"There are: {', '.join(ANSWERS)}.", "--plan knee")
    desk = goals.store.find(name)
    about, known = _completed(goals, desk, request, about)
    plans = Plans(goals, name, desk.provider if desk else provider or goals.provider(name), about,
                  on_news, on_left_out)  # fmt: skip
    answer, choice, row = plans.verified(asked)
    if choice is None or row is None:
        raise _none(answer, plans.request)
    stays = plans.is_there(choice.offer)
    if plans.live and not stays and goals.store.jobs(name, unsettled=True):
        raise Usage(
            f"{name} has other work on {plans.live.instance_type}, and the plan would move it.",
            f"Its {asked} is {_named(choice.offer)}.",
            f"hotdesk jobs {name}   # or another desk: hotdesk run {name}-2 --plan {asked} …",
        )
    return Planned(
        answer=answer, asked=asked, choice=choice, row=row, stays=stays, known=known,
        moves=plans.live is not None and not stays,
    )  # fmt: skip


def _completed(
    goals: Goals, desk: Desk | None, request: JobRequest, about: PlanRequest
) -> tuple[PlanRequest, tuple[Job, str] | None]:
    """The plan request with what the run's own options and earlier runs say; and the run that it rests on."""
    from hotdesk.jobs.terms import known_run

    if about.machines not in {"", "1"}:
        raise Usage(
            "A desk is one machine.",
            f"The job is planned for {about.machines}.",
            "hotdesk plan … --machines 1,10,100   # what more of them would bring",
        )
    due, budget = about.deadline_hours, about.budget_usd
    if due is None and request.deadline_seconds is not None:
        due = request.deadline_seconds / 3600
    about = replace(
        about,
        machines="1",
        deadline_hours=due,
        budget_usd=request.budget_usd if budget is None else budget,
    )
    if about.items is not None:
        return about, None
    hours, reference, known = about.work_hours, about.reference, None
    if hours is None and request.work_seconds:
        hours = request.work_seconds / 3600
    run = known_run(request.line, goals.store.jobs())
    if hours is not None:
        reference = reference or (_machine_at(goals, desk.name, None) if desk else "")
    elif run is not None and run.result is not None:
        hours = run.result.seconds / 3600
        reference = reference or _machine_at(goals, run.desk, run.result.at)
        known = run, reference
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
    return replace(about, work_hours=hours, reference=reference), known


def _machine_at(goals: Goals, name: str, at: float | None) -> str:
    """The instance type that the desk had then (now, when `at` is None); "" where no row says so."""
    for row in reversed(goals.store.rows(name, limit=10_000)):
        if isinstance(row.step, Launch) and row.done and (at is None or row.at <= at):
            offer = row.step.order.offer
            return offer.gpu if offer.gpu and offer.gpu_count == 1 else offer.instance_type
    return ""


def _none(answer: Answer, request: PlanRequest) -> NotAllowed:
    limits = {"deadline": request.deadline_hours, "budget": request.budget_usd}
    if answer.front and any(limit is not None for limit in limits.values()):
        best = answer.front[0]
        enough = {"deadline": best.hours_p90, "budget": best.finish.usd_high}
        fix = [
            f"--{k} {math.ceil(enough[k] * 10) / 10:g}" for k, limit in limits.items() if limit is not None
        ]
        return NotAllowed(
            "No machine finishes this job within the deadline and the budget in 9 of 10 cases.",
            f"The cheapest is {_named(best.offer)}: {best.finish.hours:.3g} h, ${best.finish.usd:,.2f}.",
            " ".join(fix),
        )
    why = answer.lost[0].why if answer.lost else "nothing that fits is known"
    return NotAllowed("No machine that is known finishes this job.", f"{why}.", "hotdesk offers")


def _named(offer: Offer) -> str:
    spot = " spot" if offer.market is Market.SPOT else ""
    return (
        f"{offer.instance_type}{spot} in {offer.region} ({per_hour(offer.usd_per_hour, offer.told_per_hour)})"
    )


class Plans:
    """The plan over what this desk could be: offers of its own cloud, within its limits."""

    def __init__(  # noqa: PLR0917 -- the last two are listeners
        self,
        goals: Goals,
        name: str,
        provider: str,
        request: PlanRequest,
        on_news: Callable[[Offer, Offer | None], None] = lambda offer, now: None,
        on_left_out: Callable[[Mapping[str, int]], None] = lambda reasons: None,
    ) -> None:
        """`on_news` hears of an offer that is gone (None), or costs more than was known; `on_left_out` how
        many were refused lately, by reason.
        """
        desk = goals.store.find(name)
        self.goals, self.clouds, self.name, self.provider = goals, goals.clouds, name, provider
        self.on_news, self.on_left_out = on_news, on_left_out
        self.base = desk.want if desk else goals.configured(name, provider)
        self.live = self.clouds.survey(provider).of(name).live
        local = not cloud(provider).rented and request.startup_minutes is None
        self.request = replace(request, startup_minutes=LOCAL_MINUTES) if local else request

    def verified(self, asked: str) -> tuple[Answer, Choice | None, Desk | None]:
        """The answer, its choice as the cloud confirms it, and the desk's row for it.

        None where no machine finishes the job.

        What is gone is left out, what is dearer than was known counts as such, and the plan is made again.
        """
        offers, left_out = self._candidates()
        if left_out:
            self.on_left_out(left_out)
        trouble: HotdeskError | None = None
        for _ in range(LOOKS):
            request = replace(self.request, offers=tuple(offers))
            answer = plan_job(
                request,
                lambda: self.goals.store,
                self.goals.clock.now(),
                money=self.goals.config.money,
                simulate=False,
            ).answer
            choice: Choice | None = getattr(answer, asked)
            if choice is None:
                if trouble:
                    raise trouble
                return answer, None, None
            mine, same = choice.offer, list[Offer]()
            try:
                row = self._row(mine)
            except NotAllowed as error:
                trouble = error
            else:
                same = [o for o in row.offers if _pool(o) == _pool(mine)]
                if same and min(o.usd_per_hour for o in same) <= mine.usd_per_hour * DEARER:
                    return answer, choice, row
            offers = [o for o in offers if _pool(o) != _pool(mine)] + same
            self.on_news(mine, same[0] if same else None)
        raise trouble or NotAllowed(
            f"The prices of the {LOOKS} best answers were out of date.",
            "What is known of prices is too old to plan by.",
            "hotdesk offers --refresh",
        )

    def is_there(self, offer: Offer) -> bool:
        """Whether the desk's machine is of that kind already."""
        live = self.live
        here = live and (live.instance_type, live.region, live.market)
        return here == _pool(offer)

    def _row(self, offer: Offer) -> Desk:
        if self.is_there(offer):
            return self.goals.wanted(self.name, Goal.RUNNING)
        want = self._want(offer)
        if self.live:
            return self.goals.moved(self.name, want)
        return self.goals.wanted(self.name, Goal.RUNNING, want, self.provider)

    def _want(self, offer: Offer) -> Want:
        """That offer's hardware. With a deadline spot may give way to on-demand: dearer, but in time."""
        market = MarketChoice(offer.market)
        if offer.market is Market.SPOT and self.request.deadline_hours is not None:
            market = MarketChoice.CHEAPEST
        regions = (offer.region,) if cloud(offer.provider).rented else ()
        kind = offer.instance_type
        return replace(self.base, instance_type=kind, gpu="", gpu_count=0, market=market, regions=regions)

    def _candidates(self) -> Candidates:
        loose = replace(self.base, instance_type="", gpu="", gpu_count=0, market=MarketChoice.CHEAPEST)
        if not cloud(self.provider).rented:
            kinds = [replace(loose, instance_type=kind) for kind in ("local.gpu", "local.cpu")]
            cloud_ = self.clouds.provider(self.provider)
            return Candidates([offer for kind in kinds for offer in cloud_.offers(kind)])
        told = self.request
        request = replace(
            told,
            regions=told.regions or self.base.regions,
            max_usd=self.base.usd_per_hour_max if told.max_usd is None else told.max_usd,
            provider=self.provider,
            zone=self.base.zone,
        )
        return catalogue(request, self.goals.store, self.goals.clock.now(), self.goals.config.money)


def _pool(offer: Offer) -> tuple[str, str, Market]:
    return offer.instance_type, offer.region, offer.market
