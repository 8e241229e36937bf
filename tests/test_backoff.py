"""How long a cloud that is too busy is left alone."""

from __future__ import annotations

from hotdesk.core.backoff import FIRST_SECONDS, MOST_SECONDS, backoff


def test_each_wait_is_longer_up_to_two_minutes_and_part_of_it_is_chance() -> None:
    for times in range(1, 100):
        full = min(MOST_SECONDS, FIRST_SECONDS * 2 ** (times - 1))
        waits = [backoff(times, f"desk {n}") for n in range(200)]
        assert full / 2 <= min(waits) < 0.55 * full
        assert 0.95 * full < max(waits) <= full


def test_the_same_arguments_give_the_same_wait() -> None:
    assert backoff(3, "blue/7.0") == backoff(3, "blue/7.0") != backoff(3, "blue/8.0")
