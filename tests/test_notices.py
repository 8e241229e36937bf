"""Being told: what is news, by which ways it arrives, once and in time."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import pty
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hotdesk.api import Hotdesk
from hotdesk.config import load, parse
from hotdesk.connect import telling
from hotdesk.core import notices
from hotdesk.core.jobs import Job, Result
from hotdesk.core.model import Desk, Goal, Market, Offer
from hotdesk.core.notices import Notice, Notify
from hotdesk.core.steps import Begin, Done, Launch, LaunchOrder, Row, Told
from hotdesk.system import config_files
from tests.conftest import Command
from tests.local_rig import tool, wait_for

NOTICE = Notice(id="1", event="job", desk="blue", title="blue: job 3 is done", text='loss "0.1"\n5 %')


class Hook:
    """A web server that keeps what is posted to it."""

    def __init__(self, status: int = 200) -> None:
        self.got: list[tuple[str, str]] = []
        self.status = status
        hook = self

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"])).decode()
                hook.got.append((self.headers["Content-Type"], text))
                if not hook.status:
                    self.wfile.write(b"220 a mail server\r\n")
                    return
                self.send_response(hook.status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}/secret"

    @property
    def titles(self) -> list[str]:
        return [json.loads(text)["title"] for _, text in self.got]


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    thread = threading.Thread(target=hook.server.serve_forever, daemon=True)
    thread.start()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()


# ---- what is news -------------------------------------------------------------------------------------


def told(id_: str, **more: Any) -> Row:
    return Row(id=1, desk="blue", at=9.0, step=Told(id=id_, at=5.0, why="what it is", **more), outcome=Done())


def attempt(number: int) -> Row:
    step = Begin(id="3-abc", attempt=number, why="its machine is gone; the job continues")
    return Row(id=2, desk="blue", at=9.0, step=step, outcome=Done())


@pytest.mark.parametrize(
    ("row", "event"),
    [
        (told("warned-5"), "idle"),
        (told("warned-5", age_seconds=60.0), "idle"),
        (told("warned-5", age_seconds=86400.0), ""),
        (told("terminate-2026-11-30T05:06:07Z"), "interruption"),
        (told("rebalance-2026-11-30T05:06:07Z"), "interruption"),
        (told("terminate-2026-11-30T05:06:07Z-done"), ""),
        (told("budget-2026-11"), "budget"),
        (told("budget-of-3-abc"), "budget"),
        (told("3-abc-stays"), ""),
        (attempt(1), ""),
        (attempt(2), "interruption"),
    ],
)
def test_what_a_journal_tells_a_person_who_is_not_looking(row: Row, event: str) -> None:
    notice = notices.of_row(row)
    assert (notice.event if notice else "") == event
    assert notice is None or (notice.desk == "blue" and notice.text)


def job(status: int | None = 0, **more: Any) -> Job:
    result = Result(exit_status=status, why="", at=9.0, seconds=7200.0, usd=1.96, last_line="loss 0.1")
    return Job(
        id="3-abc",
        number=3,
        desk="blue",
        command=("python", "train.py"),
        created_at=1.0,
        result=result,
        **more,
    )


def test_the_end_of_a_job_says_how_it_ended() -> None:
    done = notices.of_job(job())
    assert done is not None
    assert (done.event, done.title) == ("job", "blue: job 3 is done")
    assert done.text == "python train.py\n2 h, $1.96\nloss 0.1"
    failed = notices.of_job(job(137))
    assert failed is not None
    assert failed.title == "blue: job 3 has failed"
    assert "exit status 137" in failed.text
    lost, cancelled = notices.of_job(job(None)), notices.of_job(job(143, cancelled=True))
    assert lost is not None
    assert cancelled is not None
    assert lost.title.endswith("never finished")
    assert cancelled.title.endswith("was cancelled")


def test_who_asked_is_told_and_nobody_else() -> None:
    off, web = Notify(), Notify(webhook="https://example.org")
    asked, over = job(notify=True), msgspec.structs.replace(job(), result=None)
    runs = msgspec.structs.replace(asked, result=None)
    idle = notices.of_row(told("warned-5"))
    assert idle is not None
    end = msgspec.structs.replace(NOTICE, id="job-3-abc")
    assert notices.wanted(end, web, [])
    assert not notices.wanted(end, msgspec.structs.replace(web, on=("idle",)), [])
    assert not notices.wanted(end, off, [])
    assert notices.wanted(end, off, [asked])
    assert not notices.wanted(msgspec.structs.replace(end, id="job-4-def"), off, [asked])
    assert notices.wanted(idle, off, [runs]), "of its desk, while the job runs"
    assert not notices.wanted(idle, off, [asked]), "its job has ended"
    assert not notices.wanted(msgspec.structs.replace(idle, desk="red"), off, [runs])
    assert over.notify is False


# ---- by which ways -----------------------------------------------------------------------------------


def test_a_webhook_gets_what_chats_show(hook: Hook) -> None:
    assert telling.tell(NOTICE, Notify(webhook=hook.url), "webhook") == ""
    kind, text = hook.got[0]
    said = json.loads(text)
    assert kind == "application/json"
    assert (said["event"], said["desk"], said["title"]) == ("job", "blue", NOTICE.title)
    assert said["text"] == said["content"] == 'blue: job 3 is done\nloss "0.1"\n5 %'


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ('{"msgtype": "text", "text": {"content": "{title}: {text}"}}',
         {"msgtype": "text", "text": {"content": 'blue: job 3 is done: loss "0.1"\n5 %'}}),
        ('{"a": ["{desk}", 1, null, "{event} {unknown}"]}', {"a": ["blue", 1, None, "job {unknown}"]}),
    ],
)  # fmt: skip
def test_a_body_of_ones_own_is_json_whatever_the_text_holds(hook: Hook, template: str, expected: Any) -> None:
    assert telling.tell(NOTICE, Notify(webhook=hook.url, webhook_body=template), "webhook") == ""
    assert json.loads(hook.got[0][1]) == expected


def test_a_body_that_is_no_json_is_plain_text(hook: Hook) -> None:
    settings = Notify(webhook=hook.url, webhook_body="{title} ({desk})")
    assert telling.tell(NOTICE, settings, "webhook") == ""
    assert hook.got == [("text/plain; charset=utf-8", "blue: job 3 is done (blue)")]


def test_a_webhook_that_fails_is_named_without_its_secret(hook: Hook) -> None:
    hook.status = 403
    assert telling.tell(NOTICE, Notify(webhook=hook.url), "webhook") == "127.0.0.1 answers 403 Forbidden"
    hook.server.server_close()
    said = telling.tell(NOTICE, Notify(webhook="http://127.0.0.1:9/secret"), "webhook")
    assert "does not answer" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("status", "words"), [(301, "answers 301"), (302, "answers 302"), (0, "mail server")]
)
def test_what_was_not_taken_is_not_told(hook: Hook, status: int, words: str) -> None:
    """A redirect would be followed by a GET without the text."""
    hook.status = status
    assert words in telling.tell(NOTICE, Notify(webhook=hook.url), "webhook")


def test_an_address_that_is_none_is_not_shown_with_its_secret() -> None:
    said = telling.tell(NOTICE, Notify(webhook="http://127.0.0.1:9/a secret"), "webhook")
    assert said == "the address of 127.0.0.1 has a character that no address has"


def test_a_projects_own_file_runs_nothing_here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wrote the project that somebody has cloned has written it."""
    text = '[notify]\ncommand = "touch ~/was-here"\n[desks.blue]\ngpu = "L4"\n'
    (home / "project").mkdir()
    (home / "project" / "hotdesk.toml").write_text(text)
    monkeypatch.chdir(home / "project")
    found = load(config_files())
    assert found.notify == Notify()
    assert "may not say what runs" in found.faults["notify"].what
    assert found.desks["blue"].gpu == "L4"
    own = config_files()[-1]
    own.parent.mkdir(parents=True)
    (home / "project" / "hotdesk.toml").rename(own)
    assert load(config_files()).notify.command
    monkeypatch.setenv("HOTDESK_CONFIG", str(own))
    assert load(config_files()).notify.command


