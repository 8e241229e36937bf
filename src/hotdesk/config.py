"""Read hotdesk.toml: defaults, and settings of desks and clouds.

[defaults]
provider = "local"             # local | aws
regions  = ["us-west-2"]
usd_per_month = 50.0           # warns at 80 %, launches nothing past 100 % without --over-budget

[money]                        # for clouds that tell prices in another currency
cny_per_usd = 7.08             # without a rate no limit in dollars is judged there
day = 2026-11-30               # of that rate

[notify]                       # jobs that end, desks that stop, interruptions, 80 % of the budget
desktop = true
webhook = "https://example.org/hook"   # also: bell, command, webhook_body, on

[desks.blue]
gpu = "L4"                     # or instance_type = "g6.xlarge"
market = "cheapest"            # on-demand | spot | cheapest
disk_gib = 200
usd_per_hour_max = 1.10
idle = "45m"                   # park it after this long without work; or "never"
lease = "12h"                  # end the machine this long after the last `hotdesk up`, which renews it

[[desks.blue.data]]            # data that does not travel: it is brought from there at each place
from = "s3://bucket/x"
to = "~/x"

[jobs.train]                   # hotdesk run blue train
command = "python train.py"
pull = ["out"]
deadline = "12h"

[aws]
profile = "work"               # all settings: hotdesk/providers/aws/settings.py
"""

from __future__ import annotations

import difflib
import math
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hotdesk.core import clouds, lengths, wire
from hotdesk.core import data as data_folders
from hotdesk.core.errors import Damaged, Unknown, Usage
from hotdesk.core.model import MarketChoice, Value, Want
from hotdesk.core.money import Money
from hotdesk.core.names import check_name
from hotdesk.core.notices import EVENTS, Notify

T = TypeVar("T")
JOB_NAME = re.compile(r"[A-Za-z0-9][\w-]*", re.ASCII)


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
    data: tuple[data_folders.Data, ...] = ()

    @property
    def idle_minutes(self) -> float | None:
        """0: never; None: the cloud's default."""
        return self.idle_park_minutes if self.idle is None else _length(self.idle, "m")

    @property
    def lease_in_hours(self) -> float:
        """0: no lease."""
        return self.lease_hours if self.lease is None else _length(self.lease, "h")


