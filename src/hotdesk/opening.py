"""The part of the façade that opens a desk's Jupyter to the outside, and closes it again."""

from __future__ import annotations

import contextlib
import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from hotdesk.core.errors import HotdeskError, Refused, Usage
from hotdesk.core.model import Desk, Goal, Phase, Survey, Value
from hotdesk.questions import question_of
from hotdesk.store import Store

if TYPE_CHECKING:
    from hotdesk.core.ports import Access, Provider

CALLER = "caller"  # the address from which hotdesk is called, whatever it is by then
EVERYBODY = "everybody"
_WORLD = "0.0.0.0/0"


class Public(Value, frozen=True):
    """A Jupyter that can be reached without a tunnel."""

    url: str
    fingerprint: str  # of its certificate, SHA-256
    open_to: tuple[str, ...]


def who_may(to: str) -> str:
    """`to` as it is written down: CALLER or a range of addresses. Raises `Usage`.

    A range that holds more than an eighth of a continent is refused unless it is spelled out: EVERYBODY.
    """
    if to in {"", CALLER}:
        return CALLER
    if to == EVERYBODY:
        return _WORLD
    try:
        network = ipaddress.ip_network(to)
    except ValueError as error:
        raise Usage(
            f"{to[:60]!r} is not a range of addresses.",
            f"{error}.",
            "hotdesk notebook --public-to 203.0.113.0/24",
        ) from error
    if network.version != 4:
        raise Usage(
            f"{network} is a range of IPv6 addresses.",
            "A desk has an IPv4 address only.",
            "hotdesk notebook --public-to 203.0.113.0/24",
        )
    if network.prefixlen < 8:
        raise Usage(
            f"{network} is most of the internet.",
            "Everybody there could try passwords at the desk's Jupyter, which can run any program.",
            f"hotdesk notebook --public-to {EVERYBODY}   # if that is meant",
        )
    return str(network)


class Opening:
    """What `hotdesk.api.Hotdesk` can do besides its verbs; it provides what stands here without a value."""

    state: Path
    store: Store
    public: dict[str, Public]  # what was opened here, by desk

    if TYPE_CHECKING:

        def survey(self, provider: str) -> Survey: ...
        def provider(self, name: str) -> Provider: ...
        def access(self, name: str) -> Access: ...

    def can_be_public(self, provider: str) -> None:
        """Raises `Usage` for a cloud whose desks cannot be opened."""
        from hotdesk.core.ports import Opener

        if not isinstance(self.provider(provider), Opener):
            raise Usage(
                f"A desk of {provider} cannot be opened to other computers.",
                "Its Jupyter listens on this computer's own loopback, and only there.",
                "hotdesk notebook",
            )

    def publish(self, name: str, to: str = CALLER) -> Public:
        """Jupyter at the machine's own address, with TLS and the password, for the addresses named.

        It stays so until `hide`, also over park and resume. Raises `Usage`, `Unreachable`, `NeedsDecision`.
        """
        from hotdesk.connect import public

        desk, to = self.store.desk(name), who_may(to)
        self.can_be_public(desk.provider)
        access = self.access(name)
        self.store.put(msgspec.structs.replace(desk, public=to))
        open_to = self._open_and_close(desk)
        shown = public.open_at(access)
        self._pin(name, shown.certificate)
        public.probe(access, shown.certificate)
        self.public[name] = Public(
            url=f"https://{access.host}:{access.notebook_port}/lab",
            fingerprint=shown.fingerprint,
            open_to=open_to,
        )
        return self.public[name]

    def republish(self, name: str) -> None:
        """The same for a desk that was opened before; nothing for one that was not."""
        desk = self.store.desk(name)
        if desk.public:
            self.publish(name, EVERYBODY if desk.public == _WORLD else desk.public)

    def hide(self, name: str) -> None:
        """Jupyter through the ssh tunnel only. Harmless where it is so already."""
        from hotdesk.connect import public

        desk = self.store.desk(name)
        self.store.put(msgspec.structs.replace(desk, public=""))
        self._open_and_close(desk)
        machine = self.survey(desk.provider).of(name).live
        if machine is not None and machine.phase is Phase.READY and desk.provider != "local":
            public.close_at(self.access(name))

    def close_behind(self, desk: Desk) -> None:
        """A desk that was opened has been parked or deleted: nobody is let in for it any more."""
        if desk.public:
            with contextlib.suppress(HotdeskError):  # the next one sees to it as well
                self._open_and_close(desk)

    def close_behind_all(self) -> None:
        """The same for desks that another process has parked: the watcher, or a machine that ended itself."""
        from hotdesk.core.ports import Opener

        for desk in self.store.desks():
            if desk.public and desk.goal is not Goal.RUNNING:
                provider = self.provider(desk.provider)
                if isinstance(provider, Opener) and provider.opened():
                    self.close_behind(desk)

    def _open_and_close(self, desk: Desk) -> tuple[str, ...]:
        """Let in whom this computer's desks in that region want let in, and nobody else."""
        from hotdesk.core.ports import Opener

        provider = self.provider(desk.provider)
        if not isinstance(provider, Opener):
            return ()
        seen = self.survey(desk.provider).by_desk()
        at = {name: thing.live.region for name, thing in seen.items() if thing.live}
        known = [d for d in self.store.desks() if d.provider == desk.provider and d.public]
        wanted: dict[str, set[str]] = {region: set() for region in provider.opened()}
        if desk.name in at:
            wanted.setdefault(at[desk.name], set())
        for one in known:
            if one.goal is Goal.RUNNING and one.name in at:
                wanted.setdefault(at[one.name], set()).add(one.public)
        opened: dict[str, tuple[str, ...]] = {}
        for region, to in wanted.items():
            try:
                opened[region] = provider.open_notebooks(region, CALLER in to, sorted(to - {CALLER}))
            except Refused as refused:
                raise question_of(
                    refused, f"{region} does not let hotdesk change who may connect."
                ) from refused
        return opened.get(at.get(desk.name, ""), ())

    def _pin(self, name: str, certificate: str) -> None:
        """Kept beside the desk's keys: what `curl --cacert` or a browser may be given."""
        from hotdesk.connect.keys import write_private

        write_private(self.state / "desks" / name / "notebook-certificate.pem", certificate)
