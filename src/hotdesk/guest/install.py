"""Install what a project's own files name, before its job begins; again only when they have changed.

`begin(project, id)` runs in the job's folder and in its environment. The standard library only, for Python
3.8 and later: it runs at desks.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from typing import Any

from hotdesk.guest.job_files import HOME, path, read, write

RECORD = os.path.join(HOME, ".hotdesk", "installed.json")
ACTIVATE = (
    "activate"  # in the job's folder below ~/.hotdesk: shell lines by which the job finds what was installed
)
#: By precedence: a lock says more than a list, and a list of packages more than the project's own metadata.
KINDS = ("uv.lock", "environment.yml", "environment.yaml", "requirements.txt", "pyproject.toml")
_INCLUDED = re.compile(r"^\s*(?:-r|-c|--requirement|--constraint)[\s=]+(\S+)", re.M)
_CONDAS = ("conda", "micromamba")  # conda solves as fast as mamba since 23.10


def kind_of(names: Any) -> str:
    """The file that says what to install, of these names; "" for none."""
    return next((kind for kind in KINDS if kind in names), "")


def installable(kind: str) -> bool:
    """Whether a pyproject.toml names a project, and not only settings of tools."""
    return kind != "pyproject.toml" or re.search(r"(?m)^\[project\]", _text(kind)) is not None


def begin(project: str, id_: str) -> int:
    """Install what the working folder names; the exit status of what failed, else 0."""
    kind = kind_of(os.listdir("."))
    if not kind or not installable(kind):
        say("there is nothing to install: no " + ", ".join(KINDS))
        return 0
    python = shutil.which("python") or shutil.which("python3") or sys.executable
    record = read(RECORD)
    done = record.setdefault("environments", {})
    where, digest = place(kind, python), digest_of(kind, python)
    if done.get(where) != digest or not os.path.exists(where):
        done.pop(where, None)
        write_record(record)
        for words in steps(kind, python):
            say("installing " + kind + ": " + shlex.join(words))
            status = run(words)
            if status:
                say("installing " + kind + " failed, and the job is not begun")
                return status
        done[where] = digest
    record["projects"] = sorted({project, *record.get("projects", ())})
    write_record(record)
    with open(path(id_, ACTIVATE), "w", encoding="utf-8") as file:
        file.write(activation(kind))
    return 0


def remembered(project: str) -> bool:
    """Whether something was installed for this project here."""
    return project in read(RECORD).get("projects", ())


def place(kind: str, python: str) -> str:
    """The environment into which is installed, as a folder: only the last installation there counts."""
    if kind == "uv.lock":
        return os.path.abspath(os.environ.get("UV_PROJECT_ENVIRONMENT") or ".venv")
    if kind.startswith("environment."):
        tool = conda()
        if not tool:
            return ""
        told = subprocess.run([tool, "info", "--base"], stdout=subprocess.PIPE, text=True)
        base = told.stdout.strip().splitlines()[-1:] or [""]
        return os.path.join(base[0].split(":")[-1].strip(), "envs", conda_name(kind))
    asked = subprocess.run([python, "-c", "import sys; print(sys.prefix)"], stdout=subprocess.PIPE, text=True)
    return asked.stdout.strip()


def digest_of(kind: str, python: str) -> str:
    """What the installation depends on: the files, those that they include, and the Python."""
    files = {
        "uv.lock": ["uv.lock", "pyproject.toml"],
        "pyproject.toml": ["pyproject.toml", "setup.py", "setup.cfg"],
    }
    texts = [(name, _text(name)) for name in files.get(kind, [])]
    seen, left = set(), [] if kind in files else [kind]
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            texts.append((name, _text(name)))
            left += [os.path.join(os.path.dirname(name), more) for more in _INCLUDED.findall(texts[-1][1])]
    version = subprocess.run([python, "--version"], stdout=subprocess.PIPE).stdout
    return hashlib.sha256(repr((sorted(texts), version)).encode()).hexdigest()[:16]


def steps(kind: str, python: str) -> list[list[str]]:
    """The commands that install. uv where it is there, or where nothing else can."""
    uv = shutil.which("uv")
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check"]
    if kind.startswith("environment."):
        tool = conda()
        if not tool:
            return [["conda", "env", "update", "-f", kind]]  # it is not there, which is said
        if "micromamba" in tool:
            return (
                [[tool, "install", "-y", "-n", conda_name(kind), "-f", kind]]
                if os.path.exists(place(kind, python))
                else [[tool, "create", "-y", "-n", conda_name(kind), "-f", kind]]
            )
        return [[tool, "env", "update", "-n", conda_name(kind), "-f", kind]]
    if kind == "requirements.txt":
        return [[uv, "pip", "install", "--python", python, "-r", kind] if uv else [*pip, "-r", kind]]
    first = [] if uv else [[*pip, "uv"]]
    if kind == "uv.lock":
        return [*first, [uv or "uv", "sync", "--frozen"]]
    if re.search(r"(?m)^\[build-system\]", _text(kind)):
        return [[uv, "pip", "install", "--python", python, "-e", "."] if uv else [*pip, "-e", "."]]
    return [*first, [uv or "uv", "pip", "install", "--python", python, "-r", kind]]  # its dependencies alone


def activation(kind: str) -> str:
    """Shell lines by which the job finds an environment of its own."""
    if kind == "uv.lock":
        where = shlex.quote(place(kind, ""))
        return f'export VIRTUAL_ENV={where} PATH={where}/bin:"$PATH"\n'
    if kind.startswith("environment."):
        tool, name = conda() or "conda", shlex.quote(conda_name(kind))
        if "micromamba" in tool:
            return f'eval "$({shlex.quote(tool)} shell hook -s bash)"\nmicromamba activate {name}\n'
        return f'eval "$({shlex.quote(tool)} shell.posix hook)"\nconda activate {name}\n'
    return ""


def conda() -> str:
    """The program that makes conda's environments; "" where there is none."""
    homes = [
        os.path.join(HOME, base, "bin") for base in ("miniforge3", "miniconda3", "mambaforge", "anaconda3")
    ]
    where = os.pathsep.join([os.environ.get("PATH", ""), *homes, os.path.join(HOME, ".local", "bin")])
    return next(filter(None, (shutil.which(name, path=where) for name in _CONDAS)), "")


def conda_name(kind: str) -> str:
    named = re.search(r"(?m)^name:\s*['\"]?([\w.-]+)", _text(kind))
    return named.group(1) if named else "hotdesk"


def run(words: list[str]) -> int:
    try:
        return subprocess.run(words, stdin=subprocess.DEVNULL).returncode
    except FileNotFoundError:
        say(f"there is no {words[0]} at this desk (docs/environments.md)")
        return 127


def say(text: str) -> None:
    print("hotdesk: " + text, flush=True)


def write_record(record: dict[str, Any]) -> None:
    os.makedirs(os.path.dirname(RECORD), exist_ok=True)
    write(RECORD, record)


def _text(name: str) -> str:
    try:
        with open(name, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
