"""What stands in one place: files that are replaced whole, locks, processes that outlive us, threads."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import resource
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import hotdesk
from hotdesk import system
from hotdesk.parallel import each, every, side_by_side
from hotdesk.system import is_locked, locked, write_atomically


def wait_for(what: Callable[[], object]) -> None:
    until = time.monotonic() + 20
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_log_keeps_its_end_and_whoever_appends_to_it_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "watcher.log"
    lines = [f"{n:07}\n".encode() for n in range(400)]
    with log.open("ab", buffering=0) as writer:
        for line in lines:
            writer.write(line)
        system.shorten(log, 4000)
        assert log.read_bytes() == b"".join(lines), "it is not that long"
        system.shorten(log, 2000)
        writer.write(b"more\n")
    kept = log.read_bytes().splitlines(keepends=True)
    assert (kept, len(kept)) == ([*lines[-124:], b"more\n"], 125), "whole lines, of half of that"


def test_a_file_is_replaced_whole_and_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / ("long" * 63)  # its draft's name would be longer than a name can be
    write_atomically(path, "old")
    write_atomically(path, b"new", durable=True)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    write_atomically(path, "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="large"):
            write_atomically(path, bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_readers_find_one_of_the_writers_words_and_no_mixture(tmp_path: Path) -> None:
    path = tmp_path / "shared"
    words = [letter * 100_000 for letter in "abcd"]
    write_atomically(path, words[0])
    calls = [lambda word=word: [write_atomically(path, word) for _ in range(20)] for word in words]
    answers = side_by_side([*calls, lambda: [path.read_text() for _ in range(60)]])  # type: ignore[list-item]
    assert not [answer for answer in answers if isinstance(answer, Exception)]
    assert set(answers[-1]) <= set(words)  # type: ignore[arg-type]


def test_a_lock_is_seen_from_outside_and_goes_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_locked(path)
    with locked(path) as mine, locked(path, wait=False) as others:
        assert mine
        assert not others
        assert is_locked(path)
    with locked(path, shared=True), locked(path, shared=True, wait=False) as mine:
        assert mine
    assert not is_locked(path)


def test_a_process_that_outlives_us_inherits_no_file_no_session_and_no_ignored_signal(tmp_path: Path) -> None:
    """The shell that ran us may hold a lock in an open file (`flock 9`): it must not be held for ever."""
    log, lock = tmp_path / "log", tmp_path / "lock"
    starter = (
        "from hotdesk.system import spawn; from pathlib import Path; import sys;"
        "one = ('-n', '1', '-r', '1', sys.argv[1]);"
        f"print(spawn('timeit', *one, log=Path({str(log)!r}), variables={{'A': 'b'}}))"
    )
    told = (
        "import os, signal; print(os.getsid(0) == os.getpid(), signal.getsignal(signal.SIGINT).__name__,"
        "os.environ['A'], flush=True); import time; time.sleep(30)"
    )
    command = f'trap "" INT; exec 9>{lock}; flock 9; exec "$@"'
    done = subprocess.run(
        ["bash", "-c", command, "bash", sys.executable, "-c", starter, told],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    pid = int(done.stdout)
    try:
        wait_for(lambda: log.exists() and log.read_text().count("\n"))
        assert log.read_text().splitlines()[0] == "True default_int_handler b"
        assert not is_locked(lock)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_answers_come_in_order_with_their_failures_and_without_those_who_are_late() -> None:
    stuck = threading.Event()

    def fail() -> int:
        raise ValueError("no")

    calls: list[Callable[[], object]] = [lambda: 1, fail, stuck.wait, lambda: 4]
    began = time.monotonic()
    one, no, late, four = side_by_side(calls, seconds=0.5)
    stuck.set()
    assert (one, str(no), four) == (1, "no", 4)
    assert isinstance(late, TimeoutError)
    assert time.monotonic() - began < 60
    assert side_by_side([fail], seconds=5)[0].args == ("no",)  # type: ignore[union-attr]
    assert side_by_side([]) == []


def test_no_more_than_so_many_at_once_and_what_ends_a_process_ends_it() -> None:
    at_once, most, turn = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal at_once, most
        with turn:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.01)
        with turn:
            at_once -= 1

    side_by_side([work] * 20, 3)
    assert most == 3

    def end() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        side_by_side([work, end, work])
    with pytest.raises(SystemExit):
        side_by_side([end])
    with each([3, 1, 2], lambda n: n * n) as results:
        assert list(results) == [(3, 9), (1, 1), (2, 4)]


def test_work_is_repeated_until_the_body_is_over() -> None:
    times: list[float] = []
    with every(0.02, lambda: times.append(time.monotonic())):
        wait_for(lambda: len(times) >= 3)
    time.sleep(0.1)
    count = len(times)
    time.sleep(0.1)
    assert len(times) == count


def test_the_ended_are_no_zombies(tmp_path: Path) -> None:
    pid = system.spawn("timeit", "-n", "1", "-r", "1", "pass")

    def gone() -> bool:
        system.reap()
        return not Path(f"/proc/{pid}").exists()

    if sys.platform == "linux":
        wait_for(gone)


def test_a_line_that_installs_names_what_this_hotdesk_came_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The project is on no index while it is a checkout; and a folder may have blanks in its name."""
    checkout = tmp_path / "my projects" / "hotdesk"
    (checkout / "src" / "hotdesk").mkdir(parents=True)
    (checkout / "pyproject.toml").touch()
    monkeypatch.setattr(hotdesk, "__file__", str(checkout / "src" / "hotdesk" / "__init__.py"))
    assert shlex.split(system.install_line("aws"))[-2:] == ["-e", f"{checkout}[aws]"]
    assert system.upgrade_line("9") == f"cd '{checkout}' && git pull && ./setup"
    monkeypatch.setattr(hotdesk, "__file__", str(tmp_path / "lib" / "python3" / "hotdesk" / "__init__.py"))
    for told, source in (
        ('{"url": "file:///a%20b/hotdesk.whl"}', "/a b/hotdesk.whl[aws]"),
        ('{"url": "https://example.org/h.zip"}', "hotdesk[aws] @ https://example.org/h.zip"),
        (None, "hotdesk[aws]"),
    ):
        found = SimpleNamespace(read_text=lambda name, told=told: told)
        monkeypatch.setattr(importlib.metadata, "distribution", lambda name, found=found: found)
        assert shlex.split(system.install_line("aws"))[-1] == source
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert system.install_line("aws").startswith("uv pip install --python ")
    assert "'hotdesk>=9'" in system.upgrade_line("9")


def test_space_on_the_disk_is_what_files_take_and_hard_links_count_once(tmp_path: Path) -> None:
    folder = tmp_path / "folder" / "inner"
    folder.mkdir(parents=True)
    (folder / "a").write_bytes(os.urandom(100_000))
    before = system.space(tmp_path / "folder")
    assert 100_000 < before < 300_000
    (folder / "b").hardlink_to(folder / "a")
    (folder / "away").symlink_to("/")
    with (folder / "hole").open("wb") as file:
        file.truncate(10_000_000)
    assert system.space(tmp_path / "folder") < before + 50_000
    assert system.space(tmp_path / "none") == 0
