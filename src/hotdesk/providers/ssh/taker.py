"""The worker process that takes an image of a desk at a machine, into the store of this computer.

python -m hotdesk.providers.ssh.taker STATE bake|verify IMAGE

An image that may stay where its machine is (`BakeOrder.there`) is taken into the store there, and read back
there; only its list of files comes here. Where that cannot be, it comes here as any other.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hotdesk.core.errors import Kind, Refused
from hotdesk.providers.local import records as here
from hotdesk.providers.local.runtime import spawn
from hotdesk.providers.local.runtime.imager import Baker
from hotdesk.providers.local.served import Order
from hotdesk.providers.ssh import elsewhere, records
from hotdesk.providers.ssh.line import Far, Nothing
from hotdesk.providers.ssh.patience import patiently
from hotdesk.snapshots import transfer
from hotdesk.snapshots.capture import Captured


class Taker(Baker):
    def __init__(self, state: Path, id_: str) -> None:
        super().__init__(state, id_)
        self.state = state

    def bake(self) -> None:
        """Pull the disk of a machine that is off; what the store has is not sent."""
        source = self.picture.order.source_id
        name, _, disk = source.rpartition("/")
        manifest = self.folders.manifest(self.id)
        if not disk.startswith("disk-") or not name:
            folder = records.machine(self.state, source)
            placed = folder.placed
            if placed is None:
                raise Refused(kind=None, message=f"{source} has no record")  # type: ignore[arg-type]
            name = placed.order.offer.zone
            if not folder.has("there") or not self._prepared(name, source):
                self.take_unused(placed.order.image_id, manifest)
                return
        far = elsewhere.far(self.state, name)
        if self.picture.order.there and self._kept(far, manifest):
            return
        received = 0.0

        def pull() -> Captured:
            nonlocal received
            with far.line("give", self.picture.order.desk) as line:
                try:
                    return transfer.pull(line, self.folders.store, manifest, progress=self.report)
                finally:
                    received += line.received if line.received > 1_000_000 else 0

        taken = patiently(pull, spawn.say, lambda: received)
        spawn.say(f"{received:.0f} bytes received")
        self.baked(taken, carried=True)

    def _kept(self, far: Far, manifest: Path) -> bool:
        """Whether it could be taken into the store at its machine."""
        desk = self.picture.order.desk
        try:
            taken = patiently(lambda: elsewhere.keep(far, desk, self.id, manifest, self.report), spawn.say)
            patiently(lambda: far.call("adopt", Order(id=self.id, picture=self.picture)), spawn.say)
        except Refused as no:
            if no.kind is not Kind.NO_SPACE:
                raise
            spawn.say(f"it cannot stay at {far.name}: {no.message}")
            return False
        self.baked(taken, carried=True, at=far.name)
        return True

    def verify(self) -> None:
        if not self.picture.at:
            super().verify()
            return
        elsewhere.verify(self.state, self.id, self.report)
        self.tell(phase=here.Taking.BAKED, verified=True, progress=None, reason="")

    def _prepared(self, name: str, source: str) -> bool:
        try:
            return patiently(
                lambda: elsewhere.far(self.state, name).call("source", Order(id=source)), spawn.say
            ).prepared
        except Nothing:
            return False


def main() -> int:
    spawn.settle()
    taker = Taker(Path(sys.argv[1]), sys.argv[3])
    return taker.work(taker.bake if sys.argv[2] == "bake" else taker.verify)


if __name__ == "__main__":
    sys.exit(main())
