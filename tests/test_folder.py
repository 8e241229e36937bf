"""What a folder holds, compared with what git says of each repository in it."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from hotdesk.connect.sync import contents
from hotdesk.core.errors import Missing, NeedsDecision
from hotdesk.services.files import gathered
from tests.local_rig import tool

pytestmark = tool("git")

#: Names that something on the way could take for more than a name.
ODD = [
    "#notes",
    ";b.py",
    "a\nb",
    "-rf",
    ":x",
    " lead",
    "t ",
    "ö",
    "\udcff",
    "'q\"",
    "*",
    "[a]",
    "!n",
    "~",
    "x y",
]


@pytest.fixture(autouse=True)
def nobody(home: Path) -> None:
    """No settings of git's but its own."""
    (home / ".gitconfig").write_text(
        "[user]\nname = a\nemail = a@example.com\n[init]\ndefaultBranch = main\n"
        '[protocol "file"]\nallow = always\n[advice]\naddEmbeddedRepo = false\n'
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder in no repository, and nothing in it."""
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def git(folder: Path, *words: str) -> str:
    argv = ["git", "-C", str(folder), *words]
    done = subprocess.run(argv, capture_output=True, check=True, timeout=60)
    return os.fsdecode(done.stdout)


def put(folder: Path, name: str, text: str = "x") -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def files(folder: Path) -> set[str]:
    """What goes, without the empty folders."""
    return {n for n in contents(folder).names if (folder / n).is_symlink() or not (folder / n).is_dir()}


def by_git(folder: Path) -> set[str]:
    """What `git ls-files -co --exclude-standard` says in each repository, none of hotdesk's code used."""
    found = set()
    for name in git(folder, "ls-files", "-z", "-co", "--exclude-standard").split("\0"):
        inner = folder / name
        if not name or not os.path.lexists(inner):
            continue
        if inner.is_dir() and not inner.is_symlink():
            if (inner / ".git").exists():
                found |= {f"{name.rstrip('/')}/{n}" for n in by_git(inner)}
        elif not any(p.is_symlink() for p in inner.parents if p.is_relative_to(folder) and p != folder):
            found.add(name)
    return found


def grow(folder: Path, chance: random.Random, depth: int = 0) -> None:
    """A tree as nobody would plan it."""
    for _ in range(chance.randrange(2, 7)):
        name = chance.choice([*ODD, "a.py", "b.log", "c.bin", "data", "out", "deep", "lib"])
        path = folder / name
        if os.path.lexists(path):
            continue
        match chance.randrange(8):
            case 0 | 1 | 2:
                path.write_text(name, errors="surrogateescape")
            case 3:
                path.symlink_to(chance.choice(["..", "a.py", "/nowhere", "data"]))
            case 4 if depth < 3:
                path.mkdir()
                git(path, "init", "-q")
                grow(path, chance, depth + 1)
            case 5:
                path.mkdir()
            case _ if depth < 4:
                path.mkdir()
                grow(path, chance, depth + 1)
    if chance.random() < 0.5:
        rules = chance.sample(["*.log", "data/", "*.bin", "!b.log", "out/*", "/deep", "\\#notes", "*"], k=2)
        put(folder, ".gitignore", "\n".join(rules) + "\n")
    if (folder / ".git").exists() and chance.random() < 0.7:
        some = [p.name for p in folder.iterdir() if p.name != ".git"]
        for name in chance.sample(some, k=min(2, len(some))):
            subprocess.run(
                ["git", "-C", str(folder), "--literal-pathspecs", "add", "-f", "--", name],
                capture_output=True, check=False,
            )  # fmt: skip
        if chance.random() < 0.3:  # what git knows changes its nature
            name = chance.choice(some) if some else ""
            if name and not (folder / name).is_symlink() and (folder / name).is_file():
                (folder / name).unlink()
                put(folder / name, "inner.py")


@pytest.mark.parametrize("seed", range(30))
def test_a_folder_holds_what_git_says_in_each_repository(place: Path, seed: int) -> None:
    folder = place / "project"
    folder.mkdir()
    git(folder, "init", "-q")
    grow(folder, random.Random(seed))
    found = contents(folder)
    assert files(folder) == by_git(folder)
    assert not [n for n in found.names if ".git" in n.split("/")]
    assert not set(found.ignored) & set(found.names)


def test_a_submodule_and_a_clone_follow_their_own_rules(place: Path) -> None:
    folder = place / "project"
    for name in ("lib", "clone"):
        put(place / name, ".gitignore", "data/\n.env\n")
        put(place / name, "code.py")
        git(place / name, "init", "-q")
        git(place / name, "add", ".")
        git(place / name, "commit", "-qm", "one")
    folder.mkdir()
    git(folder, "init", "-q")
    git(folder, "submodule", "--quiet", "add", str(place / "lib"), "lib")
    git(folder, "clone", "-q", str(place / "clone"), "clone")
    for name in ("lib", "clone"):
        put(folder, f"{name}/.env", "SECRET=1")
        put(folder, f"{name}/data/big")
    found = contents(folder)
    assert {n for n in found.names if "/" in n} == {
        "lib/.gitignore", "lib/code.py", "clone/.gitignore", "clone/code.py",
    }  # fmt: skip
    assert found.ignored == ("clone/.env", "clone/data/", "lib/.env", "lib/data/")
    assert found.repositories == 3
    (folder / "lib" / ".git").unlink()  # its files are there, and git has forgotten whose they are
    assert {n for n in contents(folder).names if n.startswith("lib/")} == {"lib/.gitignore", "lib/code.py"}


def test_a_folder_that_a_repository_above_ignores_is_a_project_of_its_own(place: Path) -> None:
    git(place, "init", "-q")
    put(place, ".gitignore", "*\n!.bashrc\n")
    put(place, "project/train.py")
    put(place, "project/.gitignore", "*.pem\n")
    put(place, "project/key.pem")
    put(place, "project/known.pem")
    git(place, "add", "-f", "project/known.pem")
    found = contents(place / "project")
    assert found.names == (".gitignore", "known.pem", "train.py")
    assert ".gitignore:1:*" in found.rule
    assert found.ignored == ("key.pem", "known.pem")[:1] or found.ignored == ("key.pem", "known.pem")


def test_rules_above_a_folder_hold_in_it(place: Path) -> None:
    git(place, "init", "-q")
    put(place, ".gitignore", "*.log\n")
    put(place, ".hotdeskignore", "*.ckpt\n/src/notes\n")
    for name in ("a.py", "b.log", "c.ckpt", "notes"):
        put(place, f"src/{name}")
    found = contents(place / "src")
    assert found.names == ("a.py",)
    assert (found.ignored, found.hotdesk_ignored) == (("b.log",), ("c.ckpt", "notes"))
    assert found.rule == ""
    put(place, ".hotdeskignore", "src/\n")  # asked for by its name, it goes
    assert contents(place / "src").names == ("a.py", "c.ckpt", "notes")


@pytest.mark.parametrize("repository", [True, False])
def test_hotdeskignore_leaves_out_what_git_knows_and_reaches_into_clones(
    place: Path, repository: bool
) -> None:
    if repository:
        git(place, "init", "-q")
    put(place, ".hotdeskignore", "# a comment\ndata/\n*.ckpt\n\\#x\n")
    put(place, "deep/.hotdeskignore", "!keep.ckpt\n")
    for name in ("data/d", "deep/a.ckpt", "deep/keep.ckpt", "#x", ":y", "a\nb.ckpt", "train.py"):
        put(place, name)
    (place / "deep" / "data").mkdir()  # empty, and left out as a folder
    (place / "deep" / "out").mkdir()
    (place / "clone").mkdir()
    git(place / "clone", "init", "-q")
    put(place, "clone/b.ckpt")
    put(place, "clone/c.py")
    if repository:
        git(place, "add", "data", "deep")
    found = contents(place)
    assert set(found.names) == {
        ".hotdeskignore", "deep/.hotdeskignore", "deep/keep.ckpt", "deep/out", ":y", "train.py", "clone/c.py",
    }  # fmt: skip
    assert set(found.hotdesk_ignored) == {
        "data/d", "deep/a.ckpt", "deep/data", "#x", "a\nb.ckpt", "clone/b.ckpt",
    }  # fmt: skip


@pytest.mark.root
def test_a_repository_of_another_owner_is_read_and_nothing_of_it_is_run(place: Path) -> None:
    folder, canary = place / "project", place / "canary"
    put(folder, ".gitignore", "*.bin\n")
    put(folder, "main.py")
    put(folder, "weights.bin")
    put(folder, "other.bin")
    git(folder, "init", "-q")
    git(folder, "add", "-f", "weights.bin")
    git(folder, "config", "core.fsmonitor", f"touch {canary}; false")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 12345, 12345)
    assert contents(folder).names == (".gitignore", "main.py", "weights.bin")
    assert not canary.exists()


