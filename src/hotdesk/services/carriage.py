"""What a move to another place would carry, how long that takes, what it costs, and what stays behind.

It is told before anything is done, and from measurements alone: files are counted where they are, the line is
measured by sending over it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from hotdesk.core import wire
from hotdesk.core.clouds import cloud
from hotdesk.core.errors import HotdeskError, Refused
from hotdesk.core.lifecycle.descent import own
from hotdesk.core.lines import Lined
from hotdesk.core.model import Bound, Desk, Goal, Instance, Phase, Seen, Value
from hotdesk.core.ports import Access, Counted, Guest
from hotdesk.guest.one_file import source
from hotdesk.loop.clouds import Clouds
from hotdesk.services.move_shapes import Carriage, Replaced, Sized
from hotdesk.services.route import AUTO, DIRECT, Routes
from hotdesk.state.store import Store

_COUNT_SECONDS = 300.0  # in which a desk of millions of files can be counted
_SHOWN = 6  # names of one kind
_BIG_BYTES = 1 << 30  # from which on a folder that does not change may be data: a minute at 150 Mbit/s
_STILL_SECONDS = 86400.0


class Inventory(Value, frozen=True):
    """What a desk told of itself (guest/inventory.py)."""

    files: int = 0
    bytes: int = 0
    unreadable: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()
    mounted: tuple[str, ...] = ()  # kept elsewhere, and no data folder of its hotdesk.toml
    largest: tuple[tuple[str, int, float], ...] = ()  # folder, bytes, seconds since its last change
    data_files: int = 0
    data_bytes: int = 0
    home: str = ""
    packages: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    jupyter: tuple[str, ...] = ()  # of `packages`: what every desk has
    python: str = ""
    system_packages: tuple[str, ...] = ()
    machine: str = ""


@dataclass(kw_only=True, eq=False)
class Carrying:
    """Tells beforehand what a move carries. `reach` returns how to reach a desk that runs."""

    store: Store
    clouds: Clouds
    reach: Callable[[Desk], Access]
    routes: Routes

    def planned(self, desk: Desk, moved: Desk, route: str = AUTO) -> Carriage | None:
        """What the move of this desk to its row `moved` carries; None if it stays in its cloud.

        `route`: which way is asked for. Raises as `Routes.chosen`.
        """
        bound, ends = moved.bound, self.routes.between(desk, moved)
        if bound is None and ends is not None:
            bound = Bound(provider=moved.provider, want=moved.want, offers=moved.offers)
        elif bound is None or bound.provider == desk.provider:
            self.routes.chosen(desk, moved, route)
            return None
        offer = next(iter(bound.offers), None)
        seen = own(desk, self.clouds.seen(desk), self.store.past(desk))
        live, access = seen.live, None
        if live is not None and live.phase is Phase.READY:
            try:
                access = self.reach(desk)
            except (HotdeskError, Refused):  # counted from outside, as far as it can be
                access = None
        told = _told(access, desk) if access else None
        count = (told.files, told.bytes) if told else self._counted(desk, seen)
        if ends:
            legs = [*zip(ends, self.routes.lines(desk, ends), strict=True)]
        else:
            legs = self._legs(desk, bound.provider, offer.zone if offer else "", access)
        way = self.routes.chosen(desk, moved, route, [speed for _, speed in legs])
        if way and way["by"] == DIRECT and ends:
            legs = [(f"{ends[1]} from {ends[0]}", way["direct_bytes_per_second"])]
        elif way and way["by"] == DIRECT:
            legs = [(f"{bound.provider} from {self.routes.outward(desk, moved)}", None)]
        known = [speed for _, speed in legs if speed]
        seconds = sum(count[1] / speed for speed in known) if count and len(known) == len(legs) else None
        rate = cloud(desk.provider).rates.out_usd_per_gib
        return {
            "origin": desk.provider,
            "provider": bound.provider,
            "type": offer.instance_type if offer else "",
            "zone": (offer.zone or offer.region) if offer else "",
            "files": count[0] if count else None,
            "bytes": count[1] if count else None,
            "packages": len(told.packages) + len(told.apart) if told else None,
            "largest": [_sized(told, *one) for one in told.largest] if told else [],
            "data_files": told.data_files if told else None,
            "data_bytes": told.data_bytes if told else None,
            "unreadable": list(told.unreadable) if told else [],
            "uncounted": "" if count else _uncounted(desk, live),
            "lines": [{"place": place, "bytes_per_second": speed} for place, speed in legs],
            "route": way,
            "seconds": seconds,
            "usd_once": None if rate is None or (rate and not count) else rate * (count or (0, 0))[1] / 2**30,
            "usd_per_hour": offer.usd_per_hour if offer else 0.0,
            "told_per_hour": offer.told_per_hour if offer else None,
            "replaced": _replaced(told, desk, moved),
        }

    def tidy(self, origin: str) -> None:
        """Remove hotdesk itself from machines of one's own that desks have left; it stays for parked ones."""
        provider = self.clouds.provider(origin)
        waiting = any(one.provider == origin and one.goal is Goal.PARKED for one in self.store.desks())
        if isinstance(provider, Guest) and not waiting:
            provider.tidy()

    def may_be_data(self, desk: Desk) -> list[Sized]:
        """Big folders that do not change and go into each image of a desk that runs: they could be data.

        A cloud's own images are of whole disks, with the data: nothing is to be said of them.
        """
        if not cloud(desk.provider).pooled:
            return []
        live = own(desk, self.clouds.seen(desk), self.store.past(desk)).live
        if live is None or live.phase is not Phase.READY:
            return []
        try:
            told = _told(self.reach(desk), desk)
        except (HotdeskError, Refused):
            return []
        sized = [_sized(told, *one) for one in told.largest] if told else []
        return [one for one in sized if one["may_be_data"]]

    def _counted(self, desk: Desk, seen: Seen) -> tuple[int, int] | None:
        """Files and bytes of a desk that is off, where its cloud has them here."""
        provider = self.clouds.provider(desk.provider)
        thing: Any = seen.live or seen.newest
        if thing is None and not seen.ids:
            return 0, 0
        return provider.contents(thing.id) if thing and isinstance(provider, Counted) else None

    def _legs(self, desk: Desk, to: str, zone: str, access: Access | None) -> list[tuple[str, float | None]]:
        """The lines that the desk goes over, by place, with the bytes a second of each, if they are known."""
        from hotdesk.connect import line_speed, ssh

        legs: list[tuple[str, float | None]] = []
        if not _is_here(desk.provider):
            legs.append((desk.name, line_speed.down(ssh.question(access, "")[:-1]) if access else None))
        if not _is_here(to):
            provider = self.clouds.provider(to)
            speed = None
            if isinstance(provider, Lined) and zone:
                try:
                    speed = line_speed.up(provider.line(zone))
                except Refused:
                    speed = None
            legs.append((zone or to, speed))
        return legs


