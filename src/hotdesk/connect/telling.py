"""Ways to tell a person: a desktop notification, the bell, a command of theirs, a webhook.

Each returns "" once it has told, else why it could not.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from hotdesk.core.notices import Notice, Notify, body

TERMINAL = "HOTDESK_TERMINAL"  # in the environment of a background process: where it was started
_SECONDS = 30.0
_WEB_SECONDS = 10.0
#: macOS: the texts are arguments, never part of the script.
_SCRIPT = "on run told\ndisplay notification (item 2 of told) with title (item 1 of told)\nend run"


def tell(notice: Notice, settings: Notify, channel: str) -> str:
    """Tell it by one channel."""
    ways: dict[str, Callable[[Notice, Notify], str]] = {
        "desktop": _desktop,
        "bell": _bell,
        "command": _command,
        "webhook": _webhook,
    }
    return ways[channel](notice, settings)


def terminal() -> str:
    """The terminal that this process, or the one that began it, was started in; "" for none."""
    for fd in (2, 1, 0):
        with contextlib.suppress(OSError):
            return os.ttyname(fd)
    return os.environ.get(TERMINAL, "")


def _desktop(notice: Notice, settings: Notify) -> str:
    if sys.platform == "darwin":
        return _run(["osascript", "-e", _SCRIPT, notice.title, notice.text])
    if shutil.which("notify-send") is None:
        return "there is no notify-send (apt-get install libnotify-bin)"
    return _run(["notify-send", "--app-name=hotdesk", "--", notice.title, notice.text])


def _bell(notice: Notice, settings: Notify) -> str:
    path = terminal()
    try:
        if not path or Path(path).stat().st_uid != os.getuid():  # its number is somebody else's by now
            return "there is no terminal of yours to ring at"
        fd = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            os.write(fd, b"\a")
        finally:
            os.close(fd)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _command(notice: Notice, settings: Notify) -> str:
    told = {"EVENT": notice.event, "DESK": notice.desk, "TITLE": notice.title, "TEXT": notice.text}
    return _run(["/bin/sh", "-c", settings.command], {f"HOTDESK_{name}": text for name, text in told.items()})


def _run(argv: Sequence[str], more: dict[str, str] | None = None) -> str:
    null, environment = subprocess.DEVNULL, {**os.environ, **(more or {})}
    try:
        # A file and no pipe: what it leaves in the background (a player, say) would hold that open.
        with tempfile.TemporaryFile() as said:
            done = subprocess.run(
                argv, env=environment, stdin=null, stdout=null, stderr=said, timeout=_SECONDS, check=False
            )
            said.seek(0)
            words = said.read().decode("utf-8", "replace").strip().splitlines()
    except subprocess.TimeoutExpired:
        return f"{argv[0]} took more than {_SECONDS:.0f} s"
    except OSError as error:
        return f"{argv[0]}: {error.strerror}"
    if done.returncode == 0:
        return ""
    return words[-1] if words else f"{argv[0]} ended with {done.returncode}"


def _webhook(notice: Notice, settings: Notify) -> str:
    text, kind = body(notice, settings.webhook_body)
    headers = {"Content-Type": kind, "User-Agent": "hotdesk"}
    import http.client  # here: every command loads this file, and few send anything
    import urllib.error
    import urllib.parse
    import urllib.request as web

    request = web.Request(settings.webhook, text.encode(), headers, method="POST")
    host = urllib.parse.urlsplit(settings.webhook).hostname  # its path may be a secret
    # None that follows a redirect: it would arrive as a GET without the text, and count as told.
    ways = (web.ProxyHandler, web.HTTPHandler, web.HTTPSHandler, web.HTTPErrorProcessor)
    opener = web.OpenerDirector()
    for way in (*ways, web.HTTPDefaultErrorHandler):
        opener.add_handler(way())
    try:
        with opener.open(request, timeout=_WEB_SECONDS):
            return ""
    except urllib.error.HTTPError as error:
        error.close()
        return f"{host} answers {error.code} {error.reason}"
    except http.client.InvalidURL:  # its text is the path
        return f"the address of {host} has a character that no address has"
    except (OSError, http.client.HTTPException) as error:
        return f"{host} does not answer: {getattr(error, 'reason', error)}"
