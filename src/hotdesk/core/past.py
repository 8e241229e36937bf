"""What the journal says of one desk, folded so that each of the planner's questions is a look-up.

`Past` is rebuilt from journal rows and never written by the planner. A row is added twice: when its step
was begun, and again when it ended.
"""

from __future__ import annotations

from collections.abc import Iterable

from hotdesk.core.errors import OFFER_KINDS
from hotdesk.core.model import Image, Phase, Seen
from hotdesk.core.steps import Bake, Copy, Delete, Launch, LaunchOrder, Outcome, Prove, Row, Start, Stop

_KEPT = 24  # launches and starts that are remembered: enough for every limit the planner knows


class Past:
    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.last: dict[str, Row] = {}  # by step key
        self.launch: Row | None = None  # the last launch
        self.proof: Row | None = None  # the last proven login
        self._open: dict[int, Row] = {}  # begun or ended lately: what a survey may not show yet
        self._begun: dict[str, list[float]] = {}  # by step key: when it was begun
        self._launches: list[Row] = []
        self._refusals: dict[str, tuple[float, Outcome]] = {}  # by offer key
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Take in a row that was begun or has ended. Rows come in the order of their ids."""
        key = row.step.key
        again = row.id in self._open
        self.last[key] = row
        self._open[row.id] = row
        if not again:
            self._begun.setdefault(key, []).append(row.at)
        match row.step:
            case Launch(order=order):
                if again:
                    self._launches = [r for r in self._launches if r.id != row.id]
                self._launches = [*self._launches[-_KEPT:], row]
                self.launch = row
                if row.refused and row.outcome and row.outcome.kind in OFFER_KINDS:
                    self._refusals[order.offer.key] = (row.outcome.until, row.outcome)
            case Prove() if row.done:
                self.proof = row

    def refusal(self, offer_key: str, now: float) -> Outcome | None:
        """Why this offer was refused, while that is still to be believed."""
        until, outcome = self._refusals.get(offer_key, (0.0, None))
        return outcome if until > now else None

    def refusals(self, now: float) -> dict[str, Outcome]:
        return {key: outcome for key, (until, outcome) in self._refusals.items() if until > now}

    def begun(self, key: str, since: float) -> int:
        """How often a step of this key was begun since then."""
        return sum(at >= since for at in self._begun.get(key, ()))

    def launched(self, since: float) -> int:
        """How many machines were really launched since then."""
        return sum(row.at >= since and row.done for row in self._launches)

    def made(self, instance_id: str) -> LaunchOrder | None:
        """The order behind a machine that this journal launched."""
        for row in reversed(self._launches):
            if isinstance(row.step, Launch) and row.outcome and row.outcome.id == instance_id:
                return row.step.order
        return None

    def unsettled(self, seen: Seen, now: float) -> Row | None:
        """A step whose effect may exist although this survey does not show it.

        A listing may lag behind a change by `seen.lag_seconds`; until then, or until the effect shows,
        nothing may be concluded from its absence. A clock that was set back by more than the lag is not
        waited for.
        """
        lagging = None
        for row in list(self._open.values()):
            ended = row.ended_at if row.ended_at is not None else row.at
            if row.refused or abs(now - ended) >= seen.lag_seconds or _shows(row, seen):
                if row.outcome is not None:
                    del self._open[row.id]
            else:
                lagging = lagging or row
        return lagging


def _shows(row: Row, seen: Seen) -> bool:
    """Whether the survey shows the effect of a step that was taken."""
    match row.step:
        case Launch(order=order):
            made = row.outcome.id if row.outcome else ""
            return order.name in seen.names or any(i.id == made for i in seen.instances)
        case Start(id=id_, started_at=before):
            return any(
                i.id == id_ and (i.phase is not Phase.STOPPED or i.started_at != before)
                for i in seen.instances
            )
        case Stop(id=id_, started_at=before):
            return any(
                i.id == id_ and (i.phase not in {Phase.READY, Phase.PENDING} or i.started_at != before)
                for i in seen.instances
            )
        case Bake(order=bake):
            return any(i.name == bake.name for i in seen.images)
        case Copy(name=name, region=region):
            return any(i.name == name and i.region == region for i in seen.images)
        case Delete(id=id_, keep_disk=True):
            # Between the end of a machine and the listing of its disk, the work seems to be nowhere.
            return any(d.instance_id == id_ for d in seen.disks)
        case Delete(id=id_):
            gone = all(i.id != id_ or i.phase in {Phase.ENDING, Phase.ENDED} for i in seen.instances)
            return gone and id_ not in {t.id for g in (seen.disks, seen.images, seen.leftovers) for t in g}
    return True


def holds_last_work(image: Image, generation: int, started_at: float) -> bool:
    """Whether an image holds all that was done on a machine of this generation, last started then.

    Both times are the cloud's own. An image from before the last start lacks what came after it.
    """
    return image.generation > generation or (image.generation == generation and image.taken_at > started_at)
