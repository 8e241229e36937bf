"""What a person is told who is not looking: which events, and in which words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from hotdesk.core import lengths, wire
from hotdesk.core.jobs import Job
from hotdesk.core.model import Value
from hotdesk.core.steps import Begin, Row, Told

#: Events, as `[notify] on` names them.
EVENTS = {
    "job": "a job has ended",
    "idle": "a desk is about to stop, idle or at one of its limits",
    "interruption": "a spot machine is taken back, a capacity block ends, or a job goes on after that",
    "budget": "80 % of the month's budget, or of a job's, are spent",
    "up": "a desk is up that was waited for",
}
OLD_SECONDS = 900.0  # what a desk reports later is no news
_NOTICES = ("terminate-", "stop-", "hibernate-", "rebalance-", "end-")  # events of the guest agent


class Notify(Value, frozen=True):
    """`[notify]` of hotdesk.toml: what is told, and how."""

    on: tuple[str, ...] = tuple(EVENTS)
    desktop: bool = False  # a desktop notification
    bell: bool = False  # the terminal that hotdesk was started in
    command: str = ""  # a shell line; HOTDESK_EVENT, HOTDESK_DESK, HOTDESK_TITLE and HOTDESK_TEXT are set
    webhook: str = ""  # http or https
    webhook_body: str = ""  # with {event}, {desk}, {title} and {text}; "": all of them, as JSON

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(name for name in ("desktop", "bell", "command", "webhook") if getattr(self, name))


#: What `--notify` means without a [notify] that names a channel.
PLAIN = Notify(desktop=True, bell=True)


class Notice(Value, frozen=True):
    """One thing to tell. Who has the id has told it."""

    id: str
    event: str  # of `EVENTS`
    desk: str
    title: str
    text: str


def of_row(row: Row) -> Notice | None:
    """What a row of the journal tells a person who is not looking."""
    event, title = "", ""
    match row.step:
        case Told(age_seconds=age) if age > OLD_SECONDS:
            return None  # of the desk's last machine, perhaps: it is heard now because the desk is back
        case Told(id=id_) if id_.startswith("warned-"):
            event, title = "idle", f"{row.desk} is about to stop"
        case Told(id=id_) if id_.startswith("ends-"):
            event, title = "interruption", f"the machine of {row.desk} is about to be ended"
        case Told(id=id_) if id_.startswith(_NOTICES) and not id_.endswith("-done"):
            event, title = "interruption", f"{row.desk} is interrupted"
        case Told(id=id_) if id_.startswith("budget-of-"):
            event, title = "budget", f"{row.desk}: 80 % of a job's budget"
        case Told(id=id_) if id_.startswith("budget-"):
            event, title = "budget", "80 % of this month's budget"
        case Begin(attempt=attempt) if attempt > 1:
            event, title = "interruption", f"{row.desk}: job {row.step.id.partition('-')[0]} goes on"
    if not event:
        return None
    return Notice(id=f"row-{row.id}", event=event, desk=row.desk, title=title, text=row.step.why)


def of_job(job: Job) -> Notice | None:
    """What the end of a job tells."""
    result = job.result
    if result is None:
        return None
    how = "was cancelled" if job.cancelled else "is done" if result.exit_status == 0 else "has failed"
    if result.exit_status is None and not job.cancelled:
        how = "never finished"
    cost = f", ${result.usd:,.2f}" if result.usd else ""  # none, or in a currency without a rate
    said = [" ".join(job.words.split())[:200], f"{lengths.said(result.seconds)}{cost}"]
    if result.exit_status:
        said.append(f"exit status {result.exit_status}")
    said += [part for part in (result.why, result.last_line) if part]
    return Notice(
        id=f"job-{job.id}",
        event="job",
        desk=job.desk,
        title=f"{job.desk}: job {job.number} {how}",
        text="\n".join(said),
    )


def wanted(notice: Notice, settings: Notify, asked: Iterable[Job]) -> bool:
    """Whether a notice is told: [notify] names a way and the event, or a job was run with --notify.

    `asked`: the jobs that were. Their desk's events are told until they have ended, and their end.
    """
    if settings.channels and notice.event in settings.on:
        return True
    mine = [job for job in asked if job.desk == notice.desk]
    if notice.event == "job":
        return any(notice.id == f"job-{job.id}" for job in mine)
    return any(job.result is None for job in mine)


def body(notice: Notice, template: str) -> tuple[str, str]:
    """The body of a webhook's request, and its content type: JSON where the template is."""
    known = {"event": notice.event, "desk": notice.desk, "title": notice.title, "text": notice.text}
    if not template:  # "text" is what Slack and Mattermost show, "content" what Discord does
        said = f"{notice.title}\n{notice.text}"
        return _json({**known, "text": said, "content": said}), "application/json"
    try:
        return _json(_filled(wire.json(template), known)), "application/json"
    except msgspec.DecodeError:
        return str(_filled(template, known)), "text/plain; charset=utf-8"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _filled(value: Any, known: Mapping[str, str]) -> Any:
    match value:
        case dict():
            return {key: _filled(part, known) for key, part in value.items()}
        case list():
            return [_filled(part, known) for part in value]
        case str():
            for name, text in known.items():
                value = value.replace("{" + name + "}", text)
            return value
    return value
