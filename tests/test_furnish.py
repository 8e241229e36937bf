"""The packages of a desk in their versions, at the Python of the machine that it came to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

from hotdesk.guest import furnish
from hotdesk.services.carrier import locked


def wheel(folder: Path, name: str, version: str, body: str = "") -> None:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", body)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/top_level.txt", f"{name}\n")
        archive.writestr(
            f"{info}/RECORD", "".join(f"{info}/{n},,\n" for n in ("METADATA", "WHEEL", "RECORD"))
        )


def test_only_names_with_versions_are_installed() -> None:
    text = "torch==2.9.0+cpu\n--index-url=http://x\nevil @ http://x\nNum_Py==2.3.1\n\nfoo>=1\n"
    assert furnish.wanted(text) == {"torch": "2.9.0", "num-py": "2.3.1"}


@pytest.mark.slow
def test_what_is_missing_is_installed_and_what_is_not_to_be_had_is_named(tmp_path: Path) -> None:
    """1. From a folder as the index. 2. Again, nothing is left to do. 3. The environment's own lock."""
    wheels, env, pip = tmp_path / "wheels", tmp_path / "disk" / "env", tmp_path / "pip"
    wheels.mkdir()
    pip.mkdir()
    wheel(wheels, "alpha", "1.0")
    wheel(wheels, "alpha", "2.0")
    wheel(wheels, "bad", "1.0", "import no_such_module\n")
    (pip / "pip").symlink_to(Path(str(distribution("pip").locate_file("pip"))))
    venv.EnvBuilder(with_pip=False, symlinks=True).create(env)
    home = tmp_path / "home"
    (home / ".hotdesk").mkdir(parents=True)
    (home / ".hotdesk" / "environment.lock").write_text("alpha==1.0\nbad==1.0\ngamma==3.0\n")
    variables = {
        "HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(pip), "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels), "PIP_NO_CACHE_DIR": "1",
    }  # fmt: skip

    def run() -> dict[str, object]:
        argv, script = [str(env / "bin" / "python"), "-"], Path(furnish.__file__).read_bytes()
        done = subprocess.run(argv, input=script, env=variables, capture_output=True, check=True)
        told: dict[str, object] = json.loads(done.stdout)
        return told

    first = run()
    assert first["installed"] == ["alpha", "bad"]
    assert list(first["failed"]) == ["gamma"]  # type: ignore[call-overload]
    assert "no_such_module" in first["broken"]["bad"]  # type: ignore[index]
    assert locked(tmp_path / "disk") == ["alpha==1.0", "bad==1.0"], "the version that was asked for"
    assert run()["installed"] == []
    shutil.rmtree(env)
    assert locked(tmp_path / "disk") == []
    assert sys.prefix != str(env)
