"""What the page only reads: each is one method of `Hotdesk`, as `--json` gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hotdesk.api import Hotdesk
from hotdesk.core.errors import HotdeskError, Usage
from hotdesk.services import forms, reached
from hotdesk.web import choosing, settings, starting, sweeping
from hotdesk.web.numbers import whole

if TYPE_CHECKING:
    from hotdesk.services.move_shapes import KeptImages
    from hotdesk.services.shapes import Bill, Entry, JobRow

Words = Mapping[str, str]


def costs(desks: Hotdesk, said: Words) -> Bill:
    """The bill, by day or month."""
    by = said.get("by", "month")
    if by not in {"day", "month"}:
        raise Usage(f"{by[:20]!r} is no period.", "Bills are by day or by month.", "by=day")
    return forms.bill(desks.costs(said.get("name") or None, by=by))


def left_over(desks: Hotdesk, said: Words) -> dict[str, Any]:
    """What no desk needs; nothing is deleted."""
    return forms.orphans(desks.gc())


def jobs(desks: Hotdesk, said: Words) -> list[JobRow]:
    """The newest jobs, with what their desks say of them."""
    limit = whole(said.get("limit", ""))
    return [forms.job(view) for view in desks.jobs(said.get("name") or None, 100 if limit is None else limit)]


def log(desks: Hotdesk, said: Words) -> list[Entry]:
    """A desk's journal."""
    return [forms.row(row) for row in desks.log(said.get("name") or None)]


def show(desks: Hotdesk, said: Words) -> dict[str, Any]:
    """A desk, with what it says of itself."""
    return forms.desk(desks.show(said.get("name") or None))


def now(desks: Hotdesk, said: Words) -> dict[str, Any]:
    """What a desk is doing: its load, what works there, what is open, and for how long it stays."""
    services = desks.services
    desk = services.store.desk(said.get("name", ""))
    load, why, remarks = None, "", list[dict[str, str]]()
    try:
        [top] = desks.top(desk.name)
        load, why = forms.top(top)["load"], top.why
        remarks = [
            {"topic": r.topic, "text": r.text, "fix": r.fix}
            for r in reached.remarks(services, desk, top.view.gpu)
        ]
    except HotdeskError as error:  # it may be ending just now
        why = f"{error.what} {error.why}"
    work = services.work.at_work(desk)
    return {
        "load": load,
        "works": work.works,
        "unsaved": work.unsaved,
        "open": work.open,
        "stays_seconds": services.staying.stays(desk),
        "why": why,
        "remarks": remarks,
    }


def images(desks: Hotdesk, said: Words) -> KeptImages:
    """The images of desks: where each is, what it costs, and until when it stays."""
    return desks.images(said.get("name") or None)


def doctor(desks: Hotdesk, said: Words) -> Any:
    """What is wrong, why, and how to mend it."""
    from msgspec import to_builtins

    return to_builtins(desks.doctor(said.get("name") or None))


def clouds(desks: Hotdesk, said: Words) -> dict[str, Any]:
    """Where a desk can be, and where one is that nobody says it of."""
    from hotdesk.core.clouds import KNOWN
    from hotdesk.services.goals import ANY

    known = [
        {"name": name, "label": cloud.label, "rented": cloud.rented, "machines": bool(cloud.machines)}
        for name, cloud in KNOWN.items()
    ]
    known.append(
        {"name": ANY, "label": ANY, "rented": True, "machines": False}
    )  # the best of them: see services/anywhere.py
    return {"clouds": known, "usual": desks.services.goals.provider("")}


def logs(desks: Hotdesk, said: Words) -> dict[str, Any]:
    """What a job has said from a place on, in characters; `lacks` tells what of it is elsewhere."""
    number = whole(said.get("job", ""))
    parts: list[bytes] = []
    jobs = desks.services.jobs
    lacks = jobs.log(desks.services.store.job(said.get("name", ""), number), parts.append)
    return _after(b"".join(parts), said, lacks)


def sweep_logs(desks: Hotdesk, said: Words) -> dict[str, Any]:
    """What a task of a sweep has said from a place on, in characters."""
    return _after(sweeping.log(desks, said), said)


def _after(log: bytes, said: Words, lacks: str = "") -> dict[str, Any]:
    after = whole(said.get("after", "")) or 0
    text = log.decode("utf-8", "replace")
    return {"text": text[after:], "length": len(text), "lacks": lacks}


def top(desks: Hotdesk, said: Words) -> list[dict[str, Any]]:
    """What desks are doing now; or the curves of a job, also of one that has ended."""
    job = whole(said.get("job", ""))
    return [forms.top(one) for one in desks.top(said.get("name") or None, job=job)]


QUESTIONS: dict[str, Callable[[Hotdesk, Words], Any]] = {
    "clouds": clouds,
    "costs": costs,
    "doctor": doctor,
    "gc": left_over,
    "images": images,
    "jobs": jobs,
    "log": log,
    "logs": logs,
    "now": now,
    "offers": choosing.offers,
    "regions": choosing.regions,
    "run-choices": starting.choices,
    "settings": settings.read,
    "show": show,
    "spot": choosing.spot,
    "sweep": sweeping.sweep,
    "sweep-logs": sweep_logs,
    "sweeps": sweeping.sweeps,
    "top": top,
}
