"""Every cloud that hotdesk knows: one line each. Nothing else names one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hotdesk.core import clouds
from hotdesk.core.clouds import Cloud, Regions, Sent
from hotdesk.core.errors import Missing, NotAllowed, Refused, Usage
from hotdesk.core.model import Value
from hotdesk.core.money import Money
from hotdesk.core.ports import Cache, Clock, KeyRing, Provider
from hotdesk.core.pricelist import Gathering, PriceList, Shipped
from hotdesk.core.spot.prices import Storing
from hotdesk.providers import aliyun, aws, local, ssh
from hotdesk.system import install_line

DEFAULT = local.CLOUD.name  # where a desk is that nobody put elsewhere


class Context(Value, frozen=True):
    """What a provider is made of: this computer's state, and what only its layers above know."""

    state: Path
    cache: Cache
    keys: KeyRing
    clock: Clock
    settings: Any  # of the type that the cloud's `settings` names
    money: Money  # turns prices in other currencies into dollars
    list_price: Callable[[str, str], Shipped | None]
    storing: Callable[[str], Storing]


def enter(cloud: Cloud) -> None:
    """Make a cloud known, to every command and to hotdesk.toml."""
    clouds.KNOWN[cloud.name] = cloud


for _cloud in (local.CLOUD, aws.CLOUD, aliyun.CLOUD, ssh.CLOUD):
    enter(_cloud)


def known(name: str, again: str = f"hotdesk up --provider {DEFAULT}") -> Cloud:
    """Raises `Usage` for a cloud that hotdesk does not know; `again`: the command with one that it does."""
    try:
        return clouds.KNOWN[name]
    except KeyError:
        raise Usage(
            f"There is no provider {name!r}.",
            f"There are: {', '.join(clouds.KNOWN)}.",
            again,
        ) from None


def provider(name: str, context: Context) -> Provider:
    """The provider of that name. Raises `Usage` for an unknown one, `Missing` without its packages."""
    cloud = known(name)
    check(cloud)
    made: Provider = _named(cloud.factory)(context)
    return made


def check(cloud: Cloud) -> None:
    """Raises `Missing`, with the line that installs them, where modules of the cloud's extra are absent."""
    absent = [module for module in cloud.requires if find_spec(module) is None]
    if absent:
        are = "are" if absent[1:] else "is"
        raise Missing(
            f"hotdesk cannot use {cloud.label}: {', '.join(absent)} {are} not installed.",
            f"It comes with the extra {cloud.extra!r}, which this installation does not have.",
            install_line(cloud.extra),
        )


def price_list(cloud: Cloud, asked: Gathering) -> PriceList:
    """How that cloud tells what it sells; it must be one with `prices`."""
    made: PriceList = _named(cloud.prices)(asked)
    return made


def spot_history(
    cloud: Cloud, settings: Any, names: Sequence[str], places: Sequence[str], now: float
) -> tuple[list[Any], tuple[str, ...]]:
    """Rows of past spot prices of these types there, and notes; the cloud must be one with `spot_history`."""
    told: tuple[list[Any], tuple[str, ...]] = _named(cloud.spot_history)(settings, names, places, now)
    return told


def within_reach() -> set[str]:
    """Rented clouds for which credentials lie here; their packages may be missing all the same."""
    known = (cloud for cloud in clouds.KNOWN.values() if cloud.rented and cloud.credentials)
    return {cloud.name for cloud in known if _named(cloud.credentials)()}


def policy(name: str = "") -> Any:
    """The least that hotdesk must be allowed to do in that cloud, as a document; "": the first that has one.

    Raises `Usage` for an unknown cloud, `Missing` for one without such policies.
    """
    with_one = [cloud for cloud in clouds.KNOWN.values() if cloud.policy]
    again = f"hotdesk iam --provider {with_one[0].name}"
    cloud = known(name, again) if name else with_one[0]
    if not cloud.policy:
        raise Missing(
            f"{_capital(cloud.label)} has no access policy to print.",
            "hotdesk needs no permissions there that could be granted one by one.",
            again,
        )
    return _named(cloud.policy)()


def caution(cloud: Cloud, settings: Any) -> str:
    """What to know before a machine is launched there with these settings; "" for nothing."""
    return str(_named(cloud.caution)(settings)) if cloud.caution else ""


def lend(cloud: Cloud, settings: Any) -> Sent | None:
    """This computer's credentials for that cloud, to be sent to a desk; None where it needs none.

    Raises `NotAllowed` where there are none, `Missing` without the cloud's packages.
    """
    if cloud.lent is None:
        return None
    check(cloud)
    try:
        sent: Sent = _named(cloud.lent.send)(settings)
    except Refused as no:
        what = f"This computer's {cloud.label} credentials cannot be sent."
        raise NotAllowed(what, no.message, no.fix) from no
    return sent


def own(name: str, settings: Any) -> str:
    """Where this computer's own credentials for that cloud come from, in words; "" where it has none."""
    lent = known(name).lent
    return str(_named(lent.own)(settings)) if lent else ""


def enter_machine(
    name: str, state: Path, settings: Any, address: Mapping[str, Any], *, key: str, ask: Callable[[str], bool]
) -> str:
    """Remember a machine that its owner names by an address, in that cloud; its zone there.

    Raises `Usage` for a cloud that takes none, and as the cloud's own function does.
    """
    cloud = known(name)
    if not cloud.machines:
        able = ", ".join(one.name for one in clouds.KNOWN.values() if one.machines)
        raise Usage(
            f"{_capital(cloud.label)} has no machine of yours to name.",
            f"--host is for machines that you can log in to (provider: {able}).",
            f"hotdesk up --provider {able} --host {address['host']}",
        )
    zone: str = _named(cloud.machines)(state, settings, address, key, ask)
    return zone


def of_machines() -> str:
    """The cloud whose machines are named by an address."""
    return next(cloud.name for cloud in clouds.KNOWN.values() if cloud.machines)


def with_regions() -> tuple[str, ...]:
    """The clouds whose regions are known."""
    return tuple(cloud.name for cloud in clouds.KNOWN.values() if cloud.regions)


def regions(name: str) -> Regions:
    """The regions of one of these clouds."""
    found: Regions = _named(clouds.KNOWN[name].regions)
    return found


def _capital(label: str) -> str:
    return label[:1].upper() + label[1:]


def _named(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
