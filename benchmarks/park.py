"""Park and resume of a home, beside `tar | zstd`: medians of alternated runs, and their ratio.

    PYTHONPATH=src python benchmarks/park.py [--gb 2] [--runs 5] [--folder /tmp]

The rival writes no checksum, reads nothing back and flushes nothing to the disk. `park` is capture and
verify together; `again` is a park after a small change (ten sources edited, a checkpoint grown by 1 MB);
`after resume` is the first park of a restored disk, of which nothing was changed.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hotdesk.snapshots.snapshot import capture, remove, restore, verify

MB = 1_000_000


def build_home(home: Path, bytes_wanted: int, seed: int = 1) -> tuple[int, int]:
    """A deep-learning home in about these proportions: 4 % sources, 20 % pictures, 55 % tensors, rest text.

    Returns the number of files and of bytes.
    """
    rng = random.Random(seed)
    words = [rng.randbytes(5).hex()[: rng.randint(2, 10)] for _ in range(4000)]
    signs = bytes((0x3B + i % 3) | (0x80 if i & 1 else 0) for i in range(256))  # of small weights

    def sources() -> None:
        line = "    {} = {}({}, {})  # {} {} {}\n"
        for i in range(max(1, bytes_wanted // 200_000)):
            folder = home / "venv" / f"package{i // 40}" / f"part{i % 4}"
            folder.mkdir(parents=True, exist_ok=True)
            lines = min(2000, int(rng.lognormvariate(4.4, 1.0)))
            (folder / f"module{i}.py").write_text(
                "".join(line.format(*rng.choices(words, k=7)) for _ in range(lines))
            )

    def pictures() -> None:
        folder = home / "data" / "pictures"
        folder.mkdir(parents=True)
        for i in range(max(1, bytes_wanted // 5 // 110_000)):
            (folder / f"{i:06}.jpg").write_bytes(rng.randbytes(rng.randint(20_000, 200_000)))

    def tensors() -> None:
        folder = home / "checkpoints"
        folder.mkdir()
        for i in range(3):
            with (folder / f"epoch{i}.pt").open("wb") as file:
                for _ in range(max(1, bytes_wanted * 55 // 100 // 3 // (8 * MB))):
                    block = bytearray(8 * MB)
                    for byte in range(3):
                        block[byte::4] = rng.randbytes(2 * MB)
                    block[3::4] = rng.randbytes(2 * MB).translate(signs)
                    file.write(block)

    def tables() -> None:
        folder = home / "data" / "tables"
        folder.mkdir()
        for i in range(4):
            with (folder / f"{i}.csv").open("w") as file:
                while file.tell() < bytes_wanted * 15 // 100 // 4:
                    file.write(
                        "".join(
                            f"{rng.gauss(0, 1):.6f},{rng.choice(words)},{rng.random():.4f}\n"
                            for _ in range(20000)
                        )
                    )
        with (home / "data" / "corpus.txt").open("w") as file:
            while file.tell() < bytes_wanted * 6 // 100:
                file.write(" ".join(rng.choices(words, k=50000)) + "\n")

    home.mkdir(parents=True)
    sources()
    pictures()
    tensors()
    tables()
    sizes = [(Path(at) / name).stat().st_size for at, _, names in os.walk(home) for name in names]
    return len(sizes), sum(sizes)


class Bench:
    """Timed acts by name: wall and CPU seconds of each run."""

    def __init__(self) -> None:
        self.wall: dict[str, list[float]] = {}
        self.cpu: dict[str, list[float]] = {}

    def time(self, name: str, act: Callable[[], object]) -> None:
        os.sync()  # what earlier acts left to be written is not charged to this one
        before, start = os.times(), time.perf_counter()
        act()
        seconds, after = time.perf_counter() - start, os.times()
        self.wall.setdefault(name, []).append(seconds)
        self.cpu.setdefault(name, []).append(sum(after[:4]) - sum(before[:4]))
        print(f"  {name:<14} {seconds:7.2f} s", flush=True)

    def row(self, name: str, rival: str) -> str:
        wall, cpu = statistics.median(self.wall[name]), statistics.median(self.cpu[name])
        rival_wall, rival_cpu = statistics.median(self.wall[rival]), statistics.median(self.cpu[rival])
        return (
            f"{name:<14}{wall:9.2f}{rival_wall:9.2f}{wall / rival_wall:8.2f}"
            f"{cpu:10.2f}{rival_cpu:9.2f}{cpu / rival_cpu:8.2f}   {rival}"
        )


def change_a_little(home: Path, number: int) -> None:
    for path in sorted((home / "venv").rglob("*.py"))[number * 10 : number * 10 + 10]:
        path.write_text(path.read_text() + f"# edited {number}\n")
    with (home / "checkpoints" / "epoch2.pt").open("ab") as file:
        file.write(random.Random(number).randbytes(MB))


#: What others do for the same: with what they save, bring back, save again after a small change.
RIVALS: dict[str, tuple[str, str, str]] = {
    "tar and zstd": (
        "tar -C home -c . | zstd -q -1 -T0 -f -o home.tar.zst",
        "zstd -q -d -c home.tar.zst | tar -C out -x",
        "tar -C home -c . | zstd -q -1 -T0 -f -o home.tar.zst",
    ),
    "rsync": ("rsync -a home/ copy/", "rsync -a copy/ out/", "rsync -a home/ copy/"),
    "restic": (
        "restic -q init && restic -q backup home && restic -q check --read-data",
        "restic -q restore latest --target out",
        "restic -q backup home",
    ),
}


def measured(gb: float, runs: int, folder: Path) -> dict[str, Any]:
    """Wall and processor seconds of saving a home, bringing it back and saving it again, beside others in
    turn.

        hotdesk and restic read back what they have saved, and compare it; tar and rsync do not. After a small
        change all but tar save the change alone, and hotdesk reads that back. `restic` is left out where it
        is not installed.
    """
    variables = {
        **os.environ,
        "RESTIC_REPOSITORY": "repository",
        "RESTIC_PASSWORD": "none",
        "HOME": str(folder),
    }
    acts: dict[str, tuple[Callable[[], object], ...]] = {"hotdesk": _ours(folder)}
    for name, lines in RIVALS.items():
        if shutil.which(name.split()[0]):
            acts[name] = tuple(partial(_shell, line, folder, variables) for line in lines)
    taken = {name: Bench() for name in acts}
    count, size = 0, 0
    for run in range(runs):
        for left in folder.iterdir():
            remove(left) if left.is_dir() else left.unlink()
        count, size = build_home(folder / "home", int(gb * 1000 * MB), seed=run)
        for number, what in enumerate(("save", "bring back", "save again")):
            if what == "save again":
                change_a_little(folder / "home", run)
            for name in [*acts, *acts][run % len(acts) :][: len(acts)]:
                print(name, end=": ")
                taken[name].time(what, acts[name][number])
                shutil.rmtree(folder / "out", ignore_errors=True)
                (folder / "out").mkdir()
    kinds = {
        kind: {
            what: {name: [round(s, 2) for s in getattr(bench, kind)[what]] for name, bench in taken.items()}
            for what in taken["hotdesk"].wall
        }
        for kind in ("wall", "cpu")
    }
    return {"files": count, "bytes": size, **kinds}


def _ours(folder: Path) -> tuple[Callable[[], object], ...]:
    home, store = folder / "home", folder / "store"

    def save(manifest: str, previous: Path | None = None) -> None:
        capture(home, store, folder / manifest, previous=previous)
        verify(folder / manifest, store)

    return (
        lambda: save("first"),
        lambda: restore(folder / "first", store, folder / "out" / "home"),
        lambda: save("second", folder / "first"),
    )


def _shell(line: str, folder: Path, variables: dict[str, str]) -> None:
    subprocess.run(line, shell=True, cwd=folder, env=variables, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--gb", type=float, default=2.0)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to work (a few times the size is needed)")
    options = parser.parse_args()
    bench = Bench()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        top = Path(name)
        home, out, store, back = top / "home", top / "out", top / "store", top / "back"
        first, second, third = top / "first", top / "second", top / "third"
        count, size = build_home(home, int(options.gb * 1000 * MB))
        print(f"{count} files, {size / MB:.0f} MB; {os.cpu_count()} cores")

        def pack_rival() -> None:
            subprocess.run(
                "tar -C home -c . | zstd -q -1 -T0 -f -o home.tar.zst", shell=True, cwd=top, check=True
            )

        def unpack_rival() -> None:
            subprocess.run("zstd -q -d -c home.tar.zst | tar -C out -x", shell=True, cwd=top, check=True)

        def park(disk: Path, manifest: Path, previous: Path | None = None) -> None:
            capture(disk, store, manifest, previous=previous)
            verify(manifest, store)

        for run in range(options.runs):
            print(f"run {run + 1} of {options.runs}")
            shutil.rmtree(store, ignore_errors=True)
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            remove(back)
            pairs = [
                (("tar | zstd", pack_rival), ("park", lambda: park(home, first))),
                (("zstd | tar", unpack_rival), ("resume", lambda: restore(first, store, back))),
            ]
            for pair in pairs:
                for act in pair if run % 2 else reversed(pair):
                    bench.time(*act)
            bench.time("after resume", lambda: park(back, third, first))
            change_a_little(home, run)
            bench.time("again", lambda: park(home, second, first))
    print(f"\n{'':<14}{'seconds':>9}{'rival':>9}{'ratio':>8}{'cpu':>10}{'rival':>9}{'ratio':>8}")
    for mine, rival in (
        ("park", "tar | zstd"),
        ("resume", "zstd | tar"),
        ("again", "park"),
        ("after resume", "park"),
    ):
        print(bench.row(mine, rival))


if __name__ == "__main__":
    main()
