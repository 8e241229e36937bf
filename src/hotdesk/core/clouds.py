"""What is known of each cloud without asking it: its name, its ways and its rates.

`providers/registry.py` enters them; everything else looks them up here and never compares a cloud's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hotdesk.core.billing.rates import Rates
from hotdesk.core.model import Value


class Cloud(Value, frozen=True):
    """One cloud, or this computer. A new one is a package and one line in `providers/registry.py`."""

    name: str  # as in `--provider` and hotdesk.toml
    label: str  # as people call it, in a sentence
    factory: str  # "module:function": makes the provider of a `providers.registry.Context`
    rented: bool = True  # its machines cost money by the hour, and stand elsewhere
    idle_minutes: float = 60.0  # without work, until a machine ends itself; 0: never
    first_hour_free: bool = False  # a spot machine that is taken within its first hour costs nothing
    rates: Rates = Rates()
    extra: str = ""  # `pip install "hotdesk[extra]"`
    requires: tuple[str, ...] = ()  # modules of that extra, without which there is no provider
    settings: type[Any] | None = None  # what its section of hotdesk.toml may hold
    prices: str = ""  # "module:class": what it sells (core.pricelist.PriceList), of a `Gathering`
    spot_history: str = ""  # "module:function": its past spot prices, as `market.history_files` reads them
    credentials: str = ""  # "module:function": whether some lie here; asks nobody


KNOWN: dict[str, Cloud] = {}


def cloud(name: str) -> Cloud:
    """What is known of that cloud; of one that nobody entered, only its name."""
    return KNOWN.get(name) or Cloud(name=name, label=name, factory="")


def rates() -> Mapping[str, Rates]:
    """What each cloud charges beside its machines, by its name."""
    return {name: known.rates for name, known in KNOWN.items() if known.rates != Rates()}
