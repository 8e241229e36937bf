"""A desk goes from this computer to a cloud and home again: the real command line, at light machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fake_ec2.process import FakeEc2
from tests.aws_cli import NEEDED, Ask, ask, cloud, lit, paid, well
from tests.local_rig import tool, wait_for

pytest.importorskip("moto", reason="moto is not installed")
pytest.importorskip("asyncssh", reason="asyncssh is not installed")
pytestmark = [*NEEDED, tool("rsync"), pytest.mark.long]
__all__ = ["ask", "cloud", "lit"]

TREE = (
    "mkdir -p code/deep data; echo 'print(1)' > code/deep/a.py; chmod 750 code/deep/a.py; "
    "head -c 3000000 /dev/urandom > data/big.bin; ln -s ../code data/link; ln data/big.bin data/same; "
    "printf 'a\\nb' > 'data/odd name ü'; touch -d '2020-02-02 02:02:02' code; sha256sum data/big.bin; "
    'truncate -s 64M data/holes; python3 -c \'import os; os.setxattr("data/holes", b"user.k", b"v")\''
)
LOOK = (
    "sha256sum data/big.bin; stat -c '%a %s' code/deep/a.py; readlink data/link; "
    "stat -c %h data/same; cat 'data/odd name ü'; stat -c %Y code; "
    "[ $(stat -c %b data/holes) -lt 2048 ]; echo $?; "
    "python3 -c 'import os; print(os.listxattr(\"data/holes\"))'"
)
TO_CLOUD = ("move", "blue", "--provider", "aws", "--type", "m7i.large", "--market", "on-demand", "--yes")


def test_there_and_back_with_every_file(ask: Ask, cloud: FakeEc2, tmp_path: Path) -> None:
    """1. A desk of this computer goes to the cloud. 2. There it changes. 3. It comes home; the cloud keeps
    its last image for the time that was said, and nothing that runs. 4. Gone, nothing is left anywhere.
    Its data are at each place, and are not carried."""
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "a").write_text("from there")
    with (tmp_path / "hotdesk.toml").open("a") as settings:
        settings.write(f'[[desks.blue.data]]\nfrom = "{kept}"\nto = "~/given"\n')

    def given() -> str:
        return ask("ssh", "blue", "--", "cat given/a given/mine; true").stdout

    well(ask("up", "blue", "--provider", "local"))
    well(ask("ssh", "blue", "--", TREE))
    before = well(ask("ssh", "blue", "--", LOOK)).stdout
    wait_for(lambda: given() == "from there", 60)
    moved = well(ask(*TO_CLOUD))
    assert "blue goes from" in moved.stderr
    assert "does not carry: 1 file of data" in moved.stderr
    wait_for(lambda: given() == "from there", 60)
    well(ask("ssh", "blue", "--", "echo ' and mine' > given/mine"))
    (kept / "a").write_text("later")
    assert json.loads(well(ask("show", "blue", "--json")).stdout)["provider"] == "aws"
    assert paid(cloud)["instance"] == 1
    assert well(ask("ssh", "blue", "--", LOOK)).stdout == before
    well(ask("ssh", "blue", "--", "echo two >> code/deep/a.py; rm data/same; echo new > fresh.txt"))

    well(ask("move", "blue", "--provider", "local", "--yes"))
    said = well(ask("ssh", "blue", "--", "cat code/deep/a.py fresh.txt; ls data")).stdout
    assert said.split() == ["print(1)", "two", "new", "big.bin", "holes", "link", "odd", "name", "ü"]
    wait_for(lambda: given() == "later and mine\n", 60)
    assert "instance" not in paid(cloud)
    assert paid(cloud) == {"snapshot": 1}, "its last image stays, and nothing else"
    well(ask("down", "blue", "--yes"))
    assert paid(cloud) == {}
