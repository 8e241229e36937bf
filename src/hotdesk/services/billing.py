"""Money: the bill, the cloud's own bill, and the month's budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING

import msgspec

from hotdesk.core import clouds, wire
from hotdesk.core.billing.rates import Charge
from hotdesk.core.billing.statement import NOT_COUNTED, Line
from hotdesk.core.clouds import cloud
from hotdesk.core.errors import Damaged, HotdeskError, Kind, Missing, NotAllowed, Refused
from hotdesk.core.lifecycle.shutdown import powered
from hotdesk.core.model import Desk, Market, Offer, Value
from hotdesk.core.money import Amount, judge, sums
from hotdesk.core.ports import Biller, Clock, Housing
from hotdesk.core.steps import Act, Ask, Hold, Launch, Start, Told
from hotdesk.loop.clouds import Clouds
from hotdesk.providers import registry
from hotdesk.state.store import Store

if TYPE_CHECKING:
    from hotdesk.config import Config
    from hotdesk.core.billing.tally import Tally
    from hotdesk.services.counting import Counting

WARN_SHARE = 0.8  # of the month's budget
Steps = list[tuple[float, float]]


class Compared(Value, frozen=True):
    """What a desk cost this month, by hotdesk's journal and by its cloud's own bill, in US dollars."""

    desk: str  # "": of no desk
    here: float
    theirs: float


class Statement(Value, frozen=True):
    """The bill, in US dollars. Times are seconds since the epoch."""

    lines: tuple[Line, ...]  # by desk and period, oldest first
    this_month_usd: float
    budget_usd: float | None  # of a month; None: no limit
    stored_usd_per_month: float  # of disks and images that are there now
    stored_here: dict[str, int]  # bytes on this computer's disk, by desk; of "": images, which share content
    at_launch_prices: tuple[str, ...]  # desks whose spot is billed at the price of its launch
    compute_price_time: float | None  # of the oldest shipped price in it; None: there is none
    storage_price_time: float | None  # likewise
    compared: tuple[Compared, ...] = ()
    besides: tuple[Amount, ...] = ()  # in currencies without a rate to dollars: in no figure before
    stored_besides: tuple[Amount, ...] = ()  # likewise, a month: of disks and images that are there now
    not_counted: tuple[str, ...] = NOT_COUNTED

    @property
    def usd(self) -> float:
        """All of it."""
        return sum(line.usd for line in self.lines)


@dataclass(kw_only=True, eq=False)
class Billing:
    """What the desks of one state folder have cost, and what they may still cost this month.

    `over_budget` agrees to launch past the month's budget; `on_note` hears when most of it is spent.
    """

    store: Store
    clock: Clock
    clouds: Clouds
    config: Config
    on_note: Callable[[str], None]
    over_budget: bool
    fleets: Callable[[], list[Charge]] = list  # what machines of sweeps have cost

    @cached_property
    def _counting(self) -> Counting:
        from hotdesk.services.counting import Counting

        return Counting(store=self.store, clock=self.clock, clouds=self.clouds)

    @property
    def limit_usd(self) -> float:
        """Of a month; 0: none."""
        return self.config.defaults.usd_per_month

    def statement(self, name: str | None = None, by: str = "month", compare: str = "") -> Statement:
        """The bill of one desk or of all, by "day" or "month" (UTC), of those that are gone too.

        `compare`: a cloud whose own bill of this month is asked for as well, see `billed`.
        """
        from hotdesk.core.billing.tally import lines

        there = [t for t in self._tallies(by) if name in (None, t.desk)]
        now = self.clock.now()
        spot = [charge for t in there for charge in t.spot_at(now)]
        prices = self.spot_prices(spot)
        bill = lines(there, now, by=by, prices=prices)
        _, besides = sums((0.0, amount) for t in there for amount in t.besides_at(now))
        _, stored_besides = sums((0.0, amount) for t in there for amount in t.stored_besides)
        return Statement(
            lines=tuple(bill),
            this_month_usd=_this_month(bill, now),
            budget_usd=self.limit_usd or None,
            stored_usd_per_month=sum(t.stored for t in there),
            stored_here=self._here(name),
            at_launch_prices=tuple(sorted({c.desk for c in spot if c.offer and c.offer.key not in prices})),
            compute_price_time=min(
                (t.compute_price_time for t in there if t.compute_price_time), default=None
            ),
            storage_price_time=min(
                (t.storage_price_time for t in there if t.storage_price_time), default=None
            ),
            besides=besides,
            stored_besides=stored_besides,
            compared=self._compared(compare, name) if compare else (),
        )

    def _compared(self, provider: str, name: str | None) -> tuple[Compared, ...]:
        """This month by desk, here and by the cloud's own bill."""
        from hotdesk.core.billing import statement

        bill = [c for c in self.bill() if name in (None, c.desk) and c.is_in_dollars]
        prices, now = self.spot_prices(bill), self.clock.now()
        theirs = self.billed(provider, statement.month_began(now))
        there = [c for c in bill if c.provider in {provider, ""}]
        desks = sorted({c.desk for c in there} | theirs.keys()) if name is None else [name]
        return tuple(
            Compared(
                desk=desk,
                here=statement.this_month([c for c in there if c.desk == desk], now, prices),
                theirs=theirs.get(desk, 0.0),
            )
            for desk in desks
        )

    def _here(self, name: str | None) -> dict[str, int]:
        """What desks on this computer cost: space on its disk."""
        found: dict[str, int] = {}
        for provider in sorted({desk.provider for desk in self.store.desks()}):
            there = self.clouds.provider(provider) if not cloud(provider).rented else None
            if isinstance(there, Housing):
                found |= there.space()
        return {desk: size for desk, size in found.items() if size and name in {None, desk}}

    def bill(self) -> list[Charge]:
        """Everything that was ever paid for the desks in the journal, those that are gone included."""
        return self._counting.charges() + self.fleets()

    def _tallies(self, by: str) -> list[Tally]:
        """The same, added up by desk."""
        from hotdesk.core.billing.tally import tally

        now, fleets = self.clock.now(), dict[str, list[Charge]]()
        for charge in self.fleets():
            fleets.setdefault(charge.desk, []).append(charge)
        machines = [tally(name, partial(_as_of, mine), now, by) for name, mine in fleets.items()]
        return self._counting.tallies(by) + machines

    def spot_prices(self, bill: Sequence[Charge], *, ask: bool = True) -> dict[str, Steps]:
        """What spot cost at each time that the bill speaks of, by offer key.

        What a cloud has told is kept: it forgets after 90 days. Without `ask`, or where it does not answer,
        only what is kept; a machine whose prices nobody knows is billed at its price when it was launched.
        """
        offers: dict[str, Offer] = {}
        spans: dict[str, tuple[float, float]] = {}
        for charge in bill:
            if charge.offer is None or charge.offer.market is not Market.SPOT or not charge.offer.zone:
                continue
            key = charge.offer.key
            offers[key] = charge.offer
            low, high = spans.get(key, (charge.began, charge.ended))
            spans[key] = min(low, charge.began), max(high, charge.ended)
        prices: dict[str, Steps] = {}
        missing: dict[str, list[Offer]] = {}
        for key, offer in offers.items():
            kept = self.store.cached(f"paid:{key}")
            known = wire.json(kept[1], _Kept) if kept else _Kept(since=0.0, until=0.0)
            prices[key] = known.steps
            low, high = spans[key]
            if not (known.since <= low and high - 3600 <= known.until):
                missing.setdefault(offer.provider, []).append(offer)
        for provider, wanted in missing.items() if ask else ():
            prices |= self._ask_prices(provider, wanted, spans, prices)
        return {key: steps for key, steps in prices.items() if steps}

    def _ask_prices(
        self,
        provider: str,
        offers: Sequence[Offer],
        spans: dict[str, tuple[float, float]],
        known: dict[str, Steps],
    ) -> dict[str, Steps]:
        cloud, now = self.clouds.provider(provider), self.clock.now()
        if not isinstance(cloud, Biller):
            return {}
        since = min(spans[offer.key][0] for offer in offers) - 3600
        try:
            told = cloud.spot_prices(offers, since, now)
        except (Refused, HotdeskError, OSError):  # the bill goes on with what is known
            return {}
        merged: dict[str, Steps] = {}
        for key, steps in told.items():
            merged[key] = sorted({*known[key], *steps})
            self.store.keep(
                f"paid:{key}", msgspec.json.encode(_Kept(since=since, until=now, steps=merged[key])), now
            )
        return merged

    # ---- the cloud's own bill ------------------------------------------------------------------------

    def biller(self) -> str:
        """The cloud whose own bill is worth asking for: of the desks' clouds, else of those within reach.

        Raises `Missing` where none has a bill of its own.
        """
        used = [self.config.defaults.provider, *(d.provider for d in self.store.desks())]
        candidates = [*used, *sorted(registry.within_reach())]
        if found := next((name for name in candidates if name and clouds.cloud(name).bill), ""):
            return found
        raise _no_bill(clouds.cloud(next(filter(None, reversed(used)), registry.DEFAULT)))

    def billed(self, provider: str, since: float) -> dict[str, float]:
        """US dollars by desk since then, as the cloud itself bills them. It may cost money to ask.

        Raises `Missing` where the cloud tells no such thing, `NotAllowed` where we may not ask.
        """
        cloud = self.clouds.provider(provider)
        if not isinstance(cloud, Biller):
            raise _no_bill(clouds.cloud(provider))
        try:
            return cloud.billed(since, self.clock.now())
        except Refused as no:
            raise NotAllowed(
                f"{clouds.cloud(provider).label} does not show its bill.",
                no.message,
                no.fix or "hotdesk costs   # from hotdesk's own journal",
            ) from no

    # ---- the budget ----------------------------------------------------------------------------------

    def check_budget(self, offers: Sequence[Offer] = ()) -> str:
        """A warning, from 80 % of the month's budget on.

        Raises `NotAllowed` when it is spent, or cannot be judged because prices of the bill or of these
        offers are in another currency; `Damaged` when it cannot be read.
        """
        self.config.need("defaults")
        if not (limit := self.limit_usd):
            return ""
        from hotdesk.core.billing.tally import lines

        there = self._tallies("month")
        for told in (*(a for t in there for a in t.besides), *(o.told_per_hour for o in offers)):
            judge(told, f"This month's budget of ${limit:,.2f}")
        now = self.clock.now()
        prices = self.spot_prices([c for t in there for c in t.spot_at(now)], ask=False)
        spent = _this_month(lines(there, now, by="month", prices=prices), now)
        said = f"${spent:,.2f} of this month's budget of ${limit:,.2f} is spent."
        if spent >= limit:
            raise NotAllowed(
                said,
                "hotdesk launches nothing beyond [defaults] usd_per_month in hotdesk.toml.",
                "hotdesk costs   # or the same command with --over-budget",
            )
        return said if spent >= WARN_SHARE * limit else ""

    def warn(self, desk: Desk) -> None:
        """Write down in a desk's journal, once a month, that most of the budget is spent, if it is."""
        try:
            warning = self.check_budget()
        except NotAllowed as spent:
            warning = spent.what
        if warning:
            self._write_down(desk, warning)

    def within_budget(self, desk: Desk) -> Desk:
        """The desk's row, where it may be launched this month; told once, that holds for the wish.

        The one place that every verb passes which may lead to a launch. Raises `NotAllowed`.
        """
        if self.over_budget:
            return msgspec.structs.replace(desk, over_budget=True)
        if not desk.over_budget and (warning := self.check_budget(desk.offers)):
            self.on_note(warning)
            self._write_down(desk, warning)
        return desk

    def caution(self, desk: Desk) -> None:
        """Say what its cloud's prices do not say: that a desk which leaves by itself may go on costing."""
        from hotdesk.providers import registry

        if told := registry.caution(cloud(desk.provider), self.config.cloud(desk.provider)):
            self.on_note(told)

    def _write_down(self, desk: Desk, warning: str) -> None:
        """A warning in the journal, once a month for each desk."""
        now = self.clock.now()
        month = datetime.fromtimestamp(now, UTC).strftime("%Y-%m")
        step = Told(id=f"budget-{month}", at=now, why=warning)
        if step.key not in self.store.past(desk).last:
            self.store.note(desk, step, now, step.id)

    def may(self, desk: Desk, step: Act) -> Ask | None:
        """The reason not to take a step: a launch that exceeds the month's budget, by any loop."""
        unread = cloud(desk.provider).rented and {"", "defaults"} & self.config.faults.keys()
        if not (self.limit_usd or unread) or not isinstance(step, Launch | Hold | Start):
            return None
        try:
            self.within_budget(desk)
        except Damaged as no:
            return Ask(what=no.what, why=no.why, fix=no.fix, kind=Kind.DENIED)
        except NotAllowed as no:
            return Ask(
                what=no.what, why=no.why, fix=f"hotdesk up {desk.name} --over-budget", kind=Kind.DENIED
            )
        return None

    def launches(self, desk: Desk) -> bool:
        """Whether a machine would be launched or started for it, as far as one look tells.

        Without a budget nobody need know, and nobody looks.
        """
        if not self.limit_usd:
            return False
        live = self.clouds.seen(desk).live
        return live is None or not powered(live) or live.chosen_for < desk.generation


def _as_of(bill: list[Charge], now: float) -> list[Charge]:
    """The same at any time: it is of now, and not kept."""
    return bill


def _this_month(lines: Iterable[Line], now: float) -> float:
    """What lines of days or months come to since the month began."""
    month = datetime.fromtimestamp(now, UTC).strftime("%Y-%m")
    return sum(line.usd for line in lines if line.period.startswith(month))


def _no_bill(cloud: clouds.Cloud) -> Missing:
    return Missing(
        f"There is no bill of {cloud.label} that hotdesk could compare with.",
        "It is shown in a browser only, as far as hotdesk knows." if cloud.rented else "It costs nothing.",
        "hotdesk costs   # its journal",
    )


class _Kept(msgspec.Struct):
    since: float
    until: float
    steps: Steps = []
