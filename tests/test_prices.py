"""Price histories: the figures against a slow exact reckoning, and the files that people really have.

`Exact` reckons with fractions, second by second of the step function, in the plainest way: no numpy, no
shared code. The recorded histories of 2020 are not part of the project; a made twin always runs.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotdesk.core.errors import Unknown, Usage
from hotdesk.core.spot.prices import advise, region_of
from hotdesk.market import history as engine
from hotdesk.market import history_files
from hotdesk.market.history_files import pack, read, unpack

np = pytest.importorskip("numpy", reason="price histories need numpy")

REAL = Path(__file__).parents[1].parent / "shared" / "data" / "traces" / "p2-p3-price-history-2020"
if not REAL.exists():  # a worktree lies one folder deeper
    REAL = Path(__file__).parents[2].parent / "shared" / "data" / "traces" / "p2-p3-price-history-2020"
DAY = 86400


class Exact:
    """The same questions answered slowly: a list of (price, start, end) in exact numbers."""

    def __init__(self, points: dict[int, Fraction], since: int, until: int) -> None:
        self.pieces: list[tuple[Fraction, int, int]] = []
        times = sorted(points)
        for n, time in enumerate(times):
            start, end = max(time, since), min(times[n + 1] if n + 1 < len(times) else until, until)
            if start < end:
                self.pieces.append((points[time], start, end))
        self.total = sum(end - start for _, start, end in self.pieces)

    def mean(self) -> Fraction:
        return sum((p * (end - start) for p, start, end in self.pieces), Fraction(0)) / self.total

    def share_under(self, limit: Fraction) -> Fraction:
        return Fraction(sum(end - start for p, start, end in self.pieces if p < limit), self.total)

    def quantile(self, share: Fraction) -> Fraction:
        held = 0
        for price, start, end in sorted(self.pieces):
            held += end - start
            if Fraction(held, self.total) >= share:
                return price
        raise AssertionError

    def changes(self) -> int:
        return sum(a[0] != b[0] for a, b in pairwise(self.pieces))

    def longest_above(self, limit: Fraction) -> int:
        longest = run = 0
        for price, start, end in self.pieces:
            run = run + end - start if price > limit else 0
            longest = max(longest, run)
        return longest

    def costs(self, seconds: int, starts: list[int]) -> list[float]:
        """What a job of that length costs that begins then, in $; sorted."""
        pieces = [(float(p), start, end) for p, start, end in self.pieces]
        return sorted(
            sum(p * max(0, min(end, s + seconds) - max(start, s)) for p, start, end in pieces) / 3600
            for s in starts
        )


def points_of(folder: Path, instance_type: str) -> dict[str, dict[int, Fraction]]:
    """zone -> time -> price, read by the standard library alone."""
    zones: dict[str, dict[int, Fraction]] = defaultdict(dict)
    for file in folder.rglob("*.json"):
        for row in json.loads(file.read_text())["SpotPriceHistory"]:
            if row["InstanceType"] == instance_type:
                moment = datetime.strptime(row["Timestamp"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
                zones[row["AvailabilityZone"]][int(moment.timestamp())] = Fraction(row["SpotPrice"])
    return zones


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def row(time: float, price: object, zone: str | None = "us-east-1a", **more: object) -> dict[str, object]:
    stamp = datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    found: dict[str, object] = {
        "AvailabilityZone": zone,
        "InstanceType": "p2.xlarge",
        "ProductDescription": "Linux/UNIX",
        "SpotPrice": price,
        "Timestamp": stamp,
    }
    found |= more
    return {key: value for key, value in found.items() if value is not None}


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text(json.dumps({"NextToken": "", "SpotPriceHistory": rows}))
    return path


def made(folder: Path, seed: int = 1) -> Path:
    """A twin of the recorded folder: overlapping files, rows announced again daily, one zone pinned."""
    seeded = random.Random(seed)
    rows = []
    for zone, base in (("us-east-1a", 0.36), ("us-east-1b", 0.31), ("us-east-1c", 0.28), ("us-east-1f", 0.9)):
        time, price = at("2020-01-01") + seeded.randrange(DAY), base
        while time < at("2020-03-20"):
            rows.append(row(time, f"{price:.6f}", zone))
            time += seeded.randrange(1, DAY)
            if zone != "us-east-1f" and seeded.random() < 0.7:
                price = round(min(0.95, max(0.25, price + seeded.uniform(-0.03, 0.03))), 4)
    seeded.shuffle(rows)
    folder.mkdir()
    write(folder / "p2.xlarge.json", rows[: len(rows) * 2 // 3])
    write(folder / "2020-03-05.p2.xlarge.json", rows[len(rows) // 2 :])
    return folder


def agree(folder: Path, instance_type: str, *, on_demand: str, under: str) -> set[str]:
    """Every figure of every zone is the exact one; the zones that are pinned."""
    start, end = at("2020-01-10"), at("2020-03-01")
    history = read(folder).of([instance_type])
    points = points_of(folder, instance_type)
    prices = {(instance_type, region_of(zone)): float(on_demand) for zone in points}
    zones = engine.summarise(history, start, end, under=[float(under)], on_demand=prices, hours=24)
    assert {zone.zone for zone in zones} == {z for z, p in points.items() if min(p) < end}
    assert [z.mean_usd_per_hour for z in zones] == sorted(z.mean_usd_per_hour for z in zones)
    for zone in zones:
        exact = Exact(points[zone.zone], start, end)
        assert zone.mean_usd_per_hour == pytest.approx(float(exact.mean()), rel=1e-9)
        assert zone.share_under == pytest.approx(float(exact.share_under(Fraction(under))), abs=1e-9)
        for share, expected in zip(
            zone.shares_under, (under, on_demand, Fraction(on_demand) / 3), strict=True
        ):
            limit = Fraction(share.usd_per_hour) if expected not in (under, on_demand) else Fraction(expected)
            assert share.share == pytest.approx(float(exact.share_under(limit)), abs=1e-9)
        for name, share in (("p05", "0.05"), ("p50", "0.5"), ("p95", "0.95"), ("p99", "0.99")):
            assert getattr(zone, name) == float(exact.quantile(Fraction(share))), (zone.zone, name)
        assert (zone.min, zone.max) == (
            float(min(p for p, _, _ in exact.pieces)),
            float(max(p for p, _, _ in exact.pieces)),
        )
        assert zone.changes == exact.changes()
        assert zone.changes_per_day == pytest.approx(exact.changes() / (exact.total / DAY))
        assert zone.covered_hours == pytest.approx(exact.total / 3600)
        assert zone.longest_above_hours == pytest.approx(exact.longest_above(Fraction(under)) / 3600)
        costs = exact.costs(DAY, [exact.pieces[0][1] + n * (exact.total - DAY) // 200 for n in range(201)])
        assert zone.job_usd_p50 == pytest.approx(costs[100], rel=0.01)
        assert zone.job_usd_p95 == pytest.approx(costs[190], rel=0.01)
    return {zone.zone for zone in zones if zone.pinned}


def test_figures_of_a_made_history_are_exact(tmp_path: Path) -> None:
    folder = made(tmp_path / "history")
    assert agree(folder, "p2.xlarge", on_demand="0.9", under="0.3") == {"us-east-1f"}


@pytest.mark.recorded(REAL)
@pytest.mark.parametrize(
    ("instance_type", "region", "on_demand", "under", "pinned"),
    [
        ("p2.xlarge", "us-east-1", "0.9", "0.3", {"us-east-1f"}),
        ("p2.xlarge", "us-west-2", "0.9", "0.3", set()),
        ("p2.xlarge", "eu-west-1", "0.972", "0.3", set()),
        ("p2.xlarge", "eu-central-1", "1.326", "0.4", set()),
        ("p3.2xlarge", "us-east-2", "3.06", "1", {"us-east-2c"}),
        ("p3.16xlarge", "us-west-2", "24.48", "9", set()),
    ],
)
def test_figures_of_recorded_histories_are_exact(
    instance_type: str, region: str, on_demand: str, under: str, pinned: set[str]
) -> None:
    assert agree(REAL / region, instance_type, on_demand=on_demand, under=under) == pinned


@pytest.mark.recorded(REAL)
def test_what_was_published_of_2020_is_found_again() -> None:
    """N. Virginia: all of the time above $0.30 but never above on-demand; its zone f had no market at all."""
    history = read(REAL / "us-east-1").of(["p2.xlarge"])
    zones = engine.summarise(
        history,
        *(at("2019-12-24"), at("2020-03-23")),
        under=[0.3],
        on_demand={("p2.xlarge", "us-east-1"): 0.9},
    )
    named = {zone.zone: zone for zone in zones}
    open_zones = [zone for name, zone in named.items() if name != "us-east-1f"]
    assert all(zone.share_under == 0 and zone.max < 0.9 for zone in open_zones)
    assert all(0.355 < zone.mean_usd_per_hour < 0.395 for zone in open_zones)
    assert named["us-east-1f"].pinned
    assert named["us-east-1f"].mean_usd_per_hour == pytest.approx(0.9)


def test_a_price_before_the_window_holds_into_it_and_hand_checked_figures(tmp_path: Path) -> None:
    """0.20 from day 0, 0.40 from day 2, 0.40 again on day 3, 1.00 from day 4 for 6 hours, then 0.30."""
    t0 = at("2020-01-01")
    rows = [
        row(t0, "0.20"),
        row(t0 + 2 * DAY, "0.40"),
        row(t0 + 3 * DAY, "0.40"),
        row(t0 + 4 * DAY, "1.00"),
        row(t0 + 4 * DAY + 6 * 3600, "0.30"),
    ]
    history = read(write(tmp_path / "h.json", rows))
    (zone,) = engine.summarise(
        history,
        t0 + DAY,
        t0 + 5 * DAY,
        under=[0.3, 0.4],
        on_demand={("p2.xlarge", "us-east-1"): 0.9},
        hours=6,
    )
    # one day at .20, two at .40, a quarter at 1.00, three quarters at .30: 1.475 / 4
    assert zone.mean_usd_per_hour == pytest.approx(1.475 / 4)
    assert [share.share for share in zone.shares_under] == pytest.approx([0.25, 1.75 / 4, 3.75 / 4, 0.25])
    assert zone.share_under == 0.25
    assert (zone.min, zone.p05, zone.p50, zone.p95, zone.max, zone.now) == (0.2, 0.2, 0.4, 1.0, 1.0, 0.3)
    assert zone.changes == 3
    assert zone.changes_per_day == 0.75
    assert zone.longest_above_hours == pytest.approx(54)  # .40 for two days and 1.00 for six hours
    assert not zone.pinned
    # six hours cost at least 1.20 and at most 6.00, and half of all starts lie wholly in .40 or below
    assert zone.job_usd_p50 == pytest.approx(2.4, rel=0.01)
    assert 2.4 < (zone.job_usd_p95 or 0) < 6.0


def test_before_the_first_price_nothing_is_known_and_nothing_is_counted(tmp_path: Path) -> None:
    t0 = at("2020-01-10")
    history = read(write(tmp_path / "h.json", [row(t0, "0.5"), row(t0 + DAY, "0.7")]))
    (zone,) = engine.summarise(history, t0 - 9 * DAY, t0 + 2 * DAY)
    assert zone.covered_hours == 48
    assert zone.mean_usd_per_hour == pytest.approx(0.6)
    assert engine.summarise(history, t0 - 9 * DAY, t0) == []


def test_a_job_longer_than_the_window_has_no_price(tmp_path: Path) -> None:
    t0 = at("2020-01-10")
    history = read(write(tmp_path / "h.json", [row(t0, "0.5")]))
    (zone,) = engine.summarise(history, t0, t0 + DAY, hours=25)
    assert zone.job_usd_p50 is None
    (zone,) = engine.summarise(history, t0, t0 + DAY, hours=24)
    assert zone.job_usd_p50 == pytest.approx(12)


@given(
    st.lists(
        st.tuples(st.integers(1, 400), st.integers(1, 12)),  # seconds until the next, price in cents
        min_size=1,
        max_size=60,
    ),
    st.integers(-50, 400),
    st.integers(1, 4000),
)
def test_any_history_agrees_with_the_exact_reckoning(
    steps: list[tuple[int, int]], offset: int, length: int
) -> None:
    t0 = at("2021-05-05")
    points, time = {}, t0
    for gap, cents in steps:
        points[time] = Fraction(cents, 100)
        time += gap
    since, until = t0 + offset, t0 + offset + length
    pool = engine.Pool(
        "x",
        "us-east-1a",
        np.array(sorted(points), float),
        np.array([float(points[t]) for t in sorted(points)]),
    )
    zones = engine.summarise(engine.History((pool,), {}), since, until, under=[0.06])
    exact = Exact(points, since, until)
    if not exact.total:
        assert zones == []
        return
    (zone,) = zones
    assert zone.mean_usd_per_hour == pytest.approx(float(exact.mean()))
    assert zone.share_under == pytest.approx(float(exact.share_under(Fraction(6, 100))), abs=1e-12)
    assert (zone.p05, zone.p50, zone.p95) == tuple(
        float(exact.quantile(Fraction(s))) for s in ("0.05", "0.5", "0.95")
    )
    assert zone.changes == exact.changes()
    assert zone.longest_above_hours == pytest.approx(exact.longest_above(Fraction(6, 100)) / 3600)


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from([20_000, 40_000]), st.sampled_from(["even", "spiky", "few"]))
def test_quantiles_by_bins_are_those_by_sorting(seed: int, size: int, shape: str) -> None:
    seeded = np.random.default_rng(seed)
    values = seeded.random(size)
    if shape == "spiky":
        values[: size // 1000] *= 1e6
    elif shape == "few":
        values = np.round(values, 1)
    weights = seeded.integers(1, 1000, size).astype(float)
    shares = (0.0001, 0.05, 0.5, 0.95, 0.99, 1.0)
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    expected = [values[order][np.searchsorted(reached, s * reached[-1], "left")] for s in shares]
    assert engine.weighted_quantiles(values, weights, shares) == expected


def test_the_cheapest_zone_and_how_often_it_changed(tmp_path: Path) -> None:
    """a: .30 for 4 days, then .50. b: .40 throughout. c: .20 on the second day only, else .60."""
    t0 = at("2020-01-01")
    rows = [
        row(t0, ".30", "us-east-1a"),
        row(t0 + 4 * DAY, ".50", "us-east-1a"),
        row(t0, ".40", "us-east-1b"),
        row(t0, ".60", "us-east-1c"),
        row(t0 + DAY, ".20", "us-east-1c"),
        row(t0 + 2 * DAY, ".60", "us-east-1c"),
    ]
    rows.append(row(t0 + 4 * DAY, ".40", "us-east-1b"))  # at the moment of a's change, and no change itself
    history = read(write(tmp_path / "h.json", rows))
    window = (t0, t0 + 5 * DAY)
    zones = engine.summarise(history, *window)
    (best,) = engine.cheapest(history, zones, *window)
    assert (best.zone, best.switches) == ("us-east-1a", 3)  # a c a b
    assert best.share_of_time == pytest.approx(3 / 5)
    assert best.mean_usd_per_hour == pytest.approx((3 * 0.3 + 0.2 + 0.4) / 5)


# ---- files as they come --------------------------------------------------------------------------------


def broken() -> list[dict[str, object]]:
    t0 = at("2020-01-01")
    return [
        row(t0 + DAY, "0.40"),
        row(t0, "0.20"),  # unsorted
        row(t0, "0.20"),  # twice
        row(t0 + DAY, "0.35"),  # another price at the same moment: the higher counts
        row(t0 + 2 * DAY, "0"),
        row(t0 + 2 * DAY, "-0.1"),
        row(t0 + 2 * DAY, "NaN"),
        row(t0 + 2 * DAY, "free"),
        row(t0 + 2 * DAY, "0.9", Currency="CNY"),
        row(t0 + 2 * DAY, "0.9", ProductDescription="Windows"),
        row(t0 + 2 * DAY, "0.9", zone=None),
        row(t0 + 2 * DAY, "0.9", zone=""),
    ]


def test_broken_rows_cost_themselves_and_are_counted(tmp_path: Path) -> None:
    history = read(write(tmp_path / "h.json", broken()))
    t0 = at("2020-01-01")
    (zone,) = engine.summarise(history, t0, t0 + 2 * DAY)
    assert zone.mean_usd_per_hour == pytest.approx(0.3)
    assert dict(history.dropped) == {
        "the price is zero, negative or not finite": 3,
        "the price is no number": 1,
        "the currency is CNY, not USD": 1,
        "for Windows": 1,
        "no zone": 2,
        "the same price twice": 1,
        "two prices at one moment: the lower one": 1,
    }


@pytest.mark.parametrize("kept", [0.95, 0.5, 0.2])
def test_a_file_cut_short_gives_the_rows_it_still_has(tmp_path: Path, kept: float) -> None:
    t0 = at("2020-01-01")
    path = write(tmp_path / "h.json", [row(t0 + n * 3600, f"0.{n + 10}") for n in range(50)])
    whole = path.read_text()
    path.write_text(whole[: int(len(whole) * kept)])
    history = read(path)
    assert abs(len(history.pools[0].times) - 50 * kept) < 2
    assert "cut short" in history.notes[0]


def test_rows_of_other_shapes_and_a_bare_list(tmp_path: Path) -> None:
    t0 = at("2020-01-01")
    path = tmp_path / "h.json"
    path.write_text(
        json.dumps([row(t0, 0.25), {"no": "price"}, "text", None, row(t0 + DAY, "0.35", Timestamp="x")])
    )
    history = read(path)
    assert len(history.pools[0].times) == 1
    assert history.dropped == {"not a price row": 2}
    path.write_text(json.dumps([row(t0, 0.25)]))
    assert read(path).pools[0].prices[0] == 0.25


def ways(rows: list[dict[str, object]]) -> dict[str, bytes]:
    """A history of several pages, as the tools that people have write it."""
    pages = [{"NextToken": "a", "SpotPriceHistory": rows[:7]}, {"SpotPriceHistory": rows[7:]}]
    whole = json.dumps({"SpotPriceHistory": rows}, indent=1)
    seconds = [r | {"Timestamp": at(str(r["Timestamp"])[:19])} for r in rows]
    return {
        "a row a line": "\n".join(map(json.dumps, rows)).encode(),
        "page after page": "\n".join(map(json.dumps, pages)).encode(),
        "a list of pages": json.dumps(pages).encode(),
        "UTF-8 with its mark": whole.encode("utf-8-sig"),
        "UTF-16, as PowerShell writes it": whole.encode("utf-16"),
        "times in seconds": json.dumps(seconds).encode(),
    }


@pytest.mark.parametrize("way", ways([]))
def test_each_way_of_writing_a_history_gives_all_its_rows(tmp_path: Path, way: str) -> None:
    rows = [row(at("2020-01-01") + n * 3600, f"0.{n + 10}") for n in range(20)]
    path = tmp_path / "h.json"
    path.write_bytes(ways(rows)[way])
    history = read(path)
    assert len(history.pools[0].times) == 20
    assert (history.notes, history.dropped) == ((), {})


def test_offsets_and_clock_changes_are_moments_in_utc(tmp_path: Path) -> None:
    """The night Berlin's clocks go back: 02:30 happens twice, an hour apart, and the offset tells which."""
    rows = [
        row(0, "0.2", Timestamp="2020-10-25T02:30:00+02:00"),
        row(0, "0.4", Timestamp="2020-10-25T02:30:00+01:00"),
        row(0, "0.3", Timestamp="2020-10-25T02:00:00Z"),
        row(0, "0.5", Timestamp="2020-10-25T02:30:00"),  # no offset: UTC
    ]
    history = read(write(tmp_path / "h.json", rows))
    start = at("2020-10-25T00:30:00")
    assert history.pools[0].times.tolist() == [start, start + 3600, start + 5400, start + 7200]
    (zone,) = engine.summarise(history, start, start + 9000)
    assert zone.mean_usd_per_hour == pytest.approx((0.2 * 3600 + 0.4 * 1800 + 0.3 * 1800 + 0.5 * 1800) / 9000)


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"SpotPriceHistory": []}', "\x00\xff binary"])
def test_a_file_without_prices_says_so_and_how_to_make_one(tmp_path: Path, content: str) -> None:
    path = tmp_path / "h.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(Usage) as complaint:
        read(path)
    assert "no usable price" in complaint.value.what
    assert "describe-spot-price-history" in complaint.value.fix


