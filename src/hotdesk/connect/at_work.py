"""Ask a desk what is running there, before its machine is ended (guest/ending.py)."""

from __future__ import annotations

import msgspec

from hotdesk.connect.job_runner import run_there
from hotdesk.core import wire
from hotdesk.core.errors import Unreachable
from hotdesk.core.model import Value
from hotdesk.core.ports import Access


class AtWork(Value, frozen=True):
    """What would be lost with a desk's machine, in words."""

    works: tuple[str, ...] = ()
    unsaved: tuple[str, ...] = ()  # changes that are in no file, as far as their program tells
    open: tuple[str, ...] = ()  # prompts, waiting kernels and detached programs that do nothing just now

    @property
    def asks(self) -> tuple[str, ...]:
        """What needs the owner's consent before it is ended."""
        return (*self.works, *self.unsaved)


_WORDS = '"$HOTDESK_MACHINE" "$JUPYTER_RUNTIME_DIR"'
#: As root where that needs no password: only root sees what another user's programs do.
_ROOT = f'sudo -n true 2>/dev/null && exec sudo -n "$(command -v python3)" - {_WORDS}; '


def ask(access: Access, program: str) -> AtWork:
    """List what is running at a desk; watches for two seconds. Raises `Unreachable` within a minute.

    `program`: guest/ending.py, as it is sent.
    """
    line = f"exec python3 - {_WORDS}"
    done = run_there(access, line if access.supervised else _ROOT + line, program.encode())
    try:
        return wire.json(done.stdout, AtWork)
    except msgspec.DecodeError as error:
        why = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or [str(error)]
        raise Unreachable(
            f"Could not ask {access.desk} what is running there.", why[0], f"hotdesk show {access.desk}"
        ) from error
