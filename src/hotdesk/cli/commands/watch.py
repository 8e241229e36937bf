"""hotdesk watch"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hotdesk.cli.ui import options, render
from hotdesk.cli.ui.live import Live
from hotdesk.core.clouds import cloud
from hotdesk.core.errors import Unknown, Usage
from hotdesk.services import forms

if TYPE_CHECKING:
    from hotdesk.api import Hotdesk
    from hotdesk.core.steps import Row
    from hotdesk.services.shapes import Watcher
    from hotdesk.services.view import View


@click.command()
@click.argument("names", nargs=-1, type=options.DeskName())
@click.option("--once", is_flag=True, help="Exit once every desk is in its goal state.")
@click.option("--detach", is_flag=True, help="Run in the background for all desks; restarted if it dies.")
@click.option(
    "--on", "post", type=options.DeskName(), metavar="NAME", help="Run on this desk, for all cloud desks."
)
@click.option("--send-credentials", is_flag=True, help="Send this computer's cloud credentials to that desk.")
@click.option(
    "--send-secrets", is_flag=True, help="Send the values of jobs' variables, into that desk's memory only."
)
@click.option("--stop", is_flag=True, help="Stop the background watcher; with --on, the one on that desk.")
@click.option("--systemd", is_flag=True, help="Print a systemd user unit for the background watcher.")
@click.option("--alone", is_flag=True, hidden=True)
@click.option("--left", is_flag=True, hidden=True)
@options.yes
@options.as_json
def command(
    names: tuple[str, ...],
    *,
    once: bool,
    detach: bool,
    post: str | None,
    send_credentials: bool,
    send_secrets: bool,
    stop: bool,
    systemd: bool,
    alone: bool,
    left: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Watch desks until Ctrl-C: finish pending steps, recover interruptions, run queued jobs.

    Without NAMES: all desks.
    """
    if systemd:
        from hotdesk.loop import watcher
        from hotdesk.system import state_folder

        render.echo(watcher.unit(state_folder()).rstrip())
        return
    with Live() as live, options.open_desks(live) as desks:
        if left:
            desks.services.park_left()
            return
        if post:
            _back(desks, post) if stop else _send(desks, post, send_credentials, send_secrets, yes=yes)
            if as_json:
                _answer(desks)
            return
        if detach or stop or alone:
            from hotdesk.loop import watcher

            if alone:
                desks.services.watch_alone()
            elif stop:
                there = watcher.dismiss(desks.services.store)
                if as_json:
                    _answer(desks)
                    return
                render.echo("The watcher has ended." if there else "There was no watcher.")
            else:
                pid = watcher.ask_for(desks.services.store, forever=True).partition(" ")[0]
                if as_json:
                    _answer(desks, int(pid))
                    return
                render.echo(f"Process {pid} watches all desks. It ends with: hotdesk watch --stop")
                render.note("Over logouts and restarts of this computer: hotdesk watch --systemd")
            return
        if once:
            views: list[View] = []
            for name in names or [d.name for d in desks.services.store.desks()]:
                views.append(desks.services.pursuit.pursue(desks.services.store.desk(name)))
                if not as_json:
                    render.echo(f"{name} is {views[-1].state}.")
            if as_json:
                render.json(views)
            return
        for name in names:
            desks.services.store.desk(name)
        if as_json:
            desks.services.on_row = _line
        render.note("Watching. Ctrl-C ends the watching, and changes nothing else.")
        desks.watch(names or None)


def _line(row: Row) -> None:
    if row.outcome:
        render.json_line(forms.row(row))


def _answer(desks: Hotdesk, started: int | None = None) -> None:
    """Which watcher there is now. `started`: one that begins just now."""
    from hotdesk.loop import remote_watcher, watcher

    store = desks.services.store
    sent = remote_watcher.away(store)
    pid = started or int(store.holder(watcher.LOCK).partition(" ")[0] or 0) or None
    there: Watcher = {
        "running": bool(sent or pid),
        "pid": pid,
        "on": sent.desk if sent else "",
        "watches": list(sent.names) if sent else [],
    }
    render.json(there)


