"""A sweep's rate, its driver's share and memory, beside bare Ray with a subprocess for each command.

    python -m benchmarks.sweep [--tasks 4000] [--memory-tasks 10000] [--runs 3] [--folder /dev/shm]

Both run `echo N` through /bin/sh on two slots of this computer, alternately, on Rays that were started alike,
and are timed once 100 commands have ended, to the last answer: starting Ray and its workers is not in it, nor
deleting what was written, which is done between. The sweep is the real one (driver, ledger in SQLite, engine,
Ray, resident runner) but for ssh, in place of which the runner's verbs are called as processes. Says which
file system it wrote to. On a computer that is busy with other things, compare the processor time that a
command costs in all processes together, rather than the rates.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from hotdesk.core.sweep.model import Machine, Sweep
from hotdesk.guest.ray_node import RayNode, settings
from hotdesk.parallel import every
from hotdesk.services.sweeps import free_port
from hotdesk.sweep.driver import Driver
from hotdesk.sweep.looks import LOOK_SECONDS
from hotdesk.sweep.machine import Known, packed
from hotdesk.sweep.ray_engine import RayEngine
from hotdesk.sweep.site import SeenMachine, Site
from hotdesk.sweep.store import SweepStore
from hotdesk.system import SystemClock

SLOTS = 2
WARM = 100  # commands before the clock starts, by which Ray has started its workers
ADDRESS = "127.0.0.9"
MARK = "HOTDESK_BENCHMARK"
#: Bare Ray: a function for each command, which runs it through a shell.
BARE = """
import json, os, subprocess, sys, time
import ray
from benchmarks.sweep import used
ray.init(address=sys.argv[2], log_to_driver=False, logging_level="ERROR")
@ray.remote
def run(n):
    return subprocess.run(f"echo {n}", shell=True, stdout=subprocess.DEVNULL).returncode
ray.get([run.remote(n) for n in range(int(sys.argv[3]))])
began, cpu = time.perf_counter(), used()
statuses = ray.get([run.remote(n) for n in range(int(sys.argv[1]))])
assert statuses == [0] * int(sys.argv[1])
print(json.dumps({"commands": len(statuses), "seconds": time.perf_counter() - began, "cpu": used() - cpu}))
"""


class HereSite(Site):
    """One machine, which is this computer: its runner is asked as over ssh, without ssh.

    The verbs that it does not have do nothing: nobody else can go on with this sweep.
    """

    recorded = False

    def __init__(self, folder: Path, sweep: Sweep) -> None:
        self.sweep = sweep
        self.home = folder / "home"
        self.home.mkdir()
        self.program = folder / "runner.py"
        self.program.write_bytes(packed()[1])
        self.environment = {**os.environ, "HOME": str(self.home)}
        self.names: set[str] = set()

    def argv(self, verb: str, *more: str) -> list[str]:
        return [sys.executable, str(self.program), verb, self.sweep.id, *more]

    def ask(self, verb: str, given: object = None) -> bytes:
        text = b"" if given is None else msgspec.json.encode(given)
        done = subprocess.run(
            self.argv(verb), input=text, env=self.environment, check=True, capture_output=True
        )
        return done.stdout

    def tick(self, wanted: Sequence[str], released: Collection[str]) -> Mapping[str, SeenMachine]:
        self.names = {*self.names, *wanted} - set(released)
        return {name: SeenMachine(instance="here", address=ADDRESS, slots=SLOTS) for name in wanted}

    def troubles(self) -> Mapping[str, str]:
        return {}

    def present(self, names: Collection[str]) -> set[str]:
        return self.names & set(names)

    def usd(self, names: Collection[str]) -> float:
        return 0.0

    def cleared(self) -> bool:
        return True

    def prepare(self, sweep: Sweep, machine: Machine, head: Machine) -> None:
        (self.home / ".hotdesk" / "sweeps" / sweep.id / "project").mkdir(parents=True, exist_ok=True)
        order = {
            "machine": machine.name, "address": ADDRESS, "head": f"{ADDRESS}:{sweep.head_port}",
            "heads": True, "cpus": SLOTS, "gpus": 0, "python": sys.executable, "token": sweep.token,
            "limit_seconds": None, "grace_seconds": 5.0, "memory_bytes": 0, "environment": {}, "pull": [],
        }  # fmt: skip
        self.ask("serve", order)

    def look(self, sweep: Sweep, name: str) -> Known:
        return msgspec.json.decode(self.ask("look"), type=Known)

    def known(self, sweep: Sweep, name: str, tasks: Collection[int]) -> Known:
        given = {"epoch": sweep.epoch, "tasks": {str(task): 0 for task in tasks}}
        return msgspec.json.decode(self.ask("known", given), type=Known)

    def cancel(self, sweep: Sweep, name: str, attempts: Mapping[int, int]) -> None:
        self.ask("cancel", {"tasks": {str(task): number for task, number in attempts.items()}})

    def fetch(self, sweep: Sweep, name: str) -> None:
        pass

    def stop(self, sweep: Sweep, name: str) -> None:
        self.ask("stop")

    def engine(self, sweep: Sweep, head: Machine) -> RayEngine:
        pipe = subprocess.PIPE
        return RayEngine(
            subprocess.Popen(
                self.argv("engine"), stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, env=self.environment
            )
        )


def swept(folder: Path, count: int) -> dict[str, float]:
    """A sweep of so many commands, in this process."""
    clock = SystemClock()
    with SweepStore(folder) as store:
        sweep = Sweep(
            number=0, desk="blue", image="i", provider="local", command=("echo", "{n}"), folder="/",
            created_at=clock.now(), token="5" * 64, head_port=free_port(),
        )  # fmt: skip
        sweep = store.create(sweep, ({"n": n} for n in range(count + WARM)))
        site = HereSite(folder, sweep)
        driver = Driver(sweep.number, store=store, site=site, clock=clock)
        began = ended = own = cpu = 0.0
        timed = 0
        with every(LOOK_SECONDS, lambda: driver.looks.look(driver.sweep)):
            while not (pause := driver.round()) < 0:
                counts = store.counts(sweep.number)
                if counts.done >= WARM and not began:
                    timed, own, cpu = counts.left, time.process_time(), used()
                    began = time.perf_counter()
                if not counts.left and not ended:
                    ended, own, cpu = time.perf_counter(), time.process_time() - own, used() - cpu
                clock.sleep(pause)
        assert store.counts(sweep.number).done == count + WARM
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = ended - began
    return {"commands": timed, "seconds": seconds, "share": own / seconds, "peak_mib": peak, "cpu": cpu}


def used() -> float:
    """Seconds of a processor that all processes of this run have used, with the children they awaited."""
    mark, ticks = f"{MARK}={os.environ[MARK]}".encode(), 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                ticks += sum(map(int, (folder / "stat").read_text().rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def child(folder: Path, kind: str, count: int) -> dict[str, float]:
    """One run in a process and a folder of its own, which is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="hotdesk-sweep-", dir=folder) as made:
        os.environ[MARK] = made  # all of its processes inherit it
        if kind == "bare":
            with node(Path(made)) as (address, variables):
                return said([sys.executable, "-c", BARE, str(count), address, str(WARM)], variables)
        return said([sys.executable, "-m", "benchmarks.sweep", "--tasks", str(count), "--once", made], {})


