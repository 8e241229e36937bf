"""The loop of jobs: look, plan (`core.jobs.plan_jobs`), journal, act.

`hotdesk run` runs it while it is attached, the watcher otherwise, or both at once: each act is taken under
the desk's lock, and acts on the desk are idempotent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from hotdesk.connect import job_runner, load
from hotdesk.core.billing.charges import compute_usd
from hotdesk.core.errors import (
    Busy,
    HotdeskError,
    Missing,
    NeedsDecision,
    NotAllowed,
    Unknown,
    Unreachable,
)
from hotdesk.core.jobs import (
    AnyAct,
    End,
    Fetch,
    Follow,
    Job,
    Notify,
    Pause,
    Ready,
    Record,
    Rest,
    Result,
    Seek,
    SeenJob,
    Settle,
    Shift,
    Start,
    plan_jobs,
)
from hotdesk.core.lifecycle.holding import PLACEHOLDER_SECONDS, SEEK_SECONDS
from hotdesk.core.model import Desk, Goal, Instance, Offer
from hotdesk.core.ports import Access, Clock
from hotdesk.core.steps import Begin, Done, Move, Row, Told, Unsure
from hotdesk.jobs import results
from hotdesk.jobs.placement import Placing
from hotdesk.state.store import Store
from hotdesk.system import write_atomically

KEPT_LOG_BYTES = 4 << 20  # of each job, on this computer
WAITING_SECONDS = 10.0  # between two looks while a job waits for a machine
PATIENCE_SECONDS = 600.0  # how long a running desk may be unreachable before this is an error


_LOG_CUT = b"hotdesk: %d bytes came before\n"  # the first line of a kept log that is not all of it


def kept_log(store: Store, job: Job) -> Path | None:
    """Where the end of an ended job's log is kept on this computer."""
    return store.folder / "jobs" / f"{job.id}.log" if store.folder else None


def kept_samples(store: Store, job: Job) -> Path | None:
    """Where what was measured over an ended job's life is kept on this computer."""
    return store.folder / "jobs" / f"{job.id}.samples" if store.folder else None


def spent_usd(store: Store, job: Job, now: float, *, running: bool) -> float:
    """What a job's desk has cost since its first attempt began, in US dollars; 0 before that."""
    rows = store.rows(job.desk, limit=None)
    begun = [r.at for r in rows if isinstance(r.step, Begin) and r.step.id == job.id]
    if not begun:
        return 0.0
    before = compute_usd([r for r in rows if r.at <= begun[0]], begun[0], running=True)
    return max(0.0, compute_usd(rows, now, running=running) - before)


def cut_log(text: bytes) -> tuple[int, bytes]:
    """The number of bytes missing at the beginning of a kept log, and the rest."""
    first, _, rest = text.partition(b"\n")
    words = first.split()
    if len(words) == 5 and words[1].isdigit() and first + b"\n" == _LOG_CUT % int(words[1]):
        return int(words[1]), rest
    return 0, text


