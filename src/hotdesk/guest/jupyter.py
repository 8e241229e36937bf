"""JupyterLab's configuration and systemd unit on a rented machine."""

from __future__ import annotations

import hashlib

PORT = 8888
CONFIG = "/opt/hotdesk/jupyter.py"
#: Shell line that waits until this boot's cloud-init has finished (result.json) or is disabled.
SET_UP = (
    "while [ -d /run/cloud-init ] && [ ! -e /run/cloud-init/result.json ] && "
    "[ ! -e /run/cloud-init/disabled ]; do sleep 0.3; done"
)


#: Loads the owner's settings: `jupyter lab --config=…` reads their jupyter_config and jupyter_lab_config, but
#: not their jupyter_server_config (jupyter_core 5.9.1, JupyterApp.load_config_file).
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
#: Settings of address and authentication that override the owner's: they also win over a jupyter_lab_config
#: (jupyter_server 2.21.1, ExtensionApp). The token is for the idle watch and for tunnels; its file is
#: private. The default cookie name contains the port, so a change of port would end logins.
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
    """Lines that load the owner's settings of these names, to follow `c = get_config()`."""
    return _THEIRS.format(names=names)


def pinned(port: int, hashed: str) -> str:
    """Lines that override the owner's settings, to follow `theirs`.

    The login cookie is named after the desk's password: unique to the desk, and unaffected by its port.
    """
    cookie = f"hotdesk-{hashlib.sha256(hashed.encode()).hexdigest()[:12]}"
    return _PINNED.format(port=port, hashed=hashed, cookie=cookie)


def config(password_hash: str) -> str:
    """jupyter_server's configuration: listens on the loopback only, with a hashed password.

    The hash is argon2 of a random password, so the file may be readable for everybody on the machine. Raises
    `ValueError` for anything but such a hash: a password must never be written here.
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

    The wait is part of the service, not of its start: cloud-init's last stage waits for multi-user.target,
    which waits for the start of all units it wants, so a waiting start would be a deadlock. It listens on the
    loopback only, so it does not wait for the network. If the owner's settings make it fail, it is started
    five times (systemd's default StartLimitBurst), not for ever. `@USER@`, `@HOME@` and `@ENV@` are filled in
    on the machine, which knows its first user and the environment with torch. Kernels and front-end
    extensions of that environment come before Jupyter's own.
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