class JobSettings(Value, frozen=True):
    """A job that `hotdesk run DESK NAME` runs: its command, and options of `hotdesk run` under their names.

    Lengths of time are as in the options: plain numbers are seconds (`grace`) or hours (`work`, `deadline`).
    """

    command: str | tuple[str, ...]
    resume_command: str | None = None
    checkpoint: str | None = None
    signal: str | None = None
    grace: str | float | None = None
    pull: tuple[str, ...] | None = None
    then: str | None = None
    work: str | float | None = None
    deadline: str | float | None = None
    budget: float | None = None
    env: dict[str, str | int | float] | None = None
    env_file: tuple[str, ...] | None = None
    secret: tuple[str, ...] | None = None  # names: the values are in no file of settings
    all: bool | None = None
    install: bool | None = None
    notify: bool | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The command as `hotdesk run` takes it: a string is a shell line."""
        return (self.command,) if isinstance(self.command, str) else self.command


#: Choices of an option that is also a setting of jobs.
THEN = ("park", "stop", "stay")
SIGNALS = ("USR1", "USR2", "TERM", "none")


class Config(Value, frozen=True):
    defaults: Defaults = Defaults()
    money: Money = Money()
    notify: Notify = Notify()
    desks: dict[str, DeskSettings] = msgspec.field(default_factory=dict)
    jobs: dict[str, JobSettings] = msgspec.field(default_factory=dict)
    clouds: dict[str, Any] = msgspec.field(default_factory=dict)  # by name: the settings of its section
    #: Sections that cannot be used, and are left out: "defaults", "desks.blue", "aws"; "" is the whole file.
    faults: dict[str, Any] = msgspec.field(default_factory=dict)

    def need(self, *sections: str) -> None:
        """Raises `Damaged` where one of these sections cannot be used."""
        for section in ("", *sections):
            if section in self.faults:
                raise self.faults[section]

    def is_job(self, name: str) -> bool:
        """Whether a section describes a job of this name, well or not."""
        return name in self.jobs or f"jobs.{name}" in self.faults

    def job(self, name: str) -> JobSettings:
        """The job of this name. Raises `Unknown`, naming those there are, and `Damaged`."""
        self.need(f"jobs.{name}")
        if name in self.jobs:
            return self.jobs[name]
        near = difflib.get_close_matches(name, self.jobs, n=1)
        there = f"There are: {', '.join(self.jobs)}." if self.jobs else "hotdesk.toml has no [jobs.NAME]."
        fix = (
            f"hotdesk run NAME {near[0]}" if near else "hotdesk init   # writes a hotdesk.toml to begin with"
        )
        raise Unknown(f"There is no job {name!r}.", there, fix)

    def cloud(self, name: str) -> Any:
        """A cloud's settings from the file, else its defaults; of the type in `Cloud.settings`.

        Raises `Damaged` where they cannot be used: the defaults may be of another account.
        """
        kind = clouds.cloud(name).settings
        if kind is None:
            return None
        self.need(name)
        return self.clouds.get(name) or kind()


class _Nothing(Value, frozen=True):
    """What is left of a file without its sections."""


def load(files: list[Path]) -> Config:
    """The first of these files that exists; the defaults when none does.

    Sections with mistakes are left out; `Config.faults` has an error for each, which names the file, the
    key and the nearest known key.
    """
    for path in files:
        try:
            text = path.read_text("utf-8")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            return Config(faults={"": Damaged(f"{path} cannot be read.", str(error), f"ls -l {path}")})
        found = parse(text, path)
        return found if path == files[-1] else _harmless(found, path, files[-1])
    return Config()


def _harmless(found: Config, path: Path, own: Path) -> Config:
    """A folder's own settings without what would run here: whoever wrote the project has written them."""
    if not found.notify.command:
        return found
    what, why = f"{path} may not say what runs on this computer.", "[notify] command counts in your own file."
    fault = Damaged(what, why, f"${{EDITOR:-vi}} {shlex.quote(str(own))}")
    return msgspec.structs.replace(found, notify=Notify(), faults={**found.faults, "notify": fault})


def section(kind: type[T], text: str, name: str, path: Path) -> T:
    """A section of a file that is valid TOML, as this type. Raises `Damaged`."""
    return _as(kind, wire.toml(text).get(name, {}), name, path)


def parse(text: str, path: Path, beside: Sequence[str] = ()) -> Config:
    """The settings in this text, read from `path`, without the sections in `faults`.

    `beside`: sections that it may have as well, and that are no settings.
    """
    try:
        told: dict[str, Any] = wire.toml(text)
    except msgspec.DecodeError as error:
        return Config(faults={"": Damaged(f"{path} is not valid TOML.", str(error), _edit(path))})
    told = {name: value for name, value in told.items() if name not in beside}
    faults: dict[str, Any] = {}

    def read(kind: type[T], value: object, section: str) -> T | None:
        try:
            return _as(kind, value, section, path)
        except Damaged as error:
            faults[section] = error
            return None

    desks, jobs = _tables(told, "desks"), _tables(told, "jobs")
    own = {name: (kind, told.pop(name)) for name, kind in _sections().items() if name in told}
    defaults = read(Defaults, told.pop("defaults", {}), "defaults")
    money = read(Money, told.pop("money", {}), "money")
    notify = read(Notify, told.pop("notify", {}), "notify")
    if told:
        read(_Nothing, told, "")
    named = {name: read(DeskSettings, desk, f"desks.{name}") for name, desk in desks.items()}
    described = {name: read(JobSettings, job, f"jobs.{name}") for name, job in jobs.items()}
    settings = {name: read(kind, value, name) for name, (kind, value) in own.items()}
    config = Config(
        defaults=defaults or Defaults(),
        money=money or Money(),
        notify=notify or Notify(),
        desks={name: desk for name, desk in named.items() if desk is not None},
        jobs={name: job for name, job in described.items() if job is not None},
        clouds={name: value for name, value in settings.items() if value is not None},
        faults=faults,
    )
    for section, why in _impossible(config):
        faults.setdefault(section, Damaged(f"{path} has an impossible setting.", why, _edit(path)))
    if "defaults" in faults:
        config = msgspec.structs.replace(config, defaults=Defaults())
    if "money" in faults:  # no rate: then nothing is judged by it
        config = msgspec.structs.replace(config, money=Money())
    if "notify" in faults:
        config = msgspec.structs.replace(config, notify=Notify())
    return msgspec.structs.replace(
        config,
        desks={name: desk for name, desk in config.desks.items() if f"desks.{name}" not in faults},
        jobs={name: job for name, job in config.jobs.items() if f"jobs.{name}" not in faults},
    )


