"""A sweep's resident runner, with real processes, without Ray: begun once, ended wholly, never forgotten."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hotdesk.guest import ray_node
from hotdesk.guest.ray_node import RayNode
from hotdesk.guest.sweep_attempts import Attempts
from hotdesk.guest.sweep_processes import leader, processes_of
from hotdesk.sweep.machine import Known, packed

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc on this computer")
SECONDS = 60.0  # a limit for a busy computer, not an expectation


def order(task: int, *words: str, attempt: int = 1, **more: Any) -> dict[str, Any]:
    return {"task": task, "attempt": attempt, "command": list(words), "params": {"n": task}, **more}


def until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not what():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "project" / "sub").mkdir(parents=True)
    (tmp_path / "project" / "sub" / "data.txt").write_text("of the project\n")
    return tmp_path


@pytest.fixture
def attempts(folder: Path) -> Attempts:
    return made(folder)


def made(folder: Path, **settings: Any) -> Attempts:
    return Attempts(str(folder), {"grace_seconds": 1.0, **settings}, dict(os.environ))


def test_a_command_has_a_folder_a_log_and_a_status_of_its_own(folder: Path, attempts: Attempts) -> None:
    line = (
        'cat sub/data.txt; echo "$HOTDESK_PARAMS $HOTDESK_ATTEMPT" > own.txt; echo \'{"loss": 0.5}\'; exit 3'
    )
    found = attempts.run(order(7, line))
    assert (found["exit_status"], found["metrics"], found["last"]) == (3, {"loss": 0.5}, '{"loss": 0.5}')
    assert (folder / "work" / "000007" / "own.txt").read_text() == '{"n": 7} 1\n'
    assert (folder / "out" / "000007.log").read_text() == 'of the project\n{"loss": 0.5}\n'


def test_words_are_taken_to_the_letter(attempts: Attempts) -> None:
    found = attempts.run(order(1, "printf", "%s\n", "a b; exit 9 $HOME"))
    assert (found["exit_status"], found["last"]) == (0, "a b; exit 9 $HOME")


@pytest.mark.parametrize(
    ("line", "status"), [("kill -9 $$", 137), ("exec false", 1), ("no-such-command-x", 127)]
)
def test_statuses(attempts: Attempts, line: str, status: int) -> None:
    assert attempts.run(order(1, line))["exit_status"] == status


def test_tasks_that_write_one_file_of_the_project_do_not_meet(folder: Path, attempts: Attempts) -> None:
    for task in (1, 2):
        attempts.run(order(task, f"echo {task} >> sub/data.txt"))
    assert (folder / "work" / "000001" / "sub" / "data.txt").read_text() == "of the project\n1\n"
    assert (folder / "work" / "000002" / "sub" / "data.txt").read_text() == "of the project\n2\n"
    assert (folder / "project" / "sub" / "data.txt").read_text() == "of the project\n"


def test_a_great_file_is_a_link(folder: Path) -> None:
    (folder / "project" / "great").write_bytes(bytes(2 << 20))
    made(folder).run(order(1, "true"))
    assert (folder / "work" / "000001" / "great").is_symlink()
    assert not (folder / "work" / "000001" / "sub" / "data.txt").is_symlink()


def test_the_same_attempt_runs_once_and_all_who_ask_hear_of_it(folder: Path, attempts: Attempts) -> None:
    heard: list[Any] = []
    ask = order(1, "echo x >> ../count; sleep 0.3")
    threads = [threading.Thread(target=lambda: heard.append(attempts.run(ask))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == [heard[0]] * 3
    assert attempts.run(ask) == heard[0]
    assert (folder / "work" / "count").read_text() == "x\n"


def failing(folder: Path, said: str = "starting") -> RayNode:
    """A node whose `ray` says this, and ends at once."""
    ray = folder / "bin" / "ray"
    ray.parent.mkdir()
    ray.write_text(f"#!/bin/sh\necho '{said}'\necho 'no room for me' >&2\nexit 1\n")
    ray.chmod(0o755)
    wanted = {"python": str(ray.parent / "python"), "address": "127.0.0.2", "head": "127.0.0.2:6379"}
    log = os.open(folder / "runner.log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    return RayNode(str(folder), {**wanted, "heads": True, "cpus": 1, "gpus": 0}, dict(os.environ), log)


def test_a_node_that_does_not_start_is_counted_with_its_last_line(folder: Path) -> None:
    node = failing(folder)
    node.start()
    until(lambda: node.failures >= 2)
    node.stop()
    os.close(node.log)
    assert node.why == "no room for me"
    assert not (folder / "temps").exists()


@pytest.mark.parametrize(("own", "dashboard"), [(False, False), (True, False), (True, True)])
def test_a_start_whose_raylet_ends_is_given_up_and_its_agents_are_not_waited_for(
    folder: Path, own: bool, dashboard: bool
) -> None:
    """`ray start` itself would wait on. Where an owner's Ray has a dashboard, its agents count."""
    node = failing(folder)
    node.order |= {"own": own, "dashboard_port": 8265}
    if dashboard:
        (folder / "lib" / "python3.11" / "site-packages" / "aiohttp_cors").mkdir(parents=True)
    session, raylet = folder / "session", folder / "raylet"
    session.mkdir()
    raylet.write_text("#!/bin/sh\nsleep 2\ntrue\n")
    raylet.chmod(0o755)
    line = f"{raylet} --session_dir={session} --node_id=ab &\nsleep 600\n"
    (folder / "bin" / "ray").write_text(f"#!/bin/sh\n{line}")
    node.start()
    until(lambda: node.failures)
    node.stop()
    os.close(node.log)
    assert node.why == "its raylet has ended"
    written = {path.name: path.read_text() for path in session.iterdir()}
    names = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port")
    assert written == ({} if dashboard else {f"{name}_ab": "-1" for name in names})


