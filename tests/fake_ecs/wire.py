"""The wire: both of the service's signatures, flat parameters, errors as it words them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote

SKEW_SECONDS = 15 * 60.0
#: Parameters of every request, which are not the operation's own.
COMMON = frozenset(
    {
        *("Action", "Version", "Format", "Timestamp", "SignatureNonce", "SignatureMethod"),
        *("SignatureVersion", "SignatureType", "AccessKeyId", "Signature", "SecurityToken"),
    }
)
_SIGNED = frozenset(
    {
        *("host", "x-acs-action", "x-acs-version", "x-acs-date"),
        *("x-acs-content-sha256", "x-acs-signature-nonce"),
    }
)


class Problem(Exception):
    """Refuses a request with a code, a message and an HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400, **more: Any) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status, self.more = code, message, status, more


@dataclass
class Call:
    """One signed request. `flat` is as sent, `params` is nested."""

    action: str
    version: str
    flat: dict[str, str]
    key: str = ""
    params: dict[str, Any] = field(default_factory=dict)

    def get(self, name: str, default: str = "") -> str:
        return self.flat.get(name, default)

    def flag(self, name: str) -> bool:
        """The Python clients send True, others true."""
        return self.flat.get(name, "").lower() == "true"

    def many(self, name: str) -> list[Any]:
        """`InstanceId.1`, …; or a single one under the bare name."""
        found = self.params.get(name)
        return found if isinstance(found, list) else [found] if isinstance(found, str) else []

    def need(self, *names: str) -> None:
        for name in names:
            if not self.params.get(name):
                raise Problem(
                    "MissingParameter",
                    f'The input parameter "{name}" that is mandatory for processing this request '
                    "is not supplied.",
                )

    @property
    def tags(self) -> dict[str, str]:
        return {str(t["Key"]): str(t.get("Value", "")) for t in self.params.get("Tag") or []}

    @property
    def region(self) -> str:
        return self.get("RegionId")


