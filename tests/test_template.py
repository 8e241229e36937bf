"""`hotdesk export` and `hotdesk up --from FILE`: a desk as a file to share, without secrets."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from hotdesk import Hotdesk
from hotdesk.cli.commands import run
from hotdesk.cli.main import run as cli
from hotdesk.cli.ui import run_words
from hotdesk.core.errors import Damaged, HotdeskError, Unknown, Usage
from hotdesk.core.model import Desk, Goal, MarketChoice, Want
from hotdesk.services import template
from hotdesk.services.limits import Limits
from tests.conftest import Command
from tests.local_rig import tool

FILE = """
[jobs.train]
command = ["python", "train.py"]
env = {TOKEN = "hush-hush", A = 1}
env_file = ["keys.env"]
secret = ["HF_TOKEN"]
pull = ["out"]
then = "stay"
[desks.plan]
gpu = "T4"
provider = "aws"
"""
WANT = Want(gpu="L4", gpu_count=2, market=MarketChoice.SPOT, regions=("us-west-2",), usd_per_hour_max=1.5)


def put(desks: Hotdesk, name: str = "blue", **more: object) -> Desk:
    desk = Desk(name=name, goal=Goal.PARKED, since=1.0, created_at=1.0, provider="local", want=WANT, **more)  # type: ignore[arg-type]
    desks.services.store.put(desk)
    return desk


def test_what_is_exported_is_what_a_desk_is_made_of(home: Path) -> None:
    (home / "hotdesk.toml").write_text(FILE)
    with Hotdesk() as desks:
        put(desks, idle_minutes=0.0, lease_hours=4.0)
        exported = desks.export("blue")
    made = template.parse(exported.text, home / "blue.toml")
    assert (made.want, made.provider) == (WANT, "local")
    assert made.limits == Limits(idle_minutes=0.0, lease_hours=4.0)
    assert (made.jobs["train"].command, made.jobs["train"].then) == (("python", "train.py"), "stay")
    assert made.environment == template.Lock()
    packages, *values = exported.left_out
    assert packages.startswith("The packages: blue is without a machine.")
    assert values == [f"{key} of the job train: its values may be secret." for key in ("env", "env_file")]


def test_no_secret_is_in_the_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "of-this-environment")
    (home / "hotdesk.toml").write_text(FILE)
    with Hotdesk() as desks:
        text = desks.export("plan").text
    assert "hush" not in text
    assert "keys.env" not in text
    assert "of-this-environment" not in text
    assert 'secret = ["HF_TOKEN"]' in text, "its name is"
    made = template.parse(text, home / "plan.toml")
    assert (made.want.gpu, made.provider, made.limits) == ("T4", "aws", Limits())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "0 desks, not one"),
        ("[desks.a]\n[desks.b]\n", "2 desks, not one"),
        ("[desks.a]\ngpuu = 'L4'", "did you mean 'gpu'?"),
        ("[desks.a]\n[jobs.x]\npull = []", "missing required field `command`"),
        ("[desks.a]\n[environment]\npackages = 'numpy'", "environment.packages"),
        ("[desks.a", "not valid TOML"),
    ],
)
def test_a_file_that_is_no_template_makes_no_desk(home: Path, text: str, why: str) -> None:
    (home / "a.toml").write_text(text)
    with Hotdesk() as desks, pytest.raises(Damaged) as found:
        desks.up("new", template=home / "a.toml")
    assert why in str(found.value)
    with Hotdesk() as desks:
        assert desks.services.store.find("new") is None
        with pytest.raises(Unknown, match="cannot be read"):
            desks.up("new", template=home / "none.toml")


@pytest.mark.parametrize(
    "package",
    [
        "--index-url=http://evil",
        "x @ http://evil/x.whl",
        "a\\n--pre",
        "./setup",
        "git+https://evil/x",
        "-e .",
    ],
)
def test_a_strangers_template_gives_the_installer_names_only(package: str, tmp_path: Path) -> None:
    text = f'[desks.a]\n[environment]\npackages = ["numpy==2.3.1", "{package}"]\n'
    with pytest.raises(Damaged, match="no name with a version"):
        template.parse(text, tmp_path / "a.toml")
    for good in ("numpy", "torch==2.4.0", "ray[default]>=2,<3", "ruamel.yaml~=0.18"):
        assert (
            template.parse(text.replace(package, good), tmp_path / "a.toml").environment.packages[1] == good
        )


def test_a_strangers_template_reads_no_file_here(tmp_path: Path) -> None:
    text = '[desks.a]\n[jobs.train]\ncommand = "true"\nenv_file = ["~/.aws/credentials"]\n'
    with pytest.raises(Damaged, match="names a file of this computer"):
        template.parse(text, tmp_path / "a.toml")


def test_a_template_makes_only_new_desks_and_its_jobs_are_theirs(home: Path) -> None:
    text = "[desks.old]\n[jobs.train]\ncommand = 'python train.py'\n"
    made = template.parse(text, home / "old.toml")
    with Hotdesk() as desks:
        templates, jobs = desks.services.templates, desks.services.jobs
        templates.keep("new", made)
        templates.keep("new", made)
        put(desks, "new")
        templates.keep("new", made)  # the same again goes on
        other = template.parse(text.replace("train.py", "other.py"), home / "old.toml")
        with pytest.raises(Usage, match="there already"):
            templates.keep("new", other)
        for name in ("../new", "a/b", "A"):
            with pytest.raises(HotdeskError):
                templates.keep(name, made)
            assert template.jobs_of(desks.services.state, name) == {}
        with run.command.make_context("run", ["new", "train"]) as context:
            assert run_words.job_of(context) == "train"
        with pytest.raises(Unknown, match="There are: train"):
            run.command.make_context("run", ["new", "trian"])
        assert jobs.requested("train", {}, home, "new").command == ("python train.py",)
        (home / "hotdesk.toml").write_text("[jobs.train]\ncommand = 'mine'")
    with Hotdesk() as desks:
        assert desks.services.jobs.requested("train", {}, home, "new").command == ("mine",)
        template.forget(desks.services.state, "new")
        assert template.jobs_of(desks.services.state, "new") == {}


def test_limits_that_are_given_count_more_than_the_templates() -> None:
    limits = Limits(idle_minutes=30.0, lease_hours=4.0)
    assert limits.changed(None) == limits
    assert limits.changed(Limits(idle_minutes=0.0)) == Limits(idle_minutes=0.0, lease_hours=4.0)


def test_export_prints_the_file_and_says_what_is_not_in_it(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "hotdesk.toml").write_text(FILE)
    assert cli(["export", "plan"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("# hotdesk up NAME --from plan.toml")
    assert "Not in the file: env of the job train" in said.err
    assert cli(["export", "plan", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == said.out
    assert cli(["export", "nowhere"]) == 4


# ---- two real desks ----------------------------------------------------------------------------------


@tool("ssh")
@tool("rsync")
def test_a_desk_of_a_template_has_its_packages_and_its_jobs(
    hotdesk: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. Two packages are installed at blue, one from an index, one from a path. 2. blue is exported: the
    first is in the file. 3. green is made of it: it has the package, and runs the job. 4. Once more: nothing
    is installed again. 5. It is gone, and so is what it was made of."""
    index = home / "index"
    index.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    for name in ("thing", "local"):
        info = f"{name}-1.0.dist-info"
        with zipfile.ZipFile(index / f"{name}-1.0-py3-none-any.whl", "w") as file:
            file.writestr(f"{name}.py", "NAME = __name__\n")
            file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            file.writestr(f"{info}/RECORD", "")
    project = home / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    assert hotdesk("up", "blue").returncode == 0
    local = index / "local-1.0-py3-none-any.whl"
    installed = hotdesk("ssh", "blue", "--", f"pip install thing '{local}'")
    assert installed.returncode == 0, installed.stdout + installed.stderr
    (project / "hotdesk.toml").write_text(
        "[jobs.show]\ncommand = \"python -c 'import thing; print(thing.NAME)'\"\nthen = 'stay'\n"
    )
    exported = hotdesk("export", "blue")
    assert exported.returncode == 0, exported.stderr
    assert '"thing==1.0",' in exported.stdout
    assert "local==" not in exported.stdout
    assert "Not in the file: local: it was not installed from an index." in exported.stderr
    (home / "blue.toml").write_text(exported.stdout)
    (project / "hotdesk.toml").rename(project / "notes.txt")
    for _ in range(2):
        up = hotdesk("up", "green", "--from", str(home / "blue.toml"), "--json")
        assert up.returncode == 0, up.stderr
    [job] = json.loads(hotdesk("jobs", "green", "--json").stdout)
    assert job["state"] == "done", "one job has installed it, once"
    shown = hotdesk("run", "green", "show")
    assert (shown.returncode, shown.stdout) == (0, "thing\n"), shown.stderr
    assert hotdesk("down", "green", "--yes").returncode == 0
    with Hotdesk() as desks:
        assert template.jobs_of(desks.services.state, "green") == {}
