"""What `hotdesk move` tells beforehand, as `--json` prints it."""

from __future__ import annotations

from typing import TypedDict

from hotdesk.core.money import Amount


class Replaced(TypedDict):
    """What a move cannot carry."""

    what: str
    by: str  # what replaces it


class Sized(TypedDict):
    """A folder, and the bytes of the files below it."""

    name: str
    bytes: int
    unchanged_seconds: float  # since the last change of a file in it
    may_be_data: bool  # big, and not changed for a day: it could stay where it came from


class Leg(TypedDict):
    """A line that a moving desk goes over."""

    place: str  # the machine at its other end
    bytes_per_second: float | None  # measured just now; null: nobody is there yet, or nobody answers


class Route(TypedDict):
    """Which way the files go between two rented machines."""

    by: str  # "direct": straight from one to the other; "here": through this computer
    why: str
    direct_bytes_per_second: float | None  # measured just now; null: there is no way, or it was not asked for


class Carriage(TypedDict):
    """What a move to another place carries."""

    origin: str  # the provider that the desk leaves
    provider: str  # … and the one that it goes to
    type: str
    zone: str
    files: int | None  # null: not counted, see `uncounted`
    bytes: int | None  # of these files; what is there already, and what compresses, is not sent
    packages: int | None  # of its Python environment; null: not counted
    largest: list[Sized]
    data_files: int | None  # that stay out, since they come from elsewhere; null: not counted
    data_bytes: int | None
    unreadable: list[str]  # what the desk's own user cannot read: the move would stop there
    uncounted: str  # why they are not counted
    lines: list[Leg]  # []: it stays on this computer
    route: Route | None  # null: there is only one way
    seconds: float | None  # for `bytes` over these lines; null: not known
    usd_once: float | None  # for traffic, at most; null: not known
    usd_per_hour: float  # of its new machine
    told_per_hour: Amount | None  # the same as its cloud tells it, if not in US dollars
    replaced: list[Replaced]


class KeptImage(TypedDict):
    """An image of a desk."""

    id: str
    desk: str
    provider: str
    region: str
    bytes: int
    shared_bytes: int | None  # of them, in other images of this computer's store too; null: not known
    usd_per_month: float
    told_per_month: Amount | None  # the same as its cloud tells it, if not in US dollars
    taken_at: float | None  # by its cloud's clock
    age_seconds: float | None  # since then
    verified: bool  # read back, and complete
    until: float | None  # kept until then, in a place that the desk has left; null: not for a time
    why: str  # what it is there for
    damage: str | None  # "" where it was read again now and is whole; null: it was not read


class CopiedImage(TypedDict):
    """An image that was copied to a second store, or back from it."""

    id: str
    desk: str
    bytes: int  # of files that were not there yet


class KeptImages(TypedDict):
    """The images of desks, in every place in use."""

    images: list[KeptImage]
    copied: list[CopiedImage]
    pruned: list[str]  # copies that were deleted where `--copy-to` names
    unread: list[str]  # places that could not be looked at in full
