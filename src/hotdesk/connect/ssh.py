"""Command lines for the computer's own ssh and rsync, and one way to run them.

The user's ssh configuration, agent and jump hosts keep working; added to them are the desk's own key and
its one known host key, under an alias, so that a changed address is harmless and a changed key is not.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence

from hotdesk.core.errors import Missing, Unknown, Unreachable
from hotdesk.core.ports import Access

#: At the desk: tmux where there is tmux, so that work survives a dropped connection; else a login shell.
_TERMINAL = (
    'command -v tmux >/dev/null 2>&1 && exec tmux new-session -A -s desk || exec "${SHELL:-/bin/sh}" -l'
)


_NO_CONNECTION = {10, 12, 30, 35, 255}  # exit statuses, of rsync(1) and ssh(1)
_NO_SPACE = 11


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
    """What ssh, scp, sftp and `rsync -e` need to know to reach exactly this desk."""
    settings = {
        "IdentityFile": _quoted(access.key_path),
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": _quoted(access.known_hosts_path),
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": access.alias,
        "StrictHostKeyChecking": "yes",
        "CheckHostIP": "no",
        "ServerAliveInterval": "15",
        "LogLevel": "ERROR",
    }
    return [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]


def ssh(access: Access, *extra: str) -> list[str]:
    """An ssh command line up to and including the destination."""
    user_at = f"{access.user}@{access.host}"
    return [program("ssh"), *options(access), "-p", str(access.port), *extra, user_at]


def terminal(access: Access) -> list[str]:
    """A terminal at the desk that survives a lost connection."""
    return [*ssh(access, "-t"), _TERMINAL]


def command(access: Access, words: Sequence[str], *, tty: bool = False) -> list[str]:
    """One command at the desk. A single word is a shell line; several are taken to the letter."""
    line = words[0] if len(words) == 1 else shlex.join(words)
    return [*ssh(access, *(["-t"] if tty else [])), "--", line]


def copy(access: Access, sources: Sequence[str], target: str, *, push: bool, progress: bool) -> list[str]:
    """rsync where this computer has it, else scp; a remote path is relative to the desk's home."""
    at = f"{access.user}@{access.host}"
    host = f"[{at.partition('@')[2]}]" if ":" in access.host else access.host
    remote = f"{access.user}@{host}:"
    marked = [s if push else remote + s for s in sources]
    goal = remote + target if push else target
    if shutil.which("rsync"):
        shell = shlex.join([program("ssh"), *options(access), "-p", str(access.port)])
        shown = ["--info=progress2"] if progress and _rsync_has_progress2() else []
        # -s: names with blanks or wildcards arrive as they are, unseen by the desk's shell
        return ["rsync", "-a", "-z", "-s", "--partial", *shown, "-e", shell, "--", *marked, goal]
    return [program("scp"), "-r", "-p", *options(access), "-P", str(access.port), "--", *marked, goal]


def make_folder(access: Access, folder: str) -> None:
    """Make a folder at the desk, in its home. Raises `Unreachable` when it cannot be made."""
    words = command(access, ["mkdir", "-p", "--", folder])
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unreachable(
            f"The folder {folder} could not be made at {access.desk}.",
            (done.stderr.strip().splitlines() or ["ssh gives no reason."])[-1],
            f"hotdesk doctor {access.desk}",
        )


def copied(status: int, desk: str) -> None:
    """Raise, unless a copy went well: rsync's and scp's own words are on the terminal already."""
    if status == 0:
        return
    why = (
        f"The reason stands above; what was copied is whole, and the same command goes on (status {status})."
    )
    what = f"Not everything was copied ({desk})."
    if status in _NO_CONNECTION:
        raise Unreachable(what, why, f"hotdesk doctor {desk}")
    if status == _NO_SPACE:
        raise Missing(what, why, "df -h . && " + f"hotdesk ssh {desk} -- df -h .")
    raise Unknown(what, why, f"hotdesk ssh {desk} -- ls -la")


def run(argv: Sequence[str]) -> int:
    """Run a command in the foreground with our terminal; its exit status (128 + n for signal n)."""
    status = subprocess.run(argv, check=False).returncode
    return 128 - status if status < 0 else status


def tunnel(access: Access, here: int) -> list[str]:
    """An ssh in the background that makes the desk's Jupyter answer on our own loopback."""
    forward = f"127.0.0.1:{here}:127.0.0.1:{access.notebook_port}"
    return ssh(access, "-f", "-N", "-o", "ExitOnForwardFailure=yes", "-L", forward)


def _rsync_has_progress2() -> bool:
    said = subprocess.run(["rsync", "--version"], capture_output=True, text=True, check=False).stdout
    version = said.partition("version ")[2].split(".", 2)[:2]
    return [int(part) for part in version if part.isdigit()] >= [3, 1]


def _quoted(path: str) -> str:
    """A path as an ssh option: ssh splits options at blanks, and expands %."""
    escaped = path.replace("%", "%%")
    return f'"{escaped}"' if any(c.isspace() for c in escaped) else escaped


def is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()
