"""The server: one request after another through rules, our actions, and moto for the rest.

Order for each request: latency, then (under one lock) what is due on the clock, a reply lost before, a refusal,
the effect, and a reply lost after. Whatever is answered is in the log.
"""

from __future__ import annotations

import io
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.server import MotoRequestHandler
from werkzeug.serving import BaseWSGIServer, make_server

from tests.fake_ec2 import actions, control, wire
from tests.fake_ec2.actions import Call
from tests.fake_ec2.errors import Problem
from tests.fake_ec2.world import World

REGIONAL = {"ec2", "ssm", "servicequotas"}
StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class QuietHandler(MotoRequestHandler):
    """Keeps connections open, sends at once, and writes nothing to the terminal."""

    disable_nagle_algorithm = True
    timeout = None

    def log(self, type: str, message: str, *args: Any) -> None:
        pass


class Application:
    def __init__(self, world: World) -> None:
        actions.load()
        self.world = world
        self.moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if environ.get("PATH_INFO", "").startswith("/_fake"):
            return self._send(control.answer(self.world, environ, body), start_response)
        call = wire.read_call(environ, body)
        if call is None:  # not signed, or a service that speaks REST: moto knows
            with self.world.lock:
                return self._send(self._ask_moto(environ, body), start_response)
        reply = self._answer(call, environ, body)
        if reply is None:
            return self._drop(environ)
        return self._send(reply, start_response)

    def _answer(self, call: Call, environ: dict[str, Any], body: bytes) -> wire.Reply | None:
        """The reply; None when the connection is to break."""
        world = self.world
        begun = time.monotonic()
        wait = world.settings.latency_seconds
        with world.lock:
            if rule := world.rules.first("delay", call):
                wait += rule.seconds
        if wait:
            time.sleep(wait)
        with world.lock:
            world.clock.settle()
            entry: dict[str, Any] = {
                "number": world.calls,
                "time": world.clock.now(),
                "service": call.service,
                "action": call.action,
                "region": call.region,
                "code": None,
                "lost": None,
            }
            world.calls += 1
            world.log.append(entry)
            problem: Problem | None = None
            reply: wire.Reply = (500, {}, b"")
            try:
                wire.parse_params(call)
                entry["params"] = {
                    k: v for k, v in (call.raw or call.params).items() if k not in {"Action", "Version"}
                }
                if world.rules.first("lose", call, when="before"):
                    entry["lost"] = "before"
                    return None
                if refusal := world.rules.refusal(call):
                    raise refusal
                if call.service in REGIONAL:
                    world.check_region(call.region)
                answer = actions.TABLE.get((call.service, call.action))
                if answer is not None:
                    reply = wire.write_result(call, answer(world, call))
                else:
                    if call.service == "ec2":
                        world.moto(call.region)  # with or without its default network, as set
                    reply = self._ask_moto(environ, body)
                    problem = mend(call, reply)
            except Problem as raised:
                problem = raised
            except NotImplementedError:
                problem = missing_here(call)
            except Exception as crash:  # a fault of the fake itself: said on stderr and in the log
                entry["crash"] = traceback.format_exc()
                print(entry["crash"], file=sys.stderr, flush=True)
                problem = Problem("InternalError", f"The fake failed: {crash!r}")
            if problem is not None:
                entry["code"] = problem.code
                reply = wire.write_problem(call, problem)
            entry["status"] = reply[0]
            entry["seconds"] = round(time.monotonic() - begun, 6)
            world.clock.settle()  # what takes no time has happened when the answer arrives
            if world.rules.first("lose", call, when="after"):
                entry["lost"] = "after"
                return None
            return reply

    def _ask_moto(self, environ: dict[str, Any], body: bytes) -> wire.Reply:
        heard: dict[str, Any] = {}

        def start(status: str, headers: list[tuple[str, str]], _: Any = None) -> None:
            heard["status"], heard["headers"] = int(status.split(maxsplit=1)[0]), dict(headers)

        environ["wsgi.input"] = io.BytesIO(body)
        parts = self.moto(environ, start)
        try:
            content = b"".join(parts)
        finally:
            if hasattr(parts, "close"):
                parts.close()
        return heard["status"], heard["headers"], content

    def _send(self, reply: wire.Reply, start_response: StartResponse) -> Iterable[bytes]:
        status, headers, body = reply
        kept = {
            k: v
            for k, v in headers.items()
            if k.lower() not in {"content-length", "transfer-encoding", "date"}
        }
        start_response(
            f"{status} {'OK' if status < 400 else 'Error'}",
            [*kept.items(), ("Content-Length", str(len(body)))],
        )
        return [body]

    def _drop(self, environ: dict[str, Any]) -> Iterable[bytes]:
        """Break the connection with nothing said: the client cannot know what has happened."""
        try:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        raise ConnectionAbortedError("lost on purpose")


def mend(call: Call, reply: wire.Reply) -> Problem | None:
    """moto's holes are HTML pages with status 500, which clients retry: say plainly that it is missing."""
    status, headers, body = reply
    if status >= 500 and b"<!doctype" in body[:200].lower():
        return missing_here(call)
    if status == 404 and b"<!doctype" in body[:200].lower():
        return Problem("UnknownOperationException", f"There is no {call.service} in this fake.", 400)
    return None


def missing_here(call: Call) -> Problem:
    return Problem(
        "UnsupportedOperation", f"The operation {call.action} of {call.service} is not part of this fake."
    )


def start(world: World, host: str = "127.0.0.1", port: int = 0) -> tuple[BaseWSGIServer, str]:
    """The listening server (not yet serving) and its address."""
    server = make_server(host, port, Application(world), threaded=True, request_handler=QuietHandler)
    server.daemon_threads = True  # type: ignore[attr-defined]
    return server, f"http://{host}:{server.server_port}"


def tick(world: World, stopped: threading.Event, seconds: float = 0.05) -> None:
    """With real machines behind: time goes on also when nobody asks."""
    while not stopped.wait(seconds):
        with world.lock:
            world.clock.settle()
