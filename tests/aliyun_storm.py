"""Kill hotdesk again and again at the fake ECS, and see that nothing is lost, doubled or left.

    python -m tests.aliyun_storm [--kills 100] [--seed 1]

In every round a random verb begins and is killed with `kill -9` at a random moment. Whatever was written at
the desk that was said to be up is counted on from then on. After some rounds all is quiet: the desk is
brought up, and everything counted on must be there. In the end it is taken down, and nothing may be left.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.aliyun_cli import RATE, SETTINGS
from tests.aliyun_desk import CREDENTIALS, paid, with_a_network
from tests.fake_ecs.server import FakeEcs

ROOT = Path(__file__).parents[1]
VERBS = (
    ("up", "blue", "--type", "ecs.g7.xlarge", "--market", "on-demand"),
    *(("park", "blue"), ("park", "blue"), ("resume", "blue"), ("stop", "blue"), ("start", "blue")),
    ("up", "blue"),
)
LONGEST_SECONDS = 4.0  # until a verb is killed


class Violation(AssertionError):
    pass


class Storm:
    def __init__(self, fake: FakeEcs, folder: Path, seed: int) -> None:
        self.fake, self.folder, self.random = fake, folder, random.Random(seed)
        self.written: list[str] = []
        (folder / "state").mkdir(mode=0o700)
        (folder / "hotdesk.toml").write_text(SETTINGS.format(url=fake.url))
        self.environment = {
            **os.environ, **CREDENTIALS, "HOME": str(folder), "PYTHONPATH": str(ROOT / "src"),
            "HOTDESK_STATE": str(folder / "state"), "HOTDESK_CONFIG": str(folder / "hotdesk.toml"),
        }  # fmt: skip

    def start(self, *words: str) -> subprocess.Popen[str]:
        (self.folder / "state" / "looked").touch()
        return subprocess.Popen(
            [sys.executable, "-m", "hotdesk", *words], env=self.environment, cwd=self.folder, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def ask(self, *words: str) -> str:
        """A command that nobody kills; it must do what it says."""
        process = self.start(*words)
        said, _ = process.communicate(timeout=240)
        if process.returncode:
            raise Violation(f"{' '.join(words)} exits with {process.returncode}:\n{said}")
        return said

    def round(self) -> bool:
        """One verb, killed at some moment; whether it was."""
        process = self.start(*self.random.choice(VERBS))
        try:
            process.communicate(timeout=self.random.uniform(0.2, LONGEST_SECONDS))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            return True
        return False

    def quiet(self) -> None:
        """The desk is brought up, and everything that counts is there; then one thing more."""
        desks = self.ask("ls", "--json")
        self.ask(
            "resume" if '"parked"' in desks else "up", "blue", *(VERBS[0][2:] if "blue" not in desks else ())
        )
        there = self.ask("ssh", "blue", "--", "cat work.txt 2>/dev/null; true").split()
        if there != self.written:
            raise Violation(f"written were {self.written}, there is {there}")
        word = f"w{len(self.written)}"
        self.ask("ssh", "blue", "--", f"echo {word} >> work.txt; sync")
        self.written.append(word)
        machines = self.fake.world.every("instance")
        if len(machines) != 1:
            raise Violation(f"there are {len(machines)} machines")


def storm(kills: int, seed: int, folder: Path, every: int = 8, tell: Callable[[str], object] = print) -> int:
    """That many kills; the number of rounds. Raises `Violation`."""
    with pytest.MonkeyPatch.context() as patch:
        from tests.light.desk import ssh_for

        ssh_for(folder / "ssh", patch)
        with FakeEcs(rate=RATE, rig="tests.light:machines") as fake:
            with_a_network(fake, "cn-hangzhou")
            it = Storm(fake, folder, seed)
            it.quiet()
            done = rounds = 0
            while done < kills:
                rounds += 1
                done += it.round()
                if rounds % every == 0:
                    it.quiet()
                    tell(f"{rounds} rounds, {done} kills, {len(it.written)} things written, all there")
            it.quiet()
            it.ask("park", "blue")
            if paid(fake) != {"snapshot": 1}:
                raise Violation(f"parked, it pays for {paid(fake)}")
            it.ask("down", "blue", "--yes")
            if paid(fake):
                raise Violation(f"after down there is {paid(fake)}")
            return rounds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hotdesk-storm-") as folder:
        try:
            rounds = storm(asked.kills, asked.seed, Path(folder))
        except Violation as wrong:
            print(f"violated: {wrong}")
            return 1
    print(f"{asked.kills} kills in {rounds} rounds: nothing lost, doubled or left")
    return 0


if __name__ == "__main__":
    sys.exit(main())
