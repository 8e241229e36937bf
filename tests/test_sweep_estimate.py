"""How many machines a sweep takes, how long, and for how much, before it is begun."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hotdesk.core.sweep.estimate import BOOT_SECONDS, Load, estimate, machines_for, most_useful

HOUR = 3600.0
loads = st.builds(
    Load,
    tasks=st.integers(1, 5000),
    each_seconds=st.floats(1, 20 * HOUR),
    places=st.integers(1, 8),
    head_usd=st.just(1.0),
    worker_usd=st.floats(0.1, 1.0),
    dear_usd=st.just(1.0),
)


def load(tasks: int = 100, each: float = HOUR, places: int = 1) -> Load:
    return Load(tasks=tasks, each_seconds=each, places=places, head_usd=1.0, worker_usd=0.25, dear_usd=1.0)


@given(loads, st.integers(1, 1000))
def test_the_three_numbers_are_in_order(work: Load, machines: int) -> None:
    found = estimate(work, machines)
    assert list(found.seconds) == sorted(found.seconds)
    assert list(found.usd) == sorted(found.usd)
    assert found.seconds[0] >= BOOT_SECONDS[0] + work.each_seconds * 0.99


@given(loads, st.integers(1, 200))
def test_a_deadline_is_kept_even_if_much_goes_wrong_and_by_the_fewest(work: Load, most: int) -> None:
    deadline = 30 * HOUR
    machines = machines_for(work, most, deadline, None)
    if machines:
        assert estimate(work, machines).seconds[2] <= deadline
        assert machines == 1 or estimate(work, 1).seconds[2] > deadline
    else:
        assert estimate(work, most_useful(work, most)).seconds[2] > deadline


def test_a_hundred_hours_within_ten_take_some_more_than_ten_machines() -> None:
    assert machines_for(load(), 1000, None, None) >= 50  # an earlier end that costs little more
    assert 10 < machines_for(load(), 1000, 10 * HOUR, None) <= 15
    assert machines_for(load(), 1000, HOUR, None) == 0
    assert machines_for(load(), 1000, None, 1.0) == 0
    assert machines_for(load(), 3, None, None) <= 3
