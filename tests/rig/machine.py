"""One system on this computer, from boot to shutdown. Its init is systemd, as process 1 of its own."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.rig import cgroups
from tests.rig.disks import Disks, Volume
from tests.rig.metadata import Service
from tests.rig.network import METADATA, Network, listening_in

CONSOLE_BYTES = 65536  # as much as EC2 keeps
HALT_SECONDS = 90.0


@dataclass(kw_only=True)
class Machine:
    """A machine: `boot` begins it; `halt` ends it and leaves its disk."""

    told: dict[str, Any]  # what the fake says of it
    name: str
    number: int
    volume: Volume
    disks: Disks
    network: Network
    service: Service | None = None
    process: subprocess.Popen[bytes] | None = None
    on_off: Callable[[str], None] = lambda instance_id: None  # it has turned itself off
    space: str = ""
    address: str = ""

    def boot(self, console: Path, loans: list[str]) -> str:
        """Its address, as soon as its init has begun. What was made is taken away when that fails."""
        try:
            root = self.disks.mount(self.volume)
            self.space, self.address = self.network.plug(self.number)
            self.service = Service(listening_in(self.space, METADATA, 80), self.told, self.address)
            groups = cgroups.make(self.name)
            # A shell moves itself into the group and becomes the container, so nothing runs outside it. A rig
            # that is killed has its machines shut down.
            move = 'for g in $INTO; do echo $$ > $g || exit 70; done; exec setpriv --pdeathsig TERM "$@"'
            argv = [
                "systemd-nspawn", "--quiet", "--boot", f"--directory={root}", f"--machine={self.name}",
                "--register=no", "--keep-unit", f"--network-namespace-path=/run/netns/{self.space}",
                "--resolv-conf=off", "--timezone=off", "--console=read-only",
                *(f"--bind-ro={loan}" for loan in loans),
            ]  # fmt: skip
            with console.open("ab") as file:
                self.process = subprocess.Popen(
                    ["sh", "-c", move, "sh", *argv],
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "INTO": " ".join(map(str, groups))},
                    start_new_session=True,
                )
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self.process.wait(1.0)
                last = console.read_text("utf-8", "replace")[-800:]
                raise RuntimeError(f"the machine ended at once with {status}: {last}")
        except BaseException:
            self.halt(clean=False)
            raise
        threading.Thread(target=self._watch, args=(self.process,), daemon=True).start()
        return self.address

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        while process.poll() is None:  # not wait(): `halt` waits as well
            time.sleep(0.2)
        if self.process is process:  # and nobody has asked for it
            self.on_off(self.told["id"])

    def halt(self, clean: bool = True) -> None:
        """Shut down as a power button does, or cut the power. Safe to repeat."""
        process, self.process = self.process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM if clean else signal.SIGKILL)
            try:
                process.wait(HALT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self.service is not None:
            self.service.close()
            self.service = None
        cgroups.remove(self.name)
        if self.space:
            self.network.unplug(self.space)
            self.space = ""
        with contextlib.suppress(OSError):
            Path(f"/run/systemd/nspawn/propagate/{self.name}").rmdir()
        self.disks.unmount(self.volume)


def console_text(path: Path) -> str:
    try:
        return path.read_bytes()[-CONSOLE_BYTES:].decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
