"""Desks at any machine that one can log in to by ssh: no root, and nothing there but below one folder."""

from hotdesk.core.clouds import Cloud
from hotdesk.providers.ssh.settings import Settings

CLOUD = Cloud(
    name="ssh",
    label="a machine of yours",
    factory="hotdesk.providers.ssh.provider:make",
    rented=False,
    pooled=True,
    idle_minutes=0.0,
    extra="local",
    requires=("asyncssh", "jupyterlab", "argon2", "psutil", "zstandard", "blake3"),
    settings=Settings,
    machines="hotdesk.providers.ssh.hosts:enter",
)
