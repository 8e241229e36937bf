"""How long nothing has worked at a rented desk: its watch writes that down (guest/idle.py), and ssh reads it.

A question that goes on asks once, and hears of each look of the watch, over one connection.
"""

from __future__ import annotations

import re

from hotdesk.connect import ssh
from hotdesk.core.idling import Idle
from hotdesk.core.ports import Access

SECONDS = 30.0  # between two answers: the watch looks as often

#: One line: when work was last seen, and looked for; and the machine's time. In sh, for any login shell.
ASK = r'echo "worked $(cat ${HOTDESK_RUN:-/run/hotdesk}/worked 2>/dev/null) $(date +%s)"'
_LINE = re.compile(r"worked (\d{1,12}) (\d{1,12}) (\d{1,12})\s*")


def follow(access: Access, seconds: float = SECONDS) -> list[str]:
    """A command whose output is a line at once, and every so many seconds, until it is ended."""
    return ssh.question(access, f"exec sh -c 'while :; do {ASK} || exit; sleep {seconds:g}; done'")


def read(line: str) -> Idle | None:
    """What such a line says; None for any other, and where no watch has looked yet."""
    said = _LINE.fullmatch(line)
    return Idle.read(*map(float, said.groups())) if said else None
