"""Where a rented machine gets packages from."""

from __future__ import annotations

from typing import NamedTuple


class Mirrors(NamedTuple):
    """Set once, at a machine's first boot; "" and (): where its image says."""

    apt: str = ""  # without /ubuntu; "auto": where the cloud says
    pip: str = ""  # an index
    conda: tuple[str, ...] = ()  # channels


NO_MIRRORS = Mirrors()
