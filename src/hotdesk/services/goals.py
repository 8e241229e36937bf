"""Build the desk row that a request would produce, without saving it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import Kind, Overloaded, Refused, Unknown, Usage
from hotdesk.core.matching import is_like
from hotdesk.core.model import Bound, Desk, Goal, Instance, MarketChoice, Offer, Want
from hotdesk.core.money import is_comparable
from hotdesk.core.names import check_name
from hotdesk.core.ports import Clock
from hotdesk.core.steps import AnyStep
from hotdesk.loop.clouds import Clouds
from hotdesk.providers import registry
from hotdesk.services.explain import named, nothing_fits, question_of
from hotdesk.state.store import Store

if TYPE_CHECKING:
    from hotdesk.config import Config


ANY = "any"  # instead of a provider's name: the best of them
KEEP_SECONDS = 7 * 86400.0  # for so long the last image of a desk stays where it has left


@dataclass(kw_only=True, eq=False)
class Goals:
    """Build the desk rows that requests produce, from options, hotdesk.toml and offers."""

    store: Store
    clock: Clock
    clouds: Clouds
    config: Config

    def only(self, otherwise: str | None = None) -> str:
        """The name to use if none is given: that of the only desk.

        `otherwise` when there is none. Raises `Usage` where there are several.
        """
        names = [d.name for d in self.store.desks()]
        if len(names) == 1:
            return names[0]
        if not names and otherwise:
            return otherwise
        if not names:
            raise Unknown("There is no desk yet.", "", "hotdesk up")
        raise Usage("Which desk?", f"There are several: {', '.join(names[:12])}.", "hotdesk ls")

    def steps(self, desk: Desk) -> list[AnyStep]:
        """The steps from what is seen to this row's goal, for a dry run. Nothing is done."""
        from hotdesk.core.lifecycle.plan import plan

        seen = self.clouds.survey(desk.provider).of(desk.name)
        return plan(desk, seen, self.store.past(desk), self.clock.now())

    def wanted(
        self,
        name: str,
        goal: Goal,
        want: Want | None = None,
        provider: str | None = None,
        fresh: bool = False,
        *,
        origin: str = "",
    ) -> Desk:
        """The desk's row as this wish would write it; nothing is written yet."""
        # A wish is newer than all that was done for earlier ones, even where the clock was set back.
        now = max(self.clock.now(), self.store.latest(name) + 0.001)
        desk = self.store.find(name)
        if goal is Goal.RUNNING:
            self.config.need("defaults", f"desks.{name}")
        if desk is None:
            check_name(name)
            settings = self.config.desks.get(name)
            desk = Desk(
                name=name,
                goal=goal,
                since=now,
                created_at=now,
                provider=self.provider(name, provider),
                idle_minutes=settings.idle_minutes if settings else None,
                lease_hours=settings.lease_in_hours if settings else 0.0,
            )
            want = want or self.configured(name, provider)
        elif provider and provider != desk.provider:
            raise Usage(
                f"{name} is a desk of {desk.provider}.",
                "It goes to another place with all that is on it.",
                f"hotdesk move {name} --provider {provider}",
            )
        elif (
            want
            and goal is Goal.RUNNING
            and _lazily(want) != _lazily(desk.want)
            and (live := self.clouds.seen(desk).live) is not None
            and not _is_already(live, want)
        ):
            raise Usage(
                f"{name} has a machine already.",
                "Its hardware is chosen when it is launched.",
                f"hotdesk move {name} …   # the same desk on other hardware",
            )
        if origin:
            self._check_origin(desk, origin)
        asked, want = want, want or _lazily(desk.want)
        if goal is Goal.RUNNING:
            self._check_computer(desk.provider)
        again = f"hotdesk up {name} "
        offers = desk.offers
        if goal is Goal.RUNNING:
            chosen = want
            offers = self.clouds.patiently(name, lambda: self.offers(desk.provider, chosen, again))
        if asked and goal is Goal.RUNNING and not offers:
            raise nothing_fits(desk, want)
        return msgspec.structs.replace(
            desk,
            goal=goal,
            since=now,
            want=want,
            offers=offers,
            fresh=fresh,
            origin=origin,
            bound=desk.bound if goal is Goal.RUNNING else None,
            over_budget=False,
            there=False,
            on_demand_at=0.0,  # whoever asks for a machine does not wait for a cheaper one
        )

    def check_store(self, name: str) -> None:
        """Raises `Usage` unless the desk's machine can keep an image itself."""
        desk = self.store.desk(name)
        if not cloud(desk.provider).machines:
            raise Usage(
                f"{name} cannot stay there.",
                f"{cloud(desk.provider).label} is no machine with an ssh login, which could keep its image.",
                f"hotdesk park {name}",
            )

    def moved(
        self,
        name: str,
        want: Want | None = None,
        provider: str | None = None,
        keep_seconds: float = KEEP_SECONDS,
    ) -> Desk:
        """The desk's row as a move would write it. `keep_seconds`: of its last image."""
        known = self.store.desk(name)
        provider = provider or (known.bound.provider if known.bound else known.provider)
        if provider != known.provider:
            return self._bound(known, want, provider, keep_seconds)
        if known.bound and want is None:  # it was to go, and stays after all
            return msgspec.structs.replace(self.wanted(name, Goal.RUNNING), bound=None)
        want = want or known.want
        desk = self.wanted(self.store.desk(name).name, Goal.RUNNING)
        machines = self.clouds.seen(desk).machines
        newest = max((m.chosen_for for m in machines), default=desk.generation - 1)
        again = f"hotdesk move {name} "
        offers = self.clouds.patiently(name, lambda: self.offers(desk.provider, want, again))
        if not offers:
            raise nothing_fits(desk, want)
        return msgspec.structs.replace(
            desk, want=want, offers=offers, generation=max(desk.generation, newest + 1), bound=None
        )

    def _bound(self, desk: Desk, want: Want | None, provider: str, keep_seconds: float) -> Desk:
        """The row of a desk that is to go to another provider."""
        self._check_computer(provider)
        want = want or self.configured(desk.name, provider)
        again = f"hotdesk move {desk.name} --provider {provider} "
        offers = self.clouds.patiently(desk.name, lambda: self.offers(provider, want, again))
        if not offers:
            raise nothing_fits(msgspec.structs.replace(desk, provider=provider), want)
        return msgspec.structs.replace(
            desk,
            goal=Goal.RUNNING,
            since=max(self.clock.now(), self.store.latest(desk.name) + 0.001),
            bound=Bound(
                provider=provider,
                want=want,
                offers=offers,
                generation=self._above(desk, provider),
                keep_seconds=keep_seconds,
            ),
            fresh=False,
            origin="",
            over_budget=False,
            there=False,
            on_demand_at=0.0,
        )

    def _above(self, desk: Desk, provider: str) -> int:
        """A generation above that of all that carries the desk's name, at both places."""
        things = [desk.generation - 1]
        for where in (desk, msgspec.structs.replace(desk, provider=provider)):
            seen = self.clouds.seen(where)
            every = (*seen.instances, *seen.disks, *seen.images, *seen.strays)
            things += [thing.generation for thing in every]
        return max(things) + 1

    def _check_origin(self, desk: Desk, origin: str) -> None:
        """Raises `Unknown` where the desk has nothing of that id: it would be launched without its work."""
        seen = self.clouds.seen(desk)
        groups = (seen.machines, seen.disks, seen.images)
        ids = [thing.id for group in groups for thing in group]
        if origin not in ids:
            raise Unknown(
                f"{desk.name} has no image or disk {origin}.",
                f"It has: {', '.join(ids)}." if ids else "It has none at all.",
                f"hotdesk up {desk.name}   # asks if there is a choice",
            )

    def _check_computer(self, provider: str) -> None:
        """Raises `Missing` when this computer could not use the desk that it asks for."""
        from hotdesk.connect import ssh

        for name in ("ssh", "ssh-keygen"):
            ssh.program(name)
        registry.check(registry.known(provider))

    def provider(self, name: str, provider: str | None = None) -> str:
        """Where a new desk of this name would be. Raises `Damaged` where the settings cannot be read."""
        self.config.need("defaults", f"desks.{name}")
        settings = self.config.desks.get(name)
        return (
            provider
            or (settings.provider if settings else "")
            or self.config.defaults.provider
            or registry.DEFAULT
        )

    def configured(self, name: str, provider: str | None = None) -> Want:
        """The settings in hotdesk.toml for a new desk of this name."""
        settings = self.config.desks.get(name)
        # This computer is in no region, and has one disk and one system: a cloud's must not shut it out.
        here = not cloud(self.provider(name, provider)).rented
        regions = () if here else self.config.defaults.regions
        if settings is None:
            return Want(regions=regions)
        fields = {f: getattr(settings, f) for f in Want.__struct_fields__}
        if here and (not settings.provider or cloud(settings.provider).rented):
            fields |= {"disk_gib": 0, "image": ""}
        return Want(**{**fields, "regions": settings.regions or regions})

    def offers(self, provider: str, want: Want, again: str = "hotdesk up ") -> tuple[Offer, ...]:
        try:
            offers = tuple(self.clouds.provider(provider).offers(want))
        except Refused as refused:
            if refused.kind is Kind.BAD_REQUEST:  # it does say: there is no such thing
                raise named(refused, again) from refused
            if refused.kind is Kind.THROTTLED:
                raise Overloaded(
                    f"{cloud(provider).label} is too busy to answer.",
                    refused.message,
                    f"{again}  # again in a minute",
                ) from refused
            what = f"The offers of {cloud(provider).label} could not be read."
            if cloud(provider).machines:
                what = "None of your machines could be asked."
            raise question_of(refused, what) from refused
        if len({offer.usd_per_hour for offer in offers}) < 2:  # this computer, or nothing to choose between
            return offers
        from hotdesk.market.ranking import ranked

        return ranked(want, offers, self.store, self.clock.now())


def _is_already(live: Instance, want: Want) -> bool:
    """Whether a machine is what is asked for: of the type named, where and how it is wanted."""
    return (
        is_like((want.instance_type,), live.instance_type)
        and (not want.regions or is_like(want.regions, live.region))
        and want.zone in {"", live.zone}
        and want.market in {MarketChoice.CHEAPEST, live.market}
        and not (want.gpu or want.gpu_count or want.image)
        and want.disk_gib <= live.disk_gib
        and (
            want.usd_per_hour_max is None
            or (is_comparable(live.told_per_hour) and live.usd_per_hour <= want.usd_per_hour_max)
        )
    )


def _lazily(want: Want) -> Want:
    """Without a provisioned load: it is paid anew each time, and so is asked for each time."""
    return msgspec.structs.replace(want, initialization_rate=0)