def _tables(told: dict[str, Any], section: str) -> dict[str, Any]:
    """The named tables of a section, taken out of the file."""
    tables = told.pop(section, {})
    return tables if isinstance(tables, dict) else {"*": tables}


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


def _impossible(config: Config) -> Iterator[tuple[str, str]]:
    """Values of the right type that are still invalid: the section of each, and what is wrong."""
    for why in _none_of(config.defaults.provider, tuple(clouds.KNOWN), "defaults.provider"):
        yield "defaults", why
    yield from (("defaults", why) for why in _negative(config.defaults, "defaults", usd_per_month=math.inf))
    yield from (("money", why) for why in _negative(config.money, "money", cny_per_usd=math.inf))
    if config.money.cny_per_usd and not config.money.day:
        yield "money", "money.day is missing: the day of the rate, as in 2026-11-30."
    for event in config.notify.on:
        yield from (("notify", why) for why in _none_of(event, tuple(EVENTS), "notify.on"))
    if config.notify.webhook and not re.match(r"https?://[^/\s]+", config.notify.webhook):
        yield "notify", "notify.webhook must begin with https:// or http:// and a host."
    for name, desk in config.desks.items():
        yield from ((f"desks.{name}", why) for why in _impossible_desk(name, desk))
    for name, job in config.jobs.items():
        yield from ((f"jobs.{name}", why) for why in _impossible_job(name, job))


def _impossible_desk(name: str, desk: DeskSettings) -> Iterator[str]:
    at = f"desks.{name}"
    try:
        check_name(name)
    except Usage as error:
        yield f"{at}: {error.why}"
    yield from _none_of(desk.provider, tuple(clouds.KNOWN), f"{at}.provider")
    yield from _no_lengths(desk, at, _length, idle="m", lease="h")
    yield from _negative(desk, at, disk_gib=65536, gpu_count=1024, usd_per_hour_max=math.inf)
    yield from _negative(desk, at, idle_park_minutes=math.inf, lease_hours=math.inf)
    yield from (f"{at}.data: {why}" for why in data_folders.impossible(desk.data))


def _impossible_job(name: str, job: JobSettings) -> Iterator[str]:
    at = f"jobs.{name}"
    if not JOB_NAME.fullmatch(name):
        yield f"{at}: a job's name is one word of letters, digits, - and _."
    if not all(job.words) or not job.words:
        yield f"{at}.command is empty."
    yield from _none_of(job.then or "", THEN, f"{at}.then")
    yield from _none_of(job.signal or "", SIGNALS, f"{at}.signal")
    yield from _no_lengths(job, at, lengths.seconds, grace="s", work="h", deadline="h")
    yield from _negative(job, at, budget=math.inf)


def _no_lengths(told: object, at: str, read: Callable[[str, str], float], **units: str) -> Iterator[str]:
    """The settings that are no length of time."""
    for field, unit in units.items():
        try:
            read(str(getattr(told, field) or 0), unit)
        except ValueError as error:
            yield f"{at}.{field}: {error}"


def _negative(told: object, at: str, **most: float) -> Iterator[str]:
    """The numbers that are below 0, too large or none at all."""
    for field, limit in most.items():
        value = getattr(told, field)
        if value is not None and not 0 <= value <= limit:
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
    if place.endswith(".market") and (told := re.search(r"enum value '([^']*)'", text)):
        return next(_none_of(told.group(1), [str(market) for market in MarketChoice], place))
    return f"{place}: {text.partition(' - at ')[0]}" if place else text


def _keys(place: str) -> list[str]:
    kinds: dict[str, Any] = {
        "defaults": Defaults,
        "money": Money,
        "notify": Notify,
        "desks": DeskSettings,
        "jobs": JobSettings,
        **_sections(),
    }
    first = place.partition(".")[0]
    top = ["defaults", "money", "notify", "desks", "jobs", *_sections()]
    return list(kinds[first].__struct_fields__) if first in kinds else top
