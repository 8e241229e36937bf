"""hotdesk notebook"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from hotdesk.cli.ui import browser, options, render
from hotdesk.core.errors import Usage
from hotdesk.services.notebook import password

if TYPE_CHECKING:
    from hotdesk.services.shapes import Jupyter


@click.command()
@options.name_or_only
@click.option("--url", "only_url", is_flag=True, help="Print only the URL.")
@click.option("--password", "only_password", is_flag=True, help="Print only the password.")
@options.public
@click.option("--private", is_flag=True, help="Revoke public access: ssh tunnel only, the default.")
@options.as_json
def command(
    name: str | None, *, only_url: bool, only_password: bool, public: str, private: bool, as_json: bool
) -> None:
    """Open the desk's Jupyter in your browser, through an ssh tunnel if the desk is remote.

    --public also exposes it on the instance's public IP, port 8888, with TLS and the password, to the IP
    you call from. It stays public until --private, across park and resume.
    """
    if private and public:
        raise Usage("--private and --public contradict each other.", "", "hotdesk notebook --private")
    from hotdesk.loop import watcher

    with options.open_desks() as desks:
        desk = desks.services.store.desk(name or desks.services.goals.only())
        if only_password and not as_json:
            render.echo(password(desk.name, desks.services.notebooks.password_file(desk)))
            return
        shown = desks.notebook(desk.name, public=public, private=private)
        if private:
            render.note(f"{desk.name}'s Jupyter is reached through ssh only.")
        if desk.lease_hours:  # somebody must renew it while the tunnel is open
            watcher.ask_for(desks.services.store, forever=False)
    if as_json:
        answer: Jupyter = {
            "desk": shown.desk,
            "url": shown.url,
            "password_file": shown.password_file,
            "public": shown.public,
        }
        if only_password:
            answer["password"] = shown.password
        render.json(answer)
        return
    render.echo(shown.url)
    if only_url:
        return
    if shown.public:
        options.say_public(shown.public)
    secret = shown.password
    if sys.stdout.isatty():
        render.note(f"The password: {render.style(secret, 'bold', stream=sys.stderr)}")
        browser.show(shown.url)
    else:
        render.note(f"The password is in {shown.password_file}")
