"""One ssh session: a shell or a command at the desk, with or without a terminal.

As with OpenSSH's server, the exit status is sent after all output, end of input reaches the command, and a
lost connection hangs up.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import shutil
import signal
import struct
import termios
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncssh

_CHUNK = 65536
_LAST_WORDS_SECONDS = 0.3  # a terminal's last output may arrive just after its process has ended
_CTRL_D = b"\x04"
# A session leader that opens a terminal gets it as its controlling one, on Linux and on macOS.
_TAKE_TERMINAL = 'exec 0<>"$1" 1>&0 2>&0; shift; exec "$@"'

_running: set[asyncio.Task[int]] = set()


async def serve(
    process: asyncssh.SSHServerProcess[bytes], environment: Mapping[str, str], home: Path
) -> None:
    """Run the client's command or shell, and send its exit status."""
    env = {**environment, **_from_client(process)}
    if process.subsystem:
        process.exit(127)
        return
    terminal = process.term_type is not None  # "": a client without TERM (cron, say)
    if process.command:
        argv = [*_plain_shell(), "-c", process.command]
    else:
        argv = [env["SHELL"], *([] if terminal else ["-s"])]
    try:
        if terminal:
            status = await _in_terminal(process, argv, env, home)
        else:
            status = await _in_pipes(process, argv, env, home)
    except OSError as error:
        with contextlib.suppress(Exception):
            process.stderr.write(f"hotdesk: {error}\n".encode())
        status = 126
    with contextlib.suppress(OSError):
        # Not as exit-signal: stock ssh turns that into 255, "the connection is lost".
        process.exit(128 - status if status < 0 else status)


def _plain_shell() -> list[str]:
    """The shell that runs a command: always the same, without the user's start files, which may end it.

    (Debian's bash reads ~/.bashrc whenever it finds SSH_CLIENT; bash(1), "remote shell daemon".)
    """
    return [bash, "--norc"] if (bash := shutil.which("bash")) else ["/bin/sh"]


def _from_client(process: asyncssh.SSHServerProcess[bytes]) -> dict[str, str]:
    """The variables that a client may set: its locale, terminal and forwarded agent."""
    env = {
        name: value
        for name, value in process.env.items()
        if name in {"LANG", "COLORTERM", "TZ", "NO_COLOR"} or name.startswith("LC_")
    }
    if process.term_type:
        env["TERM"] = process.term_type
    if agent := process.channel.get_agent_path():
        env["SSH_AUTH_SOCK"] = agent
    host, port, *_ = process.get_extra_info("peername") or ("127.0.0.1", 0)
    _, here, *_ = process.get_extra_info("sockname") or ("", 0)
    env["SSH_CONNECTION"] = f"{host} {port} 127.0.0.1 {here}"
    env["SSH_CLIENT"] = f"{host} {port} {here}"
    return env


# ---- with a terminal ---------------------------------------------------------------------------------


async def _in_terminal(
    process: asyncssh.SSHServerProcess[bytes], argv: list[str], env: dict[str, str], home: Path
) -> int:
    master, slave = os.openpty()
    os.set_blocking(master, False)
    try:
        name = os.ttyname(slave)
        env["SSH_TTY"] = name
        _resize(master, *process.term_size)
        _set_modes(slave, process.term_modes)
        child = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            _TAKE_TERMINAL,
            "sh",
            name,
            *argv,
            cwd=home,
            env=env,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
    except BaseException:
        os.close(slave)
        os.close(master)
        raise
    os.close(slave)
    ended = _keep(child)
    listening = asyncio.create_task(_input(process, master, child.pid, terminal=True))
    speaking = asyncio.create_task(_output(os.dup(master), process.stdout))
    hang_up = asyncio.create_task(process.channel.wait_closed())
    _when_unread(process, lambda: _send_group(child.pid, signal.SIGHUP))
    try:
        await asyncio.wait({ended, hang_up}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            _send_group(child.pid, signal.SIGHUP)
            return 0  # the client is gone
        # Background processes may hold the terminal open for ever: wait only for the last output.
        idle = asyncio.create_task(_quiet(master))
        await asyncio.wait({speaking, idle, hang_up}, return_when=asyncio.FIRST_COMPLETED)
        idle.cancel()
        _send_group(child.pid, signal.SIGHUP)
        return ended.result()
    finally:
        await _cancel(listening, speaking, hang_up)
        os.close(master)


async def _quiet(master: int) -> None:
    """Wait until the terminal of an ended command has been silent for `_LAST_WORDS_SECONDS`."""
    still = 0.0
    while still < _LAST_WORDS_SECONDS:
        await asyncio.sleep(0.05)
        with contextlib.suppress(OSError):
            waiting = struct.unpack("i", fcntl.ioctl(master, termios.FIONREAD, b"\0" * 4))[0]
            still = 0.0 if waiting else still + 0.05
            continue
        return


def _resize(terminal: int, columns: int, rows: int, width: int = 0, height: int = 0) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows or 24, columns or 80, width, height))


#: Terminal modes of RFC 4254 §8 that a client may set, with their names in termios.
_CHARACTERS = {
    1: "VINTR",
    2: "VQUIT",
    3: "VERASE",
    4: "VKILL",
    5: "VEOF",
    8: "VSTART",
    9: "VSTOP",
    10: "VSUSP",
}
_FLAGS = {
    36: (0, "ICRNL"),
    38: (0, "IXON"),
    42: (0, "IUTF8"),
    50: (3, "ISIG"),
    51: (3, "ICANON"),
    53: (3, "ECHO"),
    54: (3, "ECHOE"),
    70: (1, "OPOST"),
    72: (1, "ONLCR"),
}


