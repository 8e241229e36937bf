"""What every provider must do, whatever it is made of. See `core.ports.Provider` for the three laws.

A test file makes a class that inherits `Conformance` and gives it a fixture `rig`. A rig is a provider with
a way to wait, and a way to look at a machine's disk. Every test uses desks of its own and leaves nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import pytest

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.fleet import FleetOrder, FleetReply
from hotdesk.core.model import Disk, Image, Instance, Market, Offer, Phase, Survey, Want
from hotdesk.core.ports import Fleets, Provider, Retyper
from hotdesk.core.steps import BakeOrder, LaunchOrder

UNSETTLED = {Phase.PENDING, Phase.STOPPING, Phase.VERIFYING, Phase.ENDING}
BORN = 1_700_000_000.25


class Rig(Protocol):
    provider: Provider
    #: What this provider cannot do, each with the reason: "keep_disk", "stop".
    cannot: dict[str, str]
    #: Kinds of leftovers that cost nothing and may stay until the desk is gone.
    free: frozenset[str]

    def settle(self) -> Survey:
        """Wait until nothing is under way any more; the survey that shows it."""
        ...

    def again(self) -> Provider:
        """Another provider object over the same cloud, as a second command has it."""
        ...

    def write(self, machine: Instance, name: str, text: str) -> None:
        """A file in the home of a READY machine."""
        ...

    def read(self, machine: Instance, name: str) -> str | None: ...


def order_for(offer: Offer, desk: str, **changes: Any) -> LaunchOrder:
    return LaunchOrder(
        **{"desk": desk, "born": BORN, "generation": 1, "attempt": 0, "offer": offer, **changes}
    )


def bake_for(source: Instance | Disk, **changes: Any) -> BakeOrder:
    return BakeOrder(
        **{
            "desk": source.desk,
            "born": BORN,
            "generation": source.generation,
            "attempt": 0,
            "source_id": source.id,
            "started_at": source.started_at or 0.0,
            "region": source.region,
            **changes,
        }
    )


def at_once(rig: Rig, call: Callable[[Provider], object], times: int = 4) -> list[object]:
    """The same call from several commands at the same moment; the answers, refusals among them."""

    def one(provider: Provider) -> object:
        try:
            return call(provider)
        except Refused as refused:
            return refused

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(one, [rig.again() for _ in range(times)]))


class Conformance:
    """Inherit, and give a fixture `rig`."""

    @pytest.fixture
    def desk(self, rig: Rig, request: pytest.FixtureRequest) -> Iterator[str]:
        """A desk's name that no other test has; nothing of it is left afterwards."""
        name = f"t{zlib.crc32(request.node.name.encode()):08x}"
        yield name
        for _ in range(4):
            seen = rig.settle().of(name)
            things = [*seen.machines, *seen.disks, *seen.images, *seen.leftovers]
            for thing in things:
                rig.provider.delete(thing.id)
            if not things:
                return
        raise AssertionError(f"this cannot be deleted: {things}")

    @pytest.fixture
    def offer(self, rig: Rig) -> Offer:
        """One whose machine can be stopped: a one-time spot machine cannot, wherever its price puts it."""
        return [o for o in rig.provider.offers(Want()) if o.market is Market.ON_DEMAND][-1]

    def ready(self, rig: Rig, order: LaunchOrder) -> Instance:
        id_ = rig.provider.launch(order)
        machine = next(i for i in rig.settle().instances if i.id == id_)
        assert machine.phase is Phase.READY, machine
        return machine

    def stopped(self, rig: Rig, machine: Instance) -> Instance:
        if "stop" in rig.cannot:
            pytest.skip(rig.cannot["stop"])
        rig.provider.power(machine.id, False)
        machine = next(i for i in rig.settle().instances if i.id == machine.id)
        assert machine.phase is Phase.STOPPED, machine
        return machine

    def baked(self, rig: Rig, order: BakeOrder) -> Image:
        id_ = rig.provider.bake(order)
        return next(i for i in rig.settle().images if i.id == id_)

    def verified(self, rig: Rig, order: BakeOrder) -> Image:
        image = self.baked(rig, order)
        assert image.phase is Phase.READY, image
        for _ in range(3):  # reading back may have stages, each a step of the planner
            rig.provider.verify(image.id)
            [image] = [i for i in rig.settle().images if i.name == order.name]
            assert image.phase is Phase.READY, image
            if image.verified:
                return image
        raise AssertionError(image)

    # ---- offers --------------------------------------------------------------------------------------

    def test_offers_have_what_a_choice_needs(self, rig: Rig) -> None:
        offers = rig.provider.offers(Want())
        assert offers
        assert len({o.key for o in offers}) == len(offers)
        for offer in offers:
            assert offer.provider == rig.provider.name
            assert offer.region
            assert offer.instance_type
            assert offer.usd_per_hour >= 0
            assert offer.vcpus > 0
            assert offer.memory_gib > 0
            assert offer.why

    def offered(self, rig: Rig, want: Want) -> Sequence[Offer]:
        """The offers; none when the provider says that what is wanted does not exist, and names what does."""
        try:
            return rig.provider.offers(want)
        except Refused as refused:
            if refused.kind is not Kind.BAD_REQUEST or not refused.fix:
                raise
            return ()

    def test_offers_obey_what_is_wanted(self, rig: Rig) -> None:
        every = rig.provider.offers(Want())
        one = every[-1]
        assert {o.instance_type for o in rig.provider.offers(Want(instance_type=one.instance_type))} == {
            one.instance_type
        }
        assert not self.offered(rig, Want(instance_type="no-such-type"))
        assert not rig.provider.offers(Want(gpu="no-such-gpu"))
        assert all(not o.gpu for o in rig.provider.offers(Want(gpu="none")))
        assert not rig.provider.offers(Want(usd_per_hour_max=-1.0))
        assert not self.offered(rig, Want(regions=("no-such-region",)))
        assert not rig.provider.offers(Want(gpu_count=1000))
        assert all(o.market == "spot" for o in rig.provider.offers(Want(market="spot")))
        assert all(o.market == "on-demand" for o in rig.provider.offers(Want(market="on-demand")))

    # ---- a day ---------------------------------------------------------------------------------------

    def test_a_day_at_the_desk(self, rig: Rig, desk: str, offer: Offer) -> None:
        """1. launched, worked at. 2. stopped, baked, verified, deleted. 3. launched from the image: the work
        is there."""
        order = order_for(offer, desk)
        id_ = rig.provider.launch(order)
        machine = rig.provider.survey().of(desk).live
        assert machine is not None, "a machine is listed as soon as its launch has returned"
        assert machine.id == id_
        machine = self.ready(rig, order)
        assert (machine.id, machine.name, machine.desk) == (id_, order.name, desk)
        assert (machine.generation, machine.image_id) == (1, "")
        assert (machine.provider, machine.region) == (rig.provider.name, offer.region)
        assert machine.instance_type == offer.instance_type
        assert machine.started_at > 0
        rig.write(machine, "work.txt", "all of it\n")
        machine = self.stopped(rig, machine)

        bake = bake_for(machine)
        image = self.baked(rig, bake)
        assert image.phase is Phase.READY
        assert not image.verified, "an image counts only after it was read back"
        assert (image.name, image.desk, image.generation) == (bake.name, desk, 1)
        assert image.source_id == machine.id
        assert image.taken_at > machine.started_at
        image = self.verified(rig, bake)

        rig.provider.delete(machine.id)
        assert not rig.settle().of(desk).machines
        again = self.ready(rig, order_for(offer, desk, generation=2, image_id=image.id))
        assert again.image_id == image.id
        assert again.generation == 2
        assert rig.read(again, "work.txt") == "all of it\n"

    def test_waking_makes_every_earlier_image_stale(self, rig: Rig, desk: str, offer: Offer) -> None:
        """1. stopped and baked. 2. woken: the image is older than the start. 3. stopped, baked anew: it is
        not, and holds what was written in between."""
        machine = self.stopped(rig, self.ready(rig, order_for(offer, desk)))
        first = self.baked(rig, bake_for(machine))
        rig.provider.power(machine.id, True)
        awake = rig.settle().of(desk).live
        assert awake is not None
        assert awake.phase is Phase.READY
        assert awake.started_at > machine.started_at
        assert first.taken_at <= awake.started_at
        before = rig.provider.survey().of(desk).ids
        with pytest.raises(Refused):
            rig.provider.bake(bake_for(awake, attempt=7))  # it runs: what it writes would be missed
        assert rig.provider.survey().of(desk).ids == before, "a refusal means that nothing was made"
        rig.write(awake, "later.txt", "later\n")
        asleep = self.stopped(rig, awake)
        assert asleep.started_at == awake.started_at
        second = self.verified(rig, bake_for(asleep))
        assert second.id != first.id
        assert second.taken_at > asleep.started_at
        rig.provider.delete(machine.id)
        rig.settle()
        last = self.ready(rig, order_for(offer, desk, generation=2, image_id=second.id))
        assert rig.read(last, "later.txt") == "later\n"

    # ---- twice is once -------------------------------------------------------------------------------

    def test_the_same_launch_from_four_commands_is_one_machine(
        self, rig: Rig, desk: str, offer: Offer
    ) -> None:
        order = order_for(offer, desk)
        answers = at_once(rig, lambda provider: provider.launch(order))
        assert len(set(answers)) == 1, answers
        assert [i.id for i in rig.provider.survey().of(desk).machines] == [answers[0]]
        assert rig.provider.launch(order) == answers[0]
        machine = self.ready(rig, order)
        started_at = machine.started_at
        assert rig.provider.launch(order) == answers[0]
        (seen,) = rig.settle().of(desk).machines
        assert seen.started_at == started_at, "asking again does not start it again"

    def test_power_bake_verify_and_delete_twice_are_once(self, rig: Rig, desk: str, offer: Offer) -> None:
        machine = self.ready(rig, order_for(offer, desk))
        rig.provider.power(machine.id, True)
        assert rig.settle().of(desk).live == machine, "what runs already is not started again"
        if "stop" in rig.cannot:
            pytest.skip(rig.cannot["stop"])
        at_once(rig, lambda provider: provider.power(machine.id, False))
        machine = self.stopped(rig, machine)
        order = bake_for(machine)
        answers = at_once(rig, lambda provider: provider.bake(order))
        assert len(set(answers)) == 1, answers
        image = self.baked(rig, order)
        assert [i.id for i in rig.provider.survey().of(desk).images] == [image.id]
        at_once(rig, lambda provider: provider.verify(image.id))
        assert rig.settle().of(desk).images[0].verified
        taken = rig.settle().of(desk).images[0]
        rig.provider.verify(image.id)
        assert rig.provider.bake(order) == image.id
        assert rig.settle().of(desk).images == (taken,), "an image is never taken anew under its name"
        at_once(rig, lambda provider: provider.power(machine.id, True))
        awake = rig.settle().of(desk).live
        assert awake is not None
        assert awake.phase is Phase.READY
        at_once(rig, lambda provider: provider.delete(machine.id))
        at_once(rig, lambda provider: provider.delete(image.id))
        seen = rig.settle().of(desk)
        left = [thing for thing in seen.leftovers if thing.kind not in rig.free]
        assert not [*seen.machines, *seen.disks, *seen.images, *left]

    def test_a_machine_that_is_off_can_be_given_another_type(self, rig: Rig, desk: str) -> None:
        """Of a provider whose machines say so. While it runs it cannot, and twice is once."""
        offer = next(o for o in rig.provider.offers(Want()) if o.market is Market.ON_DEMAND)
        machine = self.ready(rig, order_for(offer, desk))
        if not machine.retypable:
            assert not isinstance(rig.provider, Retyper)
            return
        provider = rig.provider
        assert isinstance(provider, Retyper)
        mine = self.offered(rig, Want(market=offer.market.value, zone=offer.zone))
        other = next(o for o in mine if o.instance_type != offer.instance_type and o.arch == machine.arch)
        with pytest.raises(Refused) as no:
            provider.retype(machine.id, other, 2)
        assert no.value.kind is Kind.NOT_READY
        rig.write(machine, "notes.txt", "all of monday")
        self.stopped(rig, machine)
        provider.retype(machine.id, other, 2)
        provider.retype(machine.id, other, 2)
        rig.provider.power(machine.id, True)
        [moved] = [i for i in rig.settle().instances if i.id == machine.id]
        assert (moved.phase, moved.instance_type) == (Phase.READY, other.instance_type)
        assert (moved.generation, moved.retyped_for, moved.chosen_for) == (1, 2, 2)
        assert moved.usd_per_hour == pytest.approx(other.usd_per_hour)
        assert rig.read(moved, "notes.txt") == "all of monday"

    def test_deleting_what_is_absent_is_success(self, rig: Rig, desk: str, offer: Offer) -> None:
        before = rig.settle().of(desk)
        for absent in ("no-such-thing", order_for(offer, desk).name, "i-0123456789abcdef0"):
            rig.provider.delete(absent)
        assert rig.settle().of(desk) == before

    def test_different_orders_have_different_effects(self, rig: Rig, desk: str, offer: Offer) -> None:
        orders = [
            order_for(offer, desk),
            order_for(offer, desk, attempt=1),
            order_for(offer, desk, generation=2),
            order_for(offer, desk, born=BORN + 1),
            order_for(offer, desk, image_id="an-image"),
        ]
        assert len({o.name for o in orders}) == len(orders)

    # ---- it is discoverable --------------------------------------------------------------------------

    def test_another_command_sees_the_same(self, rig: Rig, desk: str, offer: Offer) -> None:
        machine = self.ready(rig, order_for(offer, desk))
        other = rig.again().survey()
        assert other.of(desk).live == machine
        assert other.lag_seconds >= 0
        assert other.poll_seconds > 0
        assert not other.unread
        assert other.provider == rig.provider.name
        access = rig.provider.access(machine)
        assert access.desk == desk
        assert access.port > 0
        assert access.notebook_port > 0
        assert access.alias

    def test_a_machine_that_is_deleted_while_it_starts_is_gone(
        self, rig: Rig, desk: str, offer: Offer
    ) -> None:
        id_ = rig.provider.launch(order_for(offer, desk))
        try:
            rig.provider.delete(id_)
        except Refused as no:  # a cloud may not know yet which disks are to go with it
            if no.kind is not Kind.NOT_READY:
                raise
            rig.settle()
            rig.provider.delete(id_)
        seen = rig.settle().of(desk)
        left = [thing for thing in seen.leftovers if thing.kind not in rig.free]
        assert not [*seen.machines, *seen.disks, *left]

    # ---- a no is a no --------------------------------------------------------------------------------

    def test_a_refusal_changes_nothing(self, rig: Rig, desk: str, offer: Offer) -> None:
        wrong: Sequence[Callable[[], object]] = (
            lambda: rig.provider.launch(order_for(offer, desk, image_id="no-such-image")),
            lambda: rig.provider.power("no-such-machine", True),
            lambda: rig.provider.verify("no-such-image"),
            lambda: rig.provider.bake(
                BakeOrder(
                    desk=desk,
                    born=BORN,
                    generation=1,
                    attempt=0,
                    source_id="no-such-machine",
                    started_at=1.0,
                    region=offer.region,
                )
            ),
            lambda: rig.provider.copy("no-such-image", "no-such-region", "a-copy"),
        )
        before = rig.settle().of(desk)
        for call in wrong:
            with pytest.raises(Refused) as refused:
                call()
            assert refused.value.message
            assert rig.settle().of(desk) == before

    # ---- a disk that outlives its machine ------------------------------------------------------------

    def test_a_disk_is_kept_when_asked_and_can_be_baked(self, rig: Rig, desk: str, offer: Offer) -> None:
        if "keep_disk" in rig.cannot:
            pytest.skip(rig.cannot["keep_disk"])
        machine = self.ready(rig, order_for(offer, desk))
        rig.write(machine, "work.txt", "kept\n")
        rig.provider.delete(machine.id, keep_disk=True)
        seen = rig.settle().of(desk)
        assert not seen.machines
        (disk,) = seen.disks
        assert disk.desk == desk
        assert disk.generation == machine.generation
        assert disk.instance_id == machine.id
        image = self.verified(rig, bake_for(disk))
        assert image.source_id in {disk.id, machine.id}
        rig.provider.delete(disk.id)
        assert not rig.settle().of(desk).disks
        again = self.ready(rig, order_for(offer, desk, generation=2, image_id=image.id))
        assert rig.read(again, "work.txt") == "kept\n"

    # ---- fleets --------------------------------------------------------------------------------------

    def test_a_fleet_comes_once_is_seen_by_all_and_goes_whole(
        self, rig: Rig, desk: str, offer: Offer
    ) -> None:
        """Three commands ask for it at once: three machines, found by its name; ended twice, all is gone."""
        provider = rig.provider
        if not isinstance(provider, Fleets):
            pytest.skip(f"{provider.name} launches no fleets")
        machine = self.stopped(rig, self.ready(rig, order_for(offer, desk)))
        image = self.baked(rig, bake_for(machine))
        order = FleetOrder(
            fleet=f"sweep-{desk}", desk=desk, number=1, count=3, offers=(offer,), image_id=image.id
        )

        def launch(one: Provider) -> object:
            assert isinstance(one, Fleets)
            return one.launch_fleet(order)

        replies = [r for r in at_once(rig, launch, 3) if isinstance(r, FleetReply)]
        made = {m.id for reply in replies for m in reply.machines}
        assert len(made) == 3, replies
        assert {i.id for i in rig.settle().of(order.fleet).machines} == made
        shown = provider.fleet(order.fleet, offer.region)
        assert {i.id for i in shown} == made
        assert all(i.private_ip and i.phase is Phase.READY for i in shown)
        assert {i.id for i in rig.provider.survey().of(desk).machines} == {machine.id}
        for _ in range(2):
            provider.end_fleet(made)
        left = rig.settle().of(order.fleet)
        assert (left.machines, left.disks) == ((), ())
        for _ in range(2):
            provider.clear_fleet(order.fleet, offer.region)
