"""Bytes in, bytes out: AWS protocols by botocore's own service models.

moto's parser and serializer (driven by the same models) do the work, so that an answer cannot have a shape
that AWS does not have.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from moto.core.parse import EC2QueryParser
from moto.core.serialize import EC2Serializer
from moto.core.utils import get_service_model

from tests.fake_ec2.actions import Call
from tests.fake_ec2.errors import Problem

CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/\d{8}/([^/]+)/([^/]+)/aws4_request")
JSON_SERVICES = {"ssm": "1.1", "pricing": "1.1", "servicequotas": "1.1"}
REQUEST_ID = "7a62c49f-347e-4fc4-9331-6e8e00000000"


def read_call(headers: dict[str, str], body: bytes) -> Call | None:
    """The request as a Call; None if it is not an AWS request that says what it wants."""
    found = CREDENTIAL.search(headers.get("HTTP_AUTHORIZATION", ""))
    if not found:
        return None
    access_key, region, service = found.groups()
    target = headers.get("HTTP_X_AMZ_TARGET", "")
    if target:
        action = target.rsplit(".", 1)[-1]
        try:
            params = json.loads(body or b"{}")
        except ValueError:
            params = {}
        return Call(service, action, region, params, access_key)
    raw = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    if "Action" not in raw:
        return None
    return Call(service, raw["Action"], region, {}, access_key, raw)


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


Reply = tuple[int, dict[str, str], bytes]


def write_result(call: Call, result: dict[str, Any] | None) -> Reply:
    if call.service in JSON_SERVICES:
        return 200, _json_headers(call), json.dumps(result or {}).encode()
    ready = (result or {}).get("__xml__")
    if ready is not None:  # a body that was serialized earlier, piece by piece
        return 200, {"Content-Type": "text/xml;charset=UTF-8"}, ready
    model = get_service_model("ec2").operation_model(call.action)
    done = EC2Serializer(model).serialize(result or {"Return": True})
    return 200, {"Content-Type": "text/xml;charset=UTF-8"}, str(done["body"]).encode()


def write_problem(call: Call, problem: Problem) -> Reply:
    """An error in the protocol of the service that was asked."""
    code, text = escape(problem.code), escape(problem.message)
    if call.service == "ec2":
        body = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error><Code>{code}</Code>'
            f"<Message>{text}</Message></Error></Errors><RequestID>{REQUEST_ID}</RequestID></Response>"
        )
        return problem.status, {"Content-Type": "text/xml;charset=UTF-8"}, body.encode()
    if call.service in {"sts", "iam"}:
        body = (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{text}</Message></Error>"
            f"<RequestId>{REQUEST_ID}</RequestId></ErrorResponse>"
        )
        return problem.status, {"Content-Type": "text/xml"}, body.encode()
    answer = json.dumps({"__type": problem.code, "message": problem.message})
    return problem.status, _json_headers(call), answer.encode()


def _json_headers(call: Call) -> dict[str, str]:
    return {"Content-Type": f"application/x-amz-json-{JSON_SERVICES.get(call.service, '1.1')}"}


def serialize_member(action: str, list_name: str, row: dict[str, Any]) -> str:
    """One element of a list answer as XML, to be cached and joined: `<item>…</item>`."""
    model = get_service_model("ec2").operation_model(action)
    body = str(EC2Serializer(model).serialize({list_name: [row]})["body"])
    start = body.index("<item>")
    return body[start : body.rindex("</item>") + len("</item>")]


def join_members(action: str, set_name: str, members: list[str], token: str | None) -> dict[str, Any]:
    tail = f"<nextToken>{escape(token)}</nextToken>" if token else ""
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{action}Response '
        f'xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>{REQUEST_ID}</requestId>'
        f"<{set_name}>{''.join(members)}</{set_name}>{tail}</{action}Response>"
    )
    return {"__xml__": body.encode()}
