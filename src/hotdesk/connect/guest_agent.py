"""Fetch the guest agent's report (guest/agent.py) over ssh, and put it into words."""

from __future__ import annotations

import contextlib
import re
import subprocess

import msgspec

from hotdesk.connect import idleness, ssh
from hotdesk.core import wire
from hotdesk.core.findings import Remark
from hotdesk.core.idling import Idle
from hotdesk.core.ports import Access
from hotdesk.core.sizing.gpu import a_gpu

_SECONDS = 60.0


class Event(msgspec.Struct, frozen=True):
    """Something that happened at the desk; `at` is by the desk's own clock."""

    id: str
    at: float
    what: str


class Compared(msgspec.Struct, frozen=True):
    """The files of a resumed desk, compared with the manifest written when it was parked."""

    same: bool | None = None  # None: there is no manifest
    whole: bool = True  # there was time to compare all files
    missing: list[str] = []
    changed: list[str] = []
    new: list[str] = []


class Driver(msgspec.Struct, frozen=True):
    devices: int = 0  # NVIDIA devices on the bus
    works: bool = False
    said: str = ""


class Install(msgspec.Struct, frozen=True):
    """Progress of the machine's own installation of its NVIDIA driver (guest/driver.py)."""

    state: str  # none, works, looking, installing, installed, failed
    seconds: float = 0.0  # elapsed so far, or in total
    step: str = ""
    version: str = ""
    why: str = ""  # why it failed
    again: bool = False  # a retry may work
    log: list[str] = []


class Warm(msgspec.Struct, frozen=True):
    """Progress of reading the most recently used files ahead, on a disk created from a snapshot."""

    files: int = 0
    of_files: int = 0
    bytes: int = 0
    seconds: float = 0.0
    done: bool = False


class Report(msgspec.Struct, frozen=True):
    failed: str = ""
    lacking: str = ""
    compared: Compared | None = None
    unclean: bool = False  # the last power-off was not a clean shutdown
    driver: Driver = Driver()
    install: Install | None = None
    warm: Warm | None = None
    events: list[Event] = []
    silent: bool = False  # there is an agent, but it could not be run
    idle: str = "active"  # what the service that ends an idle machine is doing
    python: str = ""  # the machine's Python version, where it cannot run that service's program
    now: float | None = None  # the desk's clock
    idle_for: Idle | None = None


#: The state of the idle watch (which may take some seconds to start), whether its program runs at all
#: (without arguments it prints its usage, with status 2), its warnings (guest/idle.py), and the agent's
#: report. In sh, for any login shell.
_ASK = (
    "exec sh -c 'if [ -e /etc/systemd/system/hotdesk-idle.service ]; then for i in 1 2 3 4 5; do "
    "s=$(systemctl is-active hotdesk-idle); [ active = $s ] && break; sleep 1; done; "
    "python3 /opt/hotdesk/idle.py >/dev/null 2>&1; "
    '[ $? = 2 ] && echo "idle $s" || echo "idle $s $(python3 -V 2>&1)"; fi; '
    f"date +now=%s; {idleness.ASK}; "
    'tail -n 50 ~/.hotdesk/warned 2>/dev/null | while read -r w; do echo "warned $w"; done; '
    "exec python3 /opt/hotdesk/agent.py report'"
)
#: The same of a desk on this computer: it has no agent, but a watch of its limits.
_ASK_HERE = "date +now=%s; sed 's/^/warned /' ~/.hotdesk/warned 2>/dev/null | tail -n 50"


