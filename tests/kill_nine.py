"""Kill hotdesk again and again, and show that nothing is lost.

    python -m tests.kill_nine [--times 100] [--seed 1] [--workers]

Each time, a verb of a desk's day is begun on a real local desk and killed with `kill -9` at a random
moment; the same verb is run again and must end with exit 0, the wanted state and all work intact. With
`--workers` a background process of the desk (its supervisor, Jupyter, a baker) is killed too, now and then.
Prints one line a round. Exits with 1 at the first violation. Leaves nothing behind.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

NAME = "kill"
#: phase -> the verbs that make sense in it
DAY = {
    "none": ["up"],
    "ready": ["park", "park", "stop", "up", "move", "down"],
    "stopped": ["start", "park", "up", "down"],
    "parked": ["resume", "resume", "up", "down"],
}
#: verb -> the phase it promises
PROMISE = {
    "up": "ready",
    "resume": "ready",
    "start": "ready",
    "move": "ready",
    "stop": "stopped",
    "park": "parked",
    "down": "none",
}
SLOWEST = {"up": 4.0, "resume": 4.0, "start": 3.0, "move": 6.0, "stop": 1.0, "park": 2.0, "down": 1.0}


class Violation(AssertionError):
    pass


class Run:
    def __init__(self, state: Path, seed: int, workers: bool) -> None:
        self.random = random.Random(seed)
        self.workers = workers
        self.state = state
        self.environment = {**os.environ, "HOTDESK_STATE": str(state)}
        self.work: list[str] = []

    def argv(self, verb: str) -> list[str]:
        return [sys.executable, "-m", "hotdesk", verb, NAME, *self.extra(verb)]

    def extra(self, verb: str) -> list[str]:
        more = {"down": ["--yes"], "park": ["--yes"], "stop": ["--yes"]}  # a desk that died cannot be asked
        return {**more, "move": ["--type", "local.cpu", "--yes"]}.get(verb, [])

    def hotdesk(self, *words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "hotdesk", *words]
        return subprocess.run(argv, env=self.environment, capture_output=True, text=True, timeout=180)

    def phase(self) -> str:
        listed = self.hotdesk("ls", "--json")
        if listed.returncode:
            raise Violation(f"ls failed: {listed.stderr}")
        desks = {desk["name"]: desk["phase"] for desk in json.loads(listed.stdout)}
        return str(desks.get(NAME, "none"))

    def round(self) -> str:
        phase = self.phase()
        verb = self.random.choice(DAY[phase])
        delay = self.random.uniform(0.0, SLOWEST[verb])
        command = subprocess.Popen(
            self.argv(verb), env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(delay)
        if self.workers and self.random.random() < 0.3:
            self.kill_a_worker()
        command.kill()
        killed = command.wait() == -signal.SIGKILL
        again = subprocess.run(
            self.argv(verb), env=self.environment, capture_output=True, text=True, timeout=180
        )
        if again.returncode != 0:
            raise Violation(f"{verb} after a kill at {delay:.2f} s exits {again.returncode}: {again.stderr}")
        reached = self.phase()
        if reached != PROMISE[verb]:
            raise Violation(f"{verb} after a kill at {delay:.2f} s: {reached}, not {PROMISE[verb]}")
        if verb == "down":
            self.work = []
            self.nothing_left()
        if reached == "ready":
            self.check_work()
            self.do_work()
        return f"{phase:8} {verb:7} {'killed' if killed else 'ended before'} at {delay:4.2f} s -> {reached}"

    def kill_a_worker(self) -> None:
        ours = []
        for process in psutil.process_iter(["cmdline"]):
            line = " ".join(process.info["cmdline"] or [])
            if str(self.state) in line and "hotdesk" in line and f" {NAME}" not in line:
                ours.append(process)
        if ours:
            self.random.choice(ours).kill()

    def do_work(self) -> None:
        word = f"line {len(self.work)} {self.random.random()}"
        made = self.hotdesk("ssh", NAME, "--", f"echo '{word}' >> work.txt && sync")
        if made.returncode:
            raise Violation(f"work could not be done: {made.stderr}")
        self.work.append(word)

    def check_work(self) -> None:
        read = self.hotdesk("ssh", NAME, "--", "cat work.txt 2>/dev/null; true")
        if read.stdout.splitlines() != self.work:
            raise Violation(f"work was lost: {read.stdout!r} is not {self.work!r}\n{read.stderr}")

    def nothing_left(self) -> None:
        for process in psutil.process_iter(["environ", "cmdline"]):
            line = " ".join(process.info["cmdline"] or [])
            mine = (process.info["environ"] or {}).get("HOTDESK_STATE") == str(self.state)
            if (mine or str(self.state) in line) and process.pid != os.getpid():
                raise Violation(f"after down, process {process.pid} still runs: {line}")
        files = [p for p in self.state.rglob("*") if NAME in p.name]
        if files:
            raise Violation(f"after down, there is still {files[:5]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", action="store_true", help="kill background processes as well")
    asked = parser.parse_args()
    state = Path(tempfile.mkdtemp(prefix="hotdesk-kill-"))
    run = Run(state, asked.seed, asked.workers)
    try:
        for number in range(1, asked.times + 1):
            print(f"{number:4}  {run.round()}", flush=True)
        print(f"{asked.times} kills, nothing lost (seed {asked.seed})")
    except Violation as violation:
        print(f"VIOLATION (seed {asked.seed}): {violation}\nthe state is kept in {state}", file=sys.stderr)
        return 1
    run.hotdesk("down", NAME, "--yes")
    shutil.rmtree(state)
    return 0


if __name__ == "__main__":
    sys.exit(main())
