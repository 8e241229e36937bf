"""What a move tells beforehand: what is carried, how long, for how much, and what stays behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hotdesk.cli.ui.plans import carried
from hotdesk.core.model import Bound, Desk, Goal, Offer, Want
from hotdesk.core.steps import BakeOrder, Fetch
from hotdesk.guest import inventory, one_file
from hotdesk.services.carriage import Inventory, _replaced, _sized
from hotdesk.services.carrier import Carrier, packages_left
from hotdesk.services.transport import Order
from tests.conftest import Command
from tests.far_rig import far_machine, needs_sshd
from tests.test_json import fits

_FETCH = Fetch(
    order=BakeOrder(
        desk="blue", born=1.0, generation=1, attempt=0, source_id="i", started_at=1.0, region="r"
    ),
    why="",
)
BLUE = Desk(name="blue", goal=Goal.RUNNING, since=1.0, created_at=1.0)


def test_files_are_counted_once_and_what_cannot_go_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "big").write_bytes(b"x" * 5000)
    (tmp_path / "data" / "same").hardlink_to(tmp_path / "data" / "big")
    (tmp_path / "notes").write_bytes(b"y" * 7)
    (tmp_path / "link").symlink_to("notes")
    with socket.socket(socket.AF_UNIX) as odd:
        os.chdir(tmp_path)
        odd.bind("s.sock")
        found = inventory.files([str(tmp_path)])
    assert (found["files"], found["bytes"]) == (4, 5007)
    assert found["odd"] == [str(tmp_path / "s.sock")]
    assert found["largest"][0][:2] == (str(tmp_path / "data"), 5000)


def test_system_packages_are_those_that_a_person_asked_for(tmp_path: Path) -> None:
    (tmp_path / "history.log").write_text(
        "\nStart-Date: 2026-01-01\nCommandline: apt-get install -y tmux rsync\nInstall: tmux\n\n"
        "Start-Date: 2026-01-02\nCommandline: apt-get install -y ffmpeg graphviz\n"
        "Requested-By: ubuntu (1000)\nInstall: ffmpeg, graphviz\n\n"
        "Start-Date: 2026-01-03\nCommandline: apt remove ffmpeg\nRequested-By: ubuntu (1000)\n"
    )
    assert inventory.system_packages(str(tmp_path / "history.log*")) == ["ffmpeg", "graphviz"]


def test_a_desk_tells_what_it_holds_in_one_document(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123")
    argv = [sys.executable, "-"]
    script = one_file.source("inventory").encode()
    done = subprocess.run(argv, input=script, env={"HOME": str(tmp_path)}, capture_output=True, check=True)
    told = json.loads(done.stdout)
    assert (told["files"], told["bytes"], told["home"]) == (1, 3, str(tmp_path))
    assert any(one.startswith("pytest==") for one in told["packages"])
    assert {*told["jupyter"]} <= {*told["packages"]}
    assert any(one.startswith("ipython==") for one in told["jupyter"]), "what Jupyter brings is no person's"
    assert not any(one.startswith("pytest==") for one in told["jupyter"])


def test_packages_that_stay_at_a_cloud_are_a_list_to_be_run(tmp_path: Path) -> None:
    """By apt and by pip; not those that go along, nor those of every desk's Jupyter."""
    told = Inventory(
        packages=("jupyterlab==4.4.0", "numpy==2.3.1", "torch==2.9.0+cu128", "mine==1.0"),
        jupyter=("jupyterlab==4.4.0",),
        apart=("local==0.1",),
        system_packages=("ffmpeg", "graphviz"),
    )
    lines = packages_left(told, ["mine==1.0  # sha256:0"], "AWS")
    assert lines[1:] == [
        "sudo apt-get install -y ffmpeg graphviz",
        "python3 -m pip install numpy==2.3.1 torch==2.9.0",
        "# not from an index: local==0.1",
    ]
    assert packages_left(Inventory(packages=("mine==1.0",)), ["mine==1.0"], "AWS") == []
    order = Order(provider="aws", step=_FETCH, since=1.0)
    carrier = Carrier(tmp_path, order, None, lambda: None, None)  # type: ignore[arg-type]
    (tmp_path / "disk" / "home").mkdir(parents=True)
    carrier.leave_list(told)
    script = tmp_path / "disk" / "home" / ".hotdesk" / "left-at-aws.sh"
    assert "ffmpeg graphviz" in script.read_text()
    assert f"sh .hotdesk/{script.name}" in carrier.note
    assert "6 packages stay at AWS: ffmpeg, graphviz, numpy==2.3.1, torch==2.9.0+cu128" in carrier.note
    carrier.leave_list(Inventory())
    assert not script.exists(), "no list of an earlier stay is believed"


def test_what_cannot_be_carried_has_what_replaces_it() -> None:
    gpu = Offer(
        provider="aws", region="us-west-2", zone="us-west-2a", instance_type="g6.xlarge", gpu="L4",
        gpu_count=1, gpu_memory_gib=24, vcpus=4, memory_gib=16, market="on-demand", usd_per_hour=0.8,
        arch="arm64",
    )  # fmt: skip
    moved = Desk(
        name="blue", goal=Goal.RUNNING, since=2.0, created_at=1.0,
        bound=Bound(provider="aws", want=Want(), offers=(gpu,)),
    )  # fmt: skip
    told = Inventory(
        packages=("numpy==2.3.1", "torch==2.9.0+cpu"),
        system_packages=("ffmpeg",),
        odd=("/home/me/s",),
        machine="x86_64",
    )
    found = {one["what"]: one["by"] for one in _replaced(told, BLUE, moved)}
    assert "which are for GPUs: torch==2.9.0" in found["builds for processors: torch==2.9.0+cpu"]
    assert "sudo apt-get install ffmpeg" in found["packages of the system: ffmpeg"]
    assert "programs for x86_64" in found
    assert "sockets and devices: /home/me/s" in found
    plain = _replaced(Inventory(packages=("torch==2.9.0",), machine="aarch64"), BLUE, moved)
    assert len(plain) == 1, "only what runs ends"


