"""The documents that `--json` prints and the page reads; their shapes are in shapes.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import asdict

if TYPE_CHECKING:
    from hotdesk.core.billing.statement import Line
    from hotdesk.core.steps import Row
    from hotdesk.services.billing import Statement
    from hotdesk.services.cleanup import Orphans
    from hotdesk.services.forwarding import Forward
    from hotdesk.services.jobs import JobView
    from hotdesk.services.shapes import Bill, BillLine, Copied, Entry, JobRow, Port
    from hotdesk.services.tops import Top
    from hotdesk.services.view import View


def whole(value: msgspec.Struct) -> Any:
    """A record with all its fields, those too that have their defaults."""
    return asdict(value)


def desk(view: View) -> dict[str, Any]:
    """A desk."""
    told: dict[str, Any] = msgspec.to_builtins(view)
    return told


def shown(view: View, rows: Sequence[Row], ports: Sequence[Forward]) -> dict[str, Any]:
    """A desk, with its forwarded ports and these rows of its journal."""
    more = {"forwards": [forward(port) for port in ports], "journal": [row(one) for one in rows]}
    return desk(view) | more


def row(row: Row) -> Entry:
    """A row of the journal."""
    outcome = row.outcome
    return {
        "id": row.id,
        "at": row.at,
        "desk": row.desk,
        "step": type(row.step).__name__.lower(),
        "key": row.step.key,
        "why": row.step.why,
        "status": outcome.status if outcome else "begun",
        "thing": row.made,
        "message": row.said,
        "ended_at": row.ended_at,
    }


def forward(forward: Forward) -> Port:
    """A port of a desk at this computer's loopback."""
    return {
        "desk": forward.desk,
        "here": forward.here,
        "there": forward.there,
        "url": forward.url,
        "open": not forward.why,
        "why": forward.why,
        "direct": forward.direct,
    }


def top(top: Top) -> dict[str, Any]:
    """A desk and what it is doing. Sizes in bytes, shares from 0 to 1; null is what is not known."""
    load = top.load
    return {
        "desk": desk(top.view),
        "why": top.why,
        "load": load and {**asdict(load), "gpus": [asdict(gpu) for gpu in load.gpus]},
        "jobs": [asdict(job) for job in top.jobs],
        "curves": [asdict(curve) for curve in top.curves],
    }


def job(view: JobView) -> JobRow:
    """A job, by this computer's clock."""
    job, seen = view.job, view.seen
    result = job.result
    median = seen.median_checkpoint_seconds if seen else None
    return {
        "job": job.number,
        "id": job.id,
        "desk": job.desk,
        "command": job.words,
        "state": view.state,
        "exit_status": result.exit_status if result else None,
        "why": result.why if result else "",
        "seconds": result.seconds if result else seen.seconds if seen else 0.0,
        "usd": result.usd if result else 0.0,
        "attempts": result.attempts if result else seen.attempt if seen else 0,
        "checkpoints": result.checkpoints if result else seen.checkpoints if seen else 0,
        "checkpoint_seconds": result.checkpoint_seconds if result else median,
        "last_line": result.last_line if result else seen.last_line if seen else "",
        "fetched": list(job.fetched),
        "asked_at": job.created_at,
        "ended_at": result.at if result else None,
        "then": str(job.then or "stay"),
        "deadline_at": job.deadline_at,
        "settled": job.settled,
    }


def bill(bill: Statement, compared_with: str = "") -> Bill:
    """A bill, in US dollars. `compared_with`: the cloud whose own it was compared with."""
    return {
        "currency": "USD",
        "lines": [_bill_line(line) for line in bill.lines],
        "usd": bill.usd,
        "this_month_usd": bill.this_month_usd,
        "budget_usd": bill.budget_usd,
        "stored_usd_per_month": bill.stored_usd_per_month,
        "stored_besides": [str(amount) for amount in bill.stored_besides],
        "stored_here": bill.stored_here,
        "besides": [str(amount) for amount in bill.besides],
        "not_counted": list(bill.not_counted),
        "at_launch_prices": list(bill.at_launch_prices),
        "compared": [
            {"desk": c.desk, "here": c.here, "theirs": c.theirs, compared_with: c.theirs}
            for c in bill.compared
            if compared_with
        ],
    }


def _bill_line(line: Line) -> BillLine:
    told: BillLine = {**asdict(line), "usd": line.usd}  # type: ignore[typeddict-item]
    return told


def orphans(found: Orphans) -> dict[str, Any]:
    """What no desk needs."""
    from hotdesk.services.orphans import as_dict

    return {
        "things": [{**as_dict(t), "deleted": found.deleted.get(t.id) == ""} for t in found.things],
        "usd_per_month": found.usd_per_month,
        "unread": [f"{u.where} ({u.what})" if u.what else u.where for u in found.unread],
        "retained": [{name: getattr(r, name) for name in r.__struct_fields__} for r in found.retained],
    }


def copied(
    desk: str,
    to: str,
    names: Sequence[str],
    *,
    size: int | None = None,
    beside: Mapping[str, str] = MappingProxyType({}),
    kept: Sequence[str] = (),
    dry_run: bool = False,
) -> Copied:
    """A copy to a desk or from it."""
    return {
        "desk": desk,
        "to": to,
        "files": list(names),
        "bytes": size,
        "beside": dict(beside),
        "kept": list(kept),
        "dry_run": dry_run,
    }
