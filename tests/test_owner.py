"""Two people, one account: each sees, bills and ends what is theirs; a name that is taken is a question."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from fake_ec2.process import FakeEc2
from hotdesk.core.lifecycle.history import Past
from hotdesk.core.lifecycle.plan import plan, plan_gc
from hotdesk.core.model import Desk, Goal, Instance, Market, Phase, Survey
from hotdesk.core.steps import Ask
from hotdesk.providers.aws.owner import name_of
from hotdesk.providers.aws.settings import Settings
from tests.aws_desk import HOME, Laptop, offer
from tests.conftest import Command
from tests.sim import OFFERS

pytest.importorskip("moto", reason="moto is not installed")


def of(fake: FakeEc2, folder: Path, owner: str) -> Laptop:
    return Laptop(fake, folder, settings=Settings(lag_seconds=0.0, owner=owner))


@pytest.fixture
def both(fake: FakeEc2, tmp_path: Path) -> Iterator[tuple[Laptop, Laptop]]:
    alice, bob = of(fake, tmp_path / "alice", "user/alice"), of(fake, tmp_path / "bob", "user/bob")
    yield alice, bob
    for each in (alice, bob):
        each.store.close()


def test_another_owners_desk_is_left_alone_and_its_name_is_a_question() -> None:
    theirs = Instance(id="i-1", name="n", desk="blue", generation=1, phase=Phase.READY, provider="sim",
                      region="r1", zone="r1a", instance_type="cpu.small", owner="user/alice")  # fmt: skip
    survey = Survey(provider="sim", instances=(theirs,), owner="user/bob")
    assert survey.of("blue").ids == frozenset()
    desk = Desk(name="blue", goal=Goal.RUNNING, since=9.0, created_at=9.0, provider="sim", offers=OFFERS)
    [ask] = plan(desk, survey.of("blue"), Past(), 1e6)
    assert isinstance(ask, Ask)
    assert "user/alice" in ask.what
    assert plan(replace(desk, goal=Goal.GONE), survey.of("blue"), Past(), 1e6) == []
    for known in (
        replace(survey, owner="user/alice"),
        replace(survey, instances=(replace(theirs, owner=""),)),
    ):
        assert known.of("blue").ids == {"i-1"}


def test_everything_that_is_made_says_whose_it_is(both: tuple[Laptop, Laptop]) -> None:
    alice, _ = both
    assert alice.do(Goal.RUNNING, (offer(market=Market.SPOT),)) is None
    assert alice.do(Goal.PARKED) is None
    assert alice.do(Goal.RUNNING, (offer(),)) is None
    assert alice.do(Goal.PARKED) is None
    costly = [r for r in alice.things(gone=True) if r["kind"] in {"instance", "volume", "snapshot", "image"}]
    assert {r["kind"] for r in costly} == {"instance", "volume", "snapshot", "image"}
    assert {r["tags"].get("hotdesk:owner") for r in costly} == {"user/alice"}


def test_a_name_that_somebody_else_uses_here_is_a_question(both: tuple[Laptop, Laptop]) -> None:
    """1. Alice has a desk. 2. Bob wants one of that name. 3. Whatever he says, hers is not touched."""
    alice, bob = both
    assert alice.do(Goal.RUNNING) is None
    [hers] = alice.machines()
    ask = bob.do(Goal.RUNNING)
    assert ask is not None
    assert "already a desk of user/alice" in ask.what
    assert 'owner = "user/alice"' in ask.why
    assert len(alice.machines()) == 1
    for goal in (Goal.STOPPED, Goal.PARKED, Goal.GONE):
        bob.want("blue", goal)
        assert bob.settle() is None
        assert [m["state"] for m in alice.machines()] == ["running"]
    assert [m["id"] for m in alice.machines()] == [hers["id"]]
    assert alice.do(Goal.RUNNING) is None


def test_what_is_hers_is_in_no_list_of_his_to_be_deleted(both: tuple[Laptop, Laptop]) -> None:
    alice, bob = both
    assert alice.do(Goal.RUNNING) is None
    assert alice.do(Goal.PARKED) is None
    survey = bob.aws.survey()
    assert survey.images
    assert survey.by_desk()["blue"].ids == frozenset()
    assert survey.others() == {"blue": ("user/alice",)}
    assert [s for s in plan_gc(survey, [], 0.0) if "ami-" in str(s)] == []


def test_his_down_says_nothing_of_her_machine_of_that_name(both: tuple[Laptop, Laptop]) -> None:
    """Hers has ended, and is listed for an hour: whether its work is missing is asked at her computer."""
    alice, bob = both
    assert alice.do(Goal.RUNNING) is None
    assert alice.do(Goal.PARKED) is None  # its image is there, and its machine has ended
    before = {r["id"]: r["tags"].get("hotdesk:goal") for r in alice.things(gone=True)}
    bob.aws.survey()
    [hers] = [i for i in bob.aws.survey().instances if i.owner == "user/alice"]
    bob.aws._desks["us-west-2/vol-0123456789abcdef0"] = "blue"  # of his own
    bob.aws.doom("us-west-2/vol-0123456789abcdef0")
    after = {r["id"]: r["tags"].get("hotdesk:goal") for r in alice.things(gone=True)}
    assert after == before, hers.id


def test_a_down_that_was_taken_back_is_no_longer_written_on_the_machine(both: tuple[Laptop, Laptop]) -> None:
    alice, _ = both
    assert alice.do(Goal.RUNNING) is None
    [machine] = alice.aws.survey().instances
    alice.aws.doom(machine.id)
    [machine] = alice.aws.survey().instances
    assert machine.doomed
    assert alice.do(Goal.RUNNING) is None
    [machine] = alice.aws.survey().instances
    assert (machine.doomed, machine.reported) == (False, True)


def test_one_person_with_two_credentials_says_so_once(
    both: tuple[Laptop, Laptop], fake: FakeEc2, tmp_path: Path
) -> None:
    """The second computer names the first one's owner, as the question says: it is the same desk there."""
    alice, _ = both
    assert alice.do(Goal.RUNNING) is None
    also = of(fake, tmp_path / "also", "user/alice")
    assert also.do(Goal.RUNNING) is None
    assert len(also.machines()) == 1
    also.store.close()


