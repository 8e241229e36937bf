"""Write a desk as an ssh host: into a file that ~/.ssh/config includes, for editors, and one for `ssh -F`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hotdesk.connect import ssh, ssh_options
from hotdesk.core.ports import Access
from hotdesk.system import write_atomically


def write_host(access: Access, state: Path) -> Path:
    """Write the desk as a host named by its alias; return the glob pattern of all such files."""
    folder = state / "ssh"
    folder.mkdir(mode=0o700, exist_ok=True)
    mine = ssh_options.included_lines(access, ssh.program("ssh"))
    write_atomically(folder / f"{access.desk}.conf", _host(access, mine))
    return folder / "*.conf"


def write_settings(access: Access) -> None:
    """Write the file that makes `ssh -F FILE ALIAS` reach the desk (`ssh.printed`): ours, then the user's."""
    theirs = "Match all\n    Include ~/.ssh/config\n    Include /etc/ssh/ssh_config\n"
    write_atomically(ssh.settings_file(access), _host(access, ssh_options.lines(access)) + theirs)


def _host(access: Access, lines: Sequence[str]) -> str:
    mine = [f"Port {access.port}", f"User {access.user}", *lines]
    return "".join(f"{line}\n" for line in [f"Host {access.alias}", *(f"    {line}" for line in mine)])


def refresh_host(access: Access, state: Path) -> None:
    """Rewrite the desk's host entries, where they exist: a resumed machine has another address."""
    write_settings(access)
    if (state / "ssh" / f"{access.desk}.conf").exists():
        write_host(access, state)


def forget_host(state: Path, desk: str) -> None:
    (state / "ssh" / f"{desk}.conf").unlink(missing_ok=True)


def include(config: Path, hosts: Path) -> bool:
    """Make ssh's settings include the hosts; return whether a line had to be added.

    The line goes first, because below a `Host` line it would apply to that host only. A link stays a link,
    and text that is not UTF-8 stays as it is.
    """
    if includes(config, hosts):
        return False
    config.parent.mkdir(mode=0o700, exist_ok=True)
    old = config.read_bytes() if config.exists() else b""
    write_atomically(config.resolve(), os.fsencode(f"{_line(hosts)}\n") + old)
    return True


def exclude(config: Path, hosts: Path) -> bool:
    """Remove that line again; return whether it was there."""
    if not includes(config, hosts):
        return False
    lines = config.read_bytes().splitlines(keepends=True)
    mine = os.fsencode(_line(hosts))
    write_atomically(config.resolve(), b"".join(line for line in lines if line.rstrip(b"\r\n") != mine))
    return True


def includes(config: Path, hosts: Path) -> bool:
    return config.exists() and os.fsencode(_line(hosts)) in config.read_bytes().splitlines()


def link(access: Access) -> str:
    """The address that opens the desk's home in VS Code."""
    home = "/" if access.home == "~" else access.home
    return f"vscode://vscode-remote/ssh-remote+{access.alias}{home}"


def _line(hosts: Path) -> str:
    return f'Include "{hosts}"'
