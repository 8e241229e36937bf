"""Begin a task's command as the leader of a session of its own, and keep no other task waiting meanwhile.

`subprocess` holds Python's lock (the GIL) from the fork until the new program has been loaded: on a busy
computer that is milliseconds in which no other thread of the runner can begin, end or report anything. A call
through ctypes does not hold it.

The standard library only, for Python 3.8 and later; its C library is glibc 2.26 (2017) or later: it runs at
desks.
"""

from __future__ import annotations

import ctypes
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_SETSIGDEF, _SETSID = 0x04, 0x80  # spawn.h; the latter as setsid(2)
_libc = ctypes.CDLL(None)
_attributes = ctypes.create_string_buffer(1024)  # opaque: glibc's posix_spawnattr_t has 336 bytes
_defaults = ctypes.create_string_buffer(128)  # sigset_t
_libc.posix_spawnattr_init(_attributes)
_libc.sigemptyset(_defaults)
for _number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores both, and programs expect that nobody does
    _libc.sigaddset(_defaults, int(_number))
_libc.posix_spawnattr_setsigdefault(_attributes, _defaults)
_libc.posix_spawnattr_setflags(_attributes, ctypes.c_short(_SETSIGDEF | _SETSID))


def spawn(argv: Sequence[str], environment: Mapping[str, str], log: int) -> int:
    """Begin a program, given by its path, whose output goes to this file; its process id.

    Raises `OSError` where it cannot be begun, and `ValueError` for a zero byte.
    """
    words = _block(argv)
    variables = _block(f"{name}={value}" for name, value in environment.items())
    files = ctypes.create_string_buffer(256)  # glibc's posix_spawn_file_actions_t has 80 bytes
    pid = ctypes.c_int()
    _libc.posix_spawn_file_actions_init(files)
    try:
        _libc.posix_spawn_file_actions_addopen(files, 0, b"/dev/null", os.O_RDONLY, 0)
        for number in (1, 2):
            _libc.posix_spawn_file_actions_adddup2(files, log, number)
        path = os.fsencode(argv[0])
        error = _libc.posix_spawn(ctypes.byref(pid), path, files, _attributes, words, variables)
    finally:
        _libc.posix_spawn_file_actions_destroy(files)
    if error:
        raise OSError(error, os.strerror(error))
    return pid.value


def wait(pid: int) -> int | None:
    """The exit status of a child once it has ended, 128 + N after signal N; None where it is not known."""
    try:
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:
        return None
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _block(items: Iterable[str]) -> ctypes.Array[ctypes.c_char_p]:
    """A list of strings as C has it: an array of pointers, the last of them null."""
    found = [os.fsencode(item) for item in items]
    if any(b"\0" in item for item in found):
        raise ValueError("embedded null byte")
    return (ctypes.c_char_p * (len(found) + 1))(*found, None)
