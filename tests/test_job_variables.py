"""Environment variables and secrets of a job: they reach it, its next attempt too, and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st

from hotdesk import Hotdesk
from hotdesk.cli.ui import run_words
from hotdesk.core.errors import HotdeskError, NeedsDecision, Unknown, Usage
from hotdesk.core.jobs import Job, Result, Variables
from hotdesk.core.model import Desk, Goal
from hotdesk.core.ports import Access
from hotdesk.guest.variables import SHORTEST, Mask
from hotdesk.jobs.run import Runs
from hotdesk.loop.remote_watcher import with_variables
from hotdesk.services.job_variables import Gathered, gather
from hotdesk.snapshots import snapshot
from hotdesk.state.store import Store
from hotdesk.system import SystemClock
from tests.conftest import Command
from tests.job_rig import JobRig
from tests.local_rig import tool
from tests.test_run import SECONDS, Laptop, settled
from tests.typed import typed

SECRET = "hf_oNlYinMemory0123456789"
CLOUD_KEYS = {  # of no account
    "AWS_ACCESS_KEY_ID": "AKIAOFNOACCOUNT00000",
    "AWS_SECRET_ACCESS_KEY": "aws-oNlYinMemory0123456789",
    "ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAIOFNOACCOUNT00000",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "ali-oNlYinMemory0123456789",
}

# ---- gathering ---------------------------------------------------------------------------------------


def test_later_sources_count_more(tmp_path: Path) -> None:
    file = tmp_path / "a.env"
    file.write_text("export A='one two'\n# no\nB=file\nC\nD=${HOME}\n")
    here = {"C": "here", "S": "secret", "E": "mine"}
    found = gather({"B": "option", "E": None}, [file], {"S": None, "T": "told", "U": None}, here)
    assert found.variables.values == {
        "A": "one two", "B": "option", "C": "here", "D": "${HOME}", "E": "mine", "S": "secret", "T": "told",
    }  # fmt: skip
    assert found.variables.secrets == ("S", "T", "U")
    assert found.missing == ("U",)
    with pytest.raises(Unknown, match="nobody can be asked") as asked:
        found.complete()
    assert asked.value.fix.startswith("read -rs U && export U")
    assert found.answered({"U": "typed"}).complete().values["U"] == "typed"


def test_a_secret_of_a_file_is_a_secret_all_the_same(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"TOKEN={SECRET}\n")
    found = gather({}, [tmp_path / ".env"], {"TOKEN": None}, {})
    assert (found.missing, found.variables.secrets) == ((), ("TOKEN",))


@pytest.mark.parametrize(
    ("env", "error", "says"),
    [
        ({"A-B": "1"}, Usage, "no name of a variable"),
        ({"": "1"}, Usage, "no name of a variable"),
        ({"A\n": "1"}, Usage, "no name of a variable"),
        ({"HOTDESK_JOB": "1"}, Usage, "hotdesk's own"),
        ({"A": "a\0b"}, Usage, "does not fit"),
        ({"A": "x" * 100_001}, Usage, "does not fit"),
        ({"A": "\udcff"}, Usage, "not UTF-8"),
        ({"NOT_HERE": None}, Unknown, "not set here"),
    ],
)
def test_what_no_environment_holds_is_refused(
    env: dict[str, str | None], error: type[HotdeskError], says: str
) -> None:
    with pytest.raises(error, match=says):
        gather(env, (), {}, {})


def test_a_file_that_is_none_is_told_by_its_line_not_its_text(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(f"A=1\n{SECRET} hunter\n")
    with pytest.raises(Usage) as found:
        gather({}, [file], {}, {})
    assert "Line 2" in found.value.why
    assert SECRET not in str(found.value)
    with pytest.raises(Unknown, match="No such file"):
        gather({}, [tmp_path / "none"], {}, {})


def test_no_representation_shows_a_value() -> None:
    variables = Variables(values={"TOKEN": SECRET}, secrets=("TOKEN",))
    for value in (variables, Gathered(variables=variables), [variables]):
        assert SECRET not in repr(value)
        assert "TOKEN" in repr(value)


def test_a_secret_is_not_taken_from_the_command_line() -> None:
    with pytest.raises(Usage, match="shell keeps command lines") as found:
        run_words.secrets((f"TOKEN={SECRET}",))
    assert SECRET not in str(found.value)
    assert run_words.secrets(("A", "B")) == {"A": None, "B": None}
    assert run_words.variables(("A=1=2", "B", "C=")) == {"A": "1=2", "B": None, "C": ""}


def test_a_job_of_the_file_has_variables_too_and_options_are_added(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    (home / ".env").write_text("F=1\n")
    (home / "hotdesk.toml").write_text(
        "[jobs.train]\ncommand = 'x'\nsecret = ['TOKEN']\nenv_file = ['.env']\n"
        "env = {A = 4, B = 'b', C = 0.5}"
    )
    with Hotdesk() as desks:
        request = desks.services.jobs.requested("train", {"env": {"B": "mine"}}, home)
        assert request.gathered.complete().values == {
            "A": "4", "B": "mine", "C": "0.5", "F": "1", "TOKEN": SECRET,
        }  # fmt: skip
        assert request.contents().names == ("hotdesk.toml",), "the file stays here"


def test_what_outlives_the_command_does_not_inherit_a_secret(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Only a cloud's own keys: without them a watcher could do nothing after an interruption."""
    from hotdesk import system

    monkeypatch.setattr(system, "_withheld", set())
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-cloud")
    (tmp_path / "show.py").write_text("import os; print(sorted(os.environ.items()))")
    with Hotdesk() as desks:
        given = {"command": ("x",), "secret": {"TOKEN": None, "AWS_SECRET_ACCESS_KEY": None}}
        desks.services.jobs.requested("", given, home)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    os.waitpid(system.spawn("show", log=tmp_path / "log"), 0)
    said = (tmp_path / "log").read_text()
    assert "AWS_SECRET_ACCESS_KEY" in said
    assert SECRET not in said