def test_money_that_is_not_known_is_said_to_be_so() -> None:
    goods = {
        "origin": "aliyun", "provider": "local", "type": "local.cpu", "zone": "here", "files": None,
        "bytes": None, "packages": None, "largest": [], "data_files": None, "data_bytes": None,
        "unreadable": [], "uncounted": "its machine is off",
        "lines": [{"place": "blue", "bytes_per_second": None}], "route": None, "seconds": None,
        "usd_once": None,
        "usd_per_hour": 0.0, "told_per_hour": None, "replaced": [],
    }  # fmt: skip
    text = "\n".join(carried("blue", goods))  # type: ignore[arg-type]
    assert "not counted: its machine is off" in text
    assert "traffic is not known here" in text
    assert "not measured" in text
    assert "takes:" not in text, "no time is invented"


def test_a_big_folder_that_does_not_change_may_be_data() -> None:
    """Not one that changes, nor what programs keep for themselves; and nobody is told of what is small."""
    day, gib = 86400.0, 1 << 30
    rows = [("/h/data", 84 * gib, 12 * day), ("/h/new", gib, 60.0), ("/h/.cache", gib, 9 * day)]
    told = Inventory(home="/h", largest=(*rows, ("/h/x", 5, 9 * day)), data_files=3, data_bytes=2 * gib)
    sized = [_sized(told, *one) for one in told.largest]
    assert [one["name"] for one in sized if one["may_be_data"]] == ["~/data"]
    goods = {
        "origin": "local", "provider": "ssh", "type": "", "zone": "", "files": 9, "bytes": 90 * gib,
        "packages": 1, "largest": sized, "data_files": 3, "data_bytes": 2 * gib, "unreadable": [],
        "uncounted": "", "lines": [], "route": None, "seconds": None, "usd_once": 0.0, "usd_per_hour": 0.0,
        "told_per_hour": None, "replaced": [],
    }  # fmt: skip
    text = "\n".join(carried("blue", goods))  # type: ignore[arg-type]
    assert "~/data is 84.0 GiB, unchanged for 12 d" in text
    assert '[[desks.blue.data]] with from = "…", to = "~/data"' in text
    assert "does not carry: 3 files of data, 2.0 GiB" in text


@pytest.mark.slow
@pytest.mark.tools("ssh")
@needs_sshd
def test_a_dry_run_counts_measures_and_changes_nothing(hotdesk: Command, tmp_path: Path) -> None:
    """A desk on this computer is to go to a machine with an ssh login, over a line that is measured."""
    with far_machine(tmp_path / "far") as far:
        assert hotdesk("up", "blue").returncode == 0
        write = "head -c 300000 /dev/urandom > data.bin; mkdir code; echo 1 > code/a.py"
        assert hotdesk("ssh", "blue", "--", write).returncode == 0
        to = ("--host", far.name, "--folder", far.address["folder"], "--host-key", far.fingerprint)
        done = hotdesk("move", "blue", *to, "--dry-run", "--json")
        assert done.returncode == 0, done.stderr
        goods = fits("plan", done.stdout)["carries"]
        assert (goods["origin"], goods["provider"]) == ("local", "ssh")
        assert goods["files"] >= 2
        assert 300_000 <= goods["bytes"] < 50_000_000
        [leg] = goods["lines"]
        assert leg["bytes_per_second"] > 1000
        assert goods["seconds"] == pytest.approx(goods["bytes"] / leg["bytes_per_second"])
        assert goods["usd_once"] == 0
        words = hotdesk("move", "blue", *to, "--dry-run").stdout
        assert "carries:" in words
        assert "measured just now" in words
        assert not (far.home / "hotdesk").exists(), "nothing was done there"
        stopped = hotdesk("stop", "blue")
        assert stopped.returncode == 0
        again = json.loads(hotdesk("move", "blue", *to, "--dry-run", "--json").stdout)["carries"]
        assert again["bytes"] >= 300_000, "a desk that is off is counted on its disk"


@pytest.mark.slow
@pytest.mark.tools("ssh")
def test_a_move_to_a_machine_that_does_not_answer_gives_the_line_to_try_by_hand(hotdesk: Command) -> None:
    assert hotdesk("up", "blue").returncode == 0
    done = hotdesk("move", "blue", "--host", "nobody@127.0.0.1", "--port", "9", "--dry-run")
    assert (done.returncode, "nobody@127.0.0.1 does not let you in." in done.stderr) == (7, True), done.stderr
    assert "fix: ssh -p 9 nobody@127.0.0.1   # does it let you in?" in done.stderr
    done = hotdesk("up", "red", "--provider", "ssh", "--dry-run")
    assert "No machine of yours is known here." in done.stderr, "a host mistyped once is not asked for ever"
    done = hotdesk("move", "blue", "--provider", "local")
    assert (done.returncode, "blue is there already." in done.stderr) == (2, True), done.stderr
    assert hotdesk("down", "blue", "--yes").returncode == 0
