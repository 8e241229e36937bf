"""A desk goes straight from one machine to another, past this computer: real sshd, each with an account."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.far_rig import FarMachine, needs_sshd
from tests.test_json import fits

pytestmark = [pytest.mark.tools("ssh", "unshare"), pytest.mark.root, needs_sshd, pytest.mark.long]
SECONDS = 400.0  # a limit that only a hang reaches
MIB = 1 << 20


class Two:
    """Two machines, and this computer's line to both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.old, self.new = (FarMachine(folder / name, name, account=True) for name in ("old", "new"))
        self.count = folder / "passed"
        self.settings = folder / "ssh_config"
        self.settings.write_text(
            "".join(
                f"Host {far.name}\n  HostName 127.0.0.1\n  Port {far.port}\n  User {getpass.getuser()}\n"
                f"  IdentityFile {far.folder}/mine\n  IdentitiesOnly yes\n  HostKeyAlias {far.name}\n"
                for far in (self.old, self.new)
            )
        )

    def slow(self, rate: float) -> None:
        """From now on this computer's line has so many bytes a second, and they are counted."""
        words = f"{sys.executable} {Path(__file__).with_name('slow_line.py')} %h %p {rate} {self.count}"
        text = self.settings.read_text().replace("\nHost ", f"\n  ProxyCommand {words}\nHost ")
        self.settings.write_text(f"{text}  ProxyCommand {words}\n")

    def fast(self) -> None:
        lines = self.settings.read_text().splitlines(keepends=True)
        self.settings.write_text("".join(line for line in lines if "ProxyCommand" not in line))

    def to(self, far: FarMachine) -> tuple[str, ...]:
        return "--host", far.name, "--folder", far.address["folder"], "--host-key", far.fingerprint

    def passed(self) -> int:
        """Bytes of this computer's line since the last call."""
        total = sum(map(int, self.count.read_text().split())) if self.count.exists() else 0
        self.count.unlink(missing_ok=True)
        return total


def furnished(old: FarMachine, new: FarMachine) -> None:
    """Put what hotdesk needs at a machine, which another has already: as after an earlier desk there."""
    (new.home / "hotdesk").mkdir(mode=0o700, exist_ok=True)
    for kit in (old.home / "hotdesk").glob("kit-*"):
        shutil.copytree(kit, new.home / "hotdesk" / kit.name, symlinks=True, copy_function=os.link)


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    with two_machines(tmp_path / "two", monkeypatch) as found:
        yield found


@contextlib.contextmanager
def two_machines(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Two]:
    found = Two(folder)
    (folder / "bin").mkdir()
    program = folder / "bin" / "ssh"
    program.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {found.settings} "$@"\n')
    program.chmod(0o755)
    patch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    try:
        yield found
    finally:
        found.old.cut()
        found.new.cut()
        for pid in running(str(folder)):  # of a test that failed in the middle
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def keys_left(*machines: FarMachine) -> list[str]:
    """What a way leaves at machines, if it was not closed."""
    found = []
    for far in machines:
        found += [str(path) for path in far.memory.glob("hotdesk-way-*")]
        found += [str(path) for path in (far.root / ".ssh").glob("*hotdesk*")]
        with contextlib.suppress(FileNotFoundError):
            found += [
                line
                for line in (far.root / ".ssh" / "authorized_keys").read_text().splitlines()
                if "hotdesk" in line
            ]
    return found


def ask(hotdesk: Command, *words: str) -> str:
    done = hotdesk(*words, timeout=SECONDS)
    assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
    return done.stdout if words[0] == "ssh" else done.stderr


