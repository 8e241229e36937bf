"""Filters, pages, tags and times, in one way for every listing."""

from __future__ import annotations

import datetime as dt
import re
from functools import lru_cache
from typing import Any

from fake_ec2.actions import Call
from fake_ec2.errors import Problem

Row = dict[str, Any]


def stamp(seconds: float | None) -> dt.datetime | None:
    """Seconds since the epoch as the time that is serialized (whole milliseconds, UTC)."""
    if seconds is None:
        return None
    return dt.datetime.fromtimestamp(seconds, dt.UTC).replace(tzinfo=None)


def iso(seconds: float) -> str:
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def seconds_of(value: object) -> float | None:
    """A moment that came as a parsed (naive UTC) time, an ISO text or a number."""
    if value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, dt.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=dt.UTC)).timestamp()
    return dt.datetime.fromisoformat(str(value).replace("Z", "+00:00")).timestamp()


def tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": k, "Value": v} for k, v in sorted(tags.items())]


@lru_cache(maxsize=10_000)
def pattern(text: str) -> re.Pattern[str]:
    """AWS filters: `*` and `?` are wildcards, a backslash takes their meaning away; no other is special."""
    parts, escaped = [], False
    for char in text:
        if escaped:
            parts.append(re.escape(char))
            escaped = False
        elif char == "\\":
            escaped = True
        else:
            parts.append({"*": ".*", "?": "."}.get(char, re.escape(char)))
    return re.compile("".join(parts), re.DOTALL)


def values_at(row: Any, path: str) -> list[str]:
    """All values at `A.B[].C`, as filters see them."""
    found = [row]
    for part in path.split("."):
        name, many = (part[:-2], True) if part.endswith("[]") else (part, False)
        following: list[Any] = []
        for item in found:
            value = item.get(name) if isinstance(item, dict) else None
            if value is None:
                continue
            following += value if many else [value]
        found = following
    return [_text(v) for v in found]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dt.datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return str(value)


def keep(rows: list[Row], call: Call, fields: dict[str, str], tags: str = "Tags") -> list[Row]:
    """Rows that meet all Filters of the call. A filter that AWS does not have is refused, as AWS does."""
    for condition in call.get("Filters") or []:
        name, wanted = condition.get("Name") or "", condition.get("Values") or []
        patterns = [pattern(str(v)) for v in wanted]

        def meets(row: Row, name: str = name, patterns: list[re.Pattern[str]] = patterns) -> bool:
            if name.startswith("tag:"):
                found = [t["Value"] for t in row.get(tags) or [] if t["Key"] == name[4:]]
            elif name == "tag-key":
                found = [t["Key"] for t in row.get(tags) or []]
            elif name == "tag-value":
                found = [t["Value"] for t in row.get(tags) or []]
            elif name in fields:
                found = values_at(row, fields[name])
            else:
                raise Problem("InvalidParameterValue", f"The filter '{name}' is invalid")
            return any(p.fullmatch(value) for value in found for p in patterns)

        if not rows and not name.startswith("tag") and name not in fields:
            raise Problem("InvalidParameterValue", f"The filter '{name}' is invalid")
        rows = [r for r in rows if meets(r)]
    return rows


def page(rows: list[Row], call: Call, name: str, most: int = 1000) -> dict[str, Any]:
    """One page of the listing, by MaxResults and NextToken."""
    size = int(call.get("MaxResults") or most)
    try:
        start = int(call.get("NextToken") or 0)
    except ValueError as bad:
        raise Problem("InvalidParameterValue", "Invalid value for NextToken") from bad
    end = start + size
    return {name: rows[start:end], "NextToken": str(end) if end < len(rows) else None}
