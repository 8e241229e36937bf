"""JupyterLab on a rented machine: its configuration and its service."""

from __future__ import annotations

PORT = 8888
CONFIG = "/opt/hotdesk/jupyter.py"
#: Waits until this boot's cloud-init has finished, or is switched off. It writes the result at its end.
SET_UP = (
    "while [ -d /run/cloud-init ] && [ ! -e /run/cloud-init/result.json ] && "
    "[ ! -e /run/cloud-init/disabled ]; do sleep 0.3; done"
)


def config(password_hash: str) -> str:
    """jupyter_server's configuration: on the machine's own loopback, behind a password kept as a hash.

    The hash is argon2 over a random password, so the file may be read by everybody on the machine.
    Raises `ValueError` for anything that is not such a hash: a password must never be written here.
    """
    if not password_hash.startswith("argon2:$argon2id$"):
        raise ValueError("the notebook's password must be given as an argon2 hash")
    return f"""\
# Written by hotdesk. The way in is an ssh tunnel: nothing listens on an outward address.
c = get_config()  # noqa: F821
c.ServerApp.ip = "127.0.0.1"
c.ServerApp.port = {PORT}
c.ServerApp.port_retries = 0
c.ServerApp.open_browser = False
c.ServerApp.allow_remote_access = True  # the tunnel's far end calls it by another name
import secrets
c.IdentityProvider.token = secrets.token_hex(32)  # for the watch over idleness; kept in a private file
c.PasswordIdentityProvider.hashed_password = {password_hash!r}
c.PasswordIdentityProvider.allow_password_change = False
"""


def unit(user: str = "@USER@", home: str = "@HOME@") -> str:
    """The systemd unit. It waits for cloud-init, so that Jupyter answers only on a finished machine.

    The wait is part of the service and not of its start: cloud-init's last stage waits for multi-user.target,
    which waits until everything it wants has been started, so a start that waits would be a circle.
    `@USER@` and `@HOME@` are filled in on the machine, which knows its first user.
    """
    return f"""\
[Unit]
Description=JupyterLab of this desk
After=network.target

[Service]
User={user}
WorkingDirectory={home}
Environment=SHELL=/bin/bash
Environment=PATH={home}/.local/bin:/opt/hotdesk/venv/bin:/usr/local/cuda/bin:/usr/local/bin:/usr/bin:/bin
Type=simple
ExecStart=/bin/sh -c '{SET_UP}; exec /opt/hotdesk/venv/bin/python -m jupyterlab --config={CONFIG}'
Restart=always
RestartSec=2

[Install]
WantedBy=multi-user.target
"""
