"""What this fake refuses, and where AWS documents it: `python -m fake_ec2.documented` prints constraints.md.

The words and the documents stand in documented.toml; which code is refused where is read from the source.
"""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

from fake_ec2 import errors
from fake_ec2.limits import PLACES

HERE = Path(__file__).parent
TABLE = tomllib.loads((HERE / "documented.toml").read_text("utf-8"))
#: Names of a page of an API reference, by the service's name in botocore.
REFERENCES = {
    "ec2": "Amazon EC2 API Reference",
    "ssm": "AWS Systems Manager API Reference",
    "sts": "AWS STS API Reference",
    "pricing": "AWS Price List API Reference",
    "ce": "AWS Cost Explorer API Reference",
    "service-quotas": "Service Quotas API Reference",
}
#: They speak to the fake, or of it: what they raise is no answer of EC2.
_NO_ANSWERS = {"errors", "control", "process", "paper_rig", "documented"}
#: How errors.py makes a Problem -> the code, where it is not said at the call.
_MAKERS = {
    "bad_value": "InvalidParameterValue",
    "missing": "MissingParameter",
    "no_capacity": "InsufficientInstanceCapacity",
    "unauthorized": "UnauthorizedOperation",
    "malformed": "*.Malformed",
}
_HEAD = """\
# What the fake refuses

`python -m fake_ec2.documented` makes this file of the code and of `documented.toml`; a test holds the three
together. A refusal has EC2's code, status and, where they are known, EC2's words. They follow AWS's
documents and botocore's models; no real account has confirmed them.
"""


def code_of(call: ast.Call, name: str) -> str:
    """The error code that a call makes; with a `*` where that is known only as it runs."""
    first = call.args[0] if call.args else None
    said = first.value if isinstance(first, ast.Constant) else None
    if name == "Problem":
        return str(said) if said is not None else "*"
    if name == "not_found":
        return errors.not_found(str(said), "x").code if said is not None else "*.NotFound"
    return _MAKERS[name]


def refusals() -> set[tuple[str, str]]:
    """(module.function, code) of every refusal in the source, but those that are a limit of `PLACES`."""
    found: set[tuple[str, str]] = set()
    for file in HERE.glob("*.py"):
        if file.stem not in _NO_ANSWERS and not file.stem.startswith("checks"):
            _look(ast.parse(file.read_text("utf-8")), file.stem, (), found)
    return found


def _look(node: ast.AST, module: str, inside: tuple[str, ...], found: set[tuple[str, str]]) -> None:
    for child in ast.iter_child_nodes(node):
        within = (*inside, child.name) if isinstance(child, ast.FunctionDef | ast.ClassDef) else inside
        if isinstance(child, ast.Call) and isinstance(child.func, ast.Name):
            name = child.func.id
            if (name in {"Problem", "not_found"} or name in _MAKERS) and not _is_a_limit(module, inside):
                found.add((".".join((module, *inside)), code_of(child, name)))
        _look(child, module, within, found)


def _is_a_limit(module: str, inside: tuple[str, ...]) -> bool:
    """Whether a function of limits.py serves a row of `PLACES`, which is listed by its name."""
    makers = {"matching", "at_most", "between"}
    return module == "limits" and (inside[0] in makers or inside[0].startswith("refuse_"))


def document(key: str) -> str:
    """The name of a document, as its readers find it."""
    service, _, page = key.partition(":")
    if page:
        return f"{REFERENCES[service]}: {page}"
    return str(TABLE["documents"][key])


def limits() -> list[tuple[str, str, str]]:
    """(words, code, document) of each limit, in the order of `PLACES`."""
    codes = {limit.name: limit.code for _, limit in PLACES}
    return [(TABLE["limits"][name][0], code, TABLE["limits"][name][1]) for name, code in codes.items()]


def rules() -> list[tuple[str, str, str]]:
    """(words, code, document) of every other refusal, in the order of the table."""
    return [(row[2], row[4] if len(row) > 4 else row[1], row[3]) for row in TABLE["rules"]]


def reason(key: str) -> str:
    """Why it is refused, where AWS documents nothing; "" where it does."""
    kept = {"own": "this fake's own", "none": "no document was found"}
    return kept.get(key) or (key.removeprefix("seen:") if key.startswith("seen:") else "")


def page() -> str:
    rows = [*limits(), *rules()]
    told = [row for row in rows if not reason(row[2])]
    others = [row for row in rows if reason(row[2])]
    lines = [
        _HEAD,
        f"## Documented constraints: {len(told)}\n",
        "| constraint | code | document |",
        "|---|---|---|",
        *(f"| {words} | `{code}` | {document(key)} |" for words, code, key in told),
        f"\n## Other refusals: {len(others)}\n",
        "| what | code | why |",
        "|---|---|---|",
        *(f"| {words} | `{code}` | {reason(key)} |" for words, code, key in others),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(page())
