"""The machines of a sweep in a cloud: which pools they may come from, and how the driver gets at them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path

from msgspec.structs import replace

from hotdesk.core.billing.rates import Charge
from hotdesk.core.clouds import cloud
from hotdesk.core.errors import Missing, NeedsDecision, Refused, Scarce, Usage
from hotdesk.core.model import Desk, Image, Market, MarketChoice, Offer, Phase
from hotdesk.core.money import judge
from hotdesk.core.ports import Access, Fleets, Provider
from hotdesk.core.sweep import estimate, plan
from hotdesk.core.sweep.estimate import Load
from hotdesk.core.sweep.model import Sweep
from hotdesk.loop.clouds import Clouds
from hotdesk.services.explain import question_of
from hotdesk.services.sweep_request import SweepRequest
from hotdesk.sweep.machines import Machines
from hotdesk.sweep.rented import RentedSite
from hotdesk.sweep.store import SweepStore


def launcher(clouds: Clouds, provider: str) -> Fleets:
    """The cloud as one that launches many machines at once. Raises `Missing` where it cannot yet."""
    found = clouds.provider(provider)
    if isinstance(found, Fleets):
        return found
    raise Missing(
        f"A sweep does not run on {cloud(provider).label} yet.",
        "Its machines are launched many at a time there, which hotdesk does not do yet.",
        "hotdesk run NAME -- …   # one task after another, on one machine",
    )


def pools(provider: Provider, desk: Desk, request: SweepRequest, region: str, arch: str) -> tuple[Offer, ...]:
    """Where the sweep's machines may come from: equal hardware, the cheapest per task first.

    All of them in the image's own region. Raises `NeedsDecision` where nothing fits, and
    `NotAllowed` where a budget cannot be compared with the cloud's prices.
    """
    want = replace(
        desk.want, image="", disk_gib=0, zone="", regions=(region,), market=MarketChoice.CHEAPEST
    )  # fmt: skip
    try:
        offers = provider.offers(want)
    except Refused as no:
        raise question_of(no, f"What {desk.provider} offers is not known.") from no
    # (What is reserved has room for so many machines and no more, and a fleet does not name it.)
    offers = [o for o in offers if not o.reservation]
    fitting = [o for o in offers if o.region == region and o.arch == arch and places(o, request) >= 1]
    fitting.sort(key=lambda o: (o.usd_per_hour / places(o, request), o.key))
    mine = [o for o in fitting if request.market is MarketChoice.CHEAPEST or o.market.value == request.market]
    if not mine:
        raise NeedsDecision(
            f"Nothing that {desk.provider} offers in {region} fits a task of this sweep.",
            f"A task needs {request.cpus:g} processors"
            + (f" and {1 / request.per_gpu:g} of a GPU" if request.per_gpu else "")
            + f", {desk.name}'s machines are chosen by what it wants, and its image is in {region}.",
            f"hotdesk move {desk.name} --type …   # and park it: the sweep's machines follow",
        )
    best = mine[0]
    if request.budget_usd is not None:
        judge(best.told_per_hour, f"A budget of ${request.budget_usd:,.2f}")
    alike = [o for o in fitting if (o.vcpus, o.gpu, o.gpu_count) == (best.vcpus, best.gpu, best.gpu_count)]
    return tuple(alike)


def places(offer: Offer, request: SweepRequest) -> int:
    """Tasks that run at once on such a machine."""
    if request.whole:
        return 1
    at_once = int(offer.vcpus / request.cpus + 1e-9)
    if request.per_gpu:
        at_once = min(at_once, int(offer.gpu_count * request.per_gpu + 1e-9))
    if request.memory_gib:
        at_once = min(at_once, int(offer.memory_gib / request.memory_gib + 1e-9))
    return max(0, at_once)


def usd_per_hour(sweep: Sweep) -> tuple[float, float]:
    """What its machines cost an hour: at the best pools' prices now, and if all were bought on demand."""
    on_demand = [o.usd_per_hour for o in sweep.pools if o.market is Market.ON_DEMAND]
    spot = [o.usd_per_hour for o in sweep.pools if o.market is Market.SPOT]
    dear = min(on_demand or spot, default=0.0)
    cheap = min(spot or on_demand, default=0.0) if sweep.market is not MarketChoice.ON_DEMAND else dear
    return dear + cheap * (sweep.machines - 1), dear * sweep.machines


