"""Command lines for the computer's own ssh, and a function to run them.

The user's agent and jump hosts keep working; the options that decide which desk is reached, and what happens
there, come before their settings (`ssh_options`). The host key is pinned under the desk's alias, so a changed
address is accepted and a changed key is refused.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hotdesk.connect import ssh_options
from hotdesk.connect.ssh_options import Use
from hotdesk.core.errors import Missing, Unreachable
from hotdesk.core.ports import Access

#: At the desk: tmux where there is tmux, so that work survives a dropped connection; else a login shell.
_TERMINAL = (
    'command -v tmux >/dev/null 2>&1 && exec tmux new-session -A -s desk || exec "${SHELL:-/bin/sh}" -l'
)


def program(name: str) -> str:
    """The path of a program that this computer must have. Raises `Missing` with how to install it."""
    if found := shutil.which(name):
        return found
    package = "openssh-client" if name.startswith(("ssh", "scp", "sftp")) else name
    raise Missing(
        f"This computer has no {name}.",
        "hotdesk connects to desks with the computer's own ssh programs.",
        f"brew install {name}" if sys.platform == "darwin" else f"sudo apt-get install {package}",
    )


def options(access: Access) -> list[str]:
    """ssh options for `rsync -e` that reach exactly this desk (`ssh_options`), without the port.

    Not for scp and sftp: ssh accepts no -s after a SessionType, which must be pinned against the user's own.
    """
    return ssh_options.words(access, Use.COPY)


def ssh(access: Access, *extra: str, use: Use, changed: Mapping[str, str] | None = None) -> list[str]:
    """An ssh command line up to and including the destination."""
    user_at = f"{access.user}@{access.host}"
    return [program("ssh"), *ssh_options.words(access, use, changed), "-p", str(access.port), *extra, user_at]


def terminal(access: Access) -> list[str]:
    """A terminal at the desk that survives a lost connection."""
    return [*ssh(access, use=Use.SESSION, changed={"RequestTTY": "yes"}), _TERMINAL]


def shell(access: Access) -> list[str]:
    """A login shell at the desk; in a terminal where we are in one."""
    return ssh(access, use=Use.SESSION)


def command(access: Access, words: Sequence[str], *, tty: bool = False) -> list[str]:
    """A person's command at the desk. A single word is a shell line; several are quoted literally."""
    line = words[0] if len(words) == 1 else shlex.join(words)
    return [*ssh(access, use=Use.SESSION, changed={"RequestTTY": "yes" if tty else "no"}), "--", line]


def question(access: Access, line: str) -> list[str]:
    """hotdesk's own shell line at the desk: never prompts, and takes at most ten seconds to connect."""
    return [*ssh(access, use=Use.QUESTION), "--", line]


def proof(access: Access, *words: str, line: str = "") -> list[str]:
    """The same by a login of its own, which proves that there can be one now."""
    argv = ssh(access, *words, use=Use.QUESTION, changed={"ControlPath": "none"})
    return [*argv, "--", line] if line else argv


def printed(access: Access) -> list[str]:
    """An ssh command line for a person to copy and extend.

    Short if the desk's settings file describes this machine (`editor.write_settings`), else with all options.
    """
    file = settings_file(access)
    with contextlib.suppress(OSError):
        said = [line.strip() for line in file.read_text("utf-8").splitlines()]
        if {f"Port {access.port}", f"HostName {access.host}"} <= set(said):
            return ["ssh", "-F", str(file), access.alias]
    return ssh(access, use=Use.PRINTED)


def settings_file(access: Access) -> Path:
    """The path of a desk's own ssh settings, beside its key."""
    return Path(access.key_path).with_name("ssh_config")


def make_folder(access: Access, folder: str) -> None:
    """Make a folder at the desk, in its home. Raises `Unreachable` when it cannot be made."""
    words = question(access, shlex.join(["mkdir", "-p", "--", folder]))
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        raise Unreachable(
            f"The folder {folder} could not be made at {access.desk}.",
            (done.stderr.strip().splitlines() or ["ssh gives no reason."])[-1],
            f"hotdesk doctor {access.desk}",
        )


def run(argv: Sequence[str]) -> int:
    """Run a command in the foreground with our terminal; its exit status (128 + n for signal n)."""
    status = subprocess.run(argv, check=False).returncode
    return 128 - status if status < 0 else status


def is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()
