"""Proof of an installation: its files, its packages, and one desk's day in a folder of its own."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from hotdesk.core import lengths
from hotdesk.core.errors import HotdeskError
from hotdesk.core.findings import Finding
from hotdesk.providers import registry
from hotdesk.system import SystemClock, install_line

_NAME = "check"  # of the desk that lives the day
_SENTENCE = "kept by hotdesk self-check"
_PROGRAM, _RESULT = "train.py", "result.txt"
_LONGEST_SECONDS = 600.0  # of one command: Jupyter starts in seconds, on a slow disk in minutes


def proof(*, day: bool = True) -> Iterator[Finding]:
    """What can be shown of this installation, each as soon as it is known; `day`: with a desk's day."""
    distribution = metadata.distribution("hotdesk")
    yield _files(distribution)
    yield from _extras(distribution)
    if not day:
        return
    try:
        registry.check(registry.known(registry.DEFAULT))
    except HotdeskError as error:
        yield Finding(level="note", what="No desk was opened: " + error.what, why=error.why, fix=error.fix)
        return
    yield from _day()


# ---- files ---------------------------------------------------------------------------------------


def _files(distribution: metadata.Distribution) -> Finding:
    """Whether the installed files are those of the wheel, by the hashes that the installer recorded."""
    hashed = [(f, f.hash) for f in distribution.files or () if f.hash and f.parts[0] == "hotdesk"]
    if not hashed:
        return Finding(level="ok", what=f"hotdesk {distribution.version} runs from its source folder.")
    wrong = []
    for file, told in hashed:
        try:
            digest = hashlib.new(told.mode, Path(str(file.locate())).read_bytes()).digest()
        except OSError as error:
            wrong.append(f"{file} ({error.strerror})")
            continue
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != told.value:
            wrong.append(f"{file} (changed)")
    if wrong:
        return Finding(
            level="bad",
            what=f"{len(wrong)} of {len(hashed)} files are not as they were installed.",
            why=", ".join(wrong[:5]) + (" and more" if len(wrong) > 5 else ""),
            fix=install_line("", "--force-reinstall", "--no-deps"),
        )
    return Finding(
        level="ok", what=f"hotdesk {distribution.version}: {len(hashed)} files are as they were installed."
    )


# ---- packages ------------------------------------------------------------------------------------


def _extras(distribution: metadata.Distribution) -> Iterator[Finding]:
    """Which extras are complete, which are not there, and what is older than hotdesk needs."""
    needs = _requirements(distribution)
    for extra in ("", *_for_users(distribution)):
        absent, old = [], []
        for name, lowest in needs.get(extra, ()):
            try:
                here = metadata.version(name)
            except metadata.PackageNotFoundError:
                absent.append(name)
                continue
            if _numbers(here) < _numbers(lowest):
                old.append(f"{name} {here} (needs {lowest})")
        what = f"Extra {extra}" if extra else "The packages it always needs"
        whole = "is complete." if extra else "are complete."
        if old or (absent and not extra):
            yield Finding(
                level="bad",
                what=f"{what}: {', '.join([*(f'{name} is missing' for name in absent), *old])}.",
                fix=install_line(extra),
            )
        elif absent:
            yield Finding(
                level="note",
                what=f"{what} is not installed: there is no {', '.join(absent)}.",
                fix=install_line(extra),
            )
        else:
            yield Finding(level="ok", what=f"{what} {whole}")


def _for_users(distribution: metadata.Distribution) -> list[str]:
    """The extras, but for those that only join others or are for work on hotdesk itself."""
    extras = distribution.metadata.get_all("Provides-Extra") or []
    return [extra for extra in extras if extra not in {"all", "dev", "test"}]