def report(access: Access) -> Report | None:
    """The desk's agent report, with the state of the idle watch; of a desk on this computer its warnings.

    None when the desk has neither, has an older agent, or does not answer.
    """
    here = access.supervised
    try:
        done = subprocess.run(
            ssh.question(access, _ASK_HERE if here else _ASK),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (subprocess.TimeoutExpired, OSError):
        return None
    return read(done.stdout, done.returncode, here)


def read(stdout: bytes, status: int, here: bool) -> Report | None:
    """What was said there as a report. `here`: the desk is on this computer."""
    lines = stdout.decode("utf-8", "replace").splitlines()
    watch, state, python = [*(lines[0].split(" ", 2) if lines else []), "", "", ""][:3]
    watched = watch == "idle"
    said = Report() if here and lines else None
    with contextlib.suppress(msgspec.DecodeError):
        if status == 0 and lines and not here:
            said = wire.json(lines[-1], Report)
    if watched:
        said = msgspec.structs.replace(said or Report(silent=True), idle=state or "gone", python=python)
    if said is None:
        return None
    warned = [event for line in lines if (event := _warning(line))]
    now = next((float(line[4:]) for line in lines if re.fullmatch(r"now=\d{1,12}", line)), None)
    idle_for = next((found for line in lines if (found := idleness.read(line))), None)
    return msgspec.structs.replace(said, events=[*said.events, *warned], now=now, idle_for=idle_for)


def _warning(line: str) -> Event | None:
    """A warning of the idle watch: its time, and what it told everybody at the desk."""
    told = re.fullmatch(r"warned (\d{1,12}) (?:hotdesk: )?(.+)", line)
    return Event(id=f"warned-{told[1]}", at=float(told[1]), what=told[2]) if told else None


def remarks(said: Report, desk: str, gpu: str) -> list[Remark]:
    """A report in words. `gpu`: the model the machine was rented with."""
    found = []
    if said.idle != "active" or said.python:
        found.append(_unwatched(said, desk))
    if said.lacking:
        first, *last = said.lacking.splitlines()
        again = f"hotdesk ssh {desk} -- sudo sh /opt/hotdesk/setup.sh first"
        found.append(Remark("set-up", " / ".join([first, *last[-2:]]), again))
    if said.unclean:  # the comparison is with an earlier shutdown then
        found.append(_cut_off(desk))
    elif said.compared and said.compared.same is not None:
        found.append(_files(said.compared, desk))
    if gpu and gpu != "none" and not said.silent:
        found.append(_driver(said.driver, said.install, desk, gpu))
    if said.warm:
        found.append(_warm(said.warm))
    return found


def _unwatched(said: Report, desk: str) -> Remark:
    """Warn that nothing on the machine ends it, so it is billed until its owner does."""
    why = f"hotdesk-idle is {said.idle}"
    fix = f"hotdesk ssh {desk} -- sudo systemctl restart hotdesk-idle"
    if said.python:
        why = f"its python3 is {said.python}, and that needs 3.8 or later"
        fix = f"hotdesk park {desk}   # when you leave; an image with a newer Python ends by itself"
    more = "" if not said.silent else ", and interruption notices are ignored"
    text = f"NOT ACTIVE ({why}). Nothing there ends this machine, idle or past its lease and hours"
    return Remark("idle watch", f"{text}{more}: it is paid for until you park it", fix)


def _cut_off(desk: str) -> Remark:
    text = (
        "the last time this desk was turned off, its system was not shut down (a forced stop, or the host "
        "failed): what was written in the minute before may be missing or cut"
    )
    return Remark("files", text, f"hotdesk ssh {desk} -- journalctl -b -1 -n 20   # what it did last")


def _files(seen: Compared, desk: str) -> Remark:
    if seen.same:
        part = "" if seen.whole else ", as far as there was time to look"
        return Remark("files", f"as they were when the desk was parked{part}")
    parts = [
        f"{word}: {', '.join(paths[:3])}" + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
        for word, paths in (("missing", seen.missing), ("changed", seen.changed), ("new", seen.new))
        if paths
    ]
    look = f"hotdesk ssh {desk} -- cat /run/hotdesk/compared.json"
    return Remark("files", f"not as they were when the desk was parked: {'; '.join(parts)}", look)


def _driver(seen: Driver, done: Install | None, desk: str, gpu: str) -> Remark:
    state = done.state if done else ""
    if done and state == "installing":
        text = f"being installed for {done.seconds:.0f} s ({done.step}), which takes some minutes"
        return Remark("driver", f"{text}; jobs wait for it", f"hotdesk show {desk}")
    if seen.works:
        took = f" (installed in {done.seconds:.0f} s)" if done and state == "installed" else ""
        return Remark("driver", seen.said + took)
    if not seen.devices:
        return Remark(
            "driver",
            f"the machine was rented with {a_gpu(gpu)} and shows no NVIDIA device",
            f"hotdesk ssh {desk} -- lspci",
        )
    if done and state == "looking":
        return Remark("driver", "the machine is looking for one that works", f"hotdesk show {desk}")
    text = f"the {gpu} cannot be used: {seen.said}. The desk itself can"
    if done and state == "failed":
        why = " / ".join([done.why, *done.log])
        text = f"the {gpu} cannot be used, and its driver could not be installed: {why}. The desk itself can"
        again = "sudo systemctl restart hotdesk-driver" if done.again else "nvidia-smi"
        return Remark("driver", text, f"hotdesk ssh {desk} -- {again}")
    if done:  # it worked when this boot began
        return Remark("driver", text, f"hotdesk ssh {desk} -- sudo systemctl restart hotdesk-driver")
    # A machine whose set-up predates driver installation, moved without a new image.
    return Remark(
        "driver",
        text,
        f"hotdesk ssh {desk} -- 'sudo apt-get update && sudo apt-get install -y ubuntu-drivers-common && "
        "sudo ubuntu-drivers install --gpgpu && sudo reboot'",
    )


def _warm(seen: Warm) -> Remark:
    if seen.done:
        text = f"the {seen.files} most recently used files ({seen.bytes / 1e9:.1f} GB) were read ahead"
        return Remark("disk", f"{text} in {seen.seconds:.0f} s")
    share = seen.files / max(1, seen.of_files)
    text = f"{share:.0%} of the {seen.of_files} files used most recently have been read ahead"
    return Remark("disk", f"{text}; until then first reads are slow, since they come from the snapshot")
