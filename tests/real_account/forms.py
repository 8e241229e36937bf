"""What an answer looks like without what it says: the paths of its fields, and the form of each value.

A record holds no account number, no address and no name, so that it can be shown to others.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

#: Fields whose values are AWS's own words, and tell something.
WORDS = frozenset(
    [
        *("Architecture", "BootMode", "Code", "GatewayId", "HttpEndpoint", "HttpTokens", "Hypervisor"),
        *("ImageType", "ImdsSupport", "InstanceLifecycle", "InterfaceType", "InternetGatewayBlockMode"),
        *("OptInStatus", "Origin", "RootDeviceType", "State", "Status", "StorageTier", "Tenancy", "Type"),
        *("VirtualizationType", "VolumeType", "ZoneType"),
    ]
)
_ID = re.compile(r"([a-z]+)-[0-9a-f]{8,17}")


def form(path: str, value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case dt.datetime():
            return "time with fractions" if value.microsecond else "time"
        case bytes():
            return "bytes"
        case None:
            return "nothing"
    text = str(value)
    if found := _ID.fullmatch(text):
        return f"{found[1]}-…"
    if path.endswith("State.Name") or (
        path.rpartition(".")[2].removesuffix("[]") in WORDS and len(text) < 40
    ):
        return repr(text)
    if re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", text):
        return "time as text"
    return "text" if text else "empty text"


def shape(value: Any, path: str = "") -> dict[str, list[str]]:
    """{path: forms}. Lists are `[]`, whatever their length."""
    found: dict[str, set[str]] = {}

    def walk(part: Any, at: str) -> None:
        if isinstance(part, dict):
            for key, inner in part.items():
                if key not in {"ResponseMetadata", "NextToken", "UserData", "Output"}:
                    walk(inner, f"{at}.{key}" if at else key)
        elif isinstance(part, list):
            for inner in part:
                walk(inner, f"{at}[]")
        else:
            found.setdefault(at, set()).add(form(at, part))

    walk(value, path)
    return {at: sorted(forms) for at, forms in sorted(found.items())}


def differences(fake: list[dict[str, Any]], real: list[dict[str, Any]]) -> list[str]:
    """What two records do not have in common, a line each; the real one is the truth."""
    said: list[str] = []
    names = sorted({row["call"] for row in [*fake, *real]})
    for name in names:
        theirs, ours = ([row for row in rows if row["call"] == name] for rows in (real, fake))
        if not theirs or not ours:
            said.append(f"{name}: asked of {'the fake' if ours else 'AWS'} only")
            continue
        said += _answers(name, _united(ours), _united(theirs))
        refused = [{(row["code"], row["status"]) for row in rows if row["code"]} for rows in (theirs, ours)]
        said += [
            f"{name}: AWS refused with {code} ({status})" for code, status in sorted(refused[0] - refused[1])
        ]
        said += [
            f"{name}: the fake refused with {code} ({status})"
            for code, status in sorted(refused[1] - refused[0])
        ]
    return said


def _united(rows: list[dict[str, Any]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        for path, forms in row["answer"].items():
            found.setdefault(path, set()).update(forms)
    return found


def _answers(name: str, fake: dict[str, set[str]], real: dict[str, set[str]]) -> list[str]:
    said = [f"{name}: AWS tells {path}, the fake does not" for path in sorted(real.keys() - fake.keys())]
    said += [f"{name}: the fake tells {path}, AWS does not" for path in sorted(fake.keys() - real.keys())]
    for path in sorted(fake.keys() & real.keys()):
        if more := real[path] - fake[path]:
            said.append(
                f"{name}: {path} is {', '.join(sorted(more))} on AWS, {', '.join(sorted(fake[path]))} here"
            )
    return said
