"""Which offers are left out because a cloud refused them lately, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from hotdesk.core.errors import Kind
from hotdesk.core.lifecycle.history import Past
from hotdesk.core.model import Offer
from hotdesk.core.steps import Refusal
from hotdesk.state.store import Store

#: The refusals of some offers, by offer key.
Refused = Callable[[Iterable[Offer]], Mapping[str, Refusal]]

_WORDS = {
    Kind.NO_CAPACITY: "sold out",
    Kind.QUOTA: "over your quota",
    Kind.UNSUPPORTED: "not supported",
    Kind.DENIED: "not permitted",
}
_ROWS = 500  # of the journal: what was refused before them is no longer believed


def lately(store: Store, now: float) -> Refused | None:
    """What a launch would skip, as the planner decides it; None where nothing is refused now."""
    past = Past(store.rows(limit=_ROWS))
    return (lambda offers: past.refused(offers, now)) if past.refuses(now) else None


def reasons(refusals: Iterable[Refusal]) -> dict[str, int]:
    """How many were refused for each reason, in words, the most frequent first."""
    counts = Counter(_WORDS.get(no.kind, "refused") if no.kind else "refused" for no in refusals)
    return dict(counts.most_common())


def left_out(reasons: Mapping[str, int]) -> str:
    """The same as part of a sentence."""
    return ", ".join(f"{count} {why}" for why, count in reasons.items())
