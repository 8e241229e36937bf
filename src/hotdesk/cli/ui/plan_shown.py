"""How a plan is shown: the table, the JSON document, the drawing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hotdesk.charts import Figure, Series
from hotdesk.cli.ui import render
from hotdesk.core.model import Market, Offer
from hotdesk.core.sizing.frontier import Answer, Choice, Lost, switch_items
from hotdesk.core.sizing.makespan import machines_worth
from hotdesk.core.spot.interruptions import worth_spot
from hotdesk.market.job_model import Job
from hotdesk.market.refused import left_out
from hotdesk.services.planning import LIVES, PlanAnswer


class Shown(NamedTuple):
    text: str
    document: dict[str, Any]
    notes: list[str]


def show(got: PlanAnswer, *, shown_lost: int) -> Shown:
    """The answer for a terminal and for a program."""
    answer, job, around, bare, desk = got.answer, got.job, got.around, got.bare, got.desk
    notes: list[str] = []
    plans = answer.plans if bare else answer.front
    document: dict[str, Any] = {
        "kind": "synchronous" if job.synchronous else "divisible",
        "startup_hours": plans[0].startup_hours if plans else around.startup.hours,
        "plans": [_row(choice, bare=bare) for choice in plans],
        **{
            name: None if choice is None else _row(choice, bare=bare)
            for name, choice in (
                ("cheapest", answer.cheapest),
                ("fastest", answer.fastest),
                ("knee", answer.knee),
            )
        },
        "lost": [_lost(row) for row in answer.lost],
        "considered": answer.considered,
        "left_out": dict(got.left_out),
        "measure_first": answer.measure_first,
    }
    lines = [_table(plans if bare else _thinned(answer), answer, bare=bare)] if plans else []
    if not plans:
        lines.append("No plan finishes this job.")
    elif answer.cheapest is None:
        lines.append("No plan meets the deadline and the budget in 9 of 10 cases.")
    if plans:
        lines += _wrapped(_priced(answer, plans, document, bare=bare))
    if bare and plans and answer.plans[0].finish.hours:
        lines += _wrapped(_truth(document, answer, job))
    if desk and answer.knee:
        lines += _wrapped(_switch(document, answer.knee, job, desk))
    if answer.measure_first:
        lines += _wrapped([f"Measure first: {answer.measure_first}."])
    if answer.lost and not bare:
        lines += [
            "",
            render.style("Why the others were rejected", "bold"),
            _lost_table(answer.lost, shown_lost),
        ]
    if around.spot and any(c.offer.market is Market.SPOT for c in plans):
        share = worth_spot(around.spot)
        document["simulated"] = got.simulated
        choices: dict[Choice, list[str]] = {}
        for name in got.simulated:
            choices.setdefault(getattr(answer, name), []).append(name)
        for choice, names in choices.items():
            notes += _beside(" and ".join(names), choice, got.simulated[names[0]])
        document["spot_worth_below_share_of_on_demand"] = share
        notes.append(f"spot pays below {share:.0%} of the on-demand price, at these interruptions")
    if got.left_out:
        notes.append(f"left out: {left_out(got.left_out)}; hotdesk offers --all shows them")
    return Shown("\n".join(lines), document, notes)


def _priced(answer: Answer, plans: Sequence[Choice], document: dict[str, Any], *, bare: bool) -> list[str]:
    """Which price was taken: the machine's own, or that of each answer, with its market and place."""
    if bare:
        offer = plans[0].offer
        document["usd_per_hour"], document["market"] = offer.usd_per_hour, offer.market.value
        market = "on spot" if offer.market is Market.SPOT else "on-demand"
        more = "Set it with --usd-per-hour, or compare real offers with --on GPU, on which the work was timed"
        price = (
            f"{render.per_hour(offer.usd_per_hour)} per machine, {market} (assumed, no instance type given)"
        )
        return ["", f"Price: {price}. {more}."]
    named: dict[str, list[str]] = {}
    for name, choice in (("cheapest", answer.cheapest), ("knee", answer.knee), ("fastest", answer.fastest)):
        if choice:
            offer = choice.offer
            market = "on spot" if offer.market is Market.SPOT else offer.sold_as
            thing = f"{offer.instance_type} {market}"
            place = offer.zone or offer.region
            priced = f"{render.at(thing, place) if place else thing}, {render.price(offer, ' each')}"
            named.setdefault(priced, []).append(name)
    return ["", *(f"{' and '.join(names)}: {priced}" for priced, names in named.items())] if named else []


