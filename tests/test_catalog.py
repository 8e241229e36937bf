"""The catalogue and questions to it, against looking at every row; the shipped table; choosing for `up`."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime
from fnmatch import fnmatch

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotdesk.core.errors import Kind, Unknown, Usage
from hotdesk.core.matching import InstanceType, Place, Query, fits, sold_there, span_of, wish
from hotdesk.core.model import SHIPPED, Market, Offer, Scope, Want
from hotdesk.core.pricelist import Shipped, is_estimate
from hotdesk.core.spot.prices import ZonePrices
from hotdesk.core.steps import Launch, LaunchOrder, Refusal
from hotdesk.market import refresh
from hotdesk.market.catalog import Catalog, build
from hotdesk.market.gpus import relative_speed
from hotdesk.market.query import search
from hotdesk.market.ranking import rank, ranked
from hotdesk.market.refused import lately
from hotdesk.market.shipped import list_price, shipped
from hotdesk.state.store import Store

NOW = 1_790_000_000.0


def offer(name: str = "g6.xlarge", region: str = "us-west-2", zone: str = "", **more: object) -> Offer:
    words: dict[str, object] = {
        "usd_per_hour": 0.8,
        "gpu": "L4",
        "gpu_count": 1,
        "gpu_memory_gib": 22.35,
        "vcpus": 4,
        "memory_gib": 16,
        "source": "made",
    }
    return Offer(provider="aws", region=region, zone=zone, instance_type=name, **(words | more))  # type: ignore[arg-type]


def machine(o: Offer) -> InstanceType:
    shared = set(Offer.__struct_fields__) & set(InstanceType.__struct_fields__)
    return InstanceType(**{field: getattr(o, field) for field in shared})


def many(seed: int, count: int) -> list[Offer]:
    seeded = random.Random(seed)
    kinds = {"T4": 16.0, "L4": 22.35, "A100": 40.0, "": 0.0}
    shapes = {}
    for n in range(max(count // 6, 1)):
        gpu = seeded.choice(list(kinds))
        shapes[f"x{n}.large"] = {
            "gpu": gpu,
            "gpu_count": seeded.choice([0.5, 1, 4, 8]) if gpu else 0,
            "gpu_memory_gib": kinds[gpu],
            "vcpus": seeded.choice([2, 4, 8]),
            "memory_gib": seeded.choice([8, 16, 64]),
            "arch": seeded.choice(["x86_64", "arm64"]),
        }
    pools = set()
    while len(pools) < count:
        region = seeded.choice(["us-west-2", "us-east-1", "eu-west-1"])
        zone = region + seeded.choice("abc")
        pools.add((seeded.choice(list(shapes)), region, zone, seeded.choice(list(Market))))
    return [
        offer(name, region, zone, market=market, usd_per_hour=seeded.randint(1, 400) / 100, **shapes[name])
        for name, region, zone, market in sorted(pools)
    ]


def found(offers: list[Offer], query: Query, **more: object) -> list[Offer]:
    catalog = Catalog.unpack(build([offers]).pack())
    return catalog.offers(search(catalog, query, **more).rows)  # type: ignore[arg-type]


# ---- questions -----------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    seed=st.integers(0, 1000),
    gpu=st.sampled_from(["", "L4", "A100:8", "none", "T4:0.5"]),
    memory=st.sampled_from(["", "16..", "..24", "24", "30..60"]),
    gpus=st.sampled_from(["", "1..", "4..8", "..1"]),
    market=st.sampled_from(["", "on-demand", "spot"]),
    regions=st.sampled_from([(), ("us-*",), ("eu-west-1", "us-east-?")]),
    limit=st.sampled_from([None, 0.5, 2.0]),
)
def test_a_search_finds_what_looking_at_every_row_finds(
    *,
    seed: int,
    gpu: str,
    memory: str,
    gpus: str,
    market: str,
    regions: tuple[str, ...],
    limit: float | None,
) -> None:
    rows = many(seed, 120)

    def within(value: float, words: str) -> bool:
        low, high = span_of(words, "x") if words else (0.0, math.inf)
        return low <= value <= high

    def expected(o: Offer) -> bool:
        name, _, count = gpu.partition(":")
        sold_as = {22.35: 24.0}.get(o.gpu_memory_gib, o.gpu_memory_gib)
        return (
            (not gpu or (o.gpu == name if name != "none" else not o.gpu))
            and (not count or o.gpu_count == float(count))
            and (gpu in {"", "none"} or count or gpus or o.gpu_count >= 1)  # no slice unasked
            and (not memory or within(sold_as, memory))
            and within(o.gpu_count, gpus)
            and (not market or o.market == market)
            and (not regions or any(fnmatch(o.region, r) for r in regions))
            and (limit is None or o.usd_per_hour <= limit)
        )

    wanted = [o for o in rows if expected(o)]
    query = Query(
        gpu=(gpu,) if gpu else (), gpu_memory=memory, gpus=gpus, market=market, regions=regions, max_usd=limit
    )
    try:
        got = found(rows, query)
    except (Usage, Unknown):
        assert wanted == []
        return
    assert sorted(o.key for o in got) == sorted(o.key for o in wanted)
    assert [o.usd_per_hour for o in got] == sorted(o.usd_per_hour for o in got)


def test_a_card_sold_as_24_gb_counts_as_24_and_not_as_more() -> None:
    rows = [
        offer(),
        offer("g4dn.xlarge", gpu="T4", gpu_memory_gib=16.0),
        offer("g6e.xlarge", gpu="L40S", gpu_memory_gib=44.7),
    ]
    for words, models in (
        ("24..", {"L4", "L40S"}),
        ("24", {"L4"}),
        ("..24", {"L4", "T4"}),
        ("48..", {"L40S"}),
        ("16", {"T4"}),
    ):
        assert {o.gpu for o in found(rows, Query(gpu_memory=words))} == models, words


def test_names_of_gpus_as_people_write_them() -> None:
    rows = [
        offer("p4d", gpu="A100", gpu_count=8, gpu_memory_gib=40.0),
        offer("p4de", gpu="A100", gpu_count=8, gpu_memory_gib=80.0),
        offer("g7e", gpu="RTX PRO 6000", gpu_memory_gib=96.0),
        offer("g6f", gpu_count=0.125, gpu_memory_gib=2.79),
        offer("m7i", gpu="", gpu_count=0, gpu_memory_gib=0.0),
        offer("g6"),
    ]
    for words, names in {
        "a100": {"p4d", "p4de"},
        "NVIDIA A100:8": {"p4d", "p4de"},
        "A100-80GB": {"p4de"},
        "A100 40gb:8": {"p4d"},
        "rtx-pro-6000": {"g7e"},
        "L4": {"g6"},
        "L4:1": {"g6"},
        "L4:0.125": {"g6f"},
        "none": {"m7i"},
        "L4:1,A100": {"g6", "p4d", "p4de"},
    }.items():
        assert {o.instance_type for o in found(rows, Query(gpu=(words,)))} == names, words


def test_unknown_names_get_their_nearest() -> None:
    rows = [offer(), offer("p5.48xlarge", gpu="H100", region="eu-west-1")]
    for query, near in (
        (Query(gpu=("H10",)), "hotdesk offers --gpu H100"),
        (Query(gpu=("L5",)), "hotdesk offers --gpu L4"),
        (Query(regions=("us-wst-2",)), "hotdesk offers --region us-west-2"),
        (Query(types=("g6.xlrge",)), "hotdesk offers g6.xlarge"),
    ):
        with pytest.raises(Unknown) as complaint:
            found(rows, query)
        assert complaint.value.fix == near


def test_contradicting_filters_are_named_both() -> None:
    rows = [
        offer(),
        offer(
            "p5.48xlarge", gpu="H100", gpu_count=8, gpu_memory_gib=80.0, usd_per_hour=55.0, region="eu-west-1"
        ),
    ]
    for query, one, other in (
        (Query(gpu=("L4",), gpu_memory="48..", max_usd=100), "--gpu L4", "--gpu-memory 48.."),
        (Query(gpu=("H100",), max_usd=10), "--gpu H100", "--max-usd 10"),
        (Query(gpu=("H100",), regions=("us-*",)), "--gpu H100", "--region us-*"),
        (Query(gpus="8", cpus="2..4", regions=("us-*",)), "--gpus 8", "--region us-*"),
    ):
        with pytest.raises(Usage) as complaint:
            found(rows, query)
        assert complaint.value.what == f"{one} and {other} contradict each other."
        assert other not in complaint.value.fix
        assert one in complaint.value.fix
    with pytest.raises(Usage, match=r"Nothing fits --market spot\."):
        found(rows, Query(market="spot", gpu=("L4",)))


def test_three_filters_that_only_together_leave_nothing() -> None:
    rows = [
        offer("a", region="us-west-2", vcpus=4, usd_per_hour=1.0),
        offer("b", region="us-west-2", vcpus=8, usd_per_hour=2.0),
        offer("c", region="eu-west-1", vcpus=8, usd_per_hour=1.0),
    ]
    with pytest.raises(Usage) as complaint:
        found(rows, Query(regions=("us-*",), cpus="8", max_usd=1.5))
    assert complaint.value.what == "Nothing fits all of these filters."


@pytest.mark.parametrize("words", ["x", "..", "4...8", "-1", "4..8..9", "", " "])
def test_ranges_that_cannot_be_read(words: str) -> None:
    with pytest.raises(Usage, match=r"--cpus .* cannot be read"):
        span_of(words, "--cpus")
    with pytest.raises(Usage, match="fits nothing"):
        span_of("8..4", "--cpus")


def test_a_retired_type_says_what_does_its_work_today() -> None:
    with pytest.raises(Unknown) as complaint:
        found([offer()], Query(types=("p2.xlarge",)), retired=shipped().gone())
    assert complaint.value.what.startswith(
        "p2.xlarge is retired: no region offers it any more; nearest today: g4dn.xlarge"
    )
    with pytest.raises(Unknown, match="No cloud rents out a K80"):
        found([offer()], Query(gpu=("K80",)), retired=shipped().gone())


def test_orders() -> None:
    rows = [
        offer("slow", gpu="T4", gpu_memory_gib=16.0, usd_per_hour=0.5, region="eu-west-1"),
        offer("fast", gpu="H100", gpu_memory_gib=80.0, usd_per_hour=3.0),
        offer("cpu", gpu="", gpu_count=0, gpu_memory_gib=0, usd_per_hour=0.1),
    ]
    far = {"aws/us-west-2": 150.0, "aws/eu-west-1": 20.0}

    def names(sort: str) -> list[str]:
        return [o.instance_type for o in found(rows, Query(), sort=sort, latency=far, speed=relative_speed)]

    assert names("price") == ["cpu", "slow", "fast"]
    assert names("latency") == ["slow", "cpu", "fast"]
    assert names("speed") == ["fast", "slow", "cpu"]
    assert names("value") == ["fast", "slow", "cpu"]
    with pytest.raises(Usage, match="no order"):
        names("colour")


def test_what_was_refused_is_left_out_and_counted() -> None:
    rows = [offer(zone="us-west-2a"), offer(zone="us-west-2b"), offer(zone="us-west-2b", market=Market.SPOT)]
    catalog = build([rows])
    no = Refusal(kind=Kind.NO_CAPACITY)
    result = search(catalog, Query(), refused=lambda offers: {"aws/us-west-2b/g6.xlarge/on-demand": no})
    assert result.left_out == {"sold out": 1}
    assert {o.key for o in catalog.offers(result.rows)} == {rows[0].key, rows[2].key}


def test_what_a_quota_speaks_of_is_left_out_and_nothing_else() -> None:
    rows = [offer(zone=f"us-west-2{z}", market=m) for z in "ab" for m in (Market.SPOT, Market.ON_DEMAND)]
    rows += [offer("c5.large", zone="us-west-2a", market=Market.SPOT), offer(region="eu-west-1")]
    scope = Scope(provider="aws", region="us-west-2", market=Market.SPOT, types=("g*",))
    order = LaunchOrder(desk="blue", born=0.0, generation=1, attempt=1, offer=rows[0])
    catalog = build([rows])
    with Store(None) as store:
        assert lately(store, NOW) is None
        [row] = store.begin([("blue", Launch(order=order, why=""))], NOW)
        store.end(row, Refusal(kind=Kind.QUOTA, until=NOW + 60, scope=scope), NOW)
        result = search(catalog, Query(), refused=lately(store, NOW))
        assert lately(store, NOW + 61) is None
    assert result.left_out == {"over your quota": 2}
    assert {o.key for o in catalog.offers(result.rows)} == {o.key for o in rows} - {
        "aws/us-west-2a/g6.xlarge/spot",
        "aws/us-west-2b/g6.xlarge/spot",
    }


# ---- building and keeping ------------------------------------------------------------------------------


def test_the_better_source_counts_and_broken_rows_are_dropped() -> None:
    live = [
        offer(zone="us-west-2a", usd_per_hour=0.81, source="live"),
        offer(region="eu-west-1", usd_per_hour=0.9, source="live"),
    ]
    listed = [
        offer(usd_per_hour=0.7),  # the whole region: live knows its zones
        offer(region="eu-west-1", usd_per_hour=0.7),
        offer("g6.2xlarge", usd_per_hour=1.0),
        offer("bad1", usd_per_hour=0.0),
        offer("bad2", usd_per_hour=-1.0),
        offer("bad3", usd_per_hour=math.nan),
        offer("bad4", usd_per_hour=5000.0),
        offer("", usd_per_hour=1.0),
        offer("bad5", vcpus=-1),
    ]
    catalog = build([live, listed], machines=[InstanceType(provider="aws", instance_type="unpriced")])
    rows = sorted(
        (o.instance_type, o.zone or o.region, o.usd_per_hour) for o in catalog.offers(range(len(catalog)))
    )
    assert rows == [
        ("g6.2xlarge", "us-west-2", 1.0),
        ("g6.xlarge", "eu-west-1", 0.9),
        ("g6.xlarge", "us-west-2a", 0.81),
    ]
    assert sum(catalog.dropped.values()) == 6
    assert catalog.dropped["the price is zero, negative or not finite"] == 3
    assert "unpriced" in {machine.instance_type for machine in catalog.machines}


def test_packing_changes_nothing() -> None:
    rows = many(3, 200)
    rows[0] = msgspec.structs.replace(rows[0], price_time=NOW)
    catalog = build([rows], bands={"aws/us-west-2/x1.large": 3})
    again = Catalog.unpack(catalog.pack())
    everything = range(len(catalog))
    assert again.offers(everything) == catalog.offers(everything)
    assert {o.key for o in catalog.offers(everything)} == {o.key for o in rows}
    assert again.bands == catalog.bands


@settings(max_examples=200)
@given(st.integers(0, 10_000), st.integers(0, 255), st.booleans())
def test_a_poisoned_cache_is_noticed_or_harmless(place: int, byte: int, cut: bool) -> None:
    """One byte changed or the end missing: an error that is said, or a catalogue that still answers."""
    body = bytearray(build([many(1, 30)]).pack())
    place %= len(body)
    if cut:
        body = body[:place]
    else:
        body[place] = byte
    try:
        catalog = Catalog.unpack(bytes(body))
    except ValueError:
        return
    try:
        catalog.offers(search(catalog, Query(gpus="1..")).rows)
    except (Usage, Unknown):
        return


class Shelf:
    """A cache in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[float, bytes]] = {}

    def cached(self, key: str) -> tuple[float, bytes] | None:
        return self.kept.get(key)

    def keep(self, key: str, body: bytes, now: float) -> None:
        self.kept[key] = (now, body)


