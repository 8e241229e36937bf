"""Pictures of numbers: one `Figure`, drawn for a terminal, a document or a browser.

    figure = Figure(title="p2.xlarge", x_label="day", y_label="$/h", series=(Series(label="a", x=…, y=…),))
    print(text(figure, width=100))
    save(figure, Path("price.svg"))  # .png .svg .html

Colours are told apart by colour-blind eyes, and never carry a meaning alone: lines also differ in dashes,
and a terminal shows each series' letter on its line.
"""

from __future__ import annotations

from pathlib import Path

from hotdesk.charts.figure import Figure, Series
from hotdesk.charts.parallel import Parallel, Scale
from hotdesk.charts.terminal import text
from hotdesk.core.errors import Missing, Usage
from hotdesk.system import write_atomically

__all__ = ["Figure", "Parallel", "Scale", "Series", "check_suffix", "save", "text"]

SUFFIXES = (".png", ".svg", ".html")


def check_suffix(path: Path) -> str:
    """The kind of picture that a file's name asks for. Raises `Usage` for any but .png, .svg and .html."""
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return suffix
    raise Usage(
        f"{path.name} cannot be drawn: no picture is called {suffix or 'by a name without a suffix'}.",
        f"The name's end says what to draw: {', '.join(SUFFIXES)}.",
        f"--plot {path.with_suffix('.svg')}",
    )


def save(figure: Figure | Parallel, path: Path) -> None:
    """Draw into a file, whole or not at all: .png or .svg (needs matplotlib) or .html (needs nothing).

    Parallel coordinates have no .html of their own; `hotdesk web` draws those of a sweep.

    Raises `Usage` for another suffix, `Missing` without matplotlib or where the folder cannot be written.
    """
    suffix = check_suffix(path)
    if isinstance(figure, Parallel) and suffix == ".html":
        raise Usage(
            f"{path.name} cannot be drawn: parallel coordinates are a .svg or a .png.",
            "In a browser, the page draws them.",
            f"--plot {path.with_suffix('.svg')}   # or: hotdesk web",
        )
    if suffix == ".html":
        from hotdesk.charts.page import html

        assert isinstance(figure, Figure)
        drawn = html(figure).encode()
    else:
        from hotdesk.charts.picture import picture

        drawn = picture(figure, suffix[1:])
    try:
        write_atomically(path, drawn, mode=0o666)
    except OSError as error:
        raise Missing(
            f"The picture could not be written to {path}.",
            error.strerror or str(error),
            "--plot ./price.html",
        ) from error
