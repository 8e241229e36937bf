"""What this computer must have for real machines; each thing is tried, not guessed from versions."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.rig import cgroups
from tests.rig.commands import attempt, run

PROGRAMS = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "nft": "nftables",
    "mount": "mount",
    "setpriv": "util-linux",
}


def lacking() -> str:
    """Why real machines cannot run here, as a sentence; "" when they can."""
    if sys.platform != "linux":
        return "real machines need Linux"
    if os.geteuid() != 0:
        return "real machines need root: overlays, network namespaces and systemd-nspawn"
    packages = sorted(p for program, p in PROGRAMS.items() if shutil.which(program) is None)
    if packages:
        return f"programs are missing: apt-get install {' '.join(packages)}"
    if not Path("/etc/apt").is_dir():
        return "the base image is made with apt, and this computer has none"
    return _overlay() or _network() or cgroups.lacking()


def unreachable() -> str:
    """Why no packages can be had from here, as a sentence; "" when they can: each index is really asked."""
    with tempfile.TemporaryDirectory(prefix="hotdesk-try-") as folder:
        lists = [f"-oDir::State::lists={folder}/lists", f"-oDir::Cache={folder}/cache"]
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-cache-dir", "-d", folder]
        asked = {
            "Debian packages": ["apt-get", "-qq", *lists, "-oAcquire::Retries=0", "update"],
            "Python packages": [*pip, "--retries", "0", "tabulate"],
        }
        (Path(folder) / "lists" / "partial").mkdir(parents=True)
        (Path(folder) / "cache" / "archives" / "partial").mkdir(parents=True)
        running = {
            what: subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            for what, argv in asked.items()
        }
        why = ""
        for what, process in running.items():
            try:
                said = process.communicate(timeout=120)[0].strip().splitlines()
                if process.returncode or any(line.startswith(("E:", "W: Failed")) for line in said):
                    why = (
                        why
                        or f"the index of {what} cannot be read: {said[-1] if said else 'no reason given'}"
                    )
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                why = why or f"the index of {what} does not answer"
    return why


@contextlib.contextmanager
def turn() -> Iterator[None]:
    """One test on real machines at a time on this computer, however many processes test."""
    path = Path(tempfile.gettempdir()) / "hotdesk-rig.turn"
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _overlay() -> str:
    with tempfile.TemporaryDirectory(prefix="hotdesk-try-") as folder:
        parts = {name: Path(folder) / name for name in ("lower", "upper", "work", "root")}
        for part in parts.values():
            part.mkdir()
        where = f"lowerdir={parts['lower']},upperdir={parts['upper']},workdir={parts['work']}"
        try:
            run("mount", "-t", "overlay", "overlay", "-o", where, str(parts["root"]))
        except RuntimeError as error:
            return f"an overlay cannot be mounted here ({error})"
        run("umount", str(parts["root"]))
    return ""


def _network() -> str:
    name = f"hdtry{os.getpid()}"
    try:
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "add", "try0", "type", "bridge")
        run("ip", "-n", name, "link", "add", "try1", "type", "veth", "peer", "name", "try2")
        rule = "table ip t {\n chain c {\n  type nat hook postrouting priority 100;\n  masquerade;\n }\n}\n"
        run("ip", "netns", "exec", name, "nft", "-f", "-", given=rule)
    except RuntimeError as error:
        return f"this kernel lacks a part of networking ({error})"
    finally:
        attempt("ip", "netns", "del", name)
    return ""
