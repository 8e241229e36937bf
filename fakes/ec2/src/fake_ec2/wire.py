"""Bytes in, bytes out: AWS protocols by botocore's own service models.

An answer is written by the operation's output shape, so it cannot have a form that AWS does not have: what
the shape does not know is left out. Written here and not by moto's serializer, which takes 20 times as long.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from moto.core.parse import EC2QueryParser
from moto.core.utils import get_service_model

from fake_ec2.actions import TABLE, Call
from fake_ec2.errors import Problem
from fake_ec2.listener import Reply

CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/\d{8}/([^/]+)/([^/]+)/aws4_request")
JSON_SERVICES = {"ssm": "1.1", "pricing": "1.1", "servicequotas": "1.1", "ce": "1.1", "freetier": "1.0"}
XML = "text/xml;charset=UTF-8"
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
SPACE = 'xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"'
FROM_ZERO = re.compile(r"(.*?)\.0(\..*)?")


def read_call(headers: dict[str, str], body: bytes) -> Call | None:
    """The request as a Call; None if it is not an AWS request that says what it wants."""
    query = headers.get("QUERY_STRING", "")
    signed = (
        headers.get("HTTP_AUTHORIZATION") or f"Credential={dict(parse_qsl(query)).get('X-Amz-Credential')}"
    )
    found = CREDENTIAL.search(signed)
    words = parse_qsl(query, keep_blank_values=True)  # a GET says the same as a POST
    words += parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
    raw = {key: value for key, value in words if not key.startswith("X-Amz-")}
    if not found:
        return signed_as_of_old(raw)
    access_key, region, service = found.groups()
    target = headers.get("HTTP_X_AMZ_TARGET", "")
    if target:
        action = target.rsplit(".", 1)[-1]
        try:
            params = json.loads(body or b"{}")
        except ValueError:
            params = {}
        return Call(service, action, region, params, access_key)
    if "Action" not in raw:
        return None
    return Call(service, raw["Action"], region, {}, access_key, counted_from_one(raw))


def signed_as_of_old(raw: dict[str, str]) -> Call | None:
    """Signature version 2, which names neither service nor region: EC2 as ec2.amazonaws.com has it. A request
    for an action that nobody has signed is one of EC2 too, which refuses it; web identities have no key."""
    action = raw.pop("Action", "")
    if not action or action.startswith("AssumeRoleWith"):
        return None
    key = raw.pop("AWSAccessKeyId", "")
    for name in ("Signature", "SignatureMethod", "SignatureVersion", "Timestamp", "Expires"):
        raw.pop(name, None)
    return Call("ec2", action, "us-east-1", {}, key, counted_from_one({"Action": action, **raw}))


def counted_from_one(raw: dict[str, str]) -> dict[str, str]:
    """Lists whose members some clients (libcloud) count from 0: EC2 reads those too."""
    lists = {found[1] for key in raw if (found := FROM_ZERO.fullmatch(key))}
    for name in lists:
        moved: dict[str, str] = {}
        for key, value in raw.items():
            number, dot, rest = key.removeprefix(f"{name}.").partition(".")
            inside = key.startswith(f"{name}.") and number.isdecimal()
            moved[f"{name}.{int(number) + 1}{dot}{rest}" if inside else key] = value
        raw = moved
    return raw


# ── what is opaque: tokens of pages ──────────────────────────────────────────────────────────────────────


def hidden(token: str) -> str:
    """A page's token as EC2 gives it: nothing that a client could count with."""
    return base64.urlsafe_b64encode(
        f"{hashlib.sha256(token.encode()).hexdigest()[:24]}:{token}".encode()
    ).decode()


def shown(token: str) -> str:
    try:
        inner = base64.urlsafe_b64decode(token.encode()).decode().partition(":")[2]
    except ValueError:
        inner = ""
    if not inner or hidden(inner) != token:
        raise Problem("InvalidNextToken", "The specified NextToken is not valid.")
    return inner


def parse_params(call: Call) -> None:
    """Fill in `params` for an EC2 query request."""
    if call.service == "ec2":
        try:
            model = get_service_model("ec2").operation_model(call.action)
        except Exception as unknown:
            raise Problem(
                "InvalidAction", f"The action {call.action} is not valid for this web service."
            ) from unknown
        try:
            call.params = EC2QueryParser(model).parse({"values": call.raw})  # type: ignore[typeddict-item]
        except ValueError as bad:
            raise Problem("InvalidParameterValue", str(bad)) from bad
    ours = (call.service, call.action) in TABLE
    if ours and isinstance(call.params.get("NextToken"), str) and call.params["NextToken"]:
        call.params["NextToken"] = shown(call.params["NextToken"])


