"""Which machines, and how many, finish a job: the Pareto front, three answers, why the rest were rejected.

Offers of the same machine differ only in price, so the cheapest stands for all of them; that keeps tens of
thousands of offers by twenty numbers of machines within a fraction of a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence

from msgspec.structs import replace

from hotdesk.core.model import Market, Offer, Value
from hotdesk.core.sizing.makespan import PER_SECOND, Billing, Finish, Work, finish
from hotdesk.core.sizing.speed import Evidence
from hotdesk.core.spot.interruptions import Spot

#: A plan answers for a deadline or a budget when it holds it in 9 of 10 cases.
SURE = 0.9
_P90 = 1.2816 / 1.645  # of a lognormal, how far its 90 % quantile lies towards its 95 %
#: Minutes that a measurement takes once the machine stands.
BENCH_HOURS = 3 / 60


class Speed(Value, frozen=True):
    """Time of the work on one machine of an offer; or `why_not`, if it is unknown."""

    work: Work | None = None
    evidence: Evidence = Evidence.SPECIFICATION
    why: str = ""
    why_not: str = ""


class Terms(Value, frozen=True):
    """What an offer adds around the work itself."""

    startup_hours: float
    billing: Billing = PER_SECOND
    spot: Spot | None = None
    extra_usd: float = 0.0
    quota: int = 0
    room: int = 0  # machines that are reserved there; 0: no limit
    most_hours: float = math.inf  # for which they are


class Choice(Value, frozen=True):
    """One offer with one number of machines."""

    offer: Offer
    finish: Finish
    evidence: Evidence
    why: str = ""
    startup_hours: float = 0.0
    hours_p90: float = 0.0  # done by then in 9 of 10 cases
    work_hours: float = 0.0  # of one machine, undisturbed, without start-up

    def chance_hours(self, hours: float) -> float:
        """Probability of finishing by then."""
        return _chance(self.finish.hours, self.finish.hours_high, hours)

    def chance_usd(self, usd: float) -> float:
        """Probability of costing no more."""
        return _chance(self.finish.usd, self.finish.usd_high, usd)


class Lost(Value, frozen=True):
    """Why an offer was rejected; `also` counts more expensive offers of the same machine."""

    offer: Offer
    why: str
    also: int = 0
    best: Choice | None = None


class Answer(Value, frozen=True):
    """The front (cheapest to fastest), three answers out of it, and the rest with reasons."""

    front: tuple[Choice, ...]
    lost: tuple[Lost, ...]
    cheapest: Choice | None = None
    fastest: Choice | None = None
    knee: Choice | None = None
    measure_first: str = ""
    considered: int = 0
    plans: tuple[Choice, ...] = ()  # all, of the cheapest offer of each machine


def choose(
    offers: Sequence[Offer],
    counts: Sequence[int],
    speed: Callable[[Offer], Speed],
    terms: Callable[[Offer], Terms],
    *,
    deadline_hours: float = math.inf,
    budget_usd: float = math.inf,
    place: Callable[[Offer], Hashable] = lambda offer: "",
) -> Answer:
    """Every offer with every number of machines, ranked on expected cost and 9-in-10 time.

    `speed` and `terms` are asked once for each kind of machine, market and `place` (what tells regions apart:
    where the data lies, say).
    """
    cheapest: dict[Hashable, Offer] = {}
    twins: dict[Hashable, int] = {}
    for offer in offers:
        key = (
            offer.provider,
            offer.gpu or offer.instance_type,
            offer.gpu_count,
            offer.gpu_memory_gib,
            offer.market,
            offer.reservation,  # each has room for its own number of machines
            place(offer),
        )
        best = cheapest.get(key)
        if best is None:
            cheapest[key], twins[key] = offer, 0
            continue
        twins[key] += 1
        if offer.usd_per_hour < best.usd_per_hour:
            cheapest[key] = offer
    plans: list[Choice] = []
    lost: list[Lost] = []
    known: dict[Hashable, list[Finish]] = {}
    also = {offer.key: twins[key] for key, offer in cheapest.items()}
    for offer in cheapest.values():
        got = _plans(offer, counts, speed(offer), terms(offer), known)
        if isinstance(got, str):
            lost.append(Lost(offer=offer, why=got, also=also[offer.key]))
        else:
            plans += got
    front = good = _front(plans)
    if deadline_hours < math.inf or budget_usd < math.inf:
        good = _front(
            [p for p in plans if p.chance_hours(deadline_hours) >= SURE and p.chance_usd(budget_usd) >= SURE]
        )
    answers = {
        "cheapest": min(good, key=lambda c: (c.finish.usd_mean, c.hours_p90), default=None),
        "fastest": min(good, key=lambda c: (c.hours_p90, c.finish.usd_mean), default=None),
        "knee": min(good, key=lambda c: c.finish.usd_mean * c.hours_p90, default=None),
    }
    lost += _reasons(plans, front, deadline_hours, budget_usd, also)
    return Answer(
        front=tuple(front),
        lost=tuple(lost),
        measure_first=_measure_first(good or front, plans),
        considered=len(offers) * len(counts),
        plans=tuple(plans),
        **answers,
    )


def _plans(
    offer: Offer, counts: Sequence[int], speed: Speed, terms: Terms, known: dict[Hashable, list[Finish]]
) -> list[Choice] | str:
    """The offer's plans, or why it has none. `known` keeps them at a dollar an hour: time asks no price."""
    if speed.work is None:
        return speed.why_not
    allowed = [count for count in counts if not terms.quota or count <= terms.quota]
    if terms.room and not (allowed := [count for count in allowed if count <= terms.room]):
        return f"it has room for {terms.room}, fewer machines than were asked for"
    if not allowed:
        return f"the account's quota of {terms.quota} is below the fewest machines asked for"
    spot = terms.spot if offer.market is Market.SPOT else None
    key = (speed, terms, spot is None)
    if key not in known:
        done = [
            finish(speed.work, count, 1.0, terms.startup_hours, billing=terms.billing, spot=spot)
            for count in allowed
        ]
        known[key] = [one for one in done if one is not None]
    usd, extra = offer.usd_per_hour, terms.extra_usd
    if known[key] and not any(_p90(one) <= terms.most_hours for one in known[key]):
        return f"it is reserved for another {terms.most_hours:.1f} h, which is not enough"
    plans = [
        Choice(
            offer=offer,
            finish=replace(
                one,
                usd=one.usd * usd + extra,
                usd_mean=one.usd_mean * usd + extra,
                usd_low=one.usd_low * usd + extra,
                usd_high=one.usd_high * usd + extra,
            ),
            evidence=speed.evidence,
            why=speed.why,
            startup_hours=terms.startup_hours,
            work_hours=one.work_hours,
            hours_p90=_p90(one),
        )
        for one in known[key]
        if _p90(one) <= terms.most_hours
    ]
    return plans or "spot interruptions come faster than work gets done"


