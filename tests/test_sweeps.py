"""Beginning a sweep: it is there as a whole, or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from hotdesk import Hotdesk
from hotdesk.core.errors import NeedsDecision, Unknown, Usage
from hotdesk.core.jobs import Job
from hotdesk.core.model import Desk, Goal
from hotdesk.core.steps import BakeOrder
from hotdesk.core.sweep.params import Space, read_parameter
from hotdesk.providers.local import records
from hotdesk.providers.local.paths import Folders
from hotdesk.services.sweep_request import SweepRequest
from hotdesk.services.sweeps import Sweeps
from tests.sweep_world import holding

pytest.importorskip("ray", reason="Ray is not installed: pip install 'hotdesk[sweep]'")


def parked(desks: Hotdesk) -> None:
    """A desk here with a verified image."""
    desks.services.store.put(Desk(name="blue", goal=Goal.PARKED, since=1.0, created_at=1.0, provider="local"))
    folders = Folders.of(Path(os.environ["HOTDESK_STATE"]))
    folders.images.mkdir(parents=True)
    order = BakeOrder(
        desk="blue", born=1.0, generation=1, attempt=0, source_id="m", started_at=1.0, region="here"
    )
    picture = records.Picture(order=order, taken_at=2.0, phase=records.Taking.BAKED, verified=True)
    records.write(folders.image(order.name), picture)
    folders.manifest(order.name).touch()


@pytest.fixture
def request_(home: Path) -> SweepRequest:
    project = home / "project"
    project.mkdir()
    for name in ("a.txt", "train.py"):
        (project / name).write_text("")
    return SweepRequest(
        desk="blue",
        command=("python3", "train.py", "{seed}"),
        space=Space(parameters=(read_parameter("seed=0..1"),)),
        folder=str(project),
    )


def test_a_full_disk_leaves_no_sweep_with_half_of_its_folder(
    request_: SweepRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever found it would go on with it."""
    whole = shutil.copy2

    def copy(source: Path, target: Path, **how: bool) -> object:
        if source.name == "train.py":
            raise OSError(28, "No space left on device")
        return whole(source, target, **how)

    monkeypatch.setattr(Sweeps, "drive", lambda self, number: None)
    with Hotdesk() as desks:
        parked(desks)
        with monkeypatch.context() as patched:
            patched.setattr(shutil, "copy2", copy)
            with pytest.raises(OSError, match="No space left"):
                desks.services.sweeps.start(request_)
        assert desks.services.sweeps.views() == []
        assert desks.services.sweeps.revive() == []
        sweep = desks.services.sweeps.start(request_)
        folder = desks.services.sweeps.kept.folder(sweep)
        assert sorted(path.name for path in (folder / "project").iterdir()) == ["a.txt", "train.py"]
        assert [path.name for path in folder.parent.iterdir()] == [sweep.id]


def test_a_sweep_without_its_folder_runs_nothing(
    request_: SweepRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sweeps, "drive", lambda self, number: None)
    with Hotdesk() as desks:
        parked(desks)
        sweep = desks.services.sweeps.start(request_)
        shutil.rmtree(desks.services.sweeps.kept.folder(sweep))
        desks.services.sweeps.go_on(sweep.number)
        view = desks.services.sweeps.view(sweep.number)
        assert (view.sweep.stopped, view.counts.cancelled) == ("its folder was never copied", 2)
        assert view.machines == ()
        assert [desk.name for desk in desks.services.store.desks()] == ["blue"]


def test_a_sweep_that_is_over_can_be_removed_and_its_number_is_not_used_again(
    request_: SweepRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sweeps, "drive", lambda self, number: None)
    with Hotdesk() as desks:
        parked(desks)
        sweeps = desks.services.sweeps
        first, second = (sweeps.start(request_) for _ in range(2))
        with pytest.raises(NeedsDecision, match="Sweep 1 is not over"):
            desks.sweeps.rm(1, 2)
        assert [view.sweep.number for view in desks.sweeps.ls()] == [1, 2], "in doubt, none is deleted"
        sweeps.cancel(2)
        sweeps.go_on(2)
        with pytest.raises(Usage, match="Sweep 2 runs a command"):
            desks.sweeps.returned(2)
        assert [r.number for r in desks.sweeps.rm(over_seconds=3600.0)] == []
        [removed] = desks.sweeps.rm(over_seconds=0.0, dry_run=True)
        assert (removed.number, removed.tasks, removed.title) == (2, 2, "python3 train.py {seed}")
        assert sweeps.kept.folder(second).is_dir()
        assert desks.sweeps.rm(2) == [removed]
        assert not sweeps.kept.folder(second).exists()
        assert sweeps.kept.folder(first).is_dir()
        assert [view.sweep.number for view in desks.sweeps.ls()] == [1]
        assert sweeps.start(request_).number == 3


