"""A way straight from one machine to another: what its key may do, how long, and that nothing of it stays."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotdesk.guest import door
from hotdesk.providers.cloud import direct
from hotdesk.providers.cloud.direct import PROBE, End, NoWay
from hotdesk.system import is_locked
from tests.far_rig import FarMachine, needs_sshd
from tests.local_rig import wait_for

pytestmark = [pytest.mark.tools("ssh", "ssh-keyscan", "unshare"), pytest.mark.root, needs_sshd]
BODY = PROBE + "echo arrived; cat > ~/got"
SECONDS = 120.0  # a limit that only a hang reaches


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FarMachine, FarMachine]]:
    folder = tmp_path_factory.mktemp("direct")
    old, new = (FarMachine(folder / name, name, account=True) for name in ("old", "new"))
    try:
        yield old, new
    finally:
        old.cut()
        new.cut()


def end(far: FarMachine) -> End:
    known = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR")
    return End(name=far.name, ssh=("ssh", "-F", f"{far.folder}/ssh_config", *known, far.name))


def authorized(far: FarMachine) -> Path:
    return far.root / ".ssh" / "authorized_keys"


def left(*machines: FarMachine) -> list[str]:
    """What a way leaves at machines, if it was not closed."""
    found = []
    for far in machines:
        found += [str(path) for path in far.memory.glob("hotdesk-way-*")]
        found += [str(path) for path in (far.root / ".ssh").glob("hotdesk-way-*")]
        found += [line for line in _lines(far) if "hotdesk" in line]
    return found


def _lines(far: FarMachine) -> list[str]:
    return authorized(far).read_text().splitlines() if authorized(far).exists() else []


def at_source(way: direct.Direct, line: str) -> tuple[int, str, str]:
    said: list[str] = []
    status, complaint = way.run(["sh", "-c", line], heard=said.append)
    return status, "".join(said), complaint


@pytest.mark.xdist_group("direct")
def test_the_key_lies_in_memory_may_do_one_thing_and_is_gone(
    machines: tuple[FarMachine, FarMachine], tmp_path: Path
) -> None:
    old, new = machines
    mine = "# mine\nssh-ed25519 AAAA someone"  # without a line's end, and a key that is not ours
    authorized(new).write_text(mine)
    authorized(new).chmod(0o640)
    with direct.way(tmp_path, end(old), end(new), BODY, tries=[("127.0.0.1", new.port)]) as way:
        assert way.bytes_per_second > 1000
        [line] = [one for one in _lines(new) if "hotdesk-way" in one]
        assert re.match(r'restrict,expiry-time="\d{14}",command="sh \S+" ssh-ed25519 ', line)
        [folder] = old.memory.glob("hotdesk-way-*")
        assert (folder / "key").stat().st_mode & 0o077 == 0
        secret = (folder / "key").read_text()
        for tree in (tmp_path, old.root, new.root):  # at neither machine's disk, and not here
            assert not [
                f for f in tree.rglob("*") if f.is_file() and secret[40:80] in f.read_text(errors="replace")
            ]
        go = f"/dev/shm/{folder.name}/ssh {way.host}"
        assert at_source(way, f"echo data | {go} anything at all")[1] == "arrived\n"
        assert (new.root / "got").read_text() == "data\n"
        for other in ("rm -rf ~", "bash -i", "'sh -c id'", "probe2"):
            assert at_source(way, f"{go} {other} </dev/null")[1] == "arrived\n", "nothing else is run"
        assert "Permission denied" not in at_source(way, f"{go} x </dev/null")[2]
        assert "PTY allocation request failed" in at_source(way, f"{go} -tt x </dev/null")[2]
        forward = f"{go} -W 127.0.0.1:{new.port} </dev/null"
        assert "forwarding failed" in at_source(way, forward)[2]
        status, _, said = at_source(way, f"{go} -o ExitOnForwardFailure=yes -R 0:127.0.0.1:9 x </dev/null")
        assert status
        assert "forwarding failed" in said
        assert at_source(way, f"{go} -s sftp </dev/null")[1] in {"", "arrived\n"}
        assert at_source(way, f"{go} -A 'ssh-add -l' </dev/null")[1] == "arrived\n"
        key = tmp_path / "stolen"
        key.write_text(secret)
        key.chmod(0o600)
    assert left(old, new) == []
    assert authorized(new).read_text() == f"{mine}\n"
    assert authorized(new).stat().st_mode & 0o777 == 0o640
    assert not list((tmp_path / "ways").iterdir())
    again = [
        "ssh", "-F", "/dev/null", "-i", str(key), "-p", str(new.port), "-o", "IdentitiesOnly=yes", "-o",
        "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes",
        "127.0.0.1", "x",
    ]  # fmt: skip
    assert "Permission denied" in subprocess.run(again, capture_output=True, text=True, check=False).stderr


@pytest.mark.xdist_group("direct")
def test_a_key_that_has_expired_and_a_machine_that_is_another_are_no_way(
    machines: tuple[FarMachine, FarMachine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = machines
    with (  # who listens there is another machine than `new`
        pytest.raises(NoWay, match="verification failed"),
        direct.way(tmp_path, end(old), end(new), BODY, tries=[("127.0.0.1", old.port)]),
    ):
        pass
    monkeypatch.setattr(direct, "KEY_SECONDS", -60.0)
    with (
        pytest.raises(NoWay, match="Permission denied"),
        direct.way(tmp_path, end(old), end(new), BODY, tries=[("127.0.0.1", new.port)]),
    ):
        pass
    assert left(old, new) == []
    assert not list((tmp_path / "ways").iterdir())


_HOLD = """
import sys, time
from pathlib import Path
from tests.test_direct import BODY, End, direct
import msgspec
old, new = (msgspec.json.decode(word, type=End) for word in sys.argv[2:4])
with direct.way(Path(sys.argv[1]), old, new, BODY, tries=[("127.0.0.1", int(sys.argv[4]))]) as way:
    print("open", flush=True)
    time.sleep(600)