@pytest.mark.parametrize("started", [True, False])
def test_a_node_that_had_started_and_lived_is_no_start_that_failed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, started: bool
) -> None:
    """However long a start took, one that came to nothing counts."""
    monkeypatch.setattr(ray_node, "_LIVED_SECONDS", 0.0)
    monkeypatch.setattr(ray_node, "_PAUSE_SECONDS", 60.0)  # one start is enough
    node = failing(folder, "Ray runtime started." if started else "starting")
    node.failures = 3
    node.start()
    until(lambda: node.why)
    node.stop()
    os.close(node.log)
    assert node.failures == (0 if started else 4)


def test_a_success_is_not_repeated_and_a_failure_is(folder: Path, attempts: Attempts) -> None:
    attempts.run(order(1, "echo x >> ../one"))
    assert attempts.run(order(1, "echo x >> ../one", attempt=2))["attempt"] == 1
    attempts.run(order(2, "echo x >> ../two; false"))
    assert attempts.run(order(2, "echo x >> ../two; false", attempt=2))["attempt"] == 2
    assert (folder / "work" / "one").read_text() == "x\n"
    assert (folder / "work" / "two").read_text() == "x\nx\n"
    assert "hotdesk: attempt 2" in (folder / "out" / "000002.log").read_text()


def test_a_later_attempt_finds_what_the_one_before_has_left(folder: Path, attempts: Attempts) -> None:
    line = "test -e ckpt && exit 0; touch ckpt; exit 1"
    assert attempts.run(order(1, line))["exit_status"] == 1
    assert attempts.run(order(1, line, attempt=2))["exit_status"] == 0


def test_the_time_limit_ends_all_that_a_task_has_started(folder: Path) -> None:
    attempts = made(folder, limit_seconds=0.5)
    found = attempts.run(order(1, "setsid sleep 300 & trap '' TERM; sleep 300"))
    assert (found["exit_status"], found["why"]) == (124, "its time limit of 0.5 s")
    until(lambda: not processes_of(str(folder / "work" / "000001")))


