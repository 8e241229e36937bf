"""A cloud of forty lines, entered as any other: its machines are this computer's, and cost imaginary money.

Nothing else of hotdesk has to know of a cloud: `tests/test_registry.py` drives this one
through every verb.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hotdesk.core.billing.rates import Rates
from hotdesk.core.clouds import Cloud
from hotdesk.core.model import Offer, Survey, Value, Want
from hotdesk.providers import registry
from hotdesk.providers.local.provider import Local


class Settings(Value, frozen=True):
    usd_per_hour: float = 0.5


CLOUD = Cloud(
    name="toy",
    label="Toy Cloud",
    factory="tests.toy_cloud:make",
    rented=False,  # its machines can be reached without a tunnel
    rates=Rates(disk_usd_per_gib_month=0.1),
    settings=Settings,
)


class Toy(Local):
    name = "toy"

    def __init__(self, context: registry.Context) -> None:
        super().__init__(context.state / "toy", context.keys)
        self.usd_per_hour = context.settings.usd_per_hour

    def offers(self, want: Want) -> Sequence[Offer]:
        return [
            msgspec.structs.replace(offer, provider=self.name, usd_per_hour=self.usd_per_hour)
            for offer in super().offers(want)
        ]

    def survey(self, regions: Sequence[str] = ()) -> Survey:
        seen = super().survey(regions)
        paid = [msgspec.structs.replace(i, usd_per_hour=self.usd_per_hour) for i in seen.instances]
        return msgspec.structs.replace(seen, instances=tuple(paid))


def make(context: registry.Context) -> Toy:
    return Toy(context)


registry.enter(CLOUD)
