"""`--json` and `--dry-run` everywhere, the schema of each shape, and the guide for a coding agent."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest

from hotdesk.cli.main import COMMAND_NAMES, run
from hotdesk.cli.main import hotdesk as group
from hotdesk.cli.ui.guides import AGREEMENTS, EFFECTS, NO_JSON, for_agents, for_people
from hotdesk.core.errors import EXIT_CODES
from hotdesk.services.schemas import SHAPES, schema
from tests.conftest import Command
from tests.local_rig import tool, wait_for

#: Commands that act on a desk, or on files.
ACTS = {
    *("up", "resume", "start", "stop", "park", "move", "down", "stay"),
    *("run", "push", "pull", "cancel", "gc"),
}
CONTEXT = click.Context(group, info_name="hotdesk")


def options(name: str) -> set[str]:
    command = group.get_command(CONTEXT, name)
    assert command is not None
    every = [command, *(command.commands.values() if isinstance(command, click.Group) else ())]
    return {option for one in every for param in one.params for option in param.opts}


def fits(shape: str, text: str) -> Any:
    """The document, which is of that shape and the only thing on standard output."""
    document = json.loads(text)
    jsonschema.Draft202012Validator(schema(shape)).validate(document)
    return document


def test_every_command_answers_with_json() -> None:
    assert {name for name in COMMAND_NAMES if "--json" not in options(name)} == set(NO_JSON)
    told = {command.split()[0] for _, commands in SHAPES.values() for command in commands} - {"every"}
    assert told == COMMAND_NAMES - set(NO_JSON)


def test_every_verb_has_a_dry_run() -> None:
    assert {name for name in ACTS if "--dry-run" not in options(name)} == set()


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_a_schema_that_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", name]) == 0
    found = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(found)
    assert all(part.get("description") for part in found.get("$defs", {}).values() if "properties" in part)


def test_an_unknown_shape_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", "dseks"]) == 4
    assert "hotdesk schema desks" in capsys.readouterr().err


READERS = {
    ("ls",): "desks",
    ("log",): "journal",
    ("jobs",): "jobs",
    ("costs",): "bill",
    ("gc",): "orphans",
    ("images",): "images",
    ("doctor",): "findings",
    ("offers", "g6.xlarge", "--offline"): "offers",
    ("plan", "--work", "10h", "--startup", "5m"): "job-plan",
    ("plan", "--work", "10h", "--on", "V100", "--region", "us-west-2"): "job-plan",
    ("predict", "--from", "V100=833", "--to", "L4", "--family", "cnn"): "predictions",
    ("predict", "--from", "V100=833", "--to", "L4", "--to", "A100", "--family", "cnn"): "predictions",
    ("bench", "list"): "bench",
    ("sweep", "ls"): "sweeps",
    ("sweep", "show"): "error",
    ("bench", "compare"): "bench",
    ("show", "blue"): "error",
    ("up", "blue", "--idle", "soon"): "error",
    ("ls", "--jsn"): "error",
    ("up", "blue", "--dry-run"): "plan",
    ("run", "blue", "--yes", "--no-push", "--dry-run", "--env", "A=1", "--", "true"): "run-plan",
    ("config",): "settings",
    ("init", "--dry-run"): "settings-file",
    ("export", "nowhere"): "error",
}


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("words", READERS, ids=" ".join)
def test_what_is_printed_fits_its_shape(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    place = words.index("--") if "--" in words else len(words)
    status = run([*words[:place], "--json", *words[place:]])
    found = fits(READERS[words], capsys.readouterr().out)
    if READERS[words] == "error":
        assert found["error"]["exit_code"] == status
    else:
        assert status in {0, 5}


@pytest.mark.usefixtures("home")
def test_with_json_nobody_is_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where there is a terminal: a program at one would wait for ever."""
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert run(["run", "blue", "--json", "--no-push", "--", "true"]) == 5
    found = fits("error", capsys.readouterr().out)["error"]
    assert (found["kind"], found["needs_person"]) == ("NeedsDecision", True)
    assert run(["run", "blue", "--json", "--secret", "NOT_SET_ANYWHERE", "--", "true"]) == 4
    assert "NOT_SET_ANYWHERE" in fits("error", capsys.readouterr().out)["error"]["what"]


def test_the_guide_for_an_agent_is_true() -> None:
    """It names every command, code and shape, and every command line in it is one that hotdesk reads."""
    text = for_agents()
    assert all(f"`{name}`" in text for name in COMMAND_NAMES)
    assert all(f"| {code} | {said} |" in text for code, said in EXIT_CODES.items())
    assert all(f"| `{name}` |" in text for name in SHAPES)
    assert {*EFFECTS} <= COMMAND_NAMES
    assert all(any(option in options(name) for name in COMMAND_NAMES) for option in AGREEMENTS)
    [block] = re.findall(r"```sh\n(.*?)```", text, re.S)
    lines = re.findall(r"^hotdesk .+?(?=   #|$)", block, re.M)
    lines += re.findall(r"^hotdesk .+?(?=   )", for_people(), re.M)
    assert len(lines) > 10
    for line in lines:
        words = shlex.split(line)[1:]
        command = group.get_command(CONTEXT, words[0])
        assert command is not None
        command.make_context(words[0], words[1:], resilient_parsing=False)
    assert len(text) < 8000, "an agent reads it whole"