def test_cancelling_ends_what_runs_and_refuses_what_would_come(folder: Path, attempts: Attempts) -> None:
    heard: list[Any] = []
    thread = threading.Thread(target=lambda: heard.append(attempts.run(order(1, "sleep 300"))))
    thread.start()
    until(lambda: processes_of(str(folder / "work" / "000001")))
    attempts.cancel({1: 1, 2: 1})
    thread.join(SECONDS)
    assert (heard[0]["exit_status"], heard[0]["why"]) == (143, "cancelled")
    assert attempts.run(order(2, "true"))["why"] == "cancelled"
    assert attempts.run(order(2, "true", attempt=2))["exit_status"] == 0


def test_what_an_earlier_epoch_asks_for_is_refused(attempts: Attempts) -> None:
    assert attempts.run(order(1, "true", epoch=3))["exit_status"] == 0
    attempts.known(4, {1: 1})
    assert attempts.run(order(2, "true", epoch=3))["why"] == "fenced"
    assert attempts.run(order(3, "true", epoch=4, begun=True))["why"] == "fenced", "it does not run here"
    assert attempts.run(order(1, "true", epoch=3))["exit_status"] == 0, "what has ended is told"
    assert attempts.known(4, {1: 1, 2: 1})["ended"][0]["task"] == 1


def test_the_epoch_outlives_the_runner(folder: Path) -> None:
    made(folder).known(4, {})
    assert made(folder).run(order(2, "true", epoch=3))["why"] == "fenced"


def test_a_task_that_takes_too_much_memory_is_ended_and_the_others_live(folder: Path) -> None:
    attempts = made(folder, memory_bytes=150 << 20)
    eat = f"{sys.executable} -c 'x = bytearray(400 << 20); import time; time.sleep(300)'"
    heard: list[Any] = []
    threads = [
        threading.Thread(target=lambda o=o: heard.append(attempts.run(o)))
        for o in (order(1, eat), order(2, "sleep 3; echo lives"))
    ]
    for thread in threads:
        thread.start()
    until(lambda: attempts.relieve(1 << 40, 0) or any(r["task"] == 1 for r in heard))
    for thread in threads:
        thread.join(SECONDS)
    found = {r["task"]: r for r in heard}
    assert found[1]["exit_status"] == 137
    assert "of memory" in found[1]["why"]
    assert found[2]["last"] == "lives"


def test_where_the_machine_is_short_of_memory_the_greatest_task_is_ended(folder: Path) -> None:
    attempts = made(folder)
    big = (
        f"{sys.executable} -c 'x = bytearray(300 << 20); print(1, flush=True); import time; time.sleep(300)'"
    )
    heard: list[Any] = []
    thread = threading.Thread(target=lambda: heard.append(attempts.run(order(1, big))))
    thread.start()
    until(lambda: (folder / "out" / "000001.log").exists() and (folder / "out" / "000001.log").stat().st_size)
    attempts.relieve(10 << 20, 100 << 20)
    thread.join(SECONDS)
    assert "the machine ran out of memory" in heard[0]["why"]


def test_results_lie_beside_the_log(folder: Path) -> None:
    attempts = made(folder, pull=["out", "model.bin", "none"])
    found = attempts.run(order(3, "mkdir -p out/deep; echo 1 > out/deep/a; echo 2 > model.bin"))
    assert (folder / "out" / "000003" / "out" / "deep" / "a").read_text() == "1\n"
    assert (folder / "out" / "000003" / "model.bin").read_text() == "2\n"
    assert found["why"] == "not found in its folder: none"


