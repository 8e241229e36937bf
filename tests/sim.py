"""A cloud in memory that can go wrong in every way we know of, and that judges what is done to it.

It obeys the three laws of a provider (core/ports.py) and none of the niceties: a listing lags behind and
flaps, a reply gets lost, a machine is interrupted, an image is silently rotten, a region does not answer.
Its clock is not ours. Every disk holds units of work; what is worked on a proven machine is acknowledged,
and from then on the cloud itself complains (`violations`) the moment its last good copy is destroyed, a
machine is launched without it, or a second machine is made for the desk. One seed is one history.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from msgspec.structs import replace

from hotdesk.core.errors import Failing, Kind, Refused, Unreachable
from hotdesk.core.lifecycle.descent import extended
from hotdesk.core.lifecycle.history import IN_FLIGHT_SECONDS
from hotdesk.core.lifecycle.holding import PLACEHOLDER, PLACEHOLDER_SECONDS
from hotdesk.core.model import Disk, Image, Instance, Leftover, Market, Offer, Phase, Survey, Want
from hotdesk.core.ports import Access
from hotdesk.core.steps import BakeOrder, LaunchOrder
from tests.truth import GONE, Clock, Thing, Truth


class Crash(BaseException):
    """The process is no more: nothing of it runs after this."""


class Stuck(AssertionError):
    """The loop looks again and again and comes to no end."""


@dataclass
class Faults:
    """How likely each fault is, per call or per image; `seconds` is the longest that a call takes."""

    lost: float = 0.0  # the call has its effect, and the reply is lost
    never: float = 0.0  # the call is lost on its way
    refused: float = 0.0
    failed: float = 0.0  # an image fails
    rotten: float = 0.0  # an image is made and does not hold the disk
    broken: float = 0.0  # a started machine stops by itself
    unread: float = 0.0  # a region does not answer a survey
    unreachable: float = 0.0  # nothing answers a survey
    busy: float = (
        0.0  # "too many requests", or a failure of its own whose outcome is unknown; steps and looks
    )
    seconds: float = 0.0


_IN_TRANSIT = {Phase.PENDING, Phase.STOPPING, Phase.ENDING, Phase.VERIFYING}

OFFERS = tuple(
    Offer(provider="sim", region=region, zone=f"{region}{zone}", instance_type=kind, market=market,
          usd_per_hour=usd * (0.4 if market is Market.SPOT else 1.0), gpu=gpu, gpu_count=float(bool(gpu)),
          vcpus=4, memory_gib=16.0)
    for region, zone in (("r1", "a"), ("r1", "b"), ("r2", "a"))
    for kind, gpu, usd in (("cpu.small", "", 0.1), ("gpu.big", "L4", 1.0))
    for market in Market
)  # fmt: skip


def offers(
    *, market: Market = Market.ON_DEMAND, kind: str = "cpu.small", region: str = ""
) -> tuple[Offer, ...]:
    return tuple(
        o for o in OFFERS if o.market is market and o.instance_type == kind and region in {"", o.region}
    )


class Cloud(Truth):
    name = "sim"

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        seed: int = 0,
        lag_seconds: float = 0.0,
        faults: Faults | None = None,
        offset_seconds: float = -5000.0,  # its clock against ours
        lists_ended: bool = True,
        stoppable_spot: bool = False,
        retypes: bool = True,
        disks_throughout: bool = False,
        lines: bool = True,  # whether things say what they come from; those of earlier versions do not
        boundary: Callable[[str], None] = lambda label: None,
    ) -> None:
        super().__init__(clock or Clock(), seed, lag_seconds, offset_seconds)
        self.faults = faults or Faults()
        self.lists_ended = lists_ended
        self.stoppable_spot = stoppable_spot
        self.retypes = retypes
        self.disks_throughout = disks_throughout
        self.lines = lines
        self.boundary = boundary
        self.script: dict[str, list[Refused | str]] = {}  # by operation: what befalls its next calls
        self.fault_at: dict[int, Refused | str] = {}  # by the number of the call that changes something
        self.sold_out: set[str] = set()  # offer keys
        self.calls: list[str] = []
        self.looks = self.peeks = 0
        self.looks_max = 10**9
        self.in_sight: Callable[[int], bool] = lambda unit: True  # whether who acts could see that work
        self.sees: tuple[str, ...] = ("r1", "r2")  # the regions that who acts looks at
        self._copies: dict[tuple[str, str, str], str] = {}
        self._tokens: dict[str, tuple[LaunchOrder, str]] = {}
        self._acts = 0

    # ---- the provider ----------------------------------------------------------------------------------

    def offers(self, want: Want) -> Sequence[Offer]:
        fits = [
            o
            for o in OFFERS
            if want.instance_type in {"", o.instance_type}
            and want.gpu in {"", o.gpu or "none"}
            and want.gpu_count in {0, o.gpu_count}
            and want.market in {"cheapest", o.market}
            and (not want.regions or o.region in want.regions)
            and want.zone in {"", o.zone}
            and (want.usd_per_hour_max is None or o.usd_per_hour <= want.usd_per_hour_max)
        ]
        return [replace(o, why="the cheapest that fits") for o in sorted(fits, key=lambda o: o.usd_per_hour)]

    def survey(self, regions: Sequence[str] = ()) -> Survey:
        self.boundary("before survey")
        self.looks += 1
        if self.looks > self.looks_max:
            raise Stuck(f"{self.looks} looks; the last calls were {self.calls[-6:]}")
        self._pass()
        if self._befalls(self.faults.busy):
            raise Refused(Kind.THROTTLED, "too many requests", seconds=0.0)
        if self._befalls(self.faults.unreachable):
            raise Unreachable("The cloud does not answer.")
        unread = tuple(r for r in ("r1", "r2") if self._befalls(self.faults.unread))
        seen: dict[type, list[Any]] = {Instance: [], Disk: [], Image: [], Leftover: []}
        for thing in self.things.values():
            shown = self._shown(thing)
            if shown is not None and shown.region not in unread and (not regions or shown.region in regions):
                seen[type(shown)].append(shown)
        self._pass()
        self.boundary("after survey")
        return Survey(
            provider=self.name,
            instances=tuple(seen[Instance]),
            disks=tuple(seen[Disk]),
            images=tuple(seen[Image]),
            leftovers=tuple(seen[Leftover]),
            unread=unread,
            lag_seconds=self.lag_seconds,
            disks_throughout=self.disks_throughout,
            poll_seconds=5.0,
        )

    def in_transit(self, ids: Collection[str]) -> bool:
        """As the listing shows it, late or not."""
        self.boundary("before peek")
        self.peeks += 1
        self._pass()
        if self._befalls(self.faults.unreachable):
            raise Unreachable("The cloud does not answer.")
        shown = [s for thing in self.things.values() if (s := self._shown(thing)) and s.id in ids]
        return {s.id for s in shown} == set(ids) and all(s.phase in _IN_TRANSIT for s in shown)

    def launch(self, order: LaunchOrder) -> str:
        return self._call("launch", lambda: self._launch(order), offer=order.offer.key)

    def power(self, instance_id: str, on: bool) -> None:
        self._call("start" if on else "stop", lambda: self._power(instance_id, on))

    def retype(self, instance_id: str, offer: Offer, generation: int) -> None:
        self._call("retype", lambda: self._retype(instance_id, offer, generation), offer=offer.key)

    def bake(self, order: BakeOrder) -> str:
        return self._call("bake", lambda: self._bake(order))

    def verify(self, image_id: str) -> None:
        self._call("verify", lambda: self._verify(image_id))

    def copy(self, image_id: str, region: str, name: str) -> str:
        return self._call("copy", lambda: self._copy(image_id, region, name))

    def delete(self, thing_id: str, *, keep_disk: bool = False) -> None:
        self._call("delete", lambda: self._delete(thing_id, keep_disk))

    def delete_saved(self, machine_id: str, started_at: float) -> None:
        self._call("delete", lambda: self._delete_saved(machine_id, started_at))

    def report(self, machine_id: str) -> None:
        thing = self.find(machine_id)
        machine = thing and thing.value
        if thing and isinstance(machine, Instance) and (not machine.reported or machine.doomed):
            self._change(thing, reported=True, doomed=False)

    def doom(self, thing_id: str) -> None:
        self._pass()
        if thing := self.find(thing_id):
            self._change(thing, doomed=True)

    def access(self, instance: Instance) -> Access:
        thing = self.find(instance.id)
        if thing is None or thing.value.phase is not Phase.READY:
            raise Refused(Kind.NOT_READY, "port 22 does not answer yet")
        return Access(desk=instance.desk, host="127.0.0.1", port=22, user="me", key_path="k",
                      known_hosts_path="h", alias=instance.id, notebook_port=8888)  # fmt: skip

    # ---- what each call does, in truth -----------------------------------------------------------------

    def _launch(self, order: LaunchOrder) -> str:
        if order.token in self._tokens:
            known, id_ = self._tokens[order.token]
            if known != replace(order, offer=known.offer) or known.offer.key != order.offer.key:
                raise Refused(Kind.MISMATCH, "this token was used for another order")
            if self.find(id_) is None:  # EC2 says IdempotentInstanceTerminated
                raise Refused(Kind.MISMATCH, f"this token made {id_}, which is no more")
            return id_
        if any(t.value.name == order.name for t in self.machines()):
            raise Refused(Kind.MISMATCH, f"{order.name} exists")
        if order.offer.key in self.sold_out:
            raise Refused(Kind.NO_CAPACITY, "insufficient capacity", seconds=300.0)
        if order.placeholder:
            return self._keep_place(order)
        image = self.find(order.image_id)
        if order.image_id and (image is None or image.value.region != order.offer.region):
            raise Refused(Kind.BAD_REQUEST, f"there is no image {order.image_id} in {order.offer.region}")
        work = image.work if image else frozenset()
        for other in (m for m in self.machines(order.desk) if m.value.region in self.sees):
            self.violations.append(f"two machines: {order.name} beside {other.value.id}")
        birth = image.birth if image else self._numbers
        missing = self.acknowledged.get(order.desk, set()) - work
        if image:  # what was begun elsewhere under this name is not to be expected in it
            missing = {unit for unit in missing if self.births[unit] == birth}
        missing = {unit for unit in missing if self.in_sight(unit)}
        if missing:
            birth = self._numbers  # another beginning, from wherever it goes on
            if self.given_up(order.desk):
                self.acknowledged[order.desk] -= missing - self.kept(missing)
                self.lost_by_choice = True
            else:
                self.violations.append(f"{order.name} launched without work {sorted(missing)}")
        spot = order.offer.market is Market.SPOT
        machine = Instance(
            id=self._id("i"), name=order.name, desk=order.desk, generation=order.generation,
            phase=Phase.PENDING, provider=self.name, region=order.offer.region, zone=order.offer.zone,
            instance_type=order.offer.instance_type, market=order.offer.market,
            usd_per_hour=order.offer.usd_per_hour, started_at=self.time, image_id=order.image_id,
            stoppable=self.stoppable_spot or not spot, retypable=self.retypes and not spot,
            gpu=order.offer.gpu, disk_gib=order.disk_gib or 8,
            disk_usd_per_month=0.8,
            line=(extended(image.value) if image else ()) if self.lines else None,  # type: ignore[arg-type]
        )  # fmt: skip
        thing = self._add(machine, work, keeps_disk=spot, birth=birth)
        if self.script.get("ended"):  # the cloud ends it on its way up, and its disk stays
            thing.keeps_disk = True
            self._change(thing, phase=Phase.ENDING, never_ran=True, **self.script["ended"].pop(0))
            self._after(2.0, 9.0, partial(self._ended, thing))
        self._after(3.0, 40.0, partial(self._boot, thing, machine.started_at))
        self._tokens[order.token] = (order, machine.id)
        return machine.id

    def _keep_place(self, order: LaunchOrder) -> str:
        for other in self.placeholders(order.desk):
            self.violations.append(f"two placeholders: {order.name} beside {other.value.id}")
        held = Leftover(
            id=self._id("i"), kind=PLACEHOLDER, provider=self.name, region=order.offer.region,
            desk=order.desk, generation=order.generation, machine=order.name, made_at=self.time,
            usd_per_month=order.offer.usd_per_hour * 730,
        )  # fmt: skip
        thing = self._add(held, frozenset())  # type: ignore[arg-type]
        self._after(PLACEHOLDER_SECONDS, PLACEHOLDER_SECONDS + 60.0, partial(self._vanish, thing))
        self._tokens[order.token] = (order, held.id)
        return held.id

    def _boot(self, thing: Thing, started_at: float) -> None:
        if thing.there and thing.value.phase is Phase.PENDING and thing.value.started_at == started_at:
            self._change(thing, phase=Phase.READY, reason="")
            if self._befalls(self.faults.broken):
                self._after(
                    1.0, 30.0, partial(self._halt, thing, "the kernel gave up", thing.value.started_at)
                )

    def _halt(self, thing: Thing, reason: str, started_at: float) -> None:
        if thing.value.phase in {Phase.READY, Phase.PENDING} and thing.value.started_at == started_at:
            self._change(thing, phase=Phase.STOPPING, reason=reason, stopped_at=self.time)
            self._after(1.0, 20.0, partial(self._halted, thing))

    def _halted(self, thing: Thing) -> None:
        if thing.there and thing.value.phase is Phase.STOPPING:
            self._change(thing, phase=Phase.STOPPED)

    def _power(self, id_: str, on: bool) -> str:
        thing = self.find(id_)
        if thing is None or not isinstance(thing.value, Instance) or thing.value.phase in GONE:
            raise Refused(Kind.BAD_REQUEST, f"there is no machine {id_}")
        machine = thing.value
        if on and machine.phase is Phase.STOPPING:
            raise Refused(Kind.NOT_READY, "it is stopping", seconds=5.0)
        if on and machine.phase is Phase.STOPPED:
            place = f"{self.name}/{machine.zone}/{machine.instance_type}/{machine.market}"
            if place in self.sold_out:
                raise Refused(Kind.NO_CAPACITY, "insufficient capacity", seconds=300.0)
            self._change(thing, phase=Phase.PENDING, started_at=self.time, reason="")
            self._after(3.0, 40.0, partial(self._boot, thing, self.time))
        if not on and not machine.stoppable:
            raise Refused(Kind.BAD_REQUEST, "a one-time spot machine cannot be stopped")
        if not on:
            self._halt(thing, "User initiated shutdown", machine.started_at)
        return id_

    def _retype(self, id_: str, offer: Offer, generation: int) -> str:
        thing = self.find(id_)
        if thing is None or not isinstance(thing.value, Instance) or thing.value.phase in GONE:
            raise Refused(Kind.BAD_REQUEST, f"there is no machine {id_}")
        machine = thing.value
        if not machine.retypable or (offer.zone, offer.market) != (machine.zone, machine.market):
            raise Refused(Kind.BAD_REQUEST, f"{id_} cannot become {offer.key}")
        if machine.phase is not Phase.STOPPED:
            raise Refused(Kind.NOT_READY, "it is not stopped", seconds=5.0)
        kind = {"instance_type": offer.instance_type, "gpu": offer.gpu, "usd_per_hour": offer.usd_per_hour}
        self._change(thing, **kind)
        self.boundary("within retype")
        self._change(thing, retyped_for=generation)
        return id_

    def _bake(self, order: BakeOrder) -> str:
        for thing in self.images():
            if thing.value.name == order.name:
                return thing.value.id
        source = self.find(order.source_id)
        if source and isinstance(source.value, Disk) and source.value.held_by:
            raise Refused(Kind.NOT_READY, f"it is in use at {source.value.held_by}", seconds=5.0)
        if source is None or isinstance(source.value, Image) or source.value.phase in GONE:
            raise Refused(Kind.BAD_REQUEST, f"there is no machine or disk {order.source_id}")
        if isinstance(source.value, Instance) and source.value.phase is not Phase.STOPPED:
            raise Refused(Kind.NOT_READY, "it is not stopped", seconds=5.0)
        image = Image(
            id=self._id("m"), name=order.name, desk=order.desk, generation=order.generation,
            phase=Phase.PENDING, provider=self.name, region=order.region, source_id=order.source_id,
            taken_at=self.time, size_gib=8, usd_per_month=0.4, started_at=order.started_at or None,
            final=isinstance(source.value, Disk), image_id=source.value.image_id,
            line=source.value.line,
            machine=source.value.machine if isinstance(source.value, Disk) else source.value.name,
        )  # fmt: skip
        if not self.lines:
            image = replace(image, machine="", image_id="", final=False)
        thing = self._add(image, source.work, birth=source.birth)
        self._after(0.0, 8.0, partial(self._dated, thing))
        self._after(5.0, 300.0, partial(self._finish, thing))
        return image.id

    def _dated(self, thing: Thing) -> None:
        """EC2 dates an image by its own making of it, which is some time after it was asked for."""
        if thing.there and thing.value.phase is Phase.PENDING:
            self._change(thing, taken_at=self.time)

    def _finish(self, thing: Thing) -> None:
        if not thing.there or thing.value.phase is not Phase.PENDING:
            return
        bad = self.script.get("image", []).pop(0) if self.script.get("image") else ""
        if bad == "failed" or self._befalls(self.faults.failed):
            thing.sound = False
            kind = self.random.choice([None, Kind.NO_SPACE, Kind.UNREADABLE])
            self._change(thing, phase=Phase.FAILED, kind=kind, reason="the snapshot failed")
        else:
            thing.sound = thing.sound and bad != "rotten" and not self._befalls(self.faults.rotten)
            self._change(thing, phase=Phase.READY)

    def _verify(self, id_: str) -> str:
        thing = self.find(id_)
        if thing is None or not isinstance(thing.value, Image) or thing.value.phase is Phase.ENDING:
            raise Refused(Kind.BAD_REQUEST, f"there is no image {id_}")
        if thing.value.phase is Phase.PENDING:
            raise Refused(Kind.NOT_READY, "it is still being taken", seconds=5.0)
        if thing.value.phase is Phase.READY and not thing.value.verified:
            if not thing.sound and self.random.random() < 0.5:
                raise Refused(Kind.CORRUPT, "block 7 is not what was written")
            self._change(thing, phase=Phase.VERIFYING)
            self._after(2.0, 60.0, partial(self._read_back, thing))
        return id_

    def _read_back(self, thing: Thing) -> None:
        if thing.there and thing.value.phase is Phase.VERIFYING:
            if thing.sound:
                self._change(thing, phase=Phase.READY, verified=True)
            else:
                self._change(thing, phase=Phase.FAILED, kind=Kind.CORRUPT, reason="block 7 is not as written")

    def _copy(self, id_: str, region: str, name: str) -> str:
        for thing in self.images():
            if thing.value.name == name and thing.value.region == region:
                return thing.value.id
        if known := self._copies.get((id_, region, name)):
            return known  # the same request is answered as it was then, whatever became of that
        source = self.find(id_)
        if source is None or not isinstance(source.value, Image) or source.value.phase is not Phase.READY:
            raise Refused(Kind.BAD_REQUEST, f"there is no image {id_}")
        copied = replace(
            source.value, id=self._id("m"), name=name, region=region, phase=Phase.PENDING, verified=False
        )
        thing = self._add(copied, source.work, sound=source.sound, birth=source.birth)
        self._copies[id_, region, name] = copied.id
        self._after(5.0, 300.0, partial(self._finish, thing))
        return copied.id

    def _delete_saved(self, id_: str, started_at: float) -> str:
        thing = self.find(id_)
        machine = thing.value if thing is not None else None
        saved = isinstance(machine, Instance) and (machine.phase, machine.started_at)
        if saved and saved[0] not in GONE and saved != (Phase.STOPPED, started_at):
            raise Refused(Kind.NOT_READY, f"{id_} was started again", seconds=5.0)
        return self._delete(id_, False)

    def _delete(self, id_: str, keep_disk: bool) -> str:
        thing = self.find(id_)
        if thing is None or thing.value.phase in GONE:
            return id_
        if isinstance(thing.value, Disk) and thing.value.held_by:
            raise Refused(Kind.NOT_READY, f"{id_} is in use at {thing.value.held_by}", seconds=5.0)
        if isinstance(thing.value, Instance):
            thing.keeps_disk = keep_disk
            if not keep_disk:
                self._destroy(thing)
                thing.work = frozenset()
            self._change(
                thing, phase=Phase.ENDING, reason="User initiated shutdown", stopped_at=self._off(thing)
            )
            self._after(2.0, 60.0, partial(self._ended, thing))
        else:
            self._destroy(thing)
            thing.work = frozenset()
            self._change(thing, phase=Phase.ENDING)
            self._after(0.0, 10.0, partial(self._vanish, thing))
        return id_

    def _off(self, thing: Thing) -> float:
        """When a machine that is ended was turned off: now, or before that."""
        machine = thing.value
        assert isinstance(machine, Instance)
        return machine.stopped_at if machine.phase in {Phase.STOPPED, Phase.STOPPING} else self.time

    def _ended(self, thing: Thing) -> None:
        machine = thing.value
        assert isinstance(machine, Instance)
        if thing.keeps_disk:
            disk = Disk(
                id=self._id("d"), desk=machine.desk, generation=machine.generation, phase=Phase.READY,
                provider=self.name, region=machine.region, zone=machine.zone, instance_id=machine.id,
                started_at=machine.started_at if self.random.random() < 0.7 else None, usd_per_month=0.8,
                machine=machine.name if self.lines else "", image_id=machine.image_id, line=machine.line,
            )  # fmt: skip
            self._add(disk, thing.work, birth=thing.birth)
        thing.work = frozenset()
        if self.lists_ended:
            self._change(thing, phase=Phase.ENDED)
            self._after(3600.0, 3600.0, partial(self._vanish, thing))
        else:
            self._vanish(thing)

    def _vanish(self, thing: Thing) -> None:
        thing.there = False
        self._show(thing, None)

    # ---- what happens by itself, or by somebody's hand ---------------------------------------------------

    def interrupt(self, id_: str) -> None:
        """The cloud takes a spot machine back; its disk stays."""
        thing = self.find(id_)
        if thing is None or thing.value.phase in GONE:
            return
        if thing.value.stoppable:
            self._halt(thing, "interrupted", thing.value.started_at)
            return
        thing.keeps_disk = True
        self._change(thing, phase=Phase.ENDING, reason="interrupted", stopped_at=self._off(thing))
        self._after(2.0, 60.0, partial(self._ended, thing))

    def lend(self, id_: str, to: str = "i-rescue") -> None:
        """Somebody puts a disk that was left into another machine of theirs."""
        thing = self.find(id_)
        assert thing is not None
        assert isinstance(thing.value, Disk)
        self._change(thing, held_by=to, phase=Phase.PENDING)

    def give_back(self, id_: str) -> None:
        thing = self.find(id_)
        assert thing is not None
        self._change(thing, held_by="", phase=Phase.READY)

    def console_delete(self, id_: str) -> None:
        """Somebody deletes a thing in the cloud's own console; work that is lost by that is theirs."""
        thing = self.find(id_)
        if thing is None or thing.value.phase in GONE:
            return
        self.lost_by_choice = True
        self.by_hand_at = self.clock.time
        before = self.given_up
        self.given_up = lambda desk: True
        self._delete(id_, thing.keeps_disk)
        self.given_up = before

    # ---- the machinery -----------------------------------------------------------------------------------

    def _call(self, operation: str, effect: Callable[[], str], offer: str = "") -> str:
        self.boundary(f"before {operation}")
        self._pass()
        fault = self._fault(operation)
        if isinstance(fault, Refused):
            raise fault
        if fault == "never":
            raise ConnectionError("the request got lost")
        if fault == "failing":
            raise Failing("the cloud failed to do it")
        if fault == "idle":  # said to be done
            self.calls.append(operation)
            return ""
        if fault == "late":
            self._after(20.0, IN_FLIGHT_SECONDS, partial(self._late, effect))
            raise ConnectionError("the request is stuck on its way")
        self.calls.append(operation)
        id_ = effect()
        self._pass()
        self.boundary(f"after {operation}")
        if fault == "lost":
            raise ConnectionError("the reply got lost")
        if fault == "failed":
            raise Failing("the cloud failed to answer, and had done it")
        return id_

    def _late(self, effect: Callable[[], str]) -> None:
        with contextlib.suppress(Refused):
            effect()

    def _fault(self, operation: str) -> Refused | str:
        self._acts += 1
        if self._acts in self.fault_at:
            return self.fault_at[self._acts]
        if scripted := self.script.get(operation):
            return scripted.pop(0)
        if self._befalls(self.faults.busy):
            busy = Refused(Kind.THROTTLED, "too many requests", seconds=0.0)
            return self.random.choice([busy, busy, "failing", "failed"])
        if self._befalls(self.faults.lost):
            return "lost"
        if self._befalls(self.faults.never):
            return "never"
        if self._befalls(self.faults.refused):
            kinds = [Kind.THROTTLED, Kind.DENIED, Kind.NOT_READY]
            if operation in {"launch", "start"}:
                kinds += [Kind.NO_CAPACITY, Kind.NO_CAPACITY, Kind.QUOTA]
            if operation == "bake":
                kinds += [Kind.NO_SPACE, Kind.QUOTA]
            return Refused(
                self.random.choice(kinds), "not just now", seconds=self.random.choice([5.0, 300.0])
            )
        return ""

    def _pass(self) -> None:
        if self.faults.seconds:
            self.clock.time += self.random.random() * self.faults.seconds / 2
        self._advance()
