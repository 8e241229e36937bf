"""Kill hotdesk again and again on the fake EC2, while a second computer acts on the same desks.

    python -m tests.storm [--kills 200] [--seed 1]

Two computers (each with its own state folder, home and keys) know the same desks in one account. In every
round one begins a random verb and is killed with `kill -9` at a random moment; now and then the other acts on
the same desk in that very moment, and may be killed too. Whatever somebody wrote at a desk that was said to
be up is counted on from then on. After some rounds all is quiet: one computer parks each desk and resumes it,
everything counted on must be there, and the account, read with the aws command line, must hold exactly what
`hotdesk ls` says. In the end both say `down`, and nothing may be left. Prints a line a round, and exits with
1 at the first violation.
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
from typing import Any

from fake_ec2.process import FakeEc2

REGIONS = ("us-west-2", "us-east-1")
DESKS = ("blue", "red")
TYPE = ("--type", "t3.medium", "--market", "on-demand")
#: phase -> the verbs that make sense in it
DAY = {
    "none": ["up"],
    "ready": ["park", "park", "stop", "up", "up", "move", "down"],
    "stopped": ["start", "park", "up"],
    "parked": ["resume", "resume", "up", "down"],
}
SLOWEST = {"up": 6.0, "resume": 8.0, "start": 4.0, "move": 9.0, "stop": 3.0, "park": 7.0, "down": 4.0}
PATIENCE = 420.0  # seconds: for so long a command may wait for what another computer began
OURS_IS_ANOTHERS = "can log in"
CONFIG = """
[defaults]
provider = "aws"
regions = ["us-west-2"]
[aws]
regions = ["us-west-2", "us-east-1"]
address = "127.0.0.1/32"
lag_seconds = 0.0
poll_seconds = 0.3
"""


#: Light machines listen at a port that needs no root (tests/light/machine.py).
SSH = """\
#!/bin/sh
case "$* " in *" -p 22 "*) exec {ssh} -p 2022 "$@" ;; esac
exec {ssh} "$@"
"""


class Violation(AssertionError):
    pass


class Computer:
    """A state folder, a home, and the hotdesk that works with them."""

    def __init__(self, name: str, folder: Path, fake: FakeEc2) -> None:
        self.name = name
        home, state = folder / name / "home", folder / name / "state"
        home.mkdir(parents=True)
        state.mkdir(mode=0o700)
        (folder / name / "hotdesk.toml").write_text(CONFIG)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "HOTDESK_", "SSH_"))}
        self.environment = {
            **kept,
            **fake.environment("us-west-2"),
            "PATH": os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "HOME": str(home),
            "HOTDESK_STATE": str(state),
            "HOTDESK_CONFIG": str(folder / name / "hotdesk.toml"),
        }

    def begin(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "hotdesk", *words],
            env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )  # fmt: skip

    def run(self, *words: str) -> tuple[int, str]:
        process = self.begin(*words)
        try:
            said, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
            raise Violation(f"{self.name}: hotdesk {' '.join(words)} does not end: {said[-1500:]}") from None
        if "Traceback" in said:
            raise Violation(f"{self.name}: hotdesk {' '.join(words)}: {said[-3000:]}")
        return process.returncode, said

    def phases(self) -> dict[str, str]:
        code, said = self.run("ls", "--json")
        if code:
            raise Violation(f"{self.name}: ls exits with {code}: {said}")
        return {row["name"]: row["phase"] for row in json.loads(said[said.index("[") :])}


def of_another_kind(words: list[str], said: str) -> bool:
    """Whether the desk has a machine of another kind by now: the other computer's doing, and no fault."""
    return words[0] in {"up", "move"} and "has a machine already" in said


