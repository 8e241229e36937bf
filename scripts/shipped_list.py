"""Make the list of Alibaba Cloud's prices that ships with hotdesk, from a file of prices.

    python -m scripts.shipped_list aliyun-on-demand-cny.csv --as-of 2024-12-30

The file has a line for each type and region: `type`, `region`, `cny_per_hour`. What a type is follows from
its name ("Instance families" in the ECS user guide): vCPUs from its size, GPUs from `c8g1` (eight vCPUs for
one GPU), memory from its family. Left out: types of other families (bare metal, slices of a GPU, local disks,
burstable), and sizes whose memory is not proportional to their vCPUs.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections import defaultdict
from pathlib import Path

from scripts.shipped_prices import DATA, text

SOURCE = "Alibaba Cloud's list prices of {day} (karpenter-provider-alibabacloud)"

#: GPU families: the GPU, its GiB, and GiB of memory for a vCPU (as generally known in 2025, not verified).
GPUS = {
    "gn5i": ("P4", 8, 4.0),
    "gn6i": ("T4", 16, 3.875),
    "gn6v": ("V100", 16, 4.0),
    "gn6e": ("V100", 32, 7.67),
    "gn7": ("A100", 40, 7.5),
    "gn7e": ("A100", 80, 7.8125),
    "gn7i": ("A10", 24, 3.75),
}
CPUS = {"c": 2.0, "g": 4.0, "r": 8.0}  # GiB for a vCPU
_UNLIKE = re.compile(r"ecs\.gn7i-(c32|c48|c56|\dx)|ecs\.gn6v-c10|ecs\.gn7-c12")  # memory not in proportion
_TYPE = re.compile(r"ecs\.([a-z0-9]+)(?:-c(\d+)g(\d+))?\.(?:(\d*)x)?(large)")


def machine(name: str) -> dict[str, object] | None:
    """What a type is, by its name; None for one that is left out."""
    found = _TYPE.fullmatch(name)
    if not found or _UNLIKE.match(name):
        return None
    family, cores, gpus, times, _ = found.groups()
    vcpus = 2 if times is None else 4 * int(times or 1)
    if family in GPUS and cores:
        gpu, gpu_gib, ratio = GPUS[family]
        count = vcpus // int(cores) * int(gpus)
        return {
            "vcpus": vcpus, "gib": int(vcpus * ratio), "gpu": gpu, "gpus": count, "gpu_gib": gpu_gib,
        }  # fmt: skip
    kind = re.fullmatch(r"([cgr])(?:7|8)[ai]?", family)
    return {"vcpus": vcpus, "gib": vcpus * CPUS[kind[1]]} if kind else None


def table(rows: list[dict[str, str]], as_of: str) -> dict[str, object]:
    """The list as it is kept: what each type is, and its price in each of the regions (null: not sold)."""
    prices: dict[str, dict[str, float]] = defaultdict(dict)
    for row in rows:
        price = float(row["cny_per_hour"])
        if not 0 < price < 5000 or row["region"] in prices[row["type"]]:
            raise SystemExit(f"impossible, or told twice: {row}")
        if machine(row["type"]):
            prices[row["type"]][row["region"]] = price
    known = {name: found for name, found in sorted(prices.items()) if found}
    regions = sorted({region for found in known.values() for region in found})
    return {
        "provider": "aliyun",
        "currency": "CNY",
        "as_of": as_of,
        "source": SOURCE.format(day=as_of),
        "regions": regions,
        "types": {
            name: {**(machine(name) or {}), "per_hour": [found.get(region) for region in regions]}
            for name, found in known.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--as-of", required=True, help="the day on which the prices were collected")
    parser.add_argument("--out", type=Path, default=DATA / "aliyun-list.json")
    asked = parser.parse_args()
    with asked.csv.open(newline="") as file:
        made = table(list(csv.DictReader(file)), asked.as_of)
    asked.out.write_text(text(made, "types"))
    assert isinstance(made["types"], dict)
    sys.stdout.write(f"{len(made['types'])} types\n")


if __name__ == "__main__":
    main()
