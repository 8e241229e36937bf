"""hotdesk show"""

from __future__ import annotations

import click

from hotdesk.cli.commands import ls
from hotdesk.cli.commands.log import line
from hotdesk.cli.ui import options, render
from hotdesk.core.model import Desk
from hotdesk.services import forms
from hotdesk.services.limits import limits_words
from hotdesk.services.view import View


@click.command()
@options.name_or_only
@options.as_json
def command(name: str | None, as_json: bool) -> None:
    """Show one desk and the last lines of its journal."""
    with options.open_desks() as desks:
        options.say_frozen(desks)
        view = desks.show(name)
        rows = desks.log(view.name, limit=20)
        now, desk = desks.services.clock.now(), desks.services.store.find(view.name)
        jobs = desks.services.store.jobs(view.name, unsettled=True)
        ports = desks.services.forwarding.listed(view.name)
        password = desks.services.state / "desks" / view.name / "notebook-password"
    if as_json:
        render.json(forms.shown(view, rows, ports))
        return
    price = render.per_hour(view.usd_per_hour, view.told_per_hour)
    price += f" ({render.as_of(view.price_time)})" if view.price_time else ""
    price += ", although it is off" if view.charged_while_off else ""
    facts = {
        "goal": view.goal,
        "phase": ls.word(view) + (f" ({view.why})" if view.why else ""),
        "where": ls.place(view),
        "machine": view.instance_type + (f", {view.gpu}" if view.gpu else ""),
        "price": price if view.instance_type else "",
        "cost": f"{view.cost_told or render.usd(view.cost_usd)} so far" if view.cost_usd else "",
        "storage": render.money(view.usd_per_month, view.told_per_month, " a month") + " for disks and images"
        if view.usd_per_month
        else "",
        "running": f"for {render.duration(now - view.since)}" if view.phase == "ready" else "",
        **(limits_words(desk, now) if desk else {}),
        **({"idle": idle(view, desk, now)} if desk and view.idle_seconds is not None else {}),
        "released": f"{render.moment(view.released_at)}, with its disk, unless its lease is renewed"
        if view.released_at
        else "",
        "ends": f"{render.moment(view.ends_at)}: its cloud ends the machine then, and the disk stays"
        if view.ends_at
        else "",
        "stay": f"for another {render.duration(view.stays_seconds, 2)}" if view.stays_seconds else "",
        "jobs": "; ".join(f"{job.number}: {' '.join(job.words.split())}" for job in jobs),
        "image": view.image,
        "beside": ", ".join(view.kept),
        "notebook": view.notebook,
        "password": f"in {password}" if view.notebook else "",
        "ports": "; ".join(f"{p.url} is {p.there}{f' ({p.why})' if p.why else ''}" for p in ports),
        "open to": ", ".join(view.open_to),
        "ssh": view.ssh,
    }
    facts |= {r.topic: r.text + (f" ({r.fix})" if r.fix else "") for r in view.remarks}
    render.echo(render.style(view.name, "bold"))
    for key, value in facts.items():
        if value:
            begin, text = f"  {render.style(key.ljust(8), 'dim')}  ", render.safe(str(value))
            render.echo(begin + text if key == "ssh" else render.hanging(begin, text))  # a line to paste
    for r in rows:
        render.echo(line(r))


def idle(view: View, desk: Desk, now: float) -> str:
    """For how long nothing has worked at a desk, as it last told, and its limit."""
    seconds, at = view.idle_seconds or 0.0, view.idle_at or 0.0
    told = f"for {render.duration(seconds)}" if seconds else "no"
    old = f" (not known since {render.moment(at)})" if now - at > ls.OLD_SECONDS else ""
    limit = limits_words(desk, now)["idle"]
    return f"{told}{old}, {'never parks by itself' if limit == 'never' else f'parks after {limit}'}"
