"""What the fake EC2 refuses, and where AWS documents it: fakes/ec2/constraints.md says what the code does."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("moto", reason="the fake EC2 is built on moto: pip install 'moto[server]'")

from fake_ec2 import documented
from fake_ec2.limits import PLACES, Limit, get_service_model

FILE = Path(__file__).parents[1] / "fakes" / "ec2" / "constraints.md"
RULES = documented.TABLE["rules"]
KEYS = [*(row[3] for row in RULES), *(row[1] for row in documented.TABLE["limits"].values())]


def test_the_table_is_that_of_the_code() -> None:
    written = FILE.read_text("utf-8")
    assert written == documented.page() + "\n", f"python -m fake_ec2.documented > {FILE}"


def test_each_refusal_in_the_code_has_a_row_and_each_row_a_refusal() -> None:
    rows = Counter((row[0], row[1]) for row in RULES)
    assert [one for one, times in rows.items() if times > 1] == []
    assert rows.keys() - documented.refusals() == set(), "rows that nothing in the code refuses any more"
    assert documented.refusals() - rows.keys() == set(), "refusals that documented.toml does not name"


def test_a_refusal_that_somebody_adds_is_found() -> None:
    code = "class A:\n def b(self):\n  if 1:\n   raise Problem('New.Code', 'x')\n  raise missing('y')"
    found: set[tuple[str, str]] = set()
    documented._look(ast.parse(code), "some", (), found)
    assert found == {("some.A.b", "New.Code"), ("some.A.b", "MissingParameter")}


def test_each_limit_has_a_row_and_each_row_a_limit() -> None:
    assert documented.TABLE["limits"].keys() == {limit.name for _, limit in PLACES}


@pytest.mark.parametrize(
    "limit", {limit.name: limit for _, limit in PLACES}.values(), ids=lambda one: one.name
)
def test_each_limit_refuses_what_is_beyond_it_with_the_code_of_its_row(limit: Limit) -> None:
    over = [str(n) for n in range(limit.over)] if limit.whole and isinstance(limit.over, int) else limit.over
    problem = limit.refuse(over, "Member")
    assert problem is not None
    assert problem.code == limit.code


def test_documents_are_named_once_and_pages_of_a_reference_are_of_operations_that_there_are() -> None:
    documents = documented.TABLE["documents"]
    plain = {key for key in KEYS if ":" not in key} - {"own", "none"}
    assert plain == documents.keys()
    assert len({*documents.values()}) == len(documents)
    pages = [key.partition(":") for key in KEYS if ":" in key and not key.startswith("seen:")]
    unknown = [p for s, _, p in pages if p not in get_service_model(s).operation_names]
    assert unknown == []
