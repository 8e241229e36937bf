"""The host key on a serial console is read whole or not at all: one that was pinned is believed for good."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hotdesk.providers.cloud.hostkeys import is_whole, on_console
from tests.aws_desk import console, host_key
from tests.local_rig import tool

KEY = host_key("first")
KERNEL = "[   31.337203] NET: Registered PF_VSOCK protocol family\n"


def block(key: str) -> str:
    return f"-----BEGIN SSH HOST KEY KEYS-----\n{key} root@ip\n-----END SSH HOST KEY KEYS-----\n"


def test_wherever_a_line_of_the_kernel_stands_no_part_of_a_key_is_taken_for_one() -> None:
    for at in range(len(KEY) + 1):
        found = on_console(block(KEY[:at] + KERNEL + KEY[at:]))
        assert found in ([], [KEY]), at
        assert not found or at in {0, len(KEY)}


def test_whatever_the_line_says() -> None:
    """Also one whose letters could be a key's."""
    for at in range(1, len(KEY)):
        assert on_console(block(f"{KEY[:at]}usb1-port4+disabled{KEY[at:]}")) == []


@pytest.mark.parametrize("cut", [12, 30, 60, 79])
def test_a_whole_block_stands_in_for_a_cut_one_before_or_after_it(cut: int) -> None:
    broken = block(KEY[:cut] + KERNEL + KEY[cut:])
    assert on_console(broken + block(KEY)) == [KEY]
    assert on_console(block(KEY) + broken) == [KEY]
    assert on_console(broken + broken) == []


def test_a_marker_that_is_cut_hides_its_block_only() -> None:
    cut = block(KEY).replace("-----END SSH", f"-----END{KERNEL} SSH")
    assert on_console(cut) == []
    assert on_console(cut + block(KEY)) == [KEY]
    assert on_console(block(KEY) + cut) == [KEY]


def test_the_newest_whole_block_counts() -> None:
    assert on_console(block(KEY) + block(host_key("second"))) == [host_key("second")]


def test_the_fakes_console_is_as_troubled_as_a_real_one() -> None:
    text = console("first")
    assert KERNEL in text
    assert on_console(text) == [KEY]


@pytest.mark.parametrize(
    "options",
    [("ed25519",), ("ecdsa", "-b", "256"), ("ecdsa", "-b", "384"), ("ecdsa", "-b", "521"), ("rsa",)],
)
@tool("ssh-keygen")
def test_what_ssh_keygen_makes_is_whole_and_no_shorter_piece_of_it(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-f", str(file), "-t", *options], check=True)
    kind, key, _ = file.with_suffix(".pub").read_text().split()
    assert is_whole(kind, key)
    assert not any(is_whole(kind, key[:size]) for size in range(len(key)))
    assert not is_whole("ssh-dss", key)