def test_a_command_may_leave_something_in_the_background() -> None:
    began = time.monotonic()
    assert telling.tell(NOTICE, Notify(command="sleep 50 & exit 0"), "command") == ""
    assert time.monotonic() - began < 40, "else it would be told again and again"


def test_a_command_has_the_text_in_its_environment(tmp_path: Path) -> None:
    words = " ".join(f'"$HOTDESK_{name}"' for name in ("EVENT", "DESK", "TITLE", "TEXT"))
    line = f"printf '%s|' {words} > {tmp_path}/said"
    assert telling.tell(NOTICE, Notify(command=line), "command") == ""
    assert (tmp_path / "said").read_text() == f"job|blue|{NOTICE.title}|{NOTICE.text}|"
    assert telling.tell(NOTICE, Notify(command="echo no >&2; exit 3"), "command") == "no"


def test_the_bell_rings_at_the_terminal_of_who_began(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    try:
        monkeypatch.setenv(telling.TERMINAL, os.ttyname(theirs))
        monkeypatch.setattr(os, "ttyname", lambda fd: (_ for _ in ()).throw(OSError()))
        assert telling.tell(NOTICE, Notify(bell=True), "bell") == ""
        assert os.read(ours, 10) == b"\a"
        monkeypatch.setenv(telling.TERMINAL, "/dev/pts/does-not-exist")
        assert telling.tell(NOTICE, Notify(bell=True), "bell")
        monkeypatch.delenv(telling.TERMINAL)
        assert telling.tell(NOTICE, Notify(bell=True), "bell") == "there is no terminal of yours to ring at"
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_desktop_notification_is_what_notify_send_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "libnotify-bin" in telling.tell(NOTICE, Notify(desktop=True), "desktop")
    program = tmp_path / "notify-send"
    program.write_text(f'#!/bin/sh\nfor word; do echo "[$word]"; done > {tmp_path}/said\n')
    program.chmod(0o755)
    dash = msgspec.structs.replace(NOTICE, text="-x")
    assert telling.tell(dash, Notify(desktop=True), "desktop") == ""
    assert (tmp_path / "said").read_text() == f"[--app-name=hotdesk]\n[--]\n[{NOTICE.title}]\n[-x]\n"


# ---- once ---------------------------------------------------------------------------------------------


@pytest.fixture
def desks(home: Path, hook: Hook) -> Iterator[Hotdesk]:
    settings = parse(f'[notify]\nwebhook = "{hook.url}"\n', Path("hotdesk.toml"))
    with Hotdesk(config=settings) as desks:
        yield desks


def note(desks: Hotdesk, id_: str) -> None:
    store = desks.services.store
    [row] = store.begin([("blue", Told(id=id_, at=5.0, why="what it is"))], time.time())
    store.end(row, Done(id=id_), time.time())


def test_what_happened_before_is_no_news_and_what_comes_is_told_once(desks: Hotdesk, hook: Hook) -> None:
    note(desks, "warned-1")
    desks.services.notices.begin()
    assert desks.services.notices.send() == []
    note(desks, "warned-2")
    assert [sent.why for sent in desks.services.notices.send()] == [""]
    assert desks.services.notices.send() == []
    with Hotdesk(config=desks.services.config) as another:
        assert another.services.notices.send() == []
    assert hook.titles == ["blue is about to stop"]


def test_a_webhook_that_fails_is_tried_again_later(
    desks: Hotdesk, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = desks.services.notices
    service.begin()
    hook.status = 500
    note(desks, "budget-2026-11")
    assert [sent.why for sent in service.send()] == ["127.0.0.1 answers 500 Internal Server Error"]
    assert service.send() == [], "not at once"
    hook.status = 200
    now = time.time()
    monkeypatch.setattr(type(desks.services.clock), "now", lambda self: now + 60)
    assert [sent.why for sent in service.send()] == [""]
    assert hook.titles == ["80 % of this month's budget"] * 2


def test_a_webhook_that_is_dead_is_waited_for_once(
    desks: Hotdesk, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three notices one is tried, and the others come when it is tried again."""
    service = desks.services.notices
    service.begin()
    hook.status = 500
    for n in range(3):
        note(desks, f"warned-{n}")
    service.send()
    assert len(hook.got) == 1
    hook.status = 200
    now = time.time()
    monkeypatch.setattr(type(desks.services.clock), "now", lambda self: now + 60)
    assert [sent.why for sent in service.send()] == ["", "", ""]


def test_what_a_watcher_elsewhere_has_told_the_webhook_is_not_told_again(desks: Hotdesk, hook: Hook) -> None:
    service = desks.services.notices
    service.begin()
    last = max((row.id for row in desks.services.store.rows(limit=1)), default=0)
    note(desks, "warned-1")
    service.known_elsewhere(last, [])
    assert service.send() == []
    note(desks, "warned-2")
    assert [sent.why for sent in service.send()] == [""], "and what comes now is"


def test_a_way_that_goes_on_failing_is_given_up_and_said(
    desks: Hotdesk, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, said, now = desks.services.notices, [], time.time()
    service.on_failed = said.append
    service.begin()
    hook.status = 500
    note(desks, "warned-9")
    for n in range(20):
        monkeypatch.setattr(type(desks.services.clock), "now", lambda self, n=n: now + n * 3000)
        service.send()
    assert len(hook.got) == 5
    assert said == [
        "blue is about to stop: not told by webhook: 127.0.0.1 answers 500 Internal Server Error."
    ]


def test_a_job_that_has_cost_most_of_its_budget_is_told_once(
    desks: Hotdesk, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine of $1 an hour; the job began after half an hour, and may cost $5."""
    store, service, began = desks.services.store, desks.services.notices, time.time()
    offer = Offer(
        provider="local",
        region="r",
        zone="z",
        instance_type="t",
        market=Market.ON_DEMAND,
        usd_per_hour=1.0,
    )
    store.put(Desk(name="blue", goal=Goal.RUNNING, since=began, created_at=began, offers=(offer,)))
    order = LaunchOrder(desk="blue", born=began, generation=1, attempt=0, offer=offer)
    job = store.queue(
        Job(id="", number=0, desk="blue", command=("true",), created_at=began, budget_usd=5.0, notify=True)
    )
    for step, at in (
        (Launch(order=order, why=""), began),
        (Begin(id=job.id, attempt=1, why=""), began + 1800),
    ):
        [row] = store.begin([("blue", step)], at)
        store.end(row, Done(id="i-1"), at)
    service.begin()
    monkeypatch.setattr(service, "reach", lambda desk: None)
    for hours in (3.0, 4.4, 4.6, 5.0, 6.0):
        monkeypatch.setattr(type(desks.services.clock), "now", lambda self, h=hours: began + h * 3600)
        service.round(["blue"])
    assert hook.titles == ["blue: 80 % of a job's budget"]
    assert "job 1 has cost $4.10 of the $5.00 expected at most" in hook.got[0][1]


def test_a_watcher_stays_while_news_is_waited_for(desks: Hotdesk) -> None:
    assert not desks.services.notices.watches(), "there is no desk"
    desks.services.store.put(Desk(name="blue", goal=Goal.RUNNING, since=1.0, created_at=1.0))
    assert desks.services.notices.watches()
    with Hotdesk(config=parse("", Path("hotdesk.toml"))) as plain:
        assert not plain.services.notices.watches()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('on = ["jobs"]', "did you mean 'job'?"),
        ('webhook = "example.org/hook"', "must begin with https://"),
        ("desktop = 1", "notify.desktop"),
        ('web = "x"', "'web' in [notify] is unknown"),
    ],
)
def test_a_mistake_in_its_section_is_named_and_tells_nobody(text: str, why: str) -> None:
    config = parse(f"[notify]\nbell = true\n{text}\n", Path("hotdesk.toml"))
    assert why in config.faults["notify"].why
    assert config.notify.channels == ()


# ---- all of it ---------------------------------------------------------------------------------------


@tool("ssh")
@tool("rsync")
def test_a_job_that_ends_while_nobody_looks_is_told_at_a_webhook(
    hotdesk: Command, hook: Hook, home: Path
) -> None:
    """1. A job is run with --detach. 2. The watcher tells its end. 3. It tells that an idle limit is near."""
    (home / "hotdesk.toml").write_text(f'[notify]\nwebhook = "{hook.url}"\n')
    tried = hotdesk("notify", "a test", HOTDESK_CONFIG=str(home / "hotdesk.toml"))
    assert tried.stdout == "webhook  told\n", tried.stderr
    planned = hotdesk("notify", "--dry-run", HOTDESK_CONFIG=str(home / "hotdesk.toml"))
    assert planned.stdout == "webhook  would be used\n"
    assert hook.titles == ["hotdesk"]
    project = home / "project"
    project.mkdir()
    (project / "train.py").write_text("print('loss 0.1')\nraise SystemExit(3)\n")
    os.chdir(project)
    configured = {"HOTDESK_CONFIG": str(home / "hotdesk.toml")}
    assert hotdesk("up", "blue", **configured).returncode == 0
    words = ("run", "blue", "--then", "stay", "--detach", "--", "python3", "train.py")
    assert hotdesk(*words, **configured).returncode == 0
    with contextlib.suppress(AssertionError):
        wait_for(lambda: len(hook.got) > 1, 40)
    assert hook.titles[1:] == ["blue: job 1 has failed"]
    said = json.loads(hook.got[1][1])["text"]
    assert "exit status 3" in said
    assert "loss 0.1" in said
    log = next((home.parent / "state").glob("local/disks/blue/home/.hotdesk"))
    (log / "warned").write_text(
        f"{time.time():.0f} hotdesk: this desk saves itself and stops at 05:06:07 (idle).\n"
    )
    with contextlib.suppress(AssertionError):
        wait_for(lambda: len(hook.got) > 2, 60)
    assert hook.titles[2:] == ["blue is about to stop"]