# ---- the output --------------------------------------------------------------------------------------


@tries(max_examples=60)
@given(st.text("ab", min_size=SHORTEST, max_size=12), st.lists(st.text("abc", max_size=9)), st.data())
def test_a_secret_is_nowhere_in_the_output_and_the_rest_is(
    secret: str, parts: list[str], data: st.DataObject
) -> None:
    text = secret.join(parts).encode()
    mask, out, place = Mask([secret]), b"", 0
    while place < len(text):
        size = data.draw(st.integers(1, 6))
        out += mask.feed(text[place : place + size])
        place += size
    out += mask.rest()
    assert out == text.replace(secret.encode(), b"***")


@pytest.mark.parametrize("first", range(1, 24))
def test_a_secret_with_which_a_longer_one_begins_shows_no_end_of_that(first: int) -> None:
    text, mask = b"a secret-1 b secret-1-more c secret-1", Mask(["secret-1", "secret-1-more"])
    parts = (text[n : n + first] for n in range(0, len(text), first))
    assert b"".join(map(mask.feed, parts)) + mask.rest() == b"a *** b *** c ***"


def test_each_line_of_a_key_is_a_secret_and_a_word_is_none() -> None:
    mask = Mask(["-----BEGIN KEY-----\nMIIEpAIBAAKC\n", "1"])
    assert mask.feed(b"> MIIEpAIBAAKC 1\n") + mask.rest() == b"> *** 1\n"


# ---- at the desk -------------------------------------------------------------------------------------

linux = pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[JobRig]:
    home = tmp_path / "home"
    home.mkdir()
    rig = JobRig(home)
    yield rig
    rig.clear()


def holders(folder: Path, value: str = SECRET) -> list[str]:
    """The files below a folder that hold this value."""
    return holding(folder, [value]).get(value, [])


def holding(folder: Path, values: Iterable[str]) -> dict[str, list[str]]:
    """The same for several values, those that a file holds."""
    found: dict[str, list[str]] = {}
    for place, _, names in os.walk(folder):  # what is being deleted is passed over
        for file in (Path(place, name) for name in names):
            if file.is_file() and not file.is_symlink():
                with contextlib.suppress(FileNotFoundError):
                    body = file.read_bytes()
                    for value in values:
                        if value.encode() in body:
                            found.setdefault(value, []).append(str(file.relative_to(folder)))
    return found


def knowing(value: str = SECRET) -> tuple[list[str], list[str]]:
    """The processes with this value on their command line, and those with it in their environment."""
    words, environments = [], []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
                words += [line.decode(errors="replace")] if value.encode() in line else []
                if value.encode() in (entry / "environ").read_bytes():
                    environments.append(line.replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
    return words, environments


@linux
@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [("sh", "-c", 'echo "$A|$TOKEN" | rev; sleep 600'), ('echo "$A|$TOKEN" | rev; sleep 600',)]
)
def test_the_values_are_in_the_job_and_in_nothing_else(rig: JobRig, command: tuple[str, ...]) -> None:
    with (rig.home / ".profile").open("a") as profile:
        profile.write("export A=of-the-profile\n")
    given = {"A": "a b", "TOKEN": SECRET}
    rig.begin(*command, before=":\n", variables=given, secrets=["TOKEN"])
    rig.until(f"{SECRET[::-1]}|b a")
    assert holders(rig.home) == []
    words, environments = knowing()
    assert words == []
    assert len(environments) >= 1
    assert all("sleep" in line for line in environments), "only the job's own processes"
    assert json.loads((rig.folder() / "order.json").read_text())["variables"] == ["A", "TOKEN"]
    assert not (rig.folder() / "variables").exists()
    rig.cancel()
    rig.ended()


