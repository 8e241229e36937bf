"""What survives a process: rows on the disk before a step is taken, locks that die with their holder."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotdesk.core.errors import Busy, Damaged, Kind, Missing, Unknown
from hotdesk.core.lifecycle.history import Past
from hotdesk.core.model import Desk, Goal, MarketChoice, Want
from hotdesk.core.steps import AnyStep, Done, Prove, Refusal, Row, Start, Unsure, Verify
from hotdesk.state.database import MIGRATIONS
from hotdesk.state.store import Store
from hotdesk.sweep.store import SweepStore
from tests.test_plans import bake, launch

BLUE = Desk(name="blue", goal=Goal.RUNNING, since=5.0, created_at=5.0)
STEP = Verify(id="m-1", why="to be sure")
ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Another process, which has `Store`, `folder`, BLUE and STEP."""
    head = "import sys; from tests.test_store import *; folder = Path(sys.argv[1])\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + code, *map(str, arguments)],
        env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err[-2000:]
    return out.strip()


# ---- rows ----------------------------------------------------------------------------------------------


def test_a_market_is_kept_as_the_word_that_it_always_was() -> None:
    """Old rows may have "" for no preference; another word is no market."""
    assert msgspec.json.encode(Want(market=MarketChoice.SPOT)) == b'{"market":"spot"}'
    assert msgspec.json.decode(b'{"market":""}', type=Want) == Want()
    with pytest.raises(msgspec.ValidationError, match="spto"):
        msgspec.json.decode(b'{"market":"spto"}', type=Want)


def test_a_lock_that_cannot_be_is_told(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        (tmp_path / "locks").write_text("a file where a folder should be")
        with pytest.raises(Missing, match="locks"), store.hold("blue", "a test"):
            pass


def test_what_was_put_is_found_by_the_next_process(tmp_path: Path) -> None:
    with Store(tmp_path / "state") as store:
        store.put(BLUE)
        [row] = store.begin([("blue", STEP)], 6.0)
        store.end(row, Done(id="m-1"), 7.0)
        store.keep("prices", b"[]", 8.0)
    assert (tmp_path / "state" / "hotdesk.db").stat().st_mode & 0o777 == 0o600
    with Store(tmp_path / "state") as again:
        assert again.desks() == [BLUE]
        assert again.desk("blue") == BLUE
        [row] = again.rows("blue")
        assert (row.step, row.at, row.ended_at, row.done) == (STEP, 6.0, 7.0, True)
        assert again.cached("prices") == (8.0, b"[]")
        assert again.cached("nothing") is None
        again.remove("blue")
        assert again.find("blue") is None
        assert again.rows("blue") == [row], "the journal is the bill, and stays"


def test_an_unknown_desk_names_the_nearest() -> None:
    with Store(None) as store:
        with pytest.raises(Unknown) as nothing:
            store.desk("blue")
        assert nothing.value.fix == "hotdesk up"
        store.put(BLUE)
        with pytest.raises(Unknown) as near:
            store.desk("bleu")
        assert near.value.fix == "hotdesk show blue"


def test_the_past_begins_where_the_desk_was_made() -> None:
    with Store(None) as store:
        for at in (1.0, 4.0, 5.0, 6.0):
            store.begin([("blue", STEP), ("green", STEP)], at)
        assert store.past(BLUE).begun(STEP.key, 0.0) == 2


def test_rows_and_changes_are_read_by_number() -> None:
    with Store(None) as store:
        rows = [store.begin([("blue", STEP)], float(n))[0] for n in range(5)]
        assert [r.id for r in store.rows(limit=2)] == [rows[3].id, rows[4].id]
        assert [r.id for r in store.rows(after=rows[2].id)] == [rows[3].id, rows[4].id]
        number, changed = store.changed(0)
        assert [r.id for r in changed] == [r.id for r in rows]
        store.end(rows[1], Done(), 9.0)
        number, changed = store.changed(number)
        assert [(r.id, r.done) for r in changed] == [(rows[1].id, True)]
        assert store.changed(number) == (number, [])


def test_what_another_process_writes_is_seen() -> None:
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder)) as one, Store(Path(folder)) as other:
        [row] = one.begin([("blue", STEP)], 6.0)
        assert other.past(BLUE).last[STEP.key].outcome is None
        one.end(row, Done(), 7.0)
        assert other.past(BLUE).last[STEP.key].done


