"""Desks on this computer: no account, no root, nothing to pay."""

from importlib.util import find_spec

from hotdesk.core.errors import Missing

#: What such a desk is made of, by the name to import.
PACKAGES = ("asyncssh", "jupyterlab", "argon2", "psutil", "zstandard", "blake3")


def check_packages() -> None:
    """Raises `Missing` when a desk on this computer could not be opened for want of a package."""
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise Missing(
            "A desk on this computer cannot be opened yet.",
            f"These packages are missing: {', '.join(missing)}.",
            'pip install "hotdesk[local]"',
        )
