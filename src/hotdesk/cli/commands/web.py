"""hotdesk web"""

from __future__ import annotations

import errno
import socket
import sys

import click

from hotdesk.cli.ui import browser, render
from hotdesk.core.errors import Busy, Missing, Usage
from hotdesk.core.loopback import usual_port
from hotdesk.system import install_line


@click.command()
@click.option("--port", type=click.IntRange(1024, 65535), metavar="N", help="Port.  [default: a stable one]")
@click.option(
    "--host", default="127.0.0.1", metavar="ADDRESS", help="Address to listen on: this computer's own only."
)
@click.option("--url", "only_url", is_flag=True, help="Print the address; open no browser.")
def command(*, port: int | None, host: str, only_url: bool) -> None:
    """Open the page: your desks, money, offers and jobs in the browser of this computer.

    The printed address lets one browser in; run the command again for another. Ctrl-C ends the page, never
    a desk. From another computer: ssh -L.
    """
    from hotdesk.system import state_folder

    folder = state_folder()
    port = port or usual_port("web", str(folder))
    _check_loopback(host, port)
    try:
        from hotdesk.web import asking, links, server
    except ModuleNotFoundError as error:
        raise Missing(
            "The page needs packages that are not installed.",
            f"There is no {error.name}; it comes with an extra of hotdesk's.",
            install_line("web"),
        ) from None
    with links.alone(folder) as mine:
        if not mine:
            serving = links.found(folder)
            if serving is None:
                raise Busy("Another `hotdesk web` is starting or ending.", "", "hotdesk web")
            _say(serving.link(), only_url)
            render.note(f"Process {serving.pid} serves it already; this address is for another browser.")
            return
        with _listen(port) as listening:
            page = server.Page(folder, listening.getsockname()[1], asking.Beside(folder))
            links.announce(folder, page.links)
            _say(page.links.serving.link(), only_url)
            render.note("Ctrl-C ends the page; desks and jobs go on.")
            try:
                server.serve(page, listening)
            finally:
                if going := " ".join(sorted(set(page.acts.going))):
                    render.note(f"\nNot finished yet; this goes on with it: hotdesk watch {going}")


def _check_loopback(host: str, port: int) -> None:
    if host not in {"127.0.0.1", "localhost"}:
        raise Usage(
            f"The page does not listen on {host}.",
            "It can spend your money, so it answers this computer only. From another one, ssh leads to it.",
            f"ssh -L {port}:127.0.0.1:{port} {socket.gethostname()} hotdesk web --port {port} --url",
        )


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port), backlog=128)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise Missing(
            f"Port {port} is in use.", "Another program listens there.", f"hotdesk web --port {port + 1}"
        ) from None


def _say(url: str, only_url: bool) -> None:
    render.echo(url)
    if not only_url and sys.stdout.isatty():
        browser.show(url)
