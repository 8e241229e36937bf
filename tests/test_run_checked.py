"""What `hotdesk run` says before a machine is paid for, and what becomes of results on their way home."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path

import pytest

from hotdesk import Hotdesk
from hotdesk.core.errors import NeedsDecision, Unknown
from hotdesk.core.jobs import Job
from hotdesk.jobs import results
from hotdesk.services.run_checks import script_of
from tests.conftest import Command
from tests.local_rig import tool

pytestmark = [tool("ssh"), tool("rsync"), tool("git")]


@pytest.fixture
def project(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = home / "project"
    folder.mkdir()
    (folder / "train.py").write_text("print('trained')")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("words", "script"),
    [
        (["python", "train.py"], "train.py"),
        (["python3.11", "-u", "-W", "error", "src/train.py", "--epochs", "3"], "src/train.py"),
        (["torchrun", "--nproc_per_node", "8", "train.py"], "train.py"),
        (["env", "A=1", "python", "train.py"], "train.py"),
        (["./run.sh", "data.py"], "./run.sh"),
        (["bin/train"], "bin/train"),
        (["python train.py && python eval.py"], "train.py"),
        (["bash run.sh > log"], "run.sh"),
        (["python", "-m", "pkg.train", "conf.py"], ""),
        (["python", "-c", "import train.py"], ""),
        (["bash", "-lc", "python train.py"], ""),
        (["cd src && python train.py"], ""),
        (["make && ./train"], ""),
        (["python $SCRIPT"], ""),
        (["python 'a b.py'"], ""),
        (["/usr/bin/python", "train.py"], ""),
        (["python", "/opt/train.py"], ""),
        (["nvidia-smi"], ""),
        (["cp", "train.py", "x.py"], ""),
    ],
)
def test_the_projects_own_script_is_found_in_a_command_line(words: list[str], script: str) -> None:
    assert script_of(tuple(words)) == script


def test_a_link_out_of_the_folder_is_named_with_the_line_that_brings_what_it_leads_to(
    project: Path, home: Path, hotdesk: Command
) -> None:
    (home / "sets" / "one").mkdir(parents=True)
    (home / "sets" / "words.txt").write_text("a b")
    (project / "data").symlink_to("../sets/one")
    (project / "words.txt").symlink_to(home / "sets" / "words.txt")
    (project / "gone").symlink_to("/nowhere/at/all")
    (project / "inside").symlink_to("train.py")
    said = hotdesk("run", "blue", "--dry-run", "--", "python", "train.py").stderr
    assert "3 links lead out of the folder" in said
    lines = [line.partition("to bring it: ")[2] for line in said.splitlines() if "to bring it" in line]
    assert lines == [
        f"hotdesk push blue {home}/sets/one/ --to project/data",
        f"hotdesk push blue {home}/sets/words.txt --to project",
    ]


WRONG = [
    (["python", "train.py"], 5, "python is a command: the desk's name may be missing"),
    (["bleu", "--", "python", "train.py"], 5, "hotdesk run blue -- python train.py"),
    (["--", "python", "train.py"], 2, "name is missing"),
    (["blue", "--thne", "stay", "--", "true"], 2, "--thne"),
    (["blue", "--then", "never", "--", "true"], 2, "--then"),
    (["blue", "--pull", "/etc", "--", "true"], 2, "not in the job's folder"),
    (["blue", "--pull", "../other", "--", "true"], 2, "not in the job's folder"),
    (["blue", "--pull", "a/../..", "--", "true"], 2, "not in the job's folder"),
    (["blue", "--deadline", "0", "--work", "1", "--", "true"], 2, "--deadline 0 is now"),
    (["blue", "--", "python", "tarin.py"], 4, "The nearest is train.py"),
    (["blue", "--", "python", "secret.py"], 4, "git ignores it"),
    (["blue", "--", "python", "held.py"], 4, ".hotdeskignore leaves it out"),
    (["blue", "--", "train.py", "-x"], 4, "fix: hotdesk run blue -- python train.py -x"),
    (["blue", "--", "./none", "x"], 4, "There is no ./none"),
    (["red", "--", "true"], 5, "There is no desk red"),
]


def test_nothing_is_launched_for_what_cannot_be(hotdesk: Command, project: Path) -> None:
    (project / ".gitignore").write_text("secret.py\nhuge/\n")
    (project / ".hotdeskignore").write_text("held.py\n")
    for name in ("secret.py", "held.py"):
        (project / name).touch()
    assert hotdesk("up", "blue").returncode == 0
    assert hotdesk("stop", "blue").returncode == 0
    for words, status, said in WRONG:
        done = hotdesk("run", *words)
        assert (done.returncode, said in done.stderr) == (status, True), (words, done.stderr)
        assert "Traceback" not in done.stderr
        if status != 2 or "name is missing" not in said:
            assert "fix: " in done.stderr
    [desk] = json.loads(hotdesk("ls", "--json").stdout)
    assert (desk["name"], desk["phase"]) == ("blue", "stopped")
    empty = project / "huge"
    empty.mkdir()
    (empty / ".gitignore").write_text("*\n")
    os.chdir(empty)
    done = hotdesk("run", "blue", "--", "true")
    assert (done.returncode, "Nothing of huge would be copied" in done.stderr) == (5, True), done.stderr


def test_the_jobs_own_options_are_the_jobs(hotdesk: Command, project: Path) -> None:
    """With `--` and without. --yes makes the desk. What is left out is said, and --all leaves out nothing."""
    (project / "show.py").write_text("import os, sys\nprint(sys.argv[1:], sorted(os.listdir()))")
    (project / ".gitignore").write_text("data/\n")
    (project / "data").mkdir()
    (project / "data" / "d").touch()
    for between in ([], ["--"]):
        words = ["python", "show.py", "--then", "x", "--work", "--yes"]
        done = hotdesk("run", "--yes", "blue", "--then", "stay", *between, *words)
        assert done.returncode == 0, done.stderr
        assert done.stdout == ("['--then', 'x', '--work', '--yes'] ['.gitignore', 'show.py', 'train.py']\n")
        assert "project: 3 files go to blue; left out: 1 that git ignores (data/)" in done.stderr
    done = hotdesk("run", "blue", "--all", "--then", "stay", "python", "show.py")
    assert "'data'" in done.stdout
    assert "4 files go to blue" in done.stderr


def test_a_dry_run_says_what_would_be_and_does_nothing(hotdesk: Command, project: Path) -> None:
    assert project
    words = ("--pull", "out", "--", "python", "train.py")
    done = hotdesk("run", "blue", "--dry-run", *words)
    assert done.returncode == 0, done.stderr
    assert "project: 1 file goes to blue" in done.stderr
    first, launch, *rest = done.stdout.splitlines()
    assert (first, launch[:25]) == ("To have blue running:", "  1. launch local.cpu her")
    assert rest == [
        "Then run: python train.py",
        f"Then fetch out into {Path.cwd()}",
        "Then park blue, unless something else works there",
        "Nothing was done.",
    ]
    assert json.loads(hotdesk("ls", "--json").stdout) == []


def test_push_follows_the_same_rules_and_what_is_named_goes(hotdesk: Command, project: Path) -> None:
    subprocess.run(["git", "init", "-q", "."], check=True)
    (project / ".gitignore").write_text("data/\n*.pem\n")
    for name in ("data/d", "key.pem", "data/key.pem", "src/.gitignore", "src/a.py", "src/a.pem"):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text("*.log\n" if name.endswith(".gitignore") else "x")
    assert hotdesk("up", "blue").returncode == 0

    def at(folder: str) -> set[str]:
        found = hotdesk("ssh", "blue", "--", f"cd {folder} && find . -type f").stdout
        return {line.removeprefix("./") for line in found.splitlines()}

    pushed = hotdesk("push", "blue", ".", "--to", "one")
    assert pushed.returncode == 0, pushed.stderr
    assert at("one") == {".gitignore", "train.py", "src/.gitignore", "src/a.py"}
    assert (
        "project: 4 files go to blue:one; left out: .git, 3 that git ignores (data/, key.pem, src/a.pem)"
        in pushed.stderr
    )
    named = hotdesk("push", "blue", "data", "key.pem", "src/", "--to", "two")
    assert (named.returncode, "key.pem goes to blue:two" in named.stderr) == (0, True), named.stderr
    assert at("two") == {"data/d", "data/key.pem", "key.pem", "a.py", ".gitignore"}
    assert hotdesk("push", "blue", "--all", "src", "--to", "three").returncode == 0
    assert "src: 2 files go to blue:~/src; left out" in hotdesk("push", "blue", "src").stderr
    assert at("three") == {"src/a.py", "src/a.pem", "src/.gitignore"}
    (project / "link").symlink_to("data")
    alone = hotdesk("push", "blue", "link", "--to", "four")
    assert "link goes as a link, and what it leads to stays here" in alone.stderr
    assert "goes as a link" not in hotdesk("push", "blue", "link", "data", "--to", "five").stderr


def test_two_projects_of_one_name_are_not_mixed(hotdesk: Command, project: Path, tmp_path: Path) -> None:
    """1. One has run; a folder that is not there is no place to run in. 2. Another of that name is refused,
    and nothing of it goes. 3. Told so, it goes."""
    assert hotdesk("run", "blue", "--yes", "--then", "stay", "--", "true").returncode == 0
    assert hotdesk("run", "blue", "--then", "stay", "--", "true").returncode == 0, "the same one again"
    other = tmp_path / "elsewhere" / project.name
    other.mkdir(parents=True)
    (other / "train.py").write_text("other")
    os.chdir(other.parent)
    done = hotdesk("run", "blue", "--no-push", "--then", "stay", "--", "true")
    assert done.returncode == 4, done.stderr
    assert "There is no folder elsewhere at blue" in done.stderr
    assert f"hotdesk push blue {other.parent}" in done.stderr
    os.chdir(other)
    done = hotdesk("run", "blue", "--then", "stay", "--", "true")
    assert done.returncode == 5, done.stderr
    assert f"is from another folder: {platform.node()}:{project.resolve()}" in done.stderr
    content = hotdesk("ssh", "blue", "--", f"cat {project.name}/train.py").stdout
    assert content == (project / "train.py").read_text()
    assert hotdesk("run", "blue", "--yes", "--then", "stay", "--", "true").returncode == 0
    assert hotdesk("ssh", "blue", "--", f"cat {project.name}/train.py").stdout == "other"


def test_push_does_not_mix_two_folders_of_one_name(hotdesk: Command, project: Path, tmp_path: Path) -> None:
    """1. A folder, also below another. 2. Another of that name: refused. 3. Its content, and with --yes."""
    (project / "data").mkdir()
    (project / "data/d").write_text("first")
    assert hotdesk("up", "blue").returncode == 0
    for words in (["data"], ["data"], ["data", "--to", "in"], ["../project/data"]):
        done = hotdesk("push", "blue", *words)
        assert done.returncode == 0, done.stderr
    other = tmp_path / "elsewhere" / "data"
    other.mkdir(parents=True)
    (other / "d").write_text("other")
    for words in ([], ["--to", "in"]):
        done = hotdesk("push", "blue", str(other), *words)
        assert done.returncode == 5, done.stderr
        assert f"is from another folder: {platform.node()}:{(project / 'data').resolve()}" in done.stderr
        assert "--yes" in done.stderr
    assert hotdesk("push", "blue", str(other), "--to", "else").returncode == 0
    assert hotdesk("push", "blue", f"{other}/", "--to", "bare").returncode == 0
    there = hotdesk("ssh", "blue", "--", "cat data/d in/data/d else/data/d bare/d").stdout
    assert there == "firstfirstotherother"
    assert hotdesk("push", "blue", str(other), "--yes").returncode == 0
    assert hotdesk("ssh", "blue", "--", "cat data/d").stdout == "other"


def test_pull_leaves_what_is_newer_here(hotdesk: Command, project: Path) -> None:
    assert hotdesk("up", "blue").returncode == 0
    assert hotdesk("push", "blue", "train.py").returncode == 0
    assert hotdesk("ssh", "blue", "--", "echo at the desk >> train.py").returncode == 0
    assert hotdesk("pull", "blue", "train.py").returncode == 0
    assert (project / "train.py").read_text() == "print('trained')at the desk\n"
    (project / "train.py").write_text("mine")
    done = hotdesk("pull", "blue", "train.py")
    assert done.returncode == 0, done.stderr
    assert (project / "train.py").read_text() == "mine"
    assert (project / "train.py.from-blue").read_text() == "print('trained')at the desk\n"
    assert "train.py here is newer" in done.stderr
    assert "train.py.from-blue" in done.stderr


def test_results_come_as_a_folder_and_replace_only_what_was_fetched(hotdesk: Command, project: Path) -> None:
    (project / "results").mkdir()
    (project / "results" / "mine").write_text("before any job")
    os.utime(project / "results" / "mine", (1, 1))
    line = (
        "echo {0} > results/mine; echo {0} > results/theirs; mkdir -p results/deep; echo {0} > results/deep/x"
    )

    def run(text: str) -> str:
        words = ["--then", "stay", "--pull", "results/", "--", line.format(text)]
        done = hotdesk("run", "--yes", "blue", *words)
        assert done.returncode == 0, done.stderr
        return done.stderr

    first = run("first run")
    assert f"results from blue: 2 files (20 bytes) in {project}" in first
    assert "results/mine is kept as it is; blue's copy is results/mine.from-blue" in first
    held = {p.name: p.read_text() for p in (project / "results").rglob("*") if p.is_file()}
    assert held == {
        "mine": "before any job",
        "mine.from-blue": "first run\n",
        "theirs": "first run\n",
        "x": "first run\n",
    }
    (project / "results" / "deep" / "x").write_text("edited")
    second = run("second")
    assert (project / "results" / "theirs").read_text() == "second\n", "fetched, and nobody touched it"
    assert (project / "results" / "deep" / "x").read_text() == "edited"
    assert (project / "results" / "deep" / "x.from-blue").read_text() == "second\n"
    assert "results/deep/x is kept as it is; blue's copy is results/deep/x.from-blue" in second
    assert (project / "results" / "mine").read_text() == "before any job"
    [_, job] = json.loads(hotdesk("jobs", "--json").stdout)
    assert any("results/deep/x.from-blue" in line for line in job["fetched"])
    assert not list(project.glob(".hotdesk*"))


def test_results_that_cannot_be_written_here_stay_at_the_desk(hotdesk: Command, project: Path) -> None:
    (project / ".hotdesk-copying").write_text("a file where the folder should be")
    done = hotdesk("run", "--yes", "blue", "--pull", "out", "--", "mkdir out; echo 1 > out/x")
    assert done.returncode == 0, done.stderr
    assert "results not fetched" in done.stderr
    assert "hotdesk pull blue project/out" in done.stderr
    assert json.loads(hotdesk("ls", "--json").stdout)[0]["phase"] == "parked", "they are in its image"


def test_of_another_desk_and_after_this_job_began_is_not_replaced(tmp_path: Path) -> None:
    """Two desks bring results into one folder; by our clock, whatever theirs say."""
    state, target = tmp_path / "state", tmp_path / "project"
    state.mkdir()

    def taken(desk: str, number: int, began: float, now: float, text: str) -> tuple[str, ...]:
        source = tmp_path / f"{desk}{number}"
        source.mkdir()
        (source / "log\udcff").write_text(text)
        job = Job(
            id=f"{number}", number=number, desk=desk, command=("x",), created_at=0.0, pull=("log",),
            pull_to=str(target),
        )  # fmt: skip
        return results.take(job, source, began=began, now=now, state=state)

    file = target / "log\udcff"
    taken("blue", 1, 10.0, 20.0, "blue's first")
    taken("green", 2, 15.0, 30.0, "green began before that came")
    assert file.read_text() == "blue's first"
    assert (target / "log\udcff.from-green").read_text() == "green began before that came"
    taken("green", 3, 40.0, 50.0, "and this after")
    assert file.read_text() == "and this after"
    for known in (state / "fetched").iterdir():
        known.write_text("rubbish")
    taken("green", 4, 60.0, 70.0, "who knows")
    assert file.read_text() == "and this after", "nothing is known, so nothing is replaced"


def test_python_is_told_as_much_before_a_machine_is_made(project: Path) -> None:
    (project / "tarin.txt").touch()
    with Hotdesk() as desks:
        with pytest.raises(Unknown, match=r"There is no tarin\.py in .*project"):
            desks.run("blue", ["python", "tarin.py"])
        (project / ".gitignore").write_text("*\n")
        with pytest.raises(NeedsDecision, match=r"Nothing of project would be copied"):
            desks.run("blue", "true")
        assert desks.ls() == []
