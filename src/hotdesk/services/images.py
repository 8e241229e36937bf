"""The images of desks: where each is, how big, what it costs, and until when it stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from hotdesk.core.clouds import cloud
from hotdesk.core.model import Desk, Image, Phase, Survey
from hotdesk.core.money import Amount
from hotdesk.core.ports import Clock, Copier, OnProgress
from hotdesk.core.steps import Wait
from hotdesk.loop.clouds import Clouds
from hotdesk.providers import registry
from hotdesk.services.move_shapes import KeptImage, KeptImages
from hotdesk.state.store import Store

if TYPE_CHECKING:
    from hotdesk.services.second import Second


def images(
    store: Store,
    clouds: Clouds,
    clock: Clock,
    name: str | None = None,
    *,
    verify: bool = False,
    on_wait: Callable[[str, Wait], None] = lambda desk, wait: None,
) -> KeptImages:
    """The images of all desks of this computer, or of one. Raises `Unknown` for a desk that there is not.

    `verify`: those in this computer's store are read again, every byte.
    """
    desks = [store.desk(name)] if name else store.desks()
    used = {one.provider for desk in desks for one in desk.former}
    looks = clouds.look_at_each(clouds.in_sight() | used)
    found = [row for desk in desks for row in _of(desk, looks, clock.now())]
    if isinstance(pool := clouds.provider(registry.DEFAULT), Copier):
        _share(found, looks, pool)
    if verify and isinstance(pool, Copier):
        ours = [row["id"] for row in found if cloud(row["provider"]).pooled and row["verified"]]
        damages = pool.damages(ours, _told(name or "", "images", on_wait))
        for row in found:
            row["damage"] = damages.get(row["id"])
    unread = sorted(where for where, look in looks.items() if look.unread or look.closed)
    return {"images": found, "copied": [], "pruned": [], "unread": unread}


def _share(found: Sequence[KeptImage], looks: dict[str, Survey], pool: Copier) -> None:
    """Fill in what the images of this computer's store share, also with those that are not listed."""
    stored = [image for provider, look in looks.items() if cloud(provider).pooled for image in look.images]
    shared = pool.shared(sorted({image.id for image in stored if image.verified}))
    for row in found:
        if cloud(row["provider"]).pooled:
            row["shared_bytes"] = shared.get(row["id"])


def second(
    clouds: Clouds, where: str, desk: str, on_wait: Callable[[str, Wait], None] = lambda desk, wait: None
) -> Second:
    """The store of second copies there, for the images of a desk ("": of all)."""
    from hotdesk.services.second import Second

    pool = clouds.provider(registry.DEFAULT)
    assert isinstance(pool, Copier)
    return Second(pool, where, desk, _told(desk, "images", on_wait))


def _told(desk: str, what: str, on_wait: Callable[[str, Wait], None]) -> OnProgress:
    def tell(share: float, words: str) -> None:
        on_wait(desk, Wait(seconds=0.0, why=f"{what}: {words}, {100 * share:.0f} %"))

    return tell


def _of(desk: Desk, looks: dict[str, Survey], now: float) -> Iterator[KeptImage]:
    known: set[str] = set()
    for provider, look in sorted(looks.items(), key=lambda one: (one[0] != desk.provider, one[0])):
        mine = look.of(desk.name).images
        for image in sorted(mine, key=lambda image: image.age, reverse=True):
            if image.id not in known:  # all pooled places show the one store
                known.add(image.id)
                yield _row(desk, provider, image, mine, now)


def _row(desk: Desk, provider: str, image: Image, mine: Sequence[Image], now: float) -> KeptImage:
    newest = max((i for i in mine if i.verified), key=lambda i: i.age, default=None)
    here = _is_place(desk.provider, provider)
    left = next((one for one in desk.former if _is_place(one.provider, provider)), None)
    until = left.until if left and not here else None
    if image.phase is Phase.FAILED:
        why = f"it failed: {image.reason or 'nobody knows why'}"
    elif image.id == desk.carried:
        why = "all its work, until its new machine has it"
    elif not image.verified:
        why = "it is being taken, or was not read back yet"
    elif until is not None:
        why = (
            "of a place that it has left" if until > now else "its time is over: the next command deletes it"
        )
    elif here and newest and image.id == newest.id:
        why = "what the desk comes back from"
    elif here:
        why = f"older than {newest.id}" if newest else ""
    else:
        why = "another beginning of this name"
    told: Amount | None = image.told_per_month
    return {
        "id": image.id,
        "desk": desk.name,
        "provider": provider,
        "region": image.region,
        "bytes": int(image.size_gib * 2**30),
        "shared_bytes": None,
        "usd_per_month": image.usd_per_month,
        "told_per_month": told,
        "taken_at": image.taken_at or None,
        "age_seconds": max(0.0, now - image.taken_at) if image.taken_at else None,
        "verified": image.verified,
        "until": until,
        "why": why,
        "damage": None,
    }


def _is_place(one: str, other: str) -> bool:
    """Whether images of both are the same ones: all pooled places have one store."""
    return one == other or (cloud(one).pooled and cloud(other).pooled)