def test_a_damaged_cache_is_said_and_the_shipped_table_answers() -> None:
    shelf = Shelf()
    shelf.keep(refresh.KEY, b"\x93garbage", NOW)
    known = refresh.known(shelf)
    assert "damaged" in known.notes[0]
    assert known.is_old(NOW)
    assert len(known.catalog) > 200


# ---- the shipped table ---------------------------------------------------------------------------------


def test_the_shipped_table_names_its_date_and_the_source_of_every_price() -> None:
    table = shipped()
    rows = list(table.offers())
    listed = [o for o in rows if o.market is Market.ON_DEMAND]
    assert len(listed) > 2000
    assert len({o.region for o in listed}) > 30
    assert not [o.region for o in rows if o.region.startswith(("us-gov", "cn-"))], "not with this account"
    assert all(o.source.startswith("shipped table") and o.price_time for o in rows)
    assert all(table.as_of in o.source for o in listed)
    assert all(o.price_time and o.price_time <= table.time for o in rows), (
        "no price is younger than the table"
    )
    assert {is_estimate(o.source) for o in listed} == {True, False}
    usual = {(o.instance_type, o.region): o.usd_per_hour for o in listed}
    spot = [o for o in rows if o.market is Market.SPOT]
    assert len(spot) > 100
    for o in spot:
        saving, _ = table.advice.saving_percent_and_band[o.region][o.instance_type]
        listed_usd = usual[o.instance_type, o.region]
        assert o.usd_per_hour == pytest.approx(listed_usd * (1 - saving / 100), abs=1e-4), o
        assert is_estimate(o.source)
    catalog = build([rows], machines=table.machines())
    assert catalog.dropped == {}
    assert len(catalog) == len(rows)  # no pool twice


