"""Golden cases of the planner: what is wanted, seen and past go in, steps come out (tests/plans/*.toml).

A case is a table of a few lines: `desk` (goal and what differs from an ordinary one), `machine`, `disk`,
`image`, `leftover` (one or a list, with what differs), `past` (lines like "launch g1 | done | SECONDS AGO"),
`lag_seconds`, `unread`. `steps` is what must come out, each by its kind and what it is about: "wait",
"launch r1a g2", "stop i-1", "ask WORDS". A machine was started at 1000 and an image taken at 2000, by the
cloud's clock; ours reads 100000.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hotdesk.core import clouds
from hotdesk.core.clouds import Cloud
from hotdesk.core.errors import Kind
from hotdesk.core.lifecycle.history import Past
from hotdesk.core.lifecycle.plan import plan, together
from hotdesk.core.model import (
    Bound,
    Desk,
    Disk,
    EndedBy,
    Fetched,
    Goal,
    Image,
    Instance,
    Leftover,
    Market,
    Phase,
    Seen,
    Want,
)
from hotdesk.core.steps import (
    AnyStep,
    Ask,
    Bake,
    BakeOrder,
    Bring,
    Copy,
    Delete,
    Done,
    Fetch,
    Hand,
    Launch,
    LaunchOrder,
    Outcome,
    Prove,
    Refusal,
    Retype,
    Row,
    Start,
    Stop,
    Unsure,
    Verify,
    Wait,
)
from tests.sim import offers

NOW = 100_000.0
PLACES = {o.zone: o for o in offers()}
CASES = {
    f"{file.stem}: {name}": case
    for file in sorted(Path(__file__).with_name("plans").glob("*.toml"))
    for name, case in tomllib.loads(file.read_text()).items()
}


def machine(**more: Any) -> Instance:
    more = {"phase": "ready", "generation": 1, "id": "i-1", **more}
    more["phase"] = Phase(more["phase"])
    more["market"] = Market(more.get("market", "on-demand"))
    more["ended_by"] = EndedBy(more.get("ended_by", "unknown"))
    more.setdefault("name", f"made-elsewhere-{more['id']}")
    return Instance(desk="blue", provider="sim", region="r1", zone="r1a", instance_type="cpu.small",
                    **{"started_at": 1000.0, **more})  # fmt: skip


def image(**more: Any) -> Image:
    more = {"phase": "ready", "generation": 1, "id": "m-1", "verified": True, "region": "r1", **more}
    more["phase"] = Phase(more["phase"])
    if "kind" in more:
        more["kind"] = Kind(more["kind"])
    return Image(desk="blue", provider="sim",
                 **{"name": more["id"], "source_id": "i-1", "taken_at": 2000.0, **more})  # fmt: skip


def disk(**more: Any) -> Disk:
    more = {
        "phase": "ready",
        "generation": 1,
        "id": "d-1",
        "instance_id": "i-1",
        "started_at": 1000.0,
        **more,
    }
    more["phase"] = Phase(more["phase"])
    return Disk(desk="blue", provider="sim", region="r1", zone="r1a", **more)


def leftover(**more: Any) -> Leftover:
    return Leftover(provider="sim", region="r1", **{"id": "sg-1", "kind": "security group", **more})


def launch(generation: int = 1, zone: str = "r1a", image_id: str = "") -> Launch:
    order = LaunchOrder(
        desk="blue", born=1.0, generation=generation, attempt=0, offer=PLACES[zone], image_id=image_id
    )
    return Launch(order=order, why="it fits")


def bake(source_id: str = "i-1", started_at: float = 1000.0, attempt: int = 0) -> Bake:
    order = BakeOrder(
        desk="blue", born=1.0, generation=1, attempt=attempt, source_id=source_id, started_at=started_at,
        region="r1",
    )  # fmt: skip
    return Bake(order=order, why="to keep it")


def step(words: list[str]) -> tuple[AnyStep, str]:
    """The step that a line of `past` names, and the id of what it made."""
    match words:
        case ["launch", *rest]:
            return launch(int(rest[0][1:]) if rest else 1, *rest[1:]), "i-1"
        case ["bake", *rest]:
            return bake(*rest), "m-1"
        case ["start", id_]:
            return Start(id=id_, started_at=1000.0, why="w"), id_
        case ["stop", id_]:
            return Stop(id=id_, started_at=1000.0, why="w"), id_
        case ["retype", id_, for_]:
            offer, generation = PLACES["r1a"], int(for_[1:])
            return Retype(id=id_, started_at=1000.0, offer=offer, generation=generation, why="w"), id_
        case ["verify", id_]:
            return Verify(id=id_, why="w"), id_
        case ["delete", id_]:
            kind = "security group" if id_.startswith("sg-") else ""
            return Delete(id=id_, kind=kind, why="w"), id_
        case ["release", id_]:
            return Delete(id=id_, keep_disk=True, why="w"), id_
        case ["copy", id_]:
            return Copy(id=id_, region="r2", name=f"{id_}-r2", why="w"), "m-2"
        case ["prove", id_, *rest]:
            generation = int(rest[0][1:]) if rest else 1
            return Prove(id=id_, generation=generation, started_at=1000.0, why="w"), id_
    raise AssertionError(f"no such step: {words}")


def row(number: int, line: str) -> Row:
    """A line of `past`: "launch g1 | done | 500", "bake | refused throttled 60 | 10", "stop i-1 | open"."""
    what, outcome, ago, *_ = [part.strip() for part in [*line.split("|"), "1000"]]
    taken, id_ = step(what.split())
    at = NOW - float(ago)
    if outcome == "open":
        return Row(id=number, desk="blue", at=at, step=taken)
    status, *kind = outcome.split()
    ended: Outcome = {"done": Done(id=id_), "refused": Refusal(), "unknown": Unsure()}[status]
    if kind:
        seconds = float(kind[1]) if len(kind) > 1 else 600.0
        ended = Refusal(kind=Kind(kind[0]), message="the cloud said no", until=at + seconds)
    return Row(id=number, desk="blue", at=at, step=taken, ended_at=at, outcome=ended)


def told(taken: AnyStep) -> str:
    match taken:
        case Launch(order=order):
            started = f" from {order.image_id}" if order.image_id else ""
            again = f" attempt {order.attempt}" if order.attempt else ""
            return f"launch {order.offer.zone} g{order.generation}{started}{again}"
        case Bake(order=order):
            return f"bake {order.source_id}" + (f" attempt {order.attempt}" if order.attempt else "")
        case Copy(id=id_, region=region):
            return f"copy {id_} to {region}"
        case Retype(id=id_, offer=offer, generation=generation):
            return f"retype {id_} {offer.instance_type} g{generation}"
        case Delete(id=id_, keep_disk=True):
            return f"release {id_}"
        case Verify(id=id_) if id_.startswith("hotdesk-"):
            return "verify it"  # the image that the bake before it makes
        case Start(id=id_) | Stop(id=id_) | Verify(id=id_) | Delete(id=id_) | Prove(id=id_):
            return f"{type(taken).__name__.lower()} {id_}"
        case Fetch(order=order):
            return f"fetch {order.source_id} g{order.generation}{' again' * bool(order.attempt)}"
        case Bring(id=id_, image=carried):
            return f"bring {carried} to {id_}"
        case Hand(id=id_, provider=provider):
            id_ = "it" if id_.startswith("hotdesk-") else id_
            return f"hand {id_} to {provider}"
        case Ask(what=what, why=why):
            return f"ask {what} {why}"
    return "wait"


def things(case: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    found = case.get(kind, [])
    return found if isinstance(found, list) else [found]


@pytest.mark.parametrize("name", list(CASES))
def test_plan(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    for place in case.get("pooled", ["sim", "other"]):
        monkeypatch.setitem(clouds.KNOWN, place, Cloud(name=place, label=place, factory="", pooled=True))
    wanted = {"goal": "running", "since": NOW - 5000.0, "zones": list(PLACES), **case.get("desk", {})}
    goal, zones = Goal(wanted.pop("goal")), wanted.pop("zones")
    desk = Desk(
        name="blue",
        goal=goal,
        created_at=1.0,
        provider="sim",
        offers=tuple(PLACES[z] for z in zones),
        bound=Bound(provider="other", want=Want()) if wanted.pop("bound", False) else None,
        fetched=Fetched(**{"at": NOW - 60.0, **found}) if (found := wanted.pop("fetched", None)) else None,
        **wanted,
    )
    rows = [row(number, line) for number, line in enumerate(case.get("past", []), 1)]
    names = {"launch": launch().order.name, "bake": bake().order.name}
    seen = Seen(
        instances=tuple(machine(**named(m, names)) for m in things(case, "machine")),
        disks=tuple(disk(**d) for d in things(case, "disk")),
        images=tuple(image(**named(i, names)) for i in things(case, "image")),
        leftovers=tuple(leftover(**t) for t in things(case, "leftover")),
        unread=tuple(case.get("unread", ())),
        lag_seconds=case.get("lag_seconds", 0.0),
    )
    steps = plan(desk, seen, Past(rows), NOW)
    said = [told(s) for s in steps]
    wanted_steps = case["steps"]
    assert len(said) == len(wanted_steps), said
    for got, expected in zip(said, wanted_steps, strict=True):
        if expected.startswith("ask "):
            assert got.startswith("ask ")
            assert expected[4:] in got
        else:
            assert got == expected, said
    assert all(s.why for s in steps), "every step says why"


def named(thing: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """A case may say `ours = true`: the thing bears the name that this journal gave it."""
    thing = dict(thing)
    if thing.pop("ours", False):
        thing["name"] = names["bake"] if "verified" in thing or "taken_at" in thing else names["launch"]
    return thing


def test_deletions_go_one_look_apart_unless_everything_shall_go() -> None:
    """Another computer, whose look is behind, shall not see two copies gone and the third not yet there."""
    parked = Desk(name="blue", goal=Goal.PARKED, since=0.0, created_at=0.0)
    gone = msgspec.structs.replace(parked, goal=Goal.GONE)
    steps: list[AnyStep] = [Delete(id="m-1", why="w"), Delete(id="m-2", why="w"), Wait(seconds=1.0, why="w")]
    assert together(parked, Delete(id="m-1", why="w"), steps) == steps[:1]
    assert together(gone, Delete(id="m-1", why="w"), steps) == steps[:2]


@pytest.mark.parametrize("name", ["its", "another's"])
def test_a_launch_is_over_once_its_machine_was_logged_in_to_though_its_reply_was_lost(name: str) -> None:
    """`resume` within a minute of a park waited for that launch, whose machine was long deleted."""
    sent = launch()
    proven = Prove(
        id="i-1", generation=1, started_at=1000.0, name=sent.order.name if name == "its" else "else", why="w"
    )
    rows = [
        Row(id=1, desk="blue", at=NOW - 30, ended_at=NOW - 30, step=sent, outcome=Unsure()),
        Row(id=2, desk="blue", at=NOW - 20, ended_at=NOW - 20, step=proven, outcome=Done(id="i-1")),
    ]
    desk = Desk(name="blue", goal=Goal.PARKED, since=NOW - 15, created_at=1.0, provider="sim", offers=())
    assert [type(one) for one in plan(desk, Seen(), Past(rows), NOW)] == [Ask if name == "its" else Wait]


@pytest.mark.parametrize(("goal", "then"), [(Goal.GONE, []), (Goal.RUNNING, [Ask])])
def test_a_machine_that_was_logged_in_to_may_be_missing_in_a_listing_that_lags(
    goal: Goal, then: list[type[AnyStep]]
) -> None:
    """Its launch was carried out at some time between a lost reply and the login: that it is gone is not yet
    known."""
    sent, lag = launch(), 30.0
    proven = Prove(id="i-1", generation=1, started_at=NOW - 15, name=sent.order.name, why="w")
    rows = [
        Row(id=1, desk="blue", at=NOW - 40, ended_at=NOW - 40, step=sent, outcome=Unsure()),
        Row(id=2, desk="blue", at=NOW - 5, ended_at=NOW - 5, step=proven, outcome=Done(id="i-1")),
    ]
    offers = (PLACES["r1a"],)
    desk = Desk(name="blue", goal=goal, since=NOW - 50, created_at=1.0, provider="sim", offers=offers)
    assert [type(one) for one in plan(desk, Seen(lag_seconds=lag), Past(rows), NOW)] == [Wait]
    assert [type(one) for one in plan(desk, Seen(lag_seconds=lag), Past(rows), NOW + lag)] == then
