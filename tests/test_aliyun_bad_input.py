"""Bad days on Alibaba Cloud, as typed: each says what happened, why and what to do, and nothing is lost.

wrong or expired key                 test_credentials_that_are_no_good_are_named
STS token                            the same [expired token]
RAM user without rights              test_a_right_that_lacks_is_named_with_the_policy_that_gives_it
broken config.json, another account  test_a_broken_configuration_is_no_reason_to_be_somebody_else
HTTP_PROXY with NO_PROXY             test_a_proxy_is_named_and_no_proxy_is_heard
502 with HTML                        test_an_answer_of_html_changes_nothing
a stop that stays KeepCharging       test_a_stop_that_goes_on_costing_is_said
an id that vanishes                  test_aliyun_trouble (no light machine is behind one that vanishes)
sold out in every zone               test_a_launch_that_nobody_grants_says_why[sold out]
spot reclaimed in mid-bake           test_a_day_on_which_every_step_goes_wrong
a category the zone does not sell    test_a_launch_that_nobody_grants_says_why[disk]
throttling per minute                test_a_day_on_which_every_step_goes_wrong
a time-out at every step             the same (each action: test_aliyun_trouble)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.aliyun_cli import NEEDED, Ask, Done, ask, cloud, lit, well
from tests.aliyun_desk import CREDENTIALS, paid
from tests.fake_ecs import life
from tests.fake_ecs.server import FakeEcs, wait_until

pytestmark = [*NEEDED, pytest.mark.slow]
assert all((ask, cloud, lit))
UP = ("up", "blue", "--type", "ecs.g7.xlarge", "--market", "on-demand")
NO_KEYS = dict.fromkeys(CREDENTIALS, "")


def refused(done: Done, status: int, *words: str) -> dict[str, Any]:
    """The error: with all three parts, and with these words in it."""
    assert done.returncode == status, f"{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stdout + done.stderr
    error: dict[str, Any] = json.loads(done.stdout)["error"]
    assert error["what"]
    assert error["why"]
    assert error["fix"]
    for word in words:
        assert word in f"{error['what']}\n{error['why']}\n{error['fix']}", word
    return error


@pytest.mark.parametrize(
    ("code", "keys", "said"),
    [
        ("", {"ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAInobody"}, "does not accept the access key"),
        ("", {"ALIBABA_CLOUD_ACCESS_KEY_SECRET": "wrong"}, "does not accept the access key"),
        ("InvalidAccessKeyId.Inactive", {}, "does not accept the access key"),
        ("InvalidSecurityToken.Expired", {"ALIBABA_CLOUD_SECURITY_TOKEN": "t"}, "temporary"),
    ],
    ids=["wrong key", "wrong secret", "expired key", "expired token"],
)
def test_credentials_that_are_no_good_are_named(
    cloud: FakeEcs, ask: Ask, code: str, keys: dict[str, str], said: str
) -> None:
    if code:
        for action in ("DescribeRegions", "DescribeInstanceTypes", "ListTagResources", "DescribeInstances"):
            cloud.world.harm(action, code=code, status=403, times=None)
    refused(ask(*UP, "--json", **keys), 3, said)
    assert paid(cloud) == {}


def test_a_right_that_lacks_is_named_with_the_policy_that_gives_it(cloud: FakeEcs, ask: Ask) -> None:
    cloud.world.denied = {"RunInstances"}
    refused(ask(*UP, "--json"), 3, "may not do ecs:RunInstances", "hotdesk iam --provider aliyun")
    assert paid(cloud) == {}
    cloud.world.denied = set()
    well(ask("up", "blue"))


def test_a_broken_configuration_is_no_reason_to_be_somebody_else(
    cloud: FakeEcs, ask: Ask, home: Path
) -> None:
    (home / ".aliyun").mkdir()
    (home / ".aliyun" / "config.json").write_text("{broken")
    other = {"ALIBABA_CLOUD_CREDENTIALS_URI": f"{cloud.url}/another-account"}
    cloud.world.log.clear()
    refused(ask(*UP, "--json", **NO_KEYS, **other), 3, "config.json")
    assert not cloud.world.log, "nobody was asked for keys"


def test_a_proxy_is_named_and_no_proxy_is_heard(cloud: FakeEcs, ask: Ask) -> None:
    proxy = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    none = {"NO_PROXY": "", "no_proxy": ""}
    refused(ask(*UP, "--json", **proxy, **none), 7, "through the proxy 127.0.0.1:9")
    heard = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    refused(ask("up", "blue", "--gpu", "H100", "--json", **proxy, **heard), 3)
    assert [entry["action"] for entry in cloud.world.log], "it was asked without the proxy"


def test_an_answer_of_html_changes_nothing(cloud: FakeEcs, ask: Ask) -> None:
    for action in ("ListTagResources", "DescribeInstances"):
        cloud.world.harm(action, status=502, body="<html><body>502 Bad Gateway</body></html>", times=None)
    done = ask("gc", "--json", "--yes")
    assert done.returncode == 5, f"{done.stdout}{done.stderr}"
    assert "502 Bad Gateway" in json.loads(done.stdout)["unread"][0], "so nothing is taken for left over"
    assert paid(cloud) == {}


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("OperationDenied.NoStock", "sold out"),
        ("InvalidSystemDiskCategory.ValueNotSupported", "disk category"),
    ],
    ids=["sold out", "disk"],
)
def test_a_launch_that_nobody_grants_says_why(cloud: FakeEcs, ask: Ask, code: str, said: str) -> None:
    cloud.world.harm("RunInstances", code=code, message=f"{said}.", status=403, times=None)
    refused(ask(*UP, "--json"), 3, said)
    assert paid(cloud) == {}


def test_a_stop_that_goes_on_costing_is_said(cloud: FakeEcs, ask: Ask) -> None:
    well(ask("up", "blue", "--gpu", "P100", "--market", "on-demand"))
    well(ask("stop", "blue"))
    assert "blue is off and still costs 12.8 CNY/h: hotdesk park blue" in well(ask("ls")).stdout
    well(ask("park", "blue"))
    assert paid(cloud) == {"snapshot": 1}


def test_a_day_on_which_every_step_goes_wrong(cloud: FakeEcs, ask: Ask) -> None:
    """The service is asked too often, each change's answer is lost, and spot is taken back while the image
    is taken. The work is there the next day."""
    world = cloud.world
    world.throttle = {"DescribeInstances": 20}
    world.harm("RunInstances", lose="after")
    well(ask("up", "blue", "--type", "ecs.g7.xlarge", "--market", "spot"))
    well(ask("ssh", "blue", "--", "echo monday > work.txt"))
    for action in ("StopInstances", "CreateImage", "DeleteInstances"):
        world.harm(action, lose="after")
    with world.lock:
        [machine] = world.every("instance")
        life.reclaim(world, machine)
    well(ask("park", "blue"))
    assert paid(cloud) == {"snapshot": 1}
    world.harm("RunInstances", lose="before")
    well(ask("resume", "blue"))
    assert well(ask("ssh", "blue", "--", "cat work.txt")).stdout == "monday\n"
    for action in ("DeleteInstances", "DeleteImage", "DeleteSnapshot"):
        world.harm(action, lose="before")
    well(ask("down", "blue", "--yes"))
    wait_until(lambda: paid(cloud) == {})
    assert not any(harm.times for harm in world.harms), "it never happened"