def _told(access: Access, desk: Desk) -> Inventory | None:
    return inventory(access, with_environment=cloud(desk.provider).pooled)


def inventory(access: Access, *, with_environment: bool) -> Inventory | None:
    """What a desk tells of itself; None where it cannot. Its environment counts where it goes as files."""
    import subprocess

    from hotdesk.connect import ssh
    from hotdesk.core import shell

    script = source("inventory").encode()
    more = ' "$(python3 -c "import sys; print(sys.prefix)")"' if with_environment else ""
    argv = ssh.command(access, [shell.told(f"python3 -{more}")])
    try:
        done = subprocess.run(argv, input=script, capture_output=True, timeout=_COUNT_SECONDS, check=False)
        return wire.json(done.stdout, Inventory)
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError):
        return None


def _sized(told: Inventory, folder: str, size: int, unchanged: float) -> Sized:
    below = folder.startswith(f"{told.home}/") and told.home
    name = f"~{folder[len(told.home) :]}" if below else folder
    # What programs keep for themselves is no data of a person's, and what changes is their work.
    hidden = not below or name.startswith("~/.")
    may_be = size >= _BIG_BYTES and unchanged >= _STILL_SECONDS and not hidden
    return {"name": name, "bytes": size, "unchanged_seconds": unchanged, "may_be_data": may_be}


def _is_here(provider: str) -> bool:
    known = cloud(provider)
    return known.pooled and not known.machines


def _uncounted(desk: Desk, live: Instance | None) -> str:
    """Why nobody knows what it holds."""
    if live is None:
        return f"{desk.name} has no machine now, and {cloud(desk.provider).label} does not count files"
    if live.phase is not Phase.READY:
        return f"its machine is {live.phase}"
    return "its machine does not tell"


def _replaced(told: Inventory | None, desk: Desk, moved: Desk) -> list[Replaced]:
    """What cannot be carried, and what replaces it."""
    found: list[Replaced] = [
        {"what": "what runs there: terminals, notebooks' kernels", "by": "it ends; what is saved goes along"}
    ]
    if told is None or moved.bound is None:
        return found
    offer = next(iter(moved.bound.offers), None)
    if told.odd:
        found.append(
            {"what": f"sockets and devices: {some(told.odd, _SHOWN)}", "by": "programs make theirs anew"}
        )
    if told.mounted:
        by = f"at the desk, once it is there: mount it again (or by [[desks.{desk.name}.data]])"
        found.append({"what": f"mounted there: {some(told.mounted, _SHOWN)}", "by": by})
    if told.system_packages:
        names = " ".join(told.system_packages)
        by = f"at the desk, once it is there: sudo apt-get install {names}"
        found.append({"what": f"packages of the system: {some(told.system_packages, _SHOWN)}", "by": by})
    builds = [one for one in told.packages if one.startswith(("torch==", "torchvision==", "torchaudio=="))]
    cpu = [one for one in builds if one.endswith("+cpu")]
    if cpu and offer is not None and offer.gpu:
        plain = " ".join(one.partition("+")[0] for one in cpu)
        by = f"the same versions for GPUs, at the desk: pip install --force-reinstall {plain}"
        if not cloud(moved.bound.provider).pooled and cloud(desk.provider).pooled:
            by = f"the same versions from the index, which are for GPUs: {plain}"
        found.append({"what": f"builds for processors: {some(cpu, _SHOWN)}", "by": by})
    arch = offer.arch if offer else ""
    if arch and told.machine and arch != {"aarch64": "arm64"}.get(told.machine, told.machine):
        by = f"programs for {arch}: install them anew at the desk"
        found.append({"what": f"programs for {told.machine}", "by": by})
    return found


def some(names: Sequence[str], most: int) -> str:
    """The first of these names, and how many more there are."""
    return ", ".join([*names[:most], *([f"{len(names) - most} more"] if len(names) > most else [])])
