"""The streams that a command was given: full, closed, left by their reader, or of another encoding."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hotdesk.cli.ui import terminal
from hotdesk.connect import editor
from tests.conftest import Command

HOTDESK = shlex.join([sys.executable, "-m", "hotdesk"])
#: The ends of a pipe whose reader has gone before anything is written.
LEFT = "{ sleep 1; %s; echo $? >&3; } | true"


def shell(line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What bash answers; the exit status of the last command at its end, on standard error's own line."""
    return subprocess.run(
        ["bash", "-c", f"exec 3>&1; {line}"],
        capture_output=True, text=True, timeout=60, env={**os.environ, **variables},
    )  # fmt: skip


@pytest.mark.parametrize("words", ["--version", "--help", "ls", "ls --json"])
def test_a_full_disk_behind_the_answer_is_no_bug(hotdesk: Command, words: str) -> None:
    done = shell(f"{HOTDESK} {words} > /dev/full")
    assert done.returncode == 8
    assert "no space left" in done.stderr
    assert "df -h" in done.stderr
    assert "bug" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", ["--help", "ls", "show nope 2>&1"])
def test_a_reader_who_leaves_ends_it_without_a_word(hotdesk: Command, words: str) -> None:
    done = shell(LEFT % f"{HOTDESK} {words}")
    assert done.stdout == "141\n"
    assert done.stderr == ""


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_what_cannot_be_said_changes_no_exit_code(hotdesk: Command, closed: str) -> None:
    assert shell(f"{HOTDESK} ls {closed}").returncode == 0
    assert shell(f"{HOTDESK} show nope {closed}").returncode == 4


def test_an_encoding_without_our_marks_has_others(hotdesk: Command) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    done = shell(f"{HOTDESK} show nope", **ascii_only)
    assert done.returncode == 4
    assert done.stderr.startswith("x There is no desk")
    code = "from hotdesk.cli.ui import terminal; terminal.prepare(); print('● ✓ — … 語')"
    said = shell(shlex.join([sys.executable, "-c", code]), **ascii_only)
    assert said.stdout == "* + - ... ?\n"


def test_what_this_computer_refuses_is_told_from_a_bug() -> None:
    full = terminal.lack(OSError(errno.ENOSPC, "No space left on device"))
    locked = terminal.lack(OSError(errno.EROFS, "Read-only file system", "/home/a b/x"))
    assert full is not None
    assert full.fix.startswith("df -h")
    assert locked is not None
    assert locked.fix == "ls -ld '/home/a b/x'"
    assert "/home/a b/x" in locked.what
    assert terminal.lack(OSError(errno.ENOENT, "No such file")) is None
    assert terminal.lack(ValueError("no")) is None


def test_the_settings_of_ssh_stay_a_link_and_keep_their_bytes(tmp_path: Path) -> None:
    theirs, config, hosts = tmp_path / "dotfiles", tmp_path / ".ssh" / "config", tmp_path / "*.conf"
    old = "# Größe\nHost x\r\n    User ü\n".encode("latin-1")
    theirs.write_bytes(old)
    config.parent.mkdir()
    config.symlink_to(theirs)
    assert editor.include(config, hosts)
    assert not editor.include(config, hosts)
    assert config.is_symlink()
    assert theirs.read_bytes() == f'Include "{hosts}"\n'.encode() + old
    assert editor.exclude(config, hosts)
    assert not editor.exclude(config, hosts)
    assert config.is_symlink()
    assert theirs.read_bytes() == old
