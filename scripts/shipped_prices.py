"""Make the table of on-demand prices that ships with hotdesk, from a file of prices with their sources.

    python -m scripts.shipped_prices aws-on-demand.csv --as-of 2026-11-29

The file has a line for each type and region: `type`, `region`, `usd_per_hour`, `as_of` (2026-07-20, or
2026-02/2026-05 for "between"), `basis` (read, scaled, implied) and `source` (a key of SOURCES). What was
scaled from another size of its family, or is implied by other regions, is an estimate: its letter is small.

Left out: retired types, and the regions of partitions that an ordinary account cannot use (GovCloud, China).
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from pathlib import Path

DATA = Path(__file__).parents[1] / "src" / "hotdesk" / "market" / "data"
OTHER_PARTITIONS = ("us-gov-", "us-iso", "cn-")
#: Who wrote the prices down, by the letter of the file's column `source`.
SOURCES = {
    "K": "AWS list prices of {day} (karpenter-provider-aws)",
    "S": "AWS list prices of {day} or later (SkyPilot's catalogue v9)",
    "V": "AWS list prices of {day} (Vantage)",
    "L": "AWS list prices of {day} (apache-libcloud 3.9.1)",
}
BASIS = {
    "read": "",
    "scaled": ", estimated from another size of the family",
    "implied": ", estimated from the family's price elsewhere",
}


def table(rows: list[dict[str, str]], as_of: str, retired: set[str]) -> dict[str, object]:
    """The table as it is kept: by type, a letter for each region ("." without a price) and the prices."""
    kept = [
        row for row in rows if row["type"] not in retired and not row["region"].startswith(OTHER_PARTITIONS)
    ]
    regions = sorted({row["region"] for row in kept})
    sources: dict[str, dict[str, str]] = {}
    cells: dict[str, dict[str, tuple[str, float]]] = defaultdict(dict)
    for row in kept:
        read = row["basis"] == "read"
        letter = row["source"] if read else row["source"].lower()
        day = row["as_of"].partition("/")[0]
        day = day if len(day) == 10 else f"{day}-01"
        told = {"words": SOURCES[row["source"]].format(day=day) + BASIS[row["basis"]], "as_of": day}
        if sources.setdefault(letter, told) != told:
            raise SystemExit(f"{letter} has two dates or meanings: {sources[letter]}, {told}")
        usd = float(row["usd_per_hour"])
        if not 0 < usd < 1000 or row["region"] in cells[row["type"]]:
            raise SystemExit(f"impossible, or told twice: {row}")
        cells[row["type"]][row["region"]] = (letter, usd)
    return {
        "as_of": as_of,
        "sources": dict(sorted(sources.items())),
        "regions": regions,
        "usd_per_hour": {
            name: [
                "".join(cells[name].get(region, (".", 0.0))[0] for region in regions),
                [cells[name][region][1] for region in regions if region in cells[name]],
            ]
            for name in sorted(cells)
        },
    }


def text(made: dict[str, object], key: str = "usd_per_hour") -> str:
    """JSON with a line for each type under `key`: a change of one price is a change of one line."""
    types = made[key]
    assert isinstance(types, dict)
    head = json.dumps({other: value for other, value in made.items() if other != key}, indent=1)
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in types.items())
    return f'{head.removesuffix("}").rstrip()},\n "{key}": {{\n{lines}\n }}\n}}\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--as-of", required=True, help="the day on which the file was put together")
    parser.add_argument("--out", type=Path, default=DATA / "aws-prices.json")
    asked = parser.parse_args()
    hand = json.loads((DATA / "aws.json").read_text())
    with asked.csv.open(newline="") as file:
        made = table(list(csv.DictReader(file)), asked.as_of, set(hand["retired"]))
    known = {row["type"] for row in hand["types"]}
    priced = made["usd_per_hour"]
    assert isinstance(priced, dict)
    if unknown := sorted(priced.keys() - known):
        raise SystemExit(f"aws.json does not say what these types are: {', '.join(unknown)}")
    asked.out.write_text(text(made))
    sys.stdout.write(f"{sum(len(row[1]) for row in priced.values())} prices of {len(priced)} types\n")


if __name__ == "__main__":
    main()
