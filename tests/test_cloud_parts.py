"""What rented clouds share (providers/cloud): regions, refusals, kept answers, the own address."""

from __future__ import annotations

import threading

import pytest

from hotdesk.core.errors import Kind, Refused, Unreachable
from hotdesk.providers.cloud import regions
from hotdesk.providers.cloud.address import own_address
from hotdesk.providers.cloud.kept import DAY, HOUR, Recalled, keep, kept, kept_answers
from hotdesk.providers.cloud.refusals import kind_of
from hotdesk.providers.cloud.regions import QUIET_SECONDS, RegionMemory
from hotdesk.state.store import Store
from hotdesk.system import SystemClock
from tests.truth import Clock

NO_SUCH_REGION = Refused(Kind.DENIED, "not here")


class Cloud:
    """Regions with things in them, of which some answer with an error. Counts what it is asked."""

    def __init__(self, **things: list[str] | Exception) -> None:
        self.things, self.asked = things, list[str]()

    def holds_any(self, region: str) -> bool:
        self.asked.append(f"{region}?")
        return bool(self._answer(region))

    def read(self, region: str) -> list[str]:
        self.asked.append(region)
        return self._answer(region)

    def _answer(self, region: str) -> list[str]:
        answer = self.things[region]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def look(
        self, memory: RegionMemory, now: float = 1000.0
    ) -> tuple[dict[str, list[str]], dict[str, Exception]]:
        self.asked.clear()
        found, unread = regions.look(
            self.things, memory, now, holds_any=self.holds_any, read=self.read,
            unreachable=lambda error: Unreachable("The cloud does not answer.", str(error)),
        )  # fmt: skip
        memory.read({region: bool(held) for region, held in found.items()}, now)
        return found, unread