def test_what_git_cannot_read_is_a_question_and_no_repository_is_not(place: Path) -> None:
    put(place, "a.py")
    git(place, "init", "-q")
    git(place, "add", "a.py")
    (place / ".git" / "index").write_bytes(b"rubbish")
    with pytest.raises(NeedsDecision, match="git cannot say"):
        contents(place)
    assert set(contents(place, everything=True).names) > {"a.py", ".git/index"}
    shutil.rmtree(place / ".git")
    put(place, ".git", "gitdir: /nowhere\n")  # a work tree that was moved
    assert contents(place).names == ("a.py",)


def test_a_hook_of_git_does_not_lead_it_elsewhere(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(place, "one/a.py")
    put(place, "two/b.py")
    git(place / "one", "init", "-q")
    git(place / "two", "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(place / "one" / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(place / "one" / ".git" / "index"))
    assert contents(place / "two").names == ("b.py",)


def test_empty_folders_and_links_go_and_links_that_lead_out_are_told(place: Path) -> None:
    folder = place / "project"
    put(folder, "data/d")
    put(folder, ".gitignore", "tmp/\n")
    for name in ("out", "deep/er", "tmp/none", "data/e"):
        (folder / name).mkdir(parents=True)
    for name, to in (("in", "data"), ("data/up", "../data/d"), ("out-1", "../outside"), ("out-2", "/etc")):
        (folder / name).symlink_to(to)
    for repository in (False, True):
        if repository:
            git(folder, "init", "-q")
            git(folder, "add", ".")
        found = contents(folder)
        assert found.names == (
            ".gitignore", "data/d", "data/e", "data/up", "deep/er", "in", "out", "out-1", "out-2",
        )  # fmt: skip
        assert found.outward == ("out-1", "out-2")


def test_everything_is_all_but_sockets_and_devices(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(place, "init", "-q")
    put(place, ".gitignore", "*.bin\n")
    put(place, "a.bin")
    (place / "empty").mkdir()
    os.mkfifo(place / "pipe")
    monkeypatch.chdir(place)
    with socket.socket(socket.AF_UNIX) as ear:
        ear.bind("ear")
        found = contents(place, everything=True)
    assert found.unfit == ("ear",)
    assert {"a.bin", "empty", "pipe", ".git/HEAD"} <= set(found.names)
    assert "a.bin" not in contents(place).names


def test_without_git_no_other_rule_is_guessed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(place, "project/a.py")
    put(place, "project/deep/b.py")
    monkeypatch.setenv("PATH", "")
    found = contents(place / "project")
    assert found.names == ("a.py", "deep/b.py")
    assert "no git" in found.rule
    for name in (".gitignore", ".hotdeskignore", "deep/.gitignore", ".git"):
        put(place, f"project/{name}")
        with pytest.raises(Missing, match="no git"):
            contents(place / "project")
        assert len(contents(place / "project", everything=True).names) == 3
        (place / "project" / name).unlink()


@pytest.mark.root
@pytest.mark.parametrize("everything", [True, False])
def test_what_may_not_be_read_is_told_and_not_left_out_silently(
    monkeypatch: pytest.MonkeyPatch, everything: bool
) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    with tempfile.TemporaryDirectory() as name:  # pytest's own are closed to others
        folder = Path(name)
        folder.chmod(0o777)
        for file in ("a.py", "secret", "private/x", "tmp/y", "held"):
            put(folder, file)
        put(folder, ".gitignore", "tmp/\n")
        put(folder, ".hotdeskignore", "held\n")
        for closed in ("secret", "private", "tmp", "held"):
            (folder / closed).chmod(0)
        os.seteuid(12345)
        try:
            found = contents(folder, everything=everything)
        finally:
            os.seteuid(0)
        told = {"private", "secret", "tmp", "held"} if everything else {"private", "secret"}
        assert set(found.unreadable) == told


def test_a_folder_that_is_pushed_is_known_by_its_name_at_the_desk() -> None:
    """What goes without a name of its own (its content, a file, a link) is nobody's folder there."""
    with tempfile.TemporaryDirectory() as name:
        data, link = Path(name, "data"), Path(name, "link")
        data.mkdir()
        (data / "d").write_text("x")
        link.symlink_to(data)
        goods = gathered("blue", [data, f"{data}/", data / "d", link], "in")
        assert goods.folders == (data.resolve(),)
        assert len(goods.sources) == 4