@linux
@pytest.mark.slow
def test_output_without_end_of_line_and_values_larger_than_a_pipe(rig: JobRig) -> None:
    large = {f"L{n}": "y" * 90_000 for n in range(5)}
    rig.begin('printf %s "$TOKEN${#L4}"', variables={"TOKEN": SECRET, **large}, secrets=["TOKEN"])
    assert rig.ended()["exit_status"] == 0
    assert rig.log() == "***90000"


@linux
@pytest.mark.slow
def test_an_attempt_whose_values_never_come_is_interrupted_not_run_without_them(rig: JobRig) -> None:
    """As when the connection is lost in the moment between the order and the values."""
    rig.begin("echo ran", variables={"TOKEN": SECRET})
    rig.ended()
    order = json.loads((rig.folder() / "order.json").read_text())
    status = json.loads((rig.folder() / "status.json").read_text())
    (rig.folder() / "status.json").write_text(json.dumps({**status, "phase": "begun", "attempt": 2}))
    assert order["variables"] == ["TOKEN"]
    rig.ask("work", rig.id)
    assert rig.look()["phase"] == "interrupted"
    assert rig.log() == "ran\n"


# ---- here --------------------------------------------------------------------------------------------


def queued(store: Store, desk: str = "blue", **more: object) -> Job:
    job = Job(id="", number=0, desk=desk, command=("x",), created_at=1.0, variables=("TOKEN",), **more)  # type: ignore[arg-type]
    return store.queue(job, Variables(values={"TOKEN": SECRET}, secrets=("TOKEN",)))


def test_the_values_are_private_here_until_the_job_has_ended(tmp_path: Path) -> None:
    with Store(tmp_path / "state") as store:
        first, second = queued(store), queued(store)
        file = tmp_path / "state" / "variables" / f"{first.id}.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert set(holders(tmp_path)) == {f"state/variables/{job.id}.json" for job in (first, second)}
        known = store.variables(first)
        assert known is not None
        assert known.values == {"TOKEN": SECRET}
        store.put_job(first.number, ran_seconds=5.0)
        assert store.variables(first) == known
        store.put_job(first.number, result=Result(exit_status=0, why="", at=2.0))
        assert store.variables(first) is None
        (file.parent / "stray.json").write_text("{}")
        third = queued(store)
        left = {path.stem for path in file.parent.iterdir()}
        assert left == {second.id, third.id}, "what no job needs is gone"


def test_a_job_is_not_begun_without_its_values(tmp_path: Path) -> None:
    """Nor is anything written into the journal: a watcher tries again in every round."""
    with Store(tmp_path / "state") as store:
        job = queued(store)
        (tmp_path / "state" / "variables" / f"{job.id}.json").unlink()
        store.put(Desk(name="blue", goal=Goal.RUNNING, since=0.5, created_at=0.5, provider="local"))
        access = Access(
            desk="blue",
            host="h",
            port=1,
            user="me",
            key_path="",
            known_hosts_path="",
            alias="",
            notebook_port=1,
        )
        runs = Runs(store=store, clock=SystemClock(), access=lambda desk: access, settle=lambda name: None)
        with pytest.raises(NeedsDecision, match="TOKEN has no value"):
            runs._begin(job, 1, 0, "it is its turn")
        assert store.rows("blue") == []


def test_only_what_a_watcher_elsewhere_would_need_is_offered_to_it(tmp_path: Path) -> None:
    with Store(tmp_path / "state") as store:
        for name, provider in (("blue", "aws"), ("tower", "aws"), ("here", "local")):
            store.put(Desk(name=name, goal=Goal.RUNNING, since=0.5, created_at=0.5, provider=provider))
        blue, ended = queued(store), queued(store)
        queued(store, "here")
        queued(store, "tower")
        store.put_job(ended.number, result=Result(exit_status=0, why="", at=2.0))
        assert [job.id for job in with_variables(store, "tower")] == [blue.id]