class Storm:
    def __init__(self, fake: FakeEc2, folder: Path, seed: int) -> None:
        self.fake = fake
        self.random = random.Random(seed)
        (folder / "ssh").write_text(SSH.format(ssh=shutil.which("ssh")))
        (folder / "ssh").chmod(0o755)
        self.computers = [Computer(name, folder, fake) for name in ("anna", "ben")]
        self.work: dict[str, list[str]] = {desk: [] for desk in DESKS}  # what is counted on
        self.kills = 0
        self.lines = 0

    # ---- a round -----------------------------------------------------------------------------------------

    def words(self, verb: str, desk: str) -> list[str]:
        more: list[str] = []
        if verb in {"up", "resume"}:
            more = [*TYPE] if verb == "resume" or self.random.random() < 0.5 else []
        if verb == "move":
            more = ["--type", self.random.choice(["t3.medium", "t3.large"]), "--market", "on-demand"]
            more += ["--zone", self.random.choice(["us-west-2a", "us-west-2b"])]
        if verb in {"down", "park", "stop", "move"}:
            more += ["--yes"] if verb in {"down"} or self.takes_yes(verb) else []
        return [verb, desk, *more]

    def takes_yes(self, verb: str) -> bool:
        return verb in {"park", "move", "stop"}

    def round(self) -> str:
        mine, other = self.random.sample(self.computers, 2)
        desk = self.random.choice(DESKS)
        phase = mine.phases().get(desk, "none")
        verb = self.random.choice(DAY.get(phase, ["up", "park"]))
        words = self.words(verb, desk)
        if phase == "none":
            words = ["up", desk, *TYPE]
        delay = self.random.uniform(0.0, SLOWEST[verb])
        together = verb != "down" and self.random.random() < 0.5
        told = f"{mine.name} {phase:8} {' '.join(words[:2]):12}"
        began = [(mine, words, mine.begin(*words))]
        if together:
            time.sleep(self.random.uniform(0.0, 2.0))
            theirs = self.words(self.random.choice(["up", "park", "stop"]), desk)
            began.append((other, theirs, other.begin(*theirs)))
            told += f" with {other.name} {theirs[0]:6}"
        time.sleep(delay)
        for computer, some, process in began:
            if computer is mine or self.random.random() < 0.5:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                self.kills += process.returncode == -signal.SIGKILL
                told += f" {computer.name} killed at {delay:.1f} s" if process.returncode < 0 else " (ended)"
            else:
                self.ended(computer, some, process)
        if verb == "down":  # begun is meant: whatever it has left of the desk is no longer counted on
            code, said = self.settled(mine, words)
            self.work[desk] = self.work[desk] if "stays" in said else []
            return f"{told} -> gone ({code})"
        code, said = self.settled(mine, words)
        if code == 0 and verb in {"up", "resume", "start", "move"}:
            self.write(mine, desk)
        return f"{told} -> {code}{': ' + said.strip().splitlines()[0][:70] if code else ''}"

    def ended(self, computer: Computer, words: list[str], process: subprocess.Popen[str]) -> None:
        """Wait for a command that nobody killed: it may be overtaken, and must not fall over."""
        try:
            said, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
            raise Violation(f"{computer.name}: {' '.join(words)} does not end: {said[-1500:]}") from None
        overtaken = process.returncode == 2 and of_another_kind(words, said)
        if not (process.returncode in {0, 3, 4, 5, 6} or overtaken) or "Traceback" in said:
            raise Violation(f"{computer.name}: {' '.join(words)} exits {process.returncode}: {said[-1500:]}")
        self.no_false_alarm(words[1], said)

    def settled(self, computer: Computer, words: list[str]) -> tuple[int, str]:
        """The same command again, by itself: it ends well, or with a question that has an answer."""
        code, said = computer.run(*words)
        if words[0] != "up" and code == 4 and "no desk" in said:  # it was killed before it wrote its wish
            code, said = computer.run("up", words[1], *TYPE)
        self.no_false_alarm(words[1], said)
        if code == 5 and "Two machines claim" in said:  # what the other one's killed command has left
            for one in self.computers:
                one.run("up", words[1])
            code, said = computer.run(*words)
        if code == 5 and "is missing: " in said:  # nothing is counted on: see no_false_alarm
            code, said = computer.run("up", words[1], "--fresh")
        if code == 2 and of_another_kind(words, said):
            code, said = computer.run("up", words[1])
        if code not in {0, 3} or (code == 3 and OURS_IS_ANOTHERS not in said):
            raise Violation(f"{computer.name}: {' '.join(words)}, again, exits {code}: {said[-2000:]}")
        return code, said

    def no_false_alarm(self, desk: str, said: str) -> None:
        if "is missing: " in said and self.work[desk]:
            raise Violation(f"{desk}'s work is said to be lost: {said}")

    # ---- work, and whether it is there ---------------------------------------------------------------------

    def write(self, computer: Computer, desk: str) -> None:
        self.lines += 1
        line = f"line {self.lines} of {computer.name}"
        code, _ = computer.run("ssh", desk, "--", f"echo '{line}' >> work.txt && sync")
        if code == 0:
            self.work[desk].append(line)

    def check(self) -> None:
        """One computer has each desk to itself: all work is there, and the account is as it says."""
        computer = self.random.choice(self.computers)
        for desk in DESKS:
            if not self.work[desk]:
                continue
            for words in (["park", desk, "--yes"], ["resume", desk, *TYPE]):
                code, said = computer.run(*words)
                if code == 4 and words[0] == "park":
                    code, said = computer.run("up", desk)
                    code, said = computer.run(*words) if code in {0, 3} else (code, said)
                self.no_false_alarm(desk, said)
                if code:
                    raise Violation(f"{computer.name}, alone: {' '.join(words)} exits {code}: {said[-2000:]}")
            code, said = computer.run("ssh", desk, "--", "cat work.txt")
            if missing := [line for line in self.work[desk] if line not in said.splitlines()]:
                raise Violation(f"work of {desk} is lost: {missing}; there is {said!r}")
        self.audit(computer)

    def aws(self, computer: Computer, region: str, *words: str) -> Any:
        argv = ["aws", "ec2", *words, "--region", region, "--output", "json"]
        ran = subprocess.run(
            argv, env=computer.environment, capture_output=True, text=True, timeout=120, check=True
        )
        return json.loads(ran.stdout)

    def account(self, computer: Computer) -> list[tuple[str, str, str, str]]:
        """Everything in the account that costs money, as (kind, id, state, desk)."""
        rows = []
        for region in REGIONS:
            told = self.aws(computer, region, "describe-instances")
            for machine in (i for r in told["Reservations"] for i in r["Instances"]):
                rows.append(("machine", machine["InstanceId"], machine["State"]["Name"], tag(machine)))
            for kind, words, key, id_ in (
                ("disk", ["describe-volumes"], "Volumes", "VolumeId"),
                ("image", ["describe-images", "--owners", "self"], "Images", "ImageId"),
                ("snapshot", ["describe-snapshots", "--owner-ids", "self"], "Snapshots", "SnapshotId"),
            ):
                for raw in self.aws(computer, region, *words)[key]:
                    rows.append((kind, raw[id_], raw["State"], tag(raw)))
        over = {"terminated", "shutting-down", "deleting", "deleted", "deregistered"}
        return [row for row in rows if row[2] not in over]

    def audit(self, computer: Computer) -> None:
        phases = computer.phases()
        rows = self.account(computer)
        for kind, id_, state, desk in rows:
            if desk not in phases:
                raise Violation(f"{kind} {id_} ({state}) is paid for, and of no desk that ls shows")
        for desk, phase in phases.items():
            mine = [row for row in rows if row[3] == desk]
            counts = {kind: sum(row[0] == kind for row in mine) for kind in ("machine", "disk", "image")}
            wanted = {
                "ready": (1, 1), "stopped": (1, 1), "parked": (0, 0), "none": (0, 0),
            }.get(phase)  # fmt: skip
            if wanted and (counts["machine"], counts["disk"]) != wanted:
                raise Violation(f"ls says that {desk} is {phase}, and the account holds {mine}")
            if counts["image"] > 1 or (phase == "parked" and counts["image"] != 1):
                raise Violation(f"ls says that {desk} is {phase}, and there are {counts['image']} images")
            if sum(row[0] == "snapshot" for row in mine) != counts["image"]:
                raise Violation(f"snapshots without an image: {mine}")

    def end(self) -> None:
        """Both leave: nothing is left to pay."""
        self.check()
        for computer in self.computers:
            for desk in DESKS:
                code, said = computer.run("down", desk, "--yes")
                if code not in {0, 4}:
                    raise Violation(f"{computer.name}: down {desk} exits {code}: {said}")
        if left := self.account(self.computers[0]):
            raise Violation(f"after down there is still {left}")


def tag(raw: Any) -> str:
    return next((t["Value"] for t in raw.get("Tags", ()) if t["Key"] == "hotdesk:desk"), "")


def storm(kills: int, seed: int, folder: Path, every: int = 6, tell: Any = print) -> int:
    """So many kills; how many there were. Raises `Violation`."""
    with FakeEc2(seed=seed, rig="tests.light:machines", pace=0.01) as fake:
        it = Storm(fake, folder, seed)
        rounds = 0
        while it.kills < kills:
            rounds += 1
            tell(f"{rounds:4} {it.kills:4}  {it.round()}")
            if rounds % every == 0:
                it.check()
        it.end()
        return it.kills


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hotdesk-storm-"))
    try:
        done = storm(asked.kills, asked.seed, folder, tell=lambda line: print(line, flush=True))
    except Violation as violation:
        print(f"VIOLATION (seed {asked.seed}): {violation}\nkept in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    print(f"{done} kills at two computers, nothing lost, nothing left (seed {asked.seed})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
