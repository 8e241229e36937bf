"""A machine's day through apache-libcloud: prints [step, whether it went well, what went wrong] as JSON.

Run by tests/test_clients.py with the Python of HOTDESK_CLIENTS: `libcloud_day.py URL IMAGE PUBLIC_KEY_FILE`.
It signs by version 2, in GET requests, and counts the members of its lists from 0.
"""

# mypy: ignore-errors

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlparse

from libcloud.compute.drivers.ec2 import EC2NodeDriver

URL, IMAGE, KEY = urlparse(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).read_text()
ec2 = EC2NodeDriver(
    "AKIAFAKEFAKEFAKEFAKE", "x", region="us-east-1", secure=False, host=URL.hostname, port=URL.port
)
steps: list[tuple[str, bool, str]] = []
kept = {}


def step(name: str, do: Callable, right: Callable = lambda found: True) -> None:
    try:
        kept[name] = do()
        good = bool(right(kept[name]))
        steps.append((name, good, "" if good else repr(kept[name])[:300]))
    except Exception as bad:  # every client error is a step that failed
        steps.append((name, False, repr(bad)[:300]))


def until(do: Callable, right: Callable) -> object:
    """What it says once it is so, for a minute at most."""
    for _ in range(300):
        if right(found := do()):
            return found
        time.sleep(0.2)
    raise TimeoutError(repr(found))


def state() -> str:
    return ec2.list_nodes()[0].extra["status"]


def let_go() -> bool:
    try:
        return ec2.ex_delete_security_group_by_id(kept["group"]["group_id"])
    except Exception as bad:
        if "DependencyViolation" in str(bad):
            return False
        raise


step("regions", ec2.list_regions, bool)
step("zones", ec2.ex_list_availability_zones, bool)
step("locations", ec2.list_locations, bool)
step("sizes", ec2.list_sizes, bool)
step("images", lambda: ec2.list_images(ex_image_ids=[IMAGE]), lambda found: len(found) == 1)
step("key", lambda: ec2.import_key_pair_from_string("mine", KEY))
step("keys", ec2.list_key_pairs, lambda found: [key.name for key in found] == ["mine"])
step("group", lambda: ec2.ex_create_security_group("mine", "ssh"), lambda made: made["group_id"][:3] == "sg-")
group = kept["group"]["group_id"]
step("rule", lambda: ec2.ex_authorize_security_group_ingress(group, 22, 22, cidr_ips=["10.0.0.0/8"]))
step("groups", ec2.ex_get_security_groups, lambda found: "mine" in [one.name for one in found])
step("networks", ec2.ex_list_networks, bool)
step("subnets", ec2.ex_list_subnets, bool)
size = next(s for s in kept["sizes"] if s.id == "t3.micro")
place = {"ex_keyname": "mine", "ex_security_groups": ["mine"], "ex_metadata": {"a": "b"}}
step("machine", lambda: ec2.create_node(name="one", image=kept["images"][0], size=size, **place))
machine = kept["machine"]
step("machines", ec2.list_nodes, lambda found: [node.name for node in found] == ["one"])
step("running", lambda: ec2.wait_until_running([machine], wait_period=0.2, timeout=60))
step("tag", lambda: ec2.ex_create_tags(machine, {"role": "x"}))
step(
    "tags", lambda: ec2.ex_describe_tags(machine), lambda tags: tags == {"Name": "one", "a": "b", "role": "x"}
)
step("console", lambda: ec2.ex_get_console_output(machine))
zone = next(one for one in kept["locations"] if one.name == ec2.list_nodes()[0].extra["availability"])
step("volume", lambda: ec2.create_volume(5, "data", location=zone))
volume = kept["volume"]
step(
    "volumes",
    lambda: until(ec2.list_volumes, lambda found: {v.state for v in found} == {"available", "inuse"}),
)
step("attach", lambda: ec2.attach_volume(machine, volume, "/dev/sdf"))
step("snapshot", lambda: ec2.create_volume_snapshot(volume, "snap"))
step("snapshots", ec2.list_snapshots, bool)
step("address", lambda: ec2.ex_allocate_address("vpc"))
step("addresses", ec2.ex_describe_all_addresses, lambda found: len(found) == 1)
step("release", lambda: ec2.ex_release_address(kept["address"], "vpc"))
step("detach", lambda: ec2.detach_volume(volume))
step("stop", lambda: ec2.stop_node(machine) and until(state, lambda now: now == "stopped"))
step("start", lambda: ec2.start_node(machine) and until(state, lambda now: now == "running"))
step("image", lambda: ec2.create_image(machine, "baked"))
step("reboot", lambda: ec2.reboot_node(machine))
step("terminate", lambda: ec2.destroy_node(machine))
step("no volume", lambda: ec2.destroy_volume(volume))
step("no snapshot", lambda: ec2.destroy_volume_snapshot(kept["snapshot"]))
step("no image", lambda: ec2.delete_image(kept["image"]))
step("no key", lambda: ec2.delete_key_pair(kept["keys"][0]))
step("no group", lambda: until(let_go, bool))

print(json.dumps(steps))
