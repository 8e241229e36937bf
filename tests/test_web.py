"""The page's server: who may ask, what is told to whom, and that a click is the same as a command."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import json
import os
import socket
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("starlette", reason="the extra web is not installed")
pytest.importorskip("uvicorn", reason="the extra web is not installed")
pytest.importorskip("wsproto", reason="the extra web is not installed")

from hotdesk.cli.main import hotdesk as commands
from hotdesk.cli.ui import run_words
from hotdesk.connect import forwards
from hotdesk.core.errors import NeedsDecision, Usage
from hotdesk.core.model import Desk, Goal, Want
from hotdesk.core.sweep.model import State, Wish
from hotdesk.state.store import Store
from hotdesk.sweep.store import SweepStore
from hotdesk.system import SystemClock
from hotdesk.web import guard, links, server, starting
from hotdesk.web.live import Board, changes
from tests.light.desk import REGION, light_cloud
from tests.web_rig import swept
from tests.web_served import Served, serving


@pytest.fixture
def served(home: Path, tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "state") as page:
        yield page


def token(served: Served) -> str:
    return served.page.links.serving.link().partition(str(served.port))[2]


def test_a_link_lets_one_browser_in_once(served: Served) -> None:
    host = {"Host": served.own["Host"]}
    link = token(served)
    status, head, _ = served.ask(link, host)
    assert status == 200
    assert head["set-cookie"].startswith(f"hotdesk-{served.port}={served.page.links.cookie};")
    for said in ("HttpOnly", "SameSite=strict", "Path=/"):
        assert said in head["set-cookie"]
    assert served.ask(link, host)[0] == 401, "it was used"
    assert served.ask(link, served.own)[0] == 200, "but whoever is in may come again"
    assert served.ask(token(served), host)[0] == 200
    assert served.ask("/", served.own)[0] == 200


@pytest.mark.parametrize(
    ("headers", "method", "path", "status"),
    [
        ({"Host": "evil.example"}, "GET", "/", 421),
        ({"Host": "127.0.0.1"}, "GET", "/", 421),
        ({"Host": "127.0.0.1.evil.example:{port}"}, "GET", "/", 421),
        ({"Cookie": "hotdesk-{port}=wrong"}, "GET", "/", 401),
        ({"Cookie": ""}, "GET", "/api/events", 401),
        ({"Cookie": ""}, "GET", "/page.js", 401),
        ({"Cookie": ""}, "GET", "/enter?token=", 401),
        ({"Cookie": ""}, "GET", "/enter?token=a.b", 401),
        ({"Origin": "http://evil.example"}, "GET", "/api/costs", 403),
        ({"Origin": "null"}, "GET", "/api/events", 403),
        ({"Sec-Fetch-Site": "cross-site"}, "GET", "/api/events", 403),
        ({"Sec-Fetch-Site": "same-site"}, "GET", "/", 403),
        ({}, "GET", "/..%2f..%2fserver.py", 404),
        ({}, "GET", "/server.py", 404),
        ({}, "GET", "/api/none", 404),
        ({}, "PUT", "/api/do", 403),
        ({"X-Hotdesk": None}, "POST", "/api/do", 403),
        ({"Origin": None}, "POST", "/api/do", 403),
        ({"Origin": "http://localhost:1"}, "POST", "/api/do", 403),
        ({"Origin": "https://127.0.0.1:{port}"}, "POST", "/api/do", 403),
        ({"Content-Length": "99999999"}, "POST", "/api/do", 413),
        ({"Transfer-Encoding": "chunked"}, "POST", "/api/do", 413),
    ],
)
def test_what_is_not_of_this_page_is_refused(
    served: Served, headers: dict[str, str | None], method: str, path: str, status: int
) -> None:
    base = served.posting if method == "POST" else served.own
    said = {k: v.format(port=served.port) for k, v in {**base, **headers}.items() if v is not None}
    found, head, _ = served.ask(path, said, method)
    assert found == status
    for name, value in guard.HEADERS.items():
        assert head[name] == value, "a refusal is hardened like an answer"


def test_two_hosts_in_one_request_are_no_host_of_ours(served: Served) -> None:
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": [(b"host", served.own["Host"].encode()), (b"host", b"evil.example")],
    }
    refusal = server.Guard(None, served.page.links).refusal(scope)  # type: ignore[arg-type]
    assert refusal is not None
    assert refusal[0] == 421


def test_nothing_but_our_own_files_may_run() -> None:
    said = dict(part.strip().partition(" ")[::2] for part in guard.POLICY.split(";"))
    assert said.pop("default-src") == "'none'"
    for name in ("script-src", "style-src", "img-src", "connect-src"):
        assert said.pop(name) == "'self'"
    assert said.pop("require-trusted-types-for") == "'script'"
    assert set(said.values()) == {"'none'"}


def test_other_users_of_this_computer_cannot_read_the_key(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with links.alone(folder) as mine:
        assert mine
        links.announce(folder, links.Links(4711))
        assert stat.S_IMODE((folder / "web.json").stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        with links.alone(folder) as another:
            assert not another
        found = links.found(folder)
        assert found is not None
        assert found.link().startswith("http://127.0.0.1:4711/enter?token=")
    assert links.found(folder) is None


def test_deleting_asks_for_the_name(served: Served, tmp_path: Path) -> None:
    put(tmp_path, "blue")
    for typed in ("", "blu", "Blue", "green"):
        status, said = served.post(
            "/api/do", {"verb": "down", "name": "blue", "typed": typed, "anyway": True}
        )
        assert status == server.FAILED
        assert said["error"]["exit_code"] == NeedsDecision.exit_code
    assert served.page.board.parts["acts"] == {}


def put(tmp_path: Path, name: str) -> None:
    """A desk without a machine, as a command that was interrupted leaves it."""
    with Store(tmp_path / "state") as store:
        now = SystemClock().now()
        store.put(Desk(name=name, goal=Goal.PARKED, since=now, created_at=now))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"verb": "rm", "name": "blue"},
        {"verb": "up"},
        {"verb": "up", "name": "a", "sh": "x"},
        [],
        "x",
        1,
    ],
)
def test_what_is_no_request_is_told_so(served: Served, body: object) -> None:
    status, said = served.post("/api/do", body)
    assert status == 400
    assert said["error"]["exit_code"] == Usage.exit_code


def test_errors_come_in_three_lines_and_nothing_is_a_traceback(served: Served, tmp_path: Path) -> None:
    status, said = served.post("/api/plan", {"verb": "park", "name": "nobody"})
    assert status == server.FAILED
    assert said["error"]["what"] == "There is no desk named 'nobody'."
    assert said["error"]["fix"]
    status, _, body = served.ask("/api/costs?by=year", served.own)
    assert (status, json.loads(body)["error"]["exit_code"]) == (server.FAILED, Usage.exit_code)
    (tmp_path / "state" / "hotdesk.db").write_bytes(b"no database at all" * 500)
    status, _, body = served.ask("/api/costs", served.own)
    assert status == server.FAILED
    assert "Traceback" not in body.decode()


def test_a_browser_hears_all_at_first_and_then_the_differences(served: Served, tmp_path: Path) -> None:
    put(tmp_path, "blue")
    with listening(served) as heard:
        name, first = next(heard)
        assert name == "all"
        assert first.keys() == {"desks", "acts", "look", "rows"}
        assert first["desks"] == {}, "nobody has looked before"
        assert hear(heard, lambda m: m.get("desks"))["desks"]["blue"]["phase"] == "unknown"
        assert hear(heard, lambda m: m.get("desks"))["desks"]["blue"]["phase"] == "none", "a survey told"
        put(tmp_path, "green")
        assert hear(heard, lambda m: m.get("desks"))["desks"].keys() == {"green"}


@contextlib.contextmanager
def listening(served: Served) -> Iterator[Iterator[tuple[str, Any]]]:
    """The events of a page, as they come."""

    def events() -> Iterator[tuple[str, Any]]:
        name = ""
        while line := reply.readline().decode():
            if line.startswith("event: "):
                name = line[7:].strip()
            elif line.startswith("data: "):
                yield name, json.loads(line[6:])

    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", "/api/events", headers=served.own)
        with connection.getresponse() as reply:
            assert reply.status == 200
            yield events()


def hear(heard: Iterator[tuple[str, Any]], like: Callable[[Any], object]) -> Any:
    for _ in range(200):
        name, message = next(heard)
        if name == "change" and like(message):
            return message
    raise AssertionError("it is not told")


_fields = st.dictionaries(st.sampled_from("abc"), st.none() | st.integers(0, 2), max_size=3)
_things = st.dictionaries(st.sampled_from("xyz"), _fields, max_size=3)


@given(_things, _things)
def test_what_has_changed_is_enough_to_know_all(old: Any, new: Any) -> None:
    """A field never goes away in our documents; things do, and that is told beside."""
    grown = {name: {**old.get(name, {}), **fields} for name, fields in new.items()}
    told = changes(old, grown)
    merged = {name: {**old.get(name, {}), **told.get(name, {})} for name in grown}
    assert merged == grown
    assert all(old.get(n, {}).get(k, "missing") != v for n, f in told.items() for k, v in f.items())


def test_one_change_among_many_desks_costs_less_than_a_kilobyte() -> None:
    async def sent() -> int:
        board = Board()
        board.begin()
        desk = dict.fromkeys(("name", "goal", "phase", "why", "ssh", "image"), "word")
        board.tell("desks", {f"desk{n}": {**desk, "cost_usd": 0.0} for n in range(50)}, whole=True)
        stream = board.stream()
        first = len(await anext(stream))
        assert first > 5000
        board.tell("desks", {f"desk{n}": {**desk, "cost_usd": float(n == 7)} for n in range(50)}, whole=True)
        size = len(await anext(stream))
        await stream.aclose()  # type: ignore[attr-defined]
        return size

    assert asyncio.run(sent()) < 200


def test_a_browser_that_does_not_read_is_sent_away() -> None:
    async def story() -> list[bytes]:
        board = Board()
        board.begin()
        stream = board.stream()
        got = [await anext(stream)]
        for n in range(2000):
            board.tell("desks", {"blue": {"n": n}})
        assert not board.watched
        return got + [message async for message in stream]

    assert len(asyncio.run(story())) == 1, "it begins anew, with all that is known by then"


def test_another_host_is_refused_with_the_line_that_does_it_instead(home: Path) -> None:
    done = web("--host", "0.0.0.0", "--port", "4711")
    assert done.returncode == Usage.exit_code
    assert "ssh -L 4711:127.0.0.1:4711" in done.stderr


def web(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    line = [sys.executable, "-m", "hotdesk", "web", *words]
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_busy_port_is_told(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = web("--port", str(port))
    assert done.returncode == 8
    assert f"hotdesk web --port {port + 1}" in done.stderr


@pytest.mark.slow
def test_a_second_web_makes_a_link_to_the_first_and_ctrl_c_ends_it(home: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[1] / "src"),
        "PYTHONUNBUFFERED": "1",
    }
    line = [sys.executable, "-m", "hotdesk", "web", "--url"]
    first = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        one = first.stdout.readline().strip()
        two = web("--url")
        assert two.returncode == 0
        assert f"Process {first.pid}" in two.stderr
        for link in (one, two.stdout.strip()):
            place, _, path = link.removeprefix("http://").partition("/")
            connection = http.client.HTTPConnection(place, timeout=30)
            with contextlib.closing(connection):
                connection.request("GET", f"/{path}")
                assert connection.getresponse().status == 200
    finally:
        first.send_signal(2)
        _, said = first.communicate(timeout=30)
    assert first.returncode == 130, said
    assert "Traceback" not in said


def test_settings_that_are_a_link_stay_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """People keep such files with their dotfiles."""
    from hotdesk.web import settings

    kept, link = tmp_path / "dotfiles.toml", tmp_path / "hotdesk.toml"
    kept.write_text("")
    kept.chmod(0o644)
    link.symlink_to(kept)
    monkeypatch.setenv("HOTDESK_CONFIG", str(link))
    text = '[defaults]\nprovider = "local"\n'
    assert settings.write(None, settings.Edited(text=text, was=""))["text"] == text  # type: ignore[arg-type]
    assert link.is_symlink()
    assert (kept.read_text(), stat.S_IMODE(kept.stat().st_mode)) == (text, 0o644)


def asked(served: Served, path: str) -> Any:
    status, _, said = served.ask(f"/api/{path}", {**served.own, "Accept-Encoding": "identity"})
    found = json.loads(gzip.decompress(said) if said[:2] == b"\x1f\x8b" else said)
    assert status == 200, found
    return found["answer"]


def test_of_a_sweep_only_what_has_changed_is_sent_again(served: Served, tmp_path: Path) -> None:
    swept(tmp_path / "state", 2000, over=False)
    [row] = asked(served, "sweeps")
    assert (row["tasks"], row["done"], row["failed"], row["waiting"]) == (2000, 1334, 166, 500)
    first = asked(served, "sweep?sweep=1&since=0")
    assert (first["whole"], len(first["each"])) == (True, 2000)
    with SweepStore(tmp_path / "state") as store:
        one, two = store.task(1, 1), store.task(1, 5)
        store.put(1, [msgspec.structs.replace(one, state=State.RUNNING)])
        ended = msgspec.structs.replace(two, state=State.DONE, ended_at=SystemClock().now())
        store.put(1, [ended])
    news = asked(served, f"sweep?sweep=1&since={first['at']}")
    known = {task["task"]: task for task in first["each"]} | {task["task"]: task for task in news["each"]}
    assert [task["task"] for task in news["each"]] == [1, 5]
    counts = Counter(task["state"] for task in known.values())
    assert {state: news[state] for state in counts} == counts, "which is how the page knows that it knows all"
    assert asked(served, "sweep-logs?sweep=1&task=24&after=8")["text"] == "MemoryError in task 24\n"
    assert served.ask("/api/sweep?sweep=7", served.own)[0] == server.FAILED


def test_tasks_of_a_sweep_run_again_and_a_sweep_ends(served: Served, tmp_path: Path) -> None:
    """Another process goes on with it, as far as the page can tell: it begins none."""
    swept(tmp_path / "state", 120)
    with Store(tmp_path / "state") as store, store.hold("@sweep-1", "a test") as mine:
        assert mine
        assert served.post("/api/sweep-retry", {"number": 1, "tasks": [12, 24, 1]})[1]["answer"] == {
            "count": 2
        }
        assert asked(served, "sweep?sweep=1")["waiting"] == 2
        assert asked(served, "sweeps")[0]["over_at"] is None
        served.post("/api/sweep-cancel", {"number": 1, "tasks": [12]})
        assert asked(served, "sweep?sweep=1")["state"] != "stopping", "the others go on"
        with SweepStore(tmp_path / "state") as sweeps:
            assert sweeps.unwanted(1) == {12}
        status, said = served.post("/api/sweep-cancel", {"number": 1, "tasks": [1]})
        assert (status, said["error"]["exit_code"]) == (server.FAILED, Usage.exit_code), "it is done"
        assert served.post("/api/sweep-retry", {"number": 1})[1]["answer"] == {"count": 8}
        assert served.post("/api/sweep-cancel", {"number": 1})[1]["answer"]["state"] == "stopping"
        status, said = served.post("/api/sweep-retry", {"number": 1, "tasks": [1]})
        assert (status, said["error"]["exit_code"]) == (server.FAILED, NeedsDecision.exit_code)
    with SweepStore(tmp_path / "state") as sweeps:
        assert sweeps.sweep(1).wish is Wish.CANCEL
        assert sweeps.task(1, 1).state is State.DONE, "what is done stays done"


def test_ports_are_shown_and_stopped(served: Served, tmp_path: Path) -> None:
    put(tmp_path, "blue")
    forwards.want(tmp_path / "state" / "desks" / "blue", [forwards.Ports(here=16006, there=6006)])
    with listening(served) as heard:
        seen = hear(heard, lambda m: m.get("desks"))
        [port] = seen["desks"]["blue"]["forwards"]
        hear(heard, lambda m: m.get("desks", {}).get("blue", {}).get("phase") == "none")
        assert (port["here"], port["there"], port["open"]) == (16006, 6006, False)
        status, said = served.post("/api/forward-stop", {"name": "blue", "ports": ["16006:6006"]})
        assert (status, [p["here"] for p in said["answer"]]) == (200, [16006])
        assert hear(heard, lambda m: "forwards" in m.get("desks", {}).get("blue", {}))["desks"]["blue"] == {
            "forwards": []
        }
    status, said = served.post("/api/forward", {"name": "blue", "ports": ["6006"]})
    assert (status, said["error"]["exit_code"]) == (server.FAILED, NeedsDecision.exit_code), "it is off"


@pytest.mark.parametrize(
    "asked",
    [
        starting.Run(name="blue", job="train"),
        starting.Run(name="blue", job="train", then="stop", work="10h", anyway=True, over_budget=True),
        starting.Run(name="blue", command="python train.py --lr 3 | tee log", then="stay"),
        starting.Run(name="blue", command="train", work="45m"),
    ],
)
def test_the_line_of_a_job_is_the_command_that_starts_it(
    asked: starting.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hotdesk.toml").write_text('[jobs.train]\ncommand = "python train.py"\n')
    monkeypatch.chdir(tmp_path)
    _, verb, *words = asked.line
    command = commands.get_command(None, verb)  # type: ignore[arg-type]
    assert command is not None
    context = command.make_context(verb, words)
    read = context.params
    assert (read["name"], run_words.job_of(context)) == ("blue", asked.job)
    assert tuple(read["words"]) == ((asked.command,) if asked.command else ())
    hours = {"": None, "10h": 10.0, "45m": 0.75}[asked.work]
    assert (read["then"], read["work"]) == (asked.then or None, hours)
    assert (read["yes"], read["over_budget"], read["detach"]) == (asked.anyway, asked.over_budget, True)


def test_what_cannot_run_is_told_before_it_is_paid_for(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "train.py").write_text("")
    monkeypatch.chdir(project)
    for body, word in (
        ({"name": "green", "command": "true"}, "green"),
        ({"name": "blue", "command": " "}, "no command"),
        ({"name": "blue", "command": "python trian.py"}, "trian.py"),
        ({"name": "blue", "job": "trian"}, "trian"),
        ({"name": "blue", "command": "true", "folder": "/not/there"}, "/not/there is no folder"),
        ({"name": "blue", "command": "true", "folder": "project"}, "project is no folder"),
        ({"name": "blue", "command": "true", "work": "soon"}, "soon"),
    ):
        put(tmp_path, "blue")
        status, said = served.post("/api/run-plan", body)
        assert status == server.FAILED, body
        assert word in said["error"]["what"], said
    status, said = served.post("/api/run-plan", {"name": "blue", "command": "python train.py", "work": "2h"})
    assert status == 200, said
    answer = said["answer"]
    assert (answer["folder"], answer["files"], answer["then"]) == (str(project), 1, "park")
    assert (answer["cost"]["usd_per_hour"], answer["cost"]["hours"]) == (0, 2)


def test_files_here_are_named_in_full(served: Served, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "one").write_text("1")
    put(tmp_path, "blue")
    body = {"name": "blue", "verb": "push", "sources": ["data"]}
    status, said = served.post("/api/files-plan", body)
    assert (status, said["error"]["exit_code"]) == (server.FAILED, Usage.exit_code)
    status, said = served.post("/api/files-plan", body | {"sources": [str(tmp_path / "data")]})
    assert (status, said["answer"]["names"], said["answer"]["bytes"]) == (200, ["data/one"], None)


@pytest.mark.slow
def test_the_price_of_a_job_is_told_before_the_click(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the cloud that the desk is of."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "train.py").write_text("")
    body = {"name": "blue", "command": "python train.py", "folder": str(project), "work": "2h"}
    with light_cloud(tmp_path, monkeypatch):
        now = SystemClock().now()
        with Store(tmp_path / "state") as store:
            want = Want(instance_type="g6.xlarge", regions=(REGION,))
            store.put(
                Desk(name="blue", goal=Goal.PARKED, provider="aws", since=now, created_at=now, want=want)
            )
        status, said = served.post("/api/run-plan", body)
        assert status == 200, said
        cost = said["answer"]["cost"]
        assert cost["machine"] == "g6.xlarge"
        assert cost["usd"] == pytest.approx(2 * cost["usd_per_hour"])
        assert cost["usd"] > 0
