"""The process that is one local machine: the machine runs exactly as long as it does.

    python -m hotdesk.providers.local.runtime.supervisor STATE ID

It holds the machine's lock from its first instruction to its last, and ends everything that it started.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

import hotdesk
from hotdesk.core.errors import HotdeskError, Refused
from hotdesk.core.loopback import usual_port
from hotdesk.providers.local import offers, records
from hotdesk.providers.local.paths import Folders, is_disk
from hotdesk.providers.local.runtime import clock, environment, jupyter, python_env, relocation, spawn
from hotdesk.providers.local.survey import last_line
from hotdesk.snapshots.rmtree import remove_tree
from hotdesk.system import fsync_folder, locked, write_atomically

if TYPE_CHECKING:
    import asyncssh

T = TypeVar("T")

_JUPYTER_SECONDS = 180.0  # a first start on a cold disk of a busy computer takes more than ten
_PORTS_TRIED = 4
_AGAIN_SECONDS, _AGAIN_SECONDS_MAX = 1.0, 60.0  # pause before Jupyter is restarted, doubled each time
_LEAVE_OUT_AFTER = 2  # failed starts: then try without the settings in the home
_LASTED_SECONDS = 60.0  # a Jupyter that ran this long has started successfully
_STATUS_SECONDS = 0.2
_HOOK_SECONDS = 40.0  # for ~/.hotdesk/hooks/parking, as at a rented desk
_LOOK_SECONDS = float(
    os.environ.get("HOTDESK_LOOK_SECONDS", "30")
)  # between two checks of what is running here


class Stopped(Exception):
    """The machine has to end; the message is the reason."""


class Machine:
    """The state of one machine between its start and its end."""

    def __init__(self, state: Path, id_: str) -> None:
        self.folders = Folders.of(state)
        self.folder = self.folders.machines / id_
        machine = records.read(self.folder / "machine.json", records.Machine)
        run = records.read(self.folder / "run.json", records.Run)
        if machine is None or run is None:
            raise Stopped(f"{id_} has no readable record")
        self.machine, self.run = machine, run
        with contextlib.suppress(OSError):
            write_atomically(self.folder / "version", hotdesk.__version__)
        self.desk = machine.order.desk
        self.disk = self.folders.disks / self.desk
        self._short_lives = 0  # failed starts of Jupyter in a row
        self._config = self.folder / "jupyter_config.py"
        self.stop = asyncio.Event()
        self._trouble = ""  # what does not fit in its Python environment
        self._leaving = ""  # why the desk ends by itself
        self._told = 0.0
        self._telling = threading.Lock()
        self._server: asyncio.subprocess.Process | None = None
        self._door: asyncssh.SSHAcceptor | None = None
        self._environment: dict[str, str] = {}
        # Jupyter holds the reading end, and ends when the writing end closes with this process.
        self._lifeline, self._life = os.pipe()

    def tell(self, **changes: object) -> None:
        """Record the machine's progress. Only this process does, while it runs."""
        with self._telling:
            self.run = msgspec.structs.replace(self.run, **changes)
            try:
                records.write(self.folder / "run.json", self.run, durable=False)
            except OSError as error:  # a full disk must not keep a machine from running or ending
                spawn.say(f"cannot write down {changes}: {error}")

    async def live(self) -> None:
        """Run until it is stopped or fails. Raises `Stopped` with the reason."""
        try:
            await self._unless_stopped(asyncio.to_thread(self._prepare_disk))
            gpu = offers.is_gpu(self.machine.order.offer.instance_type)
            self._environment = environment.of_desk(
                self.disk, self.desk, self.machine.mark, os.environ, gpu=gpu
            )
            self._environment["HOTDESK_STARTED_AT"] = str(
                self.run.started_at
            )  # a job's machine is this start
            environment.write_start(self.disk, self._environment)
            making = asyncio.create_task(asyncio.to_thread(self._prepare_python))
            try:
                # hotdesk's server needs the desk's environment only for its first kernel: make it meanwhile.
                if jupyter.own(self.disk):
                    await asyncio.shield(making)
                await self._start_jupyter(*self._ports("notebook"))
                from hotdesk.providers.local.runtime import ssh_server

                self._door = await ssh_server.open_door(
                    self.machine.keys, self._environment, self.disk / "home", self._ports("ssh")
                )
                self.tell(ssh_port=self._door.get_port())
            finally:
                await making
            self.tell(progress=0.8, reason="Jupyter is starting")
            await self._unless_stopped(self._jupyter_answers())
            self._keep_ports()
            self.tell(phase=records.RunPhase.READY, progress=None, reason=self._left_out())
            spawn.say(f"ready: ssh on {self.run.ssh_port}, Jupyter on {self.run.notebook_port}")
            watching = asyncio.create_task(self._watch())
            try:
                await self._unless_stopped(self._keep_jupyter())
            finally:
                watching.cancel()
                self.tell(phase=records.RunPhase.STOPPING, progress=None)
                await asyncio.to_thread(self._run_hook)
        finally:
            self.tell(phase=records.RunPhase.STOPPING, progress=None)
            await self._end()

    async def _unless_stopped(self, work: Coroutine[object, object, T]) -> T:
        task, stop = asyncio.create_task(work), asyncio.create_task(self.stop.wait())
        await asyncio.wait({stop, task}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise Stopped(self._leaving)

    async def _watch(self) -> None:
        """End the desk when it reaches an idle, lease or deadline limit that its owner has set."""
        from hotdesk.guest.idle import Watch

        watch = Watch(
            [str(self.disk / "home")],
            mark=self.machine.mark,
            runtime=str(self.disk / "jupyter" / "runtime"),
            now=clock.wall(),
        )
        while not self._leaving:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                self._leaving = await asyncio.to_thread(watch.turn)
                self.tell(worked_at=watch.worked_at, looked_at=watch.looked_at)
            except Exception as error:  # a failing watch must not end the desk
                spawn.say(f"cannot check what is running here: {error!r}")
        spawn.say(f"leaving: {self._leaving}")
        self.stop.set()

    # ---- its disk ------------------------------------------------------------------------------------

    def _prepare_disk(self) -> None:
        """Provide a complete disk: the existing one, the image's content, or an empty one."""
        from hotdesk.providers.local.runtime import processes

        mark, prepared = self.machine.mark, self.folder / "prepared"
        if prepared.exists() and not is_disk(self.disk):
            raise Stopped(f"its disk {self.disk} is gone")
        if self.disk.exists():
            self.tell(reason="ending processes of an earlier run", progress=0.01)
            processes.end_all(mark)
        fresh = False
        if not prepared.exists():
            # Never used: anything there is from an interrupted start.
            remove_tree(self.disk)
            if image := self.machine.order.image_id or self.machine.order.base_image:
                self._restore(image)
            else:
                self.disk.mkdir(mode=0o700)
                fresh = True
        environment.lay_out(self.disk, mark, fresh=fresh)
        relocation.settle(self.disk)
        jupyter.write_kernel(self.disk, self.desk)
        jupyter.silence_news(self.disk)
        if not prepared.exists():
            prepared.touch(mode=0o600)
            fsync_folder(self.folder)

    def _restore(self, image: str) -> None:
        from hotdesk.providers.local.images import Images
        from hotdesk.snapshots import snapshot

        def report(share: float, words: str) -> None:
            if clock.ticks() - self._told > _STATUS_SECONDS:
                self._told = clock.ticks()
                self.tell(progress=round(share * 0.6, 3), reason=words or f"restoring {image}")

        self.tell(progress=0.01, reason=f"restoring {image}")
        Images(self.folders.root.parent).bring(image, report)
        with locked(self.folders.root / "store.lock", shared=True):
            manifest = self.folders.manifest(image)
            snapshot.restore(manifest, self.folders.store, self.disk, progress=report)
            picture = records.read(self.folders.image(image), records.Picture)
            if picture is not None and picture.carried:  # over a line, or from another computer
                snapshot.compare(manifest, self.disk, progress=report)

    def _prepare_python(self) -> None:
        self.tell(progress=0.65, reason="making the desk's Python environment")
        if trouble := python_env.make(self.disk / "env", self.disk / "kit"):
            spawn.say(trouble)
            self._trouble = trouble

    # ---- Jupyter -------------------------------------------------------------------------------------

    async def _start_jupyter(self, *preferred: int) -> None:
        port, config = _free_port(*preferred), self._config
        plain = self._short_lives >= _LEAVE_OUT_AFTER
        own = not plain and jupyter.own(self.disk)
        python = str(self.disk / "env" / "bin" / "python") if own else sys.executable
        jupyter.write_config(
            config,
            disk=self.disk,
            port=port,
            hashed=Path(self.machine.keys.password_hash_path).read_text("utf-8"),
            mark=self.machine.mark,
            shell=self._environment["SHELL"],
            lifeline=self._lifeline,
            plain=plain,
        )
        log = os.open(
            self.folder / "jupyter.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
        )
        try:
            self._server = await jupyter.start(
                config, self._environment, self.disk / "home", log, self._lifeline, python=python
            )
        finally:
            os.close(log)
        self.tell(notebook_port=port)

    async def _jupyter_answers(self) -> None:
        """Wait until Jupyter answers; if it ends early (its port may be taken), try another port."""
        deadline, tried = clock.ticks() + _JUPYTER_SECONDS, 1
        while clock.ticks() < deadline:
            assert self._server is not None
            if self._server.returncode is not None:
                if tried == _PORTS_TRIED:
                    break
                tried += 1
                self._short_lives += 1
                await self._start_jupyter(*(self._ports("notebook") if tried < _PORTS_TRIED else ()))
            if await jupyter.answers(self.run.notebook_port, self.machine.mark):
                return
            await asyncio.sleep(0.05)
        raise Stopped(f"Jupyter does not start: {last_line(self.folder / 'jupyter.log')}")

    async def _keep_jupyter(self) -> None:
        """Restart Jupyter whenever it ends, as systemd does on a rented machine; the desk goes on."""
        pause = _AGAIN_SECONDS
        while True:
            assert self._server is not None
            began = clock.ticks()
            status = await self._server.wait()
            self._short_lives += 1
            if clock.ticks() - began > _LASTED_SECONDS:
                pause, self._short_lives = _AGAIN_SECONDS, 0
            last = last_line(self.folder / "jupyter.log")
            spawn.say(f"Jupyter ended ({_status(status)}), again in {pause:.0f} s; its last words: {last}")
            self.tell(reason=f"its Jupyter ended by itself ({_status(status)}) and is started again")
            await asyncio.sleep(pause)
            pause = min(2 * pause, _AGAIN_SECONDS_MAX)
            await self._start_jupyter(self.run.notebook_port)
            while self._server.returncode is None:
                if await jupyter.answers(self.run.notebook_port, self.machine.mark):
                    self._keep_ports()
                    self.tell(reason=self._left_out())
                    break
                await asyncio.sleep(0.1)

    def _left_out(self) -> str:
        if self._short_lives < _LEAVE_OUT_AFTER:
            return self._trouble
        own = f"its own JupyterLab {version} and " if (version := jupyter.own(self.disk)) else ""
        return f"its Jupyter runs without {own}the settings in its home: with them it did not start"

    # ---- its ports -----------------------------------------------------------------------------------

    def _ports(self, which: str) -> tuple[int, int, int]:
        """Preferred ports: of this machine's last run, of the desk's last machine, and its usual one."""
        remembered = records.read(self.disk / "jupyter" / "ports.json", records.Ports) or records.Ports()
        there = getattr(remembered, which)  # the file is writable at the desk, so check it
        usual = usual_port(str(self.folders.root), self.desk, which)
        return getattr(self.run, f"{which}_port"), there if 1024 <= there < 65536 else 0, usual

    def _keep_ports(self) -> None:
        ports = records.Ports(ssh=self.run.ssh_port, notebook=self.run.notebook_port)
        with contextlib.suppress(OSError):
            records.write(self.disk / "jupyter" / "ports.json", ports, durable=False)

    # ---- its end -------------------------------------------------------------------------------------

    def _run_hook(self) -> None:
        """The person's own hook, before the desk stops, whyever it does."""
        from hotdesk.guest import hooks

        if said := hooks.run(str(self.disk / "home"), "parking", _HOOK_SECONDS, self._environment):
            spawn.say(said)

    async def _end(self) -> None:
        """End all processes of the machine."""
        from hotdesk.providers.local.runtime import processes

        if self._door is not None:
            self._door.close()
        await asyncio.to_thread(processes.end_all, self.machine.mark, below_me=True)
        if self._server is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._server.wait(), 5)
        environment.clear_up(self.disk, self.machine.mark)


