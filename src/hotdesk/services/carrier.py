"""The process that carries a desk's work (services/transport.py).

    python -m hotdesk.services.carrier STATE DESK

It holds the lock that it was started with as long as it lives.
"""

from __future__ import annotations

import errno
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from hotdesk import system
from hotdesk.core.backoff import backoff
from hotdesk.core.clouds import cloud
from hotdesk.core.errors import HotdeskError, Kind, Refused, Unreachable
from hotdesk.core.lines import NotStraight, Outward, Target
from hotdesk.core.model import Phase
from hotdesk.core.ports import Access, Clock, Pool, Provider
from hotdesk.core.steps import Bring, Fetch, Moving
from hotdesk.providers import registry
from hotdesk.providers.cloud.admitting import Guarded, admitted
from hotdesk.services.carriage import Inventory, inventory, some
from hotdesk.services.transport import Order, Told, folder_of, pool_name, read
from hotdesk.snapshots.environment import locked

T = TypeVar("T")
PATIENCE = 8  # cuts in a row between which nothing went on
ROUNDS = 3  # of carrying and comparing, where files differ afterwards
_STATUS_SECONDS = 0.3
_SHOWN = 4  # names of one kind


class Carrier:
    """One way of one desk. `reach`: how to reach the machine now."""

    def __init__(
        self,
        folder: Path,
        order: Order,
        pool: Pool,
        reach: Callable[[], Access],
        clock: Clock,
        *,
        outward: Outward | None = None,
        guarded: Guarded | None = None,
    ) -> None:
        """`outward`: where the image may be kept; `guarded`: the cloud of the machine that it goes to."""
        self.outward, self.guarded = outward, guarded
        self.folder, self.order, self.pool, self.reach, self.clock = folder, order, pool, reach, clock
        self.desk = folder.name
        self.disk = folder / "disk"
        self.note = ""  # what its owner should know
        self._told = 0.0
        self._moved = 0  # how often anything was heard of the way

    def tell(self, told: Told) -> None:
        system.write_atomically(self.folder / "told.json", msgspec.json.encode(told))

    def report(self, share: float, words: str) -> None:
        self._moved += 1
        if (now := system.ticks()) - self._told > _STATUS_SECONDS:
            self._told = now
            self.tell(Told(share=round(share, 3), reason=words))

    def work(self) -> None:
        """Everything, from the beginning; what was done before takes little time. Raises `Refused`."""
        match self.order.step:
            case Bring(image=image):
                self.bring(image)
            case Fetch():
                self.fetch()
        self.tell(Told(share=1.0, done=True, reason=self.note))
        shutil.rmtree(self.disk, ignore_errors=True)

    def bring(self, image: str) -> None:
        lock = self.straight(image)
        if lock is None:
            self.bring_from_here(image)
            lock = locked(self.disk)
        if lock:
            self.furnish(lock)

    def straight(self, image: str) -> list[str] | None:
        """The lock of its environment, if its home went straight from where it is kept; None: not so."""
        from hotdesk.connect import carrying, ssh

        source, cloud_ = self.outward, self.guarded
        if source is None or cloud_ is None:
            return None
        assert isinstance(self.order.step, Bring)
        state, provider, machine = self.folder.parents[1], self.order.provider, self.order.step.id

        def go() -> list[str] | None:
            access = self.reach()
            to = Target(
                name=self.desk,
                ssh=tuple(ssh.question(access, "")[:-1]),
                place=(access.host, access.port),
                url=cloud_.address_url,
                admit=lambda cidr: admitted(state, cloud_, provider, machine, cidr),
            )
            try:
                return source.bring(image, to, lambda share, words: self.report(0.7 * share, words))
            except OSError as error:
                raise carrying.Cut(str(error)) from error

        try:
            return self.patiently(go)
        except NotStraight as no:
            why = f"there was no way straight there ({no})"
        except carrying.Cut as cut:
            why = f"the way straight there is cut again and again ({cut})"
        self.note = f"It came through this computer: {why}."
        return None

    def bring_from_here(self, image: str) -> None:
        from hotdesk.connect import carrying

        self.report(0.01, f"unpacking {image}")
        self.pool.unpack(image, str(self.disk), lambda share, words: self.report(0.2 * share, words))
        home = self.disk / "home"

        def go() -> None:
            self.patiently(
                lambda: carrying.to_machine(self.reach(), home, lambda w: self.report(0.3, f"sending: {w}"))
            )

        if odd := self.until_same(go, 0.7, "reading every file back at the new machine", arriving=False):
            raise Refused(Kind.CORRUPT, f"not as they were sent, each time: {some(odd, _SHOWN)}")

    def furnish(self, lock: list[str]) -> None:
        """Install the packages that are on the list there, and say what is not as it was."""
        from hotdesk.connect import carrying

        self.report(0.8, f"installing {len(lock)} packages there")
        done = self.patiently(lambda: carrying.furnish(self.reach(), lock))
        if missing := {**done.failed, **done.broken}:
            first, why = next(iter(missing.items()))
            self.note = (
                f"{len(missing)} of {len(lock)} packages are not usable at the new machine: "
                f"{some(sorted(missing), _SHOWN)} ({first}: {why})."
                " Their list: ~/.hotdesk/environment.lock"
            )
        elif done.other:
            self.note = (
                f"{len(done.other)} of {len(lock)} packages are other builds of the same version at the"
                f" new machine: {some(done.other, _SHOWN)}. Their list: ~/.hotdesk/environment.lock"
            )

    def fetch(self) -> None:
        from hotdesk.connect import carrying

        assert isinstance(self.order.step, Fetch)
        home = self.disk / "home"
        if not home.exists():
            self.report(0.01, "looking what is here already")
            self.pool.unpack_newest(self.desk, str(self.disk), lambda s, words: self.report(0.1 * s, words))

        def come(share: float) -> None:
            self.patiently(
                lambda: carrying.from_machine(
                    self.reach(), home, lambda w: self.report(share, f"fetching: {w}")
                )
            )

        come(0.2)  # most of it, while the desk may still be used
        told = inventory(self.reach(), with_environment=False)
        left = self.patiently(lambda: carrying.quiesce(self.reach()))
        if left:
            raise Refused(Kind.NOT_READY, f"still running at {self.desk}: {some(left, _SHOWN)}")
        if odd := self.until_same(lambda: come(0.5), 0.6, "reading every file on both sides", arriving=True):
            raise Refused(Kind.UNREADABLE, f"something at {self.desk} still writes: {some(odd, _SHOWN)}")
        if told is not None:
            self.leave_list(told)
        self.pool.pack(
            self.order.step.order, str(self.disk), lambda share, words: self.report(0.7 + 0.3 * share, words)
        )

    def leave_list(self, told: Inventory) -> None:
        """Put a list of the packages that stay at the machine into the image, as lines to be run."""
        known = cloud(self.order.provider)
        lines, place = packages_left(told, locked(self.disk), known.label), self.disk / "home" / ".hotdesk"
        path = place / f"left-at-{known.name}.sh"
        if not lines:
            path.unlink(missing_ok=True)
            return
        place.mkdir(mode=0o700, exist_ok=True)
        system.write_atomically(path, "".join(f"{line}\n" for line in lines).encode())
        named = [*told.system_packages, *python_left(told, locked(self.disk)), *told.apart]
        self.note = (
            f"{len(named)} packages stay at {known.label}: {some(named, _SHOWN)}. "
            f"To have them at the new place: hotdesk ssh {self.desk} -- sh .hotdesk/{path.name}"
        )

    def until_same(self, go: Callable[[], None], share: float, words: str, *, arriving: bool) -> list[str]:
        """Carry and compare until both sides have the same; the files that differ after the last round."""
        from hotdesk.connect import carrying

        home, odd = self.disk / "home", list[str]()
        for _ in range(ROUNDS):
            go()
            self.report(share, words)
            odd = self.patiently(lambda: carrying.differences(self.reach(), home, arriving=arriving))
            if not odd:
                break
        return odd

    def patiently(self, work: Callable[[], T]) -> T:
        """The work's result; again, later each time, while the line is cut."""
        from hotdesk.connect import carrying

        times = 0
        while True:
            before = self._moved
            try:
                return work()
            except (carrying.Cut, Unreachable, Refused) as error:
                if isinstance(error, Refused) and error.kind is not Kind.NOT_READY:
                    raise
                times = 1 if self._moved > before else times + 1
                if times >= PATIENCE:
                    raise
                pause = backoff(times, f"{self.desk}/{before}")
                said = getattr(error, "why", "") or str(error)
                self.tell(Told(share=0.3, reason=f"{said}; again in {pause:.0f} s"))
                self.clock.sleep(pause)