def test_a_price_of_the_shipped_table_has_its_own_day() -> None:
    """From AWS's price list of 20 July 2026, and from an older one."""
    july, february = (datetime(2026, month, day, tzinfo=UTC).timestamp() for month, day in ((7, 20), (2, 1)))
    assert list_price("us-east-1", "g6f.large") == Shipped(0.202, july)
    assert list_price("us-west-2", "p4d.24xlarge") == Shipped(21.95764, february)
    scaled = list_price("eu-west-1", "m8g.4xlarge")
    assert scaled is not None
    assert scaled[1:3] == (february, f"{SHIPPED}, estimated")
    assert list_price("us-east-1", "no.type") is None


def test_every_type_without_a_price_says_why_or_can_be_asked_about() -> None:
    table = shipped()
    kinds = {kind.instance_type: kind for kind in table.machines()}
    priced = set(table.listed.usd_per_hour)
    assert priced <= set(kinds), "a price of a type that nobody knows"
    assert table.unpriced().keys() == {
        "p5e.48xlarge", "p6e-gb200.36xlarge", "trn2.3xlarge", "trn2.48xlarge", "trn2u.48xlarge",
    }  # fmt: skip
    assert not [name for name, kind in kinds.items() if kind.gpu and kind.accelerator]
    assert all(kind.accelerator for name, kind in kinds.items() if name.startswith(("trn", "inf")))