def _wrapped(lines: Sequence[str]) -> list[str]:
    """Sentences broken between words, where the terminal is narrower than they are."""
    return [piece for line in lines for piece in render.wrapped(line, render.columns()) or [""]]


def _beside(names: str, choice: Choice, told: dict[str, Any]) -> list[str]:
    """The formula's figure and those of the simulations, one below the other."""
    heads = {
        "at_random": "losses at random",
        "as_in_2022": "spot as recorded in 2022",
        "over_traces": "your traces",
    }
    done = choice.finish
    formula = f"median {time(done.hours)}, mean {time(done.hours_mean)} by the formula"
    lines = [f"{names}, on spot: {formula}; simulated {LIVES} times:"]
    for kind, head in heads.items():
        if kind in told:
            mean, low, high = told[kind]["hours"]
            median = time(told[kind]["median_hours"])
            ends = f"{time(low)} to {time(high)} in 9 of 10"
            lines.append(render.hanging(f"  {head:24}  ", f"median {median}, mean {time(mean)}, {ends}"))
    return lines


def _truth(document: dict[str, Any], answer: Answer, job: Job) -> list[str]:
    """What there is to say about "1 machine for 1000 hours or 1000 for one"."""
    one = answer.plans[0]
    work = one.work_hours * one.finish.machines
    startup = one.startup_hours
    lines = [""]
    if not job.synchronous:
        worth = machines_worth(work, startup)
        limit = work / startup if startup > 0 else float("inf")
        document["machines_for_10_percent_dearer"] = worth
        document["machines_where_startup_equals_work"] = limit if startup > 0 else None
        lines.append(
            f"N machines cost 1 + N·S/W times the work alone (W: work, S: start-up of each): {worth:,} "
            f"machine{'s' * (worth != 1)} cost 10 % more"
            + (f"; with more than {limit:,.0f}, each starts longer than it works." if startup else ".")
        )
    if answer.knee:
        last = answer.knee.finish.machines == max(c.finish.machines for c in answer.plans)
        lines.append(
            f"The knee lies {'at or beyond' if last else 'at'} {answer.knee.finish.machines:,} "
            f"machine{'s' * (answer.knee.finish.machines > 1)}: "
            "from there, 1 % less time costs more than 1 % more."
        )
    return lines


def _switch(document: dict[str, Any], goal: Choice, job: Job, desk: tuple[float, float]) -> list[str]:
    """From how many items on it pays to leave the desk at hand for the plan's machine."""
    there = job.items / (goal.finish.hours_mean - goal.startup_hours) / 3600
    usd = goal.offer.usd_per_hour * goal.finish.machines
    sooner, cheaper = switch_items(desk[0], there, goal.startup_hours, desk[1], usd)
    document["switch"] = {
        "items_sooner": sooner if sooner < float("inf") else None,
        "items_cheaper": cheaper if cheaper < float("inf") else None,
    }
    if sooner == float("inf"):
        return ["Stay at the desk at hand: it is as fast as what the plan would open."]
    name = goal.offer.instance_type
    said = f"Write and debug where you are; a run of more than {sooner:,.0f} items is done sooner on {name}"
    if cheaper < float("inf"):
        said += f", of more than {cheaper:,.0f} cheaper too"
    gpu = f" --gpu {goal.offer.gpu}" if goal.offer.gpu else f" --type {goal.offer.instance_type}"
    return [f"{said}: hotdesk move NAME{gpu}"]


def _thinned(answer: Answer) -> tuple[Choice, ...]:
    """The front without plans that are hardly faster than the one before, unless they are an answer."""
    out: list[Choice] = []
    for choice in answer.front:
        if choice in (answer.cheapest, answer.fastest, answer.knee) or (
            not out or choice.hours_p90 < 0.85 * out[-1].hours_p90
        ):
            out.append(choice)
    return tuple(out)