class Still:
    """A clock that is set."""

    def __init__(self, at: float) -> None:
        self.at = at

    def now(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


@pytest.fixture
def memory() -> RegionMemory:
    return RegionMemory(None, "busy", SystemClock(), lag_seconds=0.0)


def test_an_empty_region_is_one_question_and_one_with_something_is_read(memory: RegionMemory) -> None:
    cloud = Cloud(east=[], west=["i-1"])
    assert cloud.look(memory) == ({"west": ["i-1"]}, {})
    assert sorted(cloud.asked) == ["east?", "west", "west?"]
    assert cloud.look(memory)[0] == {"west": ["i-1"]}
    assert cloud.asked == ["west"], "it is known to be busy, and the other was asked a moment ago"
    cloud.look(memory, 1000.0 + QUIET_SECONDS)
    assert sorted(cloud.asked) == ["east?", "west"]


def test_what_is_there_may_come_with_the_answer_to_the_cheap_question(memory: RegionMemory) -> None:
    """Where only leftovers are that change with nothing: the region does not become busy."""
    cloud = Cloud(east=["a group"], west=[])
    cloud.holds_any = lambda region: cloud.read(region) or False  # type: ignore[method-assign]
    found, _ = cloud.look(memory)
    assert (found, cloud.asked) == ({"east": ["a group"]}, ["east", "west"])
    memory.read({"east": False}, 1000.0)
    assert cloud.look(memory)[0] == found, "it is still there"
    assert cloud.asked == [], "and nobody was asked"


def test_where_something_is_about_to_be_made_is_read_even_by_another_process() -> None:
    with Store(None) as cache:
        RegionMemory(cache, "busy", SystemClock(), lag_seconds=0.0).will_make_in("east")
        cloud = Cloud(east=[], west=[])
        other = RegionMemory(cache, "busy", SystemClock(), lag_seconds=0.0)
        cloud.look(other)
        assert sorted(cloud.asked) == ["east", "west?"]
        assert other.busy == frozenset(), "it was read and is empty"


def test_a_region_where_a_process_died_is_read_until_its_listing_is_up_to_date() -> None:
    """1. A process launches there and dies. 2. The next one finds nothing yet. 3. Nor has it been long
    enough when it looks again: an answer of that look, kept for 20 s, would hide the machine at the end."""
    clock = Still(1000.0)
    with Store(None) as cache:
        RegionMemory(cache, "busy", clock, lag_seconds=30.0).will_make_in("east")
        cloud = Cloud(east=[])
        memory = RegionMemory(cache, "busy", clock, lag_seconds=30.0)
        for clock.at in (1001.0, 1021.0, 1030.0):
            assert cloud.look(memory, clock.at) == ({"east": []}, {})
            assert cloud.asked == ["east"]
        cloud.things["east"] = ["i-1"]
        clock.at = 1031.0
        assert RegionMemory(cache, "busy", clock, lag_seconds=30.0).busy == {"east"}
        assert cloud.look(memory, clock.at) == ({"east": ["i-1"]}, {})
        cloud.things["east"] = []
        for clock.at in (1100.0, 1130.0):
            cloud.look(memory, clock.at)
        assert memory.busy == frozenset() == RegionMemory(cache, "busy", clock, lag_seconds=30.0).busy


def test_what_one_process_is_about_to_make_another_does_not_take_away() -> None:
    clock = Still(1000.0)
    with Store(None) as cache:
        one, other = (RegionMemory(cache, "busy", clock, lag_seconds=30.0) for _ in range(2))
        one.will_make_in("west")
        other.will_make_in("east")
        one.read({"west": True, "east": True}, 1000.0)
        assert RegionMemory(cache, "busy", clock, lag_seconds=30.0).busy == {"east", "west"}
        for clock.at in (1000.0, 1029.0, 1030.0):
            third = RegionMemory(cache, "busy", clock, lag_seconds=30.0)
            third.read({"east": False}, clock.at)
            if clock.at == 1029.0:
                one.will_make_in("east")
        assert "east" in RegionMemory(cache, "busy", clock, lag_seconds=30.0).busy, "it began anew at 1029"


def test_a_look_during_which_another_process_begins_something_counts_for_nothing() -> None:
    """1. A look at an empty region begins. 2. Another process launches there, and dies. 3. The look ends."""
    clock = Still(1000.0)
    with Store(None) as cache:
        RegionMemory(cache, "busy", clock, lag_seconds=30.0).will_make_in("east")
        looks = RegionMemory(cache, "busy", clock, lag_seconds=30.0)
        clock.at = 1001.0
        RegionMemory(cache, "busy", clock, lag_seconds=30.0).will_make_in("east")
        looks.read({"east": False}, 1000.5)
        clock.at = 1030.5
        looks.read({"east": False}, clock.at)
        assert looks.busy == {"east"}, "it may be listed a lag after 1001"
        clock.at = 1061.0
        looks.read({"east": False}, clock.at)
        assert looks.busy == frozenset()


def test_a_region_where_this_process_makes_something_stays_busy_though_nothing_is_listed_yet(
    memory: RegionMemory,
) -> None:
    memory.will_make_in("east")
    assert memory.is_unproven("east")
    Cloud(east=[]).look(memory)
    assert memory.busy == {"east"}
    assert not memory.is_unproven("east")
    memory.forbidden("east")
    assert memory.busy == frozenset()


def test_a_desk_is_seen_where_the_settings_do_not_look_any_more(memory: RegionMemory) -> None:
    """Else `down` finds nothing, forgets the desk, and it is paid for ever."""
    cloud = Cloud(east=["i-1"], west=[])
    cloud.look(memory)
    found, unread = regions.look(
        ["west"], memory, 1000.0, holds_any=cloud.holds_any, read=cloud.read, unreachable=Exception
    )
    assert (found, unread) == ({"east": ["i-1"]}, {})


def test_a_region_that_fails_is_unread_unless_it_is_denied_and_nothing_of_ours_can_be_there(
    memory: RegionMemory,
) -> None:
    memory.will_make_in("south")
    lost = ConnectionError("reset")
    found, unread = Cloud(east=lost, west=["i-1"], north=NO_SUCH_REGION, south=NO_SUCH_REGION).look(memory)
    assert found == {"west": ["i-1"]}
    assert unread == {"east": lost, "south": NO_SUCH_REGION}, "something may have been made in south"


def test_if_no_region_answers_the_most_useful_error_is_raised(memory: RegionMemory) -> None:
    busy, denied = Refused(Kind.THROTTLED, "later"), Refused(Kind.DENIED, "no")
    with pytest.raises(Refused) as raised:
        Cloud(east=ConnectionError("reset"), west=busy, north=denied).look(memory)
    assert raised.value is denied
    with pytest.raises(Unreachable):
        Cloud(east=ConnectionError("reset")).look(memory)


def test_regions_are_read_at_the_same_time(memory: RegionMemory) -> None:
    both = threading.Barrier(2, timeout=20)

    class Slow(Cloud):
        def holds_any(self, region: str) -> bool:
            both.wait()
            return super().holds_any(region)

    assert Slow(east=[], west=[]).look(memory) == ({}, {})


# ---- refusals ------------------------------------------------------------------------------------------

CODES = {"Throttling": Kind.THROTTLED, "Throttling.Never": Kind.QUOTA, "NoStock": Kind.NO_CAPACITY}


@pytest.mark.parametrize(
    ("code", "status", "read_only", "kind"),
    [
        ("NoStock", 500, False, Kind.NO_CAPACITY),  # in the table: definite, whatever its status
        ("Throttling.User", 400, False, Kind.THROTTLED),  # by its part
        ("Throttling.Never", 400, False, Kind.QUOTA),
        ("Throttling.User", 503, False, None),  # nobody knows what became of the change
        ("InternalError", 500, False, None),
        ("InternalError", 500, True, Kind.THROTTLED),
        ("Invalid.Something", 404, False, Kind.BAD_REQUEST),
        ("RequestTimeout", 400, False, None),
        ("", 0, True, None),
    ],
)
def test_which_answers_are_a_definite_no(code: str, status: int, read_only: bool, kind: Kind | None) -> None:
    assert kind_of(code, status, CODES, read_only=read_only, unknown={"RequestTimeout"}) is kind


# ---- kept answers --------------------------------------------------------------------------------------


def test_an_answer_is_kept_for_a_day_and_an_error_is_not() -> None:
    asked: list[str] = []

    def question(name: str) -> dict[str, int]:
        asked.append(name)
        if name == "bad":
            raise Refused(Kind.THROTTLED, "later")
        return {name: len(asked)}

    def ask(cache: Store | None, now: float) -> list[str]:
        asked.clear()
        told = kept_answers(
            cache,
            now,
            dict[str, int],
            {name: lambda n=name: question(n) for name in ("good", "bad")},  # type: ignore[misc]
        )
        assert "good" in told["good"]
        assert isinstance(told["bad"], Refused)
        return sorted(asked)

    with Store(None) as cache:
        assert ask(cache, 1000.0) == ["bad", "good"]
        assert ask(cache, 1000.0 + DAY - 1) == ["bad"]
        assert ask(cache, 1000.0 + DAY) == ["bad", "good"]
        assert ask(cache, 900.0) == ["bad", "good"], "from the future: a clock was set back"
    assert ask(None, 1000.0) == ["bad", "good"]


def test_what_another_version_kept_is_asked_again() -> None:
    with Store(None) as cache:
        keep(cache, "key", {"a": "words"}, 1000.0)
        assert kept(cache, "key", 1000.0, dict[str, str]) == (1000.0, {"a": "words"})
        assert kept(cache, "key", 1000.0, dict[str, int]) is None
        assert kept(cache, "key", 10 * DAY, dict[str, str], None) == (1000.0, {"a": "words"}), "of any age"


def test_what_is_recalled_goes_to_the_next_process_and_is_dropped_by_a_word() -> None:
    asked: list[str] = []

    def ask() -> tuple[str, str]:
        asked.append("")
        return "subnet-1", "vpc-1"

    clock = Clock()
    with Store(None) as cache:
        mine = Recalled(cache, "key", clock)
        for _ in range(2):
            assert mine.of("subnet/r1/", HOUR, tuple[str, str], ask) == ("subnet-1", "vpc-1")
        mine.sync()
        other = Recalled(cache, "key", clock)
        assert other.of("subnet/r1/", HOUR, tuple[str, str], ask) == ("subnet-1", "vpc-1")
        assert len(asked) == 1
        assert other.of("subnet/r1/", HOUR, tuple[str, str], ask, fresh=True)
        other.drop("/r1/")
        assert other.of("subnet/r1/", HOUR, tuple[str, str], ask)
        clock.sleep(HOUR)
        assert other.of("subnet/r1/", HOUR, tuple[str, str], ask)
        assert other.of("subnet/r1/", HOUR, dict[str, str], dict) == {}, "of another version"
        assert len(asked) == 4


# ---- the own address -----------------------------------------------------------------------------------


def test_the_own_address_is_what_the_settings_say_or_that_of_the_socket() -> None:
    assert own_address("https://x.example", "203.0.113.0/24", "", section="toy") == "203.0.113.0/24"
    assert own_address("http://127.0.0.1:9", "auto", "", section="toy") == "127.0.0.1/32", (
        "all within a network"
    )
    with pytest.raises(Refused, match=r"\[toy\] address"):
        own_address("https://x.example", "nonsense", "", section="toy")
    with pytest.raises(Refused) as raised:
        own_address("https://name.invalid", "auto", "", section="toy")
    assert "[toy]" in raised.value.fix
