"""Tell a desk when to end itself: two small files in its home, read by the watch there (guest/idle.py).

All times are seconds from the file's modification time, so that no two clocks are compared.
"""

from __future__ import annotations

import json
import re
import subprocess
from importlib.resources import files
from typing import Any

import msgspec

from hotdesk.connect import ssh
from hotdesk.core import wire
from hotdesk.core.errors import Unreachable
from hotdesk.core.model import Desk, Value
from hotdesk.core.ports import Access


class Scratch(Value, frozen=True):
    """A folder on a disk that is lost when the machine stops, and what is in it."""

    path: str
    used_gib: float
    names: tuple[str, ...] = ()


_WRITE = "umask 077; mkdir -p ~/.hotdesk && cat > ~/.hotdesk/{0}.new && mv ~/.hotdesk/{0}.new ~/.hotdesk/{0}"
_SECONDS = 60.0
ENDS = "ends_seconds"  # no limit, but what the agent goes by (guest/agent.py)


def limits(desk: Desk, now: float) -> dict[str, float]:
    """The limits to send to the desk, as `guest/idle.py` defines them; empty if it has none."""
    said: dict[str, float] = {}
    if desk.idle_minutes is not None:
        said["idle_minutes"] = desk.idle_minutes
    if desk.lease_hours:
        said["lease_seconds"] = desk.lease_hours * 3600
    if desk.stop_at:
        said["stop_seconds"] = max(1.0, desk.stop_at - now)
    return said


def tell(access: Access, desk: Desk, now: float) -> None:
    """Write the limits to the desk, which also renews its lease. Raises `Unreachable`."""
    _write(access, "leave", json.dumps(to_tell(access, desk, now)))


def to_tell(access: Access, desk: Desk, now: float) -> dict[str, float]:
    """The limits, and when its cloud ends the machine: that may have been put off since the launch."""
    return limits(desk, now) | ({ENDS: access.ends_at - now} if access.ends_at > now else {})


def stay(access: Access, seconds: float) -> None:
    """Suspend the idle and lease limits for `seconds`; 0 restores them. Raises `Unreachable`."""
    _write(access, "stay", f"{seconds:.0f}\n")


class Told(Value, frozen=True):
    """The limits that a desk has been told."""

    units: dict[str, str]  # state of each systemd service that enforces them; empty on a local desk
    limits: dict[str, float]
    age_seconds: float  # since it was told
    stays_seconds: float = 0.0  # for which idleness and lease are still suspended: see `stay`


_ASK = (
    "for u in hotdesk-idle hotdesk-agent; do "
    '[ -e /etc/systemd/system/$u.service ] && echo "$u $(systemctl is-active $u)"; done; echo --; '
    "f=~/.hotdesk/stay; [ -e $f ] && echo $(($(cat $f) + $(stat -c %Y $f) - $(date +%s))); echo --; "
    "f=~/.hotdesk/leave; [ -e $f ] && echo $(($(date +%s) - $(stat -c %Y $f))) && cat $f; true"
)


_MOST_SECONDS = 1e12


def ask(access: Access) -> Told:
    """Read the limits in force at the desk. Raises `Unreachable`."""
    done = subprocess.run(
        ssh.question(access, _ASK), stdin=subprocess.DEVNULL, capture_output=True,
        timeout=_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode:
        why = done.stderr.decode("utf-8", "replace").strip() or f"exit status {done.returncode}"
        raise Unreachable(f"{access.desk} cannot be asked.", why, f"hotdesk doctor {access.desk}")
    return read(done.stdout)


def read(said: bytes) -> Told:
    """What a desk said of its limits; what cannot be read of it counts as not said."""
    services, stays, rest, *_ = *said.decode("utf-8", "replace").split("--\n", 2), "", ""
    age, _, text = rest.partition("\n")
    try:
        found = wire.json(text, dict[str, Any]) if text.strip() else {}
    except msgspec.DecodeError:
        found = {}
    numbers = {k: v for k, v in found.items() if isinstance(v, (int, float)) and k != ENDS}
    limits = {k: float(v) for k, v in numbers.items() if abs(v) < _MOST_SECONDS}
    seconds = float(age) if re.fullmatch(r"-?[0-9]{1,12}", age) and found else 0.0
    units = dict(line.split(" ", 1) for line in services.splitlines() if " " in line)
    left = float(stays) if re.fullmatch(r"[0-9]{1,12}\n", stays) else 0.0
    return Told(units=units, limits=limits, age_seconds=seconds, stays_seconds=left)


def _write(access: Access, name: str, text: str) -> None:
    why = ""
    try:
        done = subprocess.run(
            ssh.question(access, _WRITE.format(name)),
            input=text.encode(),
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode == 0:
            return
        why = done.stderr.decode("utf-8", "replace").strip()
    except subprocess.TimeoutExpired:
        why = f"no answer within {_SECONDS:g} s"
    raise Unreachable(
        f"Could not set the shutdown limits of {access.desk}.", why, f"hotdesk up {access.desk}"
    )


def scratch(access: Access) -> list[Scratch]:
    """List what lies on the machine's own disks, which no image includes. Raises `Unreachable`."""
    from hotdesk.connect.job_runner import run_there

    script = files("hotdesk.guest").joinpath("scratch.py").read_bytes()
    done = run_there(access, "exec python3 -", script)
    try:
        return wire.json(done.stdout, list[Scratch])
    except msgspec.DecodeError as error:
        why = done.stderr.decode("utf-8", "replace").strip() or str(error)
        raise Unreachable(f"Could not list what lies on the own disks of {access.desk}.", why) from error