"""


@pytest.mark.xdist_group("direct")
def test_what_a_killed_process_leaves_open_is_closed_by_the_next_command(
    machines: tuple[FarMachine, FarMachine], tmp_path: Path
) -> None:
    import msgspec

    old, new = machines
    authorized(new).unlink(missing_ok=True)
    ends = [msgspec.json.encode(end(far)).decode() for far in machines]
    argv = [sys.executable, "-c", _HOLD, str(tmp_path), *ends, str(new.port)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        [lock] = (tmp_path / "ways").glob("*.lock")
        assert is_locked(lock)
        assert direct.sweep(tmp_path) == 0, "one that is used is not touched"
        assert [one for one in _lines(new) if "hotdesk-way" in one]
        for pid in [*_holders(lock.stem), process.pid]:  # both ends at once: nobody cleans up
            os.kill(pid, signal.SIGKILL)
    assert left(old, new), "the key and its line are still there"
    assert direct.sweep(tmp_path) == 0
    assert left(old, new) == []
    assert not authorized(new).exists(), "a file that was not there before is not there now"
    assert not list((tmp_path / "ways").iterdir())


def _holders(way: str) -> list[int]:
    """The processes that hold this way's key (guest/way.py), and none of another test's."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _words(entry)[-1:] == [way.encode()]:
            found.append(int(entry.name))
    return found


def _words(entry: Path) -> list[bytes]:
    try:
        return (entry / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return []


@pytest.mark.xdist_group("direct")
def test_whoever_holds_the_key_ends_when_this_computer_is_gone(
    machines: tuple[FarMachine, FarMachine], tmp_path: Path
) -> None:
    """Only our side is killed: the source notices, and its key is gone without any further command."""
    import msgspec

    old, new = machines
    ends = [msgspec.json.encode(end(far)).decode() for far in machines]
    argv = [sys.executable, "-c", _HOLD, str(tmp_path), *ends, str(new.port)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        assert list(old.memory.glob("hotdesk-way-*"))
        process.kill()
    wait_for(lambda: not list(old.memory.glob("hotdesk-way-*")), SECONDS)
    assert direct.sweep(tmp_path) == 0
    assert left(old, new) == []


def test_lines_of_others_stay_and_old_ones_of_ours_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file may be a link, may lack its last line's end, and may hold any bytes."""
    monkeypatch.setattr(door, "_folder", lambda: str(tmp_path / ".ssh"))
    (tmp_path / ".ssh").mkdir()
    real = tmp_path / "keys"
    real.write_bytes(b"ssh-rsa AAAA \xff\r\nssh-ed25519 BBBB x hotdesk-way:old:12\nlast")
    (tmp_path / ".ssh" / "authorized_keys").symlink_to(real)
    door.open_("a1", "ssh-ed25519 CCCC", 60.0, "true")
    assert (tmp_path / ".ssh" / "authorized_keys").is_symlink()
    text = real.read_bytes()
    assert text.startswith(b"ssh-rsa AAAA \xff\r\nlast\nrestrict,expiry-time=")
    assert b"hotdesk-way:old" not in text
    door.open_("a2", "ssh-ed25519 DDDD", 60.0, "true")
    door.close("a1")
    assert b"CCCC" not in real.read_bytes()
    assert b"DDDD" in real.read_bytes()
    door.close("a2")
    assert real.read_bytes() == b"ssh-rsa AAAA \xff\r\nlast\n"
    assert [path.name for path in (tmp_path / ".ssh").iterdir()] == ["authorized_keys"]


def test_a_line_for_the_shell_is_one_word_for_any_shell() -> None:
    line = direct._started(End(name="x", ssh=(), python="$(command -v python3)"), "door", "close", "a b")
    assert shlex.split(line)[:3] == ["exec", "sh", "-c"]
    assert len(shlex.split(line)) == 4