class Runs:
    """The jobs of all desks. `access` returns how to reach a desk; None if it is not running.

    `live` returns a desk's machine, and `offers` its offers at current prices. `works` lists what would end
    with a desk's machine.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        access: Callable[[Desk], Access | None],
        settle: Callable[[str], object],
        live: Callable[[Desk], Instance | None] = lambda desk: None,
        offers: Callable[[Desk], Sequence[Offer]] = lambda desk: desk.offers,
        on_row: Callable[[Row], None] = lambda row: None,
        progress: Callable[[str], None] | None = None,
        works: Callable[[Desk], Sequence[str]] = lambda desk: (),
    ) -> None:
        self.store = store
        self.clock = clock
        self.access = access
        self.settle = settle
        self.placing = Placing(store, clock, live, offers)
        self.on_row = on_row
        self.progress = progress
        self.works = works
        self._heard: dict[str, bytes] = {}  # logs whose end this process has read, by job id

    # ---- planning ------------------------------------------------------------------------------------

    def next(
        self, name: str, mine: bool = True, just_seen: Mapping[str, SeenJob] | None = None
    ) -> tuple[AnyAct | None, Mapping[str, SeenJob]]:
        """The next act for a desk's jobs, and what the desk reports about them.

        `mine`: whether the caller holds the desk, so that its placement may be decided again. `just_seen`:
        what the desk has just reported.
        Raises `Unreachable` if the desk is running and does not answer.
        """
        desk, jobs = self.store.find(name), self.store.jobs(name, unsettled=True)
        seen: Mapping[str, SeenJob] = {}
        act = plan_jobs(desk, jobs, None)
        if isinstance(act, Ready) and desk is not None and (access := self.access(desk)):
            seen = just_seen or _by_id(job_runner.look(access))
            act = plan_jobs(desk, jobs, seen)
        if mine and desk is not None and act is not None:
            act = self.placing.reconsidered(desk, act, [j for j in jobs if not j.settled], seen)
        return act, seen

    def seen(self, name: str) -> dict[str, SeenJob]:
        """What a desk reports about all its jobs; empty while it is not running."""
        desk = self.store.find(name)
        access = self.access(desk) if desk else None
        return _by_id(job_runner.look(access)) if access else {}

    def take(self, act: AnyAct, seen: Mapping[str, SeenJob]) -> Mapping[str, SeenJob] | None:
        """Carry out one act; the caller holds the desk. Returns what the desk then reported, if it did."""
        match act:
            case Start(job=job, attempt=attempt, restore=restore):
                return self._begin(job, attempt, restore, act.why)
            case End(job=job):
                job_runner.cancel(self._reach(job.desk), job.id)
            case Record(job=job, exit_status=status):
                self._keep_log(job, seen.get(job.id))
                self.store.put_job(job.number, result=self._result(job, status, seen.get(job.id), act.why))
            case Fetch(job=job):
                self._fetch(job)
            case Settle(job=job, goal=goal):
                self._settle(job, goal)
            case Notify(job=job):
                job_runner.notice(self._reach(job.desk))
            case Shift(job=job):
                self._shift(job, act)
            case Seek(job=job, offers=offers):
                desk, until = self.store.desk(job.desk), self.clock.now() + SEEK_SECONDS
                self.store.put(msgspec.structs.replace(desk, seeks=offers, seeks_until=until))
            case Ready() | Follow() | Pause() | Rest():
                pass  # nothing to do here
        return None

    # ---- loops ---------------------------------------------------------------------------------------

    def pursue(
        self, job: Job, on_output: Callable[[bytes], None], on_note: Callable[[str], None] = lambda text: None
    ) -> Job:
        """Run until nothing is left to do for this job, passing on its output; return it with its result.

        Raises what stops it: a question, a desk that does not come up. The job's row is kept in that case.
        """
        offset, silent_since, noted = 0, 0.0, ""
        told: Mapping[str, SeenJob] | None = None  # reported since the last act or output
        heard = bytearray()

        def hear(chunk: bytes) -> None:
            heard.extend(chunk)
            del heard[:-KEPT_LOG_BYTES]
            on_output(chunk)

        while True:
            job = self.store.job(job.desk, job.number)
            if job.settled:
                self._see_it_settled(job)
                return job
            desk = job.desk
            act: AnyAct | None = None
            with self.store.hold(desk, f"hotdesk run ({job.words[:40]})") as mine:
                try:
                    act, seen = self.next(desk, mine, told)
                    told, silent_since = None, 0.0
                    if mine and act is not None:
                        if isinstance(act, Record) and act.job.id == job.id:
                            offset = self._last_words(act.job, offset, seen.get(job.id), hear)
                            self._heard[job.id] = bytes(heard)
                        told = self.take(act, seen)
                    elif isinstance(act, Record | Fetch | Settle):  # another process is about to do it
                        told = seen
                        self.clock.sleep(0.1)
                except Unreachable:
                    silent_since = silent_since or self.clock.now()
                    if self.clock.now() - silent_since > PATIENCE_SECONDS:
                        raise
                    act, seen = None, {}
            said = ""
            if isinstance(act, Rest | Pause) or (isinstance(act, Ready) and act.waits):
                said = f"… {act.why}"
            elif isinstance(act, Follow) and act.job.id != job.id:
                said = f"… job {act.job.number} runs first"
            if said and said != noted:
                noted = said
                on_note(said)
            match act:
                case Ready(waits=waits):
                    if not self._settled(desk):
                        waits = True
                    if waits:
                        self.clock.sleep(WAITING_SECONDS)
                case Follow(job=running) if running.id == job.id:
                    offset, told = self._listen(job, offset, hear)
                case Seek():
                    self._settled(desk)
                case Rest():
                    return job
                case None | Follow() | Pause():
                    self.clock.sleep(1.0)

    def _settled(self, name: str) -> bool:
        """Reconcile the desk; False if no machine is available now but one was before."""
        try:
            self.settle(name)
        except NotAllowed:
            desk = self.store.desk(name)
            refused = self.store.past(desk).refused(desk.offers, self.clock.now())
            if self.store.past(desk).proof is None or any(o.key not in refused for o in desk.offers):
                raise
            return False
        return True

    def _see_it_settled(self, job: Job) -> None:
        """Reconcile the desk with its goal after the job, unless the goal was changed meanwhile.

        A place that is kept for the job is given up in any case.
        """
        desk = self.store.find(job.desk)
        if desk is not None and job.then is desk.goal and desk.created_at <= job.created_at:
            with contextlib.suppress(Busy):
                self.settle(job.desk)
        elif desk is not None:
            held = self.store.past(desk).held
            if held and self.clock.now() < held.at + PLACEHOLDER_SECONDS:  # later it has ended itself
                with contextlib.suppress(HotdeskError):  # whatever stops it, the job has its result
                    self.settle(job.desk)

    def round(self, names: list[str]) -> bool:
        """One act for each of these desks, which the caller holds: the watcher calls this after each tick.

        Returns whether anything was done.
        """
        acted = False
        wanted = {job.desk for job in self.store.jobs(unsettled=True)}
        gone = {name for name in wanted if self.store.find(name) is None}
        for name in sorted(wanted & (set(names) | gone)):
            try:
                act, seen = self.next(name)
                if act is not None:
                    self.take(act, seen)
                    acted |= not isinstance(act, Ready | Follow | Pause | Rest)
            except (HotdeskError, OSError):  # retried in the next round; the other desks go on
                continue
        return acted

    # ---- acts ----------------------------------------------------------------------------------------

    def _begin(self, job: Job, attempt: int, restore: int, why: str) -> Mapping[str, SeenJob]:
        access, given = self._reach(job.desk), self.store.variables(job)
        if given is None:
            raise NeedsDecision(
                f"Job {job.number} cannot go on: {', '.join(job.variables)} has no value on this computer.",
                "The values of a job's variables are only where it was asked for, until it has ended.",
                f"hotdesk cancel {job.desk} {job.number}   # then run it again; or go on from that computer",
            )
        step = Begin(id=job.id, attempt=attempt, why=why)
        (row,) = self.store.begin([(job.desk, step)], self.clock.now())
        self.on_row(row)
        try:
            looked = job_runner.begin(access, job, attempt, restore, given)
        except HotdeskError as error:
            message = error.why or error.what
            self.on_row(self.store.end(row, Unsure(message=message), self.clock.now()))
            raise
        self.on_row(self.store.end(row, Done(id=job.id), self.clock.now()))
        return _by_id(looked)

    def _shift(self, job: Job, act: Shift) -> None:
        """Record that the desk needs another machine, and why. The loop does the rest."""
        desk, machine = self.store.desk(job.desk), self.placing.live(self.store.desk(job.desk))
        if machine is None:
            return  # it was interrupted meanwhile
        generation, now = max(desk.generation, machine.chosen_for + 1), self.clock.now()
        step = Move(id=job.id, generation=generation, to=act.offers[0].key, why=act.why)
        (row,) = self.store.begin([(job.desk, step)], now)
        self.on_row(row)
        at = max(now, desk.since + 0.001)
        changes = {"offers": act.offers, "generation": generation, "since": at}
        changes |= {"on_demand_at": act.on_demand_at, "seeks": (), "seeks_until": 0.0}
        self.store.put(msgspec.structs.replace(desk, **changes))
        self.on_row(self.store.end(row, Done(id=job.id), self.clock.now()))

    def _reach(self, name: str) -> Access:
        access = self.access(self.store.desk(name))
        if access is None:
            raise Unreachable(f"{name} has stopped.", "", f"hotdesk show {name}")
        return access

    def _result(self, job: Job, status: int | None, seen: SeenJob | None, why: str) -> Result:
        now = self.clock.now()
        return Result(
            exit_status=status,
            why=why,
            at=now,
            seconds=seen.seconds if seen else 0.0,
            usd=spent_usd(self.store, job, now, running=seen is not None),
            attempts=seen.attempt if seen else 0,
            checkpoints=seen.checkpoints if seen else 0,
            checkpoint_seconds=seen.median_checkpoint_seconds if seen else None,
            last_line=seen.last_line if seen else "",
        )

    def _fetch(self, job: Job) -> None:
        why, fetched = "", tuple[str, ...]()
        access = self._reach(job.desk)
        try:
            found = results.fetch(
                access,
                job,
                began=results.began(self.store, job),
                now=self.clock.now(),
                state=self.store.folder,
                on_progress=self.progress,
            )
        except (Missing, NeedsDecision, Unknown) as error:  # not a lost connection: waiting does not help
            again = f"hotdesk pull {job.desk} {job.folder}/{job.pull[0]}"
            why = f"results not fetched: {error.what} {error.why} They are at {job.desk}: {again}"
        else:
            fetched = found.words
            if found.absent:  # a failed job may have none: no reason to keep its machine
                why = f"{' and '.join(found.absent)} not fetched: not found in its folder"
            if found.failed:
                why += f"{'; ' if why else ''}not all results could be read there: {found.failed}"
        result = job.result
        if why and result:
            result = msgspec.structs.replace(result, why=f"{result.why}; {why}" if result.why else why)
        self.store.put_job(job.number, pulled=True, fetched=fetched, result=result)

    def _keep_log(self, job: Job, seen: SeenJob | None) -> None:
        """Save the end of a job's log here, so that it can be read when the desk is parked or gone."""
        file = kept_log(self.store, job)
        if file is None or seen is None or file.exists():
            return
        file.parent.mkdir(mode=0o700, exist_ok=True)
        start = max(0, seen.log_bytes - KEPT_LOG_BYTES)
        text = self._heard.pop(job.id, b"")
        if len(text) != seen.log_bytes - start or seen.attempt > 1:  # a restored disk has an older log
            parts: list[bytes] = []
            job_runner.follow(self._reach(job.desk), job.id, start, parts.append, to_the_end=False)
            text = b"".join(parts)
        if start:
            half, _, rest = text.partition(b"\n")
            text = _LOG_CUT % (start + len(half) + 1) + rest if rest else _LOG_CUT % start + text
        if (samples := kept_samples(self.store, job)) is not None:
            write_atomically(samples, load.samples(self._reach(job.desk), job.id))
        write_atomically(file, text)

    def _settle(self, job: Job, goal: Goal | None) -> None:
        desk = found = self.store.find(job.desk)
        alone = len(self.store.jobs(job.desk, unsettled=True)) == 1  # no job was added since the look
        stayed = ""
        if desk is not None and goal is not None and alone and desk.goal is Goal.RUNNING:
            if stayed := "; ".join(self.works(desk)):
                self._note(job, f"job {job.number} has ended, and {desk.name} stays up: {stayed}")
            else:
                desk = msgspec.structs.replace(desk, goal=goal, since=self.clock.now())
        if desk is not None and (desk is not found or desk.seeks):
            self.store.put(msgspec.structs.replace(desk, seeks=(), seeks_until=0.0))
        self.store.put_job(job.number, settled=True, stayed=stayed)

    def _note(self, job: Job, why: str) -> None:
        """Add a line to the desk's journal."""
        step = Told(id=f"{job.id}-stays", at=self.clock.now(), why=why)
        (row,) = self.store.begin([(job.desk, step)], self.clock.now())
        self.on_row(self.store.end(row, Done(id=job.id), self.clock.now()))

    # ---- listening -----------------------------------------------------------------------------------

    def _listen(
        self, job: Job, offset: int, on_output: Callable[[bytes], None]
    ) -> tuple[int, Mapping[str, SeenJob] | None]:
        desk = self.store.find(job.desk)
        access = self.access(desk) if desk else None
        if access is None:
            return offset, None
        before, began = offset, self.clock.now()
        offset, looked = job_runner.follow(access, job.id, offset, on_output)
        if looked is not None:
            return offset, _by_id(looked)
        if offset == before and self.clock.now() - began < 1.0:
            self.clock.sleep(0.5)  # the connection failed at once
        return offset, None

    def _last_words(
        self, job: Job, offset: int, seen: SeenJob | None, on_output: Callable[[bytes], None]
    ) -> int:
        desk = self.store.find(job.desk)
        access = self.access(desk) if desk else None
        if access is None or desk is None or desk.goal is not Goal.RUNNING:
            return offset
        if seen is not None and seen.log_bytes == offset:
            return offset  # all was heard
        return job_runner.follow(access, job.id, offset, on_output, to_the_end=False)[0]


def _by_id(looked: job_runner.Looked) -> dict[str, SeenJob]:
    return {job.id: job for job in looked.jobs}
