"""What a desk's machines have cost, from the journal."""

from __future__ import annotations

from collections.abc import Iterable

from hotdesk.core.steps import Delete, Launch, Row, Start, Stop


def compute_usd(rows: Iterable[Row], now: float, running: bool) -> float:
    """Compute charges of one desk's journal rows, in US dollars: hours between power-on and power-off.

    `now` ends the last interval when a machine is still `running`; otherwise its last row does. Disks and
    images are not in it.
    """
    price: dict[str, float] = {}
    since: dict[str, float] = {}
    total, last = 0.0, 0.0

    def charge(machine: str, until: float) -> None:
        nonlocal total
        began = since.pop(machine, None)
        if began is not None:
            total += price.get(machine, 0.0) * max(0.0, until - began) / 3600

    for row in rows:
        last = row.ended_at or row.at
        if not row.done:
            continue
        match row.step:
            case Launch(order=order) if row.outcome:
                price[row.outcome.id] = order.offer.usd_per_hour
                since[row.outcome.id] = row.at
            case Start(id=id_):
                since.setdefault(id_, row.at)
            case Stop(id=id_) | Delete(id=id_):
                charge(id_, last)
    for machine in list(since):
        charge(machine, now if running else last)
    return total
