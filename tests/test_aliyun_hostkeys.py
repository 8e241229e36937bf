"""A machine's host key comes from its console or through Cloud Assistant, whole, never from the network."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotdesk.core.errors import Kind, Refused, Unreachable
from hotdesk.core.model import Goal, Instance
from hotdesk.core.steps import Ask
from hotdesk.providers.aliyun.host_keys import _SHOW, PATIENCE_SECONDS
from hotdesk.providers.aliyun.iam import policy
from hotdesk.providers.cloud.hostkeys import on_console
from tests.aliyun_desk import Laptop, at_home, unknown_to_the_official_models
from tests.fake_ecs import laws
from tests.fake_ecs.server import FakeEcs
from tests.fake_ecs.wire import Call
from tests.fake_ecs.world import World


@pytest.fixture
def fake(ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch) -> FakeEcs:
    return at_home(ecs, monkeypatch)


@pytest.fixture
def mine(fake: FakeEcs, tmp_path: Path) -> Iterator[Laptop]:
    laptop = Laptop(fake, tmp_path, poll_seconds=5.0)
    yield laptop
    laptop.store.close()


@pytest.fixture
def bare(mine: Laptop) -> Instance:
    """A machine that runs, prints nothing on its console, and of which no key is pinned."""
    mine.fake.world.silent = True
    mine.want("blue", Goal.RUNNING)
    seen = mine.reconciler.tick().seen["blue"]
    while seen.live is None or seen.live.phase != "ready":
        mine.time.sleep(10.0)
        seen = mine.aliyun.survey().of("blue")
    return seen.live


def asked(fake: FakeEcs) -> Counter[str]:
    return Counter(entry["action"] for entry in fake.world.log)


def no(mine: Laptop, machine: Instance) -> Refused:
    with pytest.raises(Refused) as told:
        mine.aliyun.access(machine)
    return told.value


def eventually(mine: Laptop, machine: Instance, seconds: float = 400.0) -> list[str]:
    """The keys that are pinned in the end."""
    until = mine.time.now() + seconds
    while mine.time.now() < until:
        try:
            found = Path(mine.aliyun.access(machine).known_hosts_path).read_text()
        except Refused as not_yet:
            if not_yet.kind is not Kind.NOT_READY:
                raise
            mine.time.sleep(5.0)
        else:
            return [line.partition(" ")[2] for line in found.splitlines()]
    raise AssertionError("no key is ever pinned")


def test_a_console_that_shows_it_is_all_that_is_asked(mine: Laptop) -> None:
    assert mine.do(Goal.RUNNING) is None
    assert asked(mine.fake)["GetInstanceConsoleOutput"] == 1
    assert not asked(mine.fake)["RunCommand"] + asked(mine.fake)["DescribeInvocationResults"]


def test_a_silent_console_is_no_reason_to_be_without_a_desk(mine: Laptop, fake: FakeEcs) -> None:
    """The key is the machine's own, one command was sent, and all of it is as the official models have it."""
    fake.world.silent = True
    assert mine.do(Goal.RUNNING) is None
    fake.world.silent = False
    [machine] = fake.world.every("instance")
    seen = mine.aliyun.survey().of("blue").live
    assert seen is not None
    assert eventually(mine, seen) == on_console(machine.console) != []
    assert asked(fake)["RunCommand"] == 1
    pytest.importorskip("alibabacloud_ecs20140526", reason="the official clients are not installed")
    assert not unknown_to_the_official_models(fake)


def test_a_key_that_the_kernel_cut_into_is_asked_for_again(
    mine: Laptop, fake: FakeEcs, bare: Instance
) -> None:
    [machine] = fake.world.every("instance")
    [key], fake.world.silent = on_console(machine.console), False
    machine.console = machine.console.replace("AAAA", "AA[   31.337203] NET: Registered\nAA")
    assert on_console(machine.console) == []
    assert eventually(mine, bare) == [key]


def test_a_process_that_was_killed_leaves_its_question_to_the_next(mine: Laptop, bare: Instance) -> None:
    mine.time.sleep(120.0)
    assert "Cloud Assistant was asked" in no(mine, bare).message
    mine.store.close()
    mine.open()
    mine.aliyun.survey()
    assert eventually(mine, bare)
    assert asked(mine.fake)["RunCommand"] == 1


@pytest.mark.parametrize("lose", ["before", "after"])
def test_an_answer_that_was_lost_is_no_second_command(mine: Laptop, bare: Instance, lose: str) -> None:
    mine.time.sleep(120.0)
    mine.fake.world.harm("RunCommand", lose=lose, times=2)
    with pytest.raises(Unreachable):
        mine.aliyun.access(bare)
    assert eventually(mine, bare)
    assert len(mine.fake.world.commands) == 1


def test_an_agent_that_is_not_there_is_named_and_asked_again(mine: Laptop, bare: Instance) -> None:
    """It may come up later than ssh: a command a minute, and what it says is what is told."""
    mine.fake.world.assistant = "ClientNotRunning"
    mine.time.sleep(120.0)
    no(mine, bare)
    mine.time.sleep(20.0)
    said = no(mine, bare)
    assert (said.kind, "ClientNotRunning" in said.message) == (Kind.NOT_READY, True)
    mine.fake.world.assistant = ""
    assert eventually(mine, bare)
    assert 2 <= len(mine.fake.world.commands) <= 3


