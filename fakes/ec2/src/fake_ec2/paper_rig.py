"""The smallest rig: machines on paper, which show in which order the hooks are called."""

from __future__ import annotations

import threading
import time
from typing import Any

from fake_ec2.rig import Machines


class Paper(Machines):
    """Each machine is a few lines of console output; a snapshot is a name that was kept."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.lines: dict[str, list[str]] = {}
        self.kept: set[str] = set()

    def _note(self, instance_id: str, text: str) -> None:
        with self.lock:
            self.lines.setdefault(instance_id, []).append(f"{instance_id} {text}")

    def start(self, machine: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.2)  # longer than the fake's own pending, so that it has to wait
        if machine["user_data"] == b"broken":
            raise RuntimeError("the machine does not boot")
        source = next(d["snapshot_id"] for d in machine["disks"] if d["root"])
        known = ", kept" if source in self.kept else ""
        self._note(
            machine["id"], f"booted with {len(machine['user_data'])} bytes of user data from {source}{known}"
        )
        return {"public_ip": "127.0.0.9"}

    def stop(self, machine: dict[str, Any]) -> None:
        self._note(machine["id"], "halted")

    def terminate(self, machine: dict[str, Any]) -> None:
        self._note(machine["id"], "ended")

    def bake(self, snapshot_id: str, volume_id: str) -> None:
        self.kept.add(snapshot_id)

    def console(self, instance_id: str) -> str | None:
        with self.lock:
            return "\n".join(self.lines.get(instance_id, [])) + "\n"


def machines() -> Paper:
    return Paper()
