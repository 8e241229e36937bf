"""Which way the files of a moving desk go: straight from one machine to another, or by this computer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import NotAllowed, Refused, Usage
from hotdesk.core.lifecycle.descent import own
from hotdesk.core.lines import Lined, Linked
from hotdesk.core.model import Desk
from hotdesk.loop.clouds import Clouds
from hotdesk.providers.cloud.admitting import Guarded
from hotdesk.services.move_shapes import Route
from hotdesk.state.store import Store

AUTO, DIRECT, HERE = ROUTES = ("auto", "direct", "here")


@dataclass(kw_only=True, eq=False)
class Routes:
    """Chooses the way of a desk; what is measured is measured by sending."""

    store: Store
    clouds: Clouds

    def between(self, desk: Desk, moved: Desk) -> tuple[str, str] | None:
        """The machines of one's own that the desk goes from and to; None unless it goes between two."""
        if moved.bound is not None or not cloud(desk.provider).machines:
            return None
        seen = own(desk, self.clouds.seen(desk), self.store.past(desk))
        target = next((offer.zone for offer in moved.offers), "")
        if seen.live is None or not target or seen.live.zone == target:
            return None
        if moved.generation <= seen.live.chosen_for:  # it stays where it is
            return None
        return seen.live.zone, target

    def outward(self, desk: Desk, moved: Desk) -> str | None:
        """The machine of one's own from which the desk goes to a cloud; None unless it does."""
        known, bound = cloud(desk.provider), moved.bound
        if bound is None or not known.machines or cloud(bound.provider).pooled:
            return None
        if not isinstance(self.clouds.provider(bound.provider), Guarded):
            return None
        live = own(desk, self.clouds.seen(desk), self.store.past(desk)).live
        return live.zone if live else None

    def chosen(
        self, desk: Desk, moved: Desk, asked: str, lines: Sequence[float | None] | None = None
    ) -> Route | None:
        """The way of this desk to its row `moved`; None where there is only one.

        `lines`: the bytes a second from the old place to here and from here to the new one, if measured.
        Raises `Usage` for "direct" where that means nothing, `NotAllowed` where there is no such way.
        """
        ends = self.between(desk, moved)
        if ends is None and (source := self.outward(desk, moved)):
            why = (
                f"--route direct goes straight from {source}, which pays off where its line is the faster one"
            )
            if asked != AUTO:
                why = "you asked for it"
            by = DIRECT if asked == DIRECT else HERE
            return {"by": by, "why": why, "direct_bytes_per_second": None}
        if ends is None:
            if asked == DIRECT:
                raise Usage(
                    f"{desk.name} does not go straight from one machine to another.",
                    "There is such a way from a machine with an ssh login to another, or to a cloud.",
                    f"hotdesk move {desk.name} --route here --dry-run",
                )
            return None
        if asked == HERE:
            return {"by": HERE, "why": "you asked for it", "direct_bytes_per_second": None}
        provider = self.clouds.provider(desk.provider)
        speed, why = provider.straight(*ends) if isinstance(provider, Linked) else (0.0, "")
        if not speed:
            if asked == DIRECT:
                raise NotAllowed(
                    f"{ends[1]} cannot be reached from {ends[0]}.",
                    why,
                    f"hotdesk move {desk.name} --route here",
                )
            return {"by": HERE, "why": f"{ends[1]} cannot be reached from {ends[0]}: {why}",
                    "direct_bytes_per_second": None}  # fmt: skip
        if asked == DIRECT:
            return {"by": DIRECT, "why": "you asked for it", "direct_bytes_per_second": speed}
        known = [one for one in (self.lines(desk, ends) if lines is None else lines) if one]
        round_way = 1 / sum(1 / one for one in known) if len(known) == len(ends) else 0.0
        if round_way >= speed:
            return {"by": HERE, "why": "this computer's line is faster", "direct_bytes_per_second": speed}
        why = "faster than by this computer" if round_way else "this computer's line could not be measured"
        return {"by": DIRECT, "why": why, "direct_bytes_per_second": speed}

    def lines(self, desk: Desk, ends: tuple[str, str]) -> list[float | None]:
        """Bytes a second from the one machine to here, and from here to the other."""
        from hotdesk.connect import line_speed

        provider, found = self.clouds.provider(desk.provider), list[float | None]()
        for zone, measure in zip(ends, (line_speed.down, line_speed.up), strict=True):
            try:
                found.append(measure(provider.line(zone)) if isinstance(provider, Lined) else None)
            except Refused:
                found.append(None)
        return found

    def routed(self, desk: Desk, moved: Desk, asked: str) -> Desk:
        """The row `moved`, with the way that is chosen."""
        route = self.chosen(desk, moved, asked)
        return replace(moved, there=True) if route and route["by"] == DIRECT else moved
