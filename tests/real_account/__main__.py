"""`python -m tests.real_account --spend-cap 1.00`: a small desk's day on a real account, beside the fake.

It launches nothing before the account's number was typed (or given with --confirm), stays under the spend
cap, and ends with nothing left. Exit status: 0 the day went well (differences are only printed), 1 it did
not, 2 something is missing, 3 not confirmed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from hotdesk.system import install_line
from tests.real_account import probes
from tests.real_account.day import Day, Plan, Stopped
from tests.real_account.forms import differences

DEAREST = 0.40  # what such a day costs at most, by list prices: 3 hours, a disk of 10 GiB, carried over once


def say(text: str) -> None:
    print(text, flush=True)


def main(arguments: list[str] | None = None) -> int:
    asked = parse(arguments)
    if asked.spend_cap < DEAREST:
        say(f"Such a day may cost ${DEAREST:.2f}; a lower --spend-cap would end it half way.")
        return 2
    try:
        account, plan = look(asked)
    except Stopped as why:
        say(str(why))
        return 2
    say(
        f"Account {account}: a {plan.instance_type} desk called {plan.name} in {', '.join(plan.zones)} and "
        f"{plan.other_zone}, at most ${DEAREST:.2f} as prices are, never more than ${plan.spend_cap:.2f}. "
        "It is deleted at the end."
    )
    if not confirmed(account, asked.confirm):
        say("Not confirmed: nothing was launched.")
        return 3
    folder = Path(asked.folder or tempfile.mkdtemp(prefix="hotdesk-real-account-"))
    say(f"State and record: {folder}")
    fake = reference(plan, folder / "fake", asked.reference)
    real = Day(plan, folder / "real", say, asked.aws)
    why, rows = "", []
    try:
        rows = probes.ask(plan.region)
        real.live()
    except (Stopped, KeyboardInterrupt) as stopped:
        why = str(stopped) or "interrupted"
    rows += real.rows()
    (folder / "record.json").write_text(
        json.dumps({"steps": msgspec.to_builtins(real.steps), "rows": rows}, indent=1)
    )
    report(real, fake, rows)
    if why:
        say(f"The day did not go well. {why}")
        say(f"Look: hotdesk gc with HOTDESK_STATE={folder / 'real' / 'state'}, and both regions' consoles.")
        return 1
    say(f"The day went well, and nothing is left. ${real.spent():.2f} were spent, as hotdesk counts.")
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.real_account", description=__doc__)
    parser.add_argument("--spend-cap", type=float, required=True, metavar="USD", help="never spend more")
    parser.add_argument("--type", default="t3.micro")
    parser.add_argument("--region", default="us-west-2")
    parser.add_argument("--other-region", default="us-east-1", help="where the desk is carried to")
    parser.add_argument("--confirm", default="", metavar="ACCOUNT", help="its number: launch without asking")
    parser.add_argument("--folder", default="", help="for state and record; otherwise a new one")
    parser.add_argument("--reference", default="", metavar="FILE", help="an earlier record of the fake")
    parser.add_argument("--aws", default="", metavar="TOML", help="more lines of [aws] in hotdesk.toml")
    return parser.parse_args(arguments)


def look(asked: argparse.Namespace) -> tuple[str, Plan]:
    """Whose account it is, and where the type is sold. Nothing is made. Raises `Stopped`."""
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as lacking:
        raise Stopped(f"boto3 is missing: {install_line('aws')}") from lacking
    try:
        account = boto3.Session().client("sts", region_name=asked.region).get_caller_identity()["Account"]
        zones = {region: sold(boto3, region, asked.type) for region in (asked.region, asked.other_region)}
    except (BotoCoreError, ClientError) as error:
        raise Stopped(f"AWS cannot be asked: {error}") from error
    if len(zones[asked.region]) < 2 or not zones[asked.other_region]:
        raise Stopped(
            f"{asked.type} must be sold in two zones of {asked.region} and in {asked.other_region}."
        )
    first, second = zones[asked.region][:2]
    return account, Plan(
        instance_type=asked.type, region=asked.region, zones=(first, second), other=asked.other_region,
        other_zone=zones[asked.other_region][0], spend_cap=asked.spend_cap,
    )  # fmt: skip


def sold(boto3: Any, region: str, instance_type: str) -> list[str]:
    ec2 = boto3.Session().client("ec2", region_name=region)
    chosen = [{"Name": "instance-type", "Values": [instance_type]}]
    rows = ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=chosen)
    return sorted(row["Location"] for row in rows["InstanceTypeOfferings"] if row["Location"][:-1] == region)


def confirmed(account: str, given: str) -> bool:
    """Only by the account's own number, typed or given."""
    if given or not sys.stdin.isatty():
        return given == account
    return input(f"Type {account} to launch: ").strip() == account


def reference(plan: Plan, folder: Path, known: str) -> dict[str, Any]:
    """The record of the same day at the fake EC2 with light machines, made now where there is none."""
    if known and Path(known).exists():
        return dict(json.loads(Path(known).read_text()))
    import pytest

    from tests.light.desk import light_cloud

    say("First the same day at the fake EC2, which costs nothing:")
    (folder / "cloud").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch, light_cloud(folder / "cloud", patch) as fake:
        patch.delenv("AWS_PROFILE", raising=False)
        every = fake.post("regions")
        fake.post("regions", disable=[r for r in every if r not in {plan.region, plan.other}])
        settings = 'address = "127.0.0.1/32"\nlag_seconds = 0.0\npoll_seconds = 0.2'
        day = Day(plan, folder / "day", lambda text: None, settings)
        rows = probes.ask(plan.region)
        day.live()
    made = {"steps": msgspec.to_builtins(day.steps), "rows": rows + day.rows()}
    if known:
        Path(known).write_text(json.dumps(made, indent=1))
    return made


def report(day: Day, fake: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    say("\nHow long each step took:")
    for step in day.steps:
        say(f"  {step.seconds:8.1f} s  exit {step.status}  hotdesk {' '.join(step.words)[:90]}")
    steps = {tuple(s["words"][:1]): s["status"] for s in fake["steps"]}
    said = differences(fake["rows"], rows)
    said += [
        f"hotdesk {step.words[0]}: exit {step.status} here, {steps[step.words[0],]} at the fake"
        for step in day.steps
        if steps.get((step.words[0],), step.status) != step.status
    ]
    say(f"\nWhat differed from the fake ({len(said)}):")
    for line in said:
        say(f"  {line}")
    say("")


if __name__ == "__main__":
    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    sys.exit(main())
