"""Make a desk's own Python environment, in milliseconds and without a network.

A desk needs `pip` to install packages and `ipykernel` for notebooks. Both are, with their requirements, in
hotdesk's own environment, which serves the notebook anyway. They are not copied (ten thousand small files to
make, save, restore and delete with every desk) but linked: a folder of links, the *kit*, is renewed at each
start and comes last on the desk's path. What is installed or upgraded at the desk goes into its own
environment, comes first, and is part of its images; pip neither changes nor removes what is in the kit.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from hotdesk.core.errors import Kind, Refused
from hotdesk.providers.local.runtime import relocation

ROOTS = ("pip", "ipykernel")
_PTH = "hotdesk-kit.pth"


def make(env: Path, kit: Path) -> str:
    """Make the environment, if there is none or only an unfinished one, and renew the kit.

    An environment that the owner made stays as it is. Returns what is wrong with it, or "". Raises `Refused`.
    """
    unfinished = env.with_name(env.name + ".unfinished")
    if not env.is_dir() or unfinished.exists():
        unfinished.touch()
        shutil.rmtree(env, ignore_errors=True)
        import venv

        # Link the interpreter: a copy would look for its library beside itself.
        venv.EnvBuilder(with_pip=False, symlinks=True, prompt=env.parent.name).create(env)
        unfinished.unlink()
    trouble = _mend(env)
    lent = closure(["pip"] if trouble else ROOTS).values()
    _link(kit, lent)
    # For all: pip does not install again what the kit has, and `jupyter` is a command of one of those.
    for dist in lent:
        _write_commands(dist, env)
    for site in env.glob("lib/python3*/site-packages"):
        (site / _PTH).write_text(f"{kit}\n", "utf-8")
    return trouble


def _mend(env: Path) -> str:
    """Repair links to a missing interpreter; return why hotdesk's packages do not fit it, or ""."""
    ours, theirs = relocation.version(), relocation.version(env / "pyvenv.cfg")
    if theirs != ours:
        return (
            f"this desk's environment uses Python {theirs}, and hotdesk uses {ours}; "
            "for notebooks, run at the desk: pip install ipykernel"
        )
    if not (env / "bin" / "python").exists():  # the system's Python has moved
        base = Path(getattr(sys, "_base_executable", sys.executable))
        for name in ("python", "python3", f"python{ours}"):
            (env / "bin" / name).unlink(missing_ok=True)
            (env / "bin" / name).symlink_to(base)
    return ""


def closure(roots: Iterable[str]) -> dict[str, importlib.metadata.Distribution]:
    """The named distributions and their installed requirements, by normalized name. Raises `Refused`."""
    from packaging.requirements import Requirement

    found: dict[str, importlib.metadata.Distribution] = {}
    todo = wanted = list(roots)
    while todo:
        name, *todo = todo
        name = re.sub(r"[-_.]+", "-", name).lower()
        if name in found:
            continue
        try:
            dist = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            if name in wanted:
                raise Refused(
                    Kind.BAD_REQUEST,
                    f"{name} is not installed beside hotdesk, and a local desk needs it",
                    fix=f"{sys.executable} -m pip install {name}",
                ) from None
            continue
        found[name] = dist
        needs = [Requirement(line) for line in dist.requires or ()]
        todo += [n.name for n in needs if n.marker is None or n.marker.evaluate({"extra": ""})]
    return found


def installed(env: Path, name: str) -> str:
    """A distribution's version in the environment itself, not in the kit; "" if it is not installed."""
    found = [p.name for p in env.glob(f"lib/python3*/site-packages/{name}-*.dist-info")]
    return found[0].removeprefix(f"{name}-").removesuffix(".dist-info") if found else ""


def _link(kit: Path, dists: Iterable[importlib.metadata.Distribution]) -> None:
    """Make a folder of links to exactly the files of these distributions."""
    shutil.rmtree(kit, ignore_errors=True)
    kit.mkdir(mode=0o700)
    for dist in dists:
        for top in _tops(dist):
            link = kit / top.name
            if not link.is_symlink() and top.exists():
                link.symlink_to(top)


def _tops(dist: importlib.metadata.Distribution) -> Iterator[Path]:
    """The files and folders, directly below site-packages, that hold a distribution."""
    base = Path(str(dist.locate_file("")))
    first = {line.split("/")[0] for line in recorded(dist)}
    yield from (base / name for name in sorted(first - {"..", "__pycache__", ""}))


def recorded(dist: importlib.metadata.Distribution) -> list[str]:
    # `dist.files` makes ten thousand objects of the same, which takes longer than everything else here.
    text = dist.read_text("RECORD")
    if text is None:
        return [str(file) for file in dist.files or ()]
    return [line.partition(",")[0].lstrip('"') for line in text.splitlines()]


def _write_commands(dist: importlib.metadata.Distribution, env: Path) -> None:
    """Write the missing commands of a distribution, to run with the desk's own interpreter."""
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    for point in dist.entry_points:
        if point.group != "console_scripts":
            continue
        names = ["pip", "pip3", f"pip{ours}"] if point.name == "pip" else [point.name]
        text = (
            f"#!{env}/bin/python\n"
            "import sys\n"
            f"from {point.module} import {point.attr.split('.')[0]}\n"
            'if __name__ == "__main__":\n'
            f"    sys.exit({point.attr}())\n"
        )
        for name in names:
            script = env / "bin" / name
            if os.path.lexists(script):
                continue
            script.write_bytes(relocation.launchable(text.encode()))
            script.chmod(0o755)
