"""Encode and sign requests to Alibaba Cloud: form body, ACS3-HMAC-SHA256.

Source: Alibaba Cloud, "V3 request body & signature mechanism". `tests/test_aliyun_client.py` compares it with
the official example and the official clients.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

ALGORITHM = "ACS3-HMAC-SHA256"
FORM = "application/x-www-form-urlencoded"


class Keys(NamedTuple):
    """An access key; with a token it is a temporary one."""

    id: str
    secret: str
    token: str = ""
    source: str = ""  # where it was found, for people


def flat(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Nested parameters as the service names them: `{"Tag": [{"Key": "a"}]}` is `Tag.1.Key=a`.

    None is left out, an empty text is sent; booleans are `true` and `false`.
    """
    return dict(sorted(_leaves("", parameters)))


def _leaves(name: str, value: Any) -> Iterator[tuple[str, str]]:
    match value:
        case None:
            return
        case Mapping():
            for key, one in value.items():
                yield from _leaves(f"{name}.{key}" if name else key, one)
        case list() | tuple():
            for number, one in enumerate(value, 1):
                yield from _leaves(f"{name}.{number}", one)
        case bool():
            yield name, "true" if value else "false"
        case _:
            yield name, str(value)


def form(parameters: Mapping[str, Any]) -> bytes:
    """The body of a request with these parameters."""
    return urlencode(flat(parameters)).encode()


def signed(
    keys: Keys, host: str, action: str, version: str, body: bytes, *, now: float, nonce: str
) -> dict[str, str]:
    """The headers of a POST of this form to `host`, with its signature."""
    headers = {
        "accept": "application/json",
        "host": host,
        "x-acs-action": action,
        "x-acs-content-sha256": hashlib.sha256(body).hexdigest(),
        "x-acs-date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        "x-acs-signature-nonce": nonce,
        "x-acs-version": version,
    }
    if body:
        headers["content-type"] = FORM
    if keys.token:
        headers |= {"x-acs-accesskey-id": keys.id, "x-acs-security-token": keys.token}
    return headers | {"authorization": authorization(keys, "POST", {}, headers)}


def authorization(keys: Keys, method: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """The header `authorization` of a request to `/`; every one of `headers` is signed."""
    names = sorted(headers)
    asked = "&".join(f"{quote(k, safe='~')}={quote(v, safe='~')}" for k, v in sorted(query.items()))
    lines = "".join(f"{name}:{headers[name].strip()}\n" for name in names)
    text = "\n".join([method, "/", asked, lines, ";".join(names), headers["x-acs-content-sha256"]])
    to_sign = f"{ALGORITHM}\n{hashlib.sha256(text.encode()).hexdigest()}"
    signature = hmac.new(keys.secret.encode(), to_sign.encode(), hashlib.sha256).hexdigest()
    return f"{ALGORITHM} Credential={keys.id},SignedHeaders={';'.join(names)},Signature={signature}"
