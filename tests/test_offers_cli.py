"""hotdesk offers: with nothing, with a cache, with a web server that misbehaves, with an account."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from fake_ec2.process import FakeEc2
from hotdesk.cli.main import run as run_here
from hotdesk.cli.ui import render
from hotdesk.cli.ui.offer_table import SPARED
from hotdesk.cli.ui.render import fitted
from hotdesk.cli.ui.terminal import speaks_json
from hotdesk.core.errors import Kind, Unreachable
from hotdesk.core.lifecycle.history import Past
from hotdesk.core.model import Market, Offer, Scope
from hotdesk.core.steps import Launch, LaunchOrder, Refusal
from hotdesk.market import refresh
from hotdesk.market.catalog import build
from hotdesk.providers.aws.spot_advisor import fetch, read_advice
from hotdesk.state.store import Store
from tests import forked
from tests.market_server import ADVICE, Server

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
KEYS = [
    *("provider", "region", "zone", "instance_type", "gpu", "gpu_count", "gpu_memory_gib", "vcpus"),
    *("memory_gib", "market", "usd_per_hour", "latency_ms", "price_time", "source"),
]


def online(state: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return hotdesk(state, "offers", *words, **env)


def hotdesk(state: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`hotdesk` as a process with nothing of this computer's accounts and settings."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "HOTDESK_"))}
    named = {"HOTDESK_STATE": str(state), "HOME": str(state), "NO_COLOR": "1"}
    return forked.run(words, inherited | named | env, cwd=str(ROOT), timeout=300)


def run(state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return online(state, *words, HOTDESK_OFFLINE="1")


def rows(state: Path, *words: str) -> list[dict[str, Any]]:
    done = run(state, *words, "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as serving:
        yield serving


# ---- with neither account nor network ------------------------------------------------------------------


def test_the_shipped_table_answers_with_every_promised_field(tmp_path: Path) -> None:
    found = rows(tmp_path, "--gpu", "L4", "--gpus", "..8", "--market", "on-demand", "--region", "us-*")
    assert found
    for row in found:
        assert list(row)[: len(KEYS)] == KEYS
        assert row["gpu"] == "L4"
        assert row["region"].startswith("us-")
        assert row["market"] == "on-demand"
        assert row["usd_per_hour"] > 0
        assert row["price_time"].endswith("Z")
        assert "shipped table of" in row["source"]
        assert (row["currency"], row["billing"]) == ("USD", "per second, 60 s minimum")
    assert [row["usd_per_hour"] for row in found] == sorted(row["usd_per_hour"] for row in found)
    assert {row["gpu_count"] for row in found} >= {0.125, 1, 4, 8}


def test_the_table_says_its_units_its_sources_and_what_is_left_out(tmp_path: Path) -> None:
    done = run(tmp_path, "--gpu-memory", "16..", "--limit", "5")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert (
        " ".join(lines[0].split())
        == "TYPE GPU GPU GIB VCPU GIB ON-DEMAND $/H SPOT $/H SAVING WHERE MS TAKEN AGE"
    )
    assert "more lines; --limit 0 shows all." in done.stdout
    assert "Prices in USD an hour, billed per second, 60 s minimum." in done.stdout
    assert "shipped table of 2026-11-29: AWS list prices of 2026-0" in done.stdout
    assert "~ estimated" in done.stdout


def test_a_narrow_table_says_what_it_leaves_out_and_explains_no_column_that_is_not_there(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOTDESK_OFFLINE", "1")
    monkeypatch.setattr(render, "columns", lambda stream=None: 80)
    words = ["offers", "--gpu", "L4", "--limit", "5"]
    assert run_here([*words, "--json"]) == 0
    capsys.readouterr()
    assert not speaks_json()  # whatever is printed next in this process
    assert run_here(words) == 0  # for a person again, after an answer for a program
    shown = capsys.readouterr().out
    assert "The terminal is too narrow for: GPU GIB; SAVING; TAKEN." in shown
    assert "TAKEN: the share" not in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_slices_and_burstable_machines_are_marked(tmp_path: Path) -> None:
    assert "1/8 L4" in run(tmp_path, "g6f.large").stdout
    assert "4 x L4" in run(tmp_path, "g6.12xlarge").stdout
    done = run(tmp_path, "t3.xlarge")
    assert "4*" in done.stdout
    assert "burstable" in done.stdout


def test_a_price_that_is_known_is_shown_whatever_was_asked_for(tmp_path: Path) -> None:
    """On-demand stands beside spot to compare with, also where spot was asked for or it is too dear."""
    words = ("g6.xlarge", "--region", "us-east-2")
    both = run(tmp_path, *words).stdout.splitlines()[1].split()
    assert "-" not in both[:7]
    for more in (("--market", "spot"), ("--max-usd", "0.5")):
        assert run(tmp_path, *words, *more).stdout.splitlines()[1].split() == both


def test_a_retired_type_is_answered_with_what_is_nearest_today(tmp_path: Path) -> None:
    done = run(tmp_path, "p2.xlarge", "--json")
    assert done.returncode == 0
    assert "p2.xlarge is retired: no region offers it any more; nearest today: g4dn.xlarge" in done.stderr
    assert {row["instance_type"] for row in json.loads(done.stdout)} == {"g4dn.xlarge", "g6.xlarge"}


@pytest.mark.parametrize(
    ("asked", "what", "why"),
    [
        ("p5e.48xlarge", "No price of p5e.48xlarge is known here.", "sold as capacity blocks and on spot"),
        ("trn2.48xlarge", "No price of trn2.48xlarge is known here.", "16 x Trainium2"),
        ("p6e-gb200.36xlarge", "No price of p6e-gb200.36xlarge is known here.", "UltraServers"),
        ("--gpu GB200", "No price of --gpu GB200 is known here.", "4 x GB200"),
        ("inf1.xlarge", "No price of inf1.xlarge is known here.", "an account tells it"),
        ("--gpu Trainium", "Trainium is not an NVIDIA GPU.", "trn1.2xlarge"),
        ("dl1.24xlarge", "hotdesk does not cover dl1.24xlarge.", "Gaudi"),
    ],
)
def test_what_has_no_price_says_why_and_leads_to_what_has_one(
    tmp_path: Path, asked: str, what: str, why: str
) -> None:
    done = run(tmp_path, *asked.split())
    assert done.returncode == 4
    assert what in done.stderr
    assert why in done.stderr
    fix = done.stderr.partition("fix: ")[2].partition("#")[0].split()
    assert fix[:2] == ["hotdesk", "offers"]
    assert rows(tmp_path, *fix[2:]), fix


def test_a_type_without_a_price_is_listed_beside_those_that_have_one(tmp_path: Path) -> None:
    done = run(tmp_path, "--gpu", "H200")
    assert done.returncode == 0
    assert "p5en.48xlarge" in done.stdout
    assert "p5e.48xlarge (8 x H200 of 141 GiB, 192 vCPUs, 2048 GiB) has no price: sold as" in done.stdout


def test_other_accelerators_are_shown_as_what_they_are(tmp_path: Path) -> None:
    done = run(tmp_path, "inf2.48xlarge", "trn1.2xlarge")
    assert "12 x Inferentia2" in done.stdout
    assert "Accelerators that are no NVIDIA GPUs need another driver" in done.stdout
    [row, *_] = rows(tmp_path, "trn1.32xlarge")
    assert (row["gpu"], row["gpu_count"]) == ("", 0)
    assert (row["accelerator"], row["accelerator_count"]) == ("Trainium", 16)
    assert not [r for r in rows(tmp_path, "--gpu", "none") if r["accelerator"]]


def test_an_estimated_price_is_marked(tmp_path: Path) -> None:
    found = rows(tmp_path, "g7e.12xlarge", "m8g.4xlarge", "--market", "on-demand")
    assert {row["estimated"] for row in found} == {True, False}
    table = run(tmp_path, "m8g.4xlarge", "--region", "eu-west-1").stdout
    usd = next(row["usd_per_hour"] for row in rows(tmp_path, "m8g.4xlarge", "--region", "eu-west-1"))
    assert f"~{usd:.3f}" in table
    assert "~ estimated" in table


def test_csv_has_the_same_rows_as_json(tmp_path: Path) -> None:
    done = run(tmp_path, "--gpu", "T4", "--csv")
    table = list(csv.DictReader(io.StringIO(done.stdout)))
    found = rows(tmp_path, "--gpu", "T4")
    assert [(r["instance_type"], r["region"], float(r["price_per_hour"])) for r in table] == [
        (r["instance_type"], r["region"], r["price_per_hour"]) for r in found
    ]


def test_wide_has_a_line_for_each_market(tmp_path: Path) -> None:
    lines = run(tmp_path, "g6.xlarge", "--wide", "--region", "us-west-2").stdout.splitlines()
    assert {line.split()[6] for line in lines[1:3]} == {"spot", "on-demand"}


@pytest.mark.parametrize(
    ("words", "code", "what", "fix"),
    [
        (["--gpu", "L5"], 4, "There is no GPU 'L5'.", "hotdesk offers --gpu L4"),
        (["--region", "us-wst-2"], 4, "no offer in a region 'us-wst-2'", "--region us-west-2"),
        (["g6.xlrge"], 4, "There is no instance type 'g6.xlrge'.", "hotdesk offers g6.xlarge"),
        (
            ["--gpu", "L4", "--gpu-memory", "48.."],
            2,
            "--gpu L4 and --gpu-memory 48.. contradict each other.",
            "--gpu L4",
        ),
        (["--gpu", "A100:8", "--gpus", "1..4"], 2, "--gpu A100:8 and --gpus 1..4 contradict", "--gpu A100:8"),
        (["--max-usd", "0.0001"], 2, "Nothing fits --max-usd 0.0001.", "hotdesk offers"),
        (["--cpus", "many"], 2, "--cpus 'many' cannot be read.", "--cpus 4..16"),
        (["--gpu", "A100:x"], 2, "'A100:x' is not a GPU.", "--gpu A100:2"),
    ],
)
def test_bad_words_get_what_why_and_what_to_do(
    tmp_path: Path, words: list[str], code: int, what: str, fix: str
) -> None:
    done = run(tmp_path, *words)
    assert done.returncode == code
    assert what in done.stderr
    assert fix in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_no_network_is_one_line_and_is_not_tried_again_at_once(tmp_path: Path) -> None:
    env = {"HOTDESK_ADVISOR_URL": "http://127.0.0.1:9/nothing.json"}
    first = online(tmp_path, "--gpu", "L4", **env)
    assert first.returncode == 0
    assert "The public spot advisor gave nothing" in first.stderr
    assert "g6.xlarge" in first.stdout
    assert online(tmp_path, "--gpu", "L4", **env).stderr == ""


# ---- with a cache --------------------------------------------------------------------------------------


def made(region: str = "us-west-2", zone: str = "us-west-2a", **more: Any) -> Offer:
    words: dict[str, Any] = {
        "instance_type": "g6.xlarge",
        "usd_per_hour": 0.5,
        "gpu": "L4",
        "gpu_count": 1,
        "gpu_memory_gib": 22.35,
        "vcpus": 4,
    }
    return Offer(provider="aws", region=region, zone=zone, **(words | more))


def test_a_poisoned_cache_is_one_line_and_the_rest_works(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.keep(refresh.KEY, b"poison", time.time())
        store.keep("latency", b"poison", time.time())
    done = run(tmp_path, "--gpu", "L4")
    assert done.returncode == 0
    assert "The cached prices were damaged" in done.stderr
    assert "g6.xlarge" in done.stdout


def test_a_state_file_that_cannot_be_read_is_one_line_and_the_rest_works(tmp_path: Path) -> None:
    (tmp_path / "hotdesk.db").write_bytes(b"this is no database, whatever its name says" * 100)
    done = run(tmp_path, "--gpu", "L4")
    assert done.returncode == 0
    assert "Going on without what was cached." in done.stderr
    assert "g6.xlarge" in done.stdout


def test_what_was_refused_is_left_out_and_counted(tmp_path: Path) -> None:
    """Two zones were sold out a minute ago, one an hour ago: its refusal is no longer believed."""
    offers = [
        made(zone=f"us-west-2{z}", market=Market.SPOT, source="DescribeSpotPriceHistory") for z in "abcd"
    ]
    now = time.time()
    with Store(tmp_path) as store:
        store.keep(refresh.KEY, build([offers]).pack(), now)
        for offer, until in zip(offers[:3], (now + 500, now + 500, now - 3000), strict=True):
            order = LaunchOrder(desk="blue", born=0.0, generation=1, attempt=1, offer=offer)
            (row,) = store.begin([("blue", Launch(order=order, why="test"))], now - 60)
            store.end(row, Refusal(kind=Kind.NO_CAPACITY, message="sold out", until=until), now)
    done = run(tmp_path, "--gpu", "L4")
    assert "Left out: 2 sold out. --all shows them." in done.stdout
    assert {row["zone"] for row in rows(tmp_path)} == {"us-west-2c", "us-west-2d"}
    assert len(rows(tmp_path, "--all")) == 4


def test_what_a_refusal_speaks_of_is_left_out_as_a_launch_would_skip_it(tmp_path: Path) -> None:
    """A quota of the region's G machines on spot, and a deny of one type in another region."""
    small, large = {"instance_type": "g6.xlarge"}, {"instance_type": "g6.2xlarge"}
    spot = [made(zone=f"us-west-2{z}", market=Market.SPOT, **t) for t in (small, large) for z in "ab"]
    kept = [made(**small), made("eu-west-1", "eu-west-1a", **large)]
    denied = [made("eu-west-1", f"eu-west-1{z}", **small) for z in "ab"]
    aws = Scope(provider="aws")
    quota = replace(aws, region="us-west-2", market=Market.SPOT, types=("g*", "vt*"))
    deny = replace(aws, region="eu-west-1", types=("g6.xlarge",))
    now = time.time()
    past = Past()
    with Store(tmp_path) as store:
        store.keep(refresh.KEY, build([[*spot, *kept, *denied]]).pack(), now)
        for offer, kind, scope in ((spot[0], Kind.QUOTA, quota), (denied[0], Kind.DENIED, deny)):
            order = LaunchOrder(desk="blue", born=0.0, generation=1, attempt=1, offer=offer)
            (row,) = store.begin([("blue", Launch(order=order, why="test"))], now - 60)
            past.add(store.end(row, Refusal(kind=kind, message="no", until=now + 500, scope=scope), now))
    done = run(tmp_path, "--gpu", "L4")
    assert "Left out: 4 over your quota, 2 not permitted." in done.stdout
    told = {(row["instance_type"], row["region"], row["market"]) for row in rows(tmp_path)}
    assert told == {("g6.xlarge", "us-west-2", "on-demand"), ("g6.2xlarge", "eu-west-1", "on-demand")}
    would_try = [o for o in [*spot, *kept, *denied] if not past.refusal(o, now)]
    assert told == {(o.instance_type, o.region, o.market) for o in would_try}
    assert len(rows(tmp_path, "--all")) == 8
    words = ["plan", "--items", "25000", "--from", "L4=400", "--gpu", "L4", "--json"]
    planned = hotdesk(tmp_path, *words, HOTDESK_OFFLINE="1")
    document = json.loads(planned.stdout)
    assert document["left_out"] == {"over your quota": 4, "not permitted": 2}
    assert "left out: 4 over your quota, 2 not permitted" in planned.stderr
    assert {c["offer"]["market"] for c in [*document["plans"], *document["lost"]]} == {"on-demand"}