@contextmanager
def node(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A node of Ray with the settings of a sweep's: its address, and what a program needs to join it."""
    (folder / "token").write_text("5" * 64)
    (folder / "token").chmod(0o600)
    log = os.open(folder / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    head = f"{ADDRESS}:{free_port()}"
    order = {"python": sys.executable, "address": ADDRESS, "head": head, "heads": True, "gpus": 0}
    ray = RayNode(str(folder), {**order, "cpus": SLOTS}, dict(os.environ), log)
    ray.start()
    try:
        while not ray.ready():
            time.sleep(0.2)
        yield head, settings(str(folder))
    finally:
        ray.stop()
        os.close(log)


def said(argv: list[str], variables: dict[str, str]) -> dict[str, float]:
    done = subprocess.run(argv, env={**os.environ, **variables}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def rates(folder: Path, tasks: int, runs: int) -> dict[str, Any]:
    """Of each run in turn, bare Ray's and the sweep's: commands a second, processor milliseconds of each."""
    system = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=True)
    found: dict[str, Any] = {
        "tasks": tasks,
        "file system": system.stdout.strip(),
        "bare Ray": [],
        "sweep": [],
    }
    for _ in range(runs):
        for name, kind in (("bare Ray", "bare"), ("sweep", "sweep")):
            told = child(folder, kind, tasks)
            found[name].append(
                {
                    "rate": told["commands"] / told["seconds"],
                    "ms": told["cpu"] / told["commands"] * 1000,
                    "share": told.get("share", 0.0),
                    "load": os.getloadavg()[0],
                }
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=4000)
    parser.add_argument("--memory-tasks", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.once:
        print(json.dumps(swept(given.once, given.tasks)))
        return
    found = rates(given.folder, given.tasks, given.runs)
    print(f"{given.tasks:,} commands on {SLOTS} slots; {given.folder} is {found['file system']}")
    for bare, ours in zip(found["bare Ray"], found["sweep"], strict=True):
        print(
            f"  bare Ray {bare['rate']:6.0f}/s   sweep {ours['rate']:6.0f}/s"
            f"   {ours['rate'] / bare['rate']:4.0%}"
            f"   driver {ours['share']:.1%} of a processor   load {ours['load']:.1f}\n"
            f"    processor time of a command: {bare['ms']:.1f} ms and {ours['ms']:.1f} ms"
        )
    ratios = [
        ours["rate"] / bare["rate"] for bare, ours in zip(found["bare Ray"], found["sweep"], strict=True)
    ]
    print(f"  median {statistics.median(ratios):.0%} of bare Ray's rate")
    if given.memory_tasks:
        told = child(given.folder, "sweep", given.memory_tasks)
        print(f"{given.memory_tasks:,} tasks: the driver's peak is {told['peak_mib']:.0f} MiB resident")


if __name__ == "__main__":
    main()
