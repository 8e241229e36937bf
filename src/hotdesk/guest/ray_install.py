"""A Python with the pinned Ray on this machine: the desk's own where it has that Ray, else one beside it.

What is missing is installed from a lock: exact versions, each file by its hash. It is made once and kept,
and goes into every later image of the desk.

The standard library only, for Python 3.8 and later: it runs at desks.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from typing import Any

_ASK = "import importlib.metadata as m, sys; print('%d.%d.%d' % sys.version_info[:3], m.version('ray'))"


def find(lock: str, environment: dict[str, str]) -> dict[str, Any]:
    """{"python": its path, "version": of it, "ray": its version}, or {"why": why there is none}.

    `lock`: the text of a requirements file with hashes, in which ray is pinned. `environment`: of a login.
    """
    wanted = next(line.split("==")[1].split()[0] for line in lock.splitlines() if line.startswith("ray=="))
    own = shutil.which("python3", path=environment.get("PATH", os.defpath)) or sys.executable
    if (told := _told(own, environment)) and told["ray"] == wanted:
        return told
    folder = os.path.expanduser("~/.hotdesk/ray-" + wanted)
    os.makedirs(os.path.dirname(folder), mode=0o700, exist_ok=True)
    with open(folder + ".lock", "w", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        made = os.path.join(folder, "bin", "python")
        if (told := _told(made, environment)) and told["ray"] == wanted:
            return told
        why = _make(own, folder, lock, environment)
        told = _told(made, environment)
        if told and told["ray"] == wanted:
            return told
        shutil.rmtree(folder, ignore_errors=True)
        return {"why": why or "it was installed, and is not there"}


def _told(python: str, environment: dict[str, str]) -> dict[str, Any] | None:
    done = subprocess.run(
        [python, "-c", _ASK], env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
    ) if os.path.exists(python) else None  # fmt: skip
    if done is None or done.returncode != 0:
        return None
    version, ray = done.stdout.decode().split()
    return {"python": python, "version": version, "ray": ray}


def _make(own: str, folder: str, lock: str, environment: dict[str, str]) -> str:
    """Make the environment; why it could not be made, or ""."""
    shutil.rmtree(folder, ignore_errors=True)
    pip = [os.path.join(folder, "bin", "python"), "-m", "pip", "install", "--quiet", "--no-input"]
    pip += ["--disable-pip-version-check", "--require-hashes", "--only-binary=:all:", "--no-compile", "-r"]
    for argv in ([own, "-m", "venv", folder], [*pip, folder + "/ray.lock"]):
        if argv[0] != own:
            with open(folder + "/ray.lock", "w", encoding="utf-8") as file:
                file.write(lock)
        done = subprocess.run(
            argv, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
            if any("No matching distribution" in line for line in lines):
                version = ".".join(map(str, sys.version_info[:2]))
                return f"there is no Ray for the Python {version} of this image"
            return lines[-1] if lines else f"{argv[2]} ended with {done.returncode}"
    return ""