def test_no_file_and_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(Usage, match="cannot be read"):
        read(tmp_path / "absent.json")
    with pytest.raises(Usage, match=r"no \.json file"):
        read(tmp_path)


def test_an_unknown_type_names_the_nearest(tmp_path: Path) -> None:
    history = read(write(tmp_path / "h.json", [row(at("2020-01-01"), "0.2")]))
    with pytest.raises(Unknown) as complaint:
        history.of(["p2.xlrge"])
    assert complaint.value.fix == "hotdesk spot p2.xlarge"


@pytest.mark.parametrize(
    ("zone", "region"),
    [
        ("us-west-2a", "us-west-2"),
        ("us-west-2-lax-1a", "us-west-2"),
        ("us-gov-west-1b", "us-gov-west-1"),
        ("ap-southeast-2c", "ap-southeast-2"),
        ("cn-north-1a", "cn-north-1"),
        ("cn-hangzhou-h", "cn-hangzhou"),
        ("usw2-az1", "usw2-az1"),
    ],
)
def test_a_zone_says_its_region(zone: str, region: str) -> None:
    assert region_of(zone) == region


# ---- advice --------------------------------------------------------------------------------------------


def advice(tmp_path: Path, prices: dict[str, list[float]], on_demand: float | None = 0.9) -> str:
    t0 = at("2020-01-01")
    rows = [row(t0 + n * DAY, p, zone) for zone, days in prices.items() for n, p in enumerate(days)]
    history = read(write(tmp_path / "h.json", rows))
    window = (t0, t0 + 10 * DAY)
    known = {("p2.xlarge", "us-east-1"): on_demand} if on_demand else {}
    zones = engine.summarise(history, *window, under=[0.3], on_demand=known)
    return advise(zones, engine.cheapest(history, zones, *window), hours=24, days=10)


