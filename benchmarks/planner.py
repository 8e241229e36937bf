"""Planner time (CPU) per tick for a thousand desks and one survey.

    PYTHONPATH=src:. python benchmarks/planner.py [DESKS]

Each desk has forty days behind it, of a launch, a login, a park and a resume. A tick with nothing to do is
what `watch` pays all day; one where every desk has a next step is the worst case. Sorting the survey and
`plan` are the planner's time; reading the journal's news is the store's.
"""

from __future__ import annotations

import sys
import time

from hotdesk.core.lifecycle.plan import plan
from hotdesk.core.model import Desk, Goal, Image, Instance, Phase, Survey
from hotdesk.core.steps import Bake, BakeOrder, Delete, Done, Launch, LaunchOrder, Prove, Stop, Verify
from hotdesk.state.store import Store
from tests.sim import offers

DAYS = 40


def main(desks: int = 1000) -> None:
    with Store(None) as store:
        rows = _desks(store, desks)
        survey = _survey(desks)
        idle = _tick(store, survey, wishes=False)
        busy = _tick(store, survey, wishes=True)
        first = _milliseconds(lambda: [store.past(desk) for desk in store.desks()])
        wanted = store.desks()
        again = _milliseconds(lambda: [store.past(desk) for desk in wanted])
    print(
        f"{desks} desks, {rows} journal rows, {len(survey.instances)} machines, {len(survey.images)} images"
    )
    print(f"planner, nothing to do        {idle:8.1f} ms per tick")
    print(f"planner, a step for each desk {busy:8.1f} ms per tick")
    print(f"journal's news, nothing new   {again:8.1f} ms per tick (with the desks' rows {first:.1f} ms)")


def _tick(store: Store, survey: Survey, wishes: bool) -> float:
    wanted = [d if not wishes else _changed(d) for d in store.desks()]
    pasts = {d.name: store.past(d) for d in wanted}

    def think() -> None:
        seen = survey.by_desk()
        for desk in wanted:
            steps = plan(desk, seen[desk.name], pasts[desk.name], 1e6)
            assert bool(steps) is wishes

    return _milliseconds(think)


def _changed(desk: Desk) -> Desk:
    from msgspec.structs import replace

    return replace(desk, goal=Goal.PARKED)


def _milliseconds(work: object, times: int = 7) -> float:
    best = float("inf")
    for _ in range(times):
        began = time.process_time()
        work()  # type: ignore[operator]
        best = min(best, time.process_time() - began)
    return best * 1000


def _desks(store: Store, desks: int) -> int:
    """Desks that have been launched, parked and resumed each day; all but the last steps are long over."""
    rows = 0
    place = offers()[0]
    for number in range(desks):
        name = f"desk-{number}"
        store.put(Desk(name=name, goal=Goal.RUNNING, since=1.0, created_at=1.0, offers=offers()))
        acts = []
        for day in range(1, DAYS + 1):
            id_ = f"i-{number}-{day}"
            order = LaunchOrder(desk=name, born=1.0, generation=day, attempt=0, offer=place)
            bake = BakeOrder(
                desk=name, born=1.0, generation=day, attempt=0, source_id=id_, started_at=day, region="r1"
            )
            acts += [
                Launch(order=order, why="w"),
                Prove(id=id_, generation=day, started_at=float(day), why="w"),
            ]
            if day < DAYS:
                acts += [
                    Stop(id=id_, started_at=float(day), why="w"), Bake(order=bake, why="w"),
                    Verify(id=f"m-{number}-{day}", why="w"), Delete(id=id_, why="w"),
                ]  # fmt: skip
        for row in store.begin([(name, act) for act in acts], 10.0):
            store.end(row, Done(id=getattr(row.step, "id", f"i-{number}")), 11.0)
            rows += 1
    return rows


def _survey(desks: int) -> Survey:
    return Survey(
        provider="sim",
        lag_seconds=30.0,
        instances=tuple(
            Instance(id=f"i-{n}-{DAYS}", name=f"n-{n}", desk=f"desk-{n}", generation=DAYS, phase=Phase.READY,
                     provider="sim", region="r1", zone="r1a", instance_type="cpu.small",
                     started_at=float(DAYS))
            for n in range(desks)
        ),
        images=tuple(
            Image(id=f"m-{n}", name=f"m-{n}", desk=f"desk-{n}", generation=DAYS - 1, phase=Phase.READY,
                  provider="sim", region="r1", verified=True, taken_at=float(DAYS - 1))
            for n in range(desks)
        ),
    )  # fmt: skip


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
