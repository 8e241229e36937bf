"""Who may import whom, and nobody but the doors prints: read from the source itself."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "hotdesk"
FILES = sorted(SOURCE.rglob("*.py"))

#: What a part of hotdesk may import of hotdesk, besides itself and core. The doors may import everything.
MAY = {
    "core": set(),
    "aws_session": set(),
    "providers": {"machine", "aws_session", "pacing"},
    "machine": set(),
    "connect": set(),
    "store": {"state_file"},
    "state_file": set(),
    "world": set(),
    "config": {"providers"},  # their settings
    "reconcile": {"store", "abreast"},
    "abreast": set(),
    "market": {"world", "aws_session", "pacing"},
    "pacing": set(),
    "costs": {"lifetimes", "paid"},
    "lifetimes": {"paid"},
    "bills": {"paid"},
    "paid": set(),
}
DOORS = {"cli", "web", "__main__", "doctor"}  # the doctor asks the façade, as a door does
ABOVE = DOORS | {"api"}  # what nobody below may import
CORE_LIBRARIES = {"msgspec"}


def imports(file: Path) -> set[str]:
    """Every module that a file imports, anywhere in it, by full name."""
    package = ["hotdesk", *file.relative_to(SOURCE).with_suffix("").parts[:-1]]
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{name.name}" for name in node.names}
    return found


def part(file: Path) -> str:
    first = file.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


@pytest.mark.parametrize("file", FILES, ids=[str(f.relative_to(SOURCE)) for f in FILES])
def test_imports_go_downwards(file: Path) -> None:
    mine = part(file)
    ours = {tuple(name.split(".")[1:]) for name in imports(file) if name.startswith("hotdesk.")}
    parts = {name[0] for name in ours if name} - {mine, "core"}
    if mine in MAY:
        assert parts <= MAY[mine], f"{mine} may import core and {sorted(MAY[mine]) or 'nothing else'}"
    elif mine not in DOORS | {"__init__"}:
        assert not parts & (ABOVE - {mine}), f"{mine} imports a door"
    if mine == "providers" and len(file.relative_to(SOURCE).parts) > 2:
        cloud = file.relative_to(SOURCE).parts[1]
        others = {name[1] for name in ours if name[0] == "providers" and len(name) > 2} - {cloud}
        assert not others, f"provider {cloud} imports provider {others}"


@pytest.mark.parametrize("file", [f for f in FILES if part(f) == "core"], ids=lambda f: f.name)
def test_the_core_needs_nothing_but_the_standard_library_and_msgspec(file: Path) -> None:
    import sys

    others = {name.split(".")[0] for name in imports(file)} - {"hotdesk", "__future__"} - CORE_LIBRARIES
    assert others <= sys.stdlib_module_names
    acting = {"os", "subprocess", "socket", "time", "random", "pathlib", "io", "sqlite3", "threading"}
    assert not others & acting, "values in, values out"


@pytest.mark.parametrize(
    "file",
    [f for f in FILES if part(f) not in (DOORS - {"doctor"}) | {"machine"}],
    ids=lambda f: str(f.relative_to(SOURCE)),
)
def test_nothing_prints_below_the_doors(file: Path) -> None:
    """Except on the desk itself (machine/), where printing is how a script answers."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"print", "input", "breakpoint"}, f"line {node.lineno}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SOURCE)))
def test_files_stay_readable(file: Path) -> None:
    lines = len(file.read_text().splitlines())
    assert lines <= 520, f"{lines} lines: a file that wants to be two"
