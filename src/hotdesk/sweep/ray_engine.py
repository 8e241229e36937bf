"""The engine at a cluster's head: lines of JSON to and from guest/ray_engine.py, which asks Ray."""

from __future__ import annotations

import os
import selectors
import subprocess
from collections.abc import Mapping, Sequence
from time import perf_counter

import msgspec

from hotdesk.core import wire
from hotdesk.core.sweep.model import Ended
from hotdesk.sweep.engine import Batch, EngineLost, Node, Told

START_SECONDS = 120.0  # a busy computer takes a minute to import Ray
ANSWER_SECONDS = 30.0


class _Answer(msgspec.Struct):
    nodes: list[Node] | None = None
    ended: list[_Told] = []


class _Told(msgspec.Struct):
    batch: int
    machine: str = ""
    results: tuple[Ended, ...] = ()
    lost: str = ""


_encode = msgspec.json.Encoder().encode


class RayEngine:
    """Ray, over the pipes of a process beside its head. See `Engine` for what each verb promises."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        """Raises `EngineLost` where the head does not answer."""
        self.process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._out, self._in = process.stdin, process.stdout
        os.set_blocking(self._in.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._in, selectors.EVENT_READ)
        self._rest = b""
        self._told: list[Told] = []
        self._nodes: list[Node] | None = None
        try:
            self._until_nodes(START_SECONDS)
        except EngineLost:
            self.close()
            raise

    def nodes(self) -> Sequence[Node]:
        self._nodes = None
        self._say({"nodes": True})
        return self._until_nodes(ANSWER_SECONDS)

    def begin(self, batches: Sequence[Batch]) -> None:
        self._say({"begin": batches})

    def wait(self, seconds: float) -> Sequence[Told]:
        if not self._told:
            self._read(seconds)
        told, self._told = self._told, []
        return told

    def cancel(self, attempts: Mapping[int, int]) -> None:
        self._say({"cancel": {str(task): number for task, number in attempts.items()}})

    def close(self) -> None:
        self._selector.close()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        try:
            self.process.wait(5.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    # ---- lines ---------------------------------------------------------------------------------------

    def _say(self, request: object) -> None:
        text = _encode(request) + b"\n"
        try:
            while text:
                text = text[self._out.write(text) or 0 :]
        except (OSError, ValueError) as error:
            raise self._gone(str(error)) from error

    def _until_nodes(self, seconds: float) -> Sequence[Node]:
        until = perf_counter() + seconds
        while self._nodes is None:
            left = until - perf_counter()
            if left <= 0:
                raise self._gone(f"it said nothing for {seconds:.0f} s")
            self._read(left)
        return self._nodes

    def _read(self, seconds: float) -> None:
        if not self._selector.select(seconds):
            return
        while (chunk := self._in.read(1 << 16)) is not None:
            if not chunk:
                raise self._gone("")
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                self._hear(line)

    def _hear(self, line: bytes) -> None:
        try:
            said = wire.json(line, _Answer)
        except msgspec.DecodeError as error:
            raise self._gone(f"it said {line[:80]!r}: {error}") from error
        if said.nodes is not None:
            self._nodes = said.nodes
        self._told += [
            Told(batch=t.batch, machine=t.machine, results=t.results, lost=t.lost) for t in said.ended
        ]

    def _gone(self, why: str) -> EngineLost:
        self.process.kill()
        status = self.process.wait()
        errors = self.process.stderr
        words = errors.read().decode("utf-8", "replace").strip().splitlines() if errors else []
        reason = why or (words[-1] if words else f"it ended with {status}")
        return EngineLost("The sweep's engine has ended.", reason, "hotdesk sweep ls   # it is started again")
