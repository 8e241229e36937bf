"""What a desk says of itself: its agent's report in words, and what happened there in the journal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hotdesk.api import Hotdesk
from hotdesk.config import Config
from hotdesk.connect import guest_agent
from hotdesk.core.model import Desk, Goal
from hotdesk.core.ports import Access
from hotdesk.core.steps import Row, Told
from hotdesk.guest.idle import Watch
from hotdesk.guest.one_file import source


class At:
    """A desk whose agent is the real one, asked through a stand-in for ssh that runs it here."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.lib, self.run = folder / "lib", folder / "run"
        for part in (self.lib, self.run):
            part.mkdir()
        (folder / "agent.py").write_text(source("agent"))
        shell = folder / "ssh"
        told = {"LIB": self.lib, "RUN": self.run, "PCI": folder / "pci", "CLOUD": folder / "no",
                "JUPYTER": "http://127.0.0.1:9/api"}  # fmt: skip
        settings = " ".join(f"HOTDESK_{name}={value}" for name, value in told.items())
        self.question = guest_agent._ASK
        for path, here in (("/opt/hotdesk", folder), ("/etc/systemd/system", folder)):
            self.question = self.question.replace(path, str(here))
        (folder / "python3").symlink_to(sys.executable)
        shell.write_text(f"#!/bin/sh\nexport {settings} PATH={folder}:$PATH\n{self.question}\n")
        shell.chmod(0o755)
        patch.setattr(guest_agent.ssh, "program", lambda name: str(shell))
        self.access = Access(desk="blue", host="h", port=22, user="me", key_path="/k", known_hosts_path="/h",
                             alias="a", notebook_port=8888)  # fmt: skip

    def says(self, **files: Any) -> dict[str, guest_agent.Remark]:
        for name, value in files.items():
            folder = self.run if name in {"compared", "warm"} else self.lib
            suffix = "" if name in {"lacking", "failed"} else ".json"
            (folder / f"{name}{suffix}").write_text(value if suffix == "" else json.dumps(value))
        said = guest_agent.report(self.access)
        assert said is not None
        return {r.topic: r for r in guest_agent.remarks(said, "blue", "L4")}


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> At:
    return At(tmp_path, monkeypatch)


def test_files_that_came_back_and_files_that_did_not(at: At) -> None:
    assert "files" not in at.says()
    same = {"same": True, "whole": True, "missing": [], "changed": [], "new": []}
    assert at.says(compared=same)["files"].text == "as they were when the desk was parked"
    assert at.says(compared=same)["files"].fix == ""
    other = {**same, "same": False, "missing": [f"/home/me/{n}" for n in "abcde"], "changed": ["/home/me/x"]}
    remark = at.says(compared=other)["files"]
    assert "missing: /home/me/a, /home/me/b, /home/me/c and 2 more; changed: /home/me/x" in remark.text
    assert remark.fix.startswith("hotdesk ssh blue")
    assert "files" not in at.says(compared={"same": None}), "nothing was written down when it was parked"


def test_how_far_the_reading_ahead_is(at: At) -> None:
    warm = {"files": 30, "of_files": 120, "bytes": 2_000_000_000, "seconds": 12.0, "done": False}
    assert at.says(warm=warm)["disk"].text.startswith("25% of the 120 files")
    done = at.says(warm={**warm, "files": 120, "done": True})["disk"].text
    assert done == "the 120 most recently used files (2.0 GB) were read ahead in 12 s"


def test_a_gpu_that_is_not_there_and_a_tool_that_could_not_be_had(at: At) -> None:
    remarks = at.says(lacking="these packages could not be installed: htop\nE: Unable to fetch\n")
    assert "no NVIDIA device" in remarks["driver"].text
    assert remarks["set-up"].text == "these packages could not be installed: htop / E: Unable to fetch"
    assert remarks["set-up"].fix.endswith("setup.sh first")


