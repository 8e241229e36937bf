"""Progress output: each step with its reason, and what is being waited for.

On a terminal one line moves; in a pipe there is one plain line a step. It all goes to standard error.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType

from hotdesk.cli.ui import render
from hotdesk.core.steps import Begin, Delete, Grow, Hold, Launch, Move, Retype, Row, Verify, Wait

ENOUGH_SECONDS, ENOUGH_SHARE = 5.0, 0.05  # of progress, before the remaining time is estimated
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_DOING = {
    "launch": "launching a machine",
    "start": "starting the machine",
    "stop": "stopping the machine",
    "bake": "taking an image",
    "verify": "reading the image back",
    "copy": "copying the image",
    "delete": "deleting",
    "prove": "logging in",
    "leave": "it has shut itself down; parking it",
    "vacate": "its machine is about to be ended; parking it",
    "hand": "handing it over",
    "fetch": "fetching its files",
    "bring": "bringing its files",
    "told": "event on the desk",
}


def verb(row: Row) -> str:
    """A step in words."""
    name = type(row.step).__name__.lower()
    match row.step:
        case Launch(order=order):
            place = render.at(order.offer.instance_type, order.offer.zone or order.offer.region)
            return f"launching {place}" + (", from its image" if order.image_id else "")
        case Hold(order=order):
            place = render.at(order.offer.instance_type, order.offer.zone or order.offer.region)
            return f"asking for {place} ({order.offer.market})"
        case Retype(offer=offer):
            return f"changing its type to {offer.instance_type}"
        case Grow(gib=gib):
            return f"making its disk {gib} GiB"
        case Begin(id=id_, attempt=attempt):
            return f"starting job {id_.partition('-')[0]}" + (f", attempt {attempt}" if attempt > 1 else "")
        case Move(id=id_, to=to):
            return f"moving job {id_.partition('-')[0]} to {to.partition('/')[2]}"
        case Delete(id=id_, keep_disk=keep):
            return f"ending {id_}, keeping its disk" if keep else f"deleting {id_}"
        case Verify(id=id_) if "/snap-" in id_:
            return "making the saved disk an image"
    return _DOING.get(name, name)


def reason(row: Row) -> str:
    """Why a step is taken, without what the step's own text already says: a terminal is narrow."""
    why = row.step.why
    if isinstance(row.step, Launch):
        offer = row.step.order.offer
        why = why.removeprefix(f"{offer.instance_type} in {offer.zone}").lstrip(": ") or why
    return why


class Pace:
    """Estimate of the remaining time, from the progress since the first observation."""

    def __init__(self) -> None:
        self.first: tuple[float, float] | None = None  # when, and how far it was

    def left(self, progress: float | None, now: float) -> float | None:
        """Seconds; None before there is enough progress."""
        if progress is None:
            return None
        began, was = self.first = self.first or (now, progress)
        if now - began < ENOUGH_SECONDS or progress - was < ENOUGH_SHARE:
            return None
        return (now - began) * (1 - progress) / (progress - was)


class Live:
    """Shows steps and waits. A context manager: it leaves the terminal clean."""

    def __init__(self) -> None:
        self.moving = render.colourful(sys.stderr)
        self.began = time.monotonic()
        self.drawn = 0.0
        self.frame = 0
        self.waiting: tuple[str, float] = ("", 0.0)
        self.pace = Pace()

    def __enter__(self) -> Live:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        render.lift()

    def row(self, row: Row) -> None:
        """A step was begun, or has ended."""
        if row.outcome is None:
            if self.moving:
                self._draw(f"{verb(row)} …")
            return
        render.lift()
        seconds = (row.ended_at or row.at) - row.at
        took = render.style(f" ({seconds:.1f} s)", "dim", stream=sys.stderr) if seconds >= 1 else ""
        why = render.style(f" — {reason(row)}", "dim", stream=sys.stderr) if row.step.why else ""
        mark = {"done": ("✓", "green"), "refused": ("✗", "yellow"), "unknown": ("?", "yellow")}
        sign, colour = mark[row.outcome.status]
        text = verb(row)
        if not row.done:
            why = f": {row.said}"
        line = f"{render.style(sign, colour, stream=sys.stderr)} {text}{why}{took}"
        render.note(line, indent=2)

    def wait(self, desk: str, wait: Wait) -> None:
        """Show what is being waited for."""
        text, since = self.waiting
        if text != wait.why:
            since = time.monotonic()
            self.waiting, self.pace = (wait.why, since), Pace()
            if not self.moving:
                render.note(f"… {wait.why}")
        if not self.moving:
            return
        seconds = time.monotonic() - since
        bar = ""
        if wait.progress is not None:
            done = round(20 * wait.progress)
            bar = f" {'█' * done}{'░' * (20 - done)} {wait.progress:4.0%}"
        left = self.pace.left(wait.progress, time.monotonic())
        passed = f"  {seconds:.0f} s" if seconds >= 1 else ""
        self._draw(f"{wait.why}{bar}{passed}" + (f", about {render.duration(left, 1)} to go" if left else ""))

    def progress(self, what: str) -> Callable[[str], None] | None:
        """Show the progress of a copy; nothing in a pipe."""
        return (lambda words: self._draw(f"{what}: {words}")) if self.moving else None

    def busy(self, desk: str, holder: str) -> None:
        """Show that another command holds the desk."""
        pid, _, doing = holder.partition(" ")
        who = f"process {pid} ({doing})" if doing else "another command"
        render.note(f"… waiting for {who} to release {desk}. Ctrl-C is safe.")

    def _draw(self, text: str) -> None:
        self.frame += 1
        spinner = render.style(_SPINNER[self.frame % len(_SPINNER)], "cyan", stream=sys.stderr)
        line = render.cut(f"{spinner} {text}", render.columns(sys.stderr) - 1)
        render.draw(line)