def test_where_neither_way_leads_to_a_key_it_says_so(mine: Laptop, fake: FakeEcs, bare: Instance) -> None:
    fake.world.assistant = "ClientNotRunning"
    mine.time.sleep(120.0)
    no(mine, bare)
    mine.time.sleep(PATIENCE_SECONDS)
    told = mine.settle()
    assert isinstance(told, Ask)
    assert "has not shown its host key on its console yet; Cloud Assistant says" in told.why
    assert told.fix.startswith("hotdesk stop blue && hotdesk start blue")
    assert len(fake.world.every("instance")) == 1, "nothing is deleted for that"
    assert mine.do(Goal.STOPPED) is None
    fake.world.silent = False
    assert mine.do(Goal.RUNNING) is None, "what it was told to do helps"


def test_a_policy_without_the_right_is_named_once_the_console_had_its_time(
    mine: Laptop, fake: FakeEcs, bare: Instance
) -> None:
    fake.world.denied = {"DescribeInvocationResults"}
    mine.time.sleep(120.0)
    early = no(mine, bare)
    assert (early.kind, early.fix.split("   ")[0]) == (Kind.NOT_READY, "hotdesk iam --provider aliyun")
    mine.time.sleep(PATIENCE_SECONDS)
    late = no(mine, bare)
    assert late.kind is Kind.DENIED
    assert (
        "has not shown its host key on its console yet, and Cloud Assistant cannot be asked" in late.message
    )
    fake.world.silent = False
    assert eventually(mine, bare), "without a command"


def test_a_console_that_may_not_be_read_leaves_cloud_assistant(
    mine: Laptop, fake: FakeEcs, bare: Instance
) -> None:
    fake.world.denied = {"GetInstanceConsoleOutput"}
    assert eventually(mine, bare)
    fake.world.commands.clear()
    for path in mine.folder.glob("**/known_hosts-*"):
        path.unlink()
    fake.world.denied |= {"RunCommand"}
    both = no(mine, bare)
    assert both.kind is Kind.DENIED
    assert "may not do ecs:GetInstanceConsoleOutput" in both.message
    assert "may not do ecs:RunCommand" in both.message


def test_a_machine_without_console_and_agent_is_not_paid_for_ever(
    mine: Laptop, fake: FakeEcs, bare: Instance
) -> None:
    fake.world.denied = {"GetInstanceConsoleOutput"}
    fake.world.assistant = "ClientNotRunning"
    mine.time.sleep(120.0)
    assert no(mine, bare).kind is Kind.NOT_READY
    mine.time.sleep(PATIENCE_SECONDS)
    late = no(mine, bare)
    assert (late.kind, "ClientNotRunning" in late.message) == (Kind.BAD_REQUEST, True)


def test_what_another_machine_has_printed_is_pinned_for_none(
    mine: Laptop, fake: FakeEcs, bare: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service takes no notice of which machine was asked about."""
    mine.time.sleep(120.0)
    no(mine, bare)
    mine.time.sleep(60.0)
    assert fake.world.commands[0]["row"]["Output"]
    fake.world.commands[0]["row"]["InstanceId"] = "i-another"
    told = laws.TABLE[laws.ECS, "DescribeInvocationResults"]

    def whichever(world: World, call: Call) -> laws.Answer:
        call.flat.pop("InstanceId")
        return told(world, call)

    monkeypatch.setitem(laws.TABLE, (laws.ECS, "DescribeInvocationResults"), whichever)
    assert no(mine, bare).kind is Kind.NOT_READY
    assert not list(mine.folder.glob("**/known_hosts-*"))


def test_a_busy_service_is_left_alone(mine: Laptop, bare: Instance) -> None:
    mine.fake.world.harm("GetInstanceConsoleOutput", code="Throttling.User")
    assert no(mine, bare).kind is Kind.THROTTLED
    assert not asked(mine.fake)["RunCommand"]


def test_the_policy_lets_it_run_commands_on_desks_only() -> None:
    told = [s for s in policy()["Statement"] if "ecs:RunCommand" in s["Action"]]
    assert [(s["Resource"], "Condition" in s) for s in told] == [
        ("acs:ecs:*:*:instance/*", True),
        ("acs:ecs:*:*:command/*", False),
    ]


@pytest.mark.skipif(not shutil.which("sh"), reason="a POSIX shell")
def test_keys_that_cloud_init_has_not_made_yet_are_not_shown(tmp_path: Path) -> None:
    """At a first boot the image's own keys are there until then, and others may know them."""
    ssh, marks = tmp_path / "etc/ssh", tmp_path / "var/lib/cloud/instances"
    ssh.mkdir(parents=True)
    (marks / "i-image" / "sem").mkdir(parents=True)
    (marks / "i-image" / "sem" / "config_ssh").touch()  # of the machine that the image was made of
    (ssh / "ssh_host_ed25519_key.pub").write_text("ssh-ed25519 AAAAimage root@image\n")
    script = _SHOW.format(id="i-new").replace("sleep 1", "[ $second = 3 ] && touch $asked")
    for folder in ("etc/ssh", "var/lib/cloud"):
        script = script.replace(f"/{folder}/", f"{tmp_path}/{folder}/")

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", script], env={"asked": str(tmp_path / "asked"), "PATH": "/usr/bin:/bin"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    early = run()
    assert (early.returncode, early.stdout) == (75, "cloud-init has not made them yet\n")
    assert (tmp_path / "asked").exists(), "it waited"
    (marks / "i-new" / "sem").mkdir(parents=True)
    (marks / "i-new" / "sem" / "config_ssh").touch()
    assert "\nssh-ed25519 AAAAimage root@image\n" in run().stdout