class Door:
    """Admits requests whose signature, time and nonce are right."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}  # by access key
        self.tokens: dict[str, str] = {}  # of temporary keys
        self.nonces: set[str] = set()
        self.now = time.time  # the front door's own clock

    def admit(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Call:
        asked = dict(parse_qsl(query, keep_blank_values=True))
        form: dict[str, str] = {}
        if "urlencoded" in headers.get("content-type", ""):
            form = dict(parse_qsl(body.decode(), keep_blank_values=True))
        every = {**asked, **form}
        if "authorization" in headers:
            key = self._v3(method, path, asked, headers, body)
            action, version = headers["x-acs-action"], headers["x-acs-version"]
        elif "Signature" in every:
            key = self._v1(method, every)
            action, version = every.get("Action", ""), every.get("Version", "")
        else:
            raise Problem("MissingAccessKeyId", "AccessKeyId is mandatory for this action.")
        flat = {name: value for name, value in every.items() if name not in COMMON}
        return Call(action, version, flat, key, nested(flat))

    def _v1(self, method: str, given: Mapping[str, str]) -> str:
        """RPC with HMAC-SHA1: every parameter but the signature, sorted, encoded twice."""
        key = given.get("AccessKeyId", "")
        secret = self._secret(key, given.get("SecurityToken", ""))
        self._time(given.get("Timestamp", ""))
        line = "&".join(f"{_enc(k)}={_enc(v)}" for k, v in sorted(given.items()) if k != "Signature")
        text = f"{method}&%2F&{_enc(line)}"
        mine = base64.b64encode(
            hmac.new(f"{secret}&".encode(), text.encode(), hashlib.sha1).digest()
        ).decode()
        if not hmac.compare_digest(mine, given.get("Signature", "")):
            raise Problem(
                "SignatureDoesNotMatch",
                f"Specified signature is not matched with our calculation. server string to sign is:{text}",
            )
        self._nonce(given.get("SignatureNonce", ""))
        return key

    def _v3(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> str:
        """ACS3-HMAC-SHA256 over exactly the headers that it names."""
        found = re.fullmatch(
            r"ACS3-HMAC-SHA256 Credential=([^,]+),\s*SignedHeaders=([^,]+),\s*Signature=([0-9a-f]+)",
            headers.get("authorization", ""),
        )
        if not found:
            raise _incomplete("The request signature does not conform to Aliyun standards.")
        key, signed, signature = found.groups()
        secret = self._secret(key, headers.get("x-acs-security-token", ""))
        self._time(headers.get("x-acs-date", ""))
        names = signed.split(";")
        if names != sorted(names):
            raise _incomplete("SignedHeaders are not in order.")
        if lacking := _SIGNED - set(names):
            raise _incomplete(f"{min(lacking)} is not signed.")
        for name in headers:
            if name.startswith("x-acs-") and name not in names:
                raise _incomplete(f"{name} is sent and not signed.")
        if headers.get("x-acs-content-sha256") != hashlib.sha256(body).hexdigest():
            raise Problem("SignatureDoesNotMatch", "x-acs-content-sha256 is not the body's.")
        line = "&".join(f"{_enc(k)}={_enc(v)}" for k, v in sorted(query.items()))
        heads = "".join(f"{name}:{headers.get(name, '').strip()}\n" for name in names)
        text = "\n".join([method, path, line, heads, signed, headers["x-acs-content-sha256"]])
        to_sign = f"ACS3-HMAC-SHA256\n{hashlib.sha256(text.encode()).hexdigest()}"
        mine = hmac.new(secret.encode(), to_sign.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(mine, signature):
            raise Problem("SignatureDoesNotMatch", "Specified signature does not match our calculation.", 400)
        self._nonce(headers.get("x-acs-signature-nonce", ""))
        return key

    def _secret(self, key: str, token: str) -> str:
        if key not in self.secrets:
            raise Problem("InvalidAccessKeyId.NotFound", "Specified access key is not found.", 404)
        if self.tokens.get(key, "") != token:
            raise Problem(
                "InvalidSecurityToken.MismatchWithAccessKey",
                "Specified SecurityToken mismatch with AccessKey.",
            )
        return self.secrets[key]

    def _time(self, text: str) -> None:
        try:
            at = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
        except ValueError:
            raise Problem(
                "InvalidTimeStamp.Format", "Specified time stamp or date value is not well formatted."
            ) from None
        if abs(self.now() - at) > SKEW_SECONDS:
            raise Problem("InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.")

    def _nonce(self, nonce: str) -> None:
        if not nonce:
            raise Problem("MissingSignatureNonce", "SignatureNonce is mandatory for this action.")
        if nonce in self.nonces:
            raise Problem("SignatureNonceUsed", "Specified signature nonce was used already.")
        self.nonces.add(nonce)


def _incomplete(why: str) -> Problem:
    return Problem("IncompleteSignature", why)


def _enc(text: str) -> str:
    return quote(text, safe="~")


def nested(flat: Mapping[str, str]) -> dict[str, Any]:
    """`Tag.1.Key=a` is {"Tag": [{"Key": "a"}]}."""
    root: dict[str, Any] = {}
    for name, value in flat.items():
        here, *rest = [root], *name.split(".")
        at: dict[str, Any] = here[0]
        for part in rest[:-1]:
            at = at.setdefault(part, {})
            if not isinstance(at, dict):
                raise Problem("InvalidParameter", f"The specified parameter {name} is not valid.")
        at[rest[-1]] = value
    tidied = _tidy(root)
    return tidied if isinstance(tidied, dict) else {}


def _tidy(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if node and all(key.isdecimal() for key in node):
        return [_tidy(node[key]) for key in sorted(node, key=int)]
    return {key: _tidy(value) for key, value in node.items()}


# ---- times -------------------------------------------------------------------------------------------


def minute(at: float) -> str:
    """As machines' times are told."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%MZ")


def second(at: float) -> str:
    """As images' and disks' times are told."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
