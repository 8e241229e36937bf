"""The worker process that brings a desk to a machine.

    python -m hotdesk.providers.ssh.launcher STATE ID

It holds worker.lock. Killed, or cut off for good, it leaves a machine that is off; started again, it goes on
where it was.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from pathlib import Path

import msgspec

from hotdesk.core.errors import Refused
from hotdesk.providers.cloud.direct import Lost, NoWay
from hotdesk.providers.local.images import Images
from hotdesk.providers.local.records import write
from hotdesk.providers.local.runtime import clock, spawn
from hotdesk.providers.local.served import Order
from hotdesk.providers.ssh import elsewhere, kit, records
from hotdesk.providers.ssh.hosts import Hosts
from hotdesk.providers.ssh.line import Far, Nothing, Silent
from hotdesk.providers.ssh.patience import patiently
from hotdesk.providers.ssh.settings import Settings
from hotdesk.snapshots import transfer
from hotdesk.system import locked

_STATUS_SECONDS = 0.3


class Launcher:
    def __init__(self, state: Path, id_: str) -> None:
        self.state, self.id = state, id_
        self.folder = records.machine(state, id_)
        placed = self.folder.placed
        if placed is None:
            raise Refused(kind=None, message=f"{id_} has no readable record")  # type: ignore[arg-type]
        self.placed = placed
        self.hosts = Hosts(state, Settings())
        self.name = placed.order.offer.zone
        self.far = Far(self.hosts, self.name, self.hosts.find(self.name))
        self._told = 0.0
        self._detour = ""  # why the image comes by this computer, if it was to come straight

    def tell(self, share: float, reason: str, fix: str = "") -> None:
        write(
            self.folder.path / "progress.json",
            records.Progress(share=round(share, 3), reason=reason, fix=fix),
            durable=False,
        )

    def report(self, share: float, reason: str) -> None:
        if clock.ticks() - self._told > _STATUS_SECONDS:
            self._told = clock.ticks()
            self.tell(share, f"{reason}: {self._detour}" if self._detour else reason)

    def work(self) -> None:
        """Everything, step by step; each may have been done before."""
        with locked(self.hosts.folder / f"kit-{self.name}.lock"):  # desks side by side need one environment
            patiently(lambda: kit.bring(self.far, lambda s, words: self.report(0.5 * s, words)), self.say)
        order = self.placed.order
        if order.image_id:
            self._carry(order.image_id)
        self.tell(0.95, f"starting at {self.name}")
        keys = records.sent(self.placed.keys)
        patiently(lambda: self.far.call("launch", Order(order=order, keys=keys)), self.say)
        self.folder.mark("there")
        if order.image_id:
            self._clear_up(order.image_id)

    def say(self, words: str) -> None:
        spawn.say(words)
        self.tell(self.folder.progress.share, words)

    def _carry(self, image: str) -> None:
        """Send the image to the store at the machine, by the shortest way there is."""
        pool = Images(self.state)
        picture = pool.whole(image)
        if picture.at == self.name:
            return
        if picture.at and self._straight(image, picture.at):
            patiently(lambda: self.far.call("adopt", Order(id=image, picture=picture)), self.say)
            return
        if picture.at:
            elsewhere.bring(self.state, image, lambda s, words: self.report(0.5, words), self.say)
            picture = pool.whole(image)

        def send() -> int:
            with self.far.line("take", image) as line:
                return transfer.push(
                    line,
                    pool.folders.store,
                    pool.folders.manifest(image),
                    progress=lambda share, words: self.report(0.5 + 0.4 * share, f"{words} to {self.name}"),
                )

        with locked(pool.folders.root / "store.lock", shared=True):
            sent = patiently(send, self.say)
        spawn.say(f"{image}: {sent} bytes sent")
        patiently(lambda: self.far.call("adopt", Order(id=image, picture=picture)), self.say)

    def _straight(self, image: str, name: str) -> bool:
        """Whether the image came here from the machine that has it, and not by this computer."""
        source = elsewhere.far(self.state, name)

        def go() -> int:
            sent, way = elsewhere.across(
                self.state, image, source, self.far, lambda s, words: self.report(0.5 + 0.4 * s, words)
            )
            spawn.say(f"straight from {name} by {way.host}: {way.bytes_per_second:.0f} bytes a second")
            return sent

        try:
            sent = patiently(go, self.say)
        except NoWay as no:
            self._detour = (
                f"{self.name} cannot be reached from {name} ({no}), so it goes through this computer"
            )
        except (Silent, transfer.Cut, Lost) as error:
            self._detour = (
                f"the way from {name} is cut again and again ({error}), so it goes through this computer"
            )
        if self._detour:
            self.say(self._detour)
            return False
        spawn.say(f"{image}: {sent} bytes sent straight")
        return True

    def _clear_up(self, image: str) -> None:
        """Delete the copy of the image there, once the disk is restored from it."""
        if (picture := Images(self.state).picture(image)) is not None and picture.at == self.name:
            return  # it is the one copy
        with contextlib.suppress(Refused, Nothing, Silent):  # else it shows as a leftover
            while (told := self.far.call("survey").told) is not None:
                machine = told.machines.get(self.id)
                if machine is None or machine.prepared:
                    self.far.call("delete", Order(id=image))
                    return
                if any(i.id == self.id and i.phase == "stopped" for i in told.survey.instances):
                    return
                clock.pause(1.0)


def main() -> int:
    spawn.settle()
    state, id_ = Path(sys.argv[1]), sys.argv[2]
    launcher = Launcher(state, id_)
    try:
        launcher.work()
    except Refused as no:
        launcher.tell(0.0, no.message, no.fix)
    except (OSError, Nothing, msgspec.MsgspecError) as error:
        launcher.tell(0.0, str(error) or type(error).__name__)
    except Exception as error:
        traceback.print_exc()
        launcher.tell(0.0, f"{type(error).__name__}: {error}")
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
