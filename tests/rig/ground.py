"""What this computer must have for real machines; each thing is tried, not guessed from versions."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
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