def _table(plans: tuple[Choice, ...], answer: Answer, *, bare: bool) -> str:
    marks = {
        "cheapest": answer.cheapest,
        "fastest": answer.fastest,
        "knee": answer.knee,
    }
    rows = []
    for choice in plans:
        is_answer = [name for name, chosen in marks.items() if chosen == choice]
        done = choice.finish
        row = [
            f"{done.machines:,}",
            time(done.hours),
            _usd(done.usd),
            f"{done.multiplier:.2f}",
            render.style(", ".join(is_answer), "green", "bold"),
            band(time, done.hours_low, done.hours_high, done.hours, done.hours_mean),
            band(_usd, done.usd_low, done.usd_high, done.usd, done.usd_mean),
            "; ".join(done.breaks),
        ]
        if not bare:
            row.insert(0, f"{_bought(choice.offer)} {choice.offer.gpu}".rstrip())
            row[-1] = "; ".join([choice.evidence.value, *done.breaks])
        rows.append(row)
    heads = ["machines", "time", "cost", "x work", "", "time, 9 of 10", "cost, 9 of 10", "where it breaks"]
    if not bare:
        heads = ["offer", *heads[:-1], "evidence"]
    right = ("machines", "time", "cost", "x work")
    spare = ("cost, 9 of 10", "x work", "time, 9 of 10")
    last, width = heads[-1], render.columns()
    if not any(row[-1] for row in rows):
        heads, rows = heads[:-1], [row[:-1] for row in rows]
        spared = render.fitted(heads, rows, width, spare)[2]
    else:  # the last column may be broken
        room = min(render.NARROWEST, max(map(render.width, (last, *(row[-1] for row in rows)))))
        spared = render.fitted(heads[:-1], [row[:-1] for row in rows], width - room - 2, spare)[2]
    kept = [n for n, head in enumerate(heads) if head not in spared]
    rows = [[row[n] for n in kept] for row in rows]
    text = render.table([heads[n] for n in kept], rows, right=right, broken=True)
    left = render.style(render.folded(render.too_narrow(spared), width, 0), "dim")
    return f"{text}\n{left}" if spared else text


def _bought(offer: Offer) -> str:
    """A type, and how it is bought if not on demand."""
    return offer.instance_type if offer.sold_as == "on-demand" else f"{offer.instance_type} {offer.sold_as}"


def _lost_table(lost: tuple[Lost, ...], most: int) -> str:
    """Rejected plans, best first; then, one line per reason, offers that could not be planned."""
    beaten = [row for row in lost if row.best is not None]
    rows = [
        [
            _bought(row.offer),
            row.offer.gpu,
            f"{row.offer.usd_per_hour:.4g}",
            row.why + (f"; {row.also} dearer of this type not shown" if row.also else ""),
        ]
        for row in beaten[:most]
    ]
    reasons: dict[str, list[str]] = {}
    for row in lost:
        if row.best is None:
            reasons.setdefault(row.why, []).append(row.offer.instance_type)
    for why, types in list(reasons.items())[:most]:
        names = list(dict.fromkeys(types))
        others = f" and {len(names) - 1} more types" if len(names) > 1 else ""
        rows.append([names[0] + others, "", "", why])
    text = render.table(["offer", "GPU", "$/h", "why"], rows, right=("$/h",), broken=True)
    left = max(len(beaten) - most, 0) + max(len(reasons) - most, 0)
    return text + (f"\n… and {left} more: --json" if left else "")


def _row(choice: Choice, *, bare: bool) -> dict[str, Any]:
    done = choice.finish
    row: dict[str, Any] = {
        "machines": done.machines,
        "hours": done.hours,
        "usd": done.usd,
        "mean": {"hours": done.hours_mean, "usd": done.usd_mean},
        "multiplier": done.multiplier,
        "band": {"hours": [done.hours_low, done.hours_high], "usd": [done.usd_low, done.usd_high]},
        "breaks": list(done.breaks),
    }
    if not bare:
        row |= {
            "offer": _offer(choice),
            "evidence": choice.evidence.value,
            "why": choice.why,
            "startup_hours": choice.startup_hours,
        }
    return row


