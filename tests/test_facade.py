"""`hotdesk.Hotdesk`, as somebody meets it who has only Python's `help`: every command, and nothing else."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

import hotdesk
from hotdesk import Hotdesk
from hotdesk.cli.main import COMMAND_NAMES

#: Commands that are a terminal's own: they attach to it, print a file, set up an editor or a shell, or open
#: another door.
TERMINAL = {"attach", "code", "completion", "guide", "iam", "schema", "self-check", "web"}


def public(kind: type) -> dict[str, Any]:
    members = inspect.getmembers(kind, inspect.isfunction)
    return {name: member for name, member in members if not name.startswith("_")}


#: An attribute for each command that has commands of its own, and those that are a terminal's, or `sweep`.
GROUPS = {
    "sweeps": ("sweep", hotdesk.Sweeps, {"start", "drive", "plot"}),
    "clusters": ("cluster", hotdesk.Clusters, set[str]()),
}
METHODS = public(Hotdesk)
IN_GROUPS = {f"{name}.{verb}": m for name, (_, k, _) in GROUPS.items() for verb, m in public(k).items()}
EVERY = METHODS | IN_GROUPS
DOCUMENT = Path(__file__).parents[1] / "docs" / "python.md"
#: Methods that answer and never fail.
NEVER = {"close", "gc", "ls", "watch", "sweeps.ls", "clusters.ls"}


def test_every_command_has_its_method_and_nothing_else_is_public() -> None:
    assert METHODS.keys() == COMMAND_NAMES - TERMINAL - {"cluster"} | {"close"}


@pytest.mark.parametrize("name", GROUPS)
def test_every_command_of_a_command_has_its_method(name: str) -> None:
    command, kind, left_out = GROUPS[name]
    verbs = importlib.import_module(f"hotdesk.cli.commands.{command}").command.commands
    assert public(kind).keys() >= verbs.keys() - left_out


def modules() -> dict[str, ModuleType]:
    found = {}
    for package in (
        "core",
        "services",
        "market",
        "connect",
        "simulate",
        "providers",
        "state",
        "loop",
        "jobs",
        "sweep",
    ):
        root = importlib.import_module(f"hotdesk.{package}")
        for info in pkgutil.walk_packages(root.__path__, f"hotdesk.{package}."):
            if not re.search(r"aws|runtime", info.name):
                found[info.name] = importlib.import_module(info.name)
    return found


def names_of(hint: object) -> Iterator[type]:
    """The classes of ours that a type is made of."""
    for part in typing.get_args(hint):
        yield from names_of(part)
    if isinstance(hint, type) and hint.__module__.startswith("hotdesk"):
        yield hint


@pytest.fixture(scope="module")
def everything() -> dict[str, Any]:
    """All that annotations of the façade and of its values may name."""
    found: dict[str, Any] = {}
    for module in modules().values():
        found |= {name: value for name, value in vars(module).items() if isinstance(value, type)}
    return found | {name: getattr(hotdesk, name) for name in hotdesk.__all__}


@pytest.mark.parametrize("name", sorted(EVERY.keys() - {"close"}))
def test_what_a_method_takes_and_returns_is_exported(name: str, everything: dict[str, Any]) -> None:
    home = vars(sys.modules[EVERY[name].__module__])
    hints = typing.get_type_hints(EVERY[name], {**everything, **home})
    assert "return" in hints
    ours = {kind for hint in hints.values() for kind in names_of(hint)}
    missing = {kind.__name__ for kind in ours} - set(hotdesk.__all__)
    assert not missing
    for kind in (kind for kind in names_of(hints["return"]) if issubclass(kind, msgspec.Struct)):
        assert kind.__doc__, kind
        inside = typing.get_type_hints(kind, {**everything, **vars(sys.modules[kind.__module__])})
        assert inside.keys() >= set(kind.__struct_fields__)


@pytest.mark.parametrize("name", sorted(EVERY))
def test_help_says_what_a_method_returns_and_raises(name: str) -> None:
    said = inspect.getdoc(EVERY[name]) or ""
    assert len(said) > 20
    assert name in NEVER or "Raises" in said or "raises" in said, said
    errors = set(re.findall(r"`([A-Z]\w+)`", " ".join(re.findall(r"[Rr]aises.*", said, re.S))))
    assert all(hasattr(hotdesk, error) for error in errors), errors


def test_help_shows_the_facade_and_all_that_is_exported() -> None:
    program = "import hotdesk; help(hotdesk); help(hotdesk.Hotdesk)"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert {name for name in METHODS if f"{name}(self" not in re.sub(r"\x08.", "", said)} == set()
    assert set(dir(hotdesk)) == set(hotdesk.__all__)


def program(title: str = "A day") -> str:
    """A program of docs/python.md."""
    [code] = re.findall(rf"```python\n(# {title}.*?)```", DOCUMENT.read_text(), re.S)
    return str(code)


def test_the_document_uses_exported_names_only() -> None:
    imported = re.findall(r"from hotdesk import (.*)", DOCUMENT.read_text())
    names = {name.strip() for line in imported for name in line.split(",")}
    assert names
    assert names <= set(hotdesk.__all__)
    assert "services" not in program()
    told = {name for name in EVERY if f"`{name}`" in DOCUMENT.read_text()}
    assert told == EVERY.keys(), EVERY.keys() - told


def lived(title: str, folder: Path) -> str:
    """What a program of the document says, run in an empty folder."""
    folder.mkdir()
    # From a file, as its reader runs it: the functions of a sweep are then those of __main__.
    file = folder.parent / "program.py"
    file.write_text(program(title))
    done = subprocess.run(
        [sys.executable, file], cwd=folder, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_day_with_python_alone(tmp_path: Path, home: Path) -> None:
    """A desk lives through all that somebody does with one, by the program that the document shows."""
    assert "loss 0.1" in lived("A day", tmp_path / "project")
    assert (tmp_path / "project" / "out" / "model.txt").read_text() == "weights\n"


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_sweep_with_python_alone(tmp_path: Path, home: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'hotdesk[sweep]'")
    assert "ValueError: a rate of 1.5 is too fast" in lived("A sweep", tmp_path / "project")
    assert (tmp_path / "project" / "results.csv").read_text().startswith("task,rate,seed,loss,x,state,")
