"""Bytes and memory of carrying a disk between two computers, beside `rsync -a` of the same.

    python -m benchmarks.anywhere [--files 20000] [--mib 300] [--wan]

A tree of many small files and some big ones, half of them text, is pulled into an empty store, taken into a
store there, pulled again after a change of 1 % of its files, and pushed to another store. Figures: bytes on
the line by direction, the far end's memory at its highest (`wait4`), and what rsync sends.

`--wan`: seconds instead, over ssh and a line of 100 Mbit/s and 50 ms (tests/wan.py, needs root): the tree is
captured here, sent, restored and read back there; `rsync -a` sends it, and reads nothing back. `--desks 10`:
so many of a tenth each go side by side, each to a store of its own; what counts is how full the line is.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hotdesk.snapshots import kept, snapshot, transfer
from tests import far_rig, wan

_FAR = """
import sys
from pathlib import Path
import hotdesk.providers.local.served  # as there
from hotdesk.snapshots import kept, transfer
sys.exit(transfer.serve(lambda line: {0}(line, *map(Path, {1!r})), *transfer.standard()))
"""


def tree(folder: Path, files: int, mib: int, dice: random.Random) -> list[Path]:
    """Files of which a quarter of the bytes is in ten big ones; half of the small ones are text."""
    made = []
    small = mib * (1 << 20) * 3 // 4 // files
    words = b" ".join(b"%d" % dice.randrange(10**6) for _ in range(small))
    for number in range(files):
        path = folder / f"d{number % 300}" / f"f{number}"
        path.parent.mkdir(exist_ok=True, parents=True)
        begin = dice.randrange(5 * small)
        path.write_bytes(words[begin : begin + small] if number % 2 else dice.randbytes(small))
        made.append(path)
    for number in range(10):
        (folder / f"big{number}").write_bytes(dice.randbytes(mib * (1 << 20) // 40))
    return made


def far(code: str, near: object) -> tuple[transfer.Line, int]:
    """Run one end in a process and `near` here; the line, and the process's peak memory in bytes."""
    argv, heap = [sys.executable, "-c", code], {**os.environ, "MALLOC_ARENA_MAX": "1"}
    process = subprocess.Popen(argv, env=heap, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    line = transfer.Line(process.stdout, process.stdin)  # type: ignore[arg-type]
    near(line)  # type: ignore[operator]
    process.stdin.close()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return line, used.ru_maxrss * 1024


def rsync(source: Path, target: Path) -> int:
    argv = ["rsync", "-a", "--no-whole-file", "--delete", "--stats", f"{source}/", f"{target}/"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    found = re.findall(r"Total bytes (?:sent|received): ([\d,.]+)", said)
    return sum(int(re.sub(r"\D", "", number)) for number in found)


def many(top: Path, ssh: list[str], files: int, mib: int, desks: int) -> None:
    """Send so many trees to as many stores side by side, restore them there and read them back."""
    for number in range(desks):
        (top / f"disk{number}").mkdir()
        tree(top / f"disk{number}", files, mib, random.Random(number))

    def carry(number: int) -> tuple[int, float]:
        store, manifest, other = top / f"s{number}", top / f"m{number}", top / f"o{number}"
        snapshot.capture(top / f"disk{number}", store, manifest)
        take = _FAR.format("transfer.take", [str(other), f"{manifest}.there"])
        argv = [*ssh, "far.example", shlex.join([sys.executable, "-c", take])]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            sent = transfer.push(transfer.Line(process.stdout, process.stdin), store, manifest)  # type: ignore[arg-type]
        sending = time.monotonic()
        back = _BACK.format(f"{manifest}.there", str(other), str(top / f"back{number}"))
        subprocess.run([*ssh, "far.example", shlex.join([sys.executable, "-c", back])], check=True)
        return sent, sending

    began = time.monotonic()
    with ThreadPoolExecutor(desks) as pool:
        done = list(pool.map(carry, range(desks)))
    total, last = sum(sent for sent, _ in done), max(at for _, at in done) - began
    share = total * 8 / last / 100e6
    print(
        f"{desks} desks side by side: {total / 1e6:.0f} MB in {last:.1f} s, {share:.0%} of the line;", end=" "
    )
    print(f"all restored and read back after {time.monotonic() - began:.1f} s")


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--files", type=int, default=20_000)
    asked.add_argument("--mib", type=int, default=300)
    asked.add_argument("--wan", action="store_true")
    asked.add_argument("--desks", type=int, default=1, help="with --wan")
    asked.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.wan:
        words = [sys.executable, "-m", "benchmarks.anywhere", "--inside"]
        words += ["--files", str(given.files), "--mib", str(given.mib), "--desks", str(given.desks)]
        plan: dict[str, dict[str, float] | None] = {"far.example": {"rtt_ms": 50, "mbit": 100}}
        print(wan.run(plan, words, dict(os.environ), seconds=3600), end="")
        return
    if given.inside:
        over_a_line(given.files, given.mib, given.desks)
        return
    dice = random.Random(1)
    top = Path(tempfile.mkdtemp(prefix="hotdesk-anywhere-"))
    try:
        disk, notes, store, other = top / "disk", top / "notes", top / "store", top / "other"
        disk.mkdir()
        files = tree(disk, given.files, given.mib, dice)
        print(f"{len(files) + 10} files, {given.mib} MiB; MB on the line in both directions, and far memory")

        def report(what: str, line: transfer.Line, memory: int, theirs: int) -> None:
            ours = line.sent + line.received
            beside = f"rsync {theirs / 1e6:9.1f} MB  {ours / theirs:.2f}x" if theirs else ""
            print(f"{what:28} {ours / 1e6:9.1f} MB  {memory / 1e6:6.1f} MB  {beside}")

        give = _FAR.format("transfer.give", [str(disk), str(notes)])
        line, memory = far(give, lambda end: transfer.pull(end, store, top / "1.manifest"))
        report("captured there, first", line, memory, rsync(disk, top / "copy"))
        keep = _FAR.format("kept.keep", [str(disk), str(top / "stays"), str(top / "stays.manifest")])
        line, memory = far(keep, lambda end: kept.kept(end, top / "0.manifest", lambda share, words: None))
        report("captured there, stays there", line, memory, 0)
        for path in dice.sample(files, len(files) // 100):
            path.write_bytes(dice.randbytes(path.stat().st_size))
        line, memory = far(give, lambda end: transfer.pull(end, store, top / "2.manifest"))
        theirs = rsync(disk, top / "copy")
        report("captured there, 1 % changed", line, memory, theirs)
        take = _FAR.format("transfer.take", [str(other), str(top / "there.manifest")])
        line, memory = far(take, lambda end: transfer.push(end, store, top / "1.manifest"))
        report("sent there, first", line, memory, rsync(disk, top / "copy2"))
        line, memory = far(take, lambda end: transfer.push(end, store, top / "2.manifest"))
        report("sent there, 1 % changed", line, memory, theirs)
    finally:
        shutil.rmtree(top)


_BACK = """
import sys
from pathlib import Path
from hotdesk.snapshots import snapshot
snapshot.restore(Path({0!r}), Path({1!r}), Path({2!r}))
snapshot.compare(Path({0!r}), Path({2!r}))
"""


def over_a_line(files: int, mib: int, desks: int) -> None:
    """Carry a tree to far.example, first and after a change of 1 %; and let rsync do so, each in turn.

    Of several desks each has a part of it, and all go side by side, once.
    """
    dice = random.Random(1)
    top = Path(tempfile.mkdtemp(prefix="hotdesk-anywhere-"))
    machine = far_rig.FarMachine(top / "sshd", "far.example", listen="0.0.0.0")
    try:
        known = top / "known"
        known.write_text(f"far.example {(top / 'sshd' / 'host.pub').read_text()}")
        config = top / "sshd" / "ssh_config"
        ssh = ["ssh", "-F", str(config), "-o", f"UserKnownHostsFile={known}", "-o", "HostName=far.example"]
        disk, store, other = top / "disk", top / "store", top / "other"
        disk.mkdir()
        made = tree(disk, files, mib, dice)
        print(f"{len(made) + 10} files, {mib} MiB over 100 Mbit/s and 50 ms; load {os.getloadavg()[0]:.1f}")

        if desks > 1:
            many(top, ssh, files // desks, mib // desks, desks)
            return

        def there(code: str) -> list[str]:
            return [*ssh, "far.example", shlex.join([sys.executable, "-c", code])]

        def ours(number: int) -> float:
            began = time.monotonic()
            took = [began]
            manifest, arrived = top / f"{number}.manifest", top / f"{number}.arrived"
            earlier = top / f"{number - 1}.manifest"
            snapshot.capture(disk, store, manifest, previous=earlier if earlier.exists() else None)
            took.append(time.monotonic())
            argv = there(_FAR.format("transfer.take", [str(other), str(arrived)]))
            with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
                transfer.push(transfer.Line(process.stdout, process.stdin), store, manifest)  # type: ignore[arg-type]
            took.append(time.monotonic())
            back = there(_BACK.format(str(arrived), str(other), str(top / f"back{number}")))
            subprocess.run(back, check=True)
            took.append(time.monotonic())
            parts = [f"{after - before:.1f}" for before, after in itertools.pairwise(took)]
            print(f"  captured, sent, restored and read back: {', '.join(parts)} s")
            return took[-1] - began

        def theirs() -> float:
            began = time.monotonic()
            words = ["rsync", "-a", "--delete", "-e", shlex.join(ssh), f"{disk}/", f"far.example:{top}/copy/"]
            subprocess.run(words, check=True)
            return time.monotonic() - began

        for number, what in enumerate(("first", "1 % changed")):
            if number:
                for path in dice.sample(made, len(made) // 100):
                    path.write_bytes(dice.randbytes(path.stat().st_size))
            mine, rsyncs = ours(number), theirs()
            print(f"{what:14} {mine:7.1f} s   rsync -a {rsyncs:7.1f} s   {mine / rsyncs:.2f}x")
    finally:
        machine.cut()
        shutil.rmtree(top)


if __name__ == "__main__":
    main()
