"""What docs/security.md promises: who can reach what, where secrets are, and that no name reaches a shell."""

from __future__ import annotations

import re
import shlex
import socket
import stat
import subprocess
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotdesk.connect import ssh
from hotdesk.core.errors import Usage
from hotdesk.core.lifecycle.plan import plan_gc
from hotdesk.core.model import Image, Phase, Survey
from hotdesk.core.names import check_name, is_name
from hotdesk.core.ports import Access
from hotdesk.core.steps import Ask
from tests.conftest import Command
from tests.local_rig import tool

HOSTILE = [
    "$(touch {})",
    "`touch {}`",
    "; touch {} ;",
    "| touch {}",
    "&& touch {}",
    "'; touch {}; '",
    '"; touch {}; "',
    "\n touch {} \n",
    "-oProxyCommand=touch {}",
    "--rsh=touch {}",
    "%s touch {}",
]


@tool("ssh")
def test_a_local_desk_is_open_to_its_owner_alone(hotdesk: Command, tmp_path: Path) -> None:
    assert hotdesk("up", "blue").returncode == 0
    state = tmp_path / "state"
    password = (state / "desks" / "blue" / "notebook-password").read_text().strip()
    keys = [
        p.read_text().splitlines()[-3]  # the first lines are alike in all keys
        for p in (state / "desks" / "blue").iterdir()
        if p.is_file() and "PRIVATE KEY" in p.read_text(errors="replace")
    ]
    assert len(password) >= 12
    assert len(keys) >= 2
    secrets = [password, *keys]

    mine = [p for p in psutil.process_iter() if str(state) in " ".join(_words(p)) or _marked(p, "blue")]
    assert mine
    listening = [
        c.laddr.ip
        for p in mine
        for c in _connections(p)
        if c.status == psutil.CONN_LISTEN and c.family != socket.AF_UNIX
    ]
    assert len(listening) >= 2
    assert set(listening) <= {"127.0.0.1", "::1"}

    for process in psutil.process_iter():
        line = " ".join(_words(process))
        assert not [s for s in secrets if s in line], "a secret stands in the list of processes"
    holders = {"notebook-password", *(p.name for p in (state / "desks" / "blue").iterdir())}
    for path in state.rglob("*"):
        if not path.is_file() or path.is_symlink():
            continue
        if "env" in path.parts:
            continue  # a desk's Python, tens of thousands of files that pip wrote
        text = path.read_text("utf-8", "replace")
        if path.name not in holders:
            assert not [s for s in secrets if s in text], f"a secret stands in {path}"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    for path in (state / "desks" / "blue").iterdir():
        assert path.name.endswith(".pub") or not path.stat().st_mode & 0o077, path
    for name in ("log", "show", "ls"):
        for flags in ([], ["--json"]):
            said = hotdesk(name, *flags)
            assert not [s for s in secrets if s in said.stdout + said.stderr]

    # Names that would be commands, if any of them reached a shell, here or at the desk.
    canary = tmp_path / "canary"
    for number, pattern in enumerate(HOSTILE):
        name = pattern.format(canary).replace("/", "_")
        wish = hotdesk("up", name)
        assert wish.returncode == 2, name
        file = tmp_path / "home" / name.strip()
        file.write_text(str(number))
        pushed = hotdesk("push", "blue", f"./{file.name}")
        assert pushed.returncode == 0, pushed.stderr
        done = hotdesk("ssh", "blue", "--", "cat", "--", file.name)
        assert done.stdout == str(number), done.stderr
        hotdesk("pull", "blue", f"./{file.name}")
    assert not canary.exists()
    assert hotdesk("ssh", "blue", "--", "ls", "-A").stdout.count("canary") == len(HOSTILE)

    # Another machine under the desk's name: its key is not the one that is pinned.
    known = next(p for p in (state / "desks" / "blue").iterdir() if "known" in p.name)
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    alias = known.read_text().split()[0]
    before = known.read_text()
    known.write_text(f"{alias} {' '.join(other.with_suffix('.pub').read_text().split()[:2])}\n")
    refused = hotdesk("ssh", "blue", "--", "echo", "reached")
    assert refused.returncode != 0
    assert "reached" not in refused.stdout
    known.write_text(before)


def _connections(process: psutil.Process) -> list[psutil._common.pconn]:
    try:
        return list(process.net_connections())
    except psutil.NoSuchProcess:  # what Jupyter starts at its own start is gone soon
        return []


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _marked(process: psutil.Process, desk: str) -> bool:
    try:
        return process.environ().get("HOTDESK_DESK") == desk and "hotdesk-blue" in process.environ().get(
            "HOTDESK_MACHINE", ""
        )
    except (psutil.Error, OSError):
        return False


@given(st.text(max_size=60))
def test_a_name_is_harmless_or_refused(text: str) -> None:
    if is_name(text):
        assert re.fullmatch(r"[a-z0-9-]{1,32}", text, re.ASCII)
        assert shlex.quote(text) == text
        assert not text.startswith("-")
        assert check_name(text) == text
    else:
        with pytest.raises(Usage) as error:
            check_name(text)
        [*_, near] = shlex.split(error.value.fix)
        assert is_name(near), "what is offered instead can be pasted"


@given(
    st.lists(
        st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",))),
        min_size=2,
        max_size=5,
    )
)
def test_several_words_reach_the_desk_to_the_letter(words: list[str]) -> None:
    access = Access(desk="blue", host="127.0.0.1", port=22, user="me", key_path="/k y", known_hosts_path="/h",
                    alias="a", notebook_port=1)  # fmt: skip
    line = ssh.command(access, words)
    assert line[-2] == "--"
    assert shlex.split(line[-1]) == words


@given(st.text(min_size=1))
def test_a_hostile_tag_cannot_be_pasted_into_a_shell(desk: str) -> None:
    """What a survey says of a desk comes from tags, which anybody with the account may write."""
    image = Image(id="m", name="n", desk=desk, generation=1, phase=Phase.READY, provider="sim", region="r",
                  verified=True, taken_at=1.0)  # fmt: skip
    [ask] = plan_gc(Survey(provider="sim", images=(image,)), [], 5.0)
    assert isinstance(ask, Ask)
    words = shlex.split(ask.fix.replace("#", "", 1).replace(", or", " , or"))
    assert words.count(desk) >= 2 or is_name(desk), "one word each, whatever it is"
