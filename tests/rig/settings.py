"""This computer's package indexes, certificates and resolver, lent to machines while they run.

They are bound into a machine read-only and are no part of its disk, so no image ever holds them; nor is
anything of them written below the project. The one file that is made (pip's settings, which may come from
several places here) lies in the rig's own temporary folder.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

_APT = ("sources.list", "sources.list.d", "auth.conf.d", "trusted.gpg.d", "keyrings")
_PATH = re.compile(r"(?:file://)?(/[^\s'\",]+)")
_RESOLVERS = ("/run/systemd/resolve/resolv.conf", "/etc/resolv.conf")  # the first knows what a stub hides


def sources() -> list[str]:
    """The files that say where this computer's packages come from."""
    apt = Path("/etc/apt")
    listed = [apt / "sources.list", *sorted(apt.glob("sources.list.d/*"))]
    return [str(p) for p in listed if p.suffix in {".list", ".sources"} and p.is_file()]


def apt_options() -> list[Path]:
    """Files with settings of how packages are fetched: proxies, checks, time-outs."""
    folder = Path("/etc/apt/apt.conf.d")
    return [p for p in sorted(folder.glob("*")) if p.is_file() and "Acquire::" in p.read_text("utf-8")]


def loans(folder: Path) -> list[str]:
    """What is bound into every machine, as `path here:path there`."""
    lent = {f"/etc/apt/{name}": f"/etc/apt/{name}" for name in _APT}
    lent["/usr/share/keyrings"] = "/usr/share/keyrings"
    lent |= {str(p): f"/etc/apt/apt.conf.d/90-{p.name}" for p in apt_options()}
    lent[next((p for p in _RESOLVERS if Path(p).exists()), _RESOLVERS[1])] = "/etc/resolv.conf"
    pip = pip_settings()
    made = folder / "pip.conf"
    text = ""
    for section in sorted({s for s, _ in pip}):
        text += f"[{section}]\n" + "".join(f"{k} = {v}\n" for (s, k), v in pip.items() if s == section)
    made.write_text(text)
    lent[str(made)] = "/etc/pip.conf"
    for value in pip.values():
        for path in _PATH.findall(value):
            if "://" not in value.replace("file://", "") and Path(path).exists():
                top = re.sub(r"/simple/?$", "", path)  # an index refers to files beside it
                lent[top] = top
    return [f"{here}:{there}" for here, there in lent.items() if Path(here).exists()]


def pip_settings() -> dict[tuple[str, str], str]:
    """What pip here would use, the environment's word before the files'."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found: dict[tuple[str, str], str] = {}
    for line in listed.stdout.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        text = str(ast.literal_eval(value)) if value[:1] in "'\"" else value
        section = "global" if section in {"", ":env:"} else section
        found[section, key] = " ".join(text.split())
    return found
