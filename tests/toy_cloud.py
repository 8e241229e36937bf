"""A small cloud, entered as any other: its machines are this computer's, and cost imaginary money.

Nothing else of hotdesk has to know of a cloud: `tests/test_registry.py` drives this one
through every verb.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from hotdesk.core.billing.rates import Rates
from hotdesk.core.clouds import Cloud, Credentials, OwnBill, Sent
from hotdesk.core.errors import Kind, Refused
from hotdesk.core.model import Offer, Survey, Value, Want
from hotdesk.core.spot.prices import Storing
from hotdesk.providers import registry
from hotdesk.providers.local.provider import Local


class Settings(Value, frozen=True):
    usd_per_hour: float = 0.5
    key: str = "t0y-secret"


CLOUD = Cloud(
    name="toy",
    label="Toy Cloud",
    factory="tests.toy_cloud:make",
    rented=False,  # its machines can be reached without a tunnel
    rates=Rates(disk_usd_per_gib_month=0.1),
    settings=Settings,
    lent=Credentials(own="print('')", variable="TOY_KEY", send="tests.toy_cloud:lend", advice="Ask Toy."),
    policy="tests.toy_cloud:policy",
    bill=OwnBill(charge="Toy Cloud takes a marble.", about=("Marbles are not included.",)),
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
        usd = self.usd_per_hour
        paid = [msgspec.structs.replace(i, usd_per_hour=usd, charged_while_off=True) for i in seen.instances]
        return msgspec.structs.replace(seen, instances=tuple(paid))

    def spot_prices(
        self, offers: Sequence[Offer], since: float, until: float
    ) -> Mapping[str, list[tuple[float, float]]]:
        return {}

    def ended(self, machines: Sequence[str]) -> Mapping[str, float]:
        return {}

    def storing(self, regions: Iterable[str], *, ask: bool) -> Mapping[str, Storing]:
        return {}

    def billed(self, since: float, until: float) -> dict[str, float]:
        return {"blue": 7.0}


def policy() -> dict[str, Any]:
    return {"Allow": ["toy:*"]}


def lend(settings: Settings) -> Sent:
    if not settings.key:
        raise Refused(Kind.DENIED, "There is no key in [toy].", fix="toy login")
    return Sent(label=f"the toy key {settings.key[:3]}…", body=settings.key)


def make(context: registry.Context) -> Toy:
    return Toy(context)


registry.enter(CLOUD)
