"""Read hotdesk.toml: defaults, and settings of desks and clouds.

[defaults]
provider = "local"             # local | aws
regions  = ["us-west-2"]
usd_per_month = 50.0           # warns at 80 %, launches nothing past 100 % without --over-budget

[desks.blue]
gpu = "L4"                     # or instance_type = "g6.xlarge"
market = "cheapest"            # on-demand | spot | cheapest
disk_gib = 200
usd_per_hour_max = 1.10
idle = "45m"                   # park it after this long without work; or "never"
lease = "12h"                  # end the machine this long after the last `hotdesk up`, which renews it
[aws]
profile = "work"               # all settings: hotdesk/providers/aws/settings.py
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hotdesk.core import clouds, lengths
from hotdesk.core.errors import Damaged, Usage
from hotdesk.core.model import Value, Want, check_name

T = TypeVar("T")
MARKETS = ("on-demand", "spot", "cheapest")


class Defaults(Value, frozen=True):
    provider: str = ""  # "": local, unless a desk says otherwise
    regions: tuple[str, ...] = ()
    usd_per_month: float = 0.0  # 0: no limit


class DeskSettings(Want, frozen=True):
    """What a desk wants. `idle` and `lease` are lengths of time; plain numbers are minutes and hours.

    `idle_park_minutes` and `lease_hours` are their names up to 0.1.
    """

    provider: str = ""
    idle: str | float | None = None
    lease: str | float | None = None
    idle_park_minutes: float | None = None
    lease_hours: float = 0.0

    @property
    def idle_minutes(self) -> float | None:
        """0: never; None: the cloud's default."""
        return self.idle_park_minutes if self.idle is None else _length(self.idle, "m")

    @property
    def lease_in_hours(self) -> float:
        """0: no lease."""
        return self.lease_hours if self.lease is None else _length(self.lease, "h")


class Config(Value, frozen=True):
    defaults: Defaults = Defaults()
    desks: dict[str, DeskSettings] = msgspec.field(default_factory=dict)
    clouds: dict[str, Any] = msgspec.field(default_factory=dict)  # by name: the settings of its section

    def cloud(self, name: str) -> Any:
        """A cloud's settings from the file, else its defaults; of the type in `Cloud.settings`."""
        kind = clouds.cloud(name).settings
        return self.clouds.get(name) or (kind() if kind else None)


def load(files: list[Path]) -> Config:
    """The first of these files that exists; the defaults when none does.

    Raises `Damaged`, naming the file, the key and the nearest known key.
    """
    for path in files:
        try:
            text = path.read_text("utf-8")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise Damaged(f"{path} cannot be read.", str(error), f"ls -l {path}") from error
        return parse(text, path)
    return Config()


def parse(text: str, path: Path) -> Config:
    try:
        told: dict[str, Any] = msgspec.toml.decode(text)
    except msgspec.DecodeError as error:
        raise Damaged(f"{path} is not valid TOML.", str(error), _edit(path)) from None
    own = {name: told.pop(name) for name in _sections() if name in told}
    config = _as(Config, told, "", path)
    settings = {name: _as(_sections()[name], section, name, path) for name, section in own.items()}
    config = msgspec.structs.replace(config, clouds=settings)
    for why in _impossible(config):
        raise Damaged(f"{path} has an impossible setting.", why, _edit(path))
    return config


def _sections() -> dict[str, type[Any]]:
    """The clouds' sections, by name, with the type of their settings."""
    return {name: cloud.settings for name, cloud in clouds.KNOWN.items() if cloud.settings}


def _as(kind: type[T], told: object, section: str, path: Path) -> T:
    try:
        return msgspec.convert(told, kind)
    except msgspec.ValidationError as error:
        raise Damaged(
            f"{path} has a setting that hotdesk cannot use.", _explain(error, section), _edit(path)
        ) from None


def _impossible(config: Config) -> Iterator[str]:
    """Values of the right type that are still invalid, each as a sentence."""
    yield from _none_of(config.defaults.provider, tuple(clouds.KNOWN), "defaults.provider")
    for name, desk in config.desks.items():
        at = f"desks.{name}"
        try:
            check_name(name)
        except Usage as error:
            yield f"{at}: {error.why}"
        yield from _none_of(desk.provider, tuple(clouds.KNOWN), f"{at}.provider")
        yield from _none_of(desk.market, MARKETS, f"{at}.market")
        for field, told, unit in (("idle", desk.idle, "m"), ("lease", desk.lease, "h")):
            try:
                _length(told or 0, unit)
            except ValueError as error:
                yield f"{at}.{field}: {error}"
        for field, most in (("disk_gib", 65536), ("gpu_count", 1024), ("usd_per_hour_max", math.inf)):
            value = getattr(desk, field)
            if value is not None and not 0 <= value <= most:
                yield f"{at}.{field} is {value}; it must be 0 or more."


def _length(told: str | float, unit: str) -> float:
    """A length in its unit; 0 for never. Raises `ValueError`."""
    return 0.0 if told == lengths.NEVER else lengths.seconds(str(told), unit) / lengths.SECONDS[unit]


def _none_of(value: str, known: Sequence[str], at: str) -> Iterator[str]:
    if value and value not in known:
        near = difflib.get_close_matches(value, known, n=1)
        meant = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}."
        yield f"{at} is {value!r}; {meant}"


def _edit(path: Path) -> str:
    return f"${{EDITOR:-vi}} {path}"


def _explain(error: msgspec.ValidationError, section: str) -> str:
    """msgspec's message, with the key as written in the file and the nearest known key."""
    text = str(error)
    place = m.group(1) if (m := re.search(r"at `\$\.?([^`]*)`", text)) else ""
    place = ".".join(p for p in (section, place.replace("[...]", ".*").removesuffix("[*]")) if p)
    if unknown := re.search(r"unknown field `([^`]+)`", text):
        known = _keys(place)
        near = difflib.get_close_matches(unknown.group(1), known, n=1)
        meant = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}."
        return f"{unknown.group(1)!r} in [{place or 'the top level'}] is unknown; {meant}"
    return f"{place}: {text.partition(' - at ')[0]}" if place else text


def _keys(place: str) -> list[str]:
    kinds: dict[str, Any] = {"defaults": Defaults, "desks": DeskSettings, **_sections()}
    first = place.partition(".")[0]
    top = [*Config.__struct_fields__[:-1], *_sections()]
    return list(kinds[first].__struct_fields__) if first in kinds else top
