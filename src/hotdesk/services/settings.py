"""Settings: what can be set, which value counts now and where it comes from; a hotdesk.toml to begin with."""

from __future__ import annotations

import datetime
import json
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import msgspec
from msgspec.structs import asdict

from hotdesk.config import Config, DeskSettings
from hotdesk.core import clouds
from hotdesk.core.errors import Missing, NeedsDecision, Unknown
from hotdesk.core.model import Desk, Value
from hotdesk.core.notices import Notify
from hotdesk.services.goals import Goals
from hotdesk.system import config_files, state_folder, write_atomically

FILE = "hotdesk.toml"


class Setting(Value, frozen=True, omit_defaults=False):
    """A setting as it counts now, and where it comes from."""

    section: str  # "defaults", "desks.blue", "jobs.train", a cloud's name; "": of the environment
    name: str
    value: Any  # as in hotdesk.toml; None: not set
    source: str  # "option" | "environment" | "file" | "default"
    where: str  # the command that takes the option, the variable, or file:line; "" for a default


class Known(NamedTuple):
    """What a setting means, and what to write where it has no value."""

    meaning: str
    example: Any = None


DEFAULTS = {
    "provider": Known("where new desks are"),
    "regions": Known("to rent in, nearest first; []: every region"),
    "usd_per_month": Known("launch nothing beyond it; 0: no limit"),
}
MONEY = {
    "cny_per_usd": Known("rate for comparing prices told in CNY; 0: none"),
    "day": Known("of that rate", datetime.date(2026, 11, 30)),
}
DESK = {
    "provider": Known('"": that of [defaults]'),
    "instance_type": Known('as --type; "": chosen by gpu and price'),
    "gpu": Known('"L4", "A100", "none"; "": no preference'),
    "gpu_count": Known("0: no preference"),
    "market": Known('"on-demand", "spot" or "cheapest"'),
    "regions": Known("[]: those of [defaults]"),
    "zone": Known('"": any'),
    "disk_gib": Known("0: as big as the image needs"),
    "image": Known('a base image; "": the provider\'s default'),
    "usd_per_hour_max": Known("rent nothing dearer", 1.5),
    "initialization_rate": Known("MiB/s at which a restored disk is loaded, billed; 0: on first read"),
    "idle": Known('park after this long without work, or "never"', "60m"),
    "lease": Known('end this long after the last renewal, or "never"', "never"),
    "data": Known('folders that do not travel: from = "s3://bucket/x", to = "~/x"'),
}
JOB = {
    "command": Known("a shell line, or a list of words", "python train.py"),
    "resume_command": Known("after an interruption instead", "python train.py --resume"),
    "checkpoint": Known("folder where the job writes checkpoints", "ckpt"),
    "signal": Known("asks for a checkpoint: USR1, USR2, TERM, none", "USR1"),
    "grace": Known("from SIGTERM to SIGKILL", "20s"),
    "pull": Known("fetched at the end", ["out"]),
    "then": Known("what becomes of the desk: park, stop, stay", "park"),
    "work": Known("how long the job runs", "10h"),
    "deadline": Known("its latest end, from the start", "24h"),
    "budget": Known("US dollars expected at most", 5.0),
    "env": Known("environment variables of the job", {"OMP_NUM_THREADS": 4}),
    "env_file": Known("files of lines KEY=VALUE", [".env"]),
    "secret": Known("variables from this environment, or asked for", ["HF_TOKEN"]),
    "all": Known("copy also what git ignores", False),
    "install": Known("install requirements.txt, uv.lock, … at the desk first", True),
    "notify": Known("tell of its end, as [notify] says", True),
}
NOTIFY = {
    "on": Known("which events"),
    "desktop": Known("a desktop notification"),
    "bell": Known("of the terminal that hotdesk was started in"),
    "command": Known("a shell line; HOTDESK_TEXT and others are set", "say done"),
    "webhook": Known("gets a POST", "https://example.org/hook"),
    "webhook_body": Known("with {event}, {desk}, {title}, {text}", '{"text": "{text}"}'),
}
_FIRST_JOB = "train"  # the job of a hotdesk.toml that has none


def toml(value: Any) -> str:
    """A value as TOML has it."""
    match value:
        case bool():
            return str(value).lower()
        case datetime.date():
            return value.isoformat()
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list() | tuple():
            return f"[{', '.join(map(toml, value))}]"
        case Mapping():
            return f"{{{', '.join(f'{json.dumps(key)} = {toml(item)}' for key, item in value.items())}}}"
    return repr(value)


def lines(text: str) -> dict[tuple[str, ...], int]:
    """The line, from 1, at which each key of a valid TOML file is set; and of each table's header.

    A statement ends where what was read of it is TOML by itself, so TOML's own reader finds the ends.
    """
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    begun, statement = 1, ""
    for number, line in enumerate(text.split("\n"), 1):
        statement, begun = f"{statement}{line}\n", begun if statement else number
        try:
            told = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        paths = list(_paths(told))
        if statement.lstrip().startswith("["):
            table = max(paths, key=len, default=())
            paths = [table]
            found.setdefault(table, begun)
        else:
            found |= {(*table, *path): begun for path in paths}
        statement = ""
    return found


