"""Latency of every region: the median of several TCP connects to its endpoint, all regions at once.

A connect is one round trip and needs no account. Names are resolved first and not counted. A lost packet
delays only its own connect, and a region that never answers delays no other: all ends at a time limit.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial

import msgspec

from hotdesk.core import wire
from hotdesk.core.model import Value
from hotdesk.core.ports import Cache
from hotdesk.providers import registry

SAMPLES = 7
APART_SECONDS = 0.12  # between two connects to one region
LIMIT_SECONDS = 1.8


class Latency(Value, frozen=True, omit_defaults=False):
    """Latency of a region. `latency_ms` is None if it did not answer within the limit."""

    provider: str
    region: str
    latency_ms: float | None
    samples: tuple[float, ...]  # milliseconds, in the order they came
    sent: int
    why: str = ""  # when there is no answer


def latencies(cache: Cache) -> dict[str, float]:
    """Milliseconds by "provider/region" as last measured; empty if never, or if the cache is damaged."""
    kept = cache.cached("latency")
    try:
        return wire.json(kept[1], dict[str, float]) if kept else {}
    except msgspec.DecodeError:
        return {}


def keep(cache: Cache, rows: Sequence[Latency], now: float) -> None:
    """Cache what was measured; a region that did not answer keeps its earlier value."""
    known = latencies(cache)
    known |= {f"{row.provider}/{row.region}": row.latency_ms for row in rows if row.latency_ms is not None}
    if known:
        cache.keep("latency", msgspec.json.encode(known), now)


def endpoints(providers: Sequence[str] = ()) -> dict[tuple[str, str], tuple[str, int]]:
    """(provider, region) -> (host, port), of all regions known; of the first cloud where none is named."""
    return {
        (provider, region): (known.host.format(region=region), 443)
        for provider in providers or registry.with_regions()[:1]
        for known in (registry.regions(provider),)
        for region in known.cities
    }


def measure(
    hosts: Mapping[tuple[str, str], tuple[str, int]],
    *,
    samples: int = SAMPLES,
    limit_seconds: float = LIMIT_SECONDS,
) -> list[Latency]:
    """Every region's latency, the nearest first; those without an answer last. Ends within the limit."""
    from statistics import median

    started = time.perf_counter()
    until = started + limit_seconds
    found, faults = _look_up(hosts, until - 0.4 * limit_seconds)
    tally = {key: _Tally() for key in hosts}
    with selectors.DefaultSelector() as selector:
        _connect(selector, found, tally, samples=samples, until=until)
        for entry in list(selector.get_map().values()):
            selector.unregister(entry.fileobj)
            entry.data[1].close()
    rows = []
    for (provider, region), seen in tally.items():
        times = seen.times or seen.slow  # a delayed answer is better than none
        why = seen.fault or faults.get((provider, region)) or f"no answer within {limit_seconds:g} s"
        rows.append(
            Latency(
                provider=provider,
                region=region,
                latency_ms=round(median(times), 2) if times else None,
                samples=tuple(round(ms, 2) for ms in times),
                sent=seen.sent,
                why="" if times else why,
            )
        )
    return sorted(rows, key=lambda row: (row.latency_ms is None, row.latency_ms or 0.0, row.region))


class _Tally:
    """What one region has answered until now."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.slow: list[float] = []  # those in which a packet was lost and repeated
        self.sent = 0
        self.fault = ""


_Address = tuple[int, tuple[str, int] | tuple[str, int, int, int]]


def _connect(
    selector: selectors.BaseSelector,
    found: Mapping[tuple[str, str], _Address],
    tally: Mapping[tuple[str, str], _Tally],
    *,
    samples: int,
    until: float,
) -> None:
    """Connect to every address `samples` times, spaced apart, until all have answered or time is up."""
    begin = time.perf_counter()
    # a small offset for each region, so that answers do not all arrive at once and delay each other
    due = [
        (begin + n * APART_SECONDS + place * 0.001, key)
        for n in range(samples)
        for place, key in enumerate(sorted(found))
    ]
    due.sort(reverse=True)
    while due or selector.get_map():
        now = time.perf_counter()
        if now >= until:
            return
        while due and due[-1][0] <= now:
            _, key = due.pop()
            if reason := _begin(selector, key, found[key]):
                tally[key].fault = reason
            tally[key].sent += 1
            now = time.perf_counter()
        wait = min(until, due[-1][0] if due else until) - now
        for entry, _ in selector.select(max(wait, 0)):
            at = time.perf_counter()
            key, connection, start = entry.data
            selector.unregister(connection)
            fault = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if fault in (0, errno.ECONNREFUSED):  # a refusal also took one round trip
                seconds, lossy = _round_trip(connection, at - start)
                (tally[key].slow if lossy else tally[key].times).append(seconds * 1000)
            else:
                tally[key].fault = os.strerror(fault).lower()
            connection.close()


def _round_trip(connection: socket.socket, waited: float) -> tuple[float, bool]:
    """Seconds to the other side and back, and whether a packet was lost on the way.

    The kernel's figure, if there is one, excludes the time until this process was woken; a lost packet is
    repeated after a second, which says nothing about distance. Linux `struct tcp_info`: tcpi_rtt (u32,
    microseconds) is at byte 68, tcpi_total_retrans (u32) at byte 100.
    """
    if sys.platform == "linux":
        told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        if len(told) == 104:
            rtt = int.from_bytes(told[68:72], sys.byteorder) / 1e6
            repeated = int.from_bytes(told[100:104], sys.byteorder)
            return (rtt if 0 < rtt < waited else waited), repeated > 0
    return waited, waited > 1.0


def _begin(selector: selectors.BaseSelector, key: tuple[str, str], address: _Address) -> str:
    """Start one connect; returns why it could not be started, or ""."""
    family, where = address
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.setblocking(False)
    start = time.perf_counter()
    try:
        connection.connect(where)
    except BlockingIOError:
        pass
    except OSError as error:
        connection.close()
        return (error.strerror or str(error)).lower()
    selector.register(connection, selectors.EVENT_WRITE, (key, connection, start))
    return ""


def _look_up(
    hosts: Mapping[tuple[str, str], tuple[str, int]], until: float
) -> tuple[dict[tuple[str, str], _Address], dict[tuple[str, str], str]]:
    """Resolve all names, each in its own thread, since a name server may never answer."""

    def ask(host: str, port: int) -> _Address:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return family, where  # type: ignore[return-value]

    from hotdesk.parallel import side_by_side

    calls = [partial(ask, *where) for where in hosts.values()]
    answers = side_by_side(calls, len(calls), max(0.0, until - time.perf_counter()))
    found: dict[tuple[str, str], _Address] = {}
    faults: dict[tuple[str, str], str] = {}
    for (key, (host, _)), answer in zip(hosts.items(), answers, strict=True):
        if isinstance(answer, tuple):
            found[key] = answer
        else:
            silent = isinstance(answer, TimeoutError) and answer.errno is None
            why = "the name server does not answer" if silent else getattr(answer, "strerror", "") or answer
            faults[key] = f"{host}: {why}".lower()
    return found, faults
