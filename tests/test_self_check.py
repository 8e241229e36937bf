"""`hotdesk self-check`: the wheel proves itself away from the checkout, and says what is not whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from hotdesk.doctor import installation

ROOT = Path(__file__).parents[1]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The Python of an environment with hotdesk's wheel, which sees what it needs and not the checkout."""
    build = [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, cwd=tmp_path)
    home = tmp_path / "environment"
    venv.create(home)
    program = home / "bin" / "python"
    install = [*PIP, "--python", str(program), "install", "--no-deps", "--no-index"]
    subprocess.run([*install, *map(str, tmp_path.glob("*.whl"))], check=True)
    (packages(program) / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return program


def packages(python: Path) -> Path:
    (site,) = (python.parents[1] / "lib").glob("python*/site-packages")
    return site


def check(python: Path, *words: str) -> tuple[int, list[dict[str, str]]]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HOTDESK_", "PYTHONPATH"))}
    done = subprocess.run(
        [str(python), "-m", "hotdesk", "self-check", "--json", *words],
        cwd=python.parent,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.slow
def test_a_wheel_away_from_the_checkout_lives_a_day(python: Path) -> None:
    code, found = check(python)
    assert code == 0, found
    said = [f["what"] for f in found]
    assert "files are as they were installed" in said[0]
    assert any(what.startswith("What the job wrote is there again") for what in said)
    assert said[-1].startswith("Nothing stays behind")

    with (packages(python) / "hotdesk" / "core" / "lengths.py").open("a") as file:
        file.write("# another's\n")
    (packages(python) / "hotdesk" / "py.typed").unlink()
    code, found = check(python, "--quick")
    assert code == 5
    assert "2 of" in found[0]["what"]
    assert "hotdesk/core/lengths.py (changed)" in found[0]["why"]
    assert "hotdesk/py.typed (No such file or directory)" in found[0]["why"]
    assert "--force-reinstall" in found[0]["fix"]


@pytest.mark.parametrize(
    ("lower", "higher"), [("1.9", "1.10"), ("2.60.0rc1", "2.60.1"), ("8.1", "8.1.3"), ("1!1.0", "1!2.0")]
)
def test_versions_are_ordered_by_their_numbers(lower: str, higher: str) -> None:
    assert installation._numbers(lower) < installation._numbers(higher)


def test_a_trailing_zero_is_the_same_version() -> None:
    assert installation._numbers("1.26.0") == installation._numbers("1.26")
