"""Opening a desk's Jupyter to the outside, and closing it again."""

from __future__ import annotations

import contextlib
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import HotdeskError, Kind, Refused, Usage
from hotdesk.core.model import Desk, Goal, Instance, Phase
from hotdesk.core.ports import Opener
from hotdesk.core.steps import Wait
from hotdesk.loop.clouds import Clouds
from hotdesk.services.explain import question_of
from hotdesk.services.view import Public
from hotdesk.state.store import Store
from hotdesk.system import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from hotdesk.core.ports import Access, Clock

CALLER = "caller"  # the address from which hotdesk is called, whatever it is by then
EVERYBODY = "everybody"
_WORLD = "0.0.0.0/0"
_PATIENCE_SECONDS = 60.0  # for what a cloud has just made to be known to it


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
    """Translate `Refused` into a user-facing error."""
    try:
        yield
    except Refused as refused:
        raise question_of(refused, f"{region} does not let hotdesk change who may connect.") from refused


@dataclass(kw_only=True, eq=False)
class Exposure:
    """Who can reach the Jupyter of each desk without a tunnel. `reach` says how we reach it ourselves."""

    state: Path
    store: Store
    clock: Clock
    clouds: Clouds
    reach: Callable[[Desk], Access]
    public: dict[str, Public] = field(default_factory=dict, init=False)  # what was opened here, by desk

    def can_be_public(self, provider: str) -> None:
        """Raises `Usage` for a cloud whose desks cannot be opened."""
        if self._opener(provider) is None:
            raise Usage(
                f"A desk on {cloud(provider).label} cannot be opened to other computers.",
                "Its Jupyter listens on this computer's own loopback, and only there.",
                "hotdesk notebook",
            )

    def publish(self, desk: Desk, to: str = CALLER) -> Public:
        """Jupyter at the machine's own address, with TLS and the password, for the addresses named.

        It stays so until `hide`, also over park and resume. Raises `Usage`, `Unreachable`, `NeedsDecision`.
        """
        from hotdesk.connect import exposure as public

        desk = msgspec.structs.replace(desk, public=who_may(to))
        self.can_be_public(desk.provider)
        access = self.reach(desk)
        self.store.put(desk)
        open_to = self._open(desk)
        shown = public.open_at(access)
        self._pin(desk.name, shown.certificate)
        public.probe(access, shown.certificate)
        self.public[desk.name] = Public(
            url=f"https://{access.host}:{access.notebook_port}/lab",
            fingerprint=shown.fingerprint,
            open_to=open_to,
        )
        return self.public[desk.name]

    def republish(self, desk: Desk) -> None:
        """The same for a desk that was opened before; nothing for one that was not."""
        if desk.public:
            self.publish(desk, EVERYBODY if desk.public == _WORLD else desk.public)
        else:
            self.close_behind(desk)

    def hide(self, desk: Desk) -> None:
        """Revoke public access: Jupyter only through the ssh tunnel. Idempotent."""
        from hotdesk.connect import exposure as public

        desk = msgspec.structs.replace(desk, public="")
        self.store.put(desk)
        machine = self._close(desk)
        if machine is not None and machine.phase is Phase.READY and cloud(desk.provider).rented:
            public.close_at(self.reach(desk))

    def close_behind(self, desk: Desk) -> None:
        """Revoke public access when the desk's instance is stopped.

        (The rules of an instance that is gone are leftovers of its desk, which the planner deletes.)
        """
        with contextlib.suppress(HotdeskError):  # the next command tries again
            self._migrate_shared_rule(desk.provider)
            if desk.public and desk.goal is Goal.STOPPED:
                self._close(desk)

    def close_behind_all(self, providers: Iterable[str]) -> None:
        """Replace the shared rules of an older hotdesk, for all these providers."""
        for provider in providers:
            with contextlib.suppress(HotdeskError):
                self._migrate_shared_rule(provider)

    # ---- who is let in by the cloud --------------------------------------------------------------------

    def _open(self, desk: Desk) -> tuple[str, ...]:
        """Open the desk's machine to whom its owner wants, and return the admitted ranges."""
        machine = self.clouds.patiently(desk.name, lambda: self.clouds.machine(desk))
        self._migrate_shared_rule(desk.provider)
        return self._let_in(desk, machine) if machine else ()

    def _close(self, desk: Desk) -> Instance | None:
        """Close the desk's machine to everybody, and return it."""
        machine = self.clouds.patiently(desk.name, lambda: self.clouds.machine(desk))
        self._migrate_shared_rule(desk.provider)
        provider = self._opener(desk.provider)
        if machine and provider:
            with _allowed(machine.region):
                provider.close_notebook(machine)
        return machine

    def _migrate_shared_rule(self, provider: str) -> None:
        """Replace the old shared rule with one rule per desk."""
        opener = self._opener(provider)
        regions = opener.opened_for_all() if opener else ()
        if not opener or not regions:
            return
        seen = self.clouds.survey(provider).by_desk()
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
                    pause = Wait(seconds=max(no.seconds, 2.0), why=no.message)
                self.clouds.on_wait(desk.name, pause)
                self.clock.sleep(pause.seconds)

    def _opener(self, provider: str) -> Opener | None:
        made = self.clouds.provider(provider)
        return made if isinstance(made, Opener) else None

    def _pin(self, name: str, certificate: str) -> None:
        """Save the certificate beside the desk's keys, for `curl --cacert` or a browser."""
        write_atomically(self.state / "desks" / name / "notebook-certificate.pem", certificate)
