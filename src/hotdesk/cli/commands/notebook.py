"""hotdesk notebook"""

from __future__ import annotations

import os
import sys

import click

from hotdesk.api import Hotdesk
from hotdesk.cli.ui import options, render
from hotdesk.core.errors import Usage


@click.command()
@options.name_or_only
@click.option("--url", "only_url", is_flag=True, help="Print only the URL.")
@click.option("--password", "only_password", is_flag=True, help="Print only the password.")
@options.public
@click.option("--private", is_flag=True, help="Revoke public access: ssh tunnel only, the default.")
def command(name: str | None, only_url: bool, only_password: bool, public: str | None, private: bool) -> None:
    """Open the desk's Jupyter in your browser, through an ssh tunnel if the desk is remote.

    --public also exposes it on the instance's public IP, port 8888, with TLS and the password, to the IP
    you call from. It stays public until --private, across park and resume.
    """
    if private and public:
        raise Usage("--private and --public contradict each other.", "", "hotdesk notebook --private")
    from hotdesk.loop import watcher

    with Hotdesk() as desks:
        name = name or desks.only()
        if only_password:
            render.echo(desks.password(name))
            return
        if private:
            desks.hide(name)
            render.note(f"{name}'s Jupyter is reached through ssh only.")
        elif public:
            desks.publish(name, public)
        else:
            desks.republish(name)
        shown = desks.public.get(name)
        url = shown.url if shown else desks.notebook(name)
        if desks.store.desk(name).lease_hours:  # somebody must renew it while the tunnel is open
            watcher.ask_for(desks.store, forever=False)
        render.echo(url)
        if only_url:
            return
        if shown:
            options.say_public(shown)
        password = desks.password(name)
        file = desks.password_file(name)
    if sys.stdout.isatty():
        render.note(f"The password: {render.style(password, 'bold', stream=sys.stderr)}")
        if _has_browser():
            click.launch(url)
    else:
        render.note(f"The password is in {file}")


def _has_browser() -> bool:
    """Whether xdg-open can open anything. Without a screen it prints a page of complaints."""
    screens = ("DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME", "BROWSER")
    return sys.platform != "linux" or any(os.environ.get(name) for name in screens)