@tool("ssh")
def test_a_day_in_json(hotdesk: Command, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verb at a real desk: what it prints is of its shape, and a dry run changes nothing."""
    project = home / "project"
    project.mkdir()
    (project / "train.py").write_text("print('trained')\nopen('out.txt', 'w').write('done')\n")

    def told(shape: str, *words: str, status: int = 0) -> Any:
        place = words.index("--") if "--" in words else len(words)
        done = hotdesk(*words[:place], "--json", *words[place:])
        assert done.returncode == status, (words, done.stdout, done.stderr)
        return fits(shape, done.stdout)

    up = told("desk", "up", "blue")
    assert (up["phase"], up["holder"], up["journal"][-1]["step"]) == ("ready", "", "prove")
    shown = told("desk", "show")
    assert {key for key in up if up[key] != shown[key]} <= {
        "journal",
        "stays_seconds",
        "idle_seconds",
        "idle_at",
    }
    assert told("copied", "push", "blue", str(project), "--dry-run")["files"] == ["project/train.py"]
    assert told("output", "ssh", "blue", "--", "ls", "project", status=2)["errors"]
    told("copied", "push", "blue", str(project / "train.py"))
    assert told("output", "ssh", "blue", "--", "cat train.py | wc -l")["output"].strip() == "2"
    listed = told("copied", "pull", "blue", "train.py", "--to", "back", "--dry-run")
    assert (listed["files"], listed["bytes"]) == (["train.py"], (project / "train.py").stat().st_size)
    assert not (home / "back").exists()
    assert told("copied", "pull", "blue", "train.py", "--to", "back")["files"] == ["train.py"]
    assert told("error", "pull", "blue", "none", "--dry-run", status=4)["error"]["kind"] == "Unknown"

    monkeypatch.chdir(project)
    words = ("run", "blue", "--then", "stay")
    planned = told("run-plan", *words, "--dry-run", "--", "python3 train.py")
    assert (planned["then"], planned["cost"]["usd_per_hour"]) == ("stay", 0.0)
    job = told("run", *words, "--", "echo hi; exit 3", status=3)
    assert (job["state"], job["exit_status"]) == ("failed", 3)
    assert told("log", "logs", "blue")["text"] == "hi\n"
    going = told("run", *words, "--detach", "--", "sleep 600")
    assert [one["job"] for one in told("jobs", "cancel", "blue", "--dry-run")] == [going["job"]]
    assert told("jobs", "jobs", "blue")[-1]["job"] == going["job"]
    assert told("jobs", "cancel", "blue")[0]["state"] == "cancelled"

    assert "password" not in told("notebook", "notebook", "blue")
    assert told("notebook", "notebook", "blue", "--password")["password"]
    assert told("editor", "code", "blue")["included"] is False
    assert told("login", "ssh", "blue", "--print")["ssh"].startswith("ssh ")
    assert told("desk", "stay", "blue", "2h", "--dry-run")["phase"] == "ready"
    assert 7000 < told("desk", "stay", "blue", "2h")["stays_seconds"] <= 7200
    assert "for another 2 h" in hotdesk("show").stdout
    assert told("desk", "stay", "blue", "--off")["stays_seconds"] == 0
    told("error", "stay", "blue", "0m", status=2)
    assert told("bill", "costs")["stored_here"]["blue"] > 4096
    assert "disk space of this computer: blue " in hotdesk("costs").stdout

    wait_for(lambda: not told("desks", "ls")[0]["holder"])  # a command's own look at the desk is over

    def wanted() -> list[dict[str, Any]]:  # but for what its watch sees meanwhile
        return [{k: v for k, v in desk.items() if not k.startswith("idle_")} for desk in told("desks", "ls")]

    before = wanted()
    for verb in ("park", "stop", "down"):
        assert told("plan", verb, "blue", "--dry-run")["steps"]
    assert wait_for(lambda: wanted() == before)
    assert told("desk", "park", "blue")["phase"] == "parked"
    assert told("plan", "resume", "blue", "--dry-run")["steps"][0]["step"] == "launch"
    assert told("desks", "watch", "--once")[0]["phase"] == "parked"
    assert told("watcher", "watch", "--stop")["running"] is False
    refused = told("error", "down", "blue", status=5)["error"]
    assert refused["needs_person"]
    assert "--yes" in refused["fix"]
    gone = told("gone", "down", "blue", "--yes", "--keep-logs")
    assert gone["gone"]
    assert Path(gone["logs"][0]).read_text() == "hi\n"
    assert told("log", "logs", "blue", "1")["text"] == "hi\n"