def _offer(choice: Choice | Lost) -> dict[str, Any]:
    offer = choice.offer
    return {
        "provider": offer.provider,
        "region": offer.region,
        "zone": offer.zone,
        "instance_type": offer.instance_type,
        "market": offer.sold_as,
        "gpu": offer.gpu,
        "gpu_count": offer.gpu_count,
        "usd_per_hour": offer.usd_per_hour,
        "price_time": offer.price_time,
        "source": offer.source,
    }


def _lost(row: Lost) -> dict[str, Any]:
    best = None if row.best is None else _row(row.best, bare=True)
    return {"offer": _offer(row), "why": row.why, "also": row.also, "best": best}


def figure(answer: Answer) -> Figure:
    """Cost against time on log axes: every plan, the front with its band, and the answers."""
    front = [c for c in answer.front if c.finish.usd > 0]
    per, unit = _unit([c.finish.hours for c in front])
    cost = tuple(c.finish.usd for c in front)
    series = [
        Series(
            label="best time for the money, and 9 of 10 cases",
            kind="band",
            x=cost,
            y=tuple(c.finish.hours * per for c in front),
            low=tuple(c.finish.hours_low * per for c in front),
            high=tuple(c.finish.hours_high * per for c in front),
        ),
    ]
    beaten = [c for c in answer.plans if c.finish.usd > 0 and c not in front][:2000]
    if beaten:
        series.append(
            Series(
                label="beaten by another",
                kind="scatter",
                x=tuple(c.finish.usd for c in beaten),
                y=tuple(c.finish.hours * per for c in beaten),
            ),
        )
    named: dict[Choice, list[str]] = {}
    for name, choice in (("cheapest", answer.cheapest), ("knee", answer.knee), ("fastest", answer.fastest)):
        if choice is not None and choice.finish.usd > 0:
            named.setdefault(choice, []).append(name)
    notes = []
    for choice, names in named.items():
        name = " and ".join(names)
        series.append(
            Series(label=name, kind="scatter", x=(choice.finish.usd,), y=(choice.finish.hours * per,))
        )
        what = f"{choice.finish.machines:,} machine{'s' * (choice.finish.machines > 1)}"
        if choice.offer.provider != "any":
            spot = {"spot": " on spot", "reserved": " (reserved)"}.get(choice.offer.sold_as, "")
            what = f"{choice.finish.machines:,} x {choice.offer.instance_type}{spot}"
        notes.append(f"{name}: {what}, {time(choice.finish.hours)}, {_usd(choice.finish.usd)}")
    ends = [f"{_usd(c.finish.usd)} in {time(c.finish.hours)}" for c in named]
    found = " or ".join(dict.fromkeys((ends[0], ends[-1]))) if ends else "no plan keeps the limits"
    return Figure(
        title=f"To finish this job: {found}",
        x_label="dollars",
        y_label=f"{unit} until it is done",
        series=tuple(series),
        x_log=True,
        y_log=True,
        notes=tuple(notes),
    )


def _unit(hours: Sequence[float]) -> tuple[float, str]:
    """How many of a unit make an hour, and the unit: minutes or days where all would be read so."""
    if hours and max(hours) <= 5:
        return 60.0, "minutes"
    return (1 / 24, "days") if hours and min(hours) >= 48 else (1.0, "hours")


def time(hours: float) -> str:
    return render.duration(hours * 3600)


def band(said: Callable[[float], str], low: float, high: float, median: float, mean: float) -> str:
    """9 of 10 cases, and the mean where it reads unlike the median, which has a column of its own."""
    beside = f", mean {said(mean)}" if said(mean) != said(median) else ""
    return f"{said(low)} to {said(high)}{beside}"


def _usd(amount: float) -> str:
    return f"${amount:,.2f}" if amount < 1000 else f"${amount:,.0f}"
