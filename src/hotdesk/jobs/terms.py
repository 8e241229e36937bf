"""Check before launch that a job's deadline and budget are feasible.

For a running job, order the desk's offers as `core.spot.policy` decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import NotAllowed, Usage
from hotdesk.core.jobs import Job
from hotdesk.core.model import Market, Offer
from hotdesk.core.money import judge
from hotdesk.core.spot.changeovers import GUESS_SECONDS, Changeover
from hotdesk.core.spot.decision import Action, Decision, Situation, Zone, decide
from hotdesk.core.spot.policy import AVAILABLE, Policy, Terms, UniformProgress, check, market_usd
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
    on_demand = [o.usd_per_hour for o in offers if o.market is Market.ON_DEMAND]
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
    policy: Callable[[Terms], Policy] = lambda terms: policy_of(terms),  # noqa: PLW0108 -- it is below
) -> tuple[tuple[Offer, ...], Decision | None]:
    """The offers in the order in which a job with a deadline should try them now, and the decision behind.

    `zones`: what is known of each spot offer, named by its key. `machine`: "on-demand", or the key of the
    spot offer that it runs on. `spells`: how long spot was seen to last, and whether it then fell. Where the
    decision is to wait, offers come in the order for the time after.
    """
    markets = {o.market for o in offers}
    if job.deadline_at is None or job.work_seconds <= 0 or len(markets) < 2:
        return tuple(offers), None
    terms = terms_of(offers, job.work_seconds, job.deadline_at - job.created_at, changeover.seconds)
    spot = [o for o in offers if o.market is Market.SPOT]
    left = max(1.0, job.work_seconds - job.ran_seconds)
    if machine:
        zones = _at_risk(zones, terms, machine)
    look = Situation(
        elapsed_seconds=max(0.0, now - job.created_at),
        work_seconds=left,
        zones=zones,
        machine=machine,
        ran_seconds=ran_seconds,
        starting_seconds=starting_seconds,
        margin_seconds=changeover.margin_seconds if terms.changeover_seconds else 0.0,
    )
    rule = policy(terms)
    if isinstance(rule, SemiMarkov):
        look = msgspec.structs.replace(look, unrest=unrest(rule, spells))
    decision = decide(rule, terms, look)
    if decision.action is Action.ON_DEMAND:  # spot now could make it late
        preferred = [o for o in offers if o.market is Market.ON_DEMAND]
    else:
        preferred = [o for o in spot if o.key == decision.zone]
    others = [
        o for o in offers if o not in preferred
    ]  # spot too: better than nothing, where on-demand is sold out
    for zone in {o.key: o.zone for o in spot}.items():  # people call a zone by its name
        decision = msgspec.structs.replace(decision, why=decision.why.replace(*zone))
    said = [msgspec.structs.replace(o, why=decision.why) for o in preferred]
    ages = {z.name: (not z.up, -z.seconds) for z in zones}
    ranked = sorted(
        others, key=lambda o: (o.market is not Market.SPOT, ages.get(o.key, (True, 0.0))[0], o.usd_per_hour)
    )
    return (*said, *ranked), decision


def _at_risk(zones: tuple[Zone, ...], terms: Terms, machine: str) -> tuple[Zone, ...]:
    """The zones, with what a move that is refused costs added to their moves.

    The working machine is given back before the next is asked for, and a place that was not asked lately may
    say no: then the job starts anew somewhere, after a changeover at the on-demand price at worst.
    """
    again = terms.changeover_seconds / 3600 * terms.usd_on_demand * (1 - AVAILABLE) / AVAILABLE
    return tuple(
        zone if zone.name == machine else msgspec.structs.replace(zone, move_usd=zone.move_usd + again)
        for zone in zones
    )


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
    return job.deadline_at - left - start - 2 * terms.tick_seconds


def policy_of(terms: Terms) -> Policy:
    """The cheapest policy that can be computed here; without numpy, uniform progress."""
    try:
        from hotdesk.simulate.solver import semi_markov

        return semi_markov(terms)
    except ImportError:  # numpy is an extra
        return UniformProgress()
