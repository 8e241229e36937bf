"""hotdesk: a deep-learning desk. Open it when you need it, leave when you are done, lose nothing.

    from hotdesk import Hotdesk

    with Hotdesk() as desks:
        desks.up("blue")
        print(desks.notebook("blue"))
        desks.park("blue")

The public names are loaded on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Desk", "Hotdesk", "HotdeskError", "Offer", "__version__"]

if TYPE_CHECKING:
    from hotdesk.api import Hotdesk
    from hotdesk.core.errors import HotdeskError
    from hotdesk.core.model import Desk, Offer

_HOMES = {
    "Desk": "hotdesk.core.model",
    "Hotdesk": "hotdesk.api",
    "HotdeskError": "hotdesk.core.errors",
    "Offer": "hotdesk.core.model",
}


def __getattr__(name: str) -> Any:
    if home := _HOMES.get(name):
        from importlib import import_module

        return getattr(import_module(home), name)
    raise AttributeError(f"module 'hotdesk' has no attribute {name!r}")