def test_what_is_said_of_a_driver_while_the_machine_sees_to_it() -> None:
    def said(works: bool, **install: Any) -> tuple[str, str]:
        driver = guest_agent.Driver(
            devices=1, works=works, said="580.95.05" if works else "no driver is loaded"
        )
        report = guest_agent.Report(
            driver=driver, install=guest_agent.Install(**install) if install else None
        )
        [remark] = guest_agent.remarks(report, "blue", "L4")
        return remark.text, remark.fix

    installing = {"state": "installing", "seconds": 40.4, "step": "installing driver 580-server-open"}
    for works in (False, True):  # it may answer before all of it is there
        text, fix = said(works, **installing)
        assert text.startswith("being installed for 40 s (installing driver 580-server-open), which takes")
        assert "jobs wait for it" in text
        assert fix == "hotdesk show blue"
    assert said(True, state="looking") == ("580.95.05", "")
    assert said(False, state="looking")[1] == "hotdesk show blue"
    assert said(True, state="works") == ("580.95.05", "")
    assert said(True, state="installed", seconds=94.0) == ("580.95.05 (installed in 94 s)", "")
    assert said(True, state="failed", why="no room") == ("580.95.05", ""), "mended by hand"
    text, fix = said(False, state="failed", why="it may not", again=True, log=["E: No room"])
    assert "the L4 cannot be used, and its driver could not be installed: it may not / E: No room." in text
    assert fix == "hotdesk ssh blue -- sudo systemctl restart hotdesk-driver"
    assert said(False, state="failed", why="it is too old")[1] == "hotdesk ssh blue -- nvidia-smi"
    text, fix = said(False, state="works")
    assert (text, "restart hotdesk-driver" in fix) == (
        "the L4 cannot be used: no driver is loaded. The desk itself can",
        True,
    )
    assert "ubuntu-drivers install --gpgpu" in said(False)[1], "an older desk, which cannot mend itself"


def test_what_happened_at_the_desk_is_a_row_of_the_journal_and_only_once(at: At, tmp_path: Path) -> None:
    with Hotdesk(tmp_path / "state", config=Config()) as desks:
        desks.services.store.put(
            Desk(name="blue", goal=Goal.RUNNING, since=1.0, created_at=1.0, provider="aws")
        )
        at.says(events=[{"id": "terminate-1", "at": 5.0, "what": "AWS takes this spot machine back."}])
        desks.services.guest_events.hear(at.access)
        desks.services.guest_events.hear(at.access)
        events = [{"id": f"terminate-{n}", "at": 5.0, "what": f"notice {n}"} for n in (1, 2)]
        at.says(events=events)
        desks.services.guest_events.hear(at.access)
        rows = desks.log("blue")
        assert [r.step.why for r in rows] == ["AWS takes this spot machine back.", "notice 2"]
        assert all(r.done for r in rows)
        assert (
            desks.services.guest_events.remarks(
                desks.services.store.desk("blue"), "L4", desks.services.views.access
            )[0].topic
            == "driver"
        )


@pytest.mark.parametrize("error", [-86400.0, 86400.0])
def test_a_clock_that_was_set_makes_no_news_of_what_is_in_the_journal(
    at: At, tmp_path: Path, error: float
) -> None:
    """Set back, it is before the desk was made; the row has to be found all the same."""

    class Set:
        def now(self) -> float:
            return 1_000_000.0 + error

        def sleep(self, seconds: float) -> None:
            raise AssertionError

    with Hotdesk(tmp_path / "state", config=Config()) as desks:
        born = Desk(name="blue", goal=Goal.RUNNING, since=1_000_000.0, created_at=1_000_000.0, provider="aws")
        desks.services.store.put(born)
        desks.services.guest_events.clock = Set()
        at.says(events=[{"id": "terminate-1", "at": 5.0, "what": "AWS takes this spot machine back."}])
        told = [row for _ in range(3) for row in _told_anew(desks, at)]
        assert [row.step.why for row in told] == ["AWS takes this spot machine back."]
        assert told == desks.log("blue")


def _told_anew(desks: Hotdesk, at: At) -> list[Row]:
    rows: list[Row] = []
    desks.services.guest_events.on_row = rows.append
    desks.services.guest_events.hear(at.access)
    return rows


