"""Static facts about each cloud: its name, defaults and rates.

`providers/registry.py` enters them; all other code looks them up here and never compares a cloud's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hotdesk.core.billing.rates import Rates
from hotdesk.core.model import Value


class Regions(Value, frozen=True):
    """Where a cloud has machines, and a host in each region, to which latency is measured."""

    cities: Mapping[str, str]  # by region
    host: str  # "ec2.{region}.example"; it answers on port 443


class OwnBill(Value, frozen=True):
    """That a cloud can be asked for its own bill (`core.ports.Biller.billed`)."""

    charge: str = ""  # what asking costs, as a sentence; "": nothing
    about: tuple[str, ...] = ()  # what to know when reading it, in lines


class Credentials(Value, frozen=True):
    """How a program at a desk comes by a cloud's credentials."""

    own: str  # "module:function": where a machine's own come from, in words, by the cloud's settings; or ""
    variable: str  # names the file that holds those sent there
    send: str  # "module:function": this computer's, as `Sent`, of the cloud's settings
    variables: tuple[str, ...] = ()  # settings of this computer that it needs as well; none is a secret
    advice: str = ""  # how a machine gets its own


class Sent(Value, frozen=True):
    """Credentials of this computer, to be sent to a desk whose owner has agreed to that."""

    label: str  # what they are called, without a secret: "the AWS access key AKIA1234…"
    body: str  # a file


class Cloud(Value, frozen=True):
    """One cloud, or this computer. A new one is a package and one line in `providers/registry.py`."""

    name: str  # as in `--provider` and hotdesk.toml
    label: str  # its name in messages
    factory: str  # "module:function": makes the provider of a `providers.registry.Context`
    rented: bool = True  # its machines are remote and cost money by the hour
    idle_minutes: float = 60.0  # without work, until a machine ends itself; 0: never
    holds: bool = False  # it launches placeholders: a job asks for another place while its machine works
    first_hour_free: bool = False  # a spot machine interrupted within its first hour costs nothing
    rates: Rates = Rates()
    extra: str = ""  # `pip install "hotdesk[extra]"`
    requires: tuple[str, ...] = ()  # modules of that extra that the provider imports
    settings: type[Any] | None = None  # the type of its section of hotdesk.toml
    #: By setting: the environment variables that count, in this order, where hotdesk.toml does not set it.
    variables: Mapping[str, tuple[str, ...]] = {}
    keys: tuple[str, ...] = ()  # environment variables that may hold its credentials
    prices: str = ""  # "module:class": its price list (core.pricelist.PriceList), made from a `Gathering`
    spot_history: str = ""  # "module:function": its past spot prices, as `market.history_files` reads them
    credentials: str = ""  # "module:function": whether this computer has some; no network request
    log_in: str = ""  # the command that sets them up here
    lent: Credentials | None = None  # to a watcher on a desk; None: none are needed
    policy: str = ""  # "module:function": the minimal permissions hotdesk needs, for `hotdesk iam`
    regions: str = ""  # "module:name": its `Regions`
    caution: str = ""  # "module:function": what to know before a launch, by its settings; "" for nothing
    bill: OwnBill | None = None  # None: it has no bill to ask for
    #: "module:function": remembers a machine that its owner names by an address; "": it has only its own.
    machines: str = ""
    pooled: bool = False  # its images are in this computer's store, from which others of them can restore


KNOWN: dict[str, Cloud] = {}


def cloud(name: str) -> Cloud:
    """The facts about a cloud; only its name if it is not registered."""
    return KNOWN.get(name) or Cloud(name=name, label=name, factory="")


def rates() -> Mapping[str, Rates]:
    """What each cloud charges besides machines, by its name."""
    return {name: known.rates for name, known in KNOWN.items() if known.rates != Rates()}
