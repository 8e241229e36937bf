"""hotdesk gc"""

from __future__ import annotations

import click

from hotdesk.cli.ui import options, render
from hotdesk.core.clouds import cloud
from hotdesk.core.money import sums
from hotdesk.services import forms


@click.command()
@click.option("--yes", "-y", is_flag=True, help="Delete what is safe to delete.")
@click.option("--dry-run", is_flag=True, help="List only; this is also the behaviour without --yes.")
@options.as_json
@click.pass_context
def command(ctx: click.Context, yes: bool, dry_run: bool, as_json: bool) -> None:
    """List orphaned resources in every cloud and region: what they cost and why they can go.

    Deletes only with --yes, and then only what holds no unique data. Ignores resources that are not
    hotdesk's. Exits with 5 if a cloud or region could not be listed.
    """
    with options.open_desks() as desks:
        orphans = desks.gc(delete=yes and not dry_run)
        others = desks.services.clouds.others()
    found, unread, done = orphans.things, orphans.unread, orphans.deleted
    if as_json:
        render.json(forms.orphans(orphans))
    else:
        if found:
            heads = ["", "WHAT", "ID", "DESK", "WHERE", "AGE", "$/MONTH", "WHY"]
            rows = [
                [
                    render.style("✗", "red") if t.safe else render.style("?", "yellow"),
                    t.kind,
                    render.safe(t.id),
                    render.safe(t.desk),
                    f"{t.provider}/{t.region}",
                    render.duration(t.age_seconds, 1) if t.age_seconds is not None else "",
                    str(t.told_per_month or f"{t.usd_per_month:.2f}"),
                    render.safe(f"not deleted: {done[t.id]}" if done.get(t.id) else t.why),
                ]
                for t in found
            ]
            render.echo(render.table(heads, rows, right=("AGE", "$/MONTH")))
            may = [t for t in found if t.safe]
            if done:
                gone = sum(not why for why in done.values())
                render.echo(f"{gone} of {len(may)} deleted.")
            elif may:
                usd, besides = sums((t.usd_per_month, t.told_per_month) for t in may)
                month = " and ".join([render.money(usd)] * bool(usd or not besides) + [*map(str, besides)])
                render.echo(f"{len(may)} may go, {month} a month. Nothing was deleted; to do it:")
                render.echo("  " + render.style("hotdesk gc --yes", "cyan"))
            for t in found:
                if not t.safe and t.fix:
                    render.echo(f"? {render.safe(t.id)}: " + render.style(t.fix, "cyan"))
        elif all(not cloud(u.where).rented or "/" in u.where for u in unread):
            render.echo(
                "Nothing is left over." if not unread else "Nothing is left over where we could look."
            )
        render.others(others)
        blind = {u.where for u in unread}  # of these more is said below
        render.retained(orphans.retained, [where for where in orphans.retained_unread if where not in blind])
        for u in unread:
            if u.what:
                render.note(f"{u.where} was not looked at: {render.safe(u.what)}")
                render.note("  " + render.style(u.fix, "cyan"))
            else:
                render.note(f"{u.where} did not answer: what is there is not known.")
    if unread or any(done.values()):
        ctx.exit(5)