# ---- with a public file --------------------------------------------------------------------------------


def test_the_public_file_gives_bands_and_estimates_and_is_fetched_once(
    tmp_path: Path, server: Server
) -> None:
    env = {"HOTDESK_ADVISOR_URL": server.url}
    done = online(tmp_path, "g6.xlarge", "--region", "us-west-2", "--json", **env)
    (spot,) = [row for row in json.loads(done.stdout) if row["market"] == "spot"]
    assert spot["interruption_band"] == "5-10%"
    assert spot["usd_per_hour"] == pytest.approx(0.8048 / 2, abs=1e-4)
    assert "spot advisor" in spot["source"]
    assert "not an entry" not in done.stdout
    online(tmp_path, "g6.xlarge", **env)  # fresh: nobody is asked
    assert server.asked == [""]
    online(tmp_path, "g6.xlarge", "--refresh", **env)
    assert len(server.asked) == 2
    assert server.asked[1]  # the ETag of what is kept
    table = online(tmp_path, "g6.xlarge", **env).stdout
    assert (
        "Broken rows left out: 1: not an entry of the spot advisor; 1: the saving or the band is impossible."
        in table
    )


@pytest.mark.parametrize("mode", ["error", "cut", "wrong"])
def test_a_public_file_that_fails_costs_its_rows_and_one_line(
    tmp_path: Path, server: Server, mode: str
) -> None:
    server.mode = mode
    done = online(tmp_path, "g6.xlarge", HOTDESK_ADVISOR_URL=server.url)
    assert done.returncode == 0
    assert "The public spot advisor gave nothing" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "0.805" in done.stdout