def test_the_shipped_table_is_right_about_machines() -> None:
    named = {machine.instance_type: machine for machine in shipped().machines()}
    assert (named["g6f.large"].gpu, named["g6f.large"].gpu_count) == ("L4", 0.125)
    assert (named["p5.48xlarge"].gpu, named["p5.48xlarge"].gpu_count) == ("H100", 8)
    assert named["g5g.xlarge"].arch == "arm64"
    assert named["t3.xlarge"].burstable
    assert not named["m7i.xlarge"].burstable
    for retired, row in shipped().gone().items():
        assert retired not in named
        assert row.nearest
        assert all(name in named for name in row.nearest)


def test_on_demand_of_today_and_of_then() -> None:
    prices = shipped().on_demand_prices(["g5.xlarge", "p2.xlarge", "p3.2xlarge"])
    assert prices["g5.xlarge", "us-east-1"] == 1.006
    assert prices["p2.xlarge", "us-east-1"] == 0.9
    assert prices["p3.2xlarge", "us-east-2"] == 3.06


def test_speed_grows_with_the_hardware() -> None:
    named = {machine.instance_type: machine for machine in shipped().machines()}
    assert relative_speed(named["g4dn.xlarge"]) == 1.0
    assert relative_speed(named["g4dn.12xlarge"]) == 4.0
    assert relative_speed(named["m7i.xlarge"]) == 0.0
    speeds = [
        relative_speed(named[n])
        for n in ("g6f.large", "g6.xlarge", "g6e.xlarge", "p5.4xlarge", "p4d.24xlarge", "p5.48xlarge")
    ]
    assert speeds == sorted(speeds)
    # 80 GB has the faster memory
    assert relative_speed(named["p4de.24xlarge"]) > relative_speed(named["p4d.24xlarge"])


