"""How fast price histories are reckoned: `PYTHONPATH=src python benchmarks/prices.py`.

Made histories: one pool of 10 million prices; 1,000 pools of 10,000; and a year of 1,000 pools (50 types in
20 zones, six changes a day) read from files and reckoned with all that `hotdesk spot` shows.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np

from hotdesk.market.history import History, Pool, cheapest, summarise
from hotdesk.market.history_files import read

DAY = 86400.0


def pool(
    seeded: np.random.Generator, points: int, days: float, kind: str = "p2.xlarge", zone: str = "us-east-1a"
) -> Pool:
    times = np.sort(seeded.random(points)) * days * DAY
    prices = np.round(0.3 + 0.05 * np.sin(np.arange(points) / 97) + 0.02 * seeded.random(points), 4)
    prices[:: max(points // 50, 1)] *= 4  # spikes
    return Pool(kind, zone, times, prices)


def reckon(history: History, days: float) -> str:
    prices = {(p.instance_type, "us-east-1"): 0.9 for p in history.pools}
    best = []
    for _ in range(3):
        times = [time.perf_counter()]
        zones = summarise(history, 0, days * DAY, under=[0.3], on_demand=prices)
        times.append(time.perf_counter())
        cheapest(history, zones, 0, days * DAY)
        best.append((times[1] - times[0], time.perf_counter() - times[1]))
    return f"{min(a for a, _ in best):6.2f} s, and {min(b for _, b in best):.2f} s for the cheapest zone"


def main() -> None:
    seeded = np.random.default_rng(7)
    one = History((pool(seeded, 10_000_000, 365),), {})
    print(f"1 pool x 10,000,000 points:   {reckon(one, 365)}")
    zones = [f"us-east-1{chr(97 + n)}" for n in range(20)]
    many = History(
        tuple(pool(seeded, 10_000, 365, f"g{n}.xlarge", zone) for n in range(50) for zone in zones), {}
    )
    print(f"1,000 pools x 10,000 points:  {reckon(many, 365)}")
    with tempfile.TemporaryDirectory() as folder:
        size = 0
        for number in range(50):
            rows = [
                {
                    "AvailabilityZone": zone,
                    "InstanceType": f"g{number}.xlarge",
                    "ProductDescription": "Linux/UNIX",
                    "SpotPrice": f"{price:.6f}",
                    "Timestamp": f"{np.datetime64(int(moment), 's')}.000Z",
                }
                for zone in zones
                for moment, price in zip(*pool(seeded, 6 * 365, 365)[2:], strict=True)
            ]
            size += Path(folder, f"{number}.json").write_text(json.dumps({"SpotPriceHistory": rows}))
        started = time.perf_counter()
        year = read(Path(folder))
        reading = time.perf_counter() - started
        points = sum(len(p.times) for p in year.pools)
        print(
            f"a year of 1,000 pools: {reading:13.2f} s to read {points:,} points ({size / 1e6:.0f} MB), "
            f"then{reckon(year, 365)}"
        )


if __name__ == "__main__":
    main()
