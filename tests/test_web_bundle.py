"""The page as it is committed: built from the sources beside it, by the packages in its lock."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import get_args

import pytest

from hotdesk.core.steps import AnyStep

ROOT = Path(__file__).parents[1]
PAGE, STATIC = ROOT / "page", ROOT / "src" / "hotdesk" / "web" / "static"
MOST_PACKED = 150_000  # bytes of all that a browser loads, gzipped
LOCK = json.loads((PAGE / "package-lock.json").read_text())


def test_the_page_was_built_from_these_sources_and_not_changed_since() -> None:
    """Without node. Where this fails: npm ci --ignore-scripts && npm run build, in page/."""
    for line in (STATIC / "SHA256").read_text().splitlines():
        digest, name = line.split("  ")
        file = ROOT / name if name.startswith("page/") else STATIC / name
        assert hashlib.sha256(file.read_bytes()).hexdigest() == digest, f"{name} is not what it was then"
    told = {line.split("  ")[1] for line in (STATIC / "SHA256").read_text().splitlines()}
    assert {file.name for file in STATIC.iterdir()} - {"SHA256"} <= told
    assert {str(f.relative_to(ROOT)) for f in (PAGE / "src").rglob("*.*")} <= told


def test_every_step_has_words_in_the_page() -> None:
    words = (PAGE / "src" / "action.tsx").read_text().partition("const STEPS")[2].partition("};")[0]
    named = {kind.__struct_config__.tag for kind in get_args(AnyStep)}
    assert {name for name in named if f"{name}:" not in words} == set()


def test_a_browser_loads_little() -> None:
    loaded = [f for f in STATIC.iterdir() if f.suffix not in {"", ".txt"}]  # no hashes, no licences
    sizes = {f.name: len(gzip.compress(f.read_bytes(), 9)) for f in loaded}
    assert sum(sizes.values()) < MOST_PACKED, sizes


def test_the_lock_pins_every_package_and_names_no_address() -> None:
    assert "://" not in re.sub(r'"(url|funding)": .*', "", (PAGE / "package-lock.json").read_text())
    for name, package in LOCK["packages"].items():
        assert not name or package["integrity"].startswith("sha512-"), name
    told = json.loads((PAGE / "package.json").read_text())
    for version in [*told["dependencies"].values(), *told["devDependencies"].values()]:
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)


def test_the_licences_of_what_is_in_the_bundle_come_with_it() -> None:
    told = json.loads((PAGE / "package.json").read_text())["dependencies"]
    licences = (STATIC / "LICENCES.txt").read_text()
    for name, version in told.items():
        assert f"{name} {version} (MIT)" in licences
    assert licences.count("Permission is hereby granted") == len(told)


def test_the_page_names_no_other_host() -> None:
    for file in STATIC.iterdir():
        named = set(re.findall(r"https?://([\w.-]+)", file.read_text())) if file.suffix != ".txt" else set()
        assert named <= {"www.w3.org"}, f"{file.name}: namespaces only"


@pytest.mark.slow
@pytest.mark.tools("node", "npm")
def test_a_fresh_build_is_the_same(tmp_path: Path) -> None:
    fresh = tmp_path / "page"
    shutil.copytree(PAGE, fresh, ignore=shutil.ignore_patterns("node_modules"))
    done = run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", folder=fresh)
    if "network" in done.stderr or "ENOTFOUND" in done.stderr:
        pytest.skip("no package registry can be reached")
    assert done.returncode == 0, done.stderr
    done = run("npx", "tsc", "--noEmit", folder=fresh)
    assert done.returncode == 0, done.stdout
    built = tmp_path / "built"
    done = run("node", "build.mjs", str(built), folder=fresh)
    assert done.returncode == 0, done.stderr
    assert contents(built) == contents(STATIC)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def run(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
