"""Files on their way to a real local desk and back, over real ssh, rsync and tar: whole, whatever happens."""

from __future__ import annotations

import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from hotdesk.connect import copying, job_runner, one_login, placing, ssh, ssh_options
from hotdesk.connect.sync import contents
from hotdesk.connect.tar import is_lost
from hotdesk.core.errors import Missing, NeedsDecision
from hotdesk.core.ports import Access
from tests.local_rig import one_desk, rig_in, tool, wait_for

pytestmark = [tool("ssh"), tool("rsync"), tool("git"), one_desk("copying"), pytest.mark.slow]

KILLS = int(os.environ.get("HOTDESK_KILLS", "6"))
MIB = 1 << 20


def always(name: str, here: os.stat_result, came: os.stat_result) -> bool:
    return True


def never(name: str, here: os.stat_result, came: os.stat_result) -> bool:
    return False


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    with rig_in(tmp_path_factory.mktemp("state")) as rig:
        yield rig.provider.access(rig.up("blue"))


@pytest.fixture
def there(desk: Access) -> Path:
    """The desk's home, as this computer sees it: empty."""
    home = Path(desk.home)
    for path in home.iterdir():
        if path.name not in {".hotdesk", ".ssh"} and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
    return home


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder on another file system."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="hotdesk-") as folder:
        yield Path(folder)


