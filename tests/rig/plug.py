"""The hooks that the fake EC2 calls (`fake_ec2.rig`), each doing the real thing."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fake_ec2.rig import Machines
from tests.rig import base, ground, settings
from tests.rig.disks import Disks
from tests.rig.machine import Machine, console_text
from tests.rig.network import Network
from tests.rig.sweep import Claim, put_back, sweep


class RealMachines(Machines):
    """Machines, disks and network of one rig, in a folder and under a name of its own."""

    def __init__(self) -> None:
        if why := ground.lacking():
            raise SystemExit(f"real machines cannot run on this computer: {why}")
        sweep()
        self.claim = Claim.take()
        self.folder = self.claim.folder
        told = os.environ.get("HOTDESK_RIG_BASE")
        root = base.make(Path(told) if told else None)
        self.disks = Disks(self.folder, root)
        self.network = Network(self.claim.name)
        self.network.open()
        self.loans = settings.loans(self.folder)
        self.running: dict[str, Machine] = {}
        self.turns: dict[str, threading.Lock] = {}
        self.lock = threading.Lock()
        self.number = 0

    @contextlib.contextmanager
    def turn(self, instance_id: str) -> Iterator[None]:
        """One thing at a time per machine: an end that overtakes a boot waits for it."""
        with self.lock:
            turn = self.turns.setdefault(instance_id, threading.Lock())
        with turn:
            yield

    def start(self, machine: dict[str, Any]) -> dict[str, Any]:
        with self.turn(machine["id"]):
            source = next(d for d in machine["disks"] if d["root"])
            volume = self.disks.volume(source["volume_id"], source["snapshot_id"])
            with self.lock:
                self.number += 1
                number = self.number
            name = f"{self.claim.name}m{number}"
            made = Machine(
                told=machine,
                name=name,
                number=number,
                volume=volume,
                disks=self.disks,
                network=self.network,
                on_off=self.on_off,
            )
            address = made.boot(self._console(machine["id"]), self.loans)
            self.running[machine["id"]] = made
            return {"public_ip": address}

    def stop(self, machine: dict[str, Any]) -> None:
        self._end(machine["id"], clean=True)

    def terminate(self, machine: dict[str, Any]) -> None:
        self._end(machine["id"], clean=True)

    def reboot(self, machine: dict[str, Any]) -> None:
        with self.turn(machine["id"]):
            if made := self.running.get(machine["id"]):
                made.halt()
                made.boot(self._console(machine["id"]), self.loans)

    def warn(self, instance_id: str, action: str, at: float) -> None:
        import json
        from datetime import UTC, datetime

        made = self.running.get(instance_id)
        if made and made.service:
            when = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            made.service.tree["spot"] = {"instance-action": json.dumps({"action": action, "time": when})}
            noticed = json.dumps({"noticeTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")})
            made.service.tree["events"] = {"recommendations": {"rebalance": noticed}}

    def bake(self, snapshot_id: str, volume_id: str) -> None:
        self.disks.bake(snapshot_id, volume_id)

    def restore(self, volume_id: str, snapshot_id: str) -> None:
        self.disks.volume(volume_id, snapshot_id)

    def copy(self, snapshot_id: str, source_id: str) -> None:
        self.disks.copy(snapshot_id, source_id)

    def forget(self, thing_id: str) -> None:
        self.disks.forget(thing_id)

    def console(self, instance_id: str) -> str | None:
        return console_text(self._console(instance_id))

    def close(self) -> None:
        """Cut the power of what still runs, and leave nothing."""
        for instance_id in list(self.running):
            self._end(instance_id, clean=False)
        for volume in self.disks.volumes.values():
            self.disks.unmount(volume)
        self.network.close()
        for part in self.folder.iterdir():  # what it is found by goes last, lest it be killed in between
            if part.name not in {"held", "name", "pid"}:
                shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.claim.release()
        put_back()

    def _end(self, instance_id: str, clean: bool) -> None:
        with self.turn(instance_id):
            if made := self.running.pop(instance_id, None):
                made.halt(clean)

    def _console(self, instance_id: str) -> Path:
        return self.folder / f"console-{instance_id}"
