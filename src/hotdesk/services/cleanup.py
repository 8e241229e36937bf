"""Clean up orphaned resources: find them in every cloud, price them, delete those that hold no work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hotdesk.core.errors import HotdeskError, Refused
from hotdesk.core.model import Leftover, Retained, Survey, Value
from hotdesk.core.ports import Clock, Retainer, Sweeper
from hotdesk.core.steps import Done, Outcome, Refusal, Row, Unsure
from hotdesk.loop.clouds import Clouds
from hotdesk.services.orphans import Orphan, things
from hotdesk.state.store import Store


class Unread(Value, frozen=True):
    """A cloud, or a region of one, whose things are not known now."""

    where: str
    what: str = ""  # why it could not even be asked; "": it gave no answer
    fix: str = ""


class Orphans(Value, frozen=True):
    """Orphaned resources, from one survey of every reachable cloud."""

    things: tuple[Orphan, ...]  # most expensive first, those safe to delete before the others
    unread: tuple[Unread, ...]  # where nobody could look
    retained: tuple[Retained, ...]  # what was deleted, and is billed until its time
    retained_unread: tuple[str, ...]  # regions that do not tell
    deleted: dict[str, str]  # by id: "", or why it is still there

    @property
    def usd_per_month(self) -> float:
        return sum(thing.usd_per_month for thing in self.things)


@dataclass(kw_only=True, eq=False)
class Cleanup:
    """Finds and deletes orphans. `on_row` hears of each deletion."""

    store: Store
    clock: Clock
    clouds: Clouds
    on_row: Callable[[Row], None]

    def orphans(self, *, delete: bool = False) -> Orphans:
        """Orphaned resources. `delete` deletes those that are safe to delete: they hold no unique data."""
        found, unread = self.leftovers()
        kept, dark = self.retained()
        return Orphans(
            things=tuple(found),
            unread=tuple(unread),
            retained=tuple(kept),
            retained_unread=tuple(dark),
            deleted=self.delete_leftovers(found) if delete else {},
        )

    def leftovers(self) -> tuple[list[Orphan], list[Unread]]:
        """Orphaned resources, most expensive first; and the regions and clouds that could not be read.

        What costs the same stays in its cloud's order: a network goes after what is in it.
        """
        found: list[Orphan] = []
        unread: list[Unread] = []
        for provider in sorted(self.clouds.in_sight()):
            try:
                survey = self.clouds.survey(provider)
            except HotdeskError as error:
                unread.append(Unread(provider, " ".join(w for w in (error.what, error.why) if w), error.fix))
                continue
            swept, silent = self._swept(provider, survey)
            zones = {machine.zone for machine in survey.hidden}
            silent = [*survey.unread, *zones, *silent]
            unread += [Unread(f"{provider}/{region}") for region in sorted(set(silent))]
            found += things(survey, self.store.desks(), self.clock.now(), swept, self.store.past)
        return sorted(found, key=lambda t: (not t.safe, -t.usd_per_month)), unread

    def retained(self, ids: Sequence[str] | None = None) -> tuple[list[Retained], list[str]]:
        """What clouds keep, and bill, although it was deleted: of things of these ids, or all that is ours.

        And the regions that do not tell. What no cloud can be asked about is left out.
        """
        found: list[Retained] = []
        unread: list[str] = []
        seen = [s for s in self.store.sighted() if ids is None or s.id in ids]
        for provider in sorted(self.clouds.in_sight() if ids is None else {s.provider for s in seen}):
            cloud = self.clouds.provider(provider)
            if isinstance(cloud, Retainer):
                mine = {s.id for s in seen if s.provider == provider}
                try:
                    kept, silent = cloud.retained(mine, everywhere=ids is None)
                except (HotdeskError, Refused):
                    kept, silent = [], [provider]
                found += kept
                unread += silent
        return sorted(found, key=lambda r: (r.region, r.kind, r.id)), unread

    def _swept(self, provider: str, survey: Survey) -> tuple[list[Leftover], list[str]]:
        """Resources that no survey shows; and the regions that did not answer."""
        cloud = self.clouds.provider(provider)
        if not isinstance(cloud, Sweeper):
            return [], []
        found, silent = cloud.sweep(survey)
        used = self.clouds.fleets()
        return [thing for thing in found if thing.desk not in used], silent

    def delete_leftovers(self, found: Sequence[Orphan]) -> dict[str, str]:
        """Delete what is safe to delete; returns, by id, "" or why it still exists.

        It is looked again before each cloud's turn: what another command has come to need is left alone.
        """
        done: dict[str, str] = {}
        for provider in sorted({t.provider for t in found if t.safe}):
            survey = self.clouds.survey(provider)
            swept, _ = self._swept(provider, survey)
            now = things(survey, self.store.desks(), self.clock.now(), swept, self.store.past)
            safe = {t.id for t in now if t.safe}
            for thing in (t for t in found if t.safe and t.provider == provider):
                needed = "it is in use, or gone, by now"
                done[thing.id] = self._delete_leftover(thing) if thing.id in safe else needed
        return done

    def _delete_leftover(self, thing: Orphan) -> str:
        """Delete an orphaned resource, journaled; returns "" or why it failed."""
        from hotdesk.core.steps import Delete

        step = Delete(id=thing.id, why=thing.why, usd_per_month=thing.usd_per_month, kind=thing.kind)
        [row] = self.store.begin([(thing.desk, step)], self.clock.now())
        try:
            self.clouds.provider(thing.provider).delete(thing.id)
            outcome: Outcome = Done(id=thing.id)
        except Refused as no:
            outcome = Refusal(kind=no.kind, message=no.message, fix=no.fix)
        except Exception as error:  # it may have been deleted: the next look shows it
            outcome = Unsure(message=f"{type(error).__name__}: {error}")
        ended = self.store.end(row, outcome, self.clock.now())
        self.on_row(ended)
        return ended.said