def _p90(done: Finish) -> float:
    """Done by then in 9 of 10 cases."""
    return float(done.hours * (done.hours_high / done.hours) ** _P90)


def _front(plans: Sequence[Choice]) -> list[Choice]:
    """The Pareto front of cost and time, cheapest first."""
    out: list[Choice] = []
    fastest = math.inf
    for plan in sorted(plans, key=lambda c: (c.finish.usd_mean, c.hours_p90, c.finish.machines)):
        if plan.hours_p90 < fastest:
            out.append(plan)
            fastest = plan.hours_p90
    return out


def _reasons(
    plans: Sequence[Choice],
    front: Sequence[Choice],
    deadline_hours: float,
    budget_usd: float,
    also: dict[str, int],
) -> list[Lost]:
    """For each offer off the front: its best plan, and which plan beats it."""
    winners = {choice.offer.key for choice in front}
    best: dict[str, Choice] = {}
    for plan in plans:
        key = plan.offer.key
        if key not in winners and (key not in best or plan.finish.usd_mean < best[key].finish.usd_mean):
            best[key] = plan
    lost = []
    for plan in sorted(best.values(), key=lambda c: c.finish.usd_mean):
        over = min(front, key=lambda c: (c.finish.usd_mean > plan.finish.usd_mean, c.hours_p90))
        why = f"{_name(over)} is {_faster(plan.hours_p90 / over.hours_p90)} and " + (
            f"{1 - over.finish.usd_mean / plan.finish.usd_mean:.0%} cheaper"
            if over.finish.usd_mean < plan.finish.usd_mean * 0.995
            else "costs the same"
        )
        if plan.chance_hours(deadline_hours) < SURE:
            why = f"done by the deadline in {plan.chance_hours(deadline_hours):.0%} of cases; " + why
        if plan.chance_usd(budget_usd) < SURE:
            why = f"within the budget in {plan.chance_usd(budget_usd):.0%} of cases; " + why
        lost.append(Lost(offer=plan.offer, why=why, also=also[plan.offer.key], best=plan))
    return lost


def _measure_first(front: Sequence[Choice], plans: Sequence[Choice]) -> str:
    """Advice to measure first, if the two best plans overlap and measuring is cheap."""
    if not front:
        return ""
    first = front[0]
    others = [p for p in plans if p.offer.gpu != first.offer.gpu and p.finish.usd_low < first.finish.usd_high]
    second = min(others, key=lambda c: c.finish.usd_mean, default=None)
    if second is None:
        return ""
    unsure = [c for c in (first, second) if c.evidence is not Evidence.MEASURED]
    bench_usd = math.fsum(c.offer.usd_per_hour * (c.startup_hours + BENCH_HOURS) for c in unsure)
    if not unsure or first.finish.usd_mean * 0.1 <= bench_usd:
        return ""
    names = " and ".join(dict.fromkeys(c.offer.gpu or c.offer.instance_type for c in unsure))
    return (
        f"the costs of {_name(first)} and {_name(second)} overlap; measuring {names} first costs about "
        f"${bench_usd:.2f}, a wrong choice about ${first.finish.usd_mean * 0.1:.2f}"
    )


def switch_items(
    here_rate: float, there_rate: float, startup_hours: float, here_usd: float = 0.0, there_usd: float = 0.0
) -> tuple[float, float]:
    """From how many items on a faster machine, still to be opened, beats the desk at hand: in time, in money.

    Infinite where it never does. Rates are items per second, prices per hour.
    """
    sooner = startup_hours * 3600 / (1 / here_rate - 1 / there_rate) if there_rate > here_rate else math.inf
    saved = here_usd / here_rate - there_usd / there_rate
    cheaper = there_usd * startup_hours * 3600 / saved if saved > 0 else math.inf
    return sooner, cheaper


def _chance(middle: float, high: float, limit: float) -> float:
    """Share of a lognormal (its median, its 95 % quantile) below the limit."""
    if limit == math.inf:
        return 1.0
    if limit <= 0 or middle <= 0:
        return 0.0 if limit < middle else 1.0
    sigma = max(math.log(high / middle) / 1.645, 1e-6)
    return 0.5 * (1 + math.erf(math.log(limit / middle) / sigma / math.sqrt(2)))


def _name(choice: Choice) -> str:
    what = f"{choice.finish.machines} x {choice.offer.instance_type}"
    return f"{what} spot" if choice.offer.market is Market.SPOT else what


def _faster(times: float) -> str:
    return f"{times:,.{0 if times >= 10 else 1}f} times faster" if times >= 1.05 else "as fast"
