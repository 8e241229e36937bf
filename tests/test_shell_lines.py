"""Lines for a desk's shell: what ends a command is told, and `conda activate` works as in a terminal."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hotdesk.core import shell

SHELLS = [name for name in ("bash", "zsh", "dash", "fish") if shutil.which(name)]
#: How a home on Ubuntu begins, and what `conda init` adds below that.
STARTS = """\
case $- in
    *i*) ;;
      *) return;;
esac
# >>> conda initialize >>>
# !! Contents within this block are managed by 'conda init' !!
conda() { echo "activated $2"; }
# <<< conda initialize <<<
echo below
"""


def ran(name: str, line: str, home: Path) -> tuple[int, str]:
    done = subprocess.run(
        [name, "-c", shell.told(line)], env={"PATH": os.environ["PATH"], "HOME": str(home)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("signal", [9, 15, 11])
def test_a_signal_is_told_as_128_and_its_number(name: str, signal: int, tmp_path: Path) -> None:
    """Once 255, as of a lost connection: the shell had become the command."""
    kill = shlex.join([sys.executable, "-c", f"import os; os.kill(os.getpid(), {signal})"])
    assert ran(name, kill, tmp_path)[0] == 128 + signal


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("exit 7", 7, ""),
        ("false", 1, ""),
        ("echo a; false # a comment", 1, "a\n"),
        ("echo a \\", 0, "a\n"),
        ("exec sh -c 'exit 3'", 3, ""),
        ("cat <<END\ntext\nEND", 0, "text\n"),
    ],
)
def test_a_line_means_what_it_says(name: str, line: str, status: int, said: str, tmp_path: Path) -> None:
    if name == "fish" and "<<" in line:
        pytest.skip("fish has none")
    assert ran(name, line, tmp_path) == (status, said)


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("file", [".bashrc", ".zshrc"])
def test_conda_s_function_is_there_without_a_terminal(name: str, file: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(STARTS)
    assert ran(name, "conda activate x && echo on", tmp_path) == (0, "activated x\non\n")
    assert ran(name, shlex.join(["conda", "activate", "y"]), tmp_path) == (0, "activated y\n")
    assert ran(name, "conda() { echo mine; }; conda activate x", tmp_path) == (0, "mine\n")


def test_what_conda_init_wrote_for_zsh_is_read_as_bash(tmp_path: Path) -> None:
    (tmp_path / "conda").write_text('#!/bin/sh\necho "conda() { echo $1 \\$*; }"\n')
    (tmp_path / "conda").chmod(0o755)
    setup = f"__conda_setup=\"$('{tmp_path}/conda' 'shell.zsh' 'hook')\"\neval \"$__conda_setup\"\n"
    (tmp_path / ".zshrc").write_text(f"# >>> conda initialize >>>\n{setup}# <<< conda initialize <<<\n")
    assert ran("bash", "conda activate x", tmp_path) == (0, "shell.bash activate x\n")


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("file", [".profile", ".bash_profile"])
def test_the_desk_s_python_comes_first_whatever_a_start_file_did(
    name: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once `pip install` went to the computer around the desk, after somebody's own ~/.bashrc came there."""
    for folder in ("desk", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "python").write_text(f"#!/bin/sh\necho {folder}\n")
        (tmp_path / folder / "python").chmod(0o755)
    (tmp_path / file).write_text(
        f"PATH={tmp_path}/other:/usr/bin:/bin; export PATH MINE=kept\necho Welcome\n"
    )
    (tmp_path / "start").write_text(f"PATH={tmp_path}/desk:$PATH\n")
    monkeypatch.setattr(shell, "_START", f"HOTDESK_START={tmp_path}/start\n{shell._START}")
    assert ran(name, "python; echo $MINE", tmp_path) == (0, "desk\nkept\n")


@pytest.mark.parametrize("name", SHELLS)
def test_a_home_without_conda_loses_nothing(name: str, tmp_path: Path) -> None:
    assert ran(name, "echo conda", tmp_path) == (0, "conda\n")


def test_only_lines_with_conda_look_for_conda() -> None:
    assert shell.before("python train.py --env ~/miniconda3/x") == shell.before("my-conda x")
    assert shell.before("./conda x") == shell.before("true") != shell.before("conda x")
