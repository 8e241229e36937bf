"""Folders of data that do not travel with a desk: where each is kept, and where the desk has it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from hotdesk.core.model import Value

#: A folder of the machine, a bucket, or a remote that rclone has in its settings. No remote that is described
#: on the spot: some run programs, and a project's hotdesk.toml was written by whoever made the project.
_FROM = re.compile(
    r"/[^\0\n]*|(?:s3|oss)://[a-z0-9][a-z0-9.-]*(?:/[^\0\n]*)?|[\w+@.][\w+@. -]*:(?!//)[^\0\n]*"
)


class Data(Value, frozen=True):
    """One such folder."""

    origin: str = msgspec.field(name="from")  # "s3://bucket/x", "remote:x" of rclone, "/a/folder" there
    to: str  # "~/x"
    mount: bool = False  # mounted to be read, or a link to the machine's own folder; nothing is copied

    def __post_init__(self) -> None:
        # A folder has one name: desks tell of it by that (guest/data_record.py).
        msgspec.structs.force_setattr(self, "to", self.to.rstrip("/"))


def impossible(folders: Sequence[Data]) -> Iterator[str]:
    """What is wrong with these, each beginning with the key."""
    taken: list[list[str]] = []
    for data in folders:
        if not _FROM.fullmatch(data.origin):
            known = "s3://bucket/x, oss://bucket/x, REMOTE:x as rclone names it, or /a/folder"
            yield f"from is {data.origin!r}; it must be one of: {known}."
        if data.mount and data.origin.startswith("oss://"):
            yield f"{data.origin} can be mounted as a remote of rclone alone: from = REMOTE:bucket/x."
        tilde, *parts = data.to.split("/")
        if tilde != "~" or not parts or {"", ".", ".."} & {*parts} or not data.to.isprintable():
            yield f"to is {data.to!r}; it must be a folder below the desk's home, such as ~/data."
        elif parts[0] in {".hotdesk", ".ssh"}:
            yield f"to is {data.to!r}, which is not a place for data."
        elif any(parts[: len(other)] == other[: len(parts)] for other in taken):
            yield f"to is {data.to!r}, which lies in another data folder, or around it."
        taken.append(parts)
