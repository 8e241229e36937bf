"""One machine: the process whose life is the machine's life.

    python -m hotdesk.providers.local.runtime.supervisor STATE ID

It holds the machine's lock from before its first instruction to its last, and ends whatever it started.
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
from hotdesk.providers.local.paths import Folders
from hotdesk.providers.local.runtime import clock, environment, jupyter, python_env, relocation, spawn
from hotdesk.providers.local.survey import last_line
from hotdesk.snapshots.rmtree import remove_tree
from hotdesk.system import fsync_folder, locked

if TYPE_CHECKING:
    import asyncssh

T = TypeVar("T")

_JUPYTER_SECONDS = 180.0  # its first start on a cold disk of a busy computer takes more than ten
_PORTS_TRIED = 4
_AGAIN_SECONDS, _AGAIN_SECONDS_MAX = 1.0, 60.0  # before Jupyter is started again: each time twice as long
_LEAVE_OUT_AFTER = 2  # short lives: the settings of the home may be why
_LASTED_SECONDS = 60.0  # a Jupyter that ran for so long has no trouble with its start
_STATUS_SECONDS = 0.2
_LOOK_SECONDS = float(os.environ.get("HOTDESK_LOOK_SECONDS", "30"))  # between two looks at what works here


class Stopped(Exception):
    """The machine is to end; the words are its reason."""


class Machine:
    """The state of one machine between its start and its end."""

    def __init__(self, state: Path, id_: str) -> None:
        self.folders = Folders.of(state)
        self.folder = self.folders.machine(id_)
        machine = records.read(self.folder / "machine.json", records.Machine)
        run = records.read(self.folder / "run.json", records.Run)
        if machine is None or run is None:
            raise Stopped(f"{id_} has no readable record")
        self.machine, self.run = machine, run
        with contextlib.suppress(OSError):
            (self.folder / "version").write_text(hotdesk.__version__, "utf-8")
        self.desk = machine.order.desk
        self.disk = self.folders.disk(self.desk)
        self._short_lives = 0  # how many starts of Jupyter in a row have not lasted
        self._config = self.folder / "jupyter_config.py"
        self.stop = asyncio.Event()
        self._leaving = ""  # why the desk ends by itself
        self._told = 0.0
        self._telling = threading.Lock()
        self._server: asyncio.subprocess.Process | None = None
        self._door: asyncssh.SSHAcceptor | None = None
        self._environment: dict[str, str] = {}
        # Jupyter holds the reading end, and ends when the writing end closes with this process.
        self._lifeline, self._life = os.pipe()

    def tell(self, **changes: object) -> None:
        """Write down how far the machine is. Only this process does, while it lives."""
        with self._telling:
            self.run = msgspec.structs.replace(self.run, **changes)
            try:
                records.write(self.folder / "run.json", self.run, durable=False)
            except OSError as error:  # a machine goes on, and ends in order, also on a full disk
                spawn.say(f"cannot write down {changes}: {error}")

    async def live(self) -> None:
        """From the start until somebody stops it or a part of it dies. Raises `Stopped` with the reason."""
        try:
            await self._unless_stopped(asyncio.to_thread(self._prepare_disk))
            gpu = self.machine.order.offer.instance_type == offers.GPU_TYPE
            self._environment = environment.of_desk(
                self.disk, self.desk, self.machine.mark, os.environ, gpu=gpu
            )
            environment.write_start(self.disk, self._environment)
            making = asyncio.create_task(asyncio.to_thread(self._prepare_python))
            try:
                # hotdesk's server needs no environment of the desk before its first kernel: at the same time.
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
            self.tell(phase="ready", progress=None, reason=self._left_out())
            spawn.say(f"ready: ssh on {self.run.ssh_port}, Jupyter on {self.run.notebook_port}")
            watching = asyncio.create_task(self._watch())
            try:
                await self._unless_stopped(self._keep_jupyter())
            finally:
                watching.cancel()
        finally:
            self.tell(phase="stopping", progress=None)
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
        """End the desk when it is idle or its time is over, where its owner has set such a limit."""
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
            except Exception as error:  # a desk goes on, whatever befalls those who watch it
                spawn.say(f"cannot look for what works here: {error!r}")
        spawn.say(f"leaving: {self._leaving}")
        self.stop.set()

    # ---- its disk ------------------------------------------------------------------------------------

    def _prepare_disk(self) -> None:
        """A disk that is whole: the one that is there, or the image's content, or a fresh one."""
        from hotdesk.providers.local.runtime import processes

        mark, prepared = self.machine.mark, self.folder / "prepared"
        if prepared.exists() and not self.disk.exists():
            raise Stopped(f"its disk {self.disk} is gone")
        if self.disk.exists():
            self.tell(reason="looking for what an earlier run left", progress=0.01)
            processes.end_all(mark)
        fresh = False
        if not prepared.exists():
            # Nobody has worked on it yet: what is there was left by an interrupted start.
            remove_tree(self.disk)
            if image := self.machine.order.image_id:
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
        from hotdesk.snapshots import snapshot

        def report(share: float, words: str) -> None:
            if clock.ticks() - self._told > _STATUS_SECONDS:
                self._told = clock.ticks()
                self.tell(progress=round(share * 0.6, 3), reason=words or f"restoring {image}")

        self.tell(progress=0.01, reason=f"restoring {image}")
        with locked(self.folders.root / "store.lock", shared=True):
            snapshot.restore(self.folders.manifest(image), self.folders.store, self.disk, progress=report)

    def _prepare_python(self) -> None:
        self.tell(progress=0.65, reason="making the desk's Python environment")
        if trouble := python_env.make(self.disk / "env", self.disk / "kit"):
            spawn.say(trouble)

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
        """Wait for it; when it ends early, which a port taken by another does, try another port."""
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
        """Start Jupyter again whenever it ends, as systemd does on a rented machine. The rest goes on."""
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
            return ""
        own = f"its own JupyterLab {version} and " if (version := jupyter.own(self.disk)) else ""
        return f"its Jupyter runs without {own}the settings in its home: with them it did not start"

    # ---- its ports -----------------------------------------------------------------------------------

    def _ports(self, which: str) -> tuple[int, int, int]:
        """Where this desk's last run was reached, on this machine or an earlier one; else its usual port."""
        remembered = records.read(self.disk / "jupyter" / "ports.json", records.Ports) or records.Ports()
        there = getattr(remembered, which)  # whoever works at the desk may have written anything
        usual = usual_port(str(self.folders.root), self.desk, which)
        return getattr(self.run, f"{which}_port"), there if 1024 <= there < 65536 else 0, usual

    def _keep_ports(self) -> None:
        ports = records.Ports(ssh=self.run.ssh_port, notebook=self.run.notebook_port)
        with contextlib.suppress(OSError):
            records.write(self.disk / "jupyter" / "ports.json", ports, durable=False)

    # ---- its end -------------------------------------------------------------------------------------

    async def _end(self) -> None:
        """End everything that was started, and everything that those have started."""
        from hotdesk.providers.local.runtime import processes

        if self._door is not None:
            self._door.close()
        await asyncio.to_thread(processes.end_all, self.machine.mark, below_me=True)
        if self._server is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._server.wait(), 5)
        environment.clear_up(self.disk, self.machine.mark)


def _free_port(*preferred: int) -> int:
    """A port of the loopback that nobody listens on: the first of the preferred ones that is free."""
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

    # A client that was killed while a command talked is told of once a packet, and is no trouble.
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
    machine.tell(phase="stopped", progress=None, reason=reason, fix=fix)
    spawn.say(f"stopped: {reason or 'as asked'}")
    return 1 if reason else 0


def main() -> int:
    spawn.settle()
    state, id_ = Path(sys.argv[1]), sys.argv[2]
    log = Folders.of(state).machine(id_) / "supervisor.log"
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
