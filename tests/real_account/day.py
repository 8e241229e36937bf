"""The day: up, push, park, resume in another zone, copy to another region, gc, down, nothing left.

Whatever happens in it, it ends with `hotdesk down`, and what is left all the same is named.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tests.real_account.recorder import RECORD

ROOT = Path(__file__).parents[2]
STEP_SECONDS = 2700.0  # a step that takes longer is given up
STOPS_AT = 0.8  # of the spend cap
Say = Callable[[str], None]


class Stopped(Exception):
    """The day is over: what went wrong, in a sentence."""


class Plan(msgspec.Struct, frozen=True):
    """What is asked of the account."""

    instance_type: str
    region: str
    zones: tuple[str, str]
    other: str  # the region that the desk is carried to
    other_zone: str
    spend_cap: float
    name: str = "one-evening"


class Step(msgspec.Struct, frozen=True):
    words: list[str]
    status: int
    seconds: float


class Day:
    def __init__(self, plan: Plan, folder: Path, say: Say, settings: str = "") -> None:
        """`folder`: for the state, the settings and the record; `settings`: more lines of `[aws]`."""
        self.plan, self.folder, self.say = plan, folder, say
        self.record = folder / "record.jsonl"
        self.steps: list[Step] = []
        (folder / "state").mkdir(mode=0o700, parents=True)
        (folder / "hotdesk.toml").write_text(
            f'[defaults]\nprovider = "aws"\nregions = ["{plan.region}"]\n'
            f'[aws]\nregions = ["{plan.region}", "{plan.other}"]\n{settings}\n'
        )
        self.text = f"written on day {secrets.token_hex(4)}\n"
        (folder / "work.txt").write_text(self.text)

    def live(self) -> None:
        """All of it. Raises `Stopped` where something is not as it should be; nothing is left either way."""
        plan, name = self.plan, self.plan.name
        try:
            self.ask("doctor", may_fail=True)
            self.ask(
                *("up", name, "--type", plan.instance_type, "--market", "on-demand", "--zone", plan.zones[0]),
                *("--disk", "10"),
                *("--until", "4h", "--max-usd", f"{plan.spend_cap / 4:.4f}"),
            )
            self.ask("push", name, str(self.folder / "work.txt"))
            self.holds(self.text)
            self.ask("park", name, "--yes")
            self.ask("resume", name, "--zone", plan.zones[1])
            self.holds(self.text)
            self.ask("ssh", name, "--", "echo the second evening >> work.txt")
            self.ask("park", name, "--yes")
            self.ask("resume", name, "--region", plan.other, "--zone", plan.other_zone)
            self.holds(self.text + "the second evening\n")
            self.ask("ls")
            self.ask("gc")
        finally:
            self.end()

    def end(self) -> None:
        """Delete the desk and what is free beside it; try again, and name what is left."""
        for attempt in range(3):
            if self.ask("down", self.plan.name, "--yes", may_fail=True).returncode == 0:
                break
            time.sleep(min(30.0, 2.0 * attempt))
        self.ask("gc", "--yes", may_fail=True)
        left = self.left()
        if left:
            raise Stopped(f"This is left and may cost money: {', '.join(left)}.")

    def left(self) -> list[str]:
        """What carries our tag in both regions, ended machines aside, by AWS's own answer."""
        import boto3

        left = []
        for region in (self.plan.region, self.plan.other):
            ec2 = boto3.Session().client("ec2", region_name=region)
            ours = [{"Name": "key", "Values": ["hotdesk"]}]
            ids = {t["ResourceId"] for t in ec2.describe_tags(Filters=ours)["Tags"]}
            tagged = [{"Name": "tag:hotdesk", "Values": ["1"]}]
            for found in ec2.describe_instances(Filters=tagged)["Reservations"]:
                ids -= {i["InstanceId"] for i in found["Instances"] if i["State"]["Name"] == "terminated"}
            requests = ec2.describe_spot_instance_requests(Filters=tagged)["SpotInstanceRequests"]
            ids -= {r["SpotInstanceRequestId"] for r in requests if r["State"] in {"closed", "cancelled"}}
            # Tags outlive what carried them for a while: what is no more is not left.
            left += [f"{region}/{i}" for i in sorted(ids) if _exists(ec2, i)]
        return left

    def holds(self, text: str) -> None:
        found = self.ask("ssh", self.plan.name, "--", "cat work.txt").stdout
        if found != text:
            raise Stopped(f"work.txt holds {found!r} where {text!r} was written.")

    def ask(self, *words: str, may_fail: bool = False) -> subprocess.CompletedProcess[str]:
        """One hotdesk command, recorded and timed; under the spend cap. Raises `Stopped` if it fails."""
        last = words[0] in {"down", "gc"}
        if not last and (spent := self.spent()) > STOPS_AT * self.plan.spend_cap:
            raise Stopped(f"${spent:.2f} are spent of ${self.plan.spend_cap:.2f}, so nothing more is begun.")
        self.say(f"hotdesk {' '.join(words)}")
        begun = time.monotonic()
        try:
            done = self._run("-m", "tests.real_account.recorder", *words)
        except subprocess.TimeoutExpired as slow:
            raise Stopped(f"hotdesk {words[0]} took longer than {STEP_SECONDS / 60:.0f} minutes.") from slow
        self.steps.append(Step(list(words), done.returncode, round(time.monotonic() - begun, 1)))
        if done.returncode and not may_fail:
            raise Stopped(
                f"hotdesk {' '.join(words)} ended with {done.returncode}: {done.stderr.strip()[-600:]}"
            )
        return done

    def spent(self) -> float:
        """US dollars so far, as hotdesk counts them."""
        done = self._run("-m", "hotdesk", "costs", "--json")
        return float(json.loads(done.stdout)["usd"]) if done.returncode == 0 else 0.0

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        (self.folder / "state" / "looked").touch()  # no look-ahead beside the command that is recorded
        paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
        own = {
            "PYTHONPATH": os.pathsep.join(p for p in paths if p),
            "HOTDESK_STATE": str(self.folder / "state"),
            "HOTDESK_CONFIG": str(self.folder / "hotdesk.toml"),
            RECORD: str(self.record),
        }
        return subprocess.run(
            [sys.executable, *words],
            env={**os.environ, **own},
            cwd=self.folder,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=STEP_SECONDS,
        )

    def rows(self) -> list[dict[str, Any]]:
        return (
            [json.loads(line) for line in self.record.read_text().splitlines()]
            if self.record.exists()
            else []
        )


def _exists(ec2: Any, thing: str) -> bool:
    from botocore.exceptions import ClientError

    ask: dict[str, tuple[str, str]] = {
        "vol": ("describe_volumes", "VolumeIds"),
        "snap": ("describe_snapshots", "SnapshotIds"),
        "ami": ("describe_images", "ImageIds"),
        "sg": ("describe_security_groups", "GroupIds"),
        "key": ("describe_key_pairs", "KeyPairIds"),
        "eni": ("describe_network_interfaces", "NetworkInterfaceIds"),
    }
    operation, key = ask.get(thing.partition("-")[0], ("", ""))
    if not operation:
        return True
    try:
        answer = getattr(ec2, operation)(**{key: [thing]})
    except ClientError:
        return False
    rows = next((rows for name, rows in answer.items() if isinstance(rows, list)), [])
    return any(row.get("State") not in {"deleted", "deregistered"} for row in rows)
