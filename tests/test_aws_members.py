"""Every member of every request that hotdesk sends to AWS, and the limit under which it stands.

`tests/aws_members.toml` is the table: operation, member, the limit's name ("" where AWS states none), and a
hash of what botocore's model says of the member. A member that is sent and not listed fails a test, and so
does one whose documentation has changed: the message is the row to put there, once the documentation is read.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("boto3", reason="botocore's models are read: pip install boto3 'moto[server]'")
pytest.importorskip("moto", reason="the fake EC2 is built on moto: pip install 'moto[server]'")

from fake_ec2 import limits
from fake_ec2.actions import Call
from fake_ec2.errors import Problem
from fake_ec2.process import FakeEc2
from hotdesk.core.model import Goal, Market
from tests.aws_desk import Laptop, offer
from tests.aws_members import BOTOCORE, FILE, TABLE, digest, limit_of, row, said, unlisted

SOURCE = Path(__file__).parents[1] / "src" / "hotdesk" / "providers" / "aws"
ROWS = [(call, member, *row) for call, members in TABLE.items() for member, row in members.items()]
#: Words of a limit in prose: a member whose documentation has them is not listed as having none.
LIMITED = re.compile(
    r"Constraints:|[Uu]p to \d|[Mm]aximum (of )?\d|[Vv]alid (range|characters)|Possible values"
)
# ---- each row ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("call", "member", "limit", "doc"), ROWS, ids=[f"{r[0]}:{r[1]}" for r in ROWS])
def test_the_fake_refuses_what_is_over_the_limit(call: str, member: str, limit: str, doc: str) -> None:
    found = limit_of(call, member)
    assert (found.name if found else "") == limit, "the table names another limit than the fake keeps"
    if found is None:
        within = {member[: match.start()] for match in re.finditer(r"\[\]", member)}
        counted = any(limit_of(call, whole) for whole in within)  # it is looked at with its list as a whole
        assert counted or not LIMITED.search(said(call, member)), f"it says: {said(call, member)}"
        return
    service, action = call.split(".")
    request = over(member, found)
    with pytest.raises(Problem) as refused:
        limits.check(Call(service, action, "us-east-1", request))
    assert refused.value.code == found.code, refused.value.message


@pytest.mark.parametrize(("call", "member", "limit", "doc"), ROWS, ids=[f"{r[0]}:{r[1]}" for r in ROWS])
def test_what_the_model_says_of_a_member_has_been_read(call: str, member: str, limit: str, doc: str) -> None:
    import botocore  # type: ignore[import-untyped]

    now = digest(call, member)
    if now != doc and numbers(botocore.__version__) < numbers(BOTOCORE):
        pytest.skip(f"the table was made with botocore {BOTOCORE}")
    assert now == doc, f"botocore {botocore.__version__} says now: {said(call, member)}\n{row(call, member)}"


def numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def over(member: str, limit: limits.Limit) -> dict[str, Any]:
    """A request with a value over the limit at that member, and nothing else."""
    value = limit.over
    if limit.whole and isinstance(value, int):
        value = [f"value-{n}" for n in range(value)]
    for part in reversed(member.split(".")):
        for _ in range(part.count("[]")):
            value = [value]
        value = {part.replace("[]", ""): value}
    return dict(value)


# ---- and there is a row for each ---------------------------------------------------------------------


def test_each_operation_that_the_source_calls_is_listed() -> None:
    """By its name in boto3, as a method that is called or a text that names one."""
    known = {snake(call.split(".")[1]) for call in TABLE} | {"get_caller_identity"}
    named: set[str] = set()
    for file in SOURCE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute):
                named.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                named.add(node.value)
    asked = named & every_operation()
    assert asked <= known, f"{sorted(asked - known)} is not in {FILE.name}"


def snake(name: str) -> str:
    from botocore import xform_name

    return str(xform_name(name))


def every_operation() -> set[str]:
    return {
        snake(name)
        for service in ("ec2", "ssm", "pricing", "service-quotas", "sts", "ce")
        for name in limits.get_service_model(service).operation_names
    }


def test_each_member_that_a_day_sends_is_listed(fake: FakeEc2, tmp_path: Path) -> None:
    """Up, opened, closed, stopped, parked, resumed on spot elsewhere, parked, gone, swept."""
    mine = Laptop(fake, tmp_path)
    assert mine.do(Goal.RUNNING) is None
    mine.publish()
    mine.publish(to="")
    assert mine.do(Goal.STOPPED) is None
    assert mine.do(Goal.PARKED) is None
    spot = (offer("g5.xlarge", "us-west-2b", gpu="A10G", market=Market.SPOT),)
    assert mine.do(Goal.RUNNING, spot) is None
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.GONE) is None
    mine.aws.sweep(mine.aws.survey())
    unlisted(fake)
