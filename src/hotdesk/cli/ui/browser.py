"""The person's browser."""

from __future__ import annotations

import os
import sys

import click


def show(url: str) -> bool:
    """Open a page; whether there was a browser to open it in."""
    return there_is_one() and click.launch(url) == 0


def there_is_one() -> bool:
    """Whether xdg-open can open anything. Without a screen it prints a page of complaints."""
    screens = ("DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME", "BROWSER")
    return sys.platform != "linux" or any(os.environ.get(name) for name in screens)