# ---- choosing ------------------------------------------------------------------------------------------


def fitting(want: Want, rows: list[Offer]) -> list[Offer]:
    asked = wish(msgspec.structs.replace(want, usd_per_hour_max=None))
    return [
        o
        for o in rows
        if fits(asked, machine(o)) and sold_there(asked, Place(o.provider, o.region, o.zone), o.market)
    ]


def zone_prices(zone: str, price: float, pinned: bool = False) -> ZonePrices:
    return ZonePrices(
        zone=zone, region=zone[:-1], instance_type="g6.xlarge", mean_usd_per_hour=price, min=price, p05=price,
        p50=price, p95=price, p99=price, max=price, now=price, share_under=1.0, shares_under=(),
        longest_above_hours=0.0, changes=0, changes_per_day=0.0, pinned=pinned, on_demand_usd_per_hour=0.8,
        covered_hours=720.0, job_usd_p50=None, job_usd_p95=None,
    )  # fmt: skip


def test_the_choice_gives_its_reasons() -> None:
    spot = offer(zone="us-west-2b", market=Market.SPOT, usd_per_hour=0.34)
    rows = [
        offer(zone="us-west-2b"),
        spot,
        offer(zone="us-east-1a", region="us-east-1", market=Market.SPOT, usd_per_hour=0.33),
    ]
    choice = rank(
        Want(gpu="L4"),
        fitting(Want(gpu="L4"), rows),
        latency={"aws/us-west-2": 40.0, "aws/us-east-1": 140.0},
        history=[zone_prices("us-west-2b", 0.341)],
        bands={("us-west-2", "g6.xlarge"): 2},
    )
    assert choice.best is not None
    assert choice.best.key == spot.key
    assert choice.best.why == (
        "g6.xlarge in us-west-2b: cheapest L4 within 80 ms of you, 57 % below on-demand, "
        "under $0.35 for 95 % of 30 days, 10 to 15 % of such machines are interrupted in a month"
    )
    assert [o.zone for o in choice.next_best] == ["us-east-1a", "us-west-2b"]
    assert "140 ms away" in choice.next_best[0].why


