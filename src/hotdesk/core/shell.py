"""Shell lines that behave the same on every desk: bash runs them, as a login shell."""

from __future__ import annotations

import re
import shlex

# The file that puts the desk's environment first in PATH, whatever the user's own start files did to it. A
# local desk names its own (providers/local/runtime/environment.py), a rented one has it where all login
# shells look (guest/cloud_init.py).
_START = '[ -r "${HOTDESK_START:=/etc/profile.d/hotdesk.sh}" ] && . "$HOTDESK_START"\n'
# `conda init` writes a function into ~/.bashrc, which on most systems returns at once in a shell without a
# terminal (Ubuntu's first lines do), or into ~/.zshrc, which bash does not read. Markers enclose it.
_PRINTED = (
    'for f in .bashrc .zshrc; do sed -n "'
    r"/^# >>> \(conda\|mamba\) initialize >>>/,/^# <<< \(conda\|mamba\) initialize <<</p"
    '" ~/$f 2>/dev/null | sed s/zsh/bash/g | grep . && break; done'
)
_CONDA = f"type conda 2>/dev/null | grep -q function || eval \"$(sh -c '{_PRINTED}')\"\n"
# Output of start files (Ubuntu's warn of a missing locale) goes to stderr: it is not the command's output.
_BY_BASH = """exec sh -c 'exec "$(command -v bash || command -v sh)" -lc "$0" 3>&1 1>&2'"""
_SPEAK, _TOLD = "exec 1>&3 3>&-\n", "\n\nexit"
_WORD = re.compile(r"(?<![\w./-])(conda|mamba)(?![\w./-])")


def before(line: str) -> str:
    """The prefix that makes a line behave as in a terminal on the desk.

    Its `python` and `pip` are the desk's, and `conda activate` works.
    """
    return _START + (_CONDA if _WORD.search(line) else "")


def told(line: str) -> str:
    """The line for any login shell: bash runs it as `hotdesk run` does, and reports its status.

    A command that a signal ended reports 128 + n. (A shell execs its last command, and ssh reports 255 for
    what a signal ended: the same as for a lost connection.)
    """
    return f"{_BY_BASH} {shlex.quote(_SPEAK + before(line) + line + _TOLD)}"


def rescued(line: str) -> str:
    """The line, or an interactive shell if it is empty, without any of the user's own start files."""
    words = ["bash", "--norc", "--noprofile", *(["-c", _START + line + _TOLD] if line else [])]
    return f"exec {shlex.join(words)}"
