"""Desks on this computer: no account, no root, nothing to pay."""

from hotdesk.core.clouds import Cloud

CLOUD = Cloud(
    name="local",
    label="this computer",
    factory="hotdesk.providers.local.provider:make",
    rented=False,
    pooled=True,
    idle_minutes=0.0,
    extra="local",
    requires=("asyncssh", "jupyterlab", "argon2", "psutil", "zstandard", "blake3"),
)
