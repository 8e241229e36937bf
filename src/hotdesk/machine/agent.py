#!/usr/bin/env python3
"""The agent on a rented machine: one file, the standard library only, run by systemd as root.

agent.py run        watch for an interruption; what is seen is in /run/hotdesk/state.json
agent.py ready      exit 0 when cloud-init has finished and Jupyter answers; else say what is missing
agent.py manifest   write down what the user's files are; done whenever the machine shuts down
agent.py compare    what has changed since the manifest was written; done when a desk is resumed
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import pwd
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

RUN = os.environ.get("HOTDESK_RUN", "/run/hotdesk")
LIB = os.environ.get("HOTDESK_LIB", "/var/lib/hotdesk")
IMDS = os.environ.get("HOTDESK_IMDS", "http://169.254.169.254")
JUPYTER = os.environ.get("HOTDESK_JUPYTER", "http://127.0.0.1:8888/api")
POLL_SECONDS = 5.0
MANIFEST_SECONDS = 30.0  # a shutdown must not wait longer for it
FILES_MAX = 2_000_000
#: What programs write by themselves while nobody works, and nobody misses.
IDLE_WRITES = (
    "/.cache/",
    "/.local/share/jupyter/",
    "/.jupyter/lab/",
    "/.ipython/profile_default/",
    "/.local/share/Trash/",
    "/.ssh/authorized_keys",  # cloud-init writes it anew for every new instance
)


class Metadata:
    """The instance metadata service, version 2: every question carries a token."""

    def __init__(self, url: str = IMDS) -> None:
        self.url = url
        self._token = ""

    def get(self, path: str) -> str | None:
        """The answer, or None when there is none (404). Raises OSError when the service is silent."""
        for _ in range(2):
            if not self._token:
                self._token = (
                    self._ask("PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "21600"})
                    or ""
                )
            try:
                return self._ask(
                    "GET", f"/latest/meta-data/{path}", {"X-aws-ec2-metadata-token": self._token}
                )
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    return None
                if error.code != 401:
                    raise
                self._token = ""  # it has run out
        return None

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> str:
        request = urllib.request.Request(self.url + path, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=2) as answer:
            text: str = answer.read().decode("utf-8", "replace")
            return text


def missing() -> list[str]:
    """What the desk still lacks to be of use; empty when it is ready."""
    lacks = []
    done = subprocess.run(["cloud-init", "status"], capture_output=True, text=True, check=False)
    if (
        "status: done" not in done.stdout
        and "status: error" not in done.stdout
        and "degraded" not in done.stdout
    ):
        lacks.append("cloud-init has not finished")
    try:
        with urllib.request.urlopen(JUPYTER, timeout=2):
            pass
    except urllib.error.HTTPError:
        pass  # it answers, even if only to ask who we are
    except OSError:
        lacks.append("Jupyter does not answer yet")
    return lacks


# ---- what was on the desk ----------------------------------------------------------------------------


def homes() -> list[str]:
    """The folders where people keep their work."""
    return sorted({p.pw_dir for p in pwd.getpwall() if 1000 <= p.pw_uid < 60000 and os.path.isdir(p.pw_dir)})


def manifest(folders: list[str], limit_seconds: float = MANIFEST_SECONDS) -> dict[str, Any]:
    """Per folder below each home: how many files, how many bytes, and a digest of names, sizes and times.

    Contents are not read: it has to be quick at a shutdown. `whole` is false when the time ran out.
    """
    until, whole, parts = time.monotonic() + limit_seconds, True, {}
    for home in folders:
        for name in sorted(os.listdir(home)):
            top = os.path.join(home, name)
            count, size, digest = 0, 0, hashlib.sha256()
            for path, stat in sorted(_files(top, until)):
                if any(idle in path for idle in IDLE_WRITES):
                    continue
                count, size = count + 1, size + stat.st_size
                digest.update(
                    f"{os.path.relpath(path, home)}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode(
                        "utf-8", "surrogateescape"
                    )
                )
            parts[top] = {"files": count, "bytes": size, "digest": digest.hexdigest()[:16]}
        whole = whole and time.monotonic() < until
    return {"whole": whole, "parts": parts}


def _files(top: str, until: float) -> Any:
    if os.path.islink(top) or not os.path.isdir(top):
        with contextlib.suppress(OSError):
            yield top, os.lstat(top)
        return
    seen = 0
    for folder, _, names in os.walk(top):
        for name in names:
            seen += 1
            if seen > FILES_MAX or time.monotonic() > until:
                return
            with contextlib.suppress(OSError):
                path = os.path.join(folder, name)
                yield path, os.lstat(path)


def compare(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """What two manifests tell apart: folders that are missing, changed or new."""
    old, new = before.get("parts", {}), now.get("parts", {})
    return {
        "same": old == new,
        "whole": bool(before.get("whole")) and bool(now.get("whole")),
        "missing": sorted(set(old) - set(new)),
        "changed": sorted(path for path in set(old) & set(new) if old[path] != new[path]),
        "new": sorted(set(new) - set(old)),
    }


def _write(path: str, value: Any) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "w") as file:
        json.dump(value, file, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)


def _read(path: str) -> Any:
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


# ---- watching ----------------------------------------------------------------------------------------


def notice(metadata: Metadata) -> dict[str, Any] | None:
    """AWS's warning that it will take a spot machine back, about two minutes ahead; None without one."""
    told = metadata.get("spot/instance-action")
    return json.loads(told) if told else None


def ask_for_checkpoints() -> None:
    """Every job that runs is told, by its own user's runner, to write a checkpoint now."""
    for user in pwd.getpwall():
        for runner in glob.glob(f"{user.pw_dir}/.hotdesk/runner-*.py") if 1000 <= user.pw_uid < 60000 else ():
            words = ["runuser", "-u", user.pw_name, "--", "env", f"HOME={user.pw_dir}", "python3", runner]
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run([*words, "notice"], check=False, timeout=10)


def run() -> None:
    """Look every few seconds until told to stop."""
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))
    metadata, warned = Metadata(), False
    while not stop:
        state: dict[str, Any] = {"at": time.time(), "missing": missing(), "notice": None}
        with contextlib.suppress(OSError, ValueError):
            state["notice"] = notice(metadata)
        _write(f"{RUN}/state.json", state)
        if state["notice"] and not warned:
            warned = True
            text = (
                f"AWS takes this machine back at {state['notice'].get('time')}. Its disk stays, and is saved."
            )
            subprocess.run(["wall", text], check=False)
            ask_for_checkpoints()
            os.sync()
        for _ in range(int(POLL_SECONDS * 5)):
            if stop:
                return
            time.sleep(0.2)


def main(words: list[str]) -> int:
    match words:
        case ["run"]:
            run()
        case ["ready"]:
            lacks = missing()
            print(
                json.dumps({"ready": not lacks, "missing": lacks, "compared": _read(f"{RUN}/compared.json")})
            )
            return 1 if lacks else 0
        case ["manifest"]:
            _write(f"{LIB}/manifest.json", manifest(homes()))
            os.sync()
        case ["compare"]:
            before = _read(f"{LIB}/manifest.json")
            print(json.dumps(compare(before, manifest(homes())) if before else {"same": None}))
        case _:
            print(__doc__)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
