"""Talk to an ssh that runs in the background, over its control socket: no host is contacted.

The socket is named relative to its folder, which is the working directory: a socket's path must be short.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from hotdesk.connect import ssh

_SECONDS = 10.0


def over(folder: Path, socket: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ssh over the socket, without the user's settings; status 255 where nobody answers."""
    # Without a control socket ssh would connect by itself; ProxyCommand=false makes that fail.
    argv = [ssh.program("ssh"), "-F", "/dev/null", "-S", socket, "-o", "ProxyCommand=false", *words]
    try:
        return subprocess.run(
            argv,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, 255, "", "the tunnel's ssh does not answer")


def control(folder: Path, socket: str, word: str, *extra: str) -> subprocess.CompletedProcess[str]:
    """Send a control command: "check", "forward", "cancel" or "exit" (ssh(1), -O)."""
    return over(folder, socket, "-O", word, *extra, "desk")
