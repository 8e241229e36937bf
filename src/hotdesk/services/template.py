"""A desk as a file to share: its hardware, limits, packages and jobs, without secrets.

The file is a hotdesk.toml of one desk, with what is installed there beside it:

    [desks.blue]
    gpu = "L4"
    [jobs.train]
    command = "python train.py"
    [environment]
    python = "3.11.7"
    packages = ["numpy==2.3.1"]
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from hotdesk import config
from hotdesk.core import wire
from hotdesk.core.errors import Damaged, HotdeskError, Unknown
from hotdesk.core.model import Desk, Value, Want
from hotdesk.core.names import check_name
from hotdesk.core.ports import Access
from hotdesk.services import files
from hotdesk.services.goals import Goals
from hotdesk.services.limits import Limits
from hotdesk.services.settings import toml

#: What a template may install: no options, addresses or paths, which pip would take as well.
_PACKAGE = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9._,-]+\])?([=<>!~]=?=?[A-Za-z0-9.*+!,<>=~]+)?", re.ASCII
)
FILE = "template.toml"  # in the folder of a desk that was made of one
#: What is installed into the desk's own environment. A build of a version (+cu128) is of another index.
_LIST = """
import importlib.metadata, json, platform, sysconfig
found, left = set(), set()
paths = sorted({sysconfig.get_path(name) for name in ("purelib", "platlib")})
for d in importlib.metadata.distributions(path=paths):
    name = d.metadata["Name"]
    if not name:
        continue
    if d.read_text("direct_url.json"):
        left.add(name)
    else:
        found.add(name + "==" + d.version.partition("+")[0])
print(json.dumps({"python": platform.python_version(), "packages": sorted(found), "left_out": sorted(left)}))
"""


class Lock(Value, frozen=True):
    """What is installed at a desk."""

    python: str = ""
    packages: tuple[str, ...] = ()  # "numpy==2.3.1"


class Exported(Value, frozen=True, omit_defaults=False):
    """A desk as a file to share."""

    text: str  # TOML
    left_out: tuple[str, ...] = ()  # what is not in it, and why, in sentences


class Template(Value, frozen=True):
    """What a desk is made of: read from such a file."""

    text: str
    want: Want
    provider: str
    limits: Limits
    jobs: dict[str, config.JobSettings]
    environment: Lock = Lock()


class _Listed(Lock, frozen=True):
    left_out: tuple[str, ...] = ()


def export(goals: Goals, name: str, reach: Callable[[Desk], Access]) -> Exported:
    """A desk as a file to share, with the jobs of this folder's hotdesk.toml.

    The packages are asked for at the desk, where it runs. Raises `Unknown` for a desk that there is not.
    """
    desk, told = goals.store.find(name), goals.config
    if desk is None and name not in told.desks:
        raise Unknown(f"There is no desk {name}.", "", "hotdesk ls")
    told.need("", f"desks.{name}")
    left: list[str] = []
    listed = _Listed()
    if desk is not None:
        try:
            listed = _installed(reach(desk))
        except HotdeskError as error:
            left.append(f"The packages: {error.what} {error.fix}")
    left += [f"{package}: it was not installed from an index." for package in listed.left_out]
    parts = [
        f"# hotdesk up NAME --from {name}.toml   makes a desk like {name}. No secrets are in this file.",
        _section(f"desks.{name}", _wishes(goals, name, desk)),
    ]
    for job, settings in told.jobs.items():
        kept = msgspec.to_builtins(settings)
        secret = {"env", "env_file"} & kept.keys()
        parts.append(_section(f"jobs.{job}", {k: v for k, v in kept.items() if k not in secret}))
        left += [f"{key} of the job {job}: its values may be secret." for key in sorted(secret)]
    if listed.packages:
        packages = "".join(f"\n    {toml(package)}," for package in listed.packages)
        parts.append(f"[environment]\npython = {toml(listed.python)}\npackages = [{packages}\n]")
    return Exported(text="\n\n".join(parts) + "\n", left_out=tuple(left))


def _wishes(goals: Goals, name: str, desk: Desk | None) -> dict[str, Any]:
    """The settings of a desk as hotdesk.toml has them, without those that nobody chose."""
    told = goals.config.desks.get(name, config.DeskSettings())
    want = desk.want if desk else goals.configured(name)
    minutes = desk.idle_minutes if desk else told.idle_minutes
    hours = desk.lease_hours if desk else told.lease_in_hours
    wishes = {"provider": desk.provider if desk else goals.provider(name), **msgspec.to_builtins(want)}
    wishes.pop("initialization_rate", None)  # paid anew each time
    wishes |= {} if minutes is None else {"idle": f"{minutes:g}m" if minutes else "never"}
    return wishes | ({"lease": f"{hours:g}h"} if hours else {})


def _section(name: str, values: Mapping[str, Any]) -> str:
    return "\n".join([f"[{name}]", *(f"{key} = {toml(value)}" for key, value in values.items())])


def _installed(access: Access) -> _Listed:
    done = files.call(access, ["python3", "-c", _LIST])
    try:
        return wire.json(done.output, _Listed)
    except msgspec.DecodeError:
        why = done.errors.strip().splitlines()[-1:] or ["python3 gave no list."]
        raise Damaged(f"{access.desk} did not list them.", why[0], f"hotdesk ssh {access.desk}") from None


def read(path: Path) -> Template:
    """The template in a file. Raises `Unknown` where there is none, `Damaged` where it cannot be used."""
    try:
        return parse(path.read_text("utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "It is not UTF-8."
        raise Unknown(f"{path} cannot be read.", why, f"ls -l {path}") from None


def parse(text: str, path: Path) -> Template:
    """The template in this text, which was read from `path`."""
    whole = config.parse(text, path, beside=("environment",))
    for fault in whole.faults.values():
        raise fault
    lock = config.section(Lock, text, "environment", path)
    if strange := [package for package in lock.packages if not _PACKAGE.fullmatch(package)]:
        raise Damaged(
            f"{path} has a package that is no name with a version.",
            f"{strange[0][:60]!r} could be an option of the installer, or an address.",
            "numpy==2.3.1",
        )
    for name, job in whole.jobs.items():
        if job.env_file:
            raise Damaged(
                f"{path} names a file of this computer.",
                f"env_file of the job {name} would be read here, and sent to the desk.",
                f"hotdesk run NAME {name} --env-file FILE   # where you agree; and without it in {path}",
            )
    if len(whole.desks) != 1:
        raise Damaged(
            f"{path} is no template.",
            f"It describes {len(whole.desks)} desks, not one.",
            "hotdesk export NAME",
        )
    [settings] = whole.desks.values()
    return Template(
        text=text,
        want=Want(**{field: getattr(settings, field) for field in Want.__struct_fields__}),
        provider=settings.provider,
        limits=Limits(idle_minutes=settings.idle_minutes, lease_hours=settings.lease_in_hours or None),
        jobs=whole.jobs,
        environment=lock,
    )


def jobs_of(state: Path, desk: str) -> dict[str, config.JobSettings]:
    """The jobs of the template that a desk was made of."""
    with contextlib.suppress(HotdeskError):
        check_name(desk)
        return read(state / "desks" / desk / FILE).jobs
    return {}


def forget(state: Path, name: str) -> None:
    with contextlib.suppress(OSError):
        (state / "desks" / name / FILE).unlink()