def _requirements(distribution: metadata.Distribution) -> dict[str, list[tuple[str, str]]]:
    """By extra ("" for none): the packages and the lowest version that each may have."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in distribution.requires or ():
        spec, _, marker = line.partition(";")
        extra = re.search(r"""extra\s*==\s*['"]([^'"]+)['"]""", marker)
        name = re.match(r"\s*([A-Za-z0-9._-]+)", spec)
        lowest = re.search(r"[>=]=\s*([0-9.]+)", spec)
        if name and name[1] != distribution.name:
            found.setdefault(extra[1] if extra else "", []).append((name[1], lowest[1] if lowest else "0"))
    return found


def _numbers(version: str) -> tuple[int, ...]:
    """The release number of a version; what comes after it (rc1, .dev0) does not count."""
    release = re.match(r"(?:\d+!)?(\d+(?:\.\d+)*)", version)
    numbers = [int(part) for part in release[1].split(".")] if release else [0]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


# ---- a day ---------------------------------------------------------------------------------------


def _day() -> Iterator[Finding]:
    """Open a local desk, work, park it, bring it back, delete it: by the commands that a person types."""
    folder = Path(tempfile.mkdtemp(prefix="hotdesk-check-"))
    commands, clock = _Commands(folder), SystemClock()
    failed: Finding | None = None
    try:
        for what, act in _deeds(commands):
            began = clock.now()
            try:
                act()
            except _Failed as failure:
                failed = Finding(level="bad", what=f"{what}: it did not.", why=str(failure))
                break
            yield Finding(level="ok", what=f"{what} ({lengths.said(clock.now() - began)}).")
    finally:
        with contextlib.suppress(_Failed):
            commands("down", _NAME, "--yes")
    if failed:
        yield Finding(
            level="bad",
            what=failed.what,
            why=failed.why,
            fix=f"HOTDESK_STATE={folder}/state hotdesk log   # its journal; then rm -r {folder}",
        )
        return
    shutil.rmtree(folder)


def _deeds(commands: _Commands) -> Iterator[tuple[str, Callable[[], object]]]:
    def jupyter() -> None:
        url = commands("notebook", _NAME, "--url").strip()
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=30) as answer:
                status = answer.status
        except OSError as error:
            raise _Failed(f"Jupyter does not answer: {error}") from None
        if status != 200:
            raise _Failed(f"Jupyter answers with status {status}.")

    def parked() -> None:
        state = json.loads(commands("ls", "--json"))
        if [desk["phase"] for desk in state] != ["parked"]:
            raise _Failed(f"hotdesk ls says {state}")

    def kept() -> None:
        read = commands("ssh", _NAME, "--", f"cat ~/{_RESULT}").strip()
        if read != _SENTENCE:
            raise _Failed(f"It reads {read!r} in place of {_SENTENCE!r}.")

    def call(*words: str) -> Callable[[], object]:
        return lambda: commands(*words)

    yield "A local desk opens, with ssh and Jupyter", call("up", _NAME, "--provider", registry.DEFAULT)
    yield "Its Jupyter answers", jupyter
    yield "A job runs there", call("run", _NAME, "--then", "stay", "--", "python", _PROGRAM)
    yield "It parks, with its work in a verified image", call("park", _NAME, "--yes")
    yield "Nothing of it runs now", parked
    yield "It comes back", call("resume", _NAME)
    yield "What the job wrote is there again", kept
    yield "It is deleted", call("down", _NAME, "--yes")
    yield "Nothing stays behind", call("uninstall", "--yes")


class _Failed(Exception):
    pass


class _Commands:
    """hotdesk's own commands, with a state folder, home and settings that are nobody's."""

    def __init__(self, folder: Path) -> None:
        self._work = folder / "project"
        self._work.mkdir()
        writes = f"from pathlib import Path\n(Path.home() / {_RESULT!r}).write_text({_SENTENCE!r})\n"
        (self._work / _PROGRAM).write_text(writes)
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("HOTDESK_")},
            "HOTDESK_STATE": str(folder / "state"),
            "HOTDESK_CONFIG": str(folder / "hotdesk.toml"),
        }

    def __call__(self, *words: str) -> str:
        """What the command printed. Raises `_Failed` with what it said."""
        try:
            done = subprocess.run(
                [sys.executable, "-m", "hotdesk", *words],
                cwd=self._work,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_LONGEST_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise _Failed(f"hotdesk {words[0]} did not end within {_LONGEST_SECONDS:.0f} s.") from None
        if done.returncode:
            said = " ".join((done.stderr or done.stdout).split()) or "it said nothing."
            raise _Failed(f"hotdesk {' '.join(words[:2])} ended with {done.returncode}: {said[-1000:]}")
        return done.stdout
