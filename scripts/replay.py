"""Type a document's commands again, and write down what they print: scripts.replay docs/first-day.md

Every line of its `console` blocks that begins with "$ " is run, in order, in a folder of its own with a new
home. `<!-- at: aws -->` sends what follows to the fake EC2, with machines that can be logged into and prices
that are made; `<!-- at: here -->` runs it without any account. After `<!-- file: train.py -->` the next block
is that file. --check runs all of it and changes nothing. Exits with 1 if a command fails.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.light.desk import light_cloud

COLUMNS = "100"
_NOTE = re.compile(r"<!-- (at|file): (.+?) -->")
_NOISE = re.compile(r"^\[notice\] |^Warning: Permanently added|^\s*$")


class Failed(Exception):
    """A command that did not end with 0; its words and what it printed."""


def replayed(text: str) -> str:
    """The document with what its commands print today. Raises `Failed`."""
    lines, out, place, file = text.split("\n"), list[str](), "here", ""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hotdesk-day-")))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        shell = _Shell(folder, patch)
        stack.callback(shell.leave)
        at = 0
        while at < len(lines):
            line = lines[at]
            at += 1
            out.append(line)
            if note := _NOTE.match(line):
                place, file = (note[2], file) if note[1] == "at" else (place, note[2])
            if not line.startswith("```"):
                continue
            end = lines.index("```", at)
            block, at = lines[at:end], end + 1
            if file:
                (shell.project / file).write_text("\n".join(block) + "\n")
                file = ""
            if line == "```console":
                if place == "aws":
                    shell.rent(stack)
                block = [said for typed in block if typed.startswith("$ ") for said in shell.run(typed)]
            out += [*block, "```"]
    return "\n".join(out)


class _Shell:
    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch, self.rented = folder, patch, False
        self.project = folder / "cats"
        self.project.mkdir()
        programs = folder / "programs"
        programs.mkdir()
        (programs / "hotdesk").write_text(f'#!/bin/sh\nexec {sys.executable} -m hotdesk "$@"\n')
        (programs / "hotdesk").chmod(0o755)
        for name in [name for name in os.environ if name.startswith(("AWS_", "HOTDESK_"))]:
            patch.delenv(name)
        patch.setenv("HOME", str(folder))
        patch.setenv("HOTDESK_STATE", str(folder / "state"))
        patch.setenv("HOTDESK_CONFIG", str(folder / "hotdesk.toml"))
        patch.setenv("PATH", str(programs), prepend=os.pathsep)
        patch.setenv("COLUMNS", COLUMNS)
        patch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")

    def rent(self, stack: contextlib.ExitStack) -> None:
        """From now on there is an account, whose cloud is the fake one."""
        if not self.rented:
            stack.enter_context(light_cloud(self.folder, self.patch))
            stack.callback(self.leave)  # its desks go before it does
            self.rented = True

    def run(self, typed: str) -> Iterator[str]:
        sys.stderr.write(f"{typed}\n")
        done = subprocess.run(
            ["bash", "-c", typed.removeprefix("$ ")],
            cwd=self.project,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise Failed(f"{typed}\n{done.stdout}")
        yield typed
        said = done.stdout.replace(str(self.folder), "~")
        yield from (line.rstrip() for line in said.splitlines() if not _NOISE.match(line))

    def leave(self) -> None:
        for words in (["down", "cats", "--yes"], ["uninstall", "--yes"]):
            subprocess.run([sys.executable, "-m", "hotdesk", *words], capture_output=True)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("document", type=Path)
    ask.add_argument("--check", action="store_true")
    given = ask.parse_args()
    try:
        text = replayed(given.document.read_text("utf-8"))
    except Failed as failed:
        sys.exit(f"failed: {failed}")
    if not given.check:
        given.document.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
