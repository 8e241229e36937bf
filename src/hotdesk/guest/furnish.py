"""Install the packages of a desk's environment, in their versions, into the Python of the machine it came to.

    python3 - < FURNISH   with ~/.hotdesk/environment.lock: lines "name==version  # sha256:CONTENT"

prints one JSON object: what was installed, and why what is missing is missing. A package that is there in
its version stays; a build of a version (+cpu) counts as that version: the index has the one that fits.
Then every package is imported once, what was installed is read back, and packages whose content is not that
in the list are named. Standard library only, for Python 3.8 and later: it runs at desks.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from typing import Any

from hotdesk.guest.content import altered, content

LOCK = os.path.join(os.path.expanduser("~"), ".hotdesk", "environment.lock")
_LINE = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.!_-]+)(?:\+[A-Za-z0-9.]+)?(?:  # sha256:([0-9a-f]{64}))?\Z"
)


def key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted(text: str) -> dict[str, str]:
    """Versions by name, of the lines that are names and versions and nothing else."""
    found = (_LINE.match(line.strip()) for line in text.splitlines())
    return {key(match.group(1)): match.group(2) for match in found if match}


def contents(text: str) -> dict[str, str]:
    """The digest of each package's content (guest/content.py) by name, where the list has one."""
    found = (_LINE.match(line.strip()) for line in text.splitlines())
    return {key(match.group(1)): match.group(3) for match in found if match and match.group(3)}


def installed() -> dict[str, str]:
    """What this Python has, without the marks of builds."""
    importlib.invalidate_caches()
    dists = importlib.metadata.distributions()
    return {key(d.metadata["Name"]): d.version.partition("+")[0] for d in dists if d.metadata["Name"]}


def install(lines: list[str]) -> str:
    """Install these; the last line of what pip complains of, "" if it does not.

    uv is quicker where it is there. It has settings of its own, so what it does not find, pip may.
    """
    uv = shutil.which("uv") if sys.prefix != sys.base_prefix else None
    by_uv = [uv or "", "pip", "install", "-q", "--no-deps", "--python", sys.executable]
    if uv and not _run(by_uv, lines, _index()):
        return ""
    words = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-input"]
    words.append("--disable-pip-version-check")
    if sys.prefix == sys.base_prefix:  # the system's own Python: what is the desk's goes to its home
        words.append("--user")
        if os.path.exists(os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")):
            words.append("--break-system-packages")
    return _run(words, lines, {})


def _run(words: list[str], lines: list[str], more: dict[str, str]) -> str:
    done = subprocess.run(
        words + lines,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ, **more),
    )
    said = [line for line in done.stderr.splitlines() if line.strip()]
    return "" if done.returncode == 0 else (said or ["pip gives no reason"])[-1]


def _index() -> dict[str, str]:
    """The index that pip is set to use, for uv: as variables, since everybody can list words of commands,
    and an address may have a password in it."""
    words = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    told = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    url = os.environ.get("PIP_INDEX_URL") or told.stdout.strip()
    return {"UV_DEFAULT_INDEX": url, "UV_INDEX_URL": url} if url else {}  # in new versions, and in old ones


def broken(names: list[str]) -> dict[str, str]:
    """Which of these distributions cannot be imported, and why; each in a process of its own."""
    found = {}
    for name in names:
        try:
            text = importlib.metadata.distribution(name).read_text("top_level.txt") or name.replace("-", "_")
        except importlib.metadata.PackageNotFoundError:
            continue
        tops = [top for top in text.split() if top.isidentifier() and not top.startswith("_")]
        if tops:
            words = [sys.executable, "-c", "import " + tops[0]]
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
            if done.returncode and "No module named '" + tops[0] + "'" not in done.stderr:
                found[name] = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
    return found


def furnish(text: str) -> dict[str, Any]:
    want, have = wanted(text), installed()
    todo = {name: version for name, version in want.items() if have.get(name) != version}
    failed: dict[str, str] = {}
    if todo and install([f"{name}=={version}" for name, version in todo.items()]):
        for name, version in todo.items():  # one that cannot be had must not keep the others away
            if why := install([f"{name}=={version}"]):
                failed[name] = why
    now = installed()
    for name, version in todo.items():
        if name not in failed and now.get(name) != version:
            failed[name] = f"it is {now.get(name, 'missing')} after the installation"
    done = sorted(name for name in todo if name not in failed)
    bad, other, known = broken(sorted(want.keys() - failed.keys())), [], contents(text)
    for name in sorted(want.keys() - failed.keys()):
        try:
            dist = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if name in todo and name not in bad and (why := altered(dist)):
            bad[name] = why
        if name in known and content(dist) not in ("", known[name]):
            other.append(name)
    return {"installed": done, "failed": failed, "broken": bad, "other": other}


if __name__ == "__main__":
    with open(LOCK, encoding="utf-8") as lock:
        print(json.dumps(furnish(lock.read())))
