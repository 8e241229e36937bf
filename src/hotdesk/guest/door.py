"""Let one key in at this account for one purpose, for an hour at most, and shut it out again.

    python3 - open ID PUBLIC_KEY SECONDS < body of a shell script
    python3 - close ID

`open` prints a JSON document: how this machine is reached, and the host keys that it shows. The key may run
that script and nothing else: no terminal, no forwarding, no other command. Its line in authorized_keys has an
end by this machine's own clock, so that a difference of clocks makes no key last longer.

Runs at the machine, with the standard library only, for Python 3.8 and later.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import re
import subprocess
import sys
import time

MARK = "hotdesk-way:"
_SECONDS = 10.0


def _folder() -> str:
    return os.path.join(pwd.getpwuid(os.getuid()).pw_dir, ".ssh")


def _script(id_: str) -> str:
    return os.path.join(_folder(), "hotdesk-way-" + id_)


def _is_over(line: str, id_: str) -> bool:
    """Whether a line is of this way, or of one whose time is over."""
    found = re.search(re.escape(MARK) + r"([\w-]+):(\d+)\s*$", line)
    return found is not None and (found[1] == id_ or int(found[2]) < time.time())


def _rewrite(id_: str, more: str = "") -> None:
    """The owner's file without our old lines, and with this one; every other byte stays as it is."""
    folder = _folder()
    path = os.path.realpath(os.path.join(folder, "authorized_keys"))
    if not os.path.isdir(folder):
        if not more:
            return
        os.mkdir(folder, 0o700)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
                old = file.read()
            mode = os.stat(path).st_mode & 0o777
        except FileNotFoundError:
            old, mode = "", 0o600
        kept = [line for line in old.splitlines(True) if not _is_over(line, id_)]
        new = "".join(kept)
        if more:
            new += ("" if not new or new.endswith("\n") else "\n") + more + "\n"
        if new == old:
            return
        if not new:  # there was none before
            os.unlink(path)
            return
        beside = path + ".hotdesk-new"
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(new)
            os.fchmod(fd, mode)
            file.flush()
            os.fsync(fd)
        os.replace(beside, path)
    finally:
        os.close(lock)


def close(id_: str) -> None:
    _rewrite(id_)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_script(id_))


def open_(id_: str, public: str, seconds: float, body: str) -> dict[str, object]:
    until = time.time() + seconds
    for name in sorted(os.listdir(_folder())) if os.path.isdir(_folder()) else []:
        if name.startswith("hotdesk-way-"):  # of a way whose computer died
            path = os.path.join(_folder(), name)
            with contextlib.suppress(OSError):
                if os.stat(path).st_mtime < time.time() - seconds:
                    os.unlink(path)
    script = _script(id_)
    if not re.match(r"[\w./+-]+$", script):
        raise ValueError("the home folder's name cannot be written into authorized_keys: " + script)
    end = time.strftime("%Y%m%d%H%M%S", time.localtime(until))  # sshd reads it in its own zone
    options = f'restrict,expiry-time="{end}",command="sh {script}"'
    _rewrite(id_, f"{options} {public} {MARK}{id_}:{until:.0f}")
    fd = os.open(script, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(body)
    return {**reached(), "until": until}


def reached() -> dict[str, object]:
    """How sshd was reached here, and what it shows as its keys: asked of itself, over our own connection."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    host, port = (words[2], words[3]) if len(words) == 4 else ("", "22")
    keys = []
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        argv = ["ssh-keyscan", "-T", "5", "-p", port, host or "127.0.0.1"]
        said = subprocess.run(argv, capture_output=True, timeout=_SECONDS, check=False).stdout.decode()
        for line in said.splitlines():
            parts = line.split()
            if len(parts) >= 3 and not line.startswith("#"):
                keys.append(" ".join(parts[1:3]))
    own = []
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        argv = ["hostname", "-I"]
        own = subprocess.run(argv, capture_output=True, timeout=_SECONDS, check=False).stdout.decode().split()
    user = pwd.getpwuid(os.getuid()).pw_name
    return {"host": host, "port": int(port), "addresses": own, "keys": sorted(keys), "user": user}


def main(words: list[str]) -> int:
    os.umask(0o077)
    if words[0] == "close":
        close(words[1])
        return 0
    print(json.dumps(open_(words[1], words[2], float(words[3]), sys.stdin.read())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
