"""What goes with a desk, and what `hotdesk uninstall` removes: what hotdesk made here, and no more."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest

from hotdesk import Hotdesk, Unknown
from hotdesk.cli.main import run
from hotdesk.connect import editor
from hotdesk.core.jobs import Job, Variables
from hotdesk.core.model import Desk, Goal
from hotdesk.core.steps import BakeOrder
from hotdesk.providers.local import records
from hotdesk.providers.local.paths import Folders
from hotdesk.services.uninstall import Made
from hotdesk.state import variables


def state() -> Path:
    return Path(os.environ["HOTDESK_STATE"])


def desk(name: str, provider: str) -> Desk:
    return Desk(name=name, goal=Goal.PARKED, since=1.0, created_at=1.0, provider=provider)


@pytest.mark.usefixtures("home")
def test_the_logs_of_jobs_go_with_their_desk_and_can_be_kept() -> None:
    with Hotdesk() as desks:
        jobs, store = desks.services.jobs, desks.services.store
        for name in ("blue", "red"):
            job = store.queue(Job(id="", number=0, desk=name, command=("true",), created_at=2.0, folder="p"))
            file = state() / "jobs" / f"{job.id}.log"
            file.parent.mkdir(exist_ok=True)
            file.write_text("hi\n")
        jobs.forget_logs("blue")
        assert [len(jobs.kept_logs(name)) for name in ("blue", "red")] == [0, 1]
        assert desks.logs("red") == "hi\n", "kept, although there is no such desk"
        with pytest.raises(Unknown, match="The log of job 1 is gone with its desk blue"):
            desks.logs("blue")


def test_all_that_was_made_here_is_removed_and_nothing_else(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Hotdesk() as desks:
        assert desks.ls() == []
        assert desks.services.store.rows() == []
    config = home / ".ssh" / "config"
    config.parent.mkdir()
    config.write_text("Host mine\n    User me\n")
    assert editor.include(config, state() / "ssh" / "*.conf")
    (state() / "ssh").mkdir()
    variables.write(state(), "1-abc", Variables(values={"HF_TOKEN": "hf_secret"}, secrets=("HF_TOKEN",)))
    for name in ("mine.txt", "hotdesk.toml", "website.html"):
        (state() / name).write_text("not hotdesk's")
    assert run(["uninstall", "--dry-run"]) == 0
    assert "Nothing was removed" in capsys.readouterr().out
    assert editor.includes(config, state() / "ssh" / "*.conf")
    assert run(["uninstall"]) == 5, "it asks"
    capsys.readouterr()
    assert run(["uninstall", "--yes", "--json"]) == 0
    told = msgspec.convert(json.loads(capsys.readouterr().out)["made"], list[Made])
    assert told
    assert all(one.removed for one in told)
    assert config.read_text() == "Host mine\n    User me\n"
    assert sorted(path.name for path in state().iterdir()) == ["hotdesk.toml", "mine.txt", "website.html"]


@pytest.mark.usefixtures("home")
def test_work_of_a_desk_that_no_row_knows_any_more_is_not_deleted(capsys: pytest.CaptureFixture[str]) -> None:
    images = Folders.of(state()).images
    images.mkdir(parents=True)
    order = BakeOrder(
        desk="blue", born=1.0, generation=1, attempt=0, source_id="m", started_at=1.0, region="here"
    )
    records.write(images / "i.json", records.Picture(order=order, taken_at=2.0))
    assert run(["uninstall", "--yes"]) == 5
    said = capsys.readouterr().err
    assert "Desks on this computer hold work: blue" in said
    assert "hotdesk doctor --adopt; hotdesk down blue" in said
    assert (images / "i.json").exists()
    run(["doctor", "--adopt"])
    assert run(["down", "blue", "--yes"]) == 0
    assert run(["uninstall", "--yes"]) == 0


@pytest.mark.usefixtures("home")
def test_a_desk_here_is_deleted_first_and_one_in_a_cloud_is_asked_about(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Hotdesk() as desks:
        desks.services.store.put(desk("blue", "local"))
        desks.services.store.put(desk("red", "aws"))
    assert run(["uninstall", "--yes"]) == 5
    assert "hotdesk down blue" in capsys.readouterr().err
    assert (state() / "hotdesk.db").exists()
    with Hotdesk() as desks:
        desks.services.store.remove("blue")
    assert run(["uninstall", "--json"]) == 5
    assert "red would stay in the cloud" in json.loads(capsys.readouterr().out)["error"]["what"]
    assert run(["uninstall", "--yes"]) == 0
    assert not state().exists()