def load(request: SweepRequest, offers: Sequence[Offer]) -> Load:
    """The sweep's work on these pools. Raises `NeedsDecision` if nobody said how long a task takes."""
    if not request.each_seconds:
        raise NeedsDecision(
            "How long a task takes is not known.",
            "The number of machines follows from it, from the deadline and from the budget.",
            "--each 10m   # or --machines 4",
        )
    on_demand = min((o.usd_per_hour for o in offers if o.market is Market.ON_DEMAND), default=0.0)
    usable = [o for o in offers if request.market in {MarketChoice.CHEAPEST, o.market.value}]
    worker = min((o.usd_per_hour for o in usable), default=on_demand)
    return Load(
        tasks=request.space.size,
        each_seconds=request.each_seconds,
        places=places(offers[0], request),
        head_usd=on_demand or worker,
        worker_usd=worker,
        dear_usd=on_demand or worker,
    )


def room(provider: Fleets, offers: Sequence[Offer], market: MarketChoice) -> int | None:
    """How many machines of these pools the account's quotas allow now; None where that is not known."""
    try:
        told = provider.fleet_room(offers)
    except Exception:  # the launch itself will tell
        return None
    head = told.get(Market.ON_DEMAND)
    others = {
        MarketChoice.ON_DEMAND: (head,),
        MarketChoice.SPOT: (told.get(Market.SPOT), None if head is None else min(1, head)),
    }.get(market, (head, told.get(Market.SPOT)))
    known = [count for count in others if count is not None]
    return sum(known) if len(known) == len(others) else None


def most(
    provider: Fleets, offers: Sequence[Offer], request: SweepRequest, ceiling: int, *, parks: bool
) -> int:
    """How many machines a sweep may have, where that matters beforehand: `ceiling`, or the account's quota.

    `parks`: the desk's own machine makes room before. Raises `Scarce` where it needs more: a cluster all of
    those asked for, a sweep one.
    """
    if request.machines and not request.whole:
        return ceiling  # it begins with those that there are
    allowed = room(provider, offers, request.market)
    if allowed is None:
        return ceiling
    allowed += parks
    if allowed < max(1, request.machines):
        raise Scarce(
            f"The account's quota has room for {allowed:,} such machine{'s' * (allowed != 1)} now"
            + (f", and {request.machines:,} are wanted." if request.machines else "."),
            "It counts processors, by market and family of types, in the region of the desk's image.",
            f"--machines {allowed}" if allowed else "hotdesk doctor   # which quota, and how to ask for more",
        )
    return min(ceiling, allowed)


def check_fits(offers: Sequence[Offer], request: SweepRequest) -> None:
    """Raises `Usage` where no machine of this computer has room for a task: it would wait for ever."""
    machines = min(request.machines or 1, request.space.size)
    if not offers or places(one := plan.share(offers[0], machines), request):
        return
    needs = [_counted(request.cpus, "processor")]
    needs += [f"{1 / request.per_gpu:g} of a GPU"] if request.per_gpu else []
    needs += [f"{request.memory_gib:g} GiB of memory"] if request.memory_gib else []
    has = [_counted(one.vcpus, "processor"), _counted(one.gpu_count, "GPU"), f"{one.memory_gib:g} GiB"]
    alone = machines > 1 and places(plan.share(offers[0], 1), request)
    raise Usage(
        f"{'A machine of this sweep' if machines > 1 else 'This computer'} has no room for a task.",
        f"A task needs {' and '.join(needs)}; there are {', '.join(has)}.",
        "--machines 1" if alone else f"--cpus {one.vcpus:g}   # or a desk of a cloud",
    )


