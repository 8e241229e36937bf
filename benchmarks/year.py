"""Two hundred desks of a year on AWS: `ls` and `costs`, this build beside another, in turn.

    python -m benchmarks.year [--against OTHER/CHECKOUT] [--desks 200] [--rows 300] [--runs 3]

Each desk has parked and resumed for a year (`--rows` in its journal); the cloud is the fake EC2 with one
region and nothing in it. Processor seconds of the command, which other work on the computer changes least.
Each build begins with a new copy of the state folder that it wrote: the first `ls` and `costs` count all.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks.builds import HERE, child, environment, timed
from fake_ec2.process import FakeEc2
from hotdesk.core.model import Desk, Goal, Offer
from hotdesk.core.steps import Bake, BakeOrder, Delete, Done, Launch, LaunchOrder, Prove, Stop, Verify
from hotdesk.state.store import Store
from tests.aws_desk import HOME, quick

YEAR = 365 * 86400.0
OFFER = Offer(
    provider="aws", region=HOME, zone=f"{HOME}a", instance_type="g6.xlarge", usd_per_hour=0.8048, gpu="L4"
)


def fill(folder: Path, desks: int, rows: int) -> None:
    """A state folder with parked desks and a year of their journals."""
    now = time.time()
    began = now - YEAR
    with Store(folder) as store:
        for number in range(desks):
            name = f"desk{number}"
            desk = Desk(name=name, goal=Goal.PARKED, since=now - 60, created_at=began, provider="aws")
            store.put(msgspec.structs.replace(desk, offers=(OFFER,)))
            steps = [pair for turn in range(rows // 6) for pair in _turn(name, began, number, turn + 1)]
            written = store.begin([(name, step) for step, _ in steps], began)
            each = YEAR / len(steps)
            ends = [
                (began + n * each, began + n * each + 60, msgspec.json.encode(Done(id=made)), row.id)
                for n, (row, (_, made)) in enumerate(zip(written, steps, strict=True))
            ]
            with store._transaction():
                store._db.executemany(
                    "UPDATE journal SET at = ?, ended_at = ?, outcome = ? WHERE id = ?", ends
                )


def _turn(desk: str, born: float, number: int, generation: int) -> list[tuple[object, str]]:
    """Launched, used, stopped, saved, verified, deleted: each step, and the id of what it is about."""
    machine, image = f"{HOME}/i-{number:04x}{generation:04x}", f"{HOME}/ami-{number:04x}{generation:04x}"
    order = LaunchOrder(desk=desk, born=born, generation=generation, attempt=0, offer=OFFER)
    bake = BakeOrder(
        desk=desk, born=born, generation=generation, attempt=0, source_id=machine, started_at=1.0, region=HOME
    )
    return [
        (Launch(order=order, why=""), machine),
        (Prove(id=machine, generation=generation, started_at=1.0, name=order.name, why=""), machine),
        (Stop(id=machine, started_at=1.0, why=""), machine),
        (Bake(order=bake, why=""), image),
        (Verify(id=image, why=""), image),
        (Delete(id=machine, kind="machine", usd_per_month=5.0, why=""), machine),
    ]


def cpu(checkout: Path, state: Path, fake: FakeEc2, *words: str) -> float:
    settings = fake.environment(HOME) | {"HOTDESK_STATE": str(state), "HOME": str(state.parent)}
    settings["HOTDESK_CONFIG"] = str(state.parent / "hotdesk.toml")
    env = environment(checkout, state.parents[1] / "compiled") | settings
    return timed([sys.executable, "-m", "hotdesk", *words], env, state.parent)[1]


ACTS = {
    "ls, the first": ["ls", "--json"],
    "ls": ["ls", "--json"],
    "costs, the first": ["costs", "--json"],
    "costs": ["costs", "--json"],
}
_FILL = (
    "import sys; from pathlib import Path; from benchmarks.year import fill; "
    "fill(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))"
)


def measure(builds: dict[str, Path], desks: int, rows: int, runs: int) -> dict[tuple[str, str], list[float]]:
    """Processor seconds by act and build, the builds in turn."""
    taken: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch, FakeEc2() as fake, quick(fake):
        for build, checkout in builds.items():
            (Path(scratch) / build).mkdir()
            size = (str(desks), str(rows))
            child(checkout, Path(scratch) / "compiled", _FILL, str(Path(scratch) / build), *size)
        for run in range(runs):
            for build, checkout in builds.items():
                folder = Path(scratch) / f"{build}-{run}"
                shutil.copytree(Path(scratch) / build, folder / "state")
                (folder / "hotdesk.toml").write_text(f'[aws]\nregions = ["{HOME}"]\naddress_url = ""\n')
                for act, words in ACTS.items():
                    taken.setdefault((act, build), []).append(cpu(checkout, folder / "state", fake, *words))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="another build, measured in turn")
    parser.add_argument("--desks", type=int, default=200)
    parser.add_argument("--rows", type=int, default=300, help="of each desk's journal")
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    builds = {"this": HERE} | ({"before": asked.against.resolve()} if asked.against else {})
    taken = measure(builds, asked.desks, asked.rows, asked.runs)
    print(f"{asked.desks} desks, {asked.rows} rows each; processor seconds, median (least–most)")
    for act in ACTS:
        said = []
        for build in builds:
            every = taken[act, build]
            said.append(f"{build} {statistics.median(every):.2f} ({min(every):.2f}–{max(every):.2f})")
        print(f"{act:16} {', '.join(said)}")


if __name__ == "__main__":
    main()
