"""Lines for the login shell of a desk's owner, whichever that is: bash, zsh, dash or fish."""

from __future__ import annotations

import re

# `conda init` writes a function into ~/.bashrc, which most systems leave at once in a shell without a
# terminal (Ubuntu's own first lines do), or into ~/.zshrc, which is not read then. They stand between marks.
_PRINTED = (
    '[ -n "$1$2" ] || exit 0; [ -n "$2" ] && f=.zshrc || f=.bashrc; sed -n "'
    r"/^# >>> \(conda\|mamba\) initialize >>>/,/^# <<< \(conda\|mamba\) initialize <<</p"
    '" ~/$f 2>/dev/null'
)
_CONDA = (
    "type conda 2>/dev/null | grep -q function || "
    f'eval "$(sh -c \'{_PRINTED}\' sh "$BASH_VERSION" "$ZSH_VERSION")"\n'
)
_WORD = re.compile(r"(?<![\w./-])(conda|mamba)(?![\w./-])")


def before(line: str) -> str:
    """What must come before a line for it to mean what it means in a terminal: `conda activate` works."""
    return _CONDA if _WORD.search(line) else ""


def told(line: str) -> str:
    """The line, its status told by the shell also where a signal ended the command: as 128 + n.

    A shell that has nothing left to do becomes its last command, and ssh says 255 of what a signal ends: the
    same as of a lost connection.
    """
    return f"{before(line)}{line}\n\nexit"