def test_advice_names_the_zone_its_reasons_and_the_pinned_ones(tmp_path: Path) -> None:
    said = advice(tmp_path, {"us-east-1a": [0.28] * 10, "us-east-1b": [0.4] * 10, "us-east-1f": [0.9] * 10})
    assert said.startswith("Take spot, p2.xlarge in us-east-1a: $0.28/h on average over 10 days (69 % below")
    assert "under $0.3 for 100 % of the time" in said
    assert "No spot market in us-east-1f" in said


def test_advice_against_spot_where_there_is_no_market_or_no_saving(tmp_path: Path) -> None:
    assert advice(tmp_path, {"us-east-1f": [0.9] * 10}).startswith("Take on-demand")
    assert advice(tmp_path, {"us-east-1a": [0.85] * 10}).startswith("Take on-demand: spot saves little")


def test_advice_shouts_about_prices_above_on_demand_and_never_rounds_to_all(tmp_path: Path) -> None:
    said = advice(tmp_path, {"us-east-1a": [0.2] * 9 + [9.0]})
    assert "ABOVE on-demand" in said
    said = advice(tmp_path, {"us-east-1a": [0.29] * 10}, on_demand=None)
    assert "on-demand" not in said.split("keep")[0]
    assert advise([], [], hours=1, days=1).startswith("No price is known")


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.integers(2, 6))
def test_the_cheapest_zone_agrees_with_looking_second_by_second(seed: int, count: int) -> None:
    seeded = random.Random(seed)
    pools, whole = [], []
    for number in range(count):
        times = sorted(seeded.sample(range(200), seeded.randint(1, 30)))
        prices = [seeded.randint(1, 9) / 10 for _ in times]
        pools.append(
            engine.Pool("x", f"us-east-1{chr(97 + number)}", np.array(times, float), np.array(prices))
        )
        whole.append(dict(zip(times, prices, strict=True)))
    window = (50, 200)
    history = engine.History(tuple(pools), {})
    zones = engine.summarise(history, *window)
    order = [int(ord(zone.zone[-1]) - 97) for zone in zones]  # ties go to the cheapest on average
    owners = []
    for second in range(50, 200):
        now = [
            (whole[n][max(t for t in whole[n] if t <= second)], place)
            for place, n in enumerate(order)
            if min(whole[n]) <= second
        ]
        owners += [min(now)] if now else []
    if len(zones) < 2:
        return
    (best,) = engine.cheapest(history, zones, *window)
    assert best.switches == sum(a[1] != b[1] for a, b in pairwise(owners))
    assert best.mean_usd_per_hour == pytest.approx(sum(p for p, _ in owners) / len(owners))
    assert best.share_of_time == pytest.approx(sum(place == 0 for _, place in owners) / len(owners))


