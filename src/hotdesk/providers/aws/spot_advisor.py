"""Fetch AWS's public spot advisor file, which needs no account, and parse it.

A cached copy is revalidated by its ETag. Unreadable entries are dropped and counted.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import msgspec

from hotdesk.core import wire
from hotdesk.core.errors import Unreachable

ADVISOR_URL = "https://spot-bid-advisor.s3.amazonaws.com/spot-advisor-data.json"


class Advice(NamedTuple):
    """Interruption bands and savings (%) by (region, instance type)."""

    bands: dict[tuple[str, str], int]
    savings: dict[tuple[str, str], float]
    dropped: Counter[str]


class Fetched(NamedTuple):
    body: bytes
    etag: str


def fetch(
    url: str, *, etag: str = "", timeout_seconds: float = 5.0, most_mib: float = 64.0
) -> Fetched | None:
    """Download a public file; None if it still has this ETag. Raises `Unreachable`."""
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    request = Request(url, headers={"User-Agent": "hotdesk", **({"If-None-Match": etag} if etag else {})})
    try:
        with urlopen(request, timeout=timeout_seconds) as answer:
            most = int(most_mib * 1024 * 1024)
            body = answer.read(most + 1)
            whole = answer.headers.get("Content-Length")
            if len(body) > most:
                raise Unreachable(f"{url} is larger than {most_mib:g} MiB.")
            if whole and whole.isdigit() and len(body) < int(whole):
                raise Unreachable(f"{url} was cut short after {len(body)} of {whole} bytes.")
            return Fetched(body, answer.headers.get("ETag") or "")
    except HTTPError as error:
        with error:
            if error.code == 304:
                return None
            raise Unreachable(f"{url} answers {error.code} {error.reason}.") from error
    except (OSError, HTTPException, ValueError) as error:
        raise Unreachable(f"{url} cannot be reached.", str(getattr(error, "reason", error))) from error


def read_advice(body: bytes) -> Advice:
    """Parse the advisor file; broken entries are counted. Raises `ValueError` for any other file."""
    try:
        document = wire.json(body)
        regions = document["spot_advisor"]
        items = list(regions.items())
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError("it is not the spot advisor's file") from error
    advice = Advice({}, {}, Counter())
    for region, systems in items:
        linux = systems.get("Linux") if isinstance(systems, dict) else None
        for name, entry in (linux or {}).items() if isinstance(linux, dict) else ():
            try:
                saving, band = float(entry["s"]), int(entry["r"])
            except (KeyError, TypeError, ValueError):
                advice.dropped["not an entry of the spot advisor"] += 1
                continue
            if band not in range(5) or saving >= 100:
                advice.dropped["the saving or the band is impossible"] += 1
                continue
            advice.bands[region, name] = band
            advice.savings[region, name] = saving
    return advice
