"""The server: each request goes through the door, the laws and the operations; all is in the log."""

from __future__ import annotations

import json
import sys
import threading
import time
import traceback
import uuid
from email.utils import formatdate
from types import TracebackType
from typing import Any

from fake_ec2.listener import Conversation, Listener, Reply
from fake_ec2.rig import load_rig
from tests.fake_ecs import account, assistant, bill, disks, images, laws, life, machines, market, network
from tests.fake_ecs.wire import Call, Problem
from tests.fake_ecs.world import Machine, World

assert all((account, assistant, bill, disks, images, machines, market, network))  # each enters its operations


class _Conversation(Conversation):
    def date_time_string(self, timestamp: float | None = None) -> str:
        """The header Date: the cloud's clock."""
        return formatdate(self.server.world.clock.now(), usegmt=True)  # type: ignore[attr-defined]


class FakeEcs:
    """`with FakeEcs() as fake:` serves at `fake.url` until the block ends. `rig`: machines behind it."""

    def __init__(self, *, pace: float = 1.0, rate: float = 0.0, rig: str = "") -> None:
        """`rate`: seconds of the cloud in one of ours; 0: its clock stands still until it is advanced."""
        self.world = World(pace)
        self.world.clock.run_at(rate)
        self._rate, self._rig = rate, rig
        self._over = threading.Event()

    def __enter__(self) -> FakeEcs:
        if self._rig:
            self.world.rig = load_rig(self._rig, self._turned_off)
        self._server = Listener("127.0.0.1", 0, self._answer)
        self._server.RequestHandlerClass = _Conversation
        self._server.world = self.world  # type: ignore[attr-defined]
        self.url = self._server.url
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        threading.Thread(target=self._tick, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        if self.world.rig:
            self.world.rig.close()

    def reset(self) -> None:
        with self.world.lock:
            if self.world.rig:
                self.world.rig.begin_anew(
                    ({"id": machine.id} for machine in self.world.every("instance")),
                    (thing.id for kind in ("disk", "snapshot") for thing in self.world.every(kind)),
                )
            self.world.reset()
            self.world.clock.run_at(self._rate)

    def advance(self, seconds: float) -> None:
        with self.world.lock:
            self.world.clock.advance(seconds)
            self.world.clock.settle()

    def _turned_off(self, instance_id: str) -> None:
        with self.world.lock:
            found = self.world.anywhere(instance_id)
            if isinstance(found, Machine) and found.status == "Running":
                life.shut_down_inside(self.world, found)

    def _tick(self) -> None:
        while not self._over.wait(0.05):
            with self.world.lock:
                self.world.clock.settle()

    # ---- one request -----------------------------------------------------------------------------------

    def _answer(self, environ: dict[str, Any], body: bytes) -> Reply | None:
        world = self.world
        headers = {k[5:].lower().replace("_", "-"): v for k, v in environ.items() if k.startswith("HTTP_")}
        headers["content-type"] = environ["CONTENT_TYPE"]
        with world.lock:
            world.clock.settle()
            entry: dict[str, Any] = {
                "at": world.clock.now(),
                "action": headers.get("x-acs-action", ""),
                "agent": headers.get("user-agent", ""),
                "code": None,
            }
            world.log.append(entry)
            try:
                call = world.door.admit(
                    environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"], headers, body
                )
                entry |= {
                    "action": call.action,
                    "version": call.version,
                    "region": call.region,
                    "params": call.params,
                    "flat": call.flat,
                }
                reply = self._do(call, entry)
            except Problem as no:
                reply = _refusal(no, headers.get("host", ""))
                entry["code"] = no.code
            except Exception as crash:  # a fault of the fake itself
                entry["crash"] = traceback.format_exc()
                print(entry["crash"], file=sys.stderr, flush=True)
                reply = _refusal(Problem("InternalError", f"The fake failed: {crash!r}", 500), "")
            world.clock.settle()
            if reply is not None:
                entry["status"] = reply[0]
        return reply

    def _do(self, call: Call, entry: dict[str, Any]) -> Reply | None:
        world = self.world
        harm = next((h for h in world.harms if _meets(h, call)), None)
        if harm and harm.skip > 0:
            harm.skip -= 1
            harm = None
        if harm and harm.times is not None:
            harm.times -= 1
        if harm and harm.lose == "before":
            entry["code"] = "lost before"
            return None
        if harm and not harm.late and not harm.lose:
            entry["code"] = harm.code or "harm"
            if harm.body:
                return harm.status, {"Content-Type": "text/html", **harm.headers}, harm.body.encode()
            raise Problem(
                harm.code, harm.message or "Refused by the test.", harm.status, headers=harm.headers
            )
        laws.check(world, call)
        do = laws.TABLE.get((call.version, call.action))
        if do is None:
            raise Problem("InvalidAction.NotFound", f"The fake has no {call.action} of {call.version}.", 404)
        told = {"RequestId": str(uuid.uuid4()).upper(), **do(world, call)}
        entry["answer"] = told
        if harm and harm.lose:
            entry["code"] = "lost after"
            return None
        if harm and harm.late:
            entry["code"] = harm.code
            return harm.status, {"Content-Type": "text/html", **harm.headers}, harm.body.encode()
        return 200, {"Content-Type": "application/json;charset=utf-8"}, json.dumps(told).encode()


def _meets(harm: Any, call: Call) -> bool:
    named = harm.action in {"*", call.action}
    return named and harm.times != 0 and (not harm.contains or harm.contains in call.flat.values())


def _refusal(no: Problem, host: str) -> Reply:
    more = dict(no.more)
    headers = more.pop("headers", {})
    told = {
        "RequestId": str(uuid.uuid4()).upper(),
        "HostId": host,
        "Code": no.code,
        "Message": no.message,
        "Recommend": f"https://api.aliyun.com/troubleshoot?q={no.code}&product=Ecs",
        **more,
    }
    return no.status, {"Content-Type": "application/json;charset=utf-8", **headers}, json.dumps(told).encode()


def wait_until(true: Any, seconds: float = 20.0) -> None:
    """Until a condition holds, in real time."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it never happens"
        time.sleep(0.02)