def test_what_a_source_said_before_outlives_its_failure(tmp_path: Path, server: Server) -> None:
    env = {"HOTDESK_ADVISOR_URL": server.url}
    online(tmp_path, "g6.xlarge", **env)
    server.mode = "error"
    done = online(tmp_path, "g6.xlarge", "--refresh", "--region", "us-west-2", "--json", **env)
    assert "its last answer is used" in done.stderr
    assert any(row["interruption_band"] == "5-10%" for row in json.loads(done.stdout))


def test_fetching_is_polite_and_bounded(server: Server) -> None:
    first = fetch(server.url)
    assert first is not None
    assert json.loads(first.body) == ADVICE
    assert fetch(server.url, etag=first.etag) is None
    with pytest.raises(Unreachable, match="larger than"):
        fetch(server.url, most_mib=0.0001)
    server.mode = "slow"
    started = time.perf_counter()
    with pytest.raises(Unreachable, match="cannot be reached"):
        fetch(server.url, timeout_seconds=0.3)
    assert time.perf_counter() - started < 20


def test_a_source_that_does_not_come_back_is_left_behind(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.mode = "slow"
    monkeypatch.setenv("HOTDESK_ADVISOR_URL", server.url)
    with Store(tmp_path) as store:
        started = time.perf_counter()
        known = refresh.refreshed(store, time.time(), limit_seconds=0.4)
    assert time.perf_counter() - started < 20
    assert known.notes == ("the public spot advisor gave nothing: it did not answer within 0.4 s",)
    assert len(known.catalog) > 200


def test_the_advisor_file_is_read_strictly_and_row_by_row() -> None:
    advice = read_advice(json.dumps(ADVICE).encode())
    assert advice.bands == {("us-west-2", "g6.xlarge"): 1, ("us-west-2", "g5.xlarge"): 4}
    assert sum(advice.dropped.values()) == 2
    for body in (b"", b"[]", b"{}", b'{"spot_advisor": 3}', b"\xff\xfe"):
        with pytest.raises(ValueError, match="not the spot advisor"):
            read_advice(body)


# ---- with an account -----------------------------------------------------------------------------------


@pytest.fixture
def cloud(fake_ec2: FakeEc2) -> FakeEc2:
    fake_ec2.post("reset", seed=3)
    return fake_ec2


def test_an_account_gives_live_prices_of_every_zone(tmp_path: Path, cloud: Any, server: Server) -> None:
    settings = tmp_path / "hotdesk.toml"
    settings.write_text('[defaults]\nregions = ["us-west-2", "us-east-1"]\n')
    env = {**cloud.environment(), "HOTDESK_ADVISOR_URL": server.url, "HOTDESK_CONFIG": str(settings)}
    done = online(tmp_path, "--gpu", "L4:1", "--refresh", "--json", **env)
    assert done.returncode == 0, done.stderr
    found = [
        row for row in json.loads(done.stdout) if row["source"] in {"GetProducts", "DescribeSpotPriceHistory"}
    ]
    truth = cloud.client("ec2", "us-west-2").describe_spot_price_history(
        InstanceTypes=["g6.xlarge"], ProductDescriptions=["Linux/UNIX"]
    )["SpotPriceHistory"]
    newest: dict[str, tuple[Any, float]] = {}
    for row in truth:
        kept = newest.get(row["AvailabilityZone"])
        if kept is None or row["Timestamp"] > kept[0]:
            newest[row["AvailabilityZone"]] = (row["Timestamp"], float(row["SpotPrice"]))
    spot = {
        row["zone"]: row["usd_per_hour"]
        for row in found
        if row["market"] == "spot" and row["instance_type"] == "g6.xlarge" and row["region"] == "us-west-2"
    }
    assert spot == {zone: pytest.approx(price) for zone, (_, price) in newest.items()}
    listed = [row for row in found if row["market"] == "on-demand" and row["instance_type"] == "g6.xlarge"]
    assert {row["usd_per_hour"] for row in listed if row["region"] == "us-east-1"} == {0.805}
    assert {row["zone"] for row in listed if row["region"] == "us-west-2"} >= set(spot)
    assert {row["region"] for row in found} == {"us-west-2", "us-east-1"}


def listed_and_spot(done: subprocess.CompletedProcess[str]) -> tuple[set[str], set[str]]:
    """The regions of rows that the price list told, and of those of the spot price history."""
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return tuple(  # type: ignore[return-value]
        {row["region"] for row in found if row["source"] == source}
        for source in ("GetProducts", "DescribeSpotPriceHistory")
    )


def few_regions(cloud: Any, count: int) -> set[str]:
    """An account with these enabled: every row of a region is worked out, sent and read."""
    every = sorted(r["RegionName"] for r in cloud.client("ec2", "us-east-1").describe_regions()["Regions"])
    enabled = {"us-east-1", *every[: count - 1]}
    cloud.post("regions", disable=[r for r in every if r not in enabled])
    return enabled


def test_a_price_list_that_answers_slowly_costs_no_region_and_no_spot_row(
    tmp_path: Path, cloud: Any, server: Server
) -> None:
    """AWS takes ten questions at once and five a second. What it did not tell in time is said, also from the
    cache, and asked for next time; what it told is not asked for again that day."""
    env = {**cloud.environment(), "HOTDESK_ADVISOR_URL": server.url}
    enabled = few_regions(cloud, 5)
    cloud.post("delay", action="GetProducts", seconds=5.0, times=None)  # more than one refresh takes
    listed: set[str] = set()
    spot: set[str] = set()
    rounds = 0
    while (listed, spot) != (enabled, enabled):  # a busy computer may not have asked for all of spot either
        done = online(tmp_path, "--json", **env)
        told, of_spot = listed_and_spot(done)
        assert (told >= listed, of_spot >= spot) == (True, True), "what was told stays told"
        spot = of_spot
        cached = online(tmp_path, "--offline", **env)
        assert ("On-demand prices of" in cached.stderr) == (told != enabled)
        if len(enabled - told) > 1:
            assert f"On-demand prices of {len(enabled - told)} regions" in cached.stderr
        listed, rounds = told, rounds + 1
        assert rounds < 20
        cloud.delete("rules")
        with Store(tmp_path) as store:  # a minute later
            store.keep("offers-tried", b"", time.time() - 100)
    assert rounds > 1
    asked = cloud.get("log?action=GetProducts")
    assert len([r for r in asked if r["code"]]) <= len(asked) // 10, "it was asked too fast"
    cloud.delete("log")
    online(tmp_path, "--json", **env)
    assert cloud.get("log?action=GetProducts") == [], "the same day"


def test_a_named_gpu_is_asked_about_by_its_types(tmp_path: Path, cloud: Any, server: Server) -> None:
    env = {**cloud.environment(), "HOTDESK_ADVISOR_URL": server.url}
    enabled = few_regions(cloud, 9)
    cloud.delete("log")
    done = online(tmp_path, "--gpu", "T4", "--refresh", "--json", **env)  # with time for a busy computer
    listed, spot = listed_and_spot(done)
    assert listed >= spot
    assert listed == enabled
    assert "On-demand prices of" not in done.stderr, "none of them is missing that matters here"
    asked = cloud.get("log?action=GetProducts")
    assert len(asked) <= 8, "fewer than there are regions"
    assert not [r for r in asked if r["code"]]
    cloud.delete("log")
    with Store(tmp_path) as store:
        store.keep("offers-tried", b"", time.time() - 100)
    online(tmp_path, "--gpu", "T4", "--refresh", "--json", **env)
    assert cloud.get("log?action=GetProducts") == [], "the same day"


def test_a_price_list_that_is_denied_costs_its_own_prices_only(
    tmp_path: Path, cloud: Any, server: Server
) -> None:
    env = {**cloud.environment(), "HOTDESK_ADVISOR_URL": server.url}
    few_regions(cloud, 5)
    cloud.post("refuse", action="GetProducts", code="AccessDeniedException", status=400, times=None)
    try:
        done = online(tmp_path, "--json", **env)
    finally:
        cloud.delete("rules")
    listed, spot = listed_and_spot(done)
    assert not listed
    assert len(spot) > 3, "as many regions as answer in time"
    shown = {row["source"] for row in json.loads(done.stdout) if row["market"] == "on-demand"}
    assert all("shipped table of 20" in source for source in shown)
    assert "On-demand prices of" in done.stderr


def test_an_account_that_fails_costs_its_rows_only(tmp_path: Path, cloud: Any, server: Server) -> None:
    env = {**cloud.environment(), "HOTDESK_ADVISOR_URL": server.url, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    done = online(tmp_path, "g6.xlarge", **env)
    assert done.returncode == 0
    assert "Your AWS account gave nothing" in done.stderr
    assert "Traceback" not in done.stderr
    assert "0.805" in done.stdout


def test_a_narrow_terminal_goes_without_the_least_columns() -> None:
    heads, cells = ["TYPE", "GPU GIB", "VCPU", "AGE"], [["g6.xlarge", "22.4", "4", "10 h"]]
    assert fitted(heads, cells, 80, SPARED) == (heads, cells, [])
    narrow = (["TYPE", "VCPU", "AGE"], [["g6.xlarge", "4", "10 h"]], ["GPU GIB"])
    assert fitted(heads, cells, 25, SPARED) == narrow
    assert fitted(heads, cells, 10, SPARED)[0] == ["TYPE", "AGE"], "how old a price is, is always said"


def test_opening_a_desk_shows_the_choice_with_its_reasons(tmp_path: Path, cloud: Any) -> None:
    """Oregon is near and Virginia far; the history of g6.xlarge was looked at before."""
    with Store(tmp_path) as store:
        store.keep("latency", b'{"aws/us-west-2": 40.0, "aws/us-east-1": 140.0}', time.time())
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "HOTDESK_"))}
    env = inherited | cloud.environment()
    env |= {"HOTDESK_STATE": str(tmp_path), "HOME": str(tmp_path)}

    def hotdesk(*words: str) -> str:
        done = forked.run(words, env, cwd=str(ROOT))
        assert done.returncode == 0, done.stderr
        return done.stdout

    hotdesk("spot", "g6.xlarge", "--region", "us-west-2")
    wish = ("--provider", "aws", "--type", "g6.xlarge", "--market", "spot")
    shown = hotdesk("up", "blue", *wish, "--region", "us-west-2", "--region", "us-east-1", "--dry-run")
    first, *others = [line for line in shown.splitlines() if "g6.xlarge in us-" in line]
    assert re.search(r"cheapest L4 within 80 ms of you, .*under \$0\.\d+ for 95 % of \d+ days", first), shown
    assert len(others) == 3
    assert any("140 ms away" in line for line in others)


