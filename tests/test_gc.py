"""What is left over: found, priced, and deleted only where nothing can be lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotdesk.api import Hotdesk
from hotdesk.core.model import Desk, Disk, Goal, Image, Instance, Leftover, Phase, Survey
from hotdesk.leftovers import things
from tests.conftest import Command


def image(id_: str, desk: str = "blue", generation: int = 1, **more: object) -> Image:
    return Image(id=id_, name=id_, desk=desk, generation=generation, phase=Phase.READY, provider="sim",
                 region="r1", taken_at=1000.0 * generation, usd_per_month=2.0, verified=True, **more)  # type: ignore[arg-type]  # fmt: skip


def survey(**kinds: object) -> Survey:
    return Survey(provider="sim", **kinds)  # type: ignore[arg-type]


def test_an_older_image_may_go_and_the_newest_may_not() -> None:
    found = things(survey(images=(image("old"), image("new", generation=2))), [], 10_000.0)
    assert [(t.id, t.safe, t.usd_per_month, t.age_seconds) for t in found] == [
        ("old", True, 2.0, 9000.0),
        ("new", False, 2.0, 8000.0),
    ]
    assert "resume blue" in found[1].fix


def test_never_the_last_copy() -> None:
    """An unverified newer image is no reason to let a verified one go."""
    newer = Image(id="newer", name="newer", desk="blue", generation=2, phase=Phase.READY, provider="sim",
                  region="r1", taken_at=5000.0)  # fmt: skip
    found = things(survey(images=(image("whole"), newer)), [], 10_000.0)
    assert not [t for t in found if t.safe]
    disk = Disk(id="d", desk="green", generation=3, phase=Phase.READY, provider="sim", region="r1")
    assert not [t for t in things(survey(disks=(disk,)), [], 1e4) if t.safe]


def test_a_running_machine_may_be_another_computers() -> None:
    machine = Instance(id="i-1", name="n", desk="blue", generation=1, phase=Phase.READY, provider="sim",
                       region="r1", zone="r1a", instance_type="t", usd_per_hour=1.0)  # fmt: skip
    [thing] = things(survey(instances=(machine,)), [], 1e4)
    assert (thing.kind, thing.safe, thing.usd_per_month) == ("machine", False, 730.0)


def test_known_desks_are_left_to_the_planner_and_leftovers_go() -> None:
    desk = Desk(name="blue", goal=Goal.PARKED, since=0, created_at=0)
    left = Leftover(id="sg-1", kind="security group", provider="sim", region="r1", desk="gone", why="unused")
    found = things(survey(images=(image("old"), image("new", generation=2)), leftovers=(left,)), [desk], 1e4)
    assert [(t.id, t.kind, t.safe, t.why) for t in found] == [("sg-1", "security group", True, "unused")]


def test_two_thousand_things_in_seventeen_regions_are_quick() -> None:
    import time

    many = tuple(image(f"m{n}", desk=f"d{n % 300}", generation=1 + n // 300) for n in range(2000))
    began = time.perf_counter()
    found = things(survey(images=many), [], 1e5)
    assert len(found) == 2000
    assert time.perf_counter() - began < 3.0


def test_the_command_shows_first_and_deletes_only_when_told(hotdesk: Command, tmp_path: Path) -> None:
    assert "Nothing is left over" in hotdesk("gc").stdout
    half = tmp_path / "state" / "local" / "machines" / "hotdesk-gone-g1-12345678"
    half.mkdir(parents=True)
    [thing] = json.loads(hotdesk("gc", "--json").stdout)["things"]
    assert (thing["kind"], thing["safe"], thing["deleted"]) == ("half-made machine", True, False)
    assert "hotdesk gc --yes" in hotdesk("gc").stdout
    assert half.exists()
    done = hotdesk("gc", "--yes")
    assert "1 of 1 deleted." in done.stdout, done.stderr
    log = json.loads(hotdesk("log", "gone", "--json").stdout)
    assert [r["step"] for r in log] == ["delete"]


# ---- a crowded account ---------------------------------------------------------------------------------


@pytest.fixture
def crowded(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    pytest.importorskip("moto", reason="moto is not installed")
    from tests.aws_desk import HOME, quick
    from tests.fake_ec2.process import FakeEc2

    with FakeEc2() as server:
        for key, value in server.environment(HOME).items():
            monkeypatch.setenv(key, value)
        with quick(server) as fake:
            fake.post("crowd", regions=[HOME], count=6)
            yield fake


def test_other_peoples_things_are_not_even_seen(crowded: object, home: Path) -> None:
    (home / "hotdesk.toml").write_text('[defaults]\nprovider = "aws"\nregions = ["us-west-2"]\n')
    rows = crowded.get("things")  # type: ignore[attr-defined]
    before = {r["id"] for r in rows if r["crowd"]}
    assert len(before) > 20
    with Hotdesk() as desks:
        found, unread = desks.leftovers()
        assert (found, unread) == ([], [])
        desks.delete_leftovers(found)
    assert before <= {r["id"] for r in crowded.get("things")}  # type: ignore[attr-defined]