def test_a_number_that_the_state_file_cannot_hold_is_no_sweep_and_no_task(
    request_: SweepRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sweeps, "drive", lambda self, number: None)
    with Hotdesk() as desks:
        parked(desks)
        sweeps = desks.services.sweeps
        sweeps.start(request_)
        for number in (1 << 63, -(10**30)):
            with pytest.raises(Unknown, match=f"There is no sweep {number}"):
                sweeps.view(number)
            with pytest.raises(Unknown, match=f"Sweep 1 has no task {number}"):
                sweeps.retry(1, [number])


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"cpus": 4096.0}, "needs 4096 processors; there are"),
        ({"per_gpu": 1e-6}, "of a GPU; there are"),
        ({"memory_gib": 1e6}, "1e+06 GiB of memory; there are"),
        ({"machines": 2, "cpus": float(len(os.sched_getaffinity(0)))}, "--machines 1"),
    ],
)
def test_a_task_that_no_machine_has_room_for_is_refused(
    request_: SweepRequest, asked: dict[str, Any], why: str
) -> None:
    """It would wait for ever."""
    with Hotdesk() as desks:
        parked(desks)
        with pytest.raises(Usage, match="has no room for a task") as refused:
            desks.services.sweeps.planned(replace(request_, **asked))
    assert why in f"{refused.value.why} {refused.value.fix}"


def test_a_deadline_that_is_shorter_than_a_task_is_met_by_no_number_of_machines(
    request_: SweepRequest,
) -> None:
    with pytest.raises(Usage, match="No number of machines meets this deadline") as refused:
        replace(request_, each_seconds=600.0, deadline_seconds=60.0, machines=0).check()
    assert "One task takes 10 minutes, and the deadline is 1 from now." in refused.value.why


def test_a_secret_is_kept_until_the_sweep_is_over(
    request_: SweepRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sweeps, "drive", lambda self, number: None)
    monkeypatch.setenv("HF_TOKEN", "hf_a-secret")
    monkeypatch.setattr("hotdesk.system._withheld", withheld := set[str]())
    with Hotdesk() as desks:
        parked(desks)
        sweeps = desks.services.sweeps
        asked = replace(request_, secrets=("HF_TOKEN",), environment=(("A", "1"),))
        number = sweeps.start(asked).number
        assert withheld == {"HF_TOKEN"}, "no process that goes on has it"
        sweep = sweeps.view(number).sweep
        assert (sweep.environment, sweep.secrets) == ((("A", "1"),), ("HF_TOKEN",))
        with sweeps.opened() as store:
            assert store.secrets(sweep) == {"HF_TOKEN": "hf_a-secret"}
        [file] = holding(b"hf_a-secret")
        assert file.parent.name == "variables"
        assert file.stat().st_mode & 0o777 == 0o600
        desks.services.store.queue(Job(id="", number=0, desk="blue", command=("x",), created_at=0.0))
        assert file.exists(), "what jobs need no more is not what a sweep needs"
        sweeps.cancel(number)
        sweeps.go_on(number)
        assert sweeps.view(number).sweep.over_at
        assert holding(b"hf_a-secret") == []
        monkeypatch.delenv("HF_TOKEN")
        with pytest.raises(Usage, match="HF_TOKEN is not in your environment"):
            sweeps.retry(number)
        assert sweeps.view(number).sweep.over_at, "nothing was begun"
        monkeypatch.setenv("HF_TOKEN", "another")
        sweep, _ = sweeps.retry(number)
        with sweeps.opened() as store:
            assert store.secrets(sweep) == {"HF_TOKEN": "another"}
            store.forget_secrets(sweep)  # as on another computer
        sweeps.go_on(number)
        assert "the value of HF_TOKEN is not on this computer any more" in sweeps.view(number).sweep.stopped