def _set_modes(terminal: int, modes: Mapping[int, int]) -> None:
    attributes = termios.tcgetattr(terminal)
    for number, value in modes.items():
        if (name := _CHARACTERS.get(number)) and value < 255:
            attributes[6][getattr(termios, name)] = bytes([value])
        elif number in _FLAGS:
            place, name = _FLAGS[number]
            bit = getattr(termios, name, 0x4000 if name == "IUTF8" else 0)
            attributes[place] = attributes[place] | bit if value else attributes[place] & ~bit
    with contextlib.suppress(termios.error):
        termios.tcsetattr(terminal, termios.TCSANOW, attributes)


# ---- with pipes --------------------------------------------------------------------------------------


async def _in_pipes(
    process: asyncssh.SSHServerProcess[bytes], argv: list[str], env: dict[str, str], home: Path
) -> int:
    (in_end, in_fd), (out_fd, out_end), (err_fd, err_end) = os.pipe(), os.pipe(), os.pipe()
    ours = (in_fd, out_fd, err_fd)
    for fd in ours:
        os.set_blocking(fd, False)
    try:
        child = await asyncio.create_subprocess_exec(
            *argv, cwd=home, env=env, stdin=in_end, stdout=out_end, stderr=err_end, start_new_session=True
        )
    except BaseException:
        for fd in ours:
            os.close(fd)
        raise
    finally:
        for fd in (in_end, out_end, err_end):
            os.close(fd)
    ended = _keep(child)
    listening = asyncio.create_task(_input(process, in_fd, child.pid, terminal=False))
    speaking = [
        asyncio.create_task(_output(out_fd, process.stdout)),
        asyncio.create_task(_output(err_fd, process.stderr)),
    ]
    hang_up = asyncio.create_task(process.channel.wait_closed())
    # When the client stops reading, close the command's output: it gets SIGPIPE, as in a local pipe.
    _when_unread(process, speaking[0].cancel)
    try:
        # Pipes first, status second: output may still be in the pipes of a command that has ended.
        whole = asyncio.create_task(_all_ended(*speaking, ended))
        await asyncio.wait({whole, hang_up}, return_when=asyncio.FIRST_COMPLETED)
        if not whole.done():
            whole.cancel()
            _send_group(child.pid, signal.SIGHUP)
            return 0
        return ended.result()
    finally:
        await _cancel(listening, *speaking, hang_up)


async def _all_ended(*tasks: asyncio.Task[None] | asyncio.Task[int]) -> None:
    for task in tasks:
        await asyncio.wait({task})


# ---- both --------------------------------------------------------------------------------------------


def _keep(child: asyncio.subprocess.Process) -> asyncio.Task[int]:
    """Wait for a process until it ends, even after its session (it may ignore a hang-up)."""
    task = asyncio.create_task(child.wait())
    _running.add(task)
    task.add_done_callback(_running.discard)
    return task


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _send_group(leader: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


async def _input(process: asyncssh.SSHServerProcess[bytes], fd: int, leader: int, *, terminal: bool) -> None:
    """Copy input to the command until either side ends; then close the pipe, or send ^D to the terminal."""
    import asyncssh

    try:
        while True:
            try:
                data = await process.stdin.read(_CHUNK)
            except asyncssh.TerminalSizeChanged as size:
                if terminal:
                    _resize(fd, size.width, size.height, size.pixwidth, size.pixheight)
                continue
            except asyncssh.SignalReceived as received:
                if number := getattr(signal, f"SIG{received.signal.removeprefix('SIG')}", None):
                    _send_group(leader, number)
                continue
            except asyncssh.BreakReceived:
                if terminal:
                    termios.tcsendbreak(fd, 0)
                continue
            except (OSError, asyncssh.Error):
                return
            if not data:
                if terminal and not process.channel.is_closing():
                    await _write(fd, _CTRL_D)
                return
            if not await _write(fd, data):
                return
    finally:
        if not terminal:
            os.close(fd)


async def _output(fd: int, writer: asyncssh.SSHWriter[bytes]) -> None:
    """Copy output to the client until the command has closed it; then close our end."""
    import asyncssh

    try:
        while data := await _read(fd):
            try:
                writer.write(data)
                await writer.drain()
            except (OSError, asyncssh.Error):
                return  # the connection is lost; the hang-up follows
    finally:
        os.close(fd)


def _when_unread(process: asyncssh.SSHServerProcess[bytes], act: Callable[[], object]) -> None:
    """Call `act` when the client says that it no longer reads the command's output.

    The message is OpenSSH's (PROTOCOL, 2.1: eow@openssh.com), sent only to servers that identify as OpenSSH
    (`ssh_server.VERSION`). asyncssh 2.24 dispatches a channel's requests to methods named after them, and has
    none for this one.
    """

    def eow(packet: asyncssh.packet.SSHPacket) -> bool:
        packet.check_end()
        act()
        return True

    setattr(process.channel, "_process_eow_at_openssh_dot_com_request", eow)  # noqa: B010 - not its own


async def _read(fd: int) -> bytes:
    while True:
        try:
            return os.read(fd, _CHUNK)
        except BlockingIOError:
            await _ready(fd, reading=True)
        except OSError as error:
            if error.errno == errno.EIO:  # no process has the terminal open
                return b""
            raise


async def _write(fd: int, data: bytes) -> bool:
    """Write all of it; return False if the reader is gone."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            await _ready(fd, reading=False)
        except OSError as error:
            if error.errno in {errno.EPIPE, errno.EIO, errno.EBADF}:
                return False
            raise
    return True


async def _ready(fd: int, *, reading: bool) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    add, remove = (loop.add_reader, loop.remove_reader) if reading else (loop.add_writer, loop.remove_writer)

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    add(fd, wake)
    try:
        await ready
    finally:
        remove(fd)