def test_straight_there_and_back(two: Two, hotdesk: Command) -> None:
    """1. Past a slow line, and both who send are killed in the middle: it goes on, and no key stays. 2. Back,
    but the machine lets no key in when it matters: through this computer, which is said."""
    ask(hotdesk, "up", "blue", *two.to(two.old))
    mine = two.new.root / ".ssh" / "authorized_keys"
    mine.write_text("# mine")
    furnished(two.old, two.new)
    look = "sha256sum big notes"
    before = ask(
        hotdesk, "ssh", "blue", "--", f"head -c {64 * MIB} /dev/urandom > big; echo 1 > notes; {look}"
    )
    two.slow(2e6)
    plan = hotdesk("move", "blue", *two.to(two.new), "--dry-run", "--json", timeout=SECONDS)
    goods = fits("plan", plan.stdout)["carries"]
    assert (goods["origin"], goods["provider"], goods["usd_once"]) == ("ssh", "ssh", 0)
    assert goods["route"]["by"] == "direct", goods["route"]
    assert goods["route"]["direct_bytes_per_second"] > 2e6
    assert goods["seconds"] == pytest.approx(goods["bytes"] / goods["route"]["direct_bytes_per_second"])
    other = hotdesk(
        "move", "blue", *two.to(two.new), "--route", "here", "--dry-run", "--json", timeout=SECONDS
    )
    here = fits("plan", other.stdout)["carries"]
    assert here["route"]["by"] == "here"
    assert len(here["lines"]) == 2
    assert here["seconds"] > goods["seconds"]
    two.passed()

    killed: list[int] = []

    def kill(over: threading.Event) -> None:
        store = two.new.home / "hotdesk"
        while not killed and not over.wait(0.005):
            arrived = sum(
                path.stat().st_size for path in store.glob("of-*/local/store/**/*") if path.is_file()
            )
            if arrived > 4 * MIB:
                for pid in [*ways(two.old), *launchers(two.folder.parent)]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        killed.append(pid)

    with beside(kill):
        said = ask(hotdesk, "move", "blue", *two.to(two.new), "--yes")
    assert len(killed) >= 2, "nothing was killed"
    assert "route: straight from one machine to the other" in said
    assert two.passed() < 20 * MIB, "measuring it, some talk, and hotdesk itself"
    assert ask(hotdesk, "ssh", "blue", "--", look) == before
    assert keys_left(two.old, two.new) == []
    assert mine.read_text() == "# mine\n"
    assert not list((two.folder.parent / "state").glob("**/ways/*"))

    ask(hotdesk, "ssh", "blue", "--", "echo 2 >> notes")
    after = ask(hotdesk, "ssh", "blue", "--", look)
    two.fast()

    def refuse(over: threading.Event) -> None:
        images = Path(os.environ["HOTDESK_STATE"]) / "local" / "images"
        while not over.wait(0.02):
            if any('"at":"new"' in path.read_text() for path in images.glob("*.json")):
                two.old.lets_in_nobody_else()
                return

    with beside(refuse):
        said = ask(hotdesk, "move", "blue", *two.to(two.old), "--route", "direct", "--yes")
    assert "old cannot be reached from new" in said
    assert "so it goes through this computer" in said
    assert ask(hotdesk, "ssh", "blue", "--", look) == after
    two.slow(100e6)
    two.passed()
    ask(hotdesk, "park", "blue", "--there", "--yes")
    assert two.passed() < 8 * MIB, "its image stays where it was"
    images = hotdesk("images", "blue", "--verify", "--json", timeout=SECONDS).stdout
    shown = json.loads(images)["images"]
    assert [(one["verified"], one["damage"]) for one in shown] == [(True, None)], (
        "here it cannot be read again"
    )
    ask(hotdesk, "resume", "blue")
    assert two.passed() < 8 * MIB
    assert ask(hotdesk, "ssh", "blue", "--", look) == after
    ask(hotdesk, "down", "blue", "--yes")
    assert keys_left(two.old, two.new) == []
    assert not (two.old.home / "hotdesk").exists()
    assert not (two.new.home / "hotdesk").exists()


@contextlib.contextmanager
def beside(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """This work, beside a command; it ends when the command has."""
    over = threading.Event()
    thread = threading.Thread(target=work, args=(over,))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(SECONDS)


def running(word: str) -> Iterator[int]:
    """Processes with this in their command line."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if word.encode() in (entry / "cmdline").read_bytes():
                    yield int(entry.name)


def ways(far: FarMachine) -> Iterator[int]:
    """Those that hold a key there (guest/way.py)."""
    for folder in far.memory.glob("hotdesk-way-*"):
        yield from running(folder.name.removeprefix("hotdesk-way-"))


def launchers(folder: Path) -> Iterator[int]:
    for pid in running("hotdesk.providers.ssh.launcher"):
        if str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            yield pid
