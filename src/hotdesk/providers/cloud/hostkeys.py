"""Read a machine's ssh host keys from its console output, which may be interleaved with other messages.

A serial console has several writers: a kernel message may be printed in the middle of a key. The remains can
look like a key, and pinning them would lock everybody out for good.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.ports import Keys
from hotdesk.system import write_atomically

_BLOCK = re.compile(r"-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----", re.DOTALL)
_KEY = re.compile(r"(?<!\S)((?:ssh|ecdsa|sk)-[a-z0-9@.-]+) (AAAA[A-Za-z0-9+/]+=*)(?!\S)")

#: Length in bytes of a public key, for types where it is fixed (RFC 8709, RFC 5656).
_BYTES = {
    "ssh-ed25519": 51,
    "ecdsa-sha2-nistp256": 104,
    "ecdsa-sha2-nistp384": 136,
    "ecdsa-sha2-nistp521": 172,
}


def on_console(text: str) -> list[str]:
    """The complete keys of the last block that has any, as `type base64`; [] if none has.

    cloud-init writes a block at a machine's first boot, and hotdesk's set-up writes another.
    """
    for block in reversed(_BLOCK.findall(text)):
        keys = [f"{kind} {key}" for kind, key in _KEY.findall(block) if is_whole(kind, key)]
        if keys:
            return list(dict.fromkeys(keys))  # a marker may be damaged too, and two blocks look like one
    return []


def is_whole(kind: str, key: str) -> bool:
    """Whether this is a complete public key of that type (RFC 4253, section 6.6)."""
    try:
        data = base64.b64decode(key, validate=True)
    except ValueError:
        return False
    fields, rest = [], data
    while len(rest) >= 4:
        size = int.from_bytes(rest[:4])
        fields.append(rest[4 : 4 + size])
        if len(fields[-1]) != size:
            return False
        rest = rest[4 + size :]
    if rest or not fields or fields[0] != kind.encode():
        return False
    if kind == "ssh-rsa":  # the exponent, and a modulus of at least 1,024 bits
        return len(fields) == 3 and len(fields[2]) >= 128
    return len(fields) >= 2 and len(data) == _BYTES.get(kind, len(data))


def pinned(keys: Keys, launch: str, shown: Callable[[], list[str]]) -> Path:
    """The known_hosts file of a launch, beside the desk's keys; made of what is `shown` where there is none.

    Raises `Refused` for what is the name of no launch: a tag tells it.
    """
    if not re.fullmatch(r"[\w-][\w.-]{0,127}", launch, re.ASCII):
        raise Refused(Kind.BAD_REQUEST, f"{launch[:80]!r} is the name of no launch of {keys.desk}.")
    path = Path(keys.known_hosts_path).with_name(f"known_hosts-{launch}")
    if not path.exists():
        lines = "".join(f"{keys.alias} {key}\n" for key in shown())
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(path, lines)
    return path
