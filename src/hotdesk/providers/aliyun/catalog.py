"""Collect what Alibaba Cloud sells in all regions, from the account.

Prices are asked type by type, and the service allows few such questions a minute: so only for a few types,
and for the rest the dated list that ships with hotdesk is shown.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

from hotdesk.core.errors import HotdeskError, NotAllowed, Refused
from hotdesk.core.matching import InstanceType
from hotdesk.core.model import Market, Offer
from hotdesk.core.pricelist import Gathering, Lacks, Told
from hotdesk.parallel import side_by_side
from hotdesk.providers.aliyun import hardware, prices
from hotdesk.providers.aliyun.account import Account
from hotdesk.providers.aliyun.credentials import has_credentials
from hotdesk.providers.aliyun.offers import SOURCE, SPOT_SOURCE, stock
from hotdesk.providers.aliyun.settings import Settings
from hotdesk.providers.cloud.price import Price

AT_ONCE = 8
MOST_TYPES = 8  # to ask prices of


class Prices:
    """Prices being collected by several threads, read when time is up (core.pricelist.PriceList)."""

    def __init__(self, asked: Gathering) -> None:
        self.asked = asked
        self.types: dict[str, InstanceType] = {}
        self.stock: dict[tuple[str, Market], dict[str, list[str]]] = {}
        self.listed: dict[tuple[str, str], Price] = {}
        self.spot: dict[tuple[str, str], tuple[Price, float]] = {}
        self.silent: dict[str, str] = {}

    def jobs(self) -> dict[str, Callable[[], None]]:
        return {"your Alibaba Cloud account": self._ask} if has_credentials() else {}

    def _ask(self) -> None:
        account = Account(self.asked.settings or Settings())
        known = account.regions()
        regions = [r for r in known if r in self.asked.regions] or list(known)
        with _asking("for types"):
            raw = account.pages(
                account.home, "DescribeInstanceTypes", "InstanceTypes", "InstanceType", MaxResults=100
            )
        kinds = [kind for one in raw if (kind := hardware.as_type(one)) and kind.arch]
        self.types = {kind.instance_type: kind for kind in kinds}
        chosen = sorted(self.asked.names(self.types.values()))[:MOST_TYPES]

        def ask(region: str) -> None:
            try:
                for market in Market:
                    self.stock[region, market] = stock(account, region, market)
                there = [name for name in chosen if name in self.stock[region, Market.ON_DEMAND]]
                pairs = [(region, name) for name in there]
                self.listed |= prices.on_demand(account, pairs, None, self.asked.now)
                self.spot |= prices.spot(account, pairs)
                self.asked.progress(f"{region}: {len(pairs)} types")
            except (Refused, HotdeskError) as error:
                self.silent[region] = getattr(error, "message", "") or str(error)

        side_by_side([partial(ask, region) for region in regions], AT_ONCE)

    def told(self) -> Told:
        now, money = self.asked.now, self.asked.money
        offers: list[Offer] = []
        for (region, market), zones in dict(self.stock).items():
            for name, places in zones.items():
                if not (kind := self.types.get(name)):
                    continue
                for zone in places:
                    told = self.spot.get((zone, name)) if market is Market.SPOT else None
                    price = told[0] if told else self.listed.get((region, name))
                    if price is None or (market is Market.SPOT and told is None):
                        continue
                    usd, amount = money.dollars(*price)
                    offers.append(
                        kind.offer(
                            region=region,
                            zone=zone,
                            market=market,
                            usd_per_hour=usd,
                            told_per_hour=amount,
                            price_time=now,
                            source=SPOT_SOURCE if told else SOURCE,
                        )
                    )
        spot = {region for region, market in self.stock if market is Market.SPOT}
        # What it was not asked about is in the list that ships, and is not asked about again.
        lacks = Lacks(silent=dict(self.silent), named=dict.fromkeys(self.types, self.asked.now))
        return Told(tuple(self.types.values()), offers, spot, lacks=lacks)


@contextlib.contextmanager
def _asking(what: str) -> Any:
    try:
        yield
    except Refused as no:
        raise NotAllowed(f"Alibaba Cloud cannot be asked {what}.", no.message, no.fix) from no
