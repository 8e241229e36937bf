"""A Python function as tasks of a sweep: what it needs goes with it, and what it returns comes back."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hotdesk.core.errors import Unknown, Usage
from hotdesk.core.sweep.model import State, Task
from hotdesk.core.sweep.params import Space
from hotdesk.guest import sweep_function as guest
from hotdesk.services import sweep_function as functions
from hotdesk.services.sweep_function import TaskFailed, packed, request_of, space_of

pytest.importorskip("cloudpickle", reason="cloudpickle is not installed: pip install 'hotdesk[sweep]'")
FACTOR = 10


class Net:
    def __init__(self, width: int) -> None:
        self.width = width


def called(
    tmp_path: Path, function: Any, grid: Any, folder: Path | None = None, number: int = 0
) -> tuple[subprocess.CompletedProcess[str], Any]:
    """Call a function as a machine does: in another process, which has only what was sent; its value."""
    space, values = space_of(grid)
    names = [str(p.relative_to(folder)) for p in folder.rglob("*.py")] if folder else []
    sent = packed(function, values, folder, names)
    there, work = tmp_path / "function", tmp_path / "work"
    shutil.rmtree(there, ignore_errors=True)
    for name, content in sent.files:
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        (there / name).write_bytes(content)
    shutil.copytree(folder, work, dirs_exist_ok=True) if folder else work.mkdir(exist_ok=True)
    # -S: not even this project is installed there.
    done = subprocess.run(
        [sys.executable, "-S", there / "sweep_function.py"],
        cwd=work,
        env={"PATH": os.environ["PATH"], "HOTDESK_PARAMS": json.dumps(list(space.tasks())[number])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    value = None
    if done.returncode == 0:
        task = Task(number=1, params={}, state=State.DONE)
        value = functions.Returned[Any](task=task, file=work / functions.RETURNED).value
    return done, value


def test_a_closure_takes_its_globals_with_it_and_its_classes_come_back(tmp_path: Path) -> None:
    shift = 3

    def train(width: int, net: Any) -> dict[str, Any]:
        return {"loss": width * FACTOR + shift, "net": net(width), "note": float("nan")}

    done, value = called(tmp_path, train, {"width": [4], "net": [Net]})
    assert done.returncode == 0, done.stderr
    assert value["loss"] == 43
    assert isinstance(value["net"], Net)
    assert value["net"].width == 4
    assert json.loads(done.stdout) == {"loss": 43, "note": "nan"}


def loaded(folder: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "project"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "helping.py").write_text("def twice(x):\n    return 2 * x\n")
    (folder / "training.py").write_text(
        "import helping\n\ndef train(x):\n    return [__name__, __file__, helping.twice(x)]\n"
    )
    monkeypatch.syspath_prepend(str(folder / "lib"))
    yield folder
    for name in ("training", "helping"):
        sys.modules.pop(name, None)


def test_a_module_of_the_folder_is_imported_from_its_copy(tmp_path: Path, project: Path) -> None:
    done, value = called(tmp_path, loaded(project, "training").train, {"x": [21]}, project)
    assert done.returncode == 0, done.stderr
    assert value == ["training", str(tmp_path / "work" / "training.py"), 42]


def test_a_module_that_stays_here_goes_by_value(tmp_path: Path, project: Path) -> None:
    """Nothing of the folder is copied, so the machine has no such module."""
    (project / "training.py").write_text(
        "def twice(x):\n    return 2 * x\n\ndef train(x):\n    return twice(x)\n"
    )
    done, value = called(tmp_path, loaded(project, "training").train, {"x": [21]})
    assert (done.returncode, value) == (0, 42), done.stderr


def test_what_an_installed_package_defines_is_imported_there(tmp_path: Path) -> None:
    done, value = called(tmp_path, functools.partial(pow, exp=2), {"base": [12]})
    assert (done.returncode, value) == (0, 144), done.stderr


@pytest.mark.parametrize("status", [None, 0, 3])
def test_sys_exit_is_an_exit_status(tmp_path: Path, status: int | None) -> None:
    done, value = called(tmp_path, lambda x: sys.exit(status), {"x": [1]})
    assert done.returncode == (status or 0)
    assert value is None


def test_what_a_function_raises_is_the_last_line_it_says(tmp_path: Path) -> None:
    def train(x: int) -> float:
        return x / 0

    done, _ = called(tmp_path, train, {"x": [1]})
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert "/sweep_function.py" not in done.stderr, "only the function's own lines"


def test_another_python_is_told(tmp_path: Path) -> None:
    called(tmp_path, lambda x: x, {"x": [1]})
    told = tmp_path / "function" / "function.json"
    told.write_text(told.read_text().replace(str(list(sys.version_info[:2])), "[3, 99]"))
    done = subprocess.run(
        [sys.executable, told.with_name("sweep_function.py")],
        cwd=tmp_path / "work", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == guest.OTHER_PYTHON
    assert "is of Python 3.99" in done.stdout


def test_what_cannot_be_pickled_is_said_before_anything_is_begun() -> None:
    lock = threading.Lock()
    with pytest.raises(Usage, match="cannot be sent to another machine"):
        packed(lambda x: lock, {}, None, ())


def test_what_is_returned_and_cannot_be_pickled_fails(tmp_path: Path) -> None:
    done, _ = called(tmp_path, lambda x: threading.Lock(), {"x": [1]})
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "hotdesk: what the function returned, a lock, cannot be pickled."


def test_values_that_json_cannot_hold_have_labels() -> None:
    first, second = object(), object()
    space, values = space_of({"x": [None, (1, 2), first, second, len, 0.5], "y": 3, "z": "0..1"})
    assert list(space.parameters[0].values) == ["None", "(1, 2)", "object", "object #2", "len", 0.5]
    assert values["x"]["object #2"] is second
    assert space.size == 12


def test_a_list_has_the_arguments_of_each_task() -> None:
    space, values = space_of([{"a": 1}, {"a": 2, "b": None}])
    assert list(space.tasks()) == [{"a": 1}, {"a": 2, "b": "None"}]
    assert (space.names, space.size, values) == (["a", "b"], 2, {"b": {"None": None}})
    with pytest.raises(Usage, match="not a mapping"):
        space_of([1])


@pytest.mark.parametrize("grid", [{"y": [1]}, {"x": [1], "y": [1]}, [{"x": 1}, {}]])
def test_arguments_that_a_function_does_not_take_are_refused(grid: Any) -> None:
    space, _ = space_of(grid)
    with pytest.raises(Usage, match="cannot be called with"):
        request_of(lambda x: x, space, {"desk": "blue", "pull": ()})


def test_an_empty_grid_is_refused() -> None:
    with pytest.raises(Usage, match="no value"):
        space_of({"x": []})
    with pytest.raises(Usage, match="no task"):
        request_of(lambda: 1, Space(), {"desk": "b", "pull": (), "push": False}).check()


def test_a_value_is_not_there_before_its_task_has_ended(tmp_path: Path) -> None:
    def call(state: State, **more: Any) -> functions.Returned[Any]:
        task = Task(number=7, params={"x": 1}, state=state, **more)
        return functions.Returned[Any](task=task, file=tmp_path / "nothing", log="hotdesk sweep logs 1 7")

    with pytest.raises(TaskFailed, match=r"x=1.\nZeroDivisionError"):
        assert call(State.FAILED, last="ZeroDivisionError: division by zero").value
    with pytest.raises(Unknown, match="has not returned yet"):
        assert call(State.RUNNING).value
    with pytest.raises(Unknown, match="not on this computer"):
        assert call(State.DONE).value