# ---- choosing in the terminal --------------------------------------------------------------------------


def terminal(state: Path, *words: str) -> Any:
    pexpect = pytest.importorskip("pexpect", reason="a terminal to type into needs pexpect")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "HOTDESK_"))}
    named = {
        "HOTDESK_STATE": str(state),
        "PYTHONPATH": str(ROOT / "src"),
        "HOTDESK_OFFLINE": "1",
        "NO_COLOR": "1",
    }
    return pexpect.spawn(
        sys.executable,
        ["-m", "hotdesk", "offers", "-i", *words],
        env=inherited | named | {"TERM": "xterm"},
        dimensions=(20, 120),
        encoding="utf-8",
        timeout=30,
        cwd=str(ROOT),
    )


def test_picking_filters_sorts_and_asks_before_it_costs(tmp_path: Path) -> None:
    child = terminal(tmp_path, "--gpu", "L4")
    child.expect("sorted by price")
    child.expect("▶ g6.xlarge")
    child.send("g6.2x oregon\x7f\x7f\x7f\x7f\x7f\x7fus-west-2")
    child.expect("filter: g6.2x us-west-2")
    child.expect("1 of ")
    child.expect("▶ g6.2xlarge")
    child.send("\t")
    child.expect("sorted by latency")
    child.send("\r")
    child.expect("hotdesk up --provider aws --type g6.2xlarge --region us-west-2 --market spot")
    child.expect("Open a desk there")
    child.send("n\r")
    child.expect(child_end())
    child.close()
    assert child.exitstatus == 0


def child_end() -> Any:
    import pexpect

    return pexpect.EOF


def test_leaving_restores_the_terminal(tmp_path: Path) -> None:
    child = terminal(tmp_path, "--gpu", "T4")
    child.expect("sorted by price")
    child.send("zzz")
    child.expect("No offer matches this filter")
    child.send("\r\x1b")
    child.expect(r"\x1b\[\?25h\x1b\[\?1049l")
    child.expect(child_end())
    child.close()
    assert child.exitstatus == 0


def test_without_a_terminal_there_is_nothing_to_pick_in(tmp_path: Path) -> None:
    done = run(tmp_path, "-i", "--gpu", "L4")
    assert done.returncode == 2
    assert "-i needs one" in done.stderr