def _free_port(*preferred: int) -> int:
    """A free port of the loopback: the first of the preferred ones that is free, else any."""
    for port in (*filter(None, preferred), 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise Stopped("no free port on 127.0.0.1")


def _status(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


async def run(state: Path, id_: str) -> int:
    from hotdesk.providers.local.runtime import processes

    # asyncio warns once per packet when a client is killed during output; that is harmless.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    machine = Machine(state, id_)
    loop = asyncio.get_running_loop()
    reaper = processes.ZombieReaper()
    looks: list[asyncio.TimerHandle] = []

    def look_later() -> None:
        if not looks:
            looks.append(loop.call_later(2.0, bury))

    def bury() -> None:
        looks.clear()
        if reaper.look():
            look_later()

    loop.add_signal_handler(signal.SIGTERM, machine.stop.set)
    for ignored in (
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
    ):  # handled, so that children do not inherit it
        loop.add_signal_handler(ignored, lambda: None)
    loop.add_signal_handler(signal.SIGCHLD, look_later)
    processes.adopt_orphans()
    reason = fix = ""
    try:
        await machine.live()
    except Stopped as stopped:
        reason = str(stopped)
    except Refused as refused:
        reason, fix = refused.message, refused.fix
    except HotdeskError as error:
        reason = error.what
    except OSError as error:
        reason = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
    machine.tell(phase=records.RunPhase.STOPPED, progress=None, reason=reason, fix=fix)
    spawn.say(f"stopped: {reason or 'as asked'}")
    return 1 if reason else 0


def main() -> int:
    spawn.settle()
    state, id_ = Path(sys.argv[1]), sys.argv[2]
    log = Folders.of(state).machines / id_ / "supervisor.log"
    with contextlib.suppress(OSError):
        if log.stat().st_size > 1_000_000:
            shutil.copyfile(log, log.with_suffix(".old"))
            os.truncate(log, 0)
    try:
        return asyncio.run(run(state, id_))
    except Stopped as stopped:
        spawn.say(f"stopped: {stopped}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
