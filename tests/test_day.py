"""A day at a local desk through the command line, and what a person may do wrong during it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from hotdesk.providers.local.runtime import locks
from tests.conftest import Command
from tests.local_rig import wait_for

LISTED = {
    "name",
    "goal",
    "phase",
    "provider",
    "region",
    "zone",
    "instance_type",
    "market",
    "usd_per_hour",
    "cost_usd",
    "notebook",
    "ssh",
    "image",
}


def listed(hotdesk: Command) -> list[dict[str, object]]:
    done = hotdesk("ls", "--json")
    assert done.returncode == 0, done.stderr
    desks: list[dict[str, object]] = json.loads(done.stdout)
    return desks


def start(*words: str) -> subprocess.Popen[str]:
    """A command that is not waited for, in a process group of its own as a shell would start it."""
    source = str(Path(__file__).parents[1] / "src")
    return subprocess.Popen(
        [sys.executable, "-m", "hotdesk", *words],
        env={**os.environ, "PYTHONPATH": source},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def processes_of(state: Path) -> list[str]:
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(state) in line and process.pid != os.getpid():
            found.append(line)
    return found


def at_work(state: Path) -> list[str]:
    """Those but the ones that delete what is over; no command waits for them."""
    return [line for line in processes_of(state) if "terminator" not in line and "tidier" not in line]


def test_from_up_to_down(hotdesk: Command, tmp_path: Path) -> None:
    up = hotdesk("up", "blue")
    assert up.returncode == 0, up.stderr
    for next_thing in ("http://127.0.0.1:", "hotdesk ssh blue", "hotdesk park blue"):
        assert next_thing in up.stdout
    (desk,) = listed(hotdesk)
    assert desk.keys() >= LISTED
    assert (desk["goal"], desk["phase"], desk["provider"]) == ("running", "ready", "local")
    url = hotdesk("notebook", "blue", "--url").stdout.strip()
    assert desk["notebook"] == url
    assert urllib.request.urlopen(url).status == 200
    assert (
        subprocess.run([*shlex.split(str(desk["ssh"])), "echo", "hello"], capture_output=True).stdout
        == b"hello\n"
    )

    (tmp_path / "a b.txt").write_text("kept")
    assert hotdesk("push", "blue", str(tmp_path / "a b.txt"), "--to", "in").returncode == 0
    assert hotdesk("ssh", "blue", "--", "cat", "in/a b.txt").stdout == "kept"
    (tmp_path / "out").mkdir()
    assert hotdesk("pull", "blue", "in", "--to", str(tmp_path / "out")).returncode == 0
    assert (tmp_path / "out" / "in" / "a b.txt").read_text() == "kept"

    for verb, phase in (("park", "parked"), ("resume", "ready"), ("stop", "stopped"), ("start", "ready")):
        done = hotdesk(verb, "blue")
        assert done.returncode == 0, done.stderr
        (desk,) = listed(hotdesk)
        assert desk["phase"] == phase
        if phase == "ready":
            assert hotdesk("ssh", "blue", "--", "cat", "in/a b.txt").stdout == "kept"
        else:
            assert not at_work(tmp_path / "state")
            assert (hotdesk("ssh", "blue", "--", "true").returncode, desk["notebook"]) == (5, "")
        assert hotdesk(verb, "blue").returncode == 0, "asked again, it is so already"

    shown = json.loads(hotdesk("show", "blue", "--json").stdout)
    assert shown.keys() >= LISTED
    assert {row["status"] for row in shown["journal"]} == {"done"}
    assert all(row["why"] for row in shown["journal"])

    assert hotdesk("down", "blue").returncode == 5, "nobody could be asked"
    assert hotdesk("down", "blue", "--yes").returncode == 0
    assert hotdesk("down", "blue", "--yes").returncode == 0, "twice is once"
    assert listed(hotdesk) == []
    assert wait_for(lambda: not processes_of(tmp_path / "state"))
    assert not list((tmp_path / "state").rglob("*blue*"))
    assert "deleting" in hotdesk("log", "blue").stdout, "the journal remembers"


def test_commands_at_the_desk(hotdesk: Command) -> None:
    assert hotdesk("up", "blue").returncode == 0
    for words, status, said in (
        (["exit 7"], 7, ""),
        (["false"], 1, ""),
        (["echo", "$HOME", "a  b"], 0, "$HOME a  b\n"),
        (["echo a | wc -c"], 0, "2\n"),
        (["python", "-c", "print('x y')"], 0, "x y\n"),
        (["no-such-program"], 127, ""),
    ):
        done = hotdesk("ssh", "blue", "--", *words)
        assert (done.returncode, done.stdout) == (status, said), done.stderr


def test_dry_runs_do_nothing(hotdesk: Command) -> None:
    for words in (["up", "blue"], ["up", "blue", "--type", "local.cpu"]):
        done = hotdesk(*words, "--dry-run")
        assert (done.returncode, "launch local." in done.stdout) == (0, True)
    assert listed(hotdesk) == []
    assert hotdesk("up", "blue").returncode == 0
    before = hotdesk("log", "--json").stdout
    for words in (["park"], ["stop"], ["down"], ["move", "--type", "local.cpu"], ["resume"], ["start"]):
        done = hotdesk(words[0], "blue", *words[1:], "--dry-run")
        assert done.returncode == 0, done.stderr
        assert "othing" in done.stdout.splitlines()[-1]
    assert hotdesk("log", "--json").stdout == before
    assert [d["phase"] for d in listed(hotdesk)] == ["ready"]


def test_two_at_once_share_one_machine(hotdesk: Command) -> None:
    both = [start("up", "blue"), start("up", "blue")]
    assert [(p.communicate(timeout=120), p.returncode)[1] for p in both] == [0, 0]
    steps = [row["step"] for row in json.loads(hotdesk("log", "blue", "--json").stdout)]
    assert steps.count("launch") == 1


def test_a_change_of_mind_is_heard(hotdesk: Command) -> None:
    up = start("up", "blue")
    deadline = time.monotonic() + 30
    while not listed(hotdesk) and time.monotonic() < deadline:
        time.sleep(0.05)
    park = hotdesk("park", "blue")
    _, said = up.communicate(timeout=120)
    assert park.returncode == 0, park.stderr
    assert up.returncode in {0, 6}, said
    assert "Traceback" not in said
    assert [d["phase"] for d in listed(hotdesk)] == ["parked"]


def test_ctrl_c_is_safe(hotdesk: Command) -> None:
    up = start("up", "blue")
    assert up.stderr is not None
    assert "launching" in up.stderr.readline()
    up.send_signal(signal.SIGINT)
    _, said = up.communicate(timeout=60)
    assert up.returncode == 130
    assert "Your request is saved" in said
    assert "Traceback" not in said
    assert [d["goal"] for d in listed(hotdesk)] == ["running"]
    assert hotdesk("watch", "--once", "blue").returncode == 0
    assert [d["phase"] for d in listed(hotdesk)] == ["ready"]


def test_the_log_can_be_followed(hotdesk: Command) -> None:
    follow = start("log", "-f")
    seen: list[str] = []
    reader = threading.Thread(target=lambda: seen.extend(iter(follow.stdout.readline, "")))  # type: ignore[union-attr]
    reader.start()
    try:
        time.sleep(1)
        assert hotdesk("up", "blue").returncode == 0
        time.sleep(1)
    finally:
        follow.send_signal(signal.SIGINT)
        follow.communicate(timeout=30)
        reader.join(30)
    assert follow.returncode == 130
    assert any("launching" in line for line in seen)
    assert any("logging in" in line for line in seen)


def test_a_desk_that_died_is_mended_by_up(hotdesk: Command, tmp_path: Path) -> None:
    assert hotdesk("up", "blue").returncode == 0
    assert hotdesk("ssh", "blue", "--", "echo kept > file").returncode == 0
    for process in psutil.process_iter(["cmdline"]):
        if str(tmp_path / "state") in " ".join(process.info["cmdline"] or []):
            process.kill()
    deadline = time.monotonic() + 30
    while listed(hotdesk)[0]["phase"] != "stopped" and time.monotonic() < deadline:
        time.sleep(0.2)
    assert listed(hotdesk)[0]["phase"] == "stopped"
    done = hotdesk("ssh", "blue", "--", "true")
    assert (done.returncode, "hotdesk up blue" in done.stderr) == (5, True)
    assert hotdesk("up", "blue").returncode == 0
    assert hotdesk("ssh", "blue", "--", "cat", "file").stdout == "kept\n"


def test_a_rotten_image_is_told_and_kept(hotdesk: Command, tmp_path: Path) -> None:
    assert hotdesk("up", "blue").returncode == 0
    old = "mkdir old; truncate -s 1200M old/data; touch -d 2020-02-02 old/data"
    assert hotdesk("ssh", "blue", "--", f"head -c 300000 /dev/urandom > noise; {old}").returncode == 0
    parked = hotdesk("park", "blue")
    assert parked.returncode == 0
    assert "~/old is 1.2 GiB, unchanged for" in parked.stderr, "what is big and may be data is said"
    packs = [p for p in (tmp_path / "state" / "local" / "store" / "packs").rglob("*") if p.is_file()]
    largest = max(packs, key=lambda p: p.stat().st_size)
    largest.chmod(0o600)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    largest.write_bytes(content)
    done = hotdesk("resume", "blue")
    assert done.returncode not in {0, 1}
    assert "Traceback" not in done.stderr
    assert "noise" in done.stderr or largest.name in done.stderr, done.stderr
    assert largest.exists()
    content[len(content) // 2] ^= 0xFF  # the disk was only badly connected
    largest.write_bytes(content)
    assert hotdesk("resume", "blue").returncode == 0
    assert hotdesk("ssh", "blue", "--", "wc -c < noise").stdout.strip() == "300000"


@pytest.mark.long
def test_packs_that_are_gone_are_told_with_their_place(hotdesk: Command, tmp_path: Path) -> None:
    assert hotdesk("up", "blue").returncode == 0
    assert hotdesk("ssh", "blue", "--", "echo kept > file").returncode == 0
    assert hotdesk("park", "blue").returncode == 0
    packs = tmp_path / "state" / "local" / "store" / "packs"
    packs.rename(tmp_path / "away")
    for _ in range(2):
        done = hotdesk("resume", "blue")
        assert done.returncode == 5, done.stderr
        assert f"fix: ls -l {packs}" in done.stderr
        assert "is lost: a pack that held it is gone" in done.stderr
    starts = [row for row in json.loads(hotdesk("log", "blue", "--json").stdout) if row["step"] == "start"]
    assert len(starts) == 2, "the same again is no use until its owner has done something"
    packs.rmdir()
    (tmp_path / "away").rename(packs)
    assert hotdesk("resume", "blue").returncode == 0
    assert hotdesk("ssh", "blue", "--", "cat", "file").stdout == "kept\n"


@pytest.mark.long
def test_a_lost_state_file_is_rebuilt_from_what_is_seen(hotdesk: Command, tmp_path: Path) -> None:
    assert hotdesk("up", "blue").returncode == 0
    assert hotdesk("ssh", "blue", "--", "echo kept > file").returncode == 0
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / "state" / f"hotdesk.db{suffix}").unlink(missing_ok=True)
    assert listed(hotdesk) == []
    assert "blue" in hotdesk("doctor").stdout
    assert hotdesk("doctor", "--adopt").returncode == 0
    assert [d["phase"] for d in listed(hotdesk)] == ["ready"]
    for verb in ("park", "resume"):
        done = hotdesk(verb, "blue")
        assert done.returncode == 0, done.stderr
    assert hotdesk("ssh", "blue", "--", "cat", "file").stdout == "kept\n"


def test_a_move_to_what_is_not_here_leaves_the_desk_alone(hotdesk: Command) -> None:
    hotdesk("up", "blue")
    done = hotdesk("move", "blue", "--type", "local.huge")
    assert done.returncode == 3
    assert "local.huge" in done.stderr
    assert "Delete blue" in hotdesk("down", "blue").stderr
    assert "fix: hotdesk down blue --yes" in hotdesk("down", "blue").stderr
    assert [d["phase"] for d in listed(hotdesk)] == ["ready"]
    assert hotdesk("up", "blue").returncode == 0


def test_push_and_pull_take_several_sources(hotdesk: Command, home: Path) -> None:
    (home / "data").mkdir()
    (home / "data" / "odd \udcff\n 'name'").write_text("7")
    (home / "train.py").write_text("print(7)")
    hotdesk("up", "blue")
    assert hotdesk("push", "blue", "train.py", "data").returncode == 0
    assert hotdesk("ssh", "blue", "--", "python", "train.py").stdout == "7\n"
    assert hotdesk("pull", "blue", "train.py", "data", "--to", "a b/c").returncode == 0
    assert [p.read_text() for p in (home / "a b" / "c" / "data").iterdir()] == ["7"]
    missing = hotdesk("pull", "blue", "nothing")
    assert missing.returncode == 4
    assert "Not everything was copied" in missing.stderr


def test_keys_that_were_deleted_are_told_and_made_anew(hotdesk: Command, tmp_path: Path) -> None:
    hotdesk("up", "blue")
    keys = tmp_path / "state" / "desks" / "blue"
    (keys / "notebook-password").unlink()
    assert hotdesk("notebook", "blue", "--password").returncode == 8
    shutil.rmtree(keys)
    for words in (["up", "blue"], ["ssh", "blue", "--", "true"], ["doctor", "blue"]):
        done = hotdesk(*words)
        assert done.returncode == 5, done.stderr
        fixes = ("hotdesk stop blue && hotdesk start blue", "hotdesk park blue && hotdesk resume blue")
        assert any(fix in done.stderr + done.stdout for fix in fixes)
    assert hotdesk("stop", "blue").returncode == 5  # nobody can look at what works there
    assert hotdesk("stop", "blue", "--yes").returncode == 0
    assert hotdesk("start", "blue").returncode == 0
    assert hotdesk("ssh", "blue", "--", "echo", "in").stdout == "in\n"
    assert hotdesk("notebook", "blue", "--password").stdout.strip()


@pytest.mark.parametrize(
    ("verb", "whole"),
    [
        ("park", False),
        pytest.param("park", True, marks=pytest.mark.long),
        pytest.param("up", True, marks=pytest.mark.long),
        ("down", False),
        pytest.param("down", True, marks=pytest.mark.long),
    ],
)
def test_a_machine_whose_record_was_deleted_is_ended_before_its_disk_is_saved(
    hotdesk: Command, tmp_path: Path, verb: str, whole: bool
) -> None:
    assert hotdesk("up", "blue").returncode == 0
    assert hotdesk("ssh", "blue", "--", "echo kept > file").returncode == 0
    [machine] = (tmp_path / "state" / "local" / "machines").iterdir()
    shutil.rmtree(machine) if whole else (machine / "machine.json").unlink()
    done = hotdesk(verb, "blue", *(["--yes"] if verb == "down" else []))
    assert done.returncode == 0, done.stderr
    if verb == "park":
        assert not at_work(tmp_path / "state"), "nothing writes on to a disk that was saved"
        assert hotdesk("resume", "blue").returncode == 0
    if verb != "down":
        assert hotdesk("ssh", "blue", "--", "cat", "file").stdout == "kept\n"
        assert hotdesk("down", "blue", "--yes").returncode == 0
    assert wait_for(lambda: not processes_of(tmp_path / "state"))


def test_what_is_written_from_outside_while_a_desk_is_parked_is_saved_too(
    hotdesk: Command, tmp_path: Path
) -> None:
    """1. A desk is parked. 2. After its image was taken, an editor outside the desk saves a file there.
    3. The disk is saved again before it goes."""
    assert hotdesk("up", "blue").returncode == 0
    state = tmp_path / "state"
    park = start("park", "blue")
    deadline = time.monotonic() + 60
    while not list((state / "local" / "images").glob("*.manifest")):
        assert time.monotonic() < deadline
    (state / "local" / "disks" / "blue" / "home" / "late.txt").write_text("kept")
    _, said = park.communicate(timeout=120)
    assert park.returncode == 0, said
    assert not list((state / "local" / "disks").iterdir())
    assert hotdesk("resume", "blue").returncode == 0
    assert hotdesk("ssh", "blue", "--", "cat", "late.txt").stdout == "kept"


@pytest.mark.parametrize("verb", ["down", "park"])
def test_a_deletion_that_was_killed_is_taken_up_again(hotdesk: Command, tmp_path: Path, verb: str) -> None:
    """1. A machine is being deleted. 2. The process that deletes it is killed. 3. So is the command. 4. The
    same command again gets to the end."""
    assert hotdesk("up", "blue").returncode == 0
    machines = tmp_path / "state" / "local" / "machines"
    [machine] = machines.iterdir()
    words = [verb, "blue", *(["--yes"] if verb == "down" else [])]
    command = start(*words)
    deadline = time.monotonic() + 60
    while not ((machine / "ending.json").exists() and (pid := locks.worker_pid(machine / "end.lock"))):
        assert time.monotonic() < deadline
    command.kill()
    os.kill(pid, signal.SIGKILL)
    command.communicate()
    assert machine.exists(), "it was killed half-way"
    done = hotdesk(*words, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not list(machines.iterdir())


def test_a_deletion_that_cannot_be_is_a_question_and_no_loop(hotdesk: Command, tmp_path: Path) -> None:
    assert hotdesk("up", "blue").returncode == 0
    machines = tmp_path / "state" / "local" / "machines"
    if os.getuid() or subprocess.run(["chattr", "+i", str(machines)], capture_output=True).returncode:
        pytest.skip("only root may forbid it to everybody, on some file systems")
    try:
        done = hotdesk("down", "blue", "--yes", timeout=60)
    finally:
        subprocess.run(["chattr", "-i", str(machines)], check=True)
    assert done.returncode == 5, done.stderr
    assert "Operation not permitted" in done.stderr
    assert hotdesk("down", "blue", "--yes").returncode == 0


@pytest.mark.parametrize("running", [pytest.param(False, marks=pytest.mark.long), True])
def test_a_disk_deleted_behind_our_back_is_never_taken_for_an_empty_one(
    hotdesk: Command, tmp_path: Path, running: bool
) -> None:
    hotdesk("up", "blue")
    hotdesk("ssh", "blue", "--", "echo kept > file")
    hotdesk("park", "blue")
    hotdesk("resume", "blue")
    if not running:
        hotdesk("stop", "blue")
    disk = tmp_path / "state" / "local" / "disks" / "blue"
    shutil.rmtree(disk)
    (disk / "home" / ".npm" / "_logs").mkdir(
        parents=True
    )  # a program of the desk makes anew what it writes to
    (disk / "home" / ".npm" / "_logs" / "debug.log").write_text("it goes on")
    for verb in ("park",) if running else ("up", "park"):
        done = hotdesk(verb, "blue", *(["--yes"] if running else []))
        assert done.returncode == 5, done.stderr
        assert "hotdesk up blue --fresh" in done.stderr
    up = hotdesk("up", "blue", "--fresh")
    assert up.returncode == 0, up.stderr
    assert hotdesk("ssh", "blue", "--", "cat", "file").stdout == "kept\n"
    assert hotdesk("park", "blue").returncode == 0
    assert hotdesk("down", "blue", "--yes").returncode == 0
    left = [
        str(p) for p in (tmp_path / "state" / "local").glob("*/*") if p.is_file() and "store" not in str(p)
    ]
    assert not [p for p in left if "blue" in p]


def test_up_says_no_to_hardware_that_is_not_here(hotdesk: Command) -> None:
    done = hotdesk("up", "blue", "--gpu", "H100:8")
    assert done.returncode == 3, done.stderr
    assert "fix:" in done.stderr
    assert hotdesk("down", "blue", "--yes").returncode in {0, 4}


@pytest.mark.parametrize(
    "words", [["move", "blue"], ["up", "blue", "--type", "local.cpu", "--market", "spot"]]
)
def test_contradictions(hotdesk: Command, words: list[str]) -> None:
    hotdesk("up", "blue")
    assert hotdesk(*words).returncode == 2


def test_a_machine_that_is_what_is_asked_for_is_no_contradiction(hotdesk: Command) -> None:
    """It was made for other words: by another computer, or chosen as the cheapest."""
    hotdesk("up", "blue")
    for words in (("--type", "local.cpu"), ("--type", "local.*", "--market", "on-demand")):
        done = hotdesk("up", "blue", *words)
        assert done.returncode == 0, done.stderr


def test_an_editor_finds_the_desk_as_a_host(hotdesk: Command, home: Path) -> None:
    assert hotdesk("up", "blue").returncode == 0
    (home / ".ssh").mkdir(mode=0o700)
    config = home / ".ssh" / "config"
    config.write_text("Host other\n    Port 1\n")
    config.chmod(0o600)
    first = hotdesk("code", "blue", "--print")
    assert first.stdout.startswith("vscode://vscode-remote/ssh-remote+hotdesk-blue/")
    assert "--setup" in first.stderr
    assert hotdesk("code", "blue", "--print", "--setup").returncode == 0
    assert hotdesk("code", "blue", "--print", "--setup").stderr == "", "once is enough"
    assert config.read_text().endswith("Host other\n    Port 1\n")
    said = subprocess.run(["ssh", "-F", str(config), "hotdesk-blue", "echo hello"], capture_output=True)
    assert said.stdout == b"hello\n", said.stderr
    assert hotdesk("down", "blue", "--yes").returncode == 0
    assert not list((Path(os.environ["HOTDESK_STATE"]) / "ssh").iterdir())
