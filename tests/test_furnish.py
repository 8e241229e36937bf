"""The packages of a desk in their versions, at the Python of the machine that it came to."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import distribution, distributions
from pathlib import Path

import pytest

from hotdesk.guest import content, furnish, one_file
from hotdesk.services.carrier import locked


def wheel(folder: Path, name: str, version: str, body: str = "") -> None:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", body)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/top_level.txt", f"{name}\n")
        sum_ = base64.urlsafe_b64encode(hashlib.sha256(body.encode()).digest()).rstrip(b"=").decode()
        rest = "".join(f"{info}/{n},,\n" for n in ("METADATA", "WHEEL", "RECORD"))
        archive.writestr(f"{info}/RECORD", f"{name}.py,sha256={sum_},{len(body)}\n{rest}")


def test_only_names_with_versions_are_installed() -> None:
    text = "torch==2.9.0+cpu\n--index-url=http://x\nevil @ http://x\nNum_Py==2.3.1\n\nfoo>=1\n"
    assert furnish.wanted(text) == {"torch": "2.9.0", "num-py": "2.3.1"}
    sum_ = "0" * 64
    assert furnish.wanted(f"a==1.0+cpu  # sha256:{sum_}\nb==1  # sha256:x\n") == {"a": "1.0"}
    assert furnish.contents(f"a==1.0+cpu  # sha256:{sum_}\nb==1\n") == {"a": sum_}


def test_a_file_that_was_cut_off_is_found_by_reading(tmp_path: Path) -> None:
    wheel(tmp_path, "alpha", "1.0", "WHOLE = True\n")
    site = tmp_path / "site"
    with zipfile.ZipFile(tmp_path / "alpha-1.0-py3-none-any.whl") as archive:
        archive.extractall(site)
    [dist] = distributions(path=[str(site)])
    digest = content.content(dist)
    assert len(digest) == 64
    assert content.altered(dist) == ""
    (site / "alpha.py").write_text("WHO")
    assert content.altered(dist) == "alpha.py is not what was installed"
    (site / "alpha.py").unlink()
    assert content.altered(dist) == "alpha.py is missing"
    assert content.content(dist) == digest, "which tells what it is, and not how it fares"


def test_the_address_of_an_index_is_in_no_list_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be a password in it, and a machine may have other users."""
    program, said = tmp_path / "uv", tmp_path / "said"
    program.write_text(f'#!/bin/sh\necho "$UV_DEFAULT_INDEX $*" > {said}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:secret@localhost/simple")
    assert furnish.install(["alpha==1.0"]) == ""
    address, _, words = said.read_text().partition(" ")
    assert address == "http://me:secret@localhost/simple"
    assert "alpha==1.0" in words
    assert "secret" not in words


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
        argv, script = [str(env / "bin" / "python"), "-"], one_file.source("furnish").encode()
        done = subprocess.run(argv, input=script, env=variables, capture_output=True, check=True)
        told: dict[str, object] = json.loads(done.stdout)
        return told

    first = run()
    assert first["installed"] == ["alpha", "bad"]
    assert list(first["failed"]) == ["gamma"]  # type: ignore[call-overload]
    assert "no_such_module" in first["broken"]["bad"]  # type: ignore[index]
    lock = locked(tmp_path / "disk")
    assert [line.partition("  # sha256:")[0] for line in lock] == ["alpha==1.0", "bad==1.0"]
    assert run()["installed"] == []

    def again(*lines: str) -> dict[str, object]:
        (home / ".hotdesk" / "environment.lock").write_text("".join(f"{line}\n" for line in lines))
        return run()

    assert again(*lock)["other"] == []
    alpha = next((env / "lib").rglob("alpha.py"))
    shutil.rmtree(alpha.parent / "alpha-1.0.dist-info")
    alpha.unlink()
    wheel(wheels, "alpha", "1.0", "BUILT_FOR = 'a GPU'\n")
    rebuilt = again(lock[0].replace("1.0", "1.0+cpu"), lock[1])
    assert (rebuilt["installed"], rebuilt["other"]) == (["alpha"], ["alpha"]), (
        "the index's build, and it is said"
    )
    shutil.rmtree(env)
    assert locked(tmp_path / "disk") == []
    assert sys.prefix != str(env)
