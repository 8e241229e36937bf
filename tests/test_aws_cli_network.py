"""The network drops in the middle of a command: it says so, goes on by itself when it is back, or ends with
an exit code of its own; the same command then ends well, and nothing was done twice or lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_ec2.process import FakeEc2
from tests.aws_cli import NEEDED, ON_DEMAND, Ask, ask, cloud, lit, paid, told, well  # noqa: F401
from tests.line import Line

ROOT = Path(__file__).parents[1]
pytestmark = NEEDED
SECONDS = 90.0  # a limit for a busy computer


@pytest.fixture
def line(cloud: FakeEc2, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    with Line(cloud.url) as line:
        monkeypatch.setenv("AWS_ENDPOINT_URL", line.url)
        yield line


class Typed:
    """A command that runs; what it says stands in a file."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.file = folder / "said"
        with self.file.open("w") as said:
            self.process = subprocess.Popen(
                # What a shell begins beside itself does not hear Ctrl-C; what is typed does.
                ["env", "--default-signal=INT", sys.executable, "-m", "hotdesk", *words],
                env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def until(self, words: str) -> None:
        limit = time.monotonic() + SECONDS
        while words not in self.file.read_text():
            assert self.process.poll() is None, self.file.read_text()
            assert time.monotonic() < limit, self.file.read_text()
            time.sleep(0.05)

    def end(self) -> int:
        return self.process.wait(SECONDS)

    def ctrl_c(self) -> int:
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(SECONDS)


DROPS = [
    (ON_DEMAND, "RunInstances", True, {"instance": 1, "volume": 1}),
    (("park", "blue"), "CreateImage", False, {"snapshot": 1}),
    (("resume", "blue"), "RunInstances", False, {"instance": 1, "volume": 1, "snapshot": 1}),
]


def test_a_line_that_is_cut_and_comes_back(cloud: FakeEc2, ask: Ask, line: Line, tmp_path: Path) -> None:
    """The day of a desk. In each verb the line is cut at a call that changes something, before it arrives or
    before its answer comes back."""
    for words, action, after, there in DROPS:
        line.fail("cut", action, after=after)
        typed = Typed(tmp_path, *words)
        typed.until("not answer")
        line.mend()
        assert typed.end() == 0, typed.file.read_text()
        assert paid(cloud) == there, action


#: What holds when nothing comes back at this call: the second is of the first look, before a word is written.
STANDS = {"CreateImage": "Your request is saved", "DescribeVolumes": "Nothing was done"}


@pytest.mark.parametrize("action", list(STANDS))
def test_silence_ends_with_ctrl_c_and_the_same_command_goes_on(
    cloud: FakeEc2, ask: Ask, line: Line, tmp_path: Path, action: str
) -> None:
    """1. In the middle of a park nothing comes back any more. 2. Ctrl-C: at once, and it says what holds.
    3. The next day, the same command."""
    well(ask(*ON_DEMAND))
    line.fail("hole", action, after=action == "CreateImage")
    typed = Typed(tmp_path, "park", "blue")
    while line.state != "hole":
        time.sleep(0.02)
    began = time.monotonic()
    assert typed.ctrl_c() == 130
    assert time.monotonic() - began < 25
    assert STANDS[action] in typed.file.read_text()
    line.mend()
    well(ask("park", "blue"))
    assert paid(cloud) == {"snapshot": 1}


def test_with_nobody_at_the_endpoint_every_verb_ends_with_seven(cloud: FakeEc2, ask: Ask, line: Line) -> None:
    well(ask(*ON_DEMAND))
    line.mend("cut")
    for words in (("park", "blue"), ("ls",), ("ssh", "blue", "--", "true"), ("up", "green", "--gpu", "T4")):
        told(ask(*words), 7, "What stands in for AWS does not answer", "AWS_ENDPOINT_URL")
    line.mend()
    assert paid(cloud) == {"instance": 1, "volume": 1}
    well(ask("down", "blue", "--yes"))
