"""The server: one request after another through rules, our actions, and moto for the rest.

Order for each request: latency, then (under one lock) what is due on the clock, a reply lost before, a
refusal, the effect, and a reply lost after. Whatever is answered is in the log.
"""

from __future__ import annotations

import io
import ipaddress
import re
import sys
import threading
import time
import traceback
import uuid
from typing import Any
from urllib.parse import urlencode

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from fake_ec2 import actions, control, limits, outage, roles, wire
from fake_ec2.actions import Call
from fake_ec2.errors import Problem
from fake_ec2.limits import leaves
from fake_ec2.listener import Reply
from fake_ec2.motos import MOTOS
from fake_ec2.world import World

OTHERS = {"sts", "iam", "s3"}  # services that are wholly moto's
NAMESPACE = re.compile(rb'xmlns="http://ec2[^"]*"')
REQUEST = re.compile(rb"(<request(?:Id|ID)>)[^<]*", re.IGNORECASE)
MODELLED = {"ec2", *wire.JSON_SERVICES}
REGIONAL = {"ec2", "ssm", "servicequotas"}  # services that refuse a region that is not enabled


class Application:
    """Answers requests: `application(environ, body)` is a reply, or None to break the connection."""

    def __init__(self, world: World) -> None:
        actions.load()
        self.world = world
        self.moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], body: bytes) -> Reply | None:
        if environ["PATH_INFO"].startswith("/_fake"):
            return control.answer(self.world, environ, body)
        call = wire.read_call(environ, body)
        if call is None:  # not signed, or a service that speaks REST: moto knows
            with self.world.lock:
                return self.ask_moto(environ, body)
        which = f"{self.world.seed} {self.world.calls} {call.action}"
        call.request_id = str(uuid.uuid5(uuid.NAMESPACE_OID, which))
        return self.answer(call, environ, body)

    def answer(self, call: Call, environ: dict[str, Any], body: bytes) -> Reply | None:
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
            entry = self.enter(call)
            try:
                wire.parse_params(call)
                entry["params"] = {
                    k: v for k, v in (call.raw or call.params).items() if k not in {"Action", "Version"}
                }
                if "hotdesk" in environ.get("HTTP_USER_AGENT", ""):
                    world.sent |= {(call.service, call.action, path) for path in leaves(call.params)}
                if world.rules.first("lose", call, when="before"):
                    entry["lost"] = "before"
                    return None
                if too_fast := world.rules.throttled(call, begun):
                    raise too_fast
                reply = self.effect(call, environ, body)
            except Problem as problem:
                entry["code"] = problem.code
                reply = wire.write_problem(call, problem)
            except Exception as crash:  # a fault of the fake itself: said on stderr and in the log
                entry["crash"] = traceback.format_exc()
                print(entry["crash"], file=sys.stderr, flush=True)
                entry["code"] = "InternalError"
                reply = wire.write_problem(call, Problem("InternalError", f"The fake failed: {crash!r}"))
            entry["status"] = reply[0]
            for name in [n for n in reply[1] if n.lower() == "x-amzn-requestid"]:  # moto has one for all
                del reply[1][name]
            reply[1]["x-amzn-RequestId"] = call.request_id
            entry["seconds"] = round(time.monotonic() - begun, 6)
            world.clock.settle()  # what takes no time has happened when the answer arrives
            if world.rules.first("lose", call, when="after"):
                entry["lost"] = "after"
                return None
            return reply

    def enter(self, call: Call) -> dict[str, Any]:
        """A line in the log."""
        entry: dict[str, Any] = {
            "number": self.world.calls,
            "time": self.world.clock.now(),
            "service": call.service,
            "action": call.action,
            "region": call.region,
            "code": None,
            "lost": None,
        }
        self.world.calls += 1
        self.world.log.append(entry)
        return entry

    def effect(self, call: Call, environ: dict[str, Any], body: bytes) -> Reply:
        """What the call does, by us or by moto; raises the Problem that refuses it."""
        world = self.world
        if not call.access_key:
            raise Problem("MissingAuthenticationToken", "Request is missing Authentication Token", 403)
        if refusal := world.rules.refusal(call):
            raise refusal
        outage.refuse(world, call)
        if call.service in REGIONAL:
            world.check_region(call.region)
        if call.service in MODELLED:
            limits.check(call)
        answer = actions.TABLE.get((call.service, call.action))
        if answer is not None:
            return wire.write_result(call, answer(world, call))
        if call.service == "sts":
            roles.check(world, call)
        if call.action not in MOTOS if call.service == "ec2" else call.service not in OTHERS:
            raise missing_here(call)
        if call.service == "ec2":
            world.moto(call.region)  # with or without its default network, as set
            body = urlencode({key: canonical(key, value) for key, value in call.raw.items()}).encode()
            form = "application/x-www-form-urlencoded; charset=utf-8"
            environ |= {"REQUEST_METHOD": "POST", "QUERY_STRING": "", "CONTENT_TYPE": form}
            environ["CONTENT_LENGTH"] = str(len(body))
            scope = (
                f"{call.access_key}/20260101/{call.region}/ec2/aws4_request"  # moto finds the service there
            )
            environ["HTTP_AUTHORIZATION"] = f"AWS4-HMAC-SHA256 Credential={scope}, Signature=0"
        try:
            status, headers, content = self.ask_moto(environ, body)
        except NotImplementedError as hole:
            raise missing_here(call) from hole
        # moto's holes are HTML pages, some with status 500, which clients retry: say what is missing.
        if status in {404, 500, 501} and b"<!doctype" in content[:200].lower():
            raise missing_here(call)
        if call.service == "ec2":  # moto's name space and its one request id are not EC2's
            content = NAMESPACE.sub(wire.SPACE.encode(), content, count=1)
            content = REQUEST.sub(rb"\g<1>" + call.request_id.encode(), content)
        return status, headers, content

    def ask_moto(self, environ: dict[str, Any], body: bytes) -> Reply:
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


def canonical(key: str, value: str) -> str:
    """A rule's block without its host bits, as EC2 keeps it (botocore, IpRange.CidrIp)."""
    if not key.endswith((".CidrIp", ".CidrIpv6")):
        return value
    return str(ipaddress.ip_network(value, strict=False))


def missing_here(call: Call) -> Problem:
    return Problem(
        "UnsupportedOperation", f"The operation {call.action} of {call.service} is not part of this fake."
    )


def tick(world: World, stopped: threading.Event, seconds: float = 0.05) -> None:
    """With real machines behind: time goes on also when nobody asks."""
    while not stopped.wait(seconds):
        with world.lock:
            world.clock.settle()
