"""The watcher on a desk: it watches desks and jobs while this computer is off.

What goes there: hotdesk itself, what the watched desks' rows and journal say, and their ssh keys. Cloud
credentials go nowhere unless that is asked for by name: the desk's own are used, best of all its instance
profile. Nor do the values of jobs' variables; where they are to go, they lie in the desk's memory only. What
comes back: how the jobs ended, their results and logs, and the journal of what was done.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

import hotdesk
from hotdesk.connect import copying, ssh
from hotdesk.connect.sync import contents
from hotdesk.core import wire
from hotdesk.core.clouds import KNOWN, Credentials, Sent, cloud
from hotdesk.core.errors import HotdeskError, Missing, NeedsDecision, Unreachable
from hotdesk.core.jobs import Job
from hotdesk.core.ports import Access
from hotdesk.jobs import results
from hotdesk.state.store import Store
from hotdesk.system import write_atomically

THERE = ".hotdesk/watcher"
FILE = "watcher-on"
_PIP_SECONDS = 600.0
#: A folder in memory (Linux), linked to from the state there; prints it. Nothing where there is none.
_MEMORY = (
    '[ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ] && d=$(mktemp -d /dev/shm/hotdesk-XXXXXXXX) '
    '&& ln -s "$d" state/variables && echo "$d" || :'
)
_CLEAR = '{ d=$(readlink state/variables); rm -rf state pulled ${d:+"$d"}; }'


def required(extras: set[str]) -> list[str]:
    """What hotdesk needs for these extras ("" for any), as its package says: "boto3[crt]>=1.41".

    Raises `Missing` where hotdesk is run without having been installed.
    """
    from importlib.metadata import PackageNotFoundError, requires

    try:
        told = [line.partition(";") for line in requires("hotdesk") or ()]
    except PackageNotFoundError:
        raise Missing(
            "The packages that a watcher needs are unknown.",
            "This hotdesk runs from a source tree and was not installed.",
            "./setup   # then .venv/bin/hotdesk",
        ) from None
    extra = re.compile(r"""extra == ["'](\w+)["']""")
    return [need.strip() for need, _, when in told if (extra.findall(when) or [""])[0] in extras]


class Away(msgspec.Struct, frozen=True):
    """What this computer knows about a watcher elsewhere."""

    desk: str
    last_row: int  # of the journal that was sent there
    names: tuple[str, ...]  # of the desks that it watches


def away(store: Store) -> Away | None:
    """The watcher that was sent to a desk, if one was."""
    assert store.folder is not None
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return wire.json((store.folder / FILE).read_bytes(), Away)
    return None


class Sweeps(NamedTuple):
    """What becomes of sweeps: written into the folder that is sent; then, once it is there, given away."""

    write: Callable[[Path], None]
    give: Callable[[], None]


class WatcherHost:
    """A desk that runs the watcher; `access` reaches it."""

    def __init__(self, access: Access, clouds: frozenset[str]) -> None:
        self.access, self.clouds = access, clouds
        self.python = ""
        self.variables: dict[str, str] = {}

    def line(self, line: str, given: bytes = b"", seconds: float = 60.0) -> str:
        """Run a shell line on the desk and return its output. Raises `Unreachable` with its last line."""
        argv = ssh.question(self.access, f"cd {THERE} && {line}")
        try:
            done = subprocess.run(argv, input=given, capture_output=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            raise self._failed(f"{line.split(maxsplit=1)[0]} took more than {seconds:.0f} s.") from None
        if done.returncode != 0:
            words = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise self._failed(words[-1] if words else f"It exited with {done.returncode}.")
        return done.stdout.decode("utf-8", "replace").strip()

    def _failed(self, why: str) -> Unreachable:
        desk = self.access.desk
        return Unreachable(f"Could not set up the watcher on {desk}.", why, f"hotdesk ssh {desk}")

    def copy(self, source: Path, target: str = "") -> None:
        """Copy a whole folder into `target` there."""
        found = contents(source, everything=True)
        names = [f"{source.name}/{name}" for name in found.names]
        try:
            copying.push(self.access, [(source.parent, names)], f"{THERE}/{target}".rstrip("/"))
        except HotdeskError as error:
            raise self._failed(error.why or error.what) from error

    def fetch(self, source: str, target: Path) -> bool:
        """Copy from there; returns whether there was anything."""
        try:
            found = copying.pull(
                self.access, [f"{THERE}/{source}"], target, may_replace=lambda name, here, came: True
            )
        except HotdeskError:
            return False
        return not found.absent

    def set_up(self) -> None:
        """Install hotdesk and its requirements there, unless they are installed already."""
        ssh.make_folder(self.access, f"{THERE}/lib")
        self.line("chmod 700 . && rm -rf lib/hotdesk")
        self.copy(Path(hotdesk.__file__).parent, "lib/")
        needs = required({"", "spot", *(cloud(name).extra for name in self.clouds)})
        names = [re.split(r"[\[><=]", need, maxsplit=1)[0] for need in needs]  # of packages, not of modules
        known = f"assert sys.version_info >= (3, 11); [version(name) for name in {names}]"
        for python in ("venv/bin/python", "python3"):
            with contextlib.suppress(Unreachable):
                code = f"import sys; from importlib.metadata import version; {known}"
                self.line(shlex.join((python, "-c", code)))
                self.python = python
                return
        makers = '"$VIRTUAL_ENV/bin/python" /opt/hotdesk/venv/bin/python python3'
        self.line(f"for p in {makers}; do $p -m venv venv 2>/dev/null && break; done; test -x venv/bin/pip")
        self.line(f"venv/bin/pip install -q {shlex.join(needs)}", seconds=_PIP_SECONDS)
        self.python = "venv/bin/python"

    def run(self, *words: str, seconds: float = 60.0) -> str:
        """Run Python there with these arguments, with hotdesk importable, and return its output."""
        where = {
            "HOTDESK_STATE": "$PWD/state",
            "HOTDESK_CONFIG": "$PWD/hotdesk.toml",
            "PYTHONPATH": "$PWD/lib",
        }
        told = [f'{name}="{value}"' for name, value in where.items()]
        told += [f"{name}={shlex.quote(value)}" for name, value in self.variables.items()]
        keys = "; ".join(
            f"[ ! -f {name} ] || export {lent.variable}=$PWD/{name}"  # a file by the name of its cloud
            for name, lent in self.lent.items()
        )
        python = f"$PWD/{self.python}" if "/" in self.python else self.python
        return self.line(f"{keys or ':'}; env {' '.join(told)} {python} {shlex.join(words)}", seconds=seconds)

    @property
    def lent(self) -> dict[str, Credentials]:
        """How each cloud of the watched desks takes credentials there; only clouds that need some."""
        known = {name: cloud(name).lent for name in sorted(self.clouds)}
        return {name: lent for name, lent in known.items() if lent}


def with_variables(store: Store, desk: str) -> list[Job]:
    """The jobs that a watcher at this desk would watch, and whose variables have values here."""
    watched = {d.name for d in store.desks() if d.name != desk and cloud(d.provider).rented}
    jobs = [j for j in store.jobs(unsettled=True) if j.desk in watched and j.variables and j.result is None]
    return [job for job in jobs if store.variables(job)]


def send(
    store: Store,
    host: WatcherHost,
    config: Path | None,
    keys: Mapping[str, Sent],
    variables: Sequence[Job] = (),
    *,
    sweeps: Sweeps | None = None,
) -> tuple[Away, str]:
    """A watcher at that desk for every other desk of this computer; and whose credentials it uses.

    `keys`: credentials by cloud to send along, and `variables`: the jobs whose variables' values are to go
    too, where the owner has agreed to that; `sweeps` writes those that go there. Raises `NeedsDecision` where
    a cloud needs credentials and there would be none, `Missing` where the desk has no memory-backed storage
    for the values.
    """
    assert store.folder is not None
    names = tuple(d.name for d in store.desks() if d.name != host.access.desk and cloud(d.provider).rented)
    if not names:
        raise Missing(
            "There is nothing to watch.",
            "A local desk stops with this computer; only cloud desks can be watched from elsewhere.",
            "hotdesk ls",
        )
    host.set_up()
    needed = [name for lent in host.lent.values() for name in lent.variables]
    host.variables |= {name: os.environ[name] for name in needed if name in os.environ}
    with contextlib.suppress(Unreachable):
        host.run("-m", "hotdesk", "watch", "--stop")
    host.line(": > hotdesk.toml")
    if config is not None:
        host.line("cat > hotdesk.toml", config.read_bytes())
    whose = "; ".join(_agree(host, name, lent, keys.get(name)) for name, lent in host.lent.items())
    home = host.line("pwd")
    with tempfile.TemporaryDirectory(prefix="hotdesk-") as folder:
        state = Path(folder) / "state"
        last = _excerpt(store, names, state, f"{home}/pulled")
        if sweeps:
            sweeps.write(state)
        host.line(f"{_CLEAR} && mkdir -m 700 state pulled")
        host.copy(state)
    if sweeps:
        sweeps.give()
    if variables:
        _send_variables(store, host, variables)
    host.run("-m", "hotdesk", "watch", "--detach")
    sent = Away(desk=host.access.desk, last_row=last, names=names)
    write_atomically(store.folder / FILE, msgspec.json.encode(sent))
    return sent, whose


def _send_variables(store: Store, host: WatcherHost, jobs: Sequence[Job]) -> None:
    """Put the values into the desk's memory: its disk may be imaged at any moment."""
    if not host.line(_MEMORY):
        raise Missing(
            f"{host.access.desk} has no memory-backed storage.",
            "The values of variables would lie on its disk, and so in its images. Nothing was sent.",
            f"hotdesk watch --on {host.access.desk}   # without --send-secrets",
        )
    for job in jobs:
        given = store.variables(job)
        host.line(f"umask 077; cat > state/variables/{job.id}.json", msgspec.json.encode(given))


_OWN = (
    "from hotdesk.config import load; from hotdesk.providers import registry;"
    " from hotdesk.system import config_files"
)


def _agree(host: WatcherHost, name: str, lent: Credentials, sent: Sent | None) -> str:
    """Whose credentials for that cloud are used there: those sent, or its own."""
    desk = host.access.desk
    if sent is not None:
        host.line(f"umask 077; cat > {name}.new && mv {name}.new {name}", sent.body.encode())
        return f"{sent.label}, which was sent there ({THERE}/{name}, mode 0600)"
    host.line(f"rm -f {name}")
    if own := host.run("-c", f"{_OWN}; print(registry.own({name!r}, load(config_files()).cloud({name!r})))"):
        return f"{own}: nothing was sent"
    raise NeedsDecision(
        f"{desk} has no {cloud(name).label} credentials, and hotdesk sends none unless you ask.",
        lent.advice,
        f"hotdesk watch --on {desk} --send-credentials   # sends this computer's own",
    )


def _excerpt(store: Store, names: tuple[str, ...], state: Path, pulled: str) -> int:
    """Write a state folder for these desks; returns the last row of the journal in it."""
    assert store.folder is not None
    state.mkdir(mode=0o700)
    with (
        contextlib.closing(sqlite3.connect(store.folder / "hotdesk.db")) as whole,
        contextlib.closing(sqlite3.connect(state / "hotdesk.db")) as part,
    ):
        whole.backup(part)
    for name in names:
        keys = store.folder / "desks" / name
        if keys.is_dir():
            shutil.copytree(keys, state / "desks" / name, ignore=shutil.ignore_patterns("*.lock", "cm-*"))
    with Store(state) as copy:
        for desk in copy.desks():
            if desk.name not in names:
                copy.remove(desk.name)
        for job in copy.jobs(unsettled=True):
            if job.desk not in names:
                copy.put_job(job.number, settled=True)
            elif job.pull:
                copy.put_job(job.number, pull_to=f"{pulled}/{job.id}")
        rows = copy.rows(limit=1)
        return rows[-1].id if rows else 0


def bring_back(
    store: Store, host: WatcherHost, sent: Away, sweeps: Callable[[Path], object] = lambda state: None
) -> list[Job]:
    """Stop the watcher there and import what it did; returns the jobs that have ended meanwhile.

    `sweeps` takes up those of the state folder that has come.
    """
    assert store.folder is not None
    host.set_up()
    host.run("-m", "hotdesk", "watch", "--stop")
    host.run("-m", "hotdesk", "sweep", "drive", "--stop")
    ended: list[Job] = []
    with tempfile.TemporaryDirectory(prefix="hotdesk-") as folder:
        if not host.fetch("state", Path(folder)):
            raise Unreachable(
                f"The results from {sent.desk} could not be fetched.", "", f"hotdesk ssh {sent.desk}"
            )
        host.fetch("pulled", Path(folder))
        with _quiet_store(Path(folder) / "state") as there:
            for row in there.rows(after=sent.last_row, limit=None):
                (mine,) = store.begin([(row.desk, row.step)], row.at)
                if row.outcome is not None:
                    store.end(mine, row.outcome, row.ended_at or row.at)
            for desk in there.desks():
                known = store.find(desk.name)
                if known and desk.created_at == known.created_at and desk.since >= known.since:
                    store.put(desk)
            known_jobs = {job.id: job for job in store.jobs()}
            for job in there.jobs():
                here = known_jobs.get(job.id)
                if here is not None and here.result is None and job.result is not None:
                    ended.append(_take_over(store, here, job, Path(folder)))
        sweeps(Path(folder) / "state")
    files = [name for name, known in KNOWN.items() if known.lent]
    host.line(f"{_CLEAR} && rm -rf {shlex.join(files)} hotdesk.toml")
    (store.folder / FILE).unlink(missing_ok=True)
    return ended


def _take_over(store: Store, here: Job, there: Job, folder: Path) -> Job:
    assert store.folder is not None
    for kept in (folder / "state" / "jobs").glob(f"{here.id}.*"):  # its log, and what was measured
        (store.folder / "jobs").mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(kept, store.folder / "jobs" / kept.name)
    fetched, words = folder / "pulled" / here.id, there.fetched
    if there.pulled and fetched.is_dir():
        now = there.result.at if there.result else here.created_at
        words = results.take(here, fetched, began=results.began(store, here), now=now, state=store.folder)
    return store.put_job(
        here.number,
        fetched=words,
        result=there.result,
        pulled=there.pulled,
        settled=there.settled,
        cancelled=there.cancelled,
    )


@contextlib.contextmanager
def _quiet_store(folder: Path) -> Iterator[Store]:
    try:
        with Store(folder) as store:
            yield store
    except HotdeskError as error:
        raise Unreachable("The watcher's records cannot be read.", error.what, "hotdesk doctor") from error
