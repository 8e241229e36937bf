"""Read a sweep's file: its parameters, its command and its other settings, in TOML (docs/sweep.md)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from hotdesk.core.errors import Unknown, Usage
from hotdesk.core.sweep import params
from hotdesk.core.sweep.params import Space


def read_file(path: Path) -> tuple[Space, dict[str, object]]:
    """A sweep's file: its parameters, and its other settings. Raises `Usage`, `Unknown`."""
    try:
        told = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise Unknown(f"There is no file {path}.", "", f"ls {path.parent}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Usage(
            f"{path} is not TOML.", str(error), "lr = [1e-4, 3e-4]   # below a line [param]"
        ) from None
    return read_settings(str(path), told)


_FORMS: Mapping[str, type | tuple[type, ...]] = {
    "command": (str, list), "machines": (int, str), "market": str,
    "cpus": (int, float), "per_gpu": (int, float),
    "memory_gib": (int, float), "retries": int, "time_limit": (int, float, str), "pull": list, "env": dict,
    "tag": list, "keep_going": bool, "linger": (int, float, str), "checkpoint": str,
    "checkpoint_gib": (int, float),
}  # fmt: skip


def read_settings(name: str, told: Mapping[str, object]) -> tuple[Space, dict[str, object]]:
    """The content of a sweep's file."""
    table = dict(told)
    given = table.pop("param", {})
    samples, seed = table.pop("samples", 1), table.pop("seed", 0)
    lines = table.pop("lines", [])
    if not isinstance(given, dict):
        raise Usage(f"{name}: param is not a table.", "Each parameter is a line below [param].", "[param]")
    if not isinstance(samples, int) or not isinstance(seed, int) or samples < 1:
        raise Usage(f"{name}: samples and seed are whole numbers.", "", "samples = 20")
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise Usage(f"{name}: lines is not a list of texts.", "", 'lines = ["--small", "--large"]')
    for key, value in table.items():
        if key not in _FORMS:
            raise Usage(
                f"{name}: there is no setting {key!r}.",
                f"There are: param, samples, seed, lines, {', '.join(_FORMS)}.",
                "[param]   # parameters stand below this line",
            )
        if not isinstance(value, _FORMS[key]) or isinstance(value, bool) != (_FORMS[key] is bool):
            raise Usage(f"{name}: {key} = {value!r} is of the wrong kind.", "", "hotdesk sweep start --help")
    if isinstance(machines := table.get("machines", 1), str) and machines != "auto":
        raise Usage(f"{name}: machines = {machines!r} is neither a number nor auto.", "", 'machines = "auto"')
    found = tuple(params.read_table(key, value) for key, value in given.items())
    return Space(parameters=found, samples=samples, seed=seed, lines=tuple(lines)), table
