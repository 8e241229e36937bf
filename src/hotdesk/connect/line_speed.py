"""Measure how fast a line is, by an ssh command to a machine and a second or two of bytes."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence

SECONDS = 2.0  # of sending or receiving; a fast line is known after `_ENOUGH`
_ENOUGH = 32 << 20  # bytes
_BLOCK = 1 << 16


def up(argv: Sequence[str]) -> float | None:
    """Bytes a second from here to there; None where nobody answers. `argv` takes a shell line at its end."""
    began, sent = 0.0, 0
    process = _started([*argv, "echo; cat >/dev/null; echo"])
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != b"\n":
            return None
        began = time.perf_counter()
        block = os.urandom(_BLOCK)  # a line that compresses is not faster for it
        while sent < _ENOUGH and time.perf_counter() - began < SECONDS:
            process.stdin.write(block)
            sent += _BLOCK
        process.stdin.close()
        if process.stdout.readline() != b"\n":  # all of it has arrived
            return None
        return sent / max(time.perf_counter() - began, 1e-6)
    except OSError:
        return None
    finally:
        _end(process)


def down(argv: Sequence[str]) -> float | None:
    """Bytes a second from there to here; None where nobody answers."""
    process = _started([*argv, f"head -c {_ENOUGH} /dev/urandom"])
    try:
        assert process.stdout is not None
        first = process.stdout.read(1)
        began, came = time.perf_counter(), 0
        while first and time.perf_counter() - began < SECONDS:
            some = process.stdout.read(_BLOCK)
            if not some:
                break
            came += len(some)
        return came / max(time.perf_counter() - began, 1e-6) if came else None
    except OSError:
        return None
    finally:
        _end(process)


def _started(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            try:
                pipe.close()
            except OSError:
                continue
    process.wait()
