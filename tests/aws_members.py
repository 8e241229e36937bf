"""The table of what hotdesk sends to AWS (aws_members.toml), and what botocore's models say of it.

A row: operation, member, the limit's name ("" where AWS states none), a hash of what the model says of it.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from pathlib import Path

from fake_ec2 import limits
from fake_ec2.process import FakeEc2

FILE = Path(__file__).with_name("aws_members.toml")
TABLE: dict[str, dict[str, list[str]]] = tomllib.loads(FILE.read_text())
BOTOCORE = TABLE.pop("botocore")["version"]


def said(call: str, member: str) -> str:
    """What botocore's model says of a member, down the path to it, as plain text."""
    service, action = call.split(".")
    shape = limits.get_service_model(limits.MODELS.get(service, service)).operation_model(action).input_shape
    words: list[str] = []
    for part in member.split("."):
        shape = shape.members[part.replace("[]", "")]
        words = [shape.documentation]
        for _ in range(part.count("[]")):
            shape = shape.member
            words.append(shape.documentation)
        words.append(str({k: v for k, v in shape.metadata.items() if k in {"min", "max", "pattern"}}))
    return " ".join(re.sub(r"<[^>]+>", " ", " ".join(words)).split())


def digest(call: str, member: str) -> str:
    return hashlib.sha256(said(call, member).encode()).hexdigest()[:8]


def limit_of(call: str, member: str) -> limits.Limit | None:
    return limits.member(*call.split("."), member)[1]


def row(call: str, member: str) -> str:
    """As it stands in the table."""
    found = limit_of(call, member)
    told = [found.name if found else "", digest(call, member)]
    return f'["{call}"]  {json.dumps(member)} = {json.dumps(told)}'


def unlisted(fake: FakeEc2) -> None:
    """Fails where hotdesk has sent this server something that the table does not hold."""
    seen = {(f"{m['service']}.{m['action']}", m["member"]) for m in fake.get("members")}
    rows = sorted(row(*one) for one in seen if one[1] not in TABLE.get(one[0], {}))
    assert not rows, "hotdesk sends what {} lacks. Read botocore's model, then add:\n{}".format(
        FILE.name, "\n".join(rows)
    )
