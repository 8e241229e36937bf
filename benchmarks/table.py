"""The whole table of docs/speed.md, measured: this build beside another or beside a rival, in turn.

    python -m benchmarks.table --against OTHER/CHECKOUT [--runs 3] [PART …]

Parts: calls, year, bill, planner, offers, local, files. Each line has its medians, their range and the ratio;
the last line says on what computer, and how busy it was. `offers` needs gpuhunt, `files` tar and zstd.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import local, year
from benchmarks.builds import HERE, child
from hotdesk.snapshots.snapshot import capture, remove, restore, verify


@dataclass
class Row:
    what: str
    unit: str
    mine: list[float]
    theirs: list[float]
    rival: str = "before"
    aim: str = ""

    def __str__(self) -> str:
        ratio = statistics.median(self.mine) / statistics.median(self.theirs) if self.theirs else None
        cells = [
            self.what,
            _spread(self.mine),
            f"{self.rival} {_spread(self.theirs)}" if self.theirs else "–",
        ]
        return f"| {' | '.join([*cells, self.unit, f'{ratio:.2f}' if ratio else '–', self.aim])} |"


def _spread(values: list[float]) -> str:
    least, most = min(values), max(values)
    middle = f"{statistics.median(values):.3g}"
    return middle if len(values) == 1 else f"{middle} ({least:.3g}–{most:.3g})"


@dataclass
class Table:
    against: Path
    runs: int
    scratch: Path
    rows: int
    builds: dict[str, Path] = field(init=False)

    def __post_init__(self) -> None:
        self.builds = {"this": HERE, "before": self.against}

    def script(self, name: str, build: str, *words: str) -> str:
        """What a benchmark of that build says."""
        code = f"import runpy, sys; runpy.run_path('benchmarks/{name}.py', run_name='__main__')"
        return child(self.builds[build], self.scratch / "compiled", code, *words)

    def in_turn(self, ask: Callable[[str], dict[str, float]], runs: int) -> dict[str, dict[str, list[float]]]:
        """By build, what each of its runs has told, by name."""
        found: dict[str, dict[str, list[float]]] = {build: {} for build in self.builds}
        for run in range(runs):
            for build in self.builds if run % 2 else reversed(self.builds):
                for what, value in ask(build).items():
                    found[build].setdefault(what, []).append(value)
        return found

    # ---- the parts -----------------------------------------------------------------------------------

    def calls(self) -> Iterator[Row]:
        def ask(build: str) -> dict[str, float]:
            said = re.findall(r"^(\S.*?) +(\d+) calls", self.script("calls", build), re.MULTILINE)
            return {verb: float(count) for verb, count in reversed(said)}

        found = self.in_turn(ask, 1)
        aims = {"up": "45", "park": "45", "resume": "45", "down": "45", "gc": "55", "up again": "6"}
        for verb, mine in reversed(found["this"].items()):
            yield Row(f"AWS: {verb}", "calls", mine, found["before"].get(verb, []), aim=aims.get(verb, ""))

    def year(self) -> Iterator[Row]:
        taken = year.measure(self.builds, 200, 300, self.runs)
        for act, aim in zip(year.ACTS, ("", "0.3 s", "", "0.1 ×"), strict=True):
            what = f"200 desks of a year: `{act}`"
            yield Row(what, "s of a processor", taken[act, "this"], taken[act, "before"], aim=aim)

    def bill(self) -> Iterator[Row]:
        def ask(build: str) -> dict[str, float]:
            return {
                "bill": float(child(self.builds[build], self.scratch / "compiled", _BILL, str(self.rows)))
            }

        found = self.in_turn(ask, 1)
        what = f"a desk's bill of {self.rows:,} rows"
        yield Row(what, "s of a processor", found["this"]["bill"], found["before"]["bill"], aim="0.1 ×")

    def planner(self) -> Iterator[Row]:
        def ask(build: str) -> dict[str, float]:
            said = re.findall(r"^planner, (.*?) +([\d.]+) ms", self.script("planner", build), re.MULTILINE)
            return {what: float(ms) for what, ms in said}

        found = self.in_turn(ask, self.runs)
        for what, mine in found["this"].items():
            yield Row(f"planner, 1,000 desks, {what}", "ms", mine, found["before"][what], aim="0.5 ×")

    def offers(self) -> Iterator[Row]:
        line = re.compile(r"^(.*?) +[\d,]+ +([\d.]+) ms .* ([\d.]+) ms +[\d.]+x$", re.MULTILINE)
        found: dict[str, tuple[list[float], list[float]]] = {}
        for _ in range(self.runs):
            for question, mine, theirs in line.findall(self.script("offers", "this")):
                both = found.setdefault(question, ([], []))
                both[0].append(float(mine))
                both[1].append(float(theirs))
        for question, (mine, theirs) in found.items():
            yield Row(f"60,000 offers: {question}", "ms", mine, theirs, rival="gpuhunt", aim="0.2 ×")

    def local(self) -> Iterator[Row]:
        here, there = local.measured(self.against, self.runs)
        aims = {"run -- true": "ssh + 1 s", "park, empty": "1 s", "resume, empty": "Jupyter + 0.5 s"}
        for act in ["ssh client", *local.ACTS]:
            yield Row(f"local desk: `{act}`", "s", here.wall[act], there.wall[act], aim=aims.get(act, ""))

    def files(self) -> Iterator[Row]:
        taken: dict[str, list[float]] = {}
        for run in range(self.runs):
            with tempfile.TemporaryDirectory(dir=self.scratch) as name:
                for what, seconds in _of_small_files(Path(name), run):
                    taken.setdefault(what, []).append(seconds)
        rivals = {"save and read back": ("tar | zstd", "1.0 ×"), "restore": ("zstd | tar", "1.1 ×")}
        for what, mine in taken.items():
            if what in {rival for rival, _ in rivals.values()}:
                continue
            rival, aim = rivals.get(what, ("tar | zstd", ""))
            yield Row(f"{FILES:,} small files: {what}", "s of a processor", mine, taken[rival], rival, aim)


PARTS = ("calls", "year", "bill", "planner", "offers", "local", "files")
FILES = 57_000
_BILL = """
import sys, tempfile, time
from pathlib import Path
from benchmarks.year import fill
from hotdesk.core.billing.charges import charges
from hotdesk.core.billing.statement import lines
from hotdesk.core.model import Seen
from hotdesk.state.store import Store
with tempfile.TemporaryDirectory() as folder:
    fill(Path(folder), 1, int(sys.argv[1]))
    with Store(Path(folder)) as store:
        began = time.process_time()
        lines(charges("desk0", store.rows(limit=10**7), time.time(), Seen(), provider="aws"), time.time())
        print(time.process_time() - began)