def test_the_choice_leaves_out_with_a_reason() -> None:
    rows = [
        offer(zone="us-west-2a", market=Market.SPOT, usd_per_hour=0.3),
        offer(zone="us-west-2b", market=Market.SPOT, usd_per_hour=0.8),
        offer(zone="us-west-2c", usd_per_hour=1.5),
        offer("g6f.large", zone="us-west-2c", gpu_count=0.125, usd_per_hour=0.1),
        offer(zone="us-west-2d"),
    ]
    choice = rank(
        Want(gpu="L4", usd_per_hour_max=1.0),
        fitting(Want(gpu="L4", usd_per_hour_max=1.0), rows),
        history=[zone_prices("us-west-2b", 0.8, pinned=True)],
        refused={rows[0].key: "sold out"},
    )
    assert [o.zone for o in choice.offers] == ["us-west-2d"]
    assert choice.left_out == {"sold out": 1, "no spot market there": 1, "above $1/h": 1}
    nothing = rank(Want(gpu="H100"), fitting(Want(gpu="H100"), rows))
    assert (nothing.best, nothing.next_best) == (None, ())


@given(
    st.integers(0, 500),
    st.sampled_from(["on-demand", "spot", "cheapest"]),
    st.sampled_from(["L4", "none", "T4"]),
)
@settings(max_examples=40)
def test_the_choice_fits_and_nothing_cheaper_is_left(seed: int, market: str, gpu: str) -> None:
    rows = many(seed, 60)
    choice = rank(Want(gpu=gpu, market=market), fitting(Want(gpu=gpu, market=market), rows), kept=5)
    expected = [
        o.usd_per_hour
        for o in rows
        if (o.gpu == gpu and o.gpu_count >= 1 if gpu != "none" else not o.gpu)
        and market in {"cheapest", o.market}
    ]
    assert [o.usd_per_hour for o in choice.offers] == sorted(expected)[:5]
    assert all(o.why for o in choice.offers)


def test_a_providers_offers_are_ranked_by_what_is_known_here() -> None:
    """The near region wins though the far one is a little cheaper."""
    shelf = Shelf()
    rows = [
        offer(zone="us-east-1a", region="us-east-1", usd_per_hour=0.75),
        offer(zone="us-west-2a"),
    ]
    assert [o.key for o in ranked(Want(gpu="L4"), rows, shelf, NOW)] == [rows[0].key, rows[1].key]
    shelf.keep("latency", b'{"aws/us-west-2": 20.0, "aws/us-east-1": 150.0}', NOW)
    near, far = ranked(Want(gpu="L4"), rows, shelf, NOW)
    assert (near.key, far.key) == (rows[1].key, rows[0].key)
    assert near.why == "g6.xlarge in us-west-2a: cheapest L4 within 80 ms of you, no interruption risk"
    assert far.why == "g6.xlarge in us-east-1a: $0.05/h less, 150 ms away, no interruption risk"


def test_a_region_that_did_not_answer_counts_as_far() -> None:
    rows = [offer(zone="us-east-1a", region="us-east-1", usd_per_hour=0.75), offer(zone="us-west-2a")]
    choice = rank(Want(gpu="L4"), fitting(Want(gpu="L4"), rows), latency={"aws/us-west-2": 20.0})
    assert [o.region for o in choice.offers] == ["us-west-2", "us-east-1"]
    assert [o.region for o in rank(Want(gpu="L4"), fitting(Want(gpu="L4"), rows)).offers] == [
        "us-east-1",
        "us-west-2",
    ]


def test_a_type_that_is_asked_for_as_a_gpu_is_called_a_type() -> None:
    with pytest.raises(Unknown) as raised:
        search(shipped().catalog(), Query(gpu=("trn2.48xlarge",)))
    assert raised.value.what == "trn2.48xlarge is an instance type, not a GPU."
    assert raised.value.fix == "hotdesk offers trn2.48xlarge"