STEPS: list[AnyStep] = [
    launch(1), launch(2), bake(), STEP,
    Start(id="i-1", started_at=1.0, why="w"), Prove(id="i-1", generation=1, started_at=1.0, why="w"),
]  # fmt: skip
OUTCOMES = [
    Done(id="i-1"),
    Unsure(),
    Refusal(kind=Kind.NO_CAPACITY, until=50.0),
    Refusal(kind=Kind.QUOTA, until=90.0),
]
happenings = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.integers(0, 2), st.lists(st.integers(0, len(STEPS) - 1), max_size=3)),
        st.tuples(st.just("end"), st.integers(0, 2), st.integers(0, 30), st.integers(0, len(OUTCOMES) - 1)),
        st.tuples(st.just("read"), st.integers(0, 2)),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=60)
@given(happenings)
def test_a_past_that_was_kept_up_to_date_equals_one_read_anew(happened: list[tuple[Any, ...]]) -> None:
    """Three processes write and read at random; each then knows what a fourth reads from the file."""
    with tempfile.TemporaryDirectory() as folder:
        stores = [Store(Path(folder)) for _ in range(3)]
        rows: list[Row] = []
        for now, (what, number, *rest) in enumerate(happened, start=6):
            store = stores[number]
            match what, rest:
                case "begin", [steps]:
                    rows += store.begin([("blue", STEPS[s]) for s in steps], float(now))
                case "end", [which, outcome] if rows:
                    row = rows[which % len(rows)]
                    if row.unsure:  # what is known to have ended stays so
                        rows[which % len(rows)] = store.end(row, OUTCOMES[outcome], float(now))
                case "read", _:
                    store.past(BLUE)
        with Store(Path(folder)) as fresh:
            anew = folded(fresh.past(BLUE))
        assert [folded(store.past(BLUE)) for store in stores] == [anew] * 3
        for store in stores:
            store.close()


def folded(past: Past) -> dict[str, object]:
    """All that a planner can ask of a past."""
    told = {key: value for key, value in vars(past).items() if key not in {"_recent", "_earlier"}}
    return {
        **told,
        "_gone": past._gone,
        "undated": {r.id for r in past.undated(20.0)},
    }


