"""What may befall a desk on its way to a machine with an ssh login and back: real commands and sshd."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotdesk.snapshots.rmtree import remove_tree
from tests.conftest import Command
from tests.far_rig import FarMachine, far_machine, needs_sshd

pytestmark = [pytest.mark.tools("ssh"), needs_sshd, pytest.mark.long]
SECONDS = 500.0  # a limit that only a hang reaches
MIB = 1 << 20
#: Files of every kind. What they are is printed by `LOOK`: all that must be the same wherever they are.
WRITE = (
    "mkdir -p deep/er; head -c 24000000 /dev/urandom > big; ln big deep/same; ln -s ../big deep/link; "
    "for n in $(seq 300); do echo $n > deep/er/$n; done; printf x > 'deep/a\nb ü'; chmod 640 deep/er/7; "
    "truncate -s 256M holes; echo end >> holes; touch -d 2020-02-02 deep/er; mkfifo pipe; "
    'python3 -c \'import os; os.setxattr("big", b"user.tag", b"mine")\''
)
LOOK = (
    "find . -path ./.hotdesk -prune -o -path './.[!.]*' -prune -o -printf '%p %y %m %n %s %l %T@\\n' | "
    "LC_ALL=C sort | grep -v '^\\. '; sha256sum big holes 'deep/a\nb ü' deep/er/300; "
    "[ $(stat -c %b holes) -lt 4096 ]; echo $?; "
    'python3 -c \'import os; print(os.getxattr("big", b"user.tag"))\''
)


def to(far: FarMachine) -> tuple[str, ...]:
    return "--host", far.name, "--folder", far.address["folder"], "--host-key", far.fingerprint


def at_desk(hotdesk: Command, line: str) -> str:
    done = hotdesk("ssh", "blue", "--", line, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout


def machines(far: FarMachine) -> list[Path]:
    """Where this desk has a machine now: here, and there."""
    here = Path(os.environ["HOTDESK_STATE"]) / "local" / "machines"
    return [*here.glob("hotdesk-*"), *far.home.glob("hotdesk/of-*/local/machines/hotdesk-*")]


@pytest.fixture
def far(home: Path, tmp_path: Path) -> Iterator[FarMachine]:
    with far_machine(tmp_path / "far-machine") as machine:
        yield machine


@contextlib.contextmanager
def trouble(far: FarMachine, hurt: list[int], times: int, dice: random.Random) -> Iterator[None]:
    """So many times, at random moments, the line is cut, or whoever works at one of its ends is killed.

    A 2 in `hurt` is a moment at which the desk had two machines.
    """
    over = threading.Event()

    def work() -> None:
        while len(hurt) < times and not over.wait(dice.uniform(0.05, 1.2)):
            pids = far.connections() if dice.random() < 0.7 else workers(far)
            if pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(dice.choice(pids), signal.SIGKILL)
                    hurt.append(1)
            if len(machines(far)) > 1:
                hurt.append(2)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(SECONDS)


def workers(far: FarMachine) -> list[int]:
    """Processes of hotdesk that carry this desk: here, and there."""
    marks = (os.environ["HOTDESK_STATE"].encode(), os.fsencode(far.home))
    names = (b"ssh.launcher", b"ssh.taker", b"local.served")
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes()
                if any(mark in words for mark in marks) and any(name in words for name in names):
                    found.append(int(entry.name))
    return found


@pytest.mark.parametrize("seed", [1])
def test_cut_and_killed_twenty_times_each_way_nothing_is_lost(
    far: FarMachine, hotdesk: Command, seed: int
) -> None:
    """There and back, again and again by the same command; never two machines, and every file is the same."""
    dice = random.Random(seed)
    assert hotdesk("up", "blue").returncode == 0
    at_desk(hotdesk, WRITE)
    before = at_desk(hotdesk, LOOK)
    for where in (to(far), ("--provider", "local")):
        hurt: list[int] = []
        with trouble(far, hurt, 20, dice):
            for _ in range(30):
                done = hotdesk("move", "blue", *where, "--yes", timeout=SECONDS)
                assert "Traceback" not in done.stderr
                if done.returncode == 0 or "is there already" in done.stderr:
                    break
        last = hotdesk("up", "blue", timeout=SECONDS)  # what was cut after the end is seen to
        assert last.returncode == 0, last.stderr
        assert hurt, "nothing was cut"
        assert 2 not in hurt, "it had two machines at once"
        assert at_desk(hotdesk, LOOK) == before
        assert len(machines(far)) == 1


def test_a_machine_that_is_wiped_after_its_proof_costs_no_work(far: FarMachine, hotdesk: Command) -> None:
    """Its last image is in the store here, and it is asked before what was done since counts as lost."""
    assert hotdesk("up", "blue").returncode == 0
    at_desk(hotdesk, WRITE)
    before = at_desk(hotdesk, LOOK)
    moved = hotdesk("move", "blue", *to(far), "--yes", timeout=SECONDS)
    assert moved.returncode == 0, moved.stderr
    far.cut()
    for pid in processes(far):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    remove_tree(far.home)
    far.home.mkdir()
    far.serve()
    home = hotdesk("move", "blue", "--provider", "local", "--yes", timeout=SECONDS)
    if home.returncode:  # work since the proof may be missing: that is asked first
        [fix] = re.findall(r"fix: (hotdesk [^#\n]+)", home.stderr)
        again = hotdesk(*fix.split()[1:], timeout=SECONDS)
        assert again.returncode == 0, home.stderr + again.stderr
        home = hotdesk("move", "blue", "--provider", "local", "--yes", timeout=SECONDS)
    assert home.returncode == 0 or "is there already" in home.stderr, home.stderr
    assert at_desk(hotdesk, LOOK) == before


def processes(far: FarMachine) -> list[int]:
    """All that runs below that machine's folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if os.fsencode(far.home) in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