@pytest.fixture
def project(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = home / "project"
    folder.mkdir()
    (folder / "data.csv").write_text("")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.usefixtures("project")
def test_a_secret_is_asked_for_at_a_terminal() -> None:
    """In a real terminal: what is typed is not shown, and nothing is launched before it is known."""
    words = ["run", "blue", "--yes", "--secret", "TOKEN", "--", "python", "train.py"]
    status, said = typed(words, "TOKEN", SECRET)
    assert status == 4, said
    assert "There is no train.py" in said, "only then"
    assert SECRET not in said


def test_a_dry_run_shows_the_plan_and_names_the_secret_that_is_missing(project: Path) -> None:
    """It asks for none, at a terminal either."""
    words = ["run", "blue", "--dry-run", "--secret", "TOKEN", "--env", "A=1", "--", "ls"]
    status, said = typed(words, "TOKEN:", SECRET)
    assert status == 0, said
    assert "Then run: ls" in said
    assert "With the variables: A" in said
    assert "Not set here: TOKEN." in said
    assert "read -rs TOKEN && export TOKEN" in said
    with Hotdesk() as desks:
        request = desks.services.jobs.requested("", {"command": ("ls",), "secret": {"TOKEN": None}}, project)
        request.check(dry_run=True)
        with pytest.raises(Unknown, match="no value for the secret TOKEN"):
            request.check()


# ---- a real desk -------------------------------------------------------------------------------------

JOB = """
import os, sys, time
print("token", os.environ["TOKEN"][::-1], "plain", os.environ["TOKEN"], os.environ["A"], flush=True)
while not os.path.exists("go"):
    time.sleep(0.05)
"""


@linux
@tool("ssh")
@tool("rsync")
def test_a_job_reads_its_secret_after_an_interruption_too_and_no_image_holds_it(
    hotdesk: Command, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A job reads its secret. 2. Nothing else does: no file of the desk, no process. 3. The machine is
    taken; the next attempt has it, from here, and nobody is asked. 4. The desk is parked: what is in its
    image has no secret, and this computer has forgotten it.

    All day the cloud's keys are in the environment; every secret is only where docs/security.md says.
    """
    for name, value in CLOUD_KEYS.items():
        monkeypatch.setenv(name, value)
    project, laptop = home / "project", Laptop(home)
    laptop.environment |= CLOUD_KEYS
    project.mkdir()
    (project / "job.py").write_text(JOB)
    (project / ".env").write_text(f"A={SECRET}-file\n")
    assert hotdesk("up", "blue").returncode == 0
    mine = laptop.state / "desks" / "blue"
    password = (mine / "notebook-password").read_text().strip()
    private = {name: (mine / name).read_text().splitlines()[-3] for name in ("id_ed25519", "host_ed25519")}
    monkeypatch.setenv("TOKEN", SECRET)
    laptop.environment["TOKEN"] = SECRET
    words = ["run", "blue", "--detach", "--secret", "TOKEN", "--env-file", ".env", "--", "python", "job.py"]
    began = laptop.begin(project, *words)
    assert laptop.wait(began) == 0, laptop.said()
    monkeypatch.delenv("TOKEN")
    del laptop.environment["TOKEN"]
    for attempt in (1, 2):
        laptop.attempt("blue", attempt)
        limit = time.monotonic() + SECONDS
        while (said := hotdesk("logs", "blue").stdout).count("token") < attempt:
            assert time.monotonic() < limit, said
            time.sleep(0.2)
        line = f"token {SECRET[::-1]} plain *** ***-file"
        assert said.splitlines().count(line) == attempt
        [only] = holders(laptop.state)
        assert re.fullmatch(r"variables/1-\w+\.json", only)
        on_lines, environments = knowing()
        assert on_lines == []
        assert {line.split()[-1] for line in environments} == {"job.py"}, environments
        found = holding(tmp_path, [password, *private.values(), *CLOUD_KEYS.values()])
        assert found.pop(password) == ["state/desks/blue/notebook-password"]
        for name, line in private.items():
            assert found.pop(line) == [f"state/desks/blue/{name}"]
        assert found == {}, "the keys of a cloud are written down nowhere"
        for value in (password, *private.values(), *CLOUD_KEYS.values()):
            on_lines, environments = knowing(value)
            assert on_lines == []
            assert all(" -m hotdesk" in line for line in environments), "none of a desk's own programs"
        if attempt == 1:
            assert laptop.interrupt()
    laptop.disk("blue", "project", "go").touch()
    assert settled(hotdesk, 1)["state"] == "done"
    assert hotdesk("park", "blue").returncode == 0
    assert holders(laptop.state) == []
    [image] = (laptop.state / "local" / "images").glob("*.manifest")
    snapshot.restore(image, laptop.state / "local" / "store", tmp_path / "back")
    assert (tmp_path / "back" / "home" / "project" / "job.py").exists(), "what the image holds"
    secrets = [SECRET, password, *private.values(), *CLOUD_KEYS.values()]
    assert holding(tmp_path / "back", secrets) == {}
    shutil.rmtree(tmp_path / "back")
    assert hotdesk("resume", "blue").returncode == 0, "what the image holds is on the disk again"
    assert laptop.disk("blue", "project", "job.py").exists()
    assert not laptop.disk("blue", "project", ".env").exists()
    assert holders(laptop.state) == []
