"""Tell a cloud's definite no from an unknown outcome, by its error code and HTTP status.

Each cloud has its own table of codes. A code in it is a *definite* no: nothing was made or changed. So is any
other code with a 4xx status. A 5xx answer to a read-only request counts as throttling: it may be repeated.
For a change it leaves the outcome unknown, and so does a lost connection.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from hotdesk.core.errors import Kind

#: How long each kind of refusal is valid, in seconds; the others: `SECONDS_ELSE`.
SECONDS = {
    Kind.NO_CAPACITY: 600.0,
    Kind.QUOTA: 3600.0,
    Kind.UNSUPPORTED: 86400.0,
    Kind.THROTTLED: 0.0,  # the loop does the backoff
    Kind.NOT_READY: 5.0,
    Kind.MISMATCH: 0.0,  # a repeated order would be refused for ever; a new name is a new order
}
SECONDS_ELSE = 600.0


def kind_of(
    code: str,
    status: int,
    codes: Mapping[str, Kind],
    *,
    read_only: bool,
    unknown: Collection[str] = (),
) -> Kind | None:
    """The kind of the refusal; None if the outcome is unknown.

    With a 4xx status, a code that `codes` lacks is looked up by its parts: `Throttling.User` as `Throttling`.
    `read_only`: the request changes nothing. `unknown`: codes with a 4xx status that leave the outcome open.
    """
    if (kind := codes.get(code)) is not None:
        return kind
    if 400 <= status < 500 and code not in unknown:
        part = code
        while part := part.rpartition(".")[0]:
            if (kind := codes.get(part)) is not None:
                return kind
        return Kind.BAD_REQUEST
    return Kind.THROTTLED if status >= 500 and read_only else None