def test_what_the_idle_watch_warned_of_is_a_row_of_the_journal_and_only_once(
    at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real watch warns of a lease, is put off, and warns again later; each is read once."""
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".hotdesk"
    folder.mkdir()
    leave = folder / "leave"
    leave.write_text('{"lease_seconds": 3600}')
    os.utime(leave, (1000, 1000))
    watch = Watch([str(tmp_path)], mark="nobody", now=1000.0)
    assert watch.turn(1000 + 3301) == ""
    with Hotdesk(tmp_path / "state", config=Config()) as desks:
        desks.services.store.put(
            Desk(name="blue", goal=Goal.RUNNING, since=1.0, created_at=1.0, provider="aws")
        )
        for _ in range(2):
            desks.services.guest_events.hear(at.access)
        os.utime(leave, (9000, 9000))  # the lease was renewed
        assert watch.turn(9000) == ""
        assert watch.turn(9000 + 3301) == ""
        at.says(events=[{"id": "terminate-1", "at": 5.0, "what": "AWS takes it back."}])
        with (folder / "warned").open("a") as file:
            file.write("no time\n")
        desks.services.guest_events.hear(at.access)
        rows = desks.log("blue")
    first, notice, second = (row.step for row in rows)
    assert notice.why == "AWS takes it back."
    for step, when in ((first, 4301.0), (second, 12301.0)):
        assert isinstance(step, Told)
        assert step.at == when
        assert step.why.startswith("this desk saves itself and stops at ")
        assert "its lease has ended" in step.why


def test_a_desk_without_an_agent_says_nothing(at: At, tmp_path: Path) -> None:
    (tmp_path / "agent.py").unlink()
    assert guest_agent.report(at.access) is None
    (tmp_path / "agent.py").write_text("print('not JSON')")
    assert guest_agent.report(at.access) is None


# ---- whether anything there ends the machine -----------------------------------------------------------


def watched(folder: Path, state: str) -> None:
    """The idle watch as it is sent, and a service manager that says what it does."""
    (folder / "idle.py").write_text(source("idle"))
    (folder / "hotdesk-idle.service").touch()
    (folder / "systemctl").write_text(f"#!/bin/sh\necho {state}\n")
    (folder / "systemctl").chmod(0o755)
    (folder / "sleep").symlink_to("/bin/true")


def test_an_idle_watch_that_is_active_is_not_spoken_of(at: At, tmp_path: Path) -> None:
    watched(tmp_path, "active")
    assert "idle watch" not in at.says()


@pytest.mark.parametrize("state", ["failed", "activating", "inactive"])
def test_one_that_is_not_is_said_and_what_that_means(at: At, tmp_path: Path, state: str) -> None:
    watched(tmp_path, state)
    remark = at.says()["idle watch"]
    assert remark.text.startswith(f"NOT ACTIVE (hotdesk-idle is {state}). Nothing there ends this machine")
    assert "it is paid for until you park it" in remark.text
    assert remark.fix == "hotdesk ssh blue -- sudo systemctl restart hotdesk-idle"


def test_one_that_the_machines_python_cannot_run_is_said_also_where_the_agent_is_silent(
    at: At, tmp_path: Path
) -> None:
    """A service may show as active for the moment in which its program fails."""
    old = next(iter(sorted(Path.home().glob(".pyenv/versions/3.[67].*/bin/python3"))), None)
    watched(tmp_path, "active")
    (tmp_path / "python3").unlink()
    if old:
        (tmp_path / "python3").symlink_to(old)
    else:
        body = '[ "$1" = -V ] && echo Python 3.7.16 && exit; echo SyntaxError: invalid syntax >&2; exit 1'
        (tmp_path / "python3").write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "python3").chmod(0o755)
    report = guest_agent.report(at.access)
    assert report is not None
    [remark] = guest_agent.remarks(report, "blue", "L4")
    assert remark.topic == "idle watch"
    assert "its python3 is Python 3." in remark.text
    assert "interruption notices are ignored" in remark.text
    assert remark.fix.startswith("hotdesk park blue")


def test_an_end_that_was_known_from_the_launch_is_heeded_like_a_notice(tmp_path: Path) -> None:
    """Though no metadata service answers: nothing there announces the end of a capacity block."""
    home, lib = tmp_path / "home", tmp_path / "lib"
    (home / ".hotdesk" / "hooks").mkdir(parents=True)
    hook = home / ".hotdesk" / "hooks" / "interrupted"
    hook.write_text(f'#!/bin/sh\necho "$HOTDESK_ACTION $HOTDESK_AT" > {tmp_path}/hooked\n')
    hook.chmod(0o755)
    (tmp_path / "agent.py").write_text(source("agent"))
    ends = {"near": time.time() + 300, "far": time.time() + 3000}
    running = {}
    (tmp_path / "other").mkdir()
    for name, at in ends.items():
        own = home if name == "near" else tmp_path / "other"  # one that starts deletes what another noted
        told = {"HOTDESK_ENDS": f"{at:.0f}", "HOTDESK_HOMES": str(own), "HOTDESK_LIB": str(lib / name)}
        told |= {
            "HOTDESK_IMDS": "http://127.0.0.1:9",
            "HOTDESK_TERMINALS": "/none",
            "HOTDESK_POLL_SECONDS": "0.1",
        }
        words = [sys.executable, str(tmp_path / "agent.py"), "run"]
        running[name] = subprocess.Popen(words, env={**os.environ, **told}, cwd=tmp_path)
    try:
        events = lib / "near" / "events.json"
        for _ in range(600):
            if events.exists() and "-done" in events.read_text():
                break
            time.sleep(0.1)
        first, done = json.loads(events.read_text())
    finally:
        for one in running.values():
            one.terminate()
            one.wait(30)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(f"{ends['near']:.0f}")))
    assert first["id"] == f"end-{stamp}"
    assert first["what"] == f"AWS ends this machine at {stamp}: the time that is reserved for it is over."
    assert done["id"].endswith("-done")
    assert (tmp_path / "hooked").read_text() == f"end {stamp}\n"
    assert (home / "AWS-ENDS-THIS-MACHINE.txt").exists()
    assert not (lib / "far" / "events.json").exists()
