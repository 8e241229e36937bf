"""Lines of shell for a desk, which mean the same at every desk: bash runs them, as a login shell."""

from __future__ import annotations

import re
import shlex

# The file that puts the desk's environment in front, whatever the person's own start files did to PATH. A
# local desk names its own (providers/local/runtime/environment.py), a rented one has it where all login
# shells look (guest/cloud_init.py).
_START = '[ -r "${HOTDESK_START:=/etc/profile.d/hotdesk.sh}" ] && . "$HOTDESK_START"\n'
# `conda init` writes a function into ~/.bashrc, which most systems leave at once in a shell without a
# terminal (Ubuntu's own first lines do), or into ~/.zshrc, which bash does not read. Marks stand around it.
_PRINTED = (
    'for f in .bashrc .zshrc; do sed -n "'
    r"/^# >>> \(conda\|mamba\) initialize >>>/,/^# <<< \(conda\|mamba\) initialize <<</p"
    '" ~/$f 2>/dev/null | sed s/zsh/bash/g | grep . && break; done'
)
_CONDA = f"type conda 2>/dev/null | grep -q function || eval \"$(sh -c '{_PRINTED}')\"\n"
# What start files say (Ubuntu's complain of a locale that the machine lacks) is not what the command says.
_BY_BASH = """exec sh -c 'exec "$(command -v bash || command -v sh)" -lc "$0" 3>&1 1>&2'"""
_SPEAK, _TOLD = "exec 1>&3 3>&-\n", "\n\nexit"
_WORD = re.compile(r"(?<![\w./-])(conda|mamba)(?![\w./-])")


def before(line: str) -> str:
    """What must come before a line for it to mean what it means in a terminal at the desk.

    Its `python` and `pip` are the desk's, and `conda activate` works.
    """
    return _START + (_CONDA if _WORD.search(line) else "")


def told(line: str) -> str:
    """The line for any login shell: bash runs it as `hotdesk run` does, and tells its status.

    Also where a signal ended the command: as 128 + n. A shell that has nothing left to do becomes its last
    command, and ssh says 255 of what a signal ends: the same as of a lost connection.
    """
    return f"{_BY_BASH} {shlex.quote(_SPEAK + before(line) + line + _TOLD)}"


def rescued(line: str) -> str:
    """The line, or a shell where it is empty, without any of the person's own start files."""
    words = ["bash", "--norc", "--noprofile", *(["-c", _START + line + _TOLD] if line else [])]
    return f"exec {shlex.join(words)}"
