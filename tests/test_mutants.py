"""Deliberate faults in the planner, the journal and the loop: each must be noticed by some story.

A mutant (mutants.toml) is one substitution in one source file, applied in a process of its own while the file
is imported; one of the stories named there then has to fail. `day`: a random day that noticed it.
A fault that nobody notices means that a story, or the line, lacks a reason. One by hand:
`PYTHONPATH=src:. python -m tests.test_mutants "skip verify"`.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tomllib
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow
MUTANTS = tomllib.loads(Path(__file__).with_name("mutants.toml").read_text())


def hunt(name: str) -> str:
    """Apply a mutant to this process and tell its stories until one objects; what it said, or ""."""
    mutant = MUTANTS[name]
    apply(mutant["file"], mutant["line"], mutant["wrong"])
    for story in mutant["noticed_by"]:
        try:
            tell(story, mutant.get("day", 0))
        except Exception as error:
            return f"{story}: {type(error).__name__}: {str(error)[-300:]}"
    return ""


def tell(story: str, day: int = 0) -> None:
    if story == "days":
        from tests.test_chaos import live

        for seed in dict.fromkeys((day, *range(int(os.environ.get("HOTDESK_HUNT", "600"))))):
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


@pytest.fixture(scope="module")
def hunter() -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.test_mutants"],
        cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.parametrize("name", list(MUTANTS))
def test_each_fault_is_noticed(hunter: subprocess.Popen[str], name: str) -> None:
    assert hunter.stdin is not None
    assert hunter.stdout is not None
    print(name, file=hunter.stdin, flush=True)
    noticed, said = json.loads(hunter.stdout.readline())
    assert noticed, said or f"nobody noticed: {name}"


def serve() -> None:
    """Names in, a line of JSON out for each: whether it was noticed, and what was said.

    This process has loaded what all stories need and nothing of ours; each fault is put into a fork of it.
    """
    import hypothesis  # noqa: F401

    for line in sys.stdin:
        reading, writing = os.pipe()
        if not (pid := os.fork()):
            signal.alarm(300)
            os.dup2(2, 1)  # what a story prints is no answer
            try:
                said = hunt(line.strip())
                answer = (bool(said), said)
            except BaseException:
                answer = (False, traceback.format_exc()[-2000:])
            os.write(writing, json.dumps(answer).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read().decode()
        os.waitpid(pid, 0)
        print(told or json.dumps((False, "it did not come to an end")), flush=True)


if __name__ == "__main__":
    if sys.argv[1:]:
        print(hunt(sys.argv[1]))
    else:
        serve()
