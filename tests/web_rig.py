"""The page in a real browser: `hotdesk web` in a process of its own, and Chromium with its protections on."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from hotdesk.core.jobs import Job, Result
from hotdesk.core.model import Desk, Goal, Market, Offer
from hotdesk.core.steps import Delete, Done, Launch, LaunchOrder
from hotdesk.core.sweep.model import Machine, MachineState, State, Sweep, Task
from hotdesk.core.sweep.params import Params
from hotdesk.state.store import Store
from hotdesk.sweep.store import SweepStore
from hotdesk.system import SystemClock, dice, locked
from tests import forked
from tests.conftest import CHROMIUM_ARGUMENTS, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DAY = 86400.0
GENEROUS = 120_000  # milliseconds: a limit that only a hang reaches
#: Desks with a past: name, instance type, GPU, US dollars an hour, market.
HARDWARE = (
    ("blue", "g6.xlarge", "L4", 0.8048, Market.ON_DEMAND),
    ("trainer", "g5.2xlarge", "A10G", 0.47, Market.SPOT),
    ("notes", "t3.medium", "", 0.0416, Market.ON_DEMAND),
)


#: Milliseconds to regions, made up as of a computer in Frankfurt.
LATENCY = {
    "eu-central-1": 9.0,
    "eu-west-3": 14.0,
    "eu-west-2": 18.0,
    "eu-west-1": 31.0,
    "eu-north-1": 34.0,
    "us-east-1": 88.0,
    "ca-central-1": 95.0,
    "us-east-2": 97.0,
    "ap-south-1": 120.0,
    "us-west-2": 142.0,
    "us-west-1": 150.0,
    "ap-southeast-1": 170.0,
    "sa-east-1": 205.0,
    "ap-northeast-1": 231.0,
    "ap-southeast-2": 290.0,
}


class Web:
    """A running `hotdesk web`."""

    def __init__(self, *words: str) -> None:
        self.process = forked.begin(["web", "--url", *words])
        assert self.process.stdout is not None
        self.link = self.process.stdout.readline().strip()
        self.place = self.link.partition("/enter")[0]

    def link_again(self) -> str:
        """An address for another browser."""
        done = forked.run(["web", "--url"], os.environ)
        done.check_returncode()
        return done.stdout.strip()

    def end(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)
        self.process.communicate(timeout=30)


@contextlib.contextmanager
def web(*words: str) -> Iterator[Web]:
    """It, while this lasts."""
    running = Web(*words)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.end(signal.SIGKILL)


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chosen = playwright.chromium.launch(executable_path=chromium(), args=[*CHROMIUM_ARGUMENTS])
        yield chosen
        chosen.close()


@contextlib.contextmanager
def looking(chrome: Browser, folder: Path, *, width: int, locale: str = "en-US") -> Iterator[Page]:
    """A window of its own; what a failure looked like is last.png in the test's folder."""
    with chrome.new_context(locale=locale, viewport={"width": width, "height": 900}) as context:
        page = context.new_page()
        page.set_default_timeout(GENEROUS)
        try:
            yield page
        finally:
            page.screenshot(path=folder / "last.png")


@contextlib.contextmanager
def images_held(state: Path) -> Iterator[None]:
    """Desks on this computer neither save nor restore anything while this lasts."""
    with locked(state / "local" / "store.lock"):
        yield


class Complaints(list[str]):
    """What a console says is wrong, such as what the policy has blocked, and requests to other hosts."""

    def __init__(self, page: Page, place: str) -> None:
        page.on("console", lambda m: self.append(m.text) if m.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: self.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith((place, "data:")) else self.append(r.url))


def idle_for(seconds: int) -> str:
    """A line for a light machine, whose watch then has just seen that nothing has worked for so long."""
    code = (
        "import sys, time\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1] / 'src')!r})\n"
        "from hotdesk.guest import idle\n"
        f"watch = idle.Watch([], now=time.time() - {seconds})\n"
        "watch.looked_at = time.time()\n"
        "idle._keep(watch)"
    )
    return f"{shlex.quote(sys.executable)} -c {shlex.quote(code)}"


