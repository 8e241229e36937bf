"""Jobs of hotdesk.toml: `hotdesk run blue train` is enough, and every word has one reading."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from hotdesk import Goal, Hotdesk
from hotdesk.cli.commands import run
from hotdesk.cli.ui import run_words
from hotdesk.config import Config, JobSettings, parse
from hotdesk.core.errors import Damaged, Unknown, Usage
from hotdesk.services.jobs import JobRequest, described

FILE = """
[desks.blue]
gpu = "none"

[jobs.train]
command = "python train.py"
resume_command = "python train.py --resume"
checkpoint = "ckpt"
signal = "none"
grace = 40
pull = ["out", "log.txt"]
then = "stay"
work = "90m"
deadline = 5
budget = 2.5
all = true

[jobs.eval]
command = ["python", "eval.py", "a b"]
"""


@pytest.fixture
def project(home: Path) -> Path:
    (home / "hotdesk.toml").write_text(FILE)
    return home


def read(*args: str) -> tuple[str, str, tuple[str, ...], str | None]:
    """The desk, the job, the command's words and `--then` that a command line means."""
    with run.command.make_context("run", list(args), resilient_parsing=False) as context:
        return (
            context.params["name"],
            run_words.job_of(context),
            context.params["words"],
            context.params["then"],
        )


@pytest.mark.parametrize(
    ("line", "means"),
    [
        (["blue", "train"], ("blue", "train", (), None)),
        (["--then", "stop", "blue", "train"], ("blue", "train", (), "stop")),
        (["blue", "train", "--then", "stop"], ("blue", "train", (), "stop")),
        (["blue", "--then=stop", "train", "--detach"], ("blue", "train", (), "stop")),
        (["blue", "--", "train"], ("blue", "", ("train",), None)),
        (["blue", "--", "eval", "--then", "stop"], ("blue", "", ("eval", "--then", "stop"), None)),
        (["blue", "python", "train"], ("blue", "", ("python", "train"), None)),
        (["blue", "python", "--then", "x"], ("blue", "", ("python", "--then", "x"), None)),
        (["blue", "./train"], ("blue", "", ("./train",), None)),
        (["blue", "make && ./train"], ("blue", "", ("make && ./train",), None)),
    ],
)
def test_one_word_after_the_desk_is_a_job(
    project: Path, line: list[str], means: tuple[str, str, tuple[str, ...], str | None]
) -> None:
    assert read(*line) == means


def test_one_word_that_is_no_job_is_no_command_either(project: Path) -> None:
    with pytest.raises(Unknown) as found:
        read("blue", "trian")
    assert "train, eval" in found.value.why
    assert found.value.fix == "hotdesk run blue train   # or, as a command: hotdesk run blue -- trian"
    with pytest.raises(Unknown) as found:
        read("blue", "nvidia-smi")
    assert found.value.fix == "hotdesk run blue -- nvidia-smi"


@pytest.mark.parametrize("after", [["x"], ["--", "x"], ["--detach", "x"]])
def test_a_job_takes_no_words_of_its_own(project: Path, after: list[str]) -> None:
    with pytest.raises(Usage) as found:
        read("blue", "train", *after)
    assert "as a command: hotdesk run blue -- train x" in found.value.fix


def test_one_word_alone_is_an_error_that_names_both_readings(project: Path) -> None:
    with pytest.raises(Usage) as found:
        read("train")
    assert "If train is a desk" in found.value.why
    assert "if it is a job" in found.value.why
    assert found.value.fix.startswith(
        "hotdesk run blue train   # or, if train is the desk: hotdesk run train -- "
    )
    with pytest.raises(Usage) as found:
        read("red", "--detach")
    assert found.value.fix.startswith("hotdesk run red train   # or: hotdesk run red -- ")
    (project / "hotdesk.toml").unlink()
    with pytest.raises(Usage) as found:
        read("red")
    assert found.value.fix == "hotdesk run red -- python train.py"


def test_a_file_that_cannot_be_read_may_have_the_job(project: Path) -> None:
    (project / "hotdesk.toml").write_text("[jobs.train\n")
    with pytest.raises(Damaged):
        read("blue", "train")
    assert read("blue", "--", "train")[2] == ("train",)


def test_help_needs_no_words(project: Path) -> None:
    for words in (["--help"], ["blue", "--help"]):
        with pytest.raises(click.exceptions.Exit):
            read(*words)


def test_a_job_is_the_request_that_its_options_would_make(project: Path) -> None:
    with Hotdesk() as desks:
        jobs = desks.services.jobs
        assert jobs.requested("train", {}, project) == JobRequest(
            command=("python train.py",),
            folder=str(project),
            resume_command="python train.py --resume",
            checkpoint="ckpt",
            signal="",
            grace_seconds=40.0,
            pull=("out", "log.txt"),
            then=None,
            work_seconds=5400.0,
            deadline_seconds=18000.0,
            budget_usd=2.5,
            everything=True,
        )
        assert jobs.requested("eval", {}, project).line == "python eval.py 'a b'"
        given = {"then": Goal.STOPPED, "deadline_seconds": 60.0}
        changed = jobs.requested("train", given, project)
        assert (changed.then, changed.deadline_seconds, changed.work_seconds) == (Goal.STOPPED, 60.0, 5400.0)
        with pytest.raises(Unknown, match="There are: train, eval"):
            jobs.requested("trian", {}, project)
        with pytest.raises(Usage, match="no command"):
            desks.run("blue")


def test_every_setting_of_a_job_is_an_option_of_run() -> None:
    with run.command.make_context("run", ["blue", "--", "x"]) as context:
        given = context.params
    settings = set(JobSettings.__struct_fields__) - {"command"}
    assert settings <= given.keys()
    assert described(run._settings((), given)) == {}  # no default hides what the file says
    with run.command.make_context("run", ["--grace", "0", "--budget", "0", "blue", "--", "x"]) as context:
        told = described(run._settings(("x",), context.params))
    assert told == {"command": ("x",), "grace_seconds": 0.0, "budget_usd": 0.0}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[jobs.a]\npull = ['out']", "missing required field `command`"),
        ("[jobs.a]\ncommand = ''", "jobs.a.command is empty"),
        ("[jobs.a]\ncommand = []", "jobs.a.command is empty"),
        ("[jobs.a]\ncommand = 'x'\nthen = 'stya'", "did you mean 'stay'?"),
        ("[jobs.a]\ncommand = 'x'\nsignal = 'HUP'", "USR1, USR2, TERM, none"),
        ("[jobs.a]\ncommand = 'x'\nwork = 'never'", "jobs.a.work: 'never' is not a duration"),
        ("[jobs.a]\ncommand = 'x'\nbudget = -1", "it must be 0 or more"),
        ("[jobs.a]\ncommand = 'x'\ncheckpiont = 'c'", "did you mean 'checkpoint'?"),
        ("[jobs.'a b']\ncommand = 'x'", "one word"),
        ("[jobs]\na = 'x'", "jobs.a"),
    ],
)
def test_a_mistake_in_a_job_stops_that_job_and_nothing_else(text: str, why: str) -> None:
    config = parse(f"{text}\n[jobs.good]\ncommand = 'y'\n", Path("hotdesk.toml"))
    assert config.jobs.keys() == {"good"}
    [section] = config.faults
    assert why in config.faults[section].why
    with pytest.raises(Damaged):
        config.job(section.removeprefix("jobs."))
    assert config.job("good").words == ("y",)


def test_there_may_be_no_job_at_all() -> None:
    with pytest.raises(Unknown, match="init"):
        Config().job("train")