_ODD = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *at) {
  int (*next)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
  int done = next(id, at);
  if (!done && id == CLOCK_REALTIME) at->tv_sec += 5 * 3600;
  return done;
}
time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}
#define OPENING(name) \\
int name(int folder, const char *path, int flags, ...) { \\
  int (*next)(int, const char *, int, ...) = dlsym(RTLD_NEXT, #name); \\
  va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \\
  if (strstr(path, "of-somebody-else") && !(flags & O_CREAT)) { errno = EACCES; return -1; } \\
  return next(folder, path, flags, mode); \\
}
OPENING(openat)
OPENING(openat64)
"""


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler: the machine's clock would be ours")
def test_a_clock_of_other_hours_and_a_file_that_cannot_be_read(
    far: FarMachine, hotdesk: Command, tmp_path: Path
) -> None:
    """1. At a machine whose clock is five hours ahead. 2. A file that cannot be read stops its move, is
    named, and the desk is as it was. 3. Without it, it comes home, with what was written last."""
    source, library = tmp_path / "odd.c", tmp_path / "odd.so"
    source.write_text(_ODD)
    argv = ["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(argv, check=True, capture_output=True)
    with (far.folder / "sshd_config").open("a") as settings:
        settings.write(f"SetEnv LD_PRELOAD={library}\n")
    far.cut()
    far.serve()
    assert hotdesk("up", "blue").returncode == 0
    at_desk(hotdesk, "echo one > notes")
    moved = hotdesk("move", "blue", *to(far), "--yes", timeout=SECONDS)
    assert moved.returncode == 0, moved.stderr
    at_desk(hotdesk, "echo two >> notes; mkdir work; echo x > work/of-somebody-else")
    stuck = hotdesk("move", "blue", "--provider", "local", "--yes", timeout=SECONDS)
    assert stuck.returncode != 0
    assert "work/of-somebody-else" in stuck.stderr
    assert "Traceback" not in stuck.stderr
    assert "Nothing was deleted" in stuck.stderr
    assert "or: hotdesk move blue --provider ssh" in stuck.stderr
    back = hotdesk("move", "blue", "--provider", "ssh", "--yes", timeout=SECONDS)
    assert back.returncode == 0, back.stderr
    assert at_desk(hotdesk, "cat notes; ls work") == "one\ntwo\nof-somebody-else\n"
    at_desk(hotdesk, "rm work/of-somebody-else; echo three >> notes")
    home = hotdesk("move", "blue", "--provider", "local", "--yes", timeout=SECONDS)
    assert home.returncode == 0, home.stderr
    assert at_desk(hotdesk, "cat notes") == "one\ntwo\nthree\n"
    again = hotdesk("move", "blue", *to(far), "--yes", timeout=SECONDS)
    assert again.returncode == 0, again.stderr
    assert at_desk(hotdesk, "cat notes") == "one\ntwo\nthree\n"