def _send(desks: Hotdesk, name: str, send_credentials: bool, send_secrets: bool, *, yes: bool) -> None:
    from hotdesk.loop import remote_watcher, watcher
    from hotdesk.providers import registry
    from hotdesk.services import sweep_watch
    from hotdesk.services.limits import Limits
    from hotdesk.system import config_files

    services = desks.services
    desk = services.store.desk(name)
    if known := remote_watcher.away(services.store):
        raise Usage(
            f"There is a watcher at {known.desk} already.",
            "Two of them would know different things.",
            f"hotdesk watch --stop --on {known.desk}",
        )
    others = [d for d in services.store.desks() if d.name != name and cloud(d.provider).rented]
    names = dict.fromkeys(d.provider for d in others if send_credentials)
    lent = {n: registry.lend(cloud(n), services.config.cloud(n)) for n in names}
    sent_too = {name: credentials for name, credentials in lent.items() if credentials}
    what = f"hotdesk, the rows and the ssh keys of {', '.join(d.name for d in others)}" if others else ""
    given = remote_watcher.with_variables(services.store, name)
    values = "; ".join(f"{', '.join(job.variables)} of job {job.number}" for job in given)
    if what:
        what += f", and the values of {values}" if given and send_secrets else ""
        what += "".join(f", and {one.label}" for one in sent_too.values())
        flags = "--send-credentials " * send_credentials + "--send-secrets " * send_secrets
        again = f"hotdesk watch --on {name} {flags}--yes"
        options.agreed(
            f"{what} go to {name}. Everybody who can log in there can use them. Go on?", yes, again
        )
    # A desk that parks itself when idle cannot run the watcher.
    limits = Limits(idle_minutes=0.0, lease_hours=0.0) if cloud(desk.provider).rented else None
    desks.up(name, limits=limits)
    place = remote_watcher.WatcherHost(services.access(name), frozenset(d.provider for d in others))
    config = next((path for path in config_files() if path.is_file()), None)
    variables = given if send_secrets else ()
    chosen = sweep_watch.watched(services.sweeps, [d.name for d in others])
    with sweep_watch.handing_over(services.sweeps, chosen, name) as (write, give):
        handed = remote_watcher.Sweeps(write, give)
        sent, whose = remote_watcher.send(services.store, place, config, sent_too, variables, sweeps=handed)
    watcher.dismiss(services.store)
    render.echo(f"A watcher at {name} looks after {', '.join(sent.names)}. This computer may be closed.")
    if whose:
        render.echo(f"  It uses {whose}.")
    if chosen:
        numbers = " and ".join(str(sweep.number) for sweep in chosen)
        render.echo(f"  It goes on with sweep {numbers}, too.")
    if stays := sweep_watch.staying(services.sweeps, [d.name for d in others]):
        render.note(stays)
    if given and not send_secrets:
        render.note(
            f"These values stay here: {values}. After an interruption, the job waits for this computer."
        )
    render.echo(f"  hotdesk watch --stop --on {name}   ends it, and brings back what it knows")


def _back(desks: Hotdesk, name: str) -> None:
    from hotdesk.cli.commands.run import report
    from hotdesk.loop import remote_watcher
    from hotdesk.services import sweep_watch

    services = desks.services
    sent = remote_watcher.away(services.store)
    if sent is None or sent.desk != name:
        where = f"hotdesk watch --stop --on {sent.desk}" if sent else "hotdesk watch --stop"
        raise Unknown(f"No watcher was sent to {name}.", "", where)
    clouds = frozenset(d.provider for d in services.store.desks() if d.name in sent.names)
    came: list[int] = []
    services.notices.begin()
    last_row = max((row.id for row in services.store.rows(limit=1)), default=0)
    ended = remote_watcher.bring_back(
        services.store,
        remote_watcher.WatcherHost(services.access(name), clouds),
        sent,
        lambda state: came.extend(sweep_watch.bring_back(services.sweeps, state)),
    )
    services.notices.known_elsewhere(last_row, ended)
    render.echo(f"The watcher at {name} has ended, and what it did is known here.")
    for number in came:
        render.echo(f"Sweep {number}: hotdesk sweep show {number}")
    for job in ended:
        report(job)
