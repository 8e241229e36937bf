"""The part of the façade that opens a desk's Jupyter to the outside, and closes it again."""

from __future__ import annotations

import contextlib
import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import HotdeskError, Kind, Refused, Usage
from hotdesk.core.model import Desk, Goal, Instance, Phase, Survey, Value
from hotdesk.services.explain import question_of
from hotdesk.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hotdesk.core.ports import Access, Clock, Opener, Provider

T = TypeVar("T")

CALLER = "caller"  # the address from which hotdesk is called, whatever it is by then
EVERYBODY = "everybody"
_WORLD = "0.0.0.0/0"
_PATIENCE_SECONDS = 60.0  # for what a cloud has just made to be known to it


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


@contextlib.contextmanager
def _allowed(region: str) -> Iterator[None]:
    """Within it, a cloud's no is said as one."""
    try:
        yield
    except Refused as refused:
        raise question_of(refused, f"{region} does not let hotdesk change who may connect.") from refused


class Opening:
    """What `hotdesk.api.Hotdesk` can do besides its verbs; it provides what stands here without a value."""

    state: Path
    store: Store
    clock: Clock
    public: dict[str, Public]  # what was opened here, by desk

    if TYPE_CHECKING:

        def survey(self, provider: str) -> Survey: ...
        def patiently(self, name: str, ask: Callable[[], T]) -> T: ...
        def provider(self, name: str) -> Provider: ...
        def access(self, name: str) -> Access: ...
        def machine(self, desk: Desk) -> Instance | None: ...

    def can_be_public(self, provider: str) -> None:
        """Raises `Usage` for a cloud whose desks cannot be opened."""
        if self._opener(provider) is None:
            raise Usage(
                f"A desk of {provider} cannot be opened to other computers.",
                "Its Jupyter listens on this computer's own loopback, and only there.",
                "hotdesk notebook",
            )

    def publish(self, name: str, to: str = CALLER) -> Public:
        """Jupyter at the machine's own address, with TLS and the password, for the addresses named.

        It stays so until `hide`, also over park and resume. Raises `Usage`, `Unreachable`, `NeedsDecision`.
        """
        from hotdesk.connect import exposure as public

        desk = msgspec.structs.replace(self.store.desk(name), public=who_may(to))
        self.can_be_public(desk.provider)
        access = self.access(name)
        self.store.put(desk)
        open_to = self._open(desk)
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
        else:
            self.close_behind(desk)

    def hide(self, name: str) -> None:
        """Jupyter through the ssh tunnel only. Harmless where it is so already."""
        from hotdesk.connect import exposure as public

        desk = msgspec.structs.replace(self.store.desk(name), public="")
        self.store.put(desk)
        machine = self._close(desk)
        if machine is not None and machine.phase is Phase.READY and cloud(desk.provider).rented:
            public.close_at(self.access(name))

    def close_behind(self, desk: Desk) -> None:
        """A desk that was opened has been left: nobody is let in at a machine that is off but stays.

        (What opened one that is gone is a leftover of its desk, and the planner's.)
        """
        with contextlib.suppress(HotdeskError):  # the next command sees to it as well
            self._each_its_own(desk.provider)
            if desk.public and desk.goal is Goal.STOPPED:
                self._close(desk)

    def close_behind_all(self) -> None:
        """What an older hotdesk opened for all desks at once is closed, and each desk has its own."""
        for provider in {desk.provider for desk in self.store.desks()}:
            with contextlib.suppress(HotdeskError):
                self._each_its_own(provider)

    # ---- who is let in by the cloud --------------------------------------------------------------------

    def _open(self, desk: Desk) -> tuple[str, ...]:
        """Let in at the desk's machine whom its owner wants let in; who that is."""
        machine = self.patiently(desk.name, lambda: self.machine(desk))
        self._each_its_own(desk.provider)
        return self._let_in(desk, machine) if machine else ()

    def _close(self, desk: Desk) -> Instance | None:
        """Let nobody in at the desk's machine, which is returned."""
        machine = self.patiently(desk.name, lambda: self.machine(desk))
        self._each_its_own(desk.provider)
        provider = self._opener(desk.provider)
        if machine and provider:
            with _allowed(machine.region):
                provider.close_notebook(machine)
        return machine

    def _each_its_own(self, provider: str) -> None:
        """Desks that were opened when one rule opened them all: each is opened by itself, and that closed."""
        opener = self._opener(provider)
        regions = opener.opened_for_all() if opener else ()
        if not opener or not regions:
            return
        seen = self.survey(provider).by_desk()
        for desk in self.store.desks():
            machine = seen[desk.name].live if desk.provider == provider and desk.name in seen else None
            if desk.public and desk.goal is Goal.RUNNING and machine and machine.region in regions:
                self._let_in(desk, machine)
        for region in regions:
            with _allowed(region):
                opener.close_for_all(region)

    def _let_in(self, desk: Desk, machine: Instance) -> tuple[str, ...]:
        provider = self._opener(desk.provider)
        assert provider is not None
        own = desk.public == CALLER
        until = self.clock.now() + _PATIENCE_SECONDS
        with _allowed(machine.region):
            while True:
                try:
                    return provider.open_notebook(machine, own, [] if own else [desk.public])
                except Refused as no:  # made moments ago, and not yet known everywhere
                    wait = no.kind in {Kind.NOT_READY, Kind.THROTTLED}
                    if not wait or self.clock.now() >= until:
                        raise
                    self.clock.sleep(max(no.seconds, 2.0))

    def _opener(self, provider: str) -> Opener | None:
        from hotdesk.core.ports import Opener

        cloud = self.provider(provider)
        return cloud if isinstance(cloud, Opener) else None

    def _pin(self, name: str, certificate: str) -> None:
        """Kept beside the desk's keys: what `curl --cacert` or a browser may be given."""
        from hotdesk.connect.keys import write_private

        write_private(self.state / "desks" / name / "notebook-certificate.pem", certificate)
