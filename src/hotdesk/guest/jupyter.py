"""JupyterLab on a rented machine: its configuration and its service."""

from __future__ import annotations

import hashlib

PORT = 8888
CONFIG = "/opt/hotdesk/jupyter.py"
#: Waits until this boot's cloud-init has finished, or is switched off. It writes the result at its end.
SET_UP = (
    "while [ -d /run/cloud-init ] && [ ! -e /run/cloud-init/result.json ] && "
    "[ ! -e /run/cloud-init/disabled ]; do sleep 0.3; done"
)


#: The owner's own settings: `jupyter lab --config=…` reads their jupyter_config and jupyter_lab_config, but
#: no jupyter_server_config beside it (jupyter_core 5.9.1, JupyterApp.load_config_file).
_THEIRS = """\
import secrets, sys
from jupyter_core.paths import jupyter_config_path
from traitlets.config import loader
for n in {names!r}:
    for d in reversed(jupyter_config_path()):
        for k, e in (loader.PyFileConfigLoader, ".py"), (loader.JSONFileConfigLoader, ".json"):
            try:
                c.merge(k(n + e, path=d).load_config())
            except loader.ConfigFileNotFound:
                pass
            except Exception as error:
                print("hotdesk: left out:", d, n + e, repr(error), file=sys.stderr)
"""
#: Where Jupyter answers, and to whom, whatever they say: of what both this and a jupyter_lab_config name,
#: this counts (jupyter_server 2.21.1, ExtensionApp). The token is for the watch over idleness and for
#: tunnels; its file is private. The cookie's name would otherwise hold the port, and logins end with it.
_PINNED = """\
c.ServerApp.ip = "127.0.0.1"
c.ServerApp.port = {port}
c.ServerApp.port_retries = 0
c.ServerApp.open_browser = False
c.ServerApp.sock = c.ServerApp.certfile = c.ServerApp.keyfile = c.ServerApp.client_ca = ""
c.ServerApp.base_url = "/"
c.ServerApp.ssl_options = {{}}
c.ServerApp.websocket_url = c.ServerApp.custom_display_url = ""
c.ServerApp.allow_origin = c.ServerApp.allow_origin_pat = ""
c.ServerApp.identity_provider_class = "jupyter_server.auth.identity.PasswordIdentityProvider"
t = secrets.token_hex(32)
for p in c.IdentityProvider, c.PasswordIdentityProvider:
    p.token = t
    p.cookie_name = {cookie!r}
    p.cookie_options = {{}}
    p.secure_cookie = None
c.PasswordIdentityProvider.hashed_password = {hashed!r}
c.PasswordIdentityProvider.allow_password_change = False
"""


def theirs(*names: str) -> str:
    """Lines that take in the owner's settings of these names, to stand after `c = get_config()`."""
    return _THEIRS.format(names=names)


def pinned(port: int, hashed: str) -> str:
    """Lines that hold against the owner's settings, to stand after `theirs`.

    The login cookie is named after the desk's password: it is one desk's own, and outlives a change of port.
    """
    cookie = f"hotdesk-{hashlib.sha256(hashed.encode()).hexdigest()[:12]}"
    return _PINNED.format(port=port, hashed=hashed, cookie=cookie)


def config(password_hash: str) -> str:
    """jupyter_server's configuration: on the machine's own loopback, behind a password kept as a hash.

    The hash is argon2 over a random password, so the file may be read by everybody on the machine.
    Raises `ValueError` for anything that is not such a hash: a password must never be written here.
    """
    if not password_hash.startswith("argon2:$argon2id$"):
        raise ValueError("the notebook's password must be given as an argon2 hash")
    return f"""\
# Written by hotdesk. The way in is an ssh tunnel: nothing listens on an outward address.
c = get_config()
{theirs("jupyter_server_config")}{pinned(PORT, password_hash)}
c.ServerApp.allow_remote_access = True  # the tunnel's far end calls it by another name
"""


def unit(user: str = "@USER@", home: str = "@HOME@") -> str:
    """The systemd unit. It waits for cloud-init, so that Jupyter answers only on a finished machine.

    The wait is part of the service and not of its start: cloud-init's last stage waits for multi-user.target,
    which waits until everything it wants has been started, so a start that waits would be a circle.
    It listens on loopback only, so it waits for no network. Settings of the owner's that end it are tried
    five times (systemd's default StartLimitBurst), not for ever. `@USER@`, `@HOME@` and `@ENV@` are filled in
    on the machine, which knows its first user and where its torch is. Kernels and front-end extensions of
    that environment come before Jupyter's own.
    """
    return f"""\
[Unit]
Description=JupyterLab of this desk
StartLimitIntervalSec=90

[Service]
User={user}
WorkingDirectory={home}
Environment=SHELL=/bin/bash
Environment=PATH=@ENV@/bin:{home}/.local/bin:/usr/local/cuda/bin:/usr/local/bin:/usr/bin:/bin
Environment=JUPYTER_PATH=@ENV@/share/jupyter
Type=simple
ExecStart=/bin/sh -c '{SET_UP}; exec /opt/hotdesk/venv/bin/python -m jupyterlab --config={CONFIG}'
Restart=always
RestartSec=2

[Install]
WantedBy=multi-user.target
"""
