"""Check before launch that a job's deadline and budget are feasible.

For a running job, order the desk's offers as `core.spot.policy` decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil

import msgspec

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import NotAllowed, Usage
from hotdesk.core.jobs import Job
from hotdesk.core.model import Market, Offer
from hotdesk.core.money import judge
from hotdesk.core.spot.changeovers import GUESS_SECONDS, Changeover
from hotdesk.core.spot.decision import Action, Decision, Situation, Zone, decide
from hotdesk.core.spot.policy import Policy, Terms, UniformProgress, check, market_usd
from hotdesk.core.spot.table import SemiMarkov


def known_run(words: str, jobs: Sequence[Job]) -> Job | None:
    """The last successful job with exactly this command."""
    ended = [j for j in jobs if j.words == words and j.result and j.result.exit_status == 0]
    return ended[-1] if ended else None


def known_seconds(words: str, jobs: Sequence[Job]) -> float:
    """Run time of the last successful job with exactly this command; 0.0 if there is none."""
    run = known_run(words, jobs)
    return run.result.seconds if run and run.result else 0.0


def terms_of(
    offers: Sequence[Offer],
    work_seconds: float,
    deadline_seconds: float,
    changeover_seconds: float = GUESS_SECONDS,
) -> Terms:
    """The terms of a job on a desk with these offers; on free machines a changeover takes no time.

    The price of spot is that of the market: of the cheapest zone that has it, as often as zones have it.
    """
    on_demand = [o.usd_per_hour for o in offers if o.market is Market.ON_DEMAND and not o.reservation]
    spot = [o.usd_per_hour for o in offers if o.market is Market.SPOT]
    usd = min(on_demand or spot or [0.0])
    free = usd <= 0
    return Terms(
        work_seconds=work_seconds,
        deadline_seconds=deadline_seconds,
        changeover_seconds=0.0 if free else changeover_seconds,
        usd_on_demand=1.0 if free else usd,
        usd_spot=1.0 if free else market_usd(spot, usd) if spot else usd,
        tick_seconds=600.0 if work_seconds >= 3600 else 60.0,
        zones=max(1, sum(price < usd for price in spot)),
        first_hour_free=any(cloud(o.provider).first_hour_free for o in offers),
    )


def agree(
    offers: Sequence[Offer], work_seconds: float, deadline_seconds: float | None, budget_usd: float | None
) -> float | None:
    """The deadline to keep, in seconds from now; None if neither deadline nor budget was asked for.

    Raises `Usage` if the amount of work is unknown, and `NotAllowed` if it is infeasible: with the earliest
    feasible deadline, or the cheapest feasible plan.
    """
    if deadline_seconds is None and budget_usd is None:
        return None
    if work_seconds <= 0:
        raise Usage(
            "The run time of this job is unknown.",
            "A deadline or a budget can only be promised for a known amount of work.",
            "the same command with --work 10h   # its run time on the desk's kind of machine",
        )
    if deadline_seconds is not None:
        check(terms_of(offers, work_seconds, deadline_seconds))
    if budget_usd is None:
        return deadline_seconds
    for offer in offers:
        judge(offer.told_per_hour, f"A budget of ${budget_usd:.2f}")
    return _within(offers, work_seconds, deadline_seconds, budget_usd)


def _within(
    offers: Sequence[Offer], work_seconds: float, deadline_seconds: float | None, budget_usd: float
) -> float | None:
    if not any(o.usd_per_hour for o in offers):
        return deadline_seconds
    terms = terms_of(offers, work_seconds, deadline_seconds or 0.0)
    if terms.usd_spot >= terms.usd_on_demand:
        needed = (work_seconds + terms.changeover_seconds) / 3600 * terms.usd_on_demand
        if needed > budget_usd:
            raise NotAllowed(
                f"A budget of ${budget_usd:.2f} does not pay for {work_seconds / 3600:g} h of work.",
                f"At ${terms.usd_on_demand:.4g} an hour it costs ${needed:.2f}; this desk has no spot offer.",
                f"--budget {int(needed * 100 + 1) / 100:.2f}   # or hotdesk up NAME --market cheapest",
            )
        return deadline_seconds
    from hotdesk.simulate.budget import within_budget

    planned, usd = within_budget(terms, budget_usd)
    if deadline_seconds is not None and planned.deadline_seconds > deadline_seconds:
        hours = planned.deadline_seconds / 3600
        raise NotAllowed(
            f"This job is not expected to finish within {deadline_seconds / 3600:g} h for ${budget_usd:.2f}.",
            f"With that budget it is expected to take up to {hours:.1f} h and cost ${usd:.2f}.",
            f"--deadline {hours:.1f}   # or more money",
        )
    return deadline_seconds if deadline_seconds is not None else planned.deadline_seconds


def place(
    job: Job,
    offers: Sequence[Offer],
    zones: tuple[Zone, ...],
    now: float,
    *,
    machine: str = "",
    ran_seconds: float = 0.0,
    starting_seconds: float = 0.0,
    spells: Sequence[tuple[float, bool]] = (),
    changeover: Changeover = Changeover(),
    on_demand_move_usd: Mapping[str, float] | None = None,
    keeps: bool = False,
    policy: Callable[[Terms], Policy] = lambda terms: policy_of(terms),  # noqa: PLW0108 -- it is below
) -> tuple[tuple[Offer, ...], Decision | None]:
    """The offers in the order in which a job with a deadline should try them now, and the decision behind.

    First spot that is worth it, each place as it is decided where those before have refused; then on-demand;
    then the rest of spot that is cheaper than that, for when on-demand is sold out. Spot for more than
    on-demand is left out. What the account has reserved comes before all of it.

    `zones`: what is known of each spot offer, named by its key. `machine`: "on-demand", or the key of the
    spot offer that it runs on. `spells`: how long spot was seen to last, and whether it then fell.
    `on_demand_move_usd`: by offer key, what bringing the checkpoint there costs. `keeps`: the machine works
    on until another is granted, so the offers are those that it would be left for, best first.
    """
    reserved = tuple(o for o in offers if o.reservation)
    if reserved:
        why = f"{reserved[0].instance_type}: {reserved[0].why}"
        later, _ = place(
            job, [o for o in offers if not o.reservation], zones, now,
            spells=spells, changeover=changeover, on_demand_move_usd=on_demand_move_usd, policy=policy,
        )  # fmt: skip
        return (*reserved, *(() if keeps else later)), Decision(action=Action.ON_DEMAND, why=why)
    markets = {o.market for o in offers}
    if job.deadline_at is None or job.work_seconds <= 0 or len(markets) < 2:
        return tuple(offers), None
    terms = terms_of(offers, job.work_seconds, job.deadline_at - job.created_at, changeover.seconds)
    spot = [o for o in offers if o.market is Market.SPOT]
    left = max(1.0, job.work_seconds - job.ran_seconds)
    moves = on_demand_move_usd or {}

    def whole(offer: Offer) -> float:
        return offer.usd_per_hour * left / 3600 + moves.get(offer.key, 0.0)

    on_demand = sorted((o for o in offers if o.market is Market.ON_DEMAND), key=whole)
    look = Situation(
        elapsed_seconds=max(0.0, now - job.created_at),
        work_seconds=left,
        zones=zones,
        machine=machine,
        ran_seconds=ran_seconds,
        starting_seconds=starting_seconds,
        on_demand_move_usd=0.0 if machine == "on-demand" else moves.get(on_demand[0].key, 0.0),
        margin_seconds=changeover.margin_seconds if terms.changeover_seconds else 0.0,
        held_seconds=terms.changeover_seconds + changeover.margin_seconds
        if terms.changeover_seconds
        else 0.0,
    )
    rule = policy(terms)
    if isinstance(rule, SemiMarkov):
        look = msgspec.structs.replace(look, unrest=unrest(rule, spells))
    decision = decide(rule, terms, look)
    places, otherwise = _one_by_one(rule, terms, look, decision, zones, keeps=keeps)
    decision = msgspec.structs.replace(decision, otherwise=otherwise)
    for key, zone in {o.key: o.zone for o in spot}.items():  # people call a zone by its name
        decision = msgspec.structs.replace(decision, why=decision.why.replace(key, zone))
    by_key, up = {o.key: o for o in spot}, {z.name for z in zones if z.up}
    first = [by_key[key] for key in places] or on_demand
    rest = sorted((o for o in spot if o.key in up - set(places)), key=lambda o: o.usd_per_hour)
    rest = [o for o in rest if o.usd_per_hour < terms.usd_on_demand]
    if keeps:
        dear = on_demand if otherwise is Action.ON_DEMAND and machine != "on-demand" else []
        first, rest, on_demand = [*(by_key[key] for key in places), *dear], [], []
    preferred = first[:1] if places or keeps else on_demand
    said = [msgspec.structs.replace(o, why=decision.why) for o in preferred]
    return (*said, *first[len(said) :], *(on_demand if places else ()), *rest), decision


def _one_by_one(
    rule: Policy,
    terms: Terms,
    look: Situation,
    decision: Decision,
    zones: tuple[Zone, ...],
    *,
    keeps: bool,
) -> tuple[list[str], Action]:
    """The spot places to ask, each decided on as if those before had refused; and what comes after them.

    Unless it `keeps` a working machine, that is given back before the first is asked.
    """
    places: list[str] = []
    while decision.action is Action.SPOT and not (keeps and decision.zone == look.machine):
        places.append(decision.zone)
        zones = tuple(
            msgspec.structs.replace(z, up=False, seconds=z.down_seconds) if z.name == decision.zone else z
            for z in zones
        )
        look = msgspec.structs.replace(look, zones=zones)
        if not keeps:
            look = msgspec.structs.replace(look, machine="", ran_seconds=0.0, starting_seconds=0.0)
        decision = decide(rule, terms, look)
    return places, decision.action


def unrest(rule: SemiMarkov, spells: Sequence[tuple[float, bool]]) -> float:
    """Evidence about these zones so far: above zero, they fall more often than usual."""
    found = 0.0
    for seconds, fell in spells:
        ticks = max(1, round(seconds / rule.tick))
        for n in range(ticks):
            found = float(rule.noticed(found, rule.tick, age=n * rule.tick, fell=fell and n == ticks - 1))
    return found


def latest(job: Job, offers: Sequence[Offer], changeover: Changeover = Changeover()) -> float:
    """The last moment (our clock) at which on-demand can be started and still meet the deadline."""
    assert job.deadline_at is not None
    terms = terms_of(offers, job.work_seconds, job.deadline_at - job.created_at, changeover.seconds)
    left = max(1.0, job.work_seconds - job.ran_seconds)
    start = terms.changeover_seconds + (changeover.margin_seconds if terms.changeover_seconds else 0.0)
    return job.deadline_at - ceil((left + start) / terms.tick_seconds - 1e-9) * terms.tick_seconds


def policy_of(terms: Terms) -> Policy:
    """The cheapest policy that can be computed here; without numpy, uniform progress."""
    try:
        from hotdesk.simulate.solver import semi_markov

        return semi_markov(terms)
    except ImportError:  # numpy is an extra
        return UniformProgress()