def write_result(call: Call, result: dict[str, Any] | None) -> Reply:
    if result and result.get("NextToken"):
        result = result | {"NextToken": hidden(result["NextToken"])}
    if call.service in JSON_SERVICES:
        return 200, _json_headers(call), json.dumps(result or {}).encode()
    text = f"{HEAD}<{call.action}Response {SPACE}><requestId>{call.request_id}</requestId>"
    if result and "__xml__" in result:  # serialized earlier, piece by piece
        return 200, {"Content-Type": XML}, f"{text}{result['__xml__']}</{call.action}Response>".encode()
    shape = get_service_model("ec2").operation_model(call.action).output_shape
    inner = writer(shape)(result) if result is not None and shape is not None else "<return>true</return>"
    return 200, {"Content-Type": XML}, f"{text}{inner}</{call.action}Response>".encode()


# ── one function per shape, made once ────────────────────────────────────────────────────────────────────

WRITERS: dict[str, Callable[[Any], str]] = {}


def writer(shape: Any) -> Callable[[Any], str]:
    """A function that turns a value of this shape into what stands between its tags."""
    if shape.name not in WRITERS:
        WRITERS[shape.name] = partial(write_later, shape.name)  # shapes may contain themselves
        WRITERS[shape.name] = make_writer(shape)
    return WRITERS[shape.name]


def write_later(name: str, value: Any) -> str:
    return WRITERS[name](value)


def make_writer(shape: Any) -> Callable[[Any], str]:
    match shape.type_name:
        case "structure":
            members = [
                (key, member.serialization.get("name", key), writer(member))
                for key, member in shape.members.items()
            ]

            def structure(value: dict[str, Any]) -> str:
                parts = []
                for key, tag, write in members:
                    inner = value.get(key)
                    if inner is not None:
                        parts.append(f"<{tag}>{write(inner)}</{tag}>")
                return "".join(parts)

            return structure
        case "list":
            tag, write = shape.member.serialization.get("name", "item"), writer(shape.member)
            return lambda value: "".join([f"<{tag}>{write(item)}</{tag}>" for item in value])
        case "boolean":
            return lambda value: "true" if value else "false"
        case "timestamp":
            return moment
        case "blob":
            return lambda value: (
                base64.b64encode(value).decode() if isinstance(value, bytes) else escape(value)
            )
    return lambda value: escape(str(value))


def moment(value: dt.datetime | str) -> str:
    return value if isinstance(value, str) else value.isoformat(timespec="milliseconds")[:23] + "Z"


def write_problem(call: Call, problem: Problem) -> Reply:
    """An error in the protocol of the service that was asked."""
    code, text = escape(problem.code), escape(problem.message)
    if call.service == "ec2":
        body = (
            f"{HEAD}<Response><Errors><Error><Code>{code}</Code>"
            f"<Message>{text}</Message></Error></Errors><RequestID>{call.request_id}</RequestID></Response>"
        )
        return problem.status, {"Content-Type": XML}, body.encode()
    if call.raw:  # it was asked in the query protocol, so it is answered in XML: sts, iam, cloudformation …
        body = (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{text}</Message></Error>"
            f"<RequestId>{call.request_id}</RequestId></ErrorResponse>"
        )
        return problem.status, {"Content-Type": "text/xml"}, body.encode()
    answer = json.dumps({"__type": problem.code, "message": problem.message})
    return problem.status, _json_headers(call), answer.encode()


def _json_headers(call: Call) -> dict[str, str]:
    return {"Content-Type": f"application/x-amz-json-{JSON_SERVICES.get(call.service, '1.1')}"}


def serialize_member(action: str, list_name: str, row: dict[str, Any]) -> str:
    """One element of a list answer as XML, to be cached and joined."""
    output = get_service_model("ec2").operation_model(action).output_shape
    return f"<item>{writer(output.members[list_name].member)(row)}</item>"


def join_members(set_name: str, members: list[str], token: str | None) -> dict[str, Any]:
    tail = f"<nextToken>{escape(hidden(token))}</nextToken>" if token else ""
    return {"__xml__": f"<{set_name}>{''.join(members)}</{set_name}>{tail}"}
