"""Deliberate faults in the planner, the journal and the loop: each must be noticed by some story.

A mutant (mutants.toml) is one substitution in one source file, applied in a process of its own while the file
is imported; one of the stories named there then has to fail. A fault that nobody notices means that a story,
or the line, lacks a reason. One by hand: `PYTHONPATH=src:. python -m tests.test_mutants "skip verify"`.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
MUTANTS = tomllib.loads(Path(__file__).with_name("mutants.toml").read_text())


def hunt(name: str) -> str:
    """Apply a mutant to this process and tell its stories until one objects; what it said, or ""."""
    mutant = MUTANTS[name]
    apply(mutant["file"], mutant["line"], mutant["wrong"])
    for story in mutant["noticed_by"]:
        try:
            tell(story)
        except Exception as error:
            return f"{story}: {type(error).__name__}: {str(error)[-300:]}"
    return ""


def tell(story: str) -> None:
    if story == "days":
        from tests.test_chaos import live

        for seed in range(int(os.environ.get("HOTDESK_HUNT", "600"))):
            live(seed)
    elif story == "crash":
        from hotdesk.core.model import Market
        from tests.test_crash import CrashAt, a_laptop, day, live_through

        for market in Market:
            for at in range(1, 500, 7):
                live_through(a_laptop(CrashAt(at), 0), day(market))
    else:
        module, _, name = story.partition(".")
        test = getattr(importlib.import_module(f"tests.{module}"), name)
        for arguments in _combinations(getattr(test, "pytestmark", [])):
            test(**arguments)


def _combinations(marks: list[pytest.Mark]) -> list[dict[str, object]]:
    every: list[dict[str, object]] = [{}]
    for mark in marks:
        if mark.name != "parametrize":
            continue
        names = mark.args[0] if isinstance(mark.args[0], tuple) else (mark.args[0],)
        rows = [values if len(names) > 1 else (values,) for values in mark.args[1]]
        every = [{**known, **dict(zip(names, row, strict=True))} for known in every for row in rows]
    return every


def apply(file: str, line: str, wrong: str) -> None:
    """From now on that module is imported with one line changed."""
    name = "hotdesk." + file.replace("/", ".")
    path = ROOT / "src" / "hotdesk" / f"{file}.py"
    source = path.read_text()
    assert source.count(line) == 1, f"{source.count(line)} times in {path.name}: {line!r}"

    class Loader(importlib.abc.Loader):
        def exec_module(self, module: ModuleType) -> None:
            exec(compile(source.replace(line, wrong), str(path), "exec"), module.__dict__)

    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, wanted: str, path: object = None, target: object = None) -> object:
            return importlib.util.spec_from_loader(name, Loader()) if wanted == name else None

    sys.meta_path.insert(0, Finder())  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list(MUTANTS))
def test_each_fault_is_noticed(name: str) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.test_mutants", name],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.strip(), f"nobody noticed: {name}"


if __name__ == "__main__":
    print(hunt(sys.argv[1]))
