"""What the page does at a desk that runs: its Jupyter, its ports, an editor, files to and from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from hotdesk.api import Hotdesk
from hotdesk.core.errors import Usage
from hotdesk.core.model import Value
from hotdesk.services import files, forms, reached
from hotdesk.services.shapes import Editor

SHOWN = 20  # names of files


class Named(Value, frozen=True):
    """A desk."""

    name: str


class Opened(Named, frozen=True):
    """A desk's Jupyter, and who may reach it without a tunnel, as `Hotdesk.notebook` takes it."""

    public: str = ""
    private: bool = False


class Ported(Named, frozen=True):
    """A desk, and ports of it: "6006", or "8000:80" for its port 80 at 8000 here."""

    ports: tuple[str, ...]


class Files(Named, frozen=True):
    """Files to a desk, or from it. What is here is named in full; at the desk, from its home on."""

    verb: Literal["push", "pull"]
    sources: tuple[str, ...]
    to: str = ""
    all: bool = False
    anyway: bool = False
    over_budget: bool = False  # nothing is launched for it

    @property
    def line(self) -> list[str]:
        """The same for a terminal, as words."""
        said = ["hotdesk", self.verb, self.name, *self.sources, *(["--to", self.to] if self.to else [])]
        for flag, on in (("--all", self.all), ("--yes", self.anyway and self.verb == "push")):
            said += [flag] if on else []
        return said

    @property
    def here(self) -> tuple[str, ...]:
        """What is here, of it: the sources, or the folder they come to. Raises `Usage`."""
        said = self.sources if self.verb == "push" else (self.to,)
        found = tuple(str(Path(one).expanduser()) + ("/" if one.endswith("/") else "") for one in said)
        for one in found:
            if not Path(one).is_absolute():
                raise Usage(f"Where is {one[:60]!r}?", "What is on this computer is named in full.", "pwd")
        return found


def notebook(desks: Hotdesk, asked: Opened) -> dict[str, Any]:
    """The desk's Jupyter, answering, its password, and how it is reached without a tunnel."""
    shown = desks.notebook(asked.name, public=asked.public, private=asked.private)
    _renewed(desks, asked.name)
    public = shown.public
    return {
        "url": shown.url,
        "password": shown.password,
        "public": public
        and {"url": public.url, "fingerprint": public.fingerprint, "open_to": public.open_to},
    }


def forward(desks: Hotdesk, asked: Ported) -> list[Any]:
    """Open ports of a desk; all that are open."""
    found = desks.forward(asked.name, *asked.ports)
    _renewed(desks, asked.name)
    return [forms.forward(port) for port in found]


def forward_stop(desks: Hotdesk, asked: Ported) -> list[Any]:
    """Close these ports; those that were closed."""
    return [forms.forward(port) for port in desks.forward(asked.name, *asked.ports, stop=True)]


def _renewed(desks: Hotdesk, name: str) -> None:
    """See that somebody renews the desk's lease while a tunnel to it is open."""
    if desks.services.store.desk(name).lease_hours:
        _watch(desks)


def _watch(desks: Hotdesk) -> str:
    from hotdesk.loop import watcher

    return watcher.ask_for(desks.services.store, forever=False)


def go_on(desks: Hotdesk, asked: Named) -> dict[str, str]:
    """Have a watcher finish what was begun; its process."""
    desks.services.store.desk(asked.name)
    return {"watcher": _watch(desks).partition(" ")[0]}


def code(desks: Hotdesk, asked: Named) -> Editor:
    """The desk as a host of editors that work over ssh."""
    return reached.editor(desks.services, asked.name)


def files_plan(desks: Hotdesk, asked: Files) -> dict[str, Any]:
    """Which files would go or come, how many, and how big they are where that is known."""
    here = asked.here
    if asked.verb == "push":
        goods = files.gathered(asked.name, here, asked.to, everything=asked.all)
        names, size = [name for _, of_one in goods.sources for name in of_one], None
    else:
        listed = files.listed(desks.services.access(asked.name), asked.sources)
        names, size = list(listed.names), listed.bytes
    return {"line": asked.line, "files": len(names), "names": names[:SHOWN], "bytes": size}


def copied(desks: Hotdesk, asked: Files) -> dict[str, Any]:
    """Copy them. Raises as `Hotdesk.push` and `Hotdesk.pull`."""
    here = asked.here
    if asked.verb == "push":
        kept = desks.push(asked.name, *here, to=asked.to, everything=asked.all, anyway=asked.anyway)
        return {"kept": list(kept)}
    came = desks.pull(asked.name, *asked.sources, to=here[0])
    return {"files": len(came.came), "bytes": came.bytes, "beside": came.beside}