def python_left(told: Inventory, here: list[str]) -> list[str]:
    """What a desk's Python had and the environment that goes along (`locked`) lacks; Jupyter is anywhere."""
    have = {line.partition("  #")[0] for line in here} | {*told.jupyter}
    return [one for one in told.packages if one not in have]


def packages_left(told: Inventory, here: list[str], label: str) -> list[str]:
    """Lines for sh that install what a cloud's machine has and the desk's environment (`locked`) lacks."""
    python = python_left(told, here)
    lines = []
    if told.system_packages:
        lines.append(f"sudo apt-get install -y {shlex.join(told.system_packages)}")
    if python:
        lines.append(f"python3 -m pip install {shlex.join(one.partition('+')[0] for one in python)}")
    lines += [f"# not from an index: {one}" for one in told.apart]
    return [f"# what this desk had at {label} besides its files", *lines] if lines else []


def _access(provider: Provider, step: Moving) -> Access:
    """How to reach the machine of a step, as its cloud shows it now."""
    id_ = step.id if isinstance(step, Bring) else step.order.source_id
    machine = next((i for i in provider.survey().instances if i.id == id_), None)
    if machine is None or machine.phase is not Phase.READY:
        raise Refused(Kind.NOT_READY, f"{id_} does not run")
    return provider.access(machine)


def main(words: list[str]) -> int:
    from hotdesk.services import Services

    state, desk = Path(words[0]), words[1]
    folder = folder_of(state, desk)
    order = read(folder / "order.json", Order)
    if order is None:
        return 1
    with Services(state) as services:
        pool = services.clouds.provider(pool_name())
        assert isinstance(pool, Pool)
        provider = services.clouds.provider(order.provider)
        own = services.clouds.provider(registry.of_machines())
        carrier = Carrier(
            folder,
            order,
            pool,
            lambda: _access(provider, order.step),
            services.clock,
            outward=own if isinstance(own, Outward) else None,
            guarded=provider if isinstance(provider, Guarded) else None,
        )
        try:
            carrier.work()
        except Refused as no:
            carrier.tell(Told(failed=True, kind=no.kind, reason=no.message, fix=no.fix))
        except HotdeskError as error:
            carrier.tell(Told(failed=True, reason=f"{error.what} {error.why}"))
        except OSError as error:
            full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            kind = Kind.UNREADABLE if full else None
            told = f"the disk of this computer is full: {error}" if full else str(error)
            carrier.tell(Told(failed=True, kind=kind, reason=told))
        except Exception as error:
            traceback.print_exc()
            carrier.tell(Told(failed=True, reason=f"{type(error).__name__}: {error}"))
        else:
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
