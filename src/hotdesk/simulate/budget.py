"""A budget instead of a deadline: the earliest deadline whose expected cost the budget covers."""

from __future__ import annotations

import msgspec

from hotdesk.core.errors import NotAllowed
from hotdesk.core.spot.policy import Terms
from hotdesk.core.spot.table import SemiMarkov
from hotdesk.simulate.solver import semi_markov

#: Beyond so many times the work, more time saves next to nothing.
PATIENCE = 4.0


def within_budget(terms: Terms, usd: float) -> tuple[Terms, float]:
    """The terms with the earliest deadline that should cost at most `usd`, and what it should cost.

    Raises `NotAllowed` with the cheapest plan when the budget cannot work. The cost is an expectation:
    a run may cost more where spot is scarcer than it usually is.
    """
    longest = PATIENCE * terms.work_seconds + 10 * terms.changeover_seconds + 20 * terms.tick_seconds
    policy = semi_markov(terms, longest_seconds=longest)
    last = len(policy.grid.layer_of) - 1
    cheapest = _quote(policy, terms, last)
    if cheapest > usd:
        hours = last * policy.tick / 3600
        raise NotAllowed(
            f"A budget of ${usd:.2f} cannot be expected to pay for {terms.work_seconds / 3600:g} h of work.",
            f"All on spot, without one interruption, is ${_least(terms):.2f}; the most patient plan,"
            f" {hours:.0f} h long, should cost ${cheapest:.2f}.",
            f"--budget {int(cheapest * 100 + 1) / 100:.2f}",
        )
    low, high = 0, last  # the quote falls as the deadline moves away
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _quote(policy, terms, middle) <= usd else (middle, high)
    due = max(high * policy.tick, terms.earliest_seconds)
    return msgspec.structs.replace(terms, deadline_seconds=due), _quote(policy, terms, high)


def _quote(policy: SemiMarkov, terms: Terms, layer: int) -> float:
    return policy.expected_usd(terms, terms.work_seconds, layer * policy.tick)


def _least(terms: Terms) -> float:
    return (terms.work_seconds + terms.changeover_seconds) / 3600 * terms.usd_spot