def test_what_was_made_before_owners_were_told_is_ours(both: tuple[Laptop, Laptop], fake: FakeEc2) -> None:
    alice, bob = both
    assert alice.do(Goal.RUNNING) is None
    [machine] = alice.machines()
    survey = bob.aws.survey()
    untagged = replace(survey, instances=tuple(replace(i, owner="") for i in survey.instances))
    assert [i.id.partition("/")[2] for i in untagged.of("blue").machines] == [machine["id"]]
    assert untagged.of("blue").machines[0].phase is Phase.READY


def test_aws_is_asked_once_who_we_are(fake: FakeEc2, tmp_path: Path) -> None:
    mine = Laptop(fake, tmp_path / "mine")
    fake.delete("log")
    assert mine.do(Goal.RUNNING) is None
    assert len(fake.get("log", action="GetCallerIdentity")) == 1
    mine.crash()
    assert mine.do(Goal.PARKED) is None
    assert len(fake.get("log", action="GetCallerIdentity")) == 1
    assert {r["tags"]["hotdesk:owner"] for r in mine.things("snapshot")} == {"user/moto"}
    mine.store.close()


@pytest.mark.parametrize(
    ("arn", "name"),
    [
        ("arn:aws:iam::123456789012:root", "root"),
        ("arn:aws:iam::123456789012:user/alice", "user/alice"),
        ("arn:aws:iam::123456789012:user/team/alice", "user/team/alice"),
        ("arn:aws:sts::123456789012:assumed-role/SSO_Ml_1f/al@ex.org", "role/SSO_Ml_1f/al@ex.org"),
        ("arn:aws:sts::123456789012:assumed-role/Ml/botocore-session-1764000000", "role/Ml"),
        ("arn:aws:sts::123456789012:assumed-role/Box/i-0123456789abcdef0", "role/Box"),
        ("arn:aws:sts::123456789012:federated-user/alice", "federated-user/alice"),
    ],
)
def test_an_arn_names_a_person(arn: str, name: str) -> None:
    assert name_of(arn) == name


def test_ls_gc_and_doctor_tell_of_other_peoples_desks(
    both: tuple[Laptop, Laptop], hotdesk: Command, home: Path
) -> None:
    alice, _ = both
    assert alice.do(Goal.RUNNING) is None
    (home / "hotdesk.toml").write_text('[defaults]\nprovider = "aws"\n[aws]\nowner = "user/carol"\n')
    for word in ("ls", "gc", "doctor"):
        said = hotdesk(word, **alice.fake.environment(HOME))
        assert "blue (user/alice)" in said.stdout, said.stdout + said.stderr
    assert [m["state"] for m in alice.machines()] == ["running"]


def test_what_is_hers_is_not_on_his_bill(both: tuple[Laptop, Laptop]) -> None:
    alice, bob = both
    bob.want("blue", Goal.PARKED)
    assert alice.do(Goal.RUNNING) is None
    bob.reconciler.clouds.survey("aws")
    alice.reconciler.clouds.survey("aws")
    assert bob.store.sighted("blue") == []
    assert [t.kind for t in alice.store.sighted("blue")] == ["machine"]
