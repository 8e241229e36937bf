"""`hotdesk forward`: a desk's ports at this computer's loopback, through an ssh that is kept connected."""

from __future__ import annotations

import json
import os
import signal
import socket
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from hotdesk.connect import forwards
from hotdesk.core.errors import Usage
from hotdesk.services.forwarding import read
from tests.conftest import Command, chromium
from tests.local_rig import tool, wait_for


@pytest.mark.parametrize(
    ("text", "here", "there"), [("6006", None, 6006), ("8000:80", 8000, 80), (65535, None, 65535)]
)
def test_a_port_is_a_number_or_two(text: str | int, here: int | None, there: int) -> None:
    assert read(text) == (here, there)


@pytest.mark.parametrize("text", ["", "web", "0", "65536", "-1", "80:", ":80", "1:2:3", "127.0.0.1:80", 0])
def test_what_is_no_port_is_refused(text: str | int) -> None:
    with pytest.raises(Usage, match="is no port"):
        read(text)


def test_a_port_has_its_own_number_here_if_that_is_free() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        busy = held.getsockname()[1]
        assert not forwards.free(busy)
        chosen = forwards.choose(busy, set(), "blue")
        assert chosen != busy
        assert forwards.free(chosen)
    assert forwards.choose(busy, set(), "blue") == busy
    assert forwards.choose(busy, {busy}, "blue") != busy, "two ports of a desk are two here"


@pytest.mark.parametrize("there", [80, 443])
def test_a_port_that_only_root_may_have_is_another_here(there: int) -> None:
    assert forwards.choose(there, set(), "blue") >= 8000 + there


def test_whether_a_server_answers_is_told_by_its_patience() -> None:
    with socket.socket() as patient:
        patient.bind(("127.0.0.1", 0))
        patient.listen()
        assert forwards.answers(patient.getsockname()[1], seconds=0.2), "it waits for a request"
        port = patient.getsockname()[1]
    assert not forwards.answers(port, seconds=0.2)


def begin_app(hotdesk: Command, port: int) -> None:
    serve = f"python3 -m http.server --bind 127.0.0.1 --directory site {port}"
    line = f"mkdir -p site; echo seen > site/index.html; nohup {serve} >/dev/null 2>&1 </dev/null &"
    started = hotdesk("ssh", "blue", "--", line)
    assert started.returncode == 0, started.stderr


def page(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return str(reply.read().decode())
    except OSError:
        return ""


@tool("ssh")
def test_a_web_app_is_seen_through_a_connection_that_is_cut_and_comes_back(
    hotdesk: Command, tmp_path: Path
) -> None:
    """1. An app listens at the desk on ::1 or 127.0.0.1, and is forwarded. 2. The ssh is killed: it comes
    back. 3. The desk is stopped and started: so it does. 4. `--stop` closes it."""
    assert hotdesk("up", "blue").returncode == 0
    there = forwards.choose(26006, set(), "blue")
    serve = f"python3 -m http.server --bind 127.0.0.1 --directory site {there}"
    started = hotdesk(
        "ssh", "blue", "--", f"mkdir -p site; echo seen > site/index.html; nohup {serve} &>/dev/null &"
    )
    assert started.returncode == 0, started.stderr
    here = forwards.choose(there + 1, set(), "blue")
    planned = hotdesk("forward", "blue", f"{here}:{there}", "--dry-run")
    assert planned.stdout == f"http://127.0.0.1:{here}  would be port {there} of blue\n", planned.stderr
    assert not forwards.wanted(tmp_path / "state" / "desks" / "blue")

    opened = hotdesk("forward", "blue", f"{here}:{there}")
    assert opened.stdout.startswith(f"http://127.0.0.1:{here}  port {there} of blue"), opened.stderr
    url = f"http://127.0.0.1:{here}"
    wait_for(lambda: page(url) == "seen\n")
    assert url in hotdesk("show", "blue").stdout

    folder = tmp_path / "state" / "desks" / "blue"
    if chromium():
        assert seen_in_chromium(url) == "seen"
    cut = ssh_of(folder)
    os.kill(cut, signal.SIGKILL)
    wait_for(lambda: page(url) == "seen\n" and ssh_of(folder) != cut, 30)

    assert hotdesk("stop", "blue", "--yes").returncode == 0
    wait_for(lambda: not forwards.kept(folder))
    [closed] = json.loads(hotdesk("forward", "blue", "--json").stdout)
    assert (closed["open"], closed["why"]) == (False, "open again once the desk runs")
    assert hotdesk("start", "blue").returncode == 0
    begin_app(hotdesk, there)
    wait_for(lambda: page(url) == "seen\n", 30)

    same = hotdesk("forward", "blue", str(there), "--json")
    direct = next(f for f in json.loads(same.stdout) if f["direct"])
    assert direct["here"] == there, "a desk on this computer has its ports here anyway"
    taken = hotdesk(
        "forward",
        "blue",
        f"{json.loads(hotdesk('show', 'blue', '--json').stdout)['notebook'].split(':')[2][:-4]}:80",
    )
    assert taken.returncode == 2
    assert "is in use" in taken.stderr
    assert hotdesk("forward", "blue", "--stop").returncode == 0
    wait_for(lambda: not forwards.kept(folder))
    assert forwards.free(here)


def seen_in_chromium(url: str) -> str:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        page.goto(url)
        text = page.inner_text("body").strip()
        browser.close()
    return text


def ssh_of(folder: Path) -> int:
    """The ssh that keeps a desk's ports, 0 for none."""
    for entry in Path("/proc").iterdir():
        try:
            ours = b"ControlPath=forwards.ssh" in (entry / "cmdline").read_bytes()
            if ours and (entry / "cwd").resolve() == folder:
                return int(entry.name)
        except OSError:
            continue
    return 0
