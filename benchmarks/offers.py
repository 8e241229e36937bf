"""How fast offers are found: `PYTHONPATH=src:. python benchmarks/offers.py`, beside gpuhunt where installed.

A made catalogue of 60,000 rows (about 1,000 types in 20 regions, on two markets). The same rows are given to
gpuhunt as items in memory, and both answer the same questions in the same
run; times are the best of several. The factor compares the search with gpuhunt's: both give their rows as
they hold them, gpuhunt in the order of its file, hotdesk sorted by price.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hotdesk.core.matching import Query
from hotdesk.core.model import Market, Offer
from hotdesk.market import refresh
from hotdesk.market.catalog import Catalog, build
from hotdesk.market.query import search
from hotdesk.state.store import Store

NOW = 1_790_000_000.0
#: NVIDIA models that both know, with GiB of memory.
GPUS = {"T4": 16, "A10G": 24, "L4": 24, "L40S": 48, "V100": 16, "A100": 80, "H100": 80, "H200": 141}
REGIONS = [f"{a}-{b}-{n}" for a in ("us", "eu", "ap", "ca", "sa") for b in ("east", "west") for n in (1, 2)]


def rows(count: int = 60_000) -> list[Offer]:
    seeded = random.Random(11)
    found: list[Offer] = []
    number = 0
    while len(found) < count:
        gpu = seeded.choice([*GPUS, *GPUS, ""])
        gpus = seeded.choice([1, 1, 1, 2, 4, 8]) if gpu else 0
        vcpus = seeded.choice([2, 4, 8, 16, 32, 48, 96])
        usd = 0.04 * vcpus + gpus * (0.3 + GPUS.get(gpu, 0) / 25)
        for region in seeded.sample(REGIONS, 20):
            factor = seeded.uniform(0.9, 1.4)
            for zone, market in (("a", Market.ON_DEMAND), ("a", Market.SPOT), ("b", Market.SPOT)):
                saving = 1.0 if market is Market.ON_DEMAND else seeded.uniform(0.2, 0.9)
                found.append(
                    Offer(
                        provider="aws", region=region, zone=region + zone, instance_type=f"t{number}.xlarge",
                        market=market, usd_per_hour=round(usd * factor * saving, 5), gpu=gpu, gpu_count=gpus,
                        gpu_memory_gib=GPUS.get(gpu, 0), vcpus=vcpus, memory_gib=4 * vcpus, price_time=NOW,
                        source="made",
                    )
                )  # fmt: skip
        number += 1
    return found[:count]


QUESTIONS = {
    "one GPU model, at most $2/h": Query(gpu=("A100",), max_usd=2.0),
    "24 GiB or more, 1 to 4 GPUs, spot": Query(gpu_memory="24..", gpus="1..4", market="spot"),
    "8 GPUs, 32 vCPUs or more": Query(gpus="8", cpus="32.."),
    "any GPU at all": Query(gpus="1.."),
    "everything": Query(),
}


def best(action: Callable[[], object], times: int = 7) -> float:
    found = []
    for _ in range(times):
        started = time.perf_counter()
        action()
        found.append(time.perf_counter() - started)
    return min(found)


def timed(action: Callable[[], object], times: int) -> list[float]:
    """Processor seconds of each time."""
    found = []
    for _ in range(times):
        started = time.process_time()
        action()
        found.append(round(time.process_time() - started, 5))
    return found


def compared(times: int) -> dict[str, dict[str, list[float]]]:
    """By question: the processor seconds of hotdesk and of gpuhunt, which find the same rows."""
    made = rows()
    catalog, ask = build([made]), peer(made)
    found = {}
    for name, query in QUESTIONS.items():
        ours, theirs = len(search(catalog, query).rows), ask(query)
        assert ours == theirs, (name, theirs, ours)
        found[f"{name} ({ours:,} rows)"] = {
            "hotdesk": timed(lambda q=query: search(catalog, q), times),  # type: ignore[misc]
            "gpuhunt": timed(lambda q=query: ask(q), times),  # type: ignore[misc]
        }
    return found


def peer(offers: list[Offer]) -> Callable[[Query], int]:
    """The same rows as gpuhunt's own items, in memory; a function that asks it. ImportError without it."""
    import gpuhunt
    from gpuhunt._internal.catalog import ProviderCatalog

    catalog = gpuhunt.Catalog(balance_resources=False, auto_reload=False)
    items = [
        gpuhunt.CatalogItem(
            provider="aws",
            instance_name=o.instance_type,
            location=o.zone,
            price=o.usd_per_hour,
            cpu=int(o.vcpus),
            memory=o.memory_gib,
            gpu_count=int(o.gpu_count),
            gpu_name=o.gpu or None,
            gpu_memory=o.gpu_memory_gib or None,
            gpu_vendor=gpuhunt.AcceleratorVendor.NVIDIA if o.gpu else None,
            spot=o.market is Market.SPOT,
            disk_size=None,
        )
        for o in offers
    ]
    catalog.catalog["aws"] = ProviderCatalog(version="made", items=items)
    catalog.loaded_at = time.monotonic()

    def ask(query: Query) -> int:
        words: dict[str, object] = {}
        for option, name, number in (
            ("gpus", "gpu_count", int),
            ("cpus", "cpu", int),
            ("gpu_memory", "gpu_memory", float),
        ):
            if text := getattr(query, option):
                least, dots, most = text.partition("..")
                words[f"min_{name}"] = number(least)
                if most or not dots:
                    words[f"max_{name}"] = number(most or least)
        if query.gpu:
            words["gpu_name"] = list(query.gpu)
        if query.market:
            words["spot"] = query.market == "spot"
        if query.max_usd is not None:
            words["max_price"] = query.max_usd
        return len(catalog.query(provider="aws", **words))

    return ask


