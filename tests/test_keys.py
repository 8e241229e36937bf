"""A desk's keys: made once, kept private, mended when a half is missing."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hotdesk.connect.keys import desk_keys, forget_keys
from hotdesk.core.errors import Damaged, Missing, Usage
from tests.local_rig import tool

pytestmark = tool("ssh-keygen")


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != ".lock"}


def test_making_them_twice_is_making_them_once(tmp_path: Path) -> None:
    keys = desk_keys(tmp_path, "blue")
    folder = tmp_path / "desks" / "blue"
    first = contents(folder)
    assert desk_keys(tmp_path, "blue") == keys
    assert contents(folder) == first
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: desk_keys(tmp_path, "green"), range(4)))
    green = contents(tmp_path / "desks" / "green")
    assert set(green) == set(first)
    assert green["id_ed25519"] != first["id_ed25519"]
    assert green["notebook-password"] != first["notebook-password"]


def test_only_their_owner_can_read_them(tmp_path: Path) -> None:
    desk_keys(tmp_path, "blue")
    folder = tmp_path / "desks" / "blue"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        if path.suffix != ".pub":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_the_password_can_be_typed_and_its_hash_is_jupyter_s(tmp_path: Path) -> None:
    from jupyter_server.auth.security import passwd_check

    keys = desk_keys(tmp_path, "blue")
    word = Path(keys.password_path).read_text().strip()
    hashed = Path(keys.password_hash_path).read_text().strip()
    assert len(word) >= 20
    assert set(word) <= set("abcdefghijkmnpqrstuvwxyz23456789-")
    assert word not in hashed
    assert passwd_check(hashed, word)
    assert not passwd_check(hashed, word + "x")


def test_known_hosts_holds_the_host_key_under_the_alias(tmp_path: Path) -> None:
    keys = desk_keys(tmp_path, "blue")
    found = subprocess.run(
        ["ssh-keygen", "-F", keys.alias, "-f", keys.known_hosts_path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(keys.host_key_path + ".pub").read_text().split()[1] in found.stdout


@pytest.mark.parametrize(
    "missing",
    [
        ["id_ed25519.pub"],
        ["id_ed25519"],
        ["host_ed25519.pub"],
        ["host_ed25519"],
        ["known_hosts"],
        ["notebook-password"],
        ["notebook-password.argon2"],
        ["id_ed25519", "known_hosts", "notebook-password.argon2"],
    ],
    ids="+".join,
)
def test_a_missing_half_is_made_again(tmp_path: Path, missing: list[str]) -> None:
    from argon2 import PasswordHasher

    desk_keys(tmp_path, "blue")
    folder = tmp_path / "desks" / "blue"
    before = contents(folder)
    for name in missing:
        (folder / name).unlink()
    desk_keys(tmp_path, "blue")
    after = contents(folder)
    assert set(after) == set(before)
    for name in ("id_ed25519", "host_ed25519"):
        derived = subprocess.run(
            ["ssh-keygen", "-y", "-P", "", "-f", folder / name], capture_output=True, check=True
        ).stdout
        assert after[f"{name}.pub"].split()[1] == derived.split()[1], "two halves of one key"
        if name not in missing:
            assert after[name] == before[name]
    assert after["host_ed25519.pub"].split()[1] in after["known_hosts"]
    word, hashed = after["notebook-password"].strip(), after["notebook-password.argon2"].strip()
    PasswordHasher().verify(hashed.removeprefix(b"argon2:").decode(), word)


def test_a_key_that_cannot_be_read_is_explained_and_kept(tmp_path: Path) -> None:
    keys = desk_keys(tmp_path, "blue")
    Path(keys.user_key_path).write_text("not a key\n")
    Path(keys.user_key_path + ".pub").unlink()
    with pytest.raises(Damaged) as error:
        desk_keys(tmp_path, "blue")
    assert keys.user_key_path in error.value.what
    assert error.value.fix.startswith("mv ")
    assert Path(keys.user_key_path).read_text() == "not a key\n"


def test_without_ssh_keygen_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing) as error:
        desk_keys(tmp_path, "blue")
    assert "openssh" in error.value.fix


def test_a_desk_s_name_is_no_path(tmp_path: Path) -> None:
    with pytest.raises(Usage):
        desk_keys(tmp_path, "../elsewhere")
    assert not list(tmp_path.iterdir())


def test_killed_at_any_moment_the_next_call_makes_them_whole(tmp_path: Path) -> None:
    code = "import sys, pathlib, hotdesk.connect.keys as k; k.desk_keys(pathlib.Path(sys.argv[1]), 'blue')"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    for milliseconds in (90, 110, 130, 160, 200):
        state = tmp_path / str(milliseconds)
        with subprocess.Popen([sys.executable, "-c", code, str(state)], env=environment) as process:
            time.sleep(milliseconds / 1000)
            process.send_signal(signal.SIGKILL)
        desk_keys(state, "blue")
        names = {p.name for p in (state / "desks" / "blue").iterdir()}
        assert names == {
            ".lock", "id_ed25519", "id_ed25519.pub", "host_ed25519", "host_ed25519.pub", "known_hosts",
            "notebook-password", "notebook-password.argon2",
        }  # fmt: skip


def test_forgetting_them_leaves_nothing(tmp_path: Path) -> None:
    desk_keys(tmp_path, "blue")
    forget_keys(tmp_path, "blue")
    assert not (tmp_path / "desks" / "blue").exists()
    forget_keys(tmp_path, "blue")


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    """It may be a password."""
    left = Path(desk_keys(tmp_path, "blue").password_path + ".1-1.new")
    pinned = left.with_name("known_hosts-blue-g1.1-1.new")  # another process may be writing it
    for path in (left, pinned):
        path.write_text("half a passw")
    desk_keys(tmp_path, "blue")
    assert not left.exists()
    assert pinned.exists()