def weeks(folder: Path, jobs: int, desks: int = 3) -> None:
    """A state folder with a past: a cloud's desks that came and went in thirty days, and ended jobs."""
    now, chance = SystemClock().now(), dice(3)
    with Store(folder) as store:
        for name, kind, gpu, usd, market in HARDWARE:
            born = now - 30 * DAY
            offer = Offer(
                provider="aws",
                region="us-west-2",
                zone="us-west-2b",
                instance_type=kind,
                market=market,
                usd_per_hour=usd,
                gpu=gpu,
                gpu_count=1 if gpu else 0,
            )
            for day in range(30):
                if chance.random() < 0.4:
                    continue
                at, hours = born + day * DAY + 3600 * chance.uniform(1, 6), chance.uniform(1, 9)
                order = LaunchOrder(desk=name, born=born, generation=day + 1, attempt=0, offer=offer)
                ran = {"kind": "machine", "ran_seconds": hours * 3600}
                for step, when, made in (
                    (Launch(why="the cheapest that fits", order=order), at, order.name),
                    (
                        Delete(why="all its work is in its image", id=order.name, **ran),
                        at + hours * 3600,
                        "",
                    ),
                ):
                    [row] = store.begin([(name, step)], when)
                    store.end(row, Done(id=made), when + 30)
        for number in range(desks):
            store.put(Desk(name=f"desk{number}", goal=Goal.PARKED, since=now, created_at=now))
        for number in range(jobs):
            words = (
                "python",
                "train.py",
                "--seed",
                str(number),
                "--lr",
                f"{10 ** chance.uniform(-5, -2):.1e}",
            )
            asked = now - chance.uniform(0, 20 * DAY)
            job = Job(id="", number=0, desk="blue", command=words, created_at=asked, folder="project")
            job = store.queue(job)
            status = 0 if chance.random() < 0.85 else 1
            ended = Result(
                exit_status=status,
                why="" if not status else "it ended with 1",
                at=asked + 20000,
                seconds=chance.uniform(200, 18000),
                usd=chance.uniform(0.02, 4),
                attempts=1 + (chance.random() < 0.1),
            )
            store.put_job(job.number, settled=True, result=ended)


def measured(folder: Path) -> None:
    """Latencies to AWS's regions, as a state folder keeps them."""
    with Store(folder) as store:
        latency = {f"aws/{region}": ms for region, ms in LATENCY.items()}
        store.keep("latency", msgspec.json.encode(latency), SystemClock().now())


def swept(folder: Path, tasks: int, *, over: bool = True) -> Sweep:
    """A sweep with a past: one task in twelve failed, in a sweep that is not over one in four waits.

    The log of each task that failed is here.
    """
    now, chance = SystemClock().now(), dice(5)
    params: list[Params] = [
        {
            "lr": float(f"{10 ** chance.uniform(-5, -1):.3g}"),
            "depth": chance.choice([2, 4, 6, 8]),
            "optimizer": chance.choice(["adam", "lion", "sgd"]),
        }
        for _ in range(tasks)
    ]
    words = ("python", "train.py", "--lr", "{lr}", "--depth", "{depth}", "--optimizer", "{optimizer}")
    wish = Sweep(
        number=0,
        desk="blue",
        image="img-1",
        provider="local",
        command=words,
        created_at=now - 7200,
        folder="project",
        machines=2,
        over_at=now if over else 0.0,
        deadline_at=None if over else now + 5 * 3600,
    )
    with SweepStore(folder) as store:
        sweep = store.create(wish, params)
        if over:
            store.change(sweep.number, over_at=now)
        machines = [
            Machine(
                name=f"sweep{sweep.number}-{n}",
                number=n,
                state=MachineState.GONE if over else MachineState.UP,
                slots=0 if over else 1,
            )
            for n in (1, 2)
        ]
        store.put_machines(sweep.number, machines)
        store.put(
            sweep.number, [_tried(n, given, machines[0].name, over) for n, given in enumerate(params, 1)]
        )
    out = folder / "sweeps" / sweep.id / "machines" / f"sweep{sweep.number}-1" / "out"
    out.mkdir(parents=True)
    for number in range(12, tasks + 1, 12):
        (out / f"{number:06d}.log").write_text(f"epoch 1\nMemoryError in task {number}\n")
    return sweep


def _tried(number: int, params: Params, machine: str, over: bool) -> Task:
    now = SystemClock().now()
    task = Task(number=number, params=params)
    if not over and number % 4 == 1:
        return task
    ran = {
        "attempt": 1,
        "machine": machine,
        "began_at": now - 3600,
        "ended_at": now - 3000,
        "seconds": 20.0 + number % 90,
    }
    if number % 12 == 0:
        why, last = "it ended with 1", f"MemoryError in task {number}"
        return replace(
            task,
            **{
                **ran,
                "state": State.FAILED,
                "failed": 2,
                "attempt": 2,
                "exit_status": 1,
                "why": why,
                "last": last,
            },
        )
    lr, depth = float(params["lr"]), float(params["depth"])
    loss = round(0.2 + 0.1 * abs(math.log10(lr) + 3) + 0.02 * depth + 0.1 * (params["optimizer"] == "sgd"), 5)
    return replace(
        task, **ran, state=State.DONE, exit_status=0, metrics={"loss": loss, "accuracy": round(1 - loss, 5)}
    )
