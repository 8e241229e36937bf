"""Settings of the mirrors that a cloud's machines get packages from, where the usual ones are far."""

from __future__ import annotations

from typing import Annotated, Protocol

from msgspec import Meta

from hotdesk.core.mirrors import Mirrors

#: No login: user data is no place for a secret. No quotes: it is written into files.
_URL = r"https?://[^\s\"'\\@]+"

_APT = "mirror of Ubuntu's packages, without /ubuntu; \"\": the image's own"

Apt = Annotated[str, Meta(pattern=rf"^({_URL})?$", description=_APT)]
NamedApt = Annotated[
    str, Meta(pattern=rf"^({_URL}|auto)?$", description=f'{_APT}; "auto": the one that the region names')
]
Pip = Annotated[
    str, Meta(pattern=rf"^({_URL})?$", description='index of Python packages for pip and uv; "": their own')
]
Conda = Annotated[
    tuple[Annotated[str, Meta(pattern=rf"^{_URL}$")], ...],
    Meta(description="conda's default channels; []: its own"),
]


class Configured(Protocol):
    @property
    def apt_mirror(self) -> str: ...
    @property
    def pip_index(self) -> str: ...
    @property
    def conda_channels(self) -> tuple[str, ...]: ...


def mirrors(settings: Configured) -> Mirrors:
    """What a cloud's settings say."""
    return Mirrors(settings.apt_mirror, settings.pip_index, settings.conda_channels)