def _paths(told: Any) -> Iterator[tuple[str, ...]]:
    for key, value in told.items() if isinstance(told, dict) else ():
        yield (key,)
        yield from ((key, *path) for path in _paths(value))


class _File(NamedTuple):
    """The hotdesk.toml that counts: its path as people write it, and its keys' lines."""

    path: str
    lines: dict[tuple[str, ...], int]

    def where(self, *path: str) -> str:
        """ "file:line" of a key; "" where the file does not set it."""
        line = self.lines.get(path)
        return f"{self.path}:{line}" if line else ""


def _file() -> _File:
    for path in config_files():
        if path.is_file():
            return _File(_short(path), lines(path.read_text("utf-8")))
    return _File("", {})


def _short(path: Path) -> str:
    """A path as people write it."""
    home = Path.home()
    if path.parent == Path.cwd():
        return path.name
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def settings(goals: Goals, desk: str | None = None) -> list[Setting]:
    """Every setting as it counts now: of all desks that are or are described, or of one.

    Raises `Damaged` where hotdesk.toml cannot be used in full, `Unknown` for a desk that there is not.
    """
    config = goals.config
    for fault in config.faults.values():
        raise fault
    names = [*config.desks, *(d.name for d in goals.store.desks() if d.name not in config.desks)]
    if desk is not None and desk not in names:
        near = f"There are: {', '.join(names)}." if names else "There is no desk yet."
        raise Unknown(f"There is no desk {desk}.", near, "hotdesk config")
    file = _file()
    found = [] if desk else [*_environment(file), *_defaults(config, file), *_money(config, file)]
    for name in [desk] if desk else names:
        found += _desk(goals, name, file)
    if not desk:
        for name, job in config.jobs.items():
            found += _set(f"jobs.{name}", job, JOB, file)
        found += _set("notify", config.notify, NOTIFY, file)
        found += _clouds(goals, file)
    return found


def _environment(file: _File) -> Iterator[Setting]:
    """The folders that the environment may move."""
    for name, variable, value in (
        ("state folder", "HOTDESK_STATE", _short(state_folder())),
        ("settings file", "HOTDESK_CONFIG", file.path or None),
    ):
        named = variable in os.environ
        yield Setting(
            section="",
            name=name,
            value=value,
            source="environment" if named else "default",
            where=variable if named else "",
        )


def _setting(
    section: str, name: str, value: Any, file: _File, *others: tuple[str, ...], otherwise: str = ""
) -> Setting:
    """A setting, from the first of these keys that the file sets; else `otherwise`, else by default."""
    path = (*section.split(".", 1), name)
    where = next(filter(None, (file.where(*path) for path in (path, *others))), otherwise)
    return Setting(
        section=section, name=name, value=value, source="file" if where else "default", where=where
    )


def _defaults(config: Config, file: _File) -> Iterator[Setting]:
    from hotdesk.providers import registry

    for name in DEFAULTS:
        value = getattr(config.defaults, name)
        if name == "provider":
            value = value or registry.DEFAULT
        yield _setting("defaults", name, value, file)


def _money(config: Config, file: _File) -> Iterator[Setting]:
    for name in MONEY:
        yield _setting("money", name, getattr(config.money, name), file)


def _desk(goals: Goals, name: str, file: _File) -> Iterator[Setting]:
    """A desk that is has its own values, from when it was made or moved; else what `up` would give it."""
    desk, section = goals.store.find(name), f"desks.{name}"
    told = goals.config.desks.get(name, DeskSettings())
    provider = desk.provider if desk else goals.provider(name)
    want = desk.want if desk else goals.configured(name)
    for key in DESK:
        if key == "data":  # of the file alone, whatever the desk was made with
            yield _setting(section, key, msgspec.to_builtins(told.data), file)
            continue
        value = {"provider": provider, "idle": told.idle, "lease": told.lease}.get(
            key, getattr(want, key, None)
        )
        if key in {"idle", "lease"}:
            value = _length(key, desk, told, provider)
        if desk:
            yield Setting(
                section=section, name=key, value=value, source="option", where="hotdesk up, hotdesk move"
            )
            continue
        old = {"idle": "idle_park_minutes", "lease": "lease_hours"}.get(key)
        others = [(*section.split(".", 1), old)] if old else [("defaults", key)]
        yield _setting(section, key, value, file, *others)


