"""Real tools at a local desk, before and after a park, a move of the state folder, and a resume.

uv, pipx, ipykernel, ipywidgets, papermill, nbconvert and a JupyterLab with jupyterlab-git: each is installed
at the desk as its users do it, from the package index of this computer. Made twins that need no index are in
test_local_parts.py and test_local_jupyter.py, and always run.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotdesk.core import shell
from hotdesk.core.model import Instance
from tests.local_rig import LocalRig, rig_in
from tests.test_local_jupyter import Browser, password

pytestmark = [pytest.mark.slow, pytest.mark.tools("ssh", "zsh")]
NOTEBOOK = {
    "cells": [
        {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [],
         "source": ["import ipywidgets, sys; print('computed with', sys.prefix)"]}
    ],
    "metadata": {"kernelspec": {"display_name": "Mine", "language": "python", "name": "mine"}},
    "nbformat": 4, "nbformat_minor": 5,
}  # fmt: skip
PROJECT = """\
[project]
name = "proj"
version = "0.1"
requires-python = ">=3.11"
dependencies = ["idna"]
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
"""


@pytest.fixture(scope="module", autouse=True)
def index() -> None:
    """Nothing here can be tried without a package index."""
    asked = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", "/dev/null/x", "idna"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=False)
    if "No matching distribution" in done.stderr:
        pytest.skip("there is no package index here")


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("states")
    return folder / "here", folder / "another place"


@pytest.fixture(scope="module")
def rig(states: tuple[Path, Path]) -> Iterator[LocalRig]:
    with rig_in(states[0]) as rig:
        yield rig


def at(rig: LocalRig, desk: Instance, line: str, seconds: float = 300) -> str:
    """What a line says that a person gives to `hotdesk ssh --`."""
    done = rig.ssh(desk, shell.told(line), seconds=seconds, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def install(rig: LocalRig, desk: Instance) -> None:
    home = rig.disk("blue") / "home"
    at(rig, desk, "pip install -q uv pipx ipywidgets papermill nbconvert")
    (home / ".bashrc").write_text("[[ $- == *i* ]] && exec zsh\n")  # as many have it
    (home / "proj/src/proj").mkdir(parents=True)
    (home / "proj/pyproject.toml").write_text(PROJECT)
    (home / "proj/src/proj/__init__.py").write_text("where = __file__\n")
    (home / "nb.ipynb").write_text(json.dumps(NOTEBOOK))
    at(rig, desk, "cd proj && uv sync -q")
    at(rig, desk, "pipx install -q cowsay; uv tool install -q pycowsay; uv pip install -q iniconfig")
    at(rig, desk, "python -m ipykernel install --user --name mine --display-name Mine")


def works(rig: LocalRig, desk: Instance) -> None:
    """All of it, where the desk is now."""
    disk = rig.disk("blue")
    home, env = disk / "home", disk / "env"
    said = at(
        rig,
        desk,
        "cd proj; .venv/bin/python -c 'import proj, sys; print(proj.where, sys.prefix, sep=\"\\n\")'",
    )
    assert said.splitlines() == [f"{home}/proj/src/proj/__init__.py", f"{home}/proj/.venv"]
    warned = rig.ssh(desk, shell.told("cd proj; uv run --no-sync python -c 'import idna'")).stderr
    assert "VIRTUAL_ENV" not in warned, "the desk's environment is not taken for the project's"
    assert "usage: python -m idna" in at(rig, desk, "proj/.venv/bin/idna --help")
    assert at(rig, desk, "uv pip list -q --format json | grep -c iniconfig").strip() == "1"
    assert at(rig, desk, "python -c 'import iniconfig; print(iniconfig.__file__)'").startswith(str(env))
    assert "hi" in at(rig, desk, "cowsay -t hi")
    assert "hi" in at(rig, desk, "pycowsay hi")
    assert "cowsay 6" in at(rig, desk, "pipx list 2>/dev/null")
    assert "pycowsay" in at(rig, desk, "uv tool list")
    at(rig, desk, "papermill --no-progress-bar nb.ipynb out.ipynb 2>&1")
    at(rig, desk, "jupyter nbconvert --execute --to notebook nb.ipynb --output conv 2>&1")
    for name in ("out.ipynb", "conv.ipynb"):
        assert f"computed with {env}" in (home / name).read_text()
    browser = Browser(rig.provider.access(desk))
    browser.log_in(password(rig))
    assert set(browser.get("/api/kernelspecs")["kernelspecs"]) == {"python3", "mine"}
    assert b"@jupyter-widgets/jupyterlab-manager" in browser.open(browser.base + "/lab")
    assert browser.run("import ipywidgets, sys; print(sys.prefix)", "mine").strip() == str(env)


def test_an_environment_of_real_tools_comes_along(rig: LocalRig, states: tuple[Path, Path]) -> None:
    """1. installed; 2. parked, its state folder moved to another path, resumed; 3. its own JupyterLab."""
    desk = rig.up("blue")
    install(rig, desk)
    works(rig, desk)
    rig.stop(desk)
    image = rig.image_of(desk)
    rig.provider.delete(desk.id)
    assert not rig.settle().of("blue").machines
    shutil.move(states[0], states[1])
    rig.state = states[1]
    rig.provider = rig.again()
    desk = rig.up("blue", generation=2, image_id=image.id)
    works(rig, desk)
    # The one thing that a restore cannot keep is a file's ctime, by which uv knows that a project has not
    # changed: it builds that project once more, and nothing else.
    built = rig.ssh(desk, shell.told("cd proj && uv sync"), seconds=300).stderr
    assert "Installed 1 package" in built
    assert "Built proj" in built
    assert "Built" not in rig.ssh(desk, shell.told("cd proj && uv sync")).stderr

    at(rig, desk, "pip install -q jupyterlab jupyterlab-git", seconds=600)
    desk = rig.start(rig.stop(desk))
    works(rig, desk)
    browser = Browser(rig.provider.access(desk))
    browser.log_in(password(rig))
    assert json.loads(browser.open(browser.base + "/git/settings"))["serverVersion"], (
        "its server part answers"
    )
    rig.provider.delete(desk.id)