"""


def _of_small_files(top: Path, run: int) -> Iterator[tuple[str, float]]:
    """Processor seconds, children's included, of what is done to a folder as a venv has them."""
    home, store, back, out = top / "home", top / "store", top / "back", top / "out"
    dice = random.Random(run)
    words = [dice.randbytes(4).hex() for _ in range(2000)]
    names = [home / f"package{n // 400}" / f"part{n // 40 % 10}" / f"module{n}.py" for n in range(FILES)]
    for name in names:
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_text(" ".join(dice.choices(words, k=dice.randrange(20, 800))))
    out.mkdir()
    first, second, third = top / "first", top / "second", top / "third"

    def save(manifest: Path, previous: Path | None = None) -> None:
        capture(home, store, manifest, previous=previous)
        verify(manifest, store)

    def shell(line: str) -> None:
        subprocess.run(line, shell=True, cwd=top, check=True)

    acts: list[tuple[str, Callable[[], object]]] = [
        ("tar | zstd", lambda: shell("tar -C home -c . | zstd -q -1 -T0 -f -o home.tar.zst")),
        ("save and read back", lambda: save(first)),
        ("zstd | tar", lambda: shell("zstd -q -d -c home.tar.zst | tar -C out -x")),
        ("restore", lambda: restore(first, store, back)),
        ("save again, unchanged", lambda: save(second, first)),
    ]
    for what, act in acts:
        yield what, _cpu(act)
    for name in dice.sample(names, FILES // 100):
        name.write_text(name.read_text() + " changed")
    yield "save again, 1 % changed", _cpu(lambda: save(third, second))
    yield "remove", _cpu(lambda: remove(back))


def _cpu(act: Callable[[], object]) -> float:
    def used() -> float:
        both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in both)

    before = used()
    act()
    return used() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART")
    parser.add_argument("--against", type=Path, required=True, help="a checkout of the other build")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=100_000, help="of the journal of which a bill is made")
    asked = parser.parse_args()
    print("| what | this build | beside | unit | ratio | aim |\n|---|---|---|---|---|---|", flush=True)
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory(prefix="hotdesk-bench-") as scratch:
        table = Table(asked.against.resolve(), asked.runs, Path(scratch), asked.rows)
        for part in asked.parts or PARTS:
            for row in getattr(table, part)():
                print(row, flush=True)
            loads.append(os.getloadavg()[0])
    print(
        f"\n{time.strftime('%d %B %Y')}, {os.cpu_count()} processors ({platform.machine()}), load "
        f"{min(loads):.0f}–{max(loads):.0f}, Python {platform.python_version()}; median (range) of up to "
        f"{asked.runs} runs in turn"
    )


if __name__ == "__main__":
    sys.exit(main())
