"""Tells a person what has happened, once, whichever process sees it first."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

import msgspec

from hotdesk.connect import telling
from hotdesk.core import notices, wire
from hotdesk.core.errors import HotdeskError
from hotdesk.core.jobs import Job
from hotdesk.core.lifecycle.ending import SAID_SECONDS, is_near, known_end, said
from hotdesk.core.model import Desk, Goal, Value
from hotdesk.core.notices import Notice, Notify
from hotdesk.core.ports import Access, Clock
from hotdesk.core.steps import Told
from hotdesk.jobs.run import spent_usd
from hotdesk.services.billing import WARN_SHARE
from hotdesk.services.view import View
from hotdesk.state.store import Store

LOCK = "@notify"  # no desk can have this name
_KEY = "notices"
_LISTEN_SECONDS = 30.0  # a spot machine is taken two minutes after its notice
_BUDGET_SECONDS = 600.0
_TRIES = 5  # of a channel that fails


class Sent(Value, frozen=True, omit_defaults=False):
    """What became of a notice in one channel."""

    channel: str
    why: str = ""  # why it did not arrive; "": it did


class _Unsent(msgspec.Struct, frozen=True):
    notice: Notice
    channel: str
    tries: int
    at: float  # not before


class _Told(msgspec.Struct):
    """What was told so far."""

    row: int  # of the journal, the newest
    jobs: list[str]  # ids of those whose end was told
    unsent: list[_Unsent] = []
    elsewhere: list[str] = []  # ids of notices of which a watcher elsewhere has told the webhook


@dataclass(kw_only=True, eq=False)
class Notices:
    """Notices from the journal and the jobs, by the channels of [notify]. `hear` asks a desk's agent for
    its events, `warn` writes down that most of the budget is spent; `on_failed` hears what did not arrive."""

    store: Store
    clock: Clock
    settings: Notify
    hear: Callable[[Access], None]
    reach: Callable[[Desk], Access | None]
    warn: Callable[[Desk], None]
    ends: Callable[[Desk], float]
    on_failed: Callable[[str], None]
    _heard: dict[str, float] = field(default_factory=dict, init=False)
    _judged: float = field(default=0.0, init=False)

    @property
    def wanted(self) -> bool:
        """Whether anybody waits for notices of desks, also without a job."""
        return bool(self.settings.channels and self.settings.on)

    def watches(self) -> bool:
        """Whether a watcher has to stay, to see what is to be told of desks that run."""
        return self.wanted and any(desk.goal is Goal.RUNNING for desk in self.store.desks())

    def round(self, names: Collection[str]) -> None:
        """Look for news at these desks, and tell it. What fails is tried again at the next round."""
        desks = [desk for desk in map(self.store.find, names) if desk and desk.goal is Goal.RUNNING]
        now = self.clock.now()
        asked = self.wanted or any(job.notify for job in self.store.jobs(unsettled=True))
        for desk in desks if asked else ():
            if not 0 <= now - self._heard.get(desk.name, -_LISTEN_SECONDS) < _LISTEN_SECONDS:
                self._heard[desk.name] = now
                with contextlib.suppress(HotdeskError):
                    if access := self.reach(desk):
                        self.hear(access)
        if desks and asked and not 0 <= now - self._judged < _BUDGET_SECONDS:
            self._judged = now
            with contextlib.suppress(HotdeskError):
                self.warn(desks[0])
            self._warn_of_jobs(desks, now)
        for desk in desks if asked else ():
            self._warn_of_end(desk, now)
        self.send()

    def _warn_of_end(self, desk: Desk, now: float) -> None:
        """Write down, once, that a desk's machine is to be ended by its cloud at a time that was known."""
        past = self.store.past(desk)
        ends = self.ends(desk) if known_end(past) else 0.0
        why = f"its cloud ends the machine at {said(ends)}: {desk.name} is saved before, and a job is moved"
        step = Told(id=f"ends-{ends:.0f}", at=now, why=why)
        if is_near(ends, now, SAID_SECONDS) and now < ends and step.key not in past.last:
            self.store.note(desk, step, now, step.id)

    def _warn_of_jobs(self, desks: Collection[Desk], now: float) -> None:
        """Write down, once for each job, that most of its own budget (`--budget`) is spent."""
        by_name = {desk.name: desk for desk in desks}
        for job in self.store.jobs(unsettled=True):
            desk = by_name.get(job.desk)
            if desk is None or job.result is not None or not job.budget_usd:
                continue
            spent = spent_usd(self.store, job, now, running=True)
            step = Told(
                id=f"budget-of-{job.id}",
                at=now,
                why=f"job {job.number} has cost ${spent:,.2f} of the ${job.budget_usd:,.2f} expected at most",
            )
            if spent >= WARN_SHARE * job.budget_usd and step.key not in self.store.past(desk).last:
                self.store.note(desk, step, now, step.id)

    def send(self) -> list[Sent]:
        """Tell what is new since the last time; of what was before the first, nothing."""
        with self.store.hold(LOCK, "hotdesk notify") as mine:
            if not mine:
                return []
            told, now, jobs = self._told(), self.clock.now(), self.store.jobs()
            asked = [job for job in jobs if job.notify]
            rows = self.store.rows(after=told.row, limit=10_000)
            ended = [job for job in jobs if job.result is not None and job.id not in told.jobs]
            new = [*map(notices.of_row, rows), *map(notices.of_job, ended)]
            due = [unsent for unsent in told.unsent if unsent.at <= now]
            for notice in new:
                if notice is not None and notices.wanted(notice, self.settings, asked):
                    known = {"webhook"} if notice.id in told.elsewhere else set()
                    channels = [channel for channel in self._ways().channels if channel not in known]
                    due += [_Unsent(notice, channel, 0, now) for channel in channels]
            if not (rows or ended or due):
                return []
            told.row = max([told.row, *(row.id for row in rows)])
            told.jobs = [job.id for job in jobs if job.result is not None]
            told.elsewhere = []
            told.unsent = [unsent for unsent in told.unsent if unsent.at > now] + due
            self._keep(told)  # whoever dies while telling tells it again
            sent = []
            later: dict[str, float] = {}  # when a channel that failed in this round is tried again
            for one in due:
                told.unsent.remove(one)
                if one.channel in later:
                    told.unsent.append(_Unsent(one.notice, one.channel, one.tries, later[one.channel]))
                    continue
                why = telling.tell(one.notice, self._ways(), one.channel)
                if why and one.tries + 1 < _TRIES and one.channel in {"webhook", "command"}:
                    later[one.channel] = now + 10.0 * 4.0**one.tries
                    told.unsent.append(_Unsent(one.notice, one.channel, one.tries + 1, later[one.channel]))
                elif why:
                    self.on_failed(f"{one.notice.title}: not told by {one.channel}: {why}.")
                sent.append(Sent(channel=one.channel, why=why))
            self._keep(told)
            return sent

    def say(self, text: str, desk: str = "", *, dry_run: bool = False) -> tuple[Sent, ...]:
        """Tell this now, by every way."""
        ways = self._ways()
        title = f"hotdesk: {desk}" if desk else "hotdesk"
        notice = Notice(id="", event="word", desk=desk, title=title, text=text)
        return tuple(
            Sent(channel=channel, why="" if dry_run else telling.tell(notice, ways, channel))
            for channel in ways.channels
        )

    def up(self, view: View, *, asked: bool) -> None:
        """Tell that a desk is up that was waited for: who `asked`, or whose [notify] has it."""
        where = " in ".join(part for part in (view.instance_type, view.zone or view.region) if part)
        notice = Notice(id="", event="up", desk=view.name, title=f"{view.name} is up", text=where)
        if not (asked or notices.wanted(notice, self.settings, [])):
            return
        for channel in self._ways().channels:
            if why := telling.tell(notice, self._ways(), channel):
                self.on_failed(f"{notice.title}: not told by {channel}: {why}.")

    def begin(self) -> None:
        """What is there now was known before: only what comes is told."""
        self._told()

    def known_elsewhere(self, last_row: int, jobs: Iterable[Job]) -> None:
        """A watcher elsewhere has told what came after that row of the journal, and the end of these jobs.

        It had this computer's settings, so the webhook has it. What shows or runs here tells it here.
        """
        with self.store.hold(LOCK, "hotdesk notify"):
            told = self._told()
            told.elsewhere = [f"row-{row.id}" for row in self.store.rows(after=last_row, limit=None)]
            told.elsewhere += [f"job-{job.id}" for job in jobs]
            self._keep(told)

    def _ways(self) -> Notify:
        return self.settings if self.settings.channels else notices.PLAIN

    def _told(self) -> _Told:
        kept = self.store.cached(_KEY)
        with contextlib.suppress(msgspec.DecodeError):
            if kept:
                return wire.json(kept[1], _Told)
        rows = self.store.rows(limit=1)
        jobs = [job.id for job in self.store.jobs() if job.result is not None]
        told = _Told(row=rows[-1].id if rows else 0, jobs=jobs)
        self._keep(told)
        return told

    def _keep(self, told: _Told) -> None:
        self.store.keep(_KEY, msgspec.json.encode(told), self.clock.now())
