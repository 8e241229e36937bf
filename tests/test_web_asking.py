"""Who asks the clouds for the page: a process beside its server, that is there while somebody looks."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("starlette", reason="the extra web is not installed")

from hotdesk.core.errors import Unknown
from hotdesk.core.model import Desk, Goal
from hotdesk.state.store import Store
from hotdesk.system import SystemClock
from hotdesk.web import answering, asking
from tests.local_rig import wait_for

pytestmark = pytest.mark.slow


def children() -> set[int]:
    """Processes of this one that run."""
    told = [tasks.read_text() for tasks in Path("/proc/self/task").glob("*/children")]
    return {int(pid) for pid in " ".join(told).split() if _runs(pid)}


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def beside(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[asking.Beside]:
    monkeypatch.setenv("HOTDESK_STARTS", "1")  # a fork would be no child of this process
    asker = asking.Beside(tmp_path / "state", linger=0.0)
    yield asker
    asker.rest()


def a_desk(state: Path) -> None:
    now = SystemClock().now()
    with Store(state) as store:
        store.put(Desk(name="blue", goal=Goal.PARKED, since=now, created_at=now))


def test_it_answers_as_the_server_itself_would(beside: asking.Beside, tmp_path: Path) -> None:
    a_desk(tmp_path / "state")
    here = answering.Here(tmp_path / "state")
    for name, said in (
        ("?clouds", b"{}"),
        ("?log", b'{"name":"blue"}'),
        ("plan", b'{"verb":"park","name":"blue"}'),
    ):
        assert beside.ask(name, said) == here.ask(name, said)
    status, told = beside.ask("?show", b'{"name":"green"}')
    assert (status, msgspec.json.decode(told)["error"]["exit_code"]) == (asking.FAILED, Unknown.exit_code)
    status, told = beside.ask(asking.LOOK)
    assert status == asking.OK
    assert msgspec.json.decode(told, type=dict[str, asking.Look])["answer"].views[0].name == "blue"


def test_prices_are_gathered_by_a_process_that_goes_at_once(
    beside: asking.Beside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What looks goes on meanwhile, and does not grow by them."""
    monkeypatch.setenv("HOTDESK_OFFLINE", "1")
    a_desk(tmp_path / "state")
    others = children()  # of other tests
    assert beside.ask(asking.LOOK)[0] == asking.OK
    looking = children() - others
    assert len(looking) == 1
    status, told = beside.ask("?offers", b'{"offline":"1"}')
    assert status == asking.OK
    assert msgspec.json.decode(told)["answer"]["usd"]
    wait_for(lambda: children() - others == looking)
    assert beside.ask(asking.LOOK)[0] == asking.OK


def test_a_click_is_done_there_and_told_about_meanwhile(
    beside: asking.Beside, home: Path, tmp_path: Path
) -> None:
    """The clouds' libraries are loaded by it, and never by the server."""
    a_desk(tmp_path / "state")
    (home / "hotdesk.toml").write_text("[notify]\nbel = true\n")
    heard: list[bytes] = []
    status, told = beside.ask("!do", b'{"verb":"down","name":"blue"}', heard.append)
    assert (status, "error" in msgspec.json.decode(told)) == (asking.OK, False)
    assert any("bel" in note for one in heard for note in msgspec.json.decode(one).get("notes", ()))
    with Store(tmp_path / "state") as store:
        assert store.find("blue") is None
    status, told = beside.ask("!do", b'{"verb":"start","name":"blue"}')
    assert (status, msgspec.json.decode(told)["error"]["exit_code"]) == (asking.FAILED, Unknown.exit_code)


def test_a_desk_is_opened_and_moved_wherever_it_is_best(home: Path, tmp_path: Path) -> None:
    """Nothing but this computer is set up here: each place is said with its reason."""
    here = answering.Here(tmp_path / "state")
    status, told = here.ask("plan", b'{"verb":"up","name":"red","provider":"any"}')
    said = msgspec.json.decode(told)
    assert status == asking.OK, said
    assert said["notes"][0].startswith("-> this computer:")
    assert said["answer"]["line"] == ["hotdesk", "up", "red", "--provider", "any"]
    assert [step["step"] for step in said["answer"]["steps"]] == ["launch"]
    a_desk(tmp_path / "state")
    status, told = here.ask("plan", b'{"verb":"move","name":"blue","provider":"any"}')
    assert (status, msgspec.json.decode(told)["error"]["what"]) == (asking.FAILED, "blue is there already.")
    assert {"name": "any", "label": "any", "rented": True, "machines": False} in msgspec.json.decode(
        here.ask("?clouds")[1]
    )["answer"]["clouds"]


def test_it_goes_when_nobody_looks_and_comes_again(beside: asking.Beside, tmp_path: Path) -> None:
    a_desk(tmp_path / "state")
    before = children()
    for _ in range(2):
        assert beside.ask(asking.LOOK)[0] == asking.OK
    [process] = children() - before
    beside.rest()
    wait_for(lambda: (beside.rest(), process not in children())[1], 60)
    assert beside.ask("?clouds")[0] == asking.OK
    assert children() - before


def test_whoever_waits_for_one_that_is_killed_is_told(beside: asking.Beside) -> None:
    """1. it is stopped; 2. ten ask; 3. it is killed: each is answered, and so is the next question."""
    before = children()
    beside.ask("?clouds")
    [process] = children() - before
    os.kill(process, signal.SIGSTOP)
    told: list[asking.Reply] = []
    askers = [threading.Thread(target=lambda: told.append(beside.ask("?clouds"))) for _ in range(10)]
    for one in askers:
        one.start()
    wait_for(lambda: len(beside._waiting) == 10, 60)
    os.kill(process, signal.SIGKILL)
    for one in askers:
        one.join(60)
    assert {status for status, _ in told} == {asking.FAILED}
    assert len(told) == 10
    assert "has ended" in msgspec.json.decode(told[0][1])["error"]["what"]
    assert beside.ask("?clouds")[0] == asking.OK