def process(packed: bytes) -> tuple[float, float]:
    """Seconds that `hotdesk offers` takes from such a cache as a process, and `hotdesk --version`."""
    with tempfile.TemporaryDirectory() as folder:
        with Store(Path(folder)) as store:
            store.keep(refresh.KEY, packed, time.time())
        env = os.environ | {"HOTDESK_STATE": folder, "PYTHONPATH": "src"}

        def run(*words: str) -> None:
            subprocess.run(
                [sys.executable, "-m", "hotdesk", *words], env=env, check=True, stdout=subprocess.DEVNULL
            )

        return best(lambda: run("offers", "--gpu", "L4", "--max-usd", "2"), 9), best(
            lambda: run("--version"), 9
        )


def main() -> None:
    given = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    given.add_argument("--runs", type=int, default=7)
    given.add_argument(
        "--json", action="store_true", help="only the searches beside gpuhunt's, which must be there"
    )
    asked = given.parse_args()
    if asked.json:
        print(json.dumps(compared(asked.runs)))
        return
    made = rows()
    seconds = best(lambda: build([made]), 1)
    catalog = build([made])
    packed = catalog.pack()
    print(
        f"{len(catalog):,} rows of {len(catalog.machines):,} types; "
        f"built in {seconds:.2f} s, {len(packed) / 1e6:.1f} MB"
    )
    print(f"unpacked from the cache in {1000 * best(lambda: Catalog.unpack(packed)):.1f} ms")
    try:
        ask = peer(made)
    except ImportError:
        ask = None
    print(
        f"{'question':36} {'rows':>7} {'search':>9} {'+ 25 offers':>12} {'+ all offers':>13}"
        f" {'gpuhunt':>9} {'factor':>7}"
    )
    for name, query in QUESTIONS.items():
        found = search(catalog, query).rows
        alone = best(lambda q=query: search(catalog, q))
        shown = best(lambda q=query: [catalog.offer(row) for row in search(catalog, q).rows[:25]])
        whole = best(lambda q=query: catalog.offers(search(catalog, q).rows))
        line = (
            f"{name:36} {len(found):7,} {1000 * alone:6.1f} ms {1000 * shown:9.1f} ms {1000 * whole:10.1f} ms"
        )
        if ask:
            assert ask(query) == len(found), (name, ask(query), len(found))
            theirs = best(lambda q=query: ask(q))
            line += f" {1000 * theirs:6.1f} ms {theirs / alone:6.1f}x"
        print(line)
    offers, version = process(packed)
    print(f"process: hotdesk offers {1000 * offers:.0f} ms (hotdesk --version {1000 * version:.0f} ms)")


if __name__ == "__main__":
    main()
