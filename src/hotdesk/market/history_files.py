"""Reading price histories: what `aws ec2 describe-spot-price-history` prints, and what the cache keeps.

Broken rows cost themselves and are counted by reason; a file that was cut short gives the rows it still has.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from hotdesk.core import wire
from hotdesk.core.errors import Missing, Usage
from hotdesk.core.money import Money, rate_line
from hotdesk.core.ports import Cache
from hotdesk.market.history import History, Pool
from hotdesk.system import install_line

LINUX = ("Linux/UNIX", "Linux/UNIX (Amazon VPC)")


class _Row(msgspec.Struct, gc=False):
    """One price as AWS writes it; everything else in a row is ignored."""

    InstanceType: str
    SpotPrice: str | float
    Timestamp: datetime
    AvailabilityZone: str = ""
    AvailabilityZoneId: str = ""
    ProductDescription: str = LINUX[0]
    Currency: str = "USD"


class _Document(msgspec.Struct):
    SpotPriceHistory: list[_Row]


def need_numpy() -> None:
    """Raises `Missing` if numpy is not installed: everything here needs it."""
    try:
        import numpy  # noqa: F401
    except ImportError as error:
        raise Missing(
            "Price histories need numpy, which is not installed.",
            "hotdesk offers and hotdesk regions work without it.",
            install_line("plots"),
        ) from error


def read(path: Path, *, products: Sequence[str] = LINUX) -> History:
    """A file, or every .json file below a folder. Raises `Usage` when there is nothing to read."""
    files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
    dropped: Counter[str] = Counter()
    notes: list[str] = []
    if not files:
        raise Usage(f"There is no .json file below {path}.", "A price history is kept in such files.", _HOW)

    def rows() -> Iterator[_Row]:  # file by file: a year of prices need not lie in memory as rows
        for file in files:
            try:
                body = file.read_bytes()
            except OSError as error:
                raise Usage(f"{file} cannot be read.", error.strerror or str(error), _HOW) from error
            try:
                document = wire.json(body, _Document | list[_Row])
                yield from document if isinstance(document, list) else document.SpotPriceHistory
            except msgspec.DecodeError:
                text = wire.text(body)
                values = _values(text)
                if values is not None:
                    yield from _converted((row for value in values for row in _rows(value)), dropped)
                    continue
                found, note = _salvage(text, file.name, dropped)
                notes.append(note)
                yield from found

    history = gather(rows(), products=products, dropped=dropped)
    if not history.pools:
        why = "; ".join([*notes, *(f"{n} rows: {reason}" for reason, n in history.dropped.items())])
        raise Usage(f"There is no usable price in {path}.", why or "It holds no rows.", _HOW)
    return history._replace(notes=tuple(notes))


_HOW = "aws ec2 describe-spot-price-history --instance-types p3.2xlarge --output json > prices.json"


def gather(
    rows: Iterable[_Row],
    *,
    products: Sequence[str] = LINUX,
    dropped: Counter[str] | None = None,
    money: Money = Money(),
) -> History:
    """Rows in any order, sorted into pools; what cannot be a price is counted and left out.

    Prices in another currency become dollars by the rate of `money`; without one they are left out.
    """
    import numpy as np

    dropped = Counter() if dropped is None else dropped
    columns: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    wanted = set(products)
    for row in rows:
        try:
            price = float(row.SpotPrice)
        except ValueError:
            dropped["the price is no number"] += 1
            continue
        if not price > 0 or math.isinf(price):
            dropped["the price is zero, negative or not finite"] += 1
        elif not (per_dollar := 1.0 if row.Currency == "USD" else money.rate(row.Currency)):
            dropped[f"the currency is {row.Currency[:8]}, not USD"] += 1
        elif row.ProductDescription not in wanted:
            dropped[f"for {row.ProductDescription[:40]}"] += 1
        elif not (zone := row.AvailabilityZone or row.AvailabilityZoneId):
            dropped["no zone"] += 1
        else:
            time = row.Timestamp
            times, prices = columns.setdefault((row.InstanceType, zone), ([], []))
            # a time without an offset is UTC: that is what AWS means
            times.append((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())
            prices.append(price / per_dollar)
    pools = []
    for (instance_type, zone), (times, prices) in sorted(columns.items()):
        t, p = np.array(times), np.array(prices)
        order = np.lexsort((p, t))
        t, p = t[order], p[order]
        last = np.append(t[1:] != t[:-1], True)  # of two prices at one moment the higher counts
        dropped["the same price twice"] += int(np.count_nonzero(~last[:-1] & (p[1:] == p[:-1])))
        dropped["two prices at one moment: the lower one"] += int(
            np.count_nonzero(~last[:-1] & (p[1:] != p[:-1]))
        )
        pools.append(Pool(instance_type, zone, t[last], p[last]))
    return History(tuple(pools), {reason: n for reason, n in dropped.items() if n})


def _values(text: str) -> list[Any] | None:
    """The JSON values that a text consists of, one after the other (`jq -c`, `cat` of pages); None where
    anything else stands between or after them."""
    import json

    decoder, place, found = json.JSONDecoder(), 0, []
    while rest := text[place : place + 1]:
        if rest.isspace():
            place += 1
            continue
        try:
            value, place = decoder.raw_decode(text, place)
        except ValueError:
            return None
        found.append(value)
    return found


def _rows(value: Any) -> Iterator[Any]:
    """What may be rows in a JSON value: a row, a page of them, or lists of either."""
    match value:
        case {"SpotPrice": _}:
            yield value
        case dict():
            lists = [inner for inner in value.values() if isinstance(inner, list)]
            for inner in lists:
                yield from _rows(inner)
            if not lists:
                yield value
        case list():
            for inner in value:
                yield from _rows(inner)


def _converted(raw: Iterable[Any], dropped: Counter[str]) -> Iterator[_Row]:
    for row in raw:
        try:
            yield msgspec.convert(row, _Row, strict=False)  # a time may be in seconds since 1970
        except msgspec.ValidationError:
            dropped["not a price row"] += 1


def _salvage(text: str, name: str, dropped: Counter[str]) -> tuple[list[_Row], str]:
    """The usable rows of a file that is no JSON as a whole, and what is to be said about it."""
    import json

    decoder = json.JSONDecoder()
    place, rows, seen = text.find("["), [], 0
    while place >= 0 and (place := text.find("{", place)) >= 0:
        try:
            raw, place = decoder.raw_decode(text, place)
        except ValueError:
            place = text.find("{", place + 1)  # from the next row on
            dropped["cut short or not JSON"] += 1
            continue
        seen += 1
        try:
            rows.append(msgspec.convert(raw, _Row))
        except msgspec.ValidationError:
            dropped["not a price row"] += 1
    return rows, f"{name} is cut short or damaged: {seen} whole rows were still found in it"


def gather_raw(
    rows: Sequence[Mapping[str, Any]], notes: tuple[str, ...] = (), money: Money = Money()
) -> History:
    """Rows as a cloud gave them. Raises `Missing` where all are in a currency without a rate to dollars."""
    told = sorted({str(raw.get("Currency") or "USD") for raw in rows})
    for currency in told:
        day = money.day_of(currency)
        if currency != "USD" and day:
            notes += (f"prices told in {currency} are shown in US dollars, at the rate of {day}",)
        elif currency != "USD" and told == [currency]:
            raise Missing(
                f"hotdesk cannot show what spot has cost: the prices are told in {currency}.",
                "They would be shown in US dollars, and hotdesk.toml has no rate between the two.",
                rate_line(currency),
            )
    dropped: Counter[str] = Counter()
    found = []
    for raw in rows:
        try:
            found.append(msgspec.convert(raw, _Row))
        except msgspec.ValidationError:
            dropped["not a price row"] += 1
    return gather(found, dropped=dropped, money=money)._replace(notes=notes)


class _Kept(msgspec.Struct, array_like=True):
    zone: str
    times: bytes
    prices: bytes


def pack(pools: Sequence[Pool]) -> bytes:
    """The pools of one instance type as bytes, for the cache."""
    return msgspec.msgpack.encode([_Kept(p.zone, p.times.tobytes(), p.prices.tobytes()) for p in pools])


def unpack(instance_type: str, body: bytes) -> list[Pool]:
    """What `pack` gave. Raises `ValueError` for anything else."""
    import numpy as np

    try:
        kept = wire.msgpack(body, list[_Kept])
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error
    pools = [Pool(instance_type, k.zone, np.frombuffer(k.times), np.frombuffer(k.prices)) for k in kept]
    for pool in pools:
        times, prices = pool.times, pool.prices
        if not (0 < len(times) == len(prices) and (np.diff(times) > 0).all() and (prices > 0).all()):
            raise ValueError(f"the prices of {pool.zone} are no history")
    return pools


def keep(cache: Cache, history: History, now: float) -> None:
    """Cache a history by type; zones that are not in it keep their earlier prices."""
    for name in history.instance_types:
        new = {pool.zone: pool for pool in history.pools if pool.instance_type == name}
        before = kept(cache, [name])
        old = {pool.zone: pool for pool in before[1].pools} if before else {}
        cache.keep(f"history:{name}", pack(list((old | new).values())), now)


def kept(cache: Cache, names: Sequence[str]) -> tuple[float, History] | None:
    """What was kept of these types, and since when; None when a type is missing or damaged."""
    times, pools = [], []
    for name in names:
        found = cache.cached(f"history:{name}")
        if found is None:
            return None
        try:
            pools += unpack(name, found[1])
        except ValueError:
            return None
        times.append(found[0])
    return (min(times), History(tuple(pools), {})) if pools else None