@pytest.fixture(params=["rsync", "tar"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "tar":
        monkeypatch.setattr(copying, "rsync", lambda: "")
    return str(request.param)


def a_tree(folder: Path) -> None:
    """What a user expects to arrive as it is."""
    (folder / "deep" / "empty").mkdir(parents=True)
    (folder / "deep").chmod(0o750)
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o700)
    for name in ("#x", ";y", "-rf", "a\nb", "deep/\udcff 'q\"", "deep/ö", ":(top)z"):
        (folder / name).write_text(name, errors="surrogateescape")
    (folder / "link").symlink_to("deep/ö")
    (folder / "deep" / "out").symlink_to("/nowhere")
    (folder / "two").hardlink_to(folder / "run.sh")
    with (folder / "holes").open("wb") as file:
        file.seek(64 * MIB)
        file.write(b"end")
    for path in (folder / "run.sh", folder / "deep" / "ö"):
        os.utime(path, ns=(10**18, 10**18))


def told(folder: Path) -> dict[str, object]:
    """Everything about a tree that has to be the same elsewhere."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        seen = path.lstat()
        if path.is_symlink():
            found[str(path.relative_to(folder))] = str(path.readlink())
        elif path.is_dir():
            found[str(path.relative_to(folder))] = oct(seen.st_mode)
        else:
            digest = hash(path.read_bytes())
            found[str(path.relative_to(folder))] = (digest, oct(seen.st_mode), int(seen.st_mtime))
    return found


def test_a_tree_arrives_and_returns_as_it_is(desk: Access, there: Path, tmp_path: Path, way: str) -> None:
    here, back = tmp_path / "here", tmp_path / "back"
    here.mkdir()
    a_tree(here)
    copying.push(desk, [(here, contents(here).names)], "in a 'place'")
    assert told(there / "in a 'place'") == told(here)
    arrived = copying.pull(desk, ["in a 'place'"], back, may_replace=never)
    assert told(back / "in a 'place'") == told(here)
    assert [p.name for p in back.iterdir()] == ["in a 'place'"], "nothing of the way is left"
    assert arrived.absent == []
    assert arrived.placed.beside == {}
    for folder in (there / "in a 'place'", back / "in a 'place'"):
        assert folder.joinpath("holes").stat().st_blocks < 1000, f"holes are holes ({way})"
        assert folder.joinpath("two").stat().st_ino == folder.joinpath("run.sh").stat().st_ino
    again = copying.pull(desk, ["in a 'place'/"], back / "in a 'place'", may_replace=never)
    assert {**again.placed.came, **again.placed.beside} == {}, "what is the same stays"


def test_what_is_here_stays_and_the_desks_comes_beside(
    desk: Access, there: Path, tmp_path: Path, way: str
) -> None:
    assert way
    for name, text in (("p/results/a", "desk"), ("p/results/deep/b", "desk"), ("p/results/c/d", "desk")):
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        (there / name).write_text(text)
    elsewhere = tmp_path / "elsewhere"
    for folder in (tmp_path / "results", elsewhere):
        folder.mkdir()
    (tmp_path / "results" / "a").write_text("mine, and longer")
    (tmp_path / "results" / "c").write_text("a file where the desk has a folder")
    (tmp_path / "results" / "deep").symlink_to(elsewhere)
    arrived = copying.pull(desk, ["results/", "none"], tmp_path, below="p", may_replace=never)
    assert arrived.absent == ["none"]
    assert (tmp_path / "results" / "a").read_text() == "mine, and longer"
    assert (tmp_path / "results" / "a.from-blue").read_text() == "desk"
    assert (tmp_path / "results" / "c.from-blue" / "d").read_text() == "desk"
    assert (tmp_path / "results" / "deep.from-blue" / "b").read_text() == "desk"
    assert not list(elsewhere.iterdir()), "no link is followed: the desk could have sent it"
    assert arrived.placed.beside == {
        f"results/{name}": f"results/{name}.from-blue" for name in ("a", "c", "deep")
    }
    again = copying.pull(desk, ["results/"], tmp_path, below="p", may_replace=never)
    assert sorted(p.name for p in (tmp_path / "results").iterdir() if "-2" in p.name) == [
        "c.from-blue-2", "deep.from-blue-2",
    ], again.placed.beside  # fmt: skip


def test_a_result_that_is_a_link_here_is_filled_where_it_leads(
    desk: Access, there: Path, tmp_path: Path
) -> None:
    (there / "p" / "results").mkdir(parents=True)
    (there / "p" / "results" / "a").write_text("desk")
    (tmp_path / "big").mkdir()
    (tmp_path / "results").symlink_to("big")
    copying.pull(desk, ["results"], tmp_path, below="p", may_replace=never)
    assert (tmp_path / "big" / "a").read_text() == "desk"


def test_what_is_named_and_is_a_link_there_comes_as_what_it_leads_to(
    desk: Access, there: Path, tmp_path: Path, way: str
) -> None:
    """The usual way to write results on a machine's own disks, which end with it."""
    (there / "scratch" / "r" / "sub").mkdir(parents=True)
    (there / "scratch" / "r" / "sub" / "a").write_text("result")
    (there / "scratch" / "r" / "last").symlink_to("sub/a")
    (there / "scratch" / "model").write_text("weights")
    (there / "p").mkdir()
    (there / "p" / "results").symlink_to("../scratch/r")
    (there / "p" / "model").symlink_to("../scratch/model")
    (there / "p" / "dead").symlink_to("nowhere")
    (there / "p" / "plain").write_text("plain")
    every = {"results/last", "results/sub/a", "model", "plain"}
    whole = ["results", "model", "dead", "plain"]
    for below, sources in (("p", whole), ("", [f"p/{name}" for name in whole])):
        here = tmp_path / (below or "plain")
        for time_ in (1, 2):
            arrived = copying.pull(desk, sources, here, below=below, may_replace=never)
            assert arrived.absent == [sources[2]]
            assert not arrived.failed
            assert not arrived.placed.beside
            assert time_ == 2 or set(arrived.placed.came) == every
        assert (here / "results" / "sub" / "a").read_text() == "result"
        assert (here / "model").read_text() == "weights"
        assert not (here / "model").is_symlink()
        assert (here / "results" / "last").is_symlink(), "what is inside stays as it is"
        assert not os.path.lexists(here / "dead"), "here it may lead to something"


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no second file system")
def test_it_may_lead_to_another_file_system(
    desk: Access, there: Path, tmp_path: Path, memory: Path, way: str
) -> None:
    (there / "p" / "results" / "sub").mkdir(parents=True)
    (there / "p" / "results" / "a").write_text("desk")
    (there / "p" / "results" / "sub" / "b").symlink_to("../a")
    (there / "p" / "results" / "c").write_text("desk's")
    (memory / "c").write_text("here")
    (tmp_path / "results").symlink_to(memory)
    arrived = copying.pull(desk, ["results"], tmp_path, below="p", may_replace=never)
    assert arrived.placed.beside == {"results/c": "results/c.from-blue"}
    assert {p.name for p in memory.iterdir()} == {"a", "sub", "c", "c.from-blue"}
    assert ((memory / "a").read_text(), (memory / "c").read_text()) == ("desk", "here")
    assert (memory / "sub" / "b").is_symlink()
    assert not list(tmp_path.glob(".hotdesk*"))


def test_what_cannot_be_put_in_its_place_is_said_and_lies_ready(
    desk: Access, there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (there / "a").write_text("desk")

    def full(path: Path, to: Path) -> None:
        raise OSError(28, "No space left on device", str(path), None, str(to))

    with monkeypatch.context() as patched:
        patched.setattr(placing, "_move", full)
        with pytest.raises(Missing, match="No space left"):
            copying.pull(desk, ["a"], tmp_path, may_replace=never)
    copying.pull(desk, ["a"], tmp_path, may_replace=never)
    assert (tmp_path / "a").read_text() == "desk"


def test_a_folder_at_the_desk_outlives_a_link_here_and_a_link_there_a_folder(
    desk: Access, there: Path, tmp_path: Path, way: str
) -> None:
    assert way
    here = tmp_path / "here"
    (here / "logs").mkdir(parents=True)
    (here / "logs" / "l").write_text("new")
    (here / "data").symlink_to("../outside")
    (there / "p" / "data").mkdir(parents=True)
    (there / "p" / "data" / "d").write_text("kept")
    (there / "scratch").mkdir()
    (there / "p" / "logs").symlink_to("../scratch")
    (here / "logs" / "deep" / "er").mkdir(parents=True)
    (here / "logs" / "deep" / "er" / "m").write_text("new")
    (there / "more").mkdir()
    (there / "scratch" / "deep").symlink_to(there / "more")
    sent = copying.push(desk, [(here, contents(here).names)], "p")
    assert sent.kept == ("data",)
    assert (there / "p" / "data" / "d").read_text() == "kept"
    assert (there / "scratch" / "l").read_text() == "new"
    assert (there / "more" / "er" / "m").read_text() == "new"
    assert (there / "p" / "logs").is_symlink()
    (there / "p" / "script").mkdir()
    (there / "p" / "script" / "s").write_text("kept")
    (here / "script").write_text("a file now")
    with pytest.raises(NeedsDecision, match="a folder is where a file should go"):
        copying.push(desk, [(here, contents(here).names)], "p")
    assert (there / "p" / "script" / "s").read_text() == "kept"


def test_what_goes_away_meanwhile_is_no_failure(desk: Access, there: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    copying.push(desk, [(tmp_path, ["a", "an-editors-temporary-file"])], "p")
    assert [p.name for p in (there / "p").iterdir()] == ["a"]


def test_what_cannot_be_read_there_costs_nothing_else(
    desk: Access, there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An rsync at the desk that complains at its end as it does of another owner's file."""
    (there / "p" / "results").mkdir(parents=True)
    (there / "p" / "results" / "a").write_text("a")
    said = 'rsync: [sender] send_files failed to open "/b": Permission denied (13)'
    fake = there / "p" / "rsync"
    fake.write_text(f"#!/bin/sh\nrsync \"$@\" || exit $?\necho '{said}' >&2\nexit 23\n")
    fake.chmod(0o755)
    before = copying._rsync
    monkeypatch.setattr(copying, "_rsync", lambda *words: [*before(*words), f"--rsync-path={fake}"])
    arrived = copying.pull(desk, ["results"], tmp_path, below="p", may_replace=never)
    assert (tmp_path / "results" / "a").read_text() == "a"
    assert arrived.failed == [said]


def test_nothing_is_packed_on_the_way_to_this_computer(desk: Access) -> None:
    assert "-z" not in copying._rsync(desk, None)
    away = Access(**{f: getattr(desk, f) for f in desk.__struct_fields__} | {"host": "198.51.100.7"})
    assert "-z" in copying._rsync(away, None)


def test_an_rsync_that_lacks_options_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "rsync"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for said, used in (
        ("openrsync: protocol version 29\nrsync version 2.6.9 compatible", False),
        ("rsync  version 2.6.9  protocol version 29", False),
        ("rsync  version 3.0.9  protocol version 30", False),
        ("rsync  version 3.1.0  protocol version 31", True),
        ("rsync  version v3.4.1  protocol version 32", True),
    ):
        fake.write_text(f"#!/bin/sh\ncat <<'.'\n{said}\n.\n")
        fake.chmod(0o755)
        copying.rsync.cache_clear()
        assert bool(copying.rsync()) is used, said
        assert ("tar" in copying.check()) is not used
    copying.rsync.cache_clear()


@pytest.mark.parametrize("how", ["rsync", "tar"])
def test_results_of_one_name_keep_their_paths(
    desk: Access, there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """They once overwrote each other without a word."""
    if how == "tar":
        monkeypatch.setattr(copying, "rsync", lambda: "")
    for run in "ab":
        (there / "kept/runs" / run).mkdir(parents=True, exist_ok=True)
        (there / "kept/runs" / run / "metrics.csv").write_text(run)
    named = ["kept/runs/a/metrics.csv", "kept/runs/b/metrics.csv"]
    copying.pull(desk, named, tmp_path / "named", may_replace=lambda *_: True)
    assert (tmp_path / "named/a/metrics.csv").read_text() == "a"
    assert (tmp_path / "named/b/metrics.csv").read_text() == "b"
    arrived = copying.pull(desk, ["kept/runs/*/metrics.csv"], tmp_path / "all", may_replace=lambda *_: True)
    if how == "tar":
        assert arrived.absent == ["kept/runs/*/metrics.csv"]
    else:
        assert sorted(arrived.placed.came) == ["a/metrics.csv", "b/metrics.csv"]
        copying.pull(desk, ["runs/*/metrics.csv"], tmp_path, below="kept", may_replace=lambda *_: True)
        assert (tmp_path / "runs/b/metrics.csv").read_text() == "b"


PUSH_OR_PULL = """
import sys
from pathlib import Path
import msgspec
from hotdesk.connect import copying
from hotdesk.core.ports import Access

access = msgspec.json.decode(sys.argv[2].encode(), type=Access)
folder = Path(sys.argv[3])
if sys.argv[1] == "push":
    copying.push(access, [(folder, ["big", "small"])], "project")
else:
    copying.pull(access, ["big", "small"], folder, below="project", may_replace=lambda *_: True)
"""


@pytest.mark.parametrize(
    ("signals", "verb"),
    [
        (signal.SIGINT, "push"),
        (signal.SIGKILL, "pull"),
        pytest.param(signal.SIGINT, "pull", marks=pytest.mark.long),
        pytest.param(signal.SIGKILL, "push", marks=pytest.mark.long),
    ],
)
def test_killed_at_any_moment_each_file_is_old_or_new_and_whole(
    desk: Access, there: Path, tmp_path: Path, verb: str, signals: signal.Signals
) -> None:
    """HOTDESK_KILLS=50: the full number. The whole process group is hit, as by Ctrl-C or a closed lid."""
    import msgspec

    chance = random.Random(f"{verb}{signals}")
    here = tmp_path / "here"
    source, target = (here, there / "project") if verb == "push" else (there / "project", here)
    for folder in (source, target):
        folder.mkdir()
    old = {"big": chance.randbytes(24 * MIB), "small": b"old"}
    for name, body in old.items():
        (target / name).write_bytes(body)
        os.utime(target / name, (1, 1))
    argv = [sys.executable, "-c", PUSH_OR_PULL, verb, msgspec.json.encode(desk).decode(), str(here)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    cut = 0
    for number in range(KILLS):
        new = {"big": chance.randbytes(40 * MIB), "small": f"new {number}".encode()}
        for name, body in new.items():
            (source / name).write_bytes(body)
        with subprocess.Popen(
            argv,
            env=environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            time.sleep(chance.uniform(0.2, 1.6))
            with_group = os.getpgid(process.pid)
            if process.poll() is None:
                os.killpg(with_group, signals)
                cut += 1
            process.wait()
        limit = time.monotonic() + 20
        while subprocess.run(["pgrep", "-g", str(with_group)], capture_output=True).stdout:
            assert time.monotonic() < limit
            time.sleep(0.05)
        time.sleep(0.3)
        while list(there.glob(".hotdesk/copying/*/*.??????")):  # the desk's side has heard of it
            assert time.monotonic() < limit + 20
            time.sleep(0.05)
        for name, body in new.items():
            assert (target / name).read_bytes() in {old[name], body}, (number, name)
        old = {name: (target / name).read_bytes() for name in old}
    subprocess.run(argv, env=environment, check=True, timeout=60)
    assert {name: (target / name).read_bytes() for name in new} == new
    assert sorted(p.name for p in target.iterdir()) == ["big", "small"], "nothing of the way is left"
    assert cut, "some were cut off"


def test_what_was_interrupted_long_ago_is_cleared_away(desk: Access, there: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    copying.push(desk, [(tmp_path, ["a"])], "once")
    [key] = {p.parent for p in (there / ".hotdesk" / "copying").glob("*/target") if "once" in p.read_text()}
    partial = there / "once" / "deep" / ".hotdesk-partial"
    partial.mkdir(parents=True)
    (partial / "big").write_text("half")
    (key / "big.Xy12Zz").write_text("half")
    ago = time.time() - 10 * 86400
    for path in (partial, key):
        os.utime(path, (ago, ago))
    copying.push(desk, [(tmp_path, ["a"])], "another")
    assert not partial.exists()
    assert not key.exists()
    assert (there / "once" / "a").exists()
    left = tmp_path / ".hotdesk-copying" / "green-0"
    left.mkdir(parents=True)
    os.utime(left, (ago, ago))
    copying.pull(desk, ["once/a"], tmp_path, may_replace=always)
    assert not (tmp_path / ".hotdesk-copying").exists()


def test_placing_needs_no_more_than_old_pythons_have() -> None:
    import ast

    ast.parse(Path(placing.__file__).read_text(), feature_version=(3, 8))


def test_commands_share_a_login_that_nobody_else_can_use_and_that_ends_with_us(desk: Access) -> None:
    """Another process that tries the same is let in by its own login alone; a proof is one of its own."""
    where = 'echo "$SSH_CONNECTION"; true'

    def port() -> bytes:  # from which the desk is reached: another one for each login
        return job_runner.run_there(desk, where).stdout.split()[1]

    assert port() != port()
    with one_login.held(desk):
        socket = Path(ssh_options.logins[desk]())
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        shared = {port(), port()}
        with one_login.held(desk):
            assert {port()} == shared
        assert {port()} == shared
        proven = subprocess.run(ssh.proof(desk, line=where), capture_output=True, check=True).stdout.split()[
            1
        ]
        assert len(shared) == 1
        assert proven not in shared
        assert ssh_options.settings(desk, ssh_options.Use.SESSION)["ControlPath"] == "none"
        assert ssh_options.settings(replace(desk, port=1), ssh_options.Use.COPY)["ControlPath"] == "none"
    assert not socket.parent.exists()
    assert port() not in shared


def test_a_shared_login_that_is_lost_is_done_without(desk: Access) -> None:
    with one_login.held(desk):
        socket = ssh_options.logins[desk]()
        subprocess.run(["ssh", "-S", socket, "-O", "exit", "desk"], capture_output=True, check=True)
        wait_for(lambda: ssh_options.settings(desk, ssh_options.Use.COPY)["ControlPath"] == "none")
        assert job_runner.run_there(desk, "echo here").stdout == b"here\n"


def test_a_shared_login_does_not_outlive_a_process_that_is_killed(desk: Access, tmp_path: Path) -> None:
    (tmp_path / "access").write_bytes(msgspec.msgpack.encode(desk))
    held = (
        "import sys, time, msgspec\n"
        "from hotdesk.connect import one_login, ssh_options\nfrom hotdesk.core.ports import Access\n"
        "desk = msgspec.msgpack.decode(open(sys.argv[1], 'rb').read(), type=Access)\n"
        "with one_login.held(desk):\n    print(ssh_options.logins[desk](), flush=True)\n    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", held, tmp_path / "access"], stdout=subprocess.PIPE) as one:
        assert one.stdout is not None
        socket = one.stdout.readline().decode().strip()
        assert Path(socket).exists()
        one.kill()
    wait_for(lambda: not Path(socket).exists(), 60.0)
    shutil.rmtree(Path(socket).parent)


@pytest.mark.slow
@pytest.mark.tools("rsync")
@pytest.mark.parametrize("which", [0, -1])
def test_rsync_without_its_other_half_is_a_line_that_was_lost(tmp_path: Path, which: int) -> None:
    """A real rsync, of which one process or the other at the far end is killed in the middle of a file."""
    there, far_end = tmp_path / "there", tmp_path / "far-end"
    far_end.write_text('#!/bin/sh\nshift\nexec sh -c "$*"\n')
    far_end.chmod(0o755)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "big").write_bytes(os.urandom(20_000_000))

    def halves() -> list[int]:
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                words = entry.read_bytes().split(b"\0")
                if b"--server" in words and os.fsencode(f"{there}/") in words:
                    found.append(int(entry.parent.name))
        return sorted(found)

    words = ["rsync", "-r", "--bwlimit=2000", "-e", str(far_end), f"{tmp_path}/here/", f"far:{there}/"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as copy:
        until = time.monotonic() + 120
        while not list(there.glob(".big.*")):
            assert time.monotonic() < until
            time.sleep(0.02)
        os.kill(halves()[which], signal.SIGKILL)
        status = copy.wait(120)
    assert is_lost(status), status