def test_a_loss_that_is_no_number_any_more_ends_like_any_other(attempts: Attempts) -> None:
    """Training that diverges prints NaN, which JSON has not: its end could not be read, again and again."""
    line = r"""printf '%s\n' '{"loss": NaN, "up": 1e999, "ok": 1e30, "n": 1, "\ud800": "\ud800"}'"""
    found = attempts.run(order(1, line))
    read = msgspec.json.decode(json.dumps({"machine": "m", "running": [], "ended": [found]}), type=Known)
    assert read.ended[0].metrics == {"loss": "nan", "up": "inf", "ok": 1e30, "n": 1, "?": "?"}
    deep = attempts.run(order(2, 'python3 -c \'print("{\\"a\\":" * 10000)\''))
    assert (deep["exit_status"], deep["metrics"]) == (0, {})


def test_results_that_cannot_be_kept_are_no_success(folder: Path) -> None:
    """They would go with the machine. And whoever waits for the end hears of it."""
    attempts = made(folder, pull=["a"])
    (folder / "out" / "000001").write_text("in the way, as a full disk would be")
    found = attempts.run(order(1, "echo 1 > a"))
    assert found["exit_status"] == 74
    assert found["why"].startswith("its results cannot be kept: ")


def test_a_command_that_cannot_be_begun_ends(attempts: Attempts) -> None:
    found = attempts.run(order(1, "echo", "a\0b"))
    assert (found["exit_status"], found["why"]) == (126, "it cannot be begun: embedded null byte")


def test_what_a_killed_runner_has_begun_is_waited_for_by_the_next(folder: Path) -> None:
    """1. Two commands are begun. 2. Their runner is killed. 3. One ends. 4. The next knows both ends."""
    program = (
        "import os, sys, threading, time; from hotdesk.guest.sweep_attempts import Attempts\n"
        "a = Attempts(sys.argv[1], {}, dict(os.environ))\n"
        "for t, s in ((1, 'sleep 0.2; exit 5'), (2, 'sleep 3; exit 6')):\n"
        "    o = {'task': t, 'attempt': 1, 'command': [s], 'params': {}}\n"
        "    threading.Thread(target=a.run, args=(o,), daemon=True).start()\n"
        "time.sleep(300)\n"
    )
    source = str(Path(__file__).parents[1] / "src")
    argv = [sys.executable, "-c", program, str(folder)]
    runner = subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": source})
    begun = folder / "begun.jsonl"
    until(lambda: all(processes_of(str(folder / "work" / f"00000{t}")) for t in (1, 2)))
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    assert len([line for line in begun.read_text().splitlines() if "ended" not in line]) == 2
    until(lambda: not processes_of(str(folder / "work" / "000001")))
    attempts = made(folder)
    assert attempts.run(order(1, "echo again"))["exit_status"] == 5
    assert attempts.run(order(2, "echo again"))["exit_status"] == 6


def test_a_command_that_vanished_with_its_machine_is_lost_and_not_failed(folder: Path) -> None:
    (folder / "out").mkdir()
    line = {"task": 1, "attempt": 1, "command": ["true"], "params": {}, "at": time.time()}
    (folder / "begun.jsonl").write_text(json.dumps(line) + '\n{"torn')
    assert made(folder).run(order(1, "true"))["why"] == "lost"


def test_what_a_command_leaves_running_is_ended_and_secrets_are_in_no_file(folder: Path) -> None:
    program = folder / "packed.py"
    program.write_bytes(packed()[1])
    home = folder / "home"
    home.mkdir()
    with serving(program, home) as ask:
        ended = ask({"verb": "run", "orders": [order(1, "setsid sleep 300 & echo started")]})
        assert ended["exit_status"] == 0
        known = ask(
            {"verb": "run", "orders": [order(2, 'test "$KEY" = a-secret', secrets={"RUN": "another"})]}
        )
        assert known["exit_status"] == 0
        known = ask(
            {"verb": "run", "orders": [order(3, 'test "$RUN" = another', secrets={"RUN": "another"})]}
        )
        assert known["exit_status"] == 0
        files = [file.read_bytes() for file in home.rglob("*") if file.is_file()]
        assert not [text for text in files if b"a-secret" in text.replace(b"= a-secret", b"")]
        assert not [text for text in files if b"another" in text.replace(b"= another", b"")]
        work = home / ".hotdesk" / "sweeps" / "s1" / "work" / "000001"
        until(lambda: not processes_of(str(work)))
        assert ask({"verb": "look"})["running"] == []
        kept = Path((home / ".hotdesk" / "sweeps" / "s1" / "socket").read_text()).parent
        assert kept.stat().st_mode & 0o777 == 0o700
    assert not processes_of(str(home / ".hotdesk" / "sweeps" / "s1"), "HOTDESK_RAY")
    assert not kept.exists()


