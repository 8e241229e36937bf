"""The streams that a command was given: full, closed, left by their reader, or of another encoding."""

from __future__ import annotations

import errno
import json
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


def test_ctrl_c_while_hotdesk_is_loaded_prints_no_traceback(hotdesk: Command) -> None:
    code = """
import sys
from hotdesk import __main__
class Finder:
    def find_spec(self, name, *_):
        if name == "hotdesk.cli.main":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Finder())
sys.argv = ["hotdesk", "ls"]
__main__.main()
"""
    done = shell(shlex.join([sys.executable, "-c", code]))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("option", ["--until", "--lease", "--idle"])
@pytest.mark.parametrize("value", ["0m", "-1"])
def test_a_limit_in_the_past_is_refused(hotdesk: Command, option: str, value: str) -> None:
    done = hotdesk("up", "blue", "--dry-run", option, value)
    assert done.returncode == 2
    assert "more than 0" in done.stderr
    assert hotdesk("up", "blue", "--dry-run", option, "never").returncode == 0


def test_the_unit_names_its_state_folder_and_quotes_paths(hotdesk: Command, tmp_path: Path) -> None:
    folder = str(tmp_path / 'a "b" 100%')
    unit = hotdesk("watch", "--systemd", HOTDESK_STATE=folder).stdout
    told = folder.replace('"', '\\"').replace("%", "%%")
    assert f'Environment="HOTDESK_STATE={told}"' in unit.splitlines()
    assert f'ExecStart="{sys.executable}" -m hotdesk watch' in unit.splitlines()


def test_a_watcher_that_starts_can_be_stopped_and_the_list_agrees(hotdesk: Command) -> None:
    assert hotdesk("up", "blue").returncode == 0
    assert "no watcher" in hotdesk("watch", "--stop").stdout
    assert hotdesk("watch", "--detach").returncode == 0
    assert hotdesk("watch", "--stop").stdout == "The watcher has ended.\n"
    assert "watches over them" not in hotdesk("ls").stdout
    assert "no watcher" in hotdesk("watch", "--stop").stdout


def test_show_tells_the_limits_and_since_when_the_machine_runs(hotdesk: Command) -> None:
    assert hotdesk("up", "blue", "--idle", "45m").returncode == 0
    began = json.loads(hotdesk("ls", "--json").stdout)[0]["since"]
    assert hotdesk("up", "blue", "--until", "8h", "--lease", "4h").returncode == 0
    assert json.loads(hotdesk("ls", "--json").stdout)[0]["since"] == began
    said = dict(line.split(None, 1) for line in hotdesk("show", "blue").stdout.splitlines() if " " in line)
    assert (said["idle"], said["lease"], said["until"]) == ("45 min", "4 h", "ends in 8.0 h")
    assert said["running"].startswith("for ")
