"""A machine's day through SkyPilot, each launch up to its ssh login: prints the steps as JSON, each with
whether it went well, why not, how many calls it made and how many seconds of processor time it took.

Run by tests/test_clients.py with the Python of HOTDESK_CLIENTS: `skypilot_day.py IMAGE`, with a home folder
and a region of its own. After the login SkyPilot installs its runtime from the internet (uv, conda, ray), as
root: it is ended there, before it says anything to the machine. Its own fetcher makes the catalogue; only the
price list, a file of AWS's web site, is written here.
"""

# mypy: ignore-errors

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import types
import urllib.request
from collections.abc import Callable
from pathlib import Path

out, sys.stdout = sys.stdout, sys.stderr  # SkyPilot prints

import pandas as pd  # noqa: E402
import sky  # noqa: E402
from sky import check, core, execution  # noqa: E402
from sky.backends import backend_utils  # noqa: E402
from sky.catalog.data_fetchers import fetch_aws  # noqa: E402
from sky.provision import instance_setup  # noqa: E402
from sky.provision.aws import config  # noqa: E402
from sky.skylet import constants  # noqa: E402
from sky.utils import common_utils  # noqa: E402

REGION, IMAGE = os.environ["AWS_DEFAULT_REGION"], sys.argv[1]
steps: list[tuple[str, bool, str, int, float]] = []


def calls() -> int:
    with urllib.request.urlopen(os.environ["AWS_ENDPOINT_URL"] + "/_fake/log") as answer:
        return len(json.load(answer))


def step(name: str, do: Callable, right: Callable = lambda found: True) -> None:
    before, began = calls(), os.times()
    try:
        found = do()
        good = bool(right(found))
        why = "" if good else repr(found)[:300]
    except Exception as bad:  # every client error is a step that failed
        good, why = False, repr(bad)[-800:]
    used = sum(os.times()[:4]) - sum(began[:4])
    steps.append((name, good, why, calls() - before, round(used, 2)))


class LoggedInError(Exception):
    """The machine is up, and an ssh login has gone well."""


def stop_here(*arguments: object) -> None:
    raise LoggedInError


instance_setup.internal_file_mounts = stop_here
# It sleeps for IAM's changes to arrive everywhere.
config.time = types.SimpleNamespace(sleep=lambda seconds: None, time=time.time)
PRICES = [
    {"InstanceType": "t3.medium", "Price": 0.0416, "vCPU": 2.0, "Memory": "4 GiB"},
    {"InstanceType": "g6.xlarge", "Price": 0.8048, "vCPU": 4.0, "Memory": "16 GiB"},
]
fetch_aws._get_pricing_table = lambda region: pd.DataFrame(PRICES)


def catalogue() -> pd.DataFrame:
    folder = Path.home() / ".sky" / "catalogs" / constants.CATALOG_SCHEMA_VERSION / "aws"
    folder.mkdir(parents=True)
    (folder.parent / "common").mkdir()
    (folder.parent / "common" / "accelerators.csv").write_text("AcceleratorName,Clouds\nL4,AWS\n")
    found = fetch_aws._get_instance_types_df(REGION)
    priced = found[found.Price.notna()]
    images = [
        {"Tag": f"skypilot:custom-{kind}", "Region": REGION, "OS": "ubuntu", "OSVersion": "22.04",
         "ImageId": IMAGE, "CreationDate": "20260101", "BaseImageId": IMAGE}
        for kind in ("cpu-ubuntu", "gpu-ubuntu", "gpu-ubuntu-cuda13")
    ]  # fmt: skip
    quotas = [
        {"InstanceType": "t3.medium", "OnDemandInstanceCode": "L-1216C47A", "SpotInstanceCode": "L-34B43A08"},
        {"InstanceType": "g6.xlarge", "OnDemandInstanceCode": "L-DB2E81BA", "SpotInstanceCode": "L-3819A6DF"},
    ]
    priced.to_csv(folder / "vms.csv", index=False)
    pd.DataFrame(images).to_csv(folder / "images.csv", index=False)
    pd.DataFrame(quotas).to_csv(folder / "instance_quota_mapping.csv", index=False)
    return priced


def logged_in(do: Callable) -> bool:
    """Whether that ended at the place where an ssh login has just gone well."""
    try:
        do()
    except LoggedInError:
        return True
    return False


def launch(name: str, **wanted: object) -> bool:
    task = sky.Task(run="true")
    task.set_resources(sky.Resources(infra=f"aws/{REGION}", **wanted))
    return logged_in(lambda: execution.launch(task, cluster_name=name))


FORCE = sky.StatusRefreshMode.FORCE


def states() -> dict[str, str]:
    return {one["name"]: one["status"].value for one in backend_utils.get_clusters(refresh=FORCE)}


step("catalogue", catalogue, lambda found: set(found.InstanceType) == {"t3.medium", "g6.xlarge"})
step("prices of spot", lambda: fetch_aws._get_spot_pricing_table(REGION), lambda found: len(found) > 0)
step("check", lambda: check.check(quiet=True, clouds=["aws"]), lambda found: "AWS" in found["default"])
step("launch", lambda: launch("one", instance_type="t3.medium"), bool)
step("launch on spot", lambda: launch("two", accelerators="L4:1", use_spot=True), bool)
step("status", states, lambda found: set(found) == {"one", "two"})
step("stop", lambda: core.stop("one"))
step("start", lambda: logged_in(lambda: core.start("one")), bool)
step("down", lambda: core.down("one"))
step("down of spot", lambda: core.down("two"))
step("nothing", states, lambda found: found == {})
shutil.rmtree(f"/tmp/sky_ssh_{common_utils.get_user_hash()}", ignore_errors=True)
print(json.dumps(steps), file=out)
