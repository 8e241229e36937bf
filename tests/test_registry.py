"""A cloud is a package and one line: a toy cloud, entered by a test, goes through every verb."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hotdesk import Hotdesk, SpotQuery
from hotdesk.config import parse
from hotdesk.core import clouds
from hotdesk.core.clouds import Cloud
from hotdesk.core.errors import Missing, NotAllowed, Unreachable, Usage
from hotdesk.core.model import Desk, Goal
from hotdesk.providers import registry
from hotdesk.state.store import Store
from hotdesk.system import install_line
from tests.conftest import Command
from tests.local_rig import tool

ROOT = Path(__file__).parents[1]


def test_a_cloud_that_nobody_entered_is_refused_with_those_there_are() -> None:
    with pytest.raises(Usage) as raised:
        registry.known("azure")
    assert "aws" in raised.value.why
    assert "local" in raised.value.why


def test_a_cloud_without_its_packages_says_how_to_install_them() -> None:
    cloud = Cloud(name="x", label="X Cloud", factory="", extra="x", requires=("json", "no_such_module"))
    with pytest.raises(Missing) as raised:
        registry.check(cloud)
    assert raised.value.what == "hotdesk cannot use X Cloud: no_such_module is not installed."
    assert raised.value.fix == install_line("x")


def test_each_cloud_has_what_its_users_are_told() -> None:
    assert {"aws", "local"} <= clouds.KNOWN.keys()
    for cloud in clouds.KNOWN.values():
        assert cloud.label
        module, _, name = cloud.factory.partition(":")
        assert (module, name) != ("", "")
        assert not cloud.requires or cloud.extra
        assert not cloud.credentials or cloud.lent, "a watcher elsewhere needs them too"


def test_the_section_of_a_cloud_is_checked_as_the_cloud_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clouds, "KNOWN", dict(clouds.KNOWN))
    from tests.toy_cloud import CLOUD, Settings

    registry.enter(CLOUD)
    path = Path("hotdesk.toml")
    assert parse("[toy]\nusd_per_hour = 2.0", path).cloud("toy") == Settings(usd_per_hour=2.0)
    assert parse("", path).cloud("toy") == Settings()
    fault = parse("[toy]\nusd_per_our = 2.0", path).faults["toy"]
    assert "'usd_per_our' in [toy] is unknown; did you mean 'usd_per_hour'?" in fault.why
    fault = parse("[desks.blue]\nprovider = 'tay'", path).faults["desks.blue"]
    assert "did you mean 'toy'?" in fault.why


def test_what_a_cloud_does_not_have_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """No policy, no bill, no credentials: each said of the cloud, with what to do instead."""
    monkeypatch.setattr(clouds, "KNOWN", dict(clouds.KNOWN))
    from tests.toy_cloud import CLOUD, Settings

    with pytest.raises(Missing, match="This computer has no access policy to print"):
        registry.policy("local")
    with pytest.raises(Usage, match="no provider 'azure'") as none:
        registry.policy("azure")
    assert none.value.fix == "hotdesk iam --provider aws"
    assert registry.lend(clouds.KNOWN["local"], None) is None
    with pytest.raises(NotAllowed) as refused:
        registry.lend(CLOUD, Settings(key=""))
    assert refused.value.what == "This computer's Toy Cloud credentials cannot be sent."
    assert (refused.value.why, refused.value.fix) == ("There is no key in [toy].", "toy login")


def test_a_past_that_a_cloud_does_not_tell_is_a_sentence(home: Path) -> None:
    """Spot prices of a cloud that has none, and its own bill: what to do instead."""
    with Hotdesk() as desks:
        with pytest.raises(Missing, match="cannot ask this computer what spot has cost") as no:
            desks.spot(SpotQuery(instance_types=("local.gpu",), provider="local"))
        assert no.value.fix.startswith("hotdesk offers local.gpu ")
        with pytest.raises(Missing, match="no bill of this computer") as no:
            desks.costs(compare="local")
        assert no.value.fix.startswith("hotdesk costs ")


def test_a_type_is_asked_of_the_cloud_that_sells_it(home: Path) -> None:
    """Where no account of that cloud is at hand, that is said, and no other cloud is asked."""
    with Hotdesk() as desks, pytest.raises(Unreachable, match="no Alibaba Cloud account") as no:
        desks.spot(SpotQuery(instance_types=("ecs.gn6i-c4g1.xlarge",)))
    assert no.value.fix == "aliyun configure"


#: Enters the toy cloud in every process; its desks can be watched from elsewhere where TOY_RENTED says so.
SITE = """
import os
import msgspec
import tests.toy_cloud as toy
toy.registry.enter(msgspec.structs.replace(toy.CLOUD, rented="TOY_RENTED" in os.environ))
"""


@tool("ssh")
@tool("rsync")
def test_a_cloud_that_was_only_entered_goes_through_every_verb(
    hotdesk: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. Up, by its name. 2. Files there and back, a command, its status. 3. Off and on, parked and resumed:
    the file is there. 4. A job. 5. The bill is in its own rates. 6. Down: nothing is left."""
    (home / "sitecustomize.py").write_text(SITE)
    paths = f"{home}:{ROOT / 'src'}:{ROOT}"
    config = home / "hotdesk.toml"
    config.write_text("[toy]\nusd_per_hour = 3.0\n")

    def toy(*words: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        done = hotdesk(*words, PYTHONPATH=paths, HOTDESK_CONFIG=str(config))
        assert (done.returncode == 0) is ok, f"{words}: {done.stdout}{done.stderr}"
        return done

    assert json.loads(toy("ls", "--json").stdout) == []
    toy("up", "blue", "--provider", "toy")
    [desk] = json.loads(toy("ls", "--json").stdout)
    assert (desk["provider"], desk["usd_per_hour"]) == ("toy", 3.0)
    (home / "a.txt").write_text("work")
    toy("push", "blue", "a.txt")
    assert toy("ssh", "blue", "--", "cat", "a.txt").stdout == "work"
    for verbs in (("stop", "start"), ("park", "resume")):
        for verb in verbs:
            done = toy(verb, "blue")
            [desk] = json.loads(toy("ls", "--json").stdout)
            assert desk["charged_while_off"] is (verb == "stop"), verb
            assert desk["usd_per_hour"] == (0.0 if verb == "park" else 3.0)
            if verb == "stop":
                warning = "blue is off and still costs $3/h: hotdesk park blue"
                assert warning in done.stdout
                assert warning in toy("ls").stdout
                assert "although it is off" in toy("show", "blue").stdout
        assert toy("ssh", "blue", "--", "cat", "a.txt").stdout == "work", verbs
    (home / "a.txt").unlink()
    toy("pull", "blue", "a.txt")
    assert (home / "a.txt").read_text() == "work"
    project = home / "project"
    project.mkdir()
    (project / "job.py").write_text("print('ran')")
    monkeypatch.chdir(project)
    assert "ran" in toy("run", "blue", "--", sys.executable, "job.py").stdout
    assert "toy" in toy("show", "blue").stdout + toy("log", "blue").stdout
    [line] = json.loads(toy("costs", "--json").stdout)["lines"]
    assert 0.0 < line["compute"] < 1.0
    asked = toy("costs", "--compare", ok=False).stderr
    assert "Toy Cloud takes a marble. Ask?" in asked
    compared = toy("costs", "--compare", "--yes")
    assert "TOY $" in compared.stdout
    assert "Marbles are not included." in compared.stdout
    [row] = json.loads(toy("costs", "--compare", "--yes", "--json").stdout)["compared"]
    assert (row["desk"], row["toy"], row["theirs"]) == ("blue", 7.0, 7.0)
    assert json.loads(toy("iam", "--provider", "toy").stdout) == {"Allow": ["toy:*"]}
    assert "nothing to watch" in toy("watch", "--on", "blue", "--yes", ok=False).stderr
    with Store(home.parent / "state") as store:
        store.put(Desk(name="other", goal=Goal.STOPPED, since=1.0, created_at=1.0))
    with monkeypatch.context() as rented:
        rented.setenv("TOY_RENTED", "1")
        asked = toy("watch", "--on", "other", "--send-credentials", ok=False).stderr
    assert "the rows and the ssh keys of blue, and the toy key t0y… go to other" in asked
    toy("down", "other", "--yes")
    toy("down", "blue", "--yes")
    assert json.loads(toy("ls", "--json").stdout) == []
    assert not list((home.parent / "state" / "toy" / "local" / "machines").iterdir())
