"""What may befall a desk on its way: a full disk, a line that is cut. Nothing is lost."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_ec2.process import FakeEc2
from tests.aws_cli import NEEDED, Ask, ask, cloud, lit, paid, told, well
from tests.light import folders
from tests.local_rig import tool

pytest.importorskip("moto", reason="moto is not installed")
pytest.importorskip("asyncssh", reason="asyncssh is not installed")
pytestmark = [*NEEDED, tool("rsync"), pytest.mark.long]
__all__ = ["ask", "cloud", "lit"]

TO_CLOUD = ("move", "blue", "--provider", "aws", "--type", "m7i.large", "--market", "on-demand", "--yes")
SUM = "sha256sum big.bin notes.txt"
SECONDS = 300.0  # a limit that only a hang reaches


def desk_with_files(ask: Ask, mebibytes: int) -> str:
    """A desk of this computer, and the checksums of what is on it."""
    well(ask("up", "blue", "--provider", "local"))
    write = f"head -c {mebibytes << 20} /dev/urandom > big.bin; echo mine > notes.txt; {SUM}"
    return well(ask("ssh", "blue", "--", write)).stdout


@contextlib.contextmanager
def beside(work: threading.Thread) -> Iterator[None]:
    work.start()
    try:
        yield
    finally:
        work.join(SECONDS)


def homes(cloud: FakeEc2) -> list[Path]:
    """The home folders of this cloud's machines."""
    return [home for folder in folders(cloud) for home in folder.glob("vol-*/home")]


@pytest.mark.root
def test_a_disk_that_is_full_there_loses_nothing(ask: Ask, cloud: FakeEc2) -> None:
    """1. The new machine's disk fills up in the middle. 2. The question says where all the work is, and what
    to do. 3. Home again, everything is there, and nothing is paid for."""
    if not shutil.which("mount"):
        pytest.skip("mount is not installed")
    before = desk_with_files(ask, 24)
    mounted: list[Path] = []
    over = threading.Event()

    def shrink() -> None:
        until = time.monotonic() + SECONDS
        while not mounted and time.monotonic() < until and not over.is_set():
            for home in homes(cloud):
                argv = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "none", str(home)]
                if subprocess.run(argv, check=False).returncode == 0:
                    mounted.append(home)
            time.sleep(0.005)

    try:
        with beside(threading.Thread(target=shrink)):
            done = ask(*TO_CLOUD, timeout=SECONDS)
            over.set()
        assert mounted, "no machine was launched"
        said = told(done, done.returncode, "Nothing is lost: all its work is in hotdesk-blue-g1-", "full")
        assert done.returncode not in {0, 1}
        assert "hotdesk move blue --disk" in said
        assert "hotdesk move blue --provider local" in said
    finally:
        for home in mounted:
            subprocess.run(["umount", "-l", str(home)], check=False)
    well(ask("move", "blue", "--provider", "local", "--yes", timeout=SECONDS))
    assert well(ask("ssh", "blue", "--", SUM)).stdout == before
    assert paid(cloud) == {}, "the machine that did not get the work is gone"
    well(ask("down", "blue", "--yes"))


def test_a_line_that_is_cut_goes_on_where_it_was(ask: Ask, cloud: FakeEc2) -> None:
    """rsync's other end is killed several times in the middle of the way; the move ends with every file."""
    before = desk_with_files(ask, 96)
    cuts: list[int] = []
    over = threading.Event()

    def cut() -> None:
        seen: set[int] = set()
        while len(cuts) < 3 and not over.is_set():
            for pid in receivers(cloud):
                if pid not in seen and arriving(cloud):
                    seen.add(pid)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        cuts.append(pid)
            time.sleep(0.002)

    with beside(threading.Thread(target=cut)):
        done = well(ask(*TO_CLOUD, timeout=SECONDS))
        over.set()
    assert cuts, "nothing was cut"
    assert re.search(r"again in \d+ s", done.stderr), done.stderr
    assert well(ask("ssh", "blue", "--", SUM)).stdout == before
    well(ask("down", "blue", "--yes"))


def arriving(cloud: FakeEc2) -> bool:
    """Whether a part of the big file has come, and not all of it."""
    return any([*home.glob(".big.bin.*"), *home.glob(".hotdesk-partial/big.bin")] for home in homes(cloud))


def receivers(cloud: FakeEc2) -> Iterator[int]:
    """The processes in which this cloud's light machines receive files."""
    mine = {b"HOME=" + os.fsencode(home) for home in homes(cloud)}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                here = mine & {*(entry / "environ").read_bytes().split(b"\0")}
                if here and b"--server" in words and b"--sender" not in words:
                    yield int(entry.name)
