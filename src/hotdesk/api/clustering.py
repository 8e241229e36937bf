"""The façade's clusters: several machines of one desk, for its owner's own programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hotdesk.core.errors import Usage
from hotdesk.core.model import MarketChoice

if TYPE_CHECKING:
    from hotdesk.services import Services
    from hotdesk.services.clusters import ClusterRun, ClusterView, Dashboard


class Clusters:
    """`Hotdesk.clusters`: each is of one desk, by whose name it is called, and costs money until `down`.

    A cluster goes on in a process of its own. All raise `Unknown` for a desk that has none.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    def up(
        self,
        name: str,
        *,
        machines: int = 2,
        market: str = "cheapest",
        budget_usd: float | None = None,
        deadline_seconds: float | None = None,
        idle_seconds: float | None = None,
        anyway: bool = False,
        wait: bool = True,
    ) -> ClusterView:
        """Start machines from a desk's image; with `wait`, once all of them are up.

        `market` is that of a cloud's machines but the first: on-demand, spot or cheapest. If not all of them
        can be had, none is kept.
        The cluster ends by itself when it has cost `budget_usd`, after `deadline_seconds`, or when nothing
        has run on it for `idle_seconds`. Raises `Busy` where the desk has a cluster, `NeedsDecision` where it
        must be parked first, unless `anyway`, `Usage`, `Unknown`, `Missing`.
        """
        clusters = self._services.clusters
        clusters.up(
            name, machines=machines, market=_market(market), budget_usd=budget_usd,
            deadline_seconds=deadline_seconds, idle_seconds=idle_seconds, anyway=anyway,
        )  # fmt: skip
        return clusters.wait_up(name) if wait else clusters.show(name)

    def down(self, name: str) -> ClusterView:
        """End a cluster and what runs on it; once its machines are gone. Raises `Unknown`."""
        self._services.clusters.down(name)
        return self._services.clusters.show(name)

    def ls(self) -> list[ClusterView]:
        """The clusters that are not over, oldest first."""
        return self._services.clusters.ls()

    def show(self, name: str) -> ClusterView:
        """A desk's cluster, or its last one: machines, Ray's address, runs. Raises `Unknown`."""
        return self._services.clusters.show(name)

    def run(
        self,
        name: str,
        command: str | Sequence[str],
        *,
        every: bool | None = None,
        checkpoint: str = "",
        retries: int = 3,
        env: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
        folder: Path | None = None,
        push: bool = True,
        everything: bool = False,
        wait: bool = True,
    ) -> ClusterRun:
        """Run a program on the first machine, with RAY_ADDRESS set, or on `every` one at once, like torchrun.

        torchrun is told the number of machines, its rank, and where they meet; another program finds them in
        MASTER_ADDR, MASTER_PORT, NNODES and NODE_RANK. Where one of them fails, as often as `retries`, or its
        machine goes, all begin again, with what rank 0 had saved in the folder `checkpoint`. `secrets` are
        variables of this environment, whose values are in no database. Raises `Usage`, `Unknown`.
        """
        clusters = self._services.clusters
        begun = clusters.run(
            name, command, gang=every, folder=folder or Path.cwd(), push=push, everything=everything,
            checkpoint=checkpoint, retries=retries, env=env, secrets=secrets,
        )  # fmt: skip
        return clusters.wait(name, begun.number) if wait else begun

    def logs(self, name: str, number: int | None = None, *, rank: int = 0) -> str:
        """What a rank of a run has said so far: of the newest, if none is given. Raises `Unknown`."""
        return self._services.clusters.log(name, number, rank).decode("utf-8", "replace")

    def cancel(self, name: str, number: int) -> ClusterRun:
        """End a run; the machines stay. Raises `Usage` where it has ended, `Unknown`."""
        return self._services.clusters.cancel(name, number)

    def dashboard(self, name: str) -> Dashboard:
        """Ray's dashboard at this computer, through ssh.

        Raises `Missing` where the desk has no ray[default], `NeedsDecision` where its head is not up.
        """
        return self._services.clusters.dashboard(name)


def _market(text: str) -> MarketChoice:
    try:
        return MarketChoice(text)
    except ValueError:
        raise Usage(
            f"{text!r} is no market.", f"There are: {', '.join(MarketChoice)}.", "market='spot'"
        ) from None


class Clustering:
    """What `Hotdesk` does with clusters."""

    services: Services

    @property
    def clusters(self) -> Clusters:
        """Clusters of desks: `up`, `down`, `ls`, `show`, `run`, `logs`, `cancel`, `dashboard`."""
        return Clusters(self.services)
