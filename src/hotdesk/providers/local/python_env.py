"""A desk's own Python environment, made without a network from what hotdesk itself is installed with.

`pip` and `ipykernel`, with everything that they require, are copied from hotdesk's environment: files of
their own, so that whatever is installed, upgraded or broken at one desk stays there.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from hotdesk.core.errors import Kind, Refused

ROOTS = ("pip", "ipykernel")


def make(env: Path) -> None:
    """Make the environment at `env`, if there is none or only an unfinished one. Raises `Refused`.

    One that its owner has replaced is theirs and stays.
    """
    import venv

    unfinished = env.with_name(env.name + ".unfinished")
    if env.is_dir() and not unfinished.exists():
        return
    unfinished.touch()
    shutil.rmtree(env, ignore_errors=True)
    site = env / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    # Symbolic links to the interpreter: a copied one would look for its library beside itself.
    venv.EnvBuilder(with_pip=False, symlinks=True, prompt=env.parent.name).create(env)
    dists = closure(ROOTS)
    site.mkdir(parents=True, exist_ok=True)
    try:
        _copy(sorted(_tops(dists.values())), site)
    except OSError as error:
        raise Refused(Kind.NO_SPACE, f"the desk's Python environment could not be made: {error}") from error
    for dist in dists.values():
        installer = site / f"{Path(str(dist._path)).name}" / "INSTALLER"  # type: ignore[attr-defined]
        if installer.parent.is_dir():
            installer.write_text("pip\n")  # so that pip may upgrade it at the desk
        _scripts(dist, env)
    unfinished.unlink()


def mend(env: Path) -> str:
    """Point the environment at an interpreter that exists. Why it cannot be used, or ""."""
    python = env / "bin" / "python"
    if python.exists():
        return ""
    wanted = _version(env)
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    if wanted != ours:
        return f"this desk's environment was made for Python {wanted}, and hotdesk now runs on {ours}"
    base = Path(getattr(sys, "_base_executable", sys.executable))
    for name in ("python", "python3", f"python{ours}"):
        link = env / "bin" / name
        link.unlink(missing_ok=True)
        link.symlink_to(base)
    return ""


def _version(env: Path) -> str:
    try:
        text = (env / "pyvenv.cfg").read_text("utf-8")
    except OSError:
        return "?"
    found = re.search(r"^version(?:_info)?\s*=\s*(\d+\.\d+)", text, re.MULTILINE)
    return found.group(1) if found else "?"


def closure(roots: Iterable[str]) -> dict[str, importlib.metadata.Distribution]:
    """The named distributions and all that they require here, by normal name. Raises `Refused`."""
    from packaging.requirements import Requirement

    found: dict[str, importlib.metadata.Distribution] = {}
    todo = list(roots)
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in found:
            continue
        try:
            dist = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            if name in roots:
                raise Refused(
                    Kind.BAD_REQUEST,
                    f"{name} is not installed beside hotdesk, and a local desk needs it",
                    fix=f"{sys.executable} -m pip install {name}",
                ) from None
            continue
        found[name] = dist
        for line in dist.requires or ():
            wanted = Requirement(line)
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                todo.append(wanted.name)
    return found


def _tops(dists: Iterable[importlib.metadata.Distribution]) -> set[str]:
    """The files and folders, directly below site-packages, that hold these distributions."""
    tops = set()
    for dist in dists:
        base = str(dist.locate_file(""))
        for file in dist.files or ():
            first = file.parts[0]
            if first not in {"..", "__pycache__"} and (top := os.path.join(base, first)) not in tops:  # noqa: PTH118
                tops.add(top)
    return {top for top in tops if os.path.lexists(top)}


def _copy(tops: list[str], site: Path) -> None:
    """Copy whole trees; the system's `cp` shares the blocks where the file system can."""
    share = ["-a", "--reflink=auto"] if sys.platform == "linux" else ["-Rpc"]
    for options in (share, ["-Rp"]):
        try:
            done = subprocess.run(["cp", *options, *tops, str(site)], capture_output=True, check=False)
        except FileNotFoundError:
            break
        if done.returncode == 0:
            return
    for top in tops:
        target = site / Path(top).name
        if Path(top).is_dir():
            shutil.copytree(top, target, symlinks=True, dirs_exist_ok=True)
        else:
            shutil.copy2(top, target)


def _scripts(dist: importlib.metadata.Distribution, env: Path) -> None:
    """The commands of a distribution, for the desk's own interpreter."""
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    for point in dist.entry_points:
        if point.group != "console_scripts":
            continue
        names = [point.name]
        if point.name == "pip":
            names += ["pip3", f"pip{ours}"]
        module, _, attribute = point.value.split("[")[0].strip().partition(":")
        text = (
            f"#!{env}/bin/python\n"
            "import sys\n"
            f"from {module} import {attribute.split('.')[0]}\n"
            'if __name__ == "__main__":\n'
            f"    sys.exit({attribute}())\n"
        )
        for name in names:
            script = env / "bin" / name
            script.write_text(text, "utf-8")
            script.chmod(0o755)
