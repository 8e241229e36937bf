"""The questions of the façade that no desk is needed for: speed, cost, and what can be had."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotdesk.core.matching import Query
    from hotdesk.core.model import Offer
    from hotdesk.core.spot.policy import Terms
    from hotdesk.market.latency import Latency
    from hotdesk.services import Services
    from hotdesk.services.choosing import SpotPrices, SpotQuery
    from hotdesk.services.planning import PlanAnswer, PlanRequest
    from hotdesk.services.predicting import Predicted, PredictRequest
    from hotdesk.simulate.study import Study


class Questions:
    """What `Hotdesk` answers without changing anything."""

    services: Services

    # ---- speed and cost --------------------------------------------------------------------------------

    def plan(self, request: PlanRequest) -> PlanAnswer:
        """What finishing a job costs (US dollars) and how long it takes (hours), on 1 machine or on many.

        Over the offers that this computer knows, or those of the request. Raises `Usage` for what is missing
        or cannot be, `Unknown` for a GPU or type that there is not. Nothing is launched.
        """
        from hotdesk.services.planning import plan_job

        services = self.services
        return plan_job(request, lambda: services.store, services.clock.now(), money=services.config.money)

    def predict(self, request: PredictRequest) -> Predicted:
        """How fast a job runs on GPUs where it never ran, in items a second, with the band of 9 of 10.

        Raises `Usage` for what is missing or impossible, `Unknown` for a GPU without facts.
        """
        from hotdesk.services.predicting import predict

        return predict(request)

    def simulate(
        self,
        traces: Path,
        terms: Terms,
        *,
        policy: str = "semi-markov",
        together: bool = False,
        windows: str = "100",
        budget_usd: float | None = None,
        history: Path | None = None,
        nodes: int = 1,
        checkpoint_gib: float = 0.0,
        egress_usd_per_gib: float = 0.02,
        blind: bool = False,
        changeover_spread: float = 0.0,
        on_demand_refused: float = 0.0,
    ) -> Study:
        """What a policy would have cost over recorded traces, against on-demand and the omniscient optimum.

        `terms`: work, deadline and changeover in seconds, prices in US dollars an hour. `together`: all
        traces of a kind are zones of one run. `windows`: when runs begin, a number spread evenly or a file
        of ticks. `budget_usd`: expected of a run; the earliest deadline that it pays for replaces that of
        `terms`. `history`: a price history of the zones, from the traces' first tick on. `nodes`: instances
        needed at once. `checkpoint_gib` moves with a job to another region, at `egress_usd_per_gib`.
        `blind`: a run knows only what it met itself. `changeover_spread`: how much starts differ, a standard
        deviation as a share of the changeover. `on_demand_refused`: the share of the time in which on-demand
        is sold out. Raises `Missing` without numpy, `Unknown` or `Damaged` for traces that cannot be used.
        """
        from hotdesk.services.simulating import simulate

        return simulate(
            traces,
            terms,
            policy=policy,
            together=together,
            windows=windows,
            budget_usd=budget_usd,
            history=history,
            nodes=nodes,
            checkpoint_gib=checkpoint_gib,
            egress_usd_per_gib=egress_usd_per_gib,
            blind=blind,
            changeover_spread=changeover_spread,
            on_demand_refused=on_demand_refused,
        ).study

    # ---- choosing --------------------------------------------------------------------------------------

    def offers(
        self,
        query: Query | None = None,
        *,
        sort: str = "price",
        everything: bool = False,
        refresh: bool = False,
        offline: bool = False,
    ) -> list[Offer]:
        """What can be had, by "price", "latency", "speed" or "value"; prices in US dollars an hour.

        `everything`: also what was refused lately; `refresh` asks every source now, `offline` none. Raises
        `Unknown` for a type, GPU or region that there is not, naming the nearest.
        """
        from hotdesk.core.matching import Query

        found = self.services.choosing.offers(
            query or Query(), sort=sort, everything=everything, refresh=refresh, offline=offline
        )
        return found.offers()

    def regions(self, *only: str, samples: int = 7, limit_seconds: float = 1.8) -> list[Latency]:
        """How far each region is from here: the median of several TCP connects, in milliseconds.

        `only`: these regions, also as "eu-*". Raises `Unknown` for one that there is not.
        """
        return self.services.choosing.regions(only, samples=samples, limit_seconds=limit_seconds)

    def spot(self, query: SpotQuery) -> SpotPrices:
        """What spot has cost, zone by zone, weighted by time, in US dollars an hour; and advice.

        Raises `Usage` for an empty window, `Unknown` for what is neither a type nor a GPU, `Unreachable` or
        `Missing` where nothing is known.
        """
        return self.services.choosing.spot(query)[0]
