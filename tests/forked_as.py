"""What makes a fork the process that would have been started: its files, its words in /proc, its end."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import fcntl
import importlib
import os
import signal
import struct
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_PR_SET_MM, _PR_SET_MM_MAP = 35, 14
_kept: list[Any] = []  # memory that the kernel shows as ours


def show(argv: Sequence[str], environment: Mapping[str, str]) -> bool:
    """These as our own in /proc, where hotdesk looks for a desk's processes. False where it cannot be."""
    if sys.platform != "linux":
        return False
    words = b"".join(os.fsencode(word) + b"\0" for word in argv)
    named = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in environment.items())
    text = ctypes.create_string_buffer(words + named)
    libc = ctypes.CDLL(None)
    libc.sbrk.restype = ctypes.c_void_p
    told = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    code, end, stack, data, data_end, heap = (int(told[n - 3]) for n in (26, 27, 28, 45, 46, 47))
    at = ctypes.addressof(text)
    where = (at, at + len(words), at + len(words), at + len(words) + len(named))
    layout = (code, end, data, data_end, heap, libc.sbrk(0), stack, *where)
    asked = ctypes.create_string_buffer(struct.pack("=11QQII", *layout, 0, 0, 2**32 - 1))
    size, place = ctypes.c_ulong(len(asked) - 1), ctypes.c_ulong(ctypes.addressof(asked))
    if libc.prctl(_PR_SET_MM, ctypes.c_ulong(_PR_SET_MM_MAP), place, size, ctypes.c_ulong(0)):
        return False
    _kept.append(text)
    return True


def lay_out(files: Mapping[int, int]) -> None:
    """Of our open files keep these (its number: ours), and no other."""
    high = {number: fcntl.fcntl(ours, fcntl.F_DUPFD, 300) for number, ours in files.items()}
    os.closerange(0, 300)
    for number, ours in high.items():
        os.dup2(ours, number)
    os.closerange(300, 65536)


def end(status: int) -> None:
    """As Python ends, but for what it tears down, which takes longer than a short command."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


# ---- a local desk's Jupyter --------------------------------------------------------------------------------


def load_jupyter() -> None:
    """What JupyterLab loads, but for what looks at the environment while it is loaded."""
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # as hotdesk starts it
    for name in (
        "jupyter_lsp.serverextension",
        "jupyter_server_terminals",
        "jupyterlab.commands",
        "jupyterlab.handlers.extension_manager_handler",
        "notebook_shim.shim",
    ):
        with contextlib.suppress(Exception):  # of another version, or not there
            importlib.import_module(name)


def fork_jupyter() -> None:
    """A supervisor's Jupyter is a fork of itself, made where the program would take the place of the fork."""
    from hotdesk.providers.local.runtime import jupyter

    start = asyncio.create_subprocess_exec

    async def create(program: str, *args: str, **more: Any) -> asyncio.subprocess.Process:
        if program == sys.executable and args[:2] == ("-c", jupyter._MAIN):
            kept = {0: 0, 1: 1, 2: 2} | {fd: fd for fd in more["pass_fds"]}
            more["preexec_fn"] = lambda: _become_jupyter(args, dict(more["env"]), kept)
        return await start(program, *args, **more)

    asyncio.create_subprocess_exec = create  # type: ignore[assignment]


def _become_jupyter(args: Sequence[str], environment: dict[str, str], files: dict[int, int]) -> None:
    status = 1
    try:
        lay_out(files)  # also ends the wait of who started us
        os.environ.clear()
        os.environ.update(environment)
        show([sys.executable, *args], environment)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        atexit._clear()
        asyncio._set_running_loop(None)
        asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
        sys.argv = ["-c", *args[2:]]
        exec(compile(args[1], "<string>", "exec"), {"__name__": "__main__"})
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1 if ended.code else 0
    except BaseException:
        traceback.print_exc()
    end(status)
