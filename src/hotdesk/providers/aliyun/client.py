"""Ask Alibaba Cloud: one small client for all its services that hotdesk uses.

A question (`ask`) is sent once more if there is no answer; a change (`tell`) is sent once, because its
outcome must reach the journal, and "sold out" the planner. A request that is sent again as the same has the
same `ClientToken`, with a new nonce, time and signature (ECS developer guide, "How to ensure idempotence").
"""

from __future__ import annotations

import http.client
import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from hotdesk import __version__
from hotdesk.core.errors import Failing, Kind, Refused, Unreachable
from hotdesk.providers.aliyun.errors import Problem, refusal, unreachable
from hotdesk.providers.aliyun.signing import Keys, form, signed
from hotdesk.providers.aliyun.transport import Connections, Reply, Unsent
from hotdesk.system import SystemClock

#: Of each answer: the service's clock, as its header `Date` tells it.
DATE = "$date"


class Service(NamedTuple):
    version: str
    host: str  # with the region put in
    hosts: Mapping[str, str] = {}  # of regions that have another


#: Hosts: the official clients' tables (alibabacloud-ecs20140526 7.11.8, -vpc20160428 7.2.2).
SERVICES = {
    "ecs": Service(
        "2014-05-26", "ecs.{region}.aliyuncs.com", {"cn-hangzhou": "ecs-cn-hangzhou.aliyuncs.com"}
    ),
    "vpc": Service("2016-04-28", "vpc.{region}.aliyuncs.com", {"cn-hangzhou": "vpc.aliyuncs.com"}),
    "sts": Service("2015-04-01", "sts.aliyuncs.com"),
    "bss": Service("2017-12-14", "business.aliyuncs.com"),
    "bss-abroad": Service("2017-12-14", "business.ap-southeast-1.aliyuncs.com"),
}


class Client:
    """A client of one account. Safe to use from several threads."""

    def __init__(self, keys: Callable[[], Keys], *, endpoint: str = "") -> None:
        """`keys`: the credentials to sign the next request with. `endpoint`: what stands in for the cloud."""
        self._keys = keys
        self._endpoint = endpoint.rstrip("/")
        self._now = SystemClock().now
        self._connections = Connections(self._now)

    def ask(self, service: str, region: str, action: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a question. Raises `Refused`, or `Unreachable` without an answer."""
        for last in (False, True):
            try:
                return self._send(service, region, action, parameters)
            except Problem as problem:
                if problem.status >= 500 and not last:
                    continue
                if no := refusal(problem):
                    raise no from problem
                busy = f"Alibaba Cloud failed to answer {action}: {problem}"
                raise Refused(Kind.THROTTLED, busy, seconds=0.0) from problem
            except (OSError, http.client.HTTPException, Unsent) as error:
                if last or not _may_pass(error):
                    raise self.unreachable(error) from error
        raise AssertionError(action)

    def tell(self, service: str, region: str, action: str, **parameters: Any) -> dict[str, Any]:
        """Change something; the request is sent once.

        Raises `Refused` if nothing was changed. Any other exception leaves the outcome unknown.
        """
        try:
            return self._send(service, region, action, parameters)
        except Unsent as error:
            raise Refused(Kind.NOT_READY, f"Alibaba Cloud was not reached: {error}", seconds=5.0) from error
        except Problem as problem:
            if no := refusal(problem):
                raise no from problem
            raise Failing(f"Alibaba Cloud failed to answer {action}: {problem}") from problem

    def pages(
        self, service: str, region: str, action: str, *path: str, **parameters: Any
    ) -> list[dict[str, Any]]:
        """All rows of a listing, which are at `path` of each answer.

        Some operations give a token for the next page, others number them (ECS API reference).
        """
        rows: list[dict[str, Any]] = []
        more: dict[str, Any] = {}
        while True:
            told = self.ask(service, region, action, **parameters, **more)
            page: Any = told
            for name in path:
                page = (page or {}).get(name)
            rows += page or ()
            if token := told.get("NextToken"):
                if token == more.get("NextToken"):  # for ever, else
                    raise Refused(Kind.THROTTLED, f"{action} tells the same page again.", seconds=0.0)
                more = {"NextToken": token}
            elif "PageNumber" in parameters and len(rows) < int(told.get("TotalCount") or 0) and page:
                parameters |= {"PageNumber": int(parameters["PageNumber"]) + 1}
            else:
                return rows

    def unreachable(self, error: Exception) -> Unreachable:
        return unreachable(error, self._endpoint)

    def url(self, service: str, region: str) -> str:
        """Where a service is asked about a region."""
        known = SERVICES[service]
        host = known.hosts.get(region) or known.host.format(region=region)
        return self._endpoint or f"https://{host}"

    def _send(self, service: str, region: str, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        url = self.url(service, region)
        body = form(parameters)
        headers = signed(
            self._keys(),
            url.partition("://")[2],
            action,
            SERVICES[service].version,
            body,
            now=self._now(),
            nonce=secrets.token_hex(16),
        )
        reply = self._connections.post(url, headers | {"user-agent": f"hotdesk/{__version__}"}, body)
        return _read(action, reply)


def _read(action: str, reply: Reply) -> dict[str, Any]:
    """The answer. Raises `Problem` for an error, and for what is no answer of the service."""
    try:
        told = json.loads(reply.body)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        said = " ".join(reply.body[:200].decode("utf-8", "replace").split())[:80]
        raise Problem(action, max(reply.status, 500), "", f"an answer that is not its own: {said!r}")
    if reply.status < 400:
        told[DATE] = reply.headers.get("date", "")
        return told
    wait = reply.headers.get("x-acs-retry-after", "")
    raise Problem(
        action,
        reply.status,
        str(told.get("Code") or ""),
        str(told.get("Message") or ""),
        request=str(told.get("RequestId") or ""),
        denied=told.get("AccessDeniedDetail") or {},
        seconds=float(wait) / 1000 if wait.isdecimal() else 0.0,
    )


def _may_pass(error: Exception) -> bool:
    """Whether the same question may be answered at once: not where the certificate is wrong."""
    import ssl

    return not isinstance(error.__cause__ or error, ssl.SSLCertVerificationError)
