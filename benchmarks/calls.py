"""Which calls to AWS each command makes, every command in a new process' state, with leftovers elsewhere.

    python benchmarks/calls.py [--by-action] [--latency 100]

Against the fake EC2, as `benchmarks/aws.py`: what takes seconds in EC2 takes a fiftieth of that. The state
folder is new; a security group and a key pair of ours are left over in another region. A login is not tried:
its calls to AWS (address, console) are made.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from benchmarks.aws import FASTER, POLL_SECONDS, boot
from fake_ec2.process import FakeEc2
from hotdesk.api import Hotdesk
from hotdesk.config import Config, Defaults
from hotdesk.core.model import Goal, MarketChoice, Want
from hotdesk.providers.aws.settings import Settings
from tests.aws_desk import HOME, leave_over

ELSEWHERE = ("eu-central-1", "us-east-1")  # the last one: for the third region of `ls`
WANT = Want(instance_type="g4dn.xlarge", market=MarketChoice.ON_DEMAND, regions=(HOME,))


def config(lag: float) -> Config:
    settings = Settings(lag_seconds=lag / FASTER, poll_seconds=POLL_SECONDS)
    return Config(defaults=Defaults(provider="aws"), clouds={"aws": settings})


def main() -> None:
    ask = argparse.ArgumentParser()
    ask.add_argument("--by-action", action="store_true")
    ask.add_argument("--latency", type=float, default=20.0)
    given = ask.parse_args()
    with FakeEc2(latency_ms=given.latency) as fake, tempfile.TemporaryDirectory() as folder:
        os.environ.update(fake.environment(HOME))
        fake.post("clock", pace=1 / FASTER)
        leave_over(fake, ELSEWHERE[0])
        stop = threading.Event()
        booting = threading.Thread(target=boot, args=(fake, set(), stop))
        booting.start()

        def run(verb: str, do: Callable[[Hotdesk], object]) -> None:
            fake.delete("log")
            wall, own = time.perf_counter(), time.process_time()
            with Hotdesk(Path(folder) / "state", config=config(30.0)) as desks:
                desks.services._prove = lambda access: None  # type: ignore[method-assign]
                do(desks)
            wall, own = time.perf_counter() - wall, time.process_time() - own
            log = fake.get("log")
            print(f"{verb:24}{len(log):5d} calls {wall:7.2f} s, own {own:5.2f} s", flush=True)
            if given.by_action:
                actions = Counter((row["action"], row["region"]) for row in log)
                groups: dict[str, Counter[str]] = {}
                for (action, region), count in actions.items():
                    groups.setdefault(action, Counter())[region] += count
                for action, regions in sorted(groups.items(), key=lambda g: -g[1].total()):
                    where = {r: n for r, n in regions.items() if r in {HOME, *ELSEWHERE}}
                    print(f"    {regions.total():4d} {action:34} {where}")

        def want(goal: Goal) -> Callable[[Hotdesk], object]:
            def do(desks: Hotdesk) -> None:
                s = desks.services
                running = goal is Goal.RUNNING
                row = s.goals.wanted("blue", goal, WANT if running else None, "aws" if running else None)
                s.pursuit.pursue(row)

            return do

        try:
            run("up", want(Goal.RUNNING))
            run("up again", want(Goal.RUNNING))
            run("ls", lambda desks: desks.ls())
            run("park", want(Goal.PARKED))
            run("resume", want(Goal.RUNNING))
            run("down", want(Goal.GONE))
            run("gc", lambda desks: desks.gc())
            leave_over(fake, ELSEWHERE[1])
            run("up", want(Goal.RUNNING))
            run("ls, three regions", lambda desks: desks.ls())
            run("down", want(Goal.GONE))
        finally:
            stop.set()
            booting.join()


if __name__ == "__main__":
    main()
