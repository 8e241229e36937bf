"""Hooks for something real behind the fake: a machine per instance, its address, its console, its disks.

`python -m fake_ec2 --rig module:function` calls `function()` once, which returns an object with any of
the methods below. Each is called outside the request (in a thread of its own) and the instance or snapshot
stays pending until it returns, so a launch may take as long as a real machine takes to boot. An exception in
`start` ends the instance with state reason Server.InternalError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Machines:
    """What a rig may do; all optional. Disks are [{device, volume_id, snapshot_id, size_gib, root}].

    The fake sets `on_off`, to be called with a machine's id when it has turned itself off.
    """

    on_off: Callable[[str], None] = staticmethod(lambda instance_id: None)

    def start(self, machine: dict[str, Any]) -> dict[str, Any] | None:
        """Boot `machine` (id, region, type, architecture, image_id, user_data bytes, public_key, disks, tags,
        private_ip, first: False if it was only stopped). Returns any of public_ip, private_ip, console."""

    def stop(self, machine: dict[str, Any]) -> None:
        """Shut it down cleanly; its disks stay."""

    def terminate(self, machine: dict[str, Any]) -> None:
        """Shut it down for good. Disks that go with it are reported by `forget`."""

    def reboot(self, machine: dict[str, Any]) -> None: ...

    def warn(self, instance_id: str, action: str, at: float) -> None:
        """A spot machine will be taken back at that moment: its metadata service may say so."""

    def bake(self, snapshot_id: str, volume_id: str) -> None:
        """Keep the present content of the volume under the snapshot's id."""

    def restore(self, volume_id: str, snapshot_id: str) -> None:
        """A volume was made from a snapshot, without a machine yet."""

    def copy(self, snapshot_id: str, source_id: str) -> None:
        """A snapshot was copied from another region."""

    def forget(self, thing_id: str) -> None:
        """A volume or snapshot was deleted."""

    def console(self, instance_id: str) -> str | None:
        """What the machine has written to its console so far."""

    def close(self) -> None:
        """The server ends: stop every machine."""


class Rig:
    """Runs the hooks in threads and remembers what is still under way."""

    def __init__(self, machines: Any, on_off: Callable[[str], None] = lambda instance_id: None) -> None:
        self.machines = machines
        machines.on_off = on_off
        self.pool = ThreadPoolExecutor(max_workers=16, thread_name_prefix="rig")

    def call(self, hook: str, *arguments: Any) -> Future[Any] | None:
        do: Callable[..., Any] | None = getattr(self.machines, hook, None)
        return self.pool.submit(do, *arguments) if do else None

    def ask(self, hook: str, *arguments: Any) -> Any:
        """At once, in this thread."""
        do: Callable[..., Any] | None = getattr(self.machines, hook, None)
        return do(*arguments) if do else None

    def begin_anew(self, machines: Iterable[dict[str, Any]], disks: Iterable[str]) -> None:
        """End these machines, and forget these volumes and snapshots: their ids may come again."""
        for machine in machines:
            self.ask("terminate", machine)
        for id_ in disks:
            self.ask("forget", id_)

    def close(self) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)
        self.ask("close")


def load_rig(name: str, on_off: Callable[[str], None]) -> Rig:
    """`module:function`, called without arguments."""
    import importlib

    module, _, function = name.partition(":")
    return Rig(getattr(importlib.import_module(module), function or "machines")(), on_off)