class serving:  # noqa: N801 - it reads as a block
    """The packed runner as a process, without Ray."""

    def __init__(self, program: Path, home: Path) -> None:
        self.program, self.home = program, home

    def __enter__(self) -> Callable[[dict[str, Any]], Any]:
        told = {"machine": "m1", "python": "", "token": "t", "grace_seconds": 1.0}
        told["secrets"] = {"KEY": "a-secret"}
        self._call("serve", "s1", text=json.dumps(told))
        again = self._call("serve", "s1", text=json.dumps(told))
        assert json.loads(again).items() >= {"machine": "m1", "running": []}.items()
        assert (self.home / ".hotdesk" / "sweeps" / "s1" / "token").stat().st_mode & 0o777 == 0o600
        return self._ask

    def __exit__(self, *_: object) -> None:
        self._call("stop", "s1")

    def _call(self, *words: str, text: str = "") -> str:
        done = subprocess.run(
            [sys.executable, str(self.program), *words],
            input=text, capture_output=True, text=True, timeout=SECONDS, check=False,
            env={**os.environ, "HOME": str(self.home)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _ask(self, request: dict[str, Any]) -> Any:
        import socket

        where = (self.home / ".hotdesk" / "sweeps" / "s1" / "socket").read_text()
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(SECONDS)
            client.connect(where)
            client.sendall(json.dumps(request).encode() + b"\n")
            with client.makefile("rb") as said:
                return json.loads(said.readline())


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    for number in range(1, 9):
        for pid in processes_of(str(tmp_path / "work" / f"{number:06d}")):
            os.kill(pid, signal.SIGKILL)


def test_a_process_that_ends_while_it_is_looked_at_is_no_reason_to_lose_its_attempt() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as shell:
        assert leader([gone.pid, shell.pid]) == shell.pid
        shell.kill()
    assert leader([gone.pid]) == gone.pid
    assert leader([]) == -1


def test_ray_starts_without_the_grammar_of_a_library_that_can_still_use_it(folder: Path) -> None:
    pytest.importorskip("jsonschema")
    if not list(importlib.metadata.Distribution.discover(name="rfc3987-syntax")):
        pytest.skip("JupyterLab is not installed here")

    def told(program: str) -> list[str]:
        argv = [sys.executable, "-c", program]
        env = ray_node.quick(str(folder), dict(os.environ))
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout.split()

    assert told("import jsonschema, sys; print('lark' in sys.modules)") == ["False"]
    checker = "jsonschema.Draft202012Validator.FORMAT_CHECKER.conforms"
    asked = f"import jsonschema; print(*({checker}(one, 'iri') for one in ('http://a.b/ü', 'http://[ü')))"
    assert told(asked) == ["True", "False"]
    assert told("import rfc3987_syntax.utils as it; print(it.__name__)") == ["rfc3987_syntax.utils"]


def test_what_is_not_installed_is_not_there_for_ray_either(folder: Path) -> None:
    env = ray_node.quick(str(folder), {"PATH": os.environ["PATH"]})
    argv = [sys.executable, "-S", "-c", "import rfc3987_syntax"]  # -S: nothing that was installed
    done = subprocess.run(argv, env=env, capture_output=True, text=True)
    assert "No module named 'rfc3987_syntax'" in done.stderr