def _counted(number: float, what: str) -> str:
    return f"{number:g} {what}{'s' * (number != 1)}"


def machines_for(request: SweepRequest, offers: Sequence[Offer], most: int) -> int:
    """How many machines a sweep gets: those asked for, or those that its deadline and budget need.

    Raises `NeedsDecision` where no number keeps both.
    """
    if request.machines:
        return min(request.machines, request.space.size)
    work = load(request, offers)
    if found := estimate.machines_for(work, most, request.deadline_seconds, request.budget_usd):
        return found
    many = estimate.most_useful(work, most)
    at_most = estimate.estimate(work, many)
    limits = [f"${request.budget_usd:,.2f}"] if request.budget_usd is not None else []
    limits += [f"{request.deadline_seconds / 3600:g} h"] if request.deadline_seconds is not None else []
    why = "all that the tasks can use" if many < most else "as the quota allows"
    raise NeedsDecision(
        f"No number of machines does it within {' and '.join(limits)}.",
        f"{many:,} machines, {why}, take {at_most.seconds[1] / 3600:.1f} h"
        f" ({at_most.seconds[0] / 3600:.1f} to {at_most.seconds[2] / 3600:.1f}) and ${at_most.usd[1]:,.2f}.",
        f"--machines {many} --budget {ceil(at_most.usd[2]) or 1}",
    )


def region_and_arch(image: Image | None, desk: Desk, clouds: Clouds) -> tuple[str, str]:
    """Of the image, or of the machine that it would be taken of."""
    if image is not None:
        return image.region, image.arch
    live = clouds.seen(desk).live
    if live is None:
        raise Usage(f"{desk.name} has neither an image nor a machine.", "", f"hotdesk up {desk.name}")
    return live.region, live.arch


def machines_of(sweep: Sweep, clouds: Clouds, store: SweepStore, on_note: Callable[[str], None]) -> Machines:
    return Machines(
        number=sweep.number,
        region=sweep.image.partition("/")[0],
        provider=launcher(clouds, sweep.provider),
        store=store,
        clock=clouds.clock,
        hold=sweep.hold,
        held_at=sweep.held_at,
        on_note=on_note,
    )


def site(sweep: Sweep, folder: Path, clouds: Clouds, machines: Machines) -> RentedSite:
    """What the driver asks of the sweep's machines."""
    return RentedSite(
        sweep=sweep,
        folder=folder,
        secrets=machines.store.secrets,
        pools=sweep.pools,
        market=sweep.market,
        machines=machines,
        provider=clouds.provider(sweep.provider),
        fleets=machines.provider,
        clock=machines.clock,
    )


def access(sweep: Sweep, name: str, clouds: Clouds, store: SweepStore) -> Access | None:
    """How to reach one of its machines now; None where it is not there."""
    found = launcher(clouds, sweep.provider).fleet(sweep.fleet, sweep.image.partition("/")[0])
    ids = {m.id for m in store.group(sweep.number).members if m.name == name and m.stays}
    for shown in found:
        if shown.id in ids and shown.phase is Phase.READY:
            return clouds.provider(sweep.provider).access(shown)
    return None


def charges(state: Path, now: float) -> list[Charge]:
    """What every machine of every sweep in a cloud has cost, at the price it was launched at."""
    if not (state / "sweeps.db").exists():
        return []
    with SweepStore(state) as store:
        return [
            Charge(
                desk=sweep.fleet, kind="compute", id=member.id, began=member.since, offer=member.offer,
                ended=member.ended_at or now, usd_per_hour=member.offer.usd_per_hour,
                going_on=member.alive, provider=sweep.provider,
            )
            for sweep in store.sweeps(clusters=None)
            if cloud(sweep.provider).rented
            for member in store.group(sweep.number).members
        ]  # fmt: skip


def live_fleets(sweeps: Sequence[Sweep]) -> frozenset[str]:
    """Names of the groups that sweeps of this computer still have."""
    return frozenset(s.fleet for s in sweeps if not s.over_at and cloud(s.provider).rented)
