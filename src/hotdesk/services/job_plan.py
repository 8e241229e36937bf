"""A plan for a desk's job, confirmed by the desk's own cloud before anything is launched."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import HotdeskError, NotAllowed
from hotdesk.core.model import Desk, Goal, Market, MarketChoice, Offer, Want
from hotdesk.core.sizing.frontier import Answer, Choice
from hotdesk.services.goals import Goals
from hotdesk.services.planning import Candidates, PlanRequest, catalogue, plan_job

LOOKS = 12  # at the cloud, for offers that turn out to be gone or to cost more than was known
LOCAL_MINUTES = 0.2  # until a desk on this computer answers
DEARER = 1.02  # than was known: above it the plan is made again


class Plans:
    """The plan over what this desk could be: offers of its own cloud, within its limits."""

    def __init__(  # noqa: PLR0917 -- the last two are listeners
        self,
        goals: Goals,
        name: str,
        provider: str,
        request: PlanRequest,
        on_news: Callable[[Offer, Offer | None], None] = lambda offer, now: None,
        on_left_out: Callable[[Mapping[str, int]], None] = lambda reasons: None,
    ) -> None:
        """`on_news` hears of an offer that is gone (None), or costs more than was known; `on_left_out` how
        many were refused lately, by reason.
        """
        desk = goals.store.find(name)
        self.goals, self.clouds, self.name, self.provider = goals, goals.clouds, name, provider
        self.on_news, self.on_left_out = on_news, on_left_out
        self.base = desk.want if desk else goals.configured(name, provider)
        self.live = self.clouds.survey(provider).of(name).live
        local = not cloud(provider).rented and request.startup_minutes is None
        self.request = replace(request, startup_minutes=LOCAL_MINUTES) if local else request

    def verified(self, asked: str) -> tuple[Answer, Choice | None, Desk | None]:
        """The answer, its choice as the cloud confirms it, and the desk's row for it.

        None where no machine finishes the job.

        What is gone is left out, what is dearer than was known counts as such, and the plan is made again.
        """
        offers, left_out = self._candidates()
        if left_out:
            self.on_left_out(left_out)
        trouble: HotdeskError | None = None
        for _ in range(LOOKS):
            request = replace(self.request, offers=tuple(offers))
            answer = plan_job(
                request, lambda: self.goals.store, self.goals.clock.now(), simulate=False
            ).answer
            choice: Choice | None = getattr(answer, asked)
            if choice is None:
                if trouble:
                    raise trouble
                return answer, None, None
            mine, same = choice.offer, list[Offer]()
            try:
                row = self._row(mine)
            except NotAllowed as error:
                trouble = error
            else:
                same = [o for o in row.offers if _pool(o) == _pool(mine)]
                if same and min(o.usd_per_hour for o in same) <= mine.usd_per_hour * DEARER:
                    return answer, choice, row
            offers = [o for o in offers if _pool(o) != _pool(mine)] + same
            self.on_news(mine, same[0] if same else None)
        raise trouble or NotAllowed(
            f"The prices of the {LOOKS} best answers were out of date.",
            "What is known of prices is too old to plan by.",
            "hotdesk offers --refresh",
        )

    def is_there(self, offer: Offer) -> bool:
        """Whether the desk's machine is of that kind already."""
        live = self.live
        here = live and (live.instance_type, live.region, live.market)
        return here == _pool(offer)

    def _row(self, offer: Offer) -> Desk:
        if self.is_there(offer):
            return self.goals.wanted(self.name, Goal.RUNNING)
        want = self._want(offer)
        if self.live:
            return self.goals.moved(self.name, want)
        return self.goals.wanted(self.name, Goal.RUNNING, want, self.provider)

    def _want(self, offer: Offer) -> Want:
        """That offer's hardware. With a deadline spot may give way to on-demand: dearer, but in time."""
        market = MarketChoice(offer.market)
        if offer.market is Market.SPOT and self.request.deadline_hours is not None:
            market = MarketChoice.CHEAPEST
        regions = (offer.region,) if cloud(offer.provider).rented else ()
        kind = offer.instance_type
        return replace(self.base, instance_type=kind, gpu="", gpu_count=0, market=market, regions=regions)

    def _candidates(self) -> Candidates:
        loose = replace(self.base, instance_type="", gpu="", gpu_count=0, market=MarketChoice.CHEAPEST)
        if not cloud(self.provider).rented:
            kinds = [replace(loose, instance_type=kind) for kind in ("local.gpu", "local.cpu")]
            cloud_ = self.clouds.provider(self.provider)
            return Candidates([offer for kind in kinds for offer in cloud_.offers(kind)])
        told = self.request
        request = replace(
            told,
            regions=told.regions or self.base.regions,
            max_usd=self.base.usd_per_hour_max if told.max_usd is None else told.max_usd,
            provider=self.provider,
            zone=self.base.zone,
        )
        return catalogue(request, self.goals.store, self.goals.clock.now())


def _pool(offer: Offer) -> tuple[str, str, Market]:
    return offer.instance_type, offer.region, offer.market
