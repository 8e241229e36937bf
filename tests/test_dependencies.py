"""What we depend on, judged without a network: locks, imports, licences, installed files."""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.metadata
import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = [ROOT / "requirements" / name for name in ("user.txt", "dev.txt", "sweep.txt")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FAKE = tomllib.loads((ROOT / "fakes" / "ec2" / "pyproject.toml").read_text())["project"]
#: Imported where it may be missing, and never installed by us: a machine for deep learning has its own.
OF_THE_MACHINE = {"torch", "numpy", "tensorflow"}


def audit() -> ModuleType:
    path = str(ROOT / "requirements" / "audit")
    loader = importlib.machinery.SourceFileLoader("audit", path)
    spec = importlib.util.spec_from_loader("audit", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


AUDIT = audit()


@pytest.mark.parametrize(
    "lock",
    [*LOCKS, *(ROOT / "requirements" / f"{name}.txt" for name in ("docs", "bom"))],
    ids=lambda lock: lock.stem,
)
def test_a_lock_pins_exact_files_and_names_no_address(lock: Path) -> None:
    assert AUDIT.locked(lock)
    assert "://" not in lock.read_text()


def test_the_licences_told_are_those_of_what_is_locked() -> None:
    """`requirements/sbom` and `scripts/licences.py` have run since the lock was written."""
    text = (ROOT / "docs" / "licences.md").read_text("utf-8")
    told = {
        AUDIT.canonical(name): (version, words)
        for name, version, words in re.findall(r"^\| ([\w.-]+) \| (\d\S*) \| (.+) \|$", text, re.M)
    }
    pins = AUDIT.locked(ROOT / "requirements" / "user.txt")
    assert {name: version for name, (version, _) in told.items() if version not in pins.get(name, ())} == {}
    lock = (ROOT / "requirements" / "user.txt").read_text("utf-8")
    elsewhere = {AUDIT.canonical(name) for name in re.findall(r"^([\w.-]+)==\S+ ;", lock, re.M)}
    assert pins.keys() - told.keys() <= elsewhere | AUDIT.FREE, "in the lock, and in no line"
    assert all(AUDIT.ALLOWED.search(words) for _, words in told.values())


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_has_all_that_is_asked_for(lock: Path) -> None:
    pins = AUDIT.locked(lock)
    extras = PROJECT["optional-dependencies"]
    left_out = {"dev": (), "user": ("dev", "test", "sweep"), "sweep": extras.keys() - {"sweep"}}[lock.stem]
    beside = FAKE["dependencies"] if lock.stem == "dev" else []
    wanted = [needs for name, needs in extras.items() if name not in left_out]
    for part in (PROJECT["dependencies"], *wanted, beside):
        for requirement in part:
            name = re.match(r"[A-Za-z0-9._-]+", requirement)
            assert name, requirement
            if name[0] == "hotdesk":  # `all` names the other extras
                continue
            assert AUDIT.canonical(name[0]) in pins, f"{requirement} is not locked"


@pytest.mark.parametrize(
    "line",
    ["six", "six>=1.17 --hash=sha256:" + "0" * 64, "six==1.17.0", "six @ https://example.org/six.whl",
     "--extra-index-url https://example.org", "six==1.17.0 --hash=md5:00"],
)  # fmt: skip
def test_anything_less_is_no_lock(line: str, tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(line + "\n")
    with pytest.raises(ValueError, match="exact"):
        AUDIT.locked(lock)


def test_nothing_is_imported_that_is_not_locked() -> None:
    """Every import in our sources is the standard library, ours, or a distribution in the users' lock."""
    pins = AUDIT.locked(LOCKS[0]) | AUDIT.locked(LOCKS[2])
    makers = importlib.metadata.packages_distributions()
    foreign: dict[str, Path] = {}
    for file in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for name in names:
                top = name.partition(".")[0]
                if top not in sys.stdlib_module_names | {"hotdesk"}:
                    foreign.setdefault(top, file.relative_to(ROOT))
    assert {"click", "msgspec", "botocore"} <= foreign.keys()
    for top, file in foreign.items():
        made_by = {AUDIT.canonical(name) for name in makers.get(top, [top])}
        machine = top in OF_THE_MACHINE and file.parts[2] == "guest"
        assert made_by & pins.keys() or machine, f"{file} imports {top}, which nothing locks"


def test_a_watcher_elsewhere_is_given_what_the_package_says() -> None:
    from hotdesk.loop.remote_watcher import required

    base = required({""})
    assert {need.partition(">")[0] for need in base} >= {"click", "msgspec"}
    assert not any("boto3" in need for need in base)
    assert [need for need in required({"aws"}) if need.startswith("boto3")] == required({"aws"})


def test_licences_of_what_users_get_ask_no_more_than_attribution() -> None:
    pins = AUDIT.locked(LOCKS[0])
    looked = 0
    for distribution in importlib.metadata.distributions():
        if AUDIT.canonical(distribution.name) in pins:
            looked += 1
            said = AUDIT.licence(distribution.metadata)
            assert AUDIT.ALLOWED.search(said), f"{distribution.name}: {said!r}"
    assert looked > 40


@pytest.mark.parametrize("said", ["GPL-3.0-only", "AGPL-3.0", "Proprietary", "UNKNOWN", ""])
def test_other_licences_are_noticed(said: str) -> None:
    assert not AUDIT.ALLOWED.search(said)


def test_a_file_that_was_changed_after_it_was_installed_is_noticed(tmp_path: Path) -> None:
    import base64
    import hashlib

    package, info = tmp_path / "thing.py", tmp_path / "thing-1.0.dist-info"
    info.mkdir()
    package.write_text("good = True\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(package.read_bytes()).digest()).rstrip(b"=").decode()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
    (info / "RECORD").write_text(f"thing.py,sha256={digest},12\nthing-1.0.dist-info/RECORD,,\n")
    [distribution] = importlib.metadata.distributions(path=[str(tmp_path)])
    assert AUDIT.changed(distribution) == []
    package.write_text("good = False\n")
    assert AUDIT.changed(distribution) == ["thing.py is not what was installed"]
    package.unlink()
    assert AUDIT.changed(distribution) == ["thing.py is missing"]