def test_what_is_kept_comes_back_and_other_zones_stay(tmp_path: Path) -> None:
    t0 = at("2020-01-01")
    first = read(write(tmp_path / "a.json", [row(t0, 0.2, "us-east-1a"), row(t0, 0.3, "us-west-2a")]))
    second = read(write(tmp_path / "b.json", [row(t0, 0.2, "us-east-1a"), row(t0 + DAY, 0.4, "us-east-1a")]))
    shelf: dict[str, tuple[float, bytes]] = {}

    class Shelf:
        def cached(self, key: str) -> tuple[float, bytes] | None:
            return shelf.get(key)

        def keep(self, key: str, body: bytes, now: float) -> None:
            shelf[key] = (now, body)

    history_files.keep(Shelf(), first, 100.0)
    history_files.keep(Shelf(), second, 200.0)
    found = history_files.kept(Shelf(), ["p2.xlarge"])
    assert found is not None
    assert found[0] == 200.0
    assert {p.zone: p.prices.tolist() for p in found[1].pools} == {
        "us-east-1a": [0.2, 0.4],
        "us-west-2a": [0.3],
    }
    assert history_files.kept(Shelf(), ["p2.xlarge", "p3.2xlarge"]) is None
    for poison in (
        b"",
        b"x",
        pack(found[1].pools)[:-5],
        pack([p._replace(times=-p.times) for p in second.pools]),
    ):
        shelf["history:p2.xlarge"] = (1.0, poison)
        assert history_files.kept(Shelf(), ["p2.xlarge"]) is None
        with pytest.raises(ValueError, match=r".+"):
            unpack("p2.xlarge", poison)