def _length(key: str, desk: Desk | None, told: DeskSettings, provider: str) -> str:
    """A limit in words that hotdesk.toml takes."""
    if key == "lease":
        hours = desk.lease_hours if desk else told.lease_in_hours
        return f"{hours:g}h" if hours else "never"
    minutes = desk.idle_minutes if desk else told.idle_minutes
    if minutes is None:
        minutes = clouds.cloud(provider).idle_minutes
    return f"{minutes:g}m" if minutes else "never"


def _clouds(goals: Goals, file: _File) -> Iterator[Setting]:
    """The sections of the clouds that are used, or described."""
    for name, kind in _sections(goals).items():
        told = goals.config.clouds.get(name) or kind()
        variables = clouds.cloud(name).variables
        for key in kind.__struct_fields__:
            found = _setting(name, key, getattr(told, key), file)
            variable = next((v for v in variables.get(key, ()) if os.environ.get(v)), "")
            if variable and not found.where:
                found = Setting(
                    section=name,
                    name=key,
                    value=os.environ[variable],
                    source="environment",
                    where=variable,
                )
            yield found


def _sections(goals: Goals) -> dict[str, type[Any]]:
    config = goals.config
    used = {config.defaults.provider, *(d.provider for d in config.desks.values()), *config.clouds}
    used |= {desk.provider for desk in goals.store.desks()}
    return {n: c.settings for n, c in clouds.KNOWN.items() if c.settings and n in used}


def _set(section: str, told: Any, known: Mapping[str, Known], file: _File) -> Iterator[Setting]:
    for key in known:
        value = getattr(told, key)
        if value is not None:
            yield _setting(section, key, value, file)


# ---- a file to begin with ----------------------------------------------------------------------------


_HEAD = """\
# Settings of hotdesk for this folder. A line counts when its first # is removed, and that of the [section]
# above it. `hotdesk config` shows which value counts, and where it comes from.
"""


def template(goals: Goals) -> str:
    """A hotdesk.toml with everything that can be set, and today's values.

    What the file that counts until now sets, this one sets too, since it will count instead; all else is a
    comment.
    """
    found = settings(goals)
    by_key = {(s.section, s.name): s for s in found}
    config = goals.config
    desk = next(iter(config.desks), None) or next((d.name for d in goals.store.desks()), "blue")
    parts = [_HEAD]

    def section(name: str, known: Mapping[str, Known], values: Callable[[str], Any], title: str) -> None:
        rows = [_row(by_key.get((name, key)), key, told, values(key)) for key, told in known.items()]
        live = name == "defaults" or any(not row.startswith("#") for row in rows)
        parts.append("\n".join([f"# {title}", f"{'' if live else '# '}[{name}]", *rows]) + "\n")

    section("defaults", DEFAULTS, lambda key: by_key["defaults", key].value, "For every desk.")
    ways = {key: None if value == "" else value for key, value in asdict(Notify()).items()}
    section("notify", NOTIFY, ways.__getitem__, "How you are told what happens.")
    section("money", MONEY, lambda key: by_key["money", key].value, "For clouds that tell other currencies.")
    for name in config.desks or [desk]:
        values = {s.name: s.value for s in _desk(goals, name, _File("", {}))}
        section(f"desks.{name}", DESK, values.__getitem__, f"The desk {name}, when it is made.")
    for job in config.jobs or [_FIRST_JOB]:
        section(f"jobs.{job}", JOB, lambda key: None, f"hotdesk run {desk} {job}")
    for name, cloud in clouds.KNOWN.items():
        if cloud.settings:
            plain = cloud.settings()
            known = _described(cloud.settings)
            section(name, known, lambda key, plain=plain: getattr(plain, key), f"{cloud.label}.")  # type: ignore[misc]
    return "\n".join(parts)


def _described(kind: type[Any]) -> dict[str, Known]:
    """A cloud's settings, with the descriptions that their types carry."""
    hints = get_type_hints(kind, include_extras=True)
    return {
        key: Known(next((m.description or "" for m in getattr(hints[key], "__metadata__", ())), ""))
        for key in kind.__struct_fields__
    }


def _row(found: Setting | None, key: str, known: Known, value: Any) -> str:
    live = found is not None and found.source == "file"
    value = found.value if found is not None and live else known.example if value is None else value
    line = f"{'' if live else '# '}{key} = {toml(value)}"
    return f"{line:<40}  # {known.meaning}" if known.meaning else line


def init(goals: Goals, folder: Path) -> Path:
    """Write a hotdesk.toml into a folder that has none. Raises `NeedsDecision`, `Missing`."""
    path = folder / FILE
    if path.exists() or path.is_symlink():
        raise NeedsDecision(
            f"There is a {FILE} in {folder} already.",
            "It stays as it is.",
            "hotdesk config   # or, to see what can be set: hotdesk init --dry-run",
        )
    text = template(goals)
    try:
        write_atomically(path, text, mode=0o644)
    except OSError as error:
        raise Missing(
            f"{path} cannot be written.", str(error.strerror or error), f"ls -ld {folder}"
        ) from None
    return path
