"""`run --install`: what a project's files name is installed before its job, again when it changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from hotdesk import Hotdesk
from hotdesk.guest import install
from hotdesk.services.installing import Installing
from hotdesk.services.jobs import JobRequest
from hotdesk.state.store import Store
from hotdesk.system import SystemClock
from tests.job_rig import JobRig
from tests.typed import typed

PIP = ["PY", "-m", "pip", "install", "--disable-pip-version-check"]
UV = ["UV", "pip", "install", "--python", "PY"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(install, "HOME", str(tmp_path))
    return tmp_path


def program(folder: Path, name: str) -> str:
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"requirements.txt", "pyproject.toml"}, "requirements.txt"),
        ({"uv.lock", "requirements.txt", "pyproject.toml"}, "uv.lock"),
        ({"environment.yml", "requirements.txt"}, "environment.yml"),
        ({"environment.yaml"}, "environment.yaml"),
        ({"train.py"}, ""),
    ],
)
def test_the_file_that_says_most_counts(files: set[str], kind: str) -> None:
    assert install.kind_of(files) == kind


@pytest.mark.parametrize(
    ("kind", "text", "with_uv", "without"),
    [
        ("requirements.txt", "six", [[*UV, "-r", "requirements.txt"]], [[*PIP, "-r", "requirements.txt"]]),
        ("uv.lock", "", [["UV", "sync", "--frozen"]], [[*PIP, "uv"], ["uv", "sync", "--frozen"]]),
        (
            "pyproject.toml",
            "[project]\nname = 'a'\n",
            [[*UV, "-r", "pyproject.toml"]],
            [[*PIP, "uv"], ["uv", *UV[1:], "-r", "pyproject.toml"]],
        ),
        ("pyproject.toml", "[project]\n[build-system]\n", [[*UV, "-e", "."]], [[*PIP, "-e", "."]]),
    ],
)
def test_uv_installs_where_it_is_or_where_nothing_else_can(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, kind: str, text: str, with_uv: object, without: object
) -> None:
    (folder / kind).write_text(text)
    monkeypatch.setenv("PATH", str(folder / "bin"))
    assert install.steps(kind, "PY") == without
    uv = program(folder, "uv")
    told = [["UV" if word == uv else word for word in words] for words in install.steps(kind, "PY")]
    assert told == with_uv


def test_conda_makes_the_environment_that_the_file_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(folder / "bin"))
    (folder / "environment.yml").write_text("# mine\nname: 'deep-1'\ndependencies: [python=3.12]\n")
    assert install.steps("environment.yml", "PY")[0][0] == "conda", "which is not there, and that is said"
    (folder / "miniforge3").mkdir()
    (folder / "miniforge3" / "bin").symlink_to(folder / "bin")
    program(folder, "conda")
    conda = install.conda()
    assert install.steps("environment.yml", "PY") == [
        [conda, "env", "update", "-n", "deep-1", "-f", "environment.yml"]
    ]
    assert install.activation("environment.yml").endswith("conda activate deep-1\n")


def test_a_change_in_any_file_that_counts_is_a_change(folder: Path) -> None:
    (folder / "more").mkdir()
    files = {
        "requirements.txt": "-r more/a.txt\nsix\n",
        "more/a.txt": "--constraint=b.txt\n-r ../requirements.txt\n",
        "more/b.txt": "numpy<3\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    first = install.digest_of("requirements.txt", sys.executable)
    (folder / "train.py").write_text("new")
    assert install.digest_of("requirements.txt", sys.executable) == first
    for name, text in files.items():
        (folder / name).write_text(text + "# new\n")
        assert install.digest_of("requirements.txt", sys.executable) != first, name
        (folder / name).write_text(text)
    assert install.digest_of("requirements.txt", sys.executable) == first


def test_settings_of_tools_are_nothing_to_install(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[tool.ruff]\nline-length = 100\n")
    assert not install.installable("pyproject.toml")
    (folder / "pyproject.toml").write_text("[project]\nname = 'a'\n")
    assert install.installable("pyproject.toml")


# ---- for real ----------------------------------------------------------------------------------------


def wheel(folder: Path, version: str) -> str:
    """A package `thing` as a file that pip installs without any registry."""
    path = folder / f"thing-{version}-py3-none-any.whl"
    info = f"thing-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("thing.py", f"VERSION = {version!r}\n")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: thing\nVersion: {version}\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    return path.name


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[JobRig]:
    home = tmp_path / "home"
    home.mkdir()
    venv.create(tmp_path / "env", with_pip=True, symlinks=True)
    rig = JobRig(home, path=str(tmp_path / "env" / "bin"))
    yield rig
    rig.clear()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the rig looks into /proc")
def test_it_is_installed_once_and_again_when_it_has_changed(rig: JobRig) -> None:
    """1. A job finds what requirements.txt names. 2. The next begins at once. 3. A new version is installed.
    4. What cannot be installed fails the job with its reason, and the command is not run."""
    project = rig.home / "mine"
    project.mkdir()
    (project / "requirements.txt").write_text(f"--no-index\n./{wheel(project, '1.0')}\n")

    def run(id_: str) -> str:
        rig.begin("python -c 'import thing; print(thing.VERSION)'", id_=id_, folder="mine", install="mine")
        rig.until(lambda: rig.look(id_)["phase"] == "ended")
        return rig.log(id_)

    def installed(project: str) -> int:
        words = [sys.executable, str(rig.runner), "installed", project]
        return subprocess.run(words, env=rig.environment, check=False).returncode

    assert installed("mine") == 1
    first = run("1-a")
    assert "hotdesk: installing requirements.txt: " in first
    assert first.endswith("1.0\n")
    assert (installed("mine"), installed("other")) == (0, 1)
    assert run("2-b") == "1.0\n"
    (project / "requirements.txt").write_text(f"--no-index\n./{wheel(project, '2.0')}\n")
    assert run("3-c").endswith("2.0\n")
    (project / "requirements.txt").write_text("--no-index\nno-such-thing\n")
    failed = run("4-d")
    assert rig.look("4-d")["exit_status"] == 1
    assert failed.endswith("installing requirements.txt failed, and the job is not begun\n")
    (project / "environment.yml").write_text("name: x\n")
    assert "there is no conda at this desk" in run("5-e")
    assert rig.look("5-e")["exit_status"] == 127
    kept = json.loads((rig.home / ".hotdesk" / "installed.json").read_text())
    assert kept["projects"] == ["mine"]


@pytest.mark.parametrize(
    ("asked", "files", "before", "installs", "offered"),
    [
        (True, ["requirements.txt"], False, True, False),
        (False, ["requirements.txt"], True, False, False),
        (None, ["requirements.txt"], True, True, False),
        (None, ["requirements.txt"], False, False, True),
        (None, ["pyproject.toml"], False, False, False),
        (None, ["train.py"], True, False, False),
    ],
)
def test_it_is_offered_and_remembered(
    tmp_path: Path, *, asked: bool | None, files: list[str], before: bool, installs: bool, offered: bool
) -> None:
    for name in files:
        (tmp_path / name).write_text("")
    told: list[str] = []
    request = JobRequest(folder=str(tmp_path), install=asked)
    with Store(None) as store:
        installing = Installing(store=store, clock=SystemClock())
        assert installing.wanted("blue", request, lambda: before, told.append) is installs
        assert [note.split(" ", 1)[0] for note in told] == ["requirements.txt"] * offered
        again = replace(request, install=None)
        if asked:
            assert installing.wanted("blue", again, lambda: False, told.append), "it was asked for once"


@pytest.mark.parametrize("word", ["y", "n"])
def test_it_is_asked_about_once_at_a_terminal_before_a_machine_is_paid_for(home: Path, word: str) -> None:
    """The deadline is refused after the question, and before anything is made."""
    (home / "project").mkdir()
    os.chdir(home / "project")
    Path("requirements.txt").write_text("")
    Path("hotdesk.toml").write_text("[desks.blue]\n")
    words = ["run", "blue", "--work", "10h", "--deadline", "1h", "--", "ls"]
    question = "Install requirements.txt at blue first, and again whenever it changes?"
    for asks in (True, False):
        status, said = typed(words, question, word)
        assert status == 3, said
        assert (question in said) is asks
    with Hotdesk() as desks:
        assert desks.ls() == []
        told: list[str] = []
        request = JobRequest(folder=str(home / "project"))
        wanted = desks.services.jobs.installing.wanted("blue", request, lambda: True, told.append)
        assert wanted is (word == "y")
        assert told == [], "somebody who decided needs no advice"