# ---- a file that cannot serve -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(16))
def test_a_damaged_file_is_a_complaint_and_never_a_traceback(tmp_path: Path, seed: int) -> None:
    """Rubbish, a file cut in half, forty bytes that flipped: reading it says so, or reads what is whole."""
    with Store(tmp_path) as store:
        store.put(BLUE)
        for number in range(200):
            store.begin([("blue", STEP)], float(number))
    file = tmp_path / "hotdesk.db"
    body, dice = bytearray(file.read_bytes()), random.Random(seed)
    if seed == 0:
        body = bytearray(b"not a database at all" * 400)
    elif seed == 1:
        del body[len(body) // 2 :]
    else:
        for _ in range(40):
            body[dice.randrange(len(body))] ^= 0xFF
    file.write_bytes(body)
    said = ""
    try:
        with Store(tmp_path) as store:
            store.desks()
            store.past(BLUE)
            store.rows()
            store.begin([("blue", STEP)], 1.0)
    except Damaged as error:
        said = str(error)
    assert ("hotdesk doctor --adopt" in said) or ("newer hotdesk" in said) or (seed > 1 and not said)


def test_a_row_of_nonsense_is_damage(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.put(BLUE)
        raw = sqlite3.connect(tmp_path / "hotdesk.db", isolation_level=None)
        raw.execute("UPDATE desks SET body = '{\"name\": 5}'")
        raw.close()
        with pytest.raises(Damaged, match="name"):
            store.desks()


def test_a_newer_file_is_not_touched(tmp_path: Path) -> None:
    Store(tmp_path).close()
    raw = sqlite3.connect(tmp_path / "hotdesk.db", isolation_level=None)
    raw.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    raw.close()
    before = (tmp_path / "hotdesk.db").read_bytes()
    with pytest.raises(Damaged, match="newer hotdesk"):
        Store(tmp_path)
    assert (tmp_path / "hotdesk.db").read_bytes() == before


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(Missing, match="HOTDESK_STATE"):
        Store(tmp_path / "state")


def test_a_folder_that_cannot_be_written_is_still_read() -> None:
    """As nobody, because root may write anywhere."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Store(folder) as store:
            store.put(BLUE)
        folder.chmod(0o555)
        (folder / "hotdesk.db").chmod(0o444)
        code = (
            "import os\n"
            "if os.getuid() == 0: os.setgid(65534); os.setuid(65534)\n"
            "store = Store(folder)\n"
            "assert store.desks() == [BLUE] and store.frozen\n"
            "try: store.put(BLUE)\n"
            "except Missing as error: print(error)\n"
        )
        said = ended(python(code, folder))
        folder.chmod(0o755)
        assert "cannot write" in said
        assert "Permission denied" in said
        assert "permissions" in said


def test_no_space_left(tmp_path: Path) -> None:
    """The disk is full: a complaint, the rows before it stand, and with room it goes on, in one process."""
    code = (
        "import resource\n"
        "store = Store(folder)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))\n"
        "done = 0\n"
        "try:\n"
        "    while True: store.begin([('blue', STEP)], 6.0 + done); done += 1\n"
        "except Missing as error: print(done, error.fix)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "store.begin([('blue', STEP)], 7.0)\n"
    )
    done, fix = ended(python(code, tmp_path)).split(maxsplit=1)
    assert "make room" in fix
    with Store(tmp_path) as store:
        assert store.past(BLUE).begun(STEP.key, 0.0) == int(done) + 1 > 10


FULL = r"""
import subprocess
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", str(folder)], check=True)
killed = (
    "with Store(folder) as store:\n"
    "    store.put(BLUE)\n"
    "    for n in range(20): store.begin([('blue', STEP)], 6.0 + n)\n"
    "    os.kill(os.getpid(), 9)\n"
)
assert python(killed, folder).wait(60) == -9  # its last rows are beside the file, not in it
(folder / "hotdesk.db-shm").unlink()
with (folder / "fill").open("wb", 0) as fill:
    try:
        while True: fill.write(bytes(4096))
    except OSError: pass
"""


def in_a_full_folder(folder: Path, code: str) -> str:
    """What this code prints in a process of its own, whose folder is a file system without a free byte."""
    if os.getuid() != 0 or not shutil.which("unshare"):
        pytest.skip("only root may mount, in a namespace of its own")
    folder.mkdir(exist_ok=True)
    head = "import sys; from tests.test_store import *; folder = Path(sys.argv[1])\n"
    argv = ["unshare", "--mount", sys.executable, "-c", head + FULL + code, str(folder)]
    done = subprocess.run(argv, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip("this computer allows no mounts of one's own")
    assert done.returncode == 0, done.stderr[-3000:]
    assert not list(folder.iterdir()), "the mount has ended with its process"
    return done.stdout.strip()


def test_a_full_disk_can_be_read(tmp_path: Path) -> None:
    """1. A command is killed. 2. The disk fills up. 3. All that was written is read, also what SQLite had
    not yet moved into its file. 4. What is written then uses the reserve, once. 5. Then it says full."""
    code = """
with Store(folder) as store:
    print(len(store.rows()), store.desks() == [BLUE], bool(store.past(BLUE)), "is full" in store.frozen)
with Store(folder) as store:
    store.begin([("blue", STEP)], 60.0)
    print(len(store.rows()), repr(store.frozen))
with (folder / "fill").open("ab", 0) as fill:
    try:
        while True: fill.write(bytes(4096))
    except OSError: pass
with Store(folder) as store:
    print(len(store.rows()))
    try:
        for n in range(500): store.begin([("blue", STEP)], 70.0 + n)
    except Missing as error: print(error)
"""
    read, written, again, said = in_a_full_folder(tmp_path / "full", code).split("\n", 3)
    assert read == "20 True True True"
    assert written == "21 ''"
    assert again == "21"
    assert "The disk is full" in said
    assert "make room" in said


# ---- several processes -------------------------------------------------------------------------------------


def test_two_stores_of_one_process_keep_each_others_locks(tmp_path: Path) -> None:
    """1. a second store of this process comes and goes; 2. another process writes, and leaves as if it were
    the last: SQLite then takes the WAL away; 3. the first store still sees all that is written."""
    with Store(tmp_path) as mine:
        mine.put(BLUE)
        with Store(tmp_path) as second:
            assert second.find("blue")
        ended(python("with Store(folder) as store: store.remove('blue')", tmp_path))
        assert mine.find("blue") is None
        mine.put(BLUE)
        ended(python("with Store(folder) as store: assert store.find('blue') == BLUE", tmp_path))


def test_processes_that_open_and_write_at_once_lose_nothing(tmp_path: Path) -> None:
    code = (
        "store = Store(folder)\n"
        "for n in range(40):\n"
        "    [row] = store.begin([('blue', STEP)], 6.0)\n"
        "    store.end(row, Done(), 7.0)\n"
    )
    for process in [python(code, tmp_path / "state") for _ in range(4)]:
        ended(process)
    with Store(tmp_path / "state") as store:
        rows = store.rows(limit=1000)
        assert len(rows) == 160
        assert all(row.done for row in rows)


def test_a_file_that_stays_locked_is_busy(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store._db.execute("PRAGMA busy_timeout = 50")
        raw = sqlite3.connect(tmp_path / "hotdesk.db", isolation_level=None)
        raw.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy):
            store.put(BLUE)
        raw.execute("ROLLBACK")
        raw.close()
        store.put(BLUE)


def test_the_newest_rows_are_read_or_every_row(tmp_path: Path) -> None:
    """A bill that stops at some number of rows would be too small, and say nothing of it."""
    with Store(tmp_path) as store:
        written = [row.id for row in store.begin([("blue", STEP)] * 1001, 6.0)]
        assert [row.id for row in store.rows("blue")] == written[1:]
        assert [row.id for row in store.rows("blue", limit=None)] == written


@pytest.mark.parametrize("milliseconds", [0, 3, 10, 40])
def test_killed_while_it_writes(tmp_path: Path, milliseconds: int) -> None:
    """Each number that was printed had been begun: its row is in the file, and the file is whole."""
    code = (
        "store = Store(folder)\n"
        "for n in range(10**6):\n"
        "    row = store.begin([('blue', STEP)], 6.0 + n)[0]; print(row.id, flush=True)\n"
    )
    process = python(code, tmp_path)
    assert process.stdout
    told = [process.stdout.readline()]
    time.sleep(milliseconds / 1000)
    process.send_signal(signal.SIGKILL)
    out, _ = process.communicate(timeout=60)
    told += [line for line in out.split("\n")[:-1] if line]
    with Store(tmp_path) as store:
        known = {row.id for row in store.rows(limit=10**6)}
        assert {int(line) for line in told} <= known
        assert store.begin([("blue", STEP)], 1.0)[0].id == max(known) + 1


def test_the_right_to_act_dies_with_its_holder(tmp_path: Path) -> None:
    code = "with Store(folder).hold('blue', 'hotdesk park') as had: print(had, flush=True); sys.stdin.read()"
    process = python(code, tmp_path)
    assert process.stdout
    assert process.stdout.readline().strip() == "True"
    with Store(tmp_path) as store:
        with store.hold("blue", "hotdesk up") as had:
            assert not had
        assert store.holder("blue") == f"{process.pid} hotdesk park"
        with store.hold("green", "hotdesk up") as had:
            assert had, "another desk is another lock"
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert store.holder("blue") == "", "nobody holds it any more"
        with store.hold("blue", "hotdesk up", wait=True) as had:
            assert had
            assert store.holder("blue") == f"{os.getpid()} hotdesk up"
        assert store.holder("blue") == ""


def test_the_lock_of_a_desk_that_is_gone_goes_with_it(tmp_path: Path) -> None:
    """1. Somebody waits for a desk's lock. 2. The desk is deleted, and its lock file. 3. A third makes the
    desk anew, with a new file. The two never both have it."""
    code = (
        "store = Store(folder)\n"
        "for n in range(60):\n"
        "    with store.hold('blue', 'a test', wait=True):\n"
        "        alone = folder / 'alone'\n"
        "        alone.open('x').close(); time.sleep(0.001); alone.unlink()\n"
        "        store.put(BLUE) if n % 2 else store.remove('blue')\n"
        "store.remove('blue')\n"
        "with store.hold('blue', 'a test', wait=True): pass\n"
    )
    for process in [python(code, tmp_path) for _ in range(3)]:
        ended(process)
    assert not list((tmp_path / "locks").iterdir())


def test_waiting_for_the_right_to_act(tmp_path: Path) -> None:
    code = "with Store(folder).hold('blue', 'hotdesk up', wait=True) as had: print(had)"
    with Store(tmp_path) as store:
        with store.hold("blue", "hotdesk park"):
            process = python(code, tmp_path)
            with pytest.raises(subprocess.TimeoutExpired):
                process.communicate(timeout=0.7)
        assert ended(process) == "True"


@pytest.mark.parametrize("store", [Store, SweepStore])
def test_a_folder_that_cannot_be_made_is_named(store: type[Store | SweepStore], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Missing, match=r"cannot keep its state in .*/file/state") as no:
        store(tmp_path / "file" / "state")
    assert no.value.fix.startswith("HOTDESK_STATE=")
