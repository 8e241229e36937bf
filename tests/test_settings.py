"""`hotdesk init` and `hotdesk config`: what can be set, which value counts, and where it comes from."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st

from hotdesk import Hotdesk
from hotdesk.cli.main import run
from hotdesk.config import Config, DeskSettings, JobSettings, load, parse
from hotdesk.core import clouds
from hotdesk.core.errors import Damaged, NeedsDecision, Unknown
from hotdesk.core.model import Desk, Goal, Want
from hotdesk.services.settings import DEFAULTS, DESK, JOB, MONEY, Setting, lines, toml
from hotdesk.system import config_files

FILE = """\
[defaults]
usd_per_month = 50

[desks]
red = {gpu = "L4", regions = [
  "us-west-2",  # ]
]}
[desks.green]
provider = "aws"
idle_park_minutes = 45
[jobs.train]
command = '''
python train.py
pull = 7'''
pull = ["out"]
[aws]
owner = "carol"
"""


@pytest.fixture
def settings(home: Path) -> Path:
    """The settings of the person, not of the folder."""
    path = home / ".config" / "hotdesk" / "hotdesk.toml"
    path.parent.mkdir(parents=True)
    path.write_text(FILE)
    return path


def found(name: str | None = None) -> dict[tuple[str, str], Setting]:
    with Hotdesk() as desks:
        return {(s.section, s.name): s for s in desks.config(name)}


def test_every_value_comes_from_where_it_says(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "work")
    monkeypatch.delenv("AWS_DEFAULT_PROFILE", raising=False)
    told = found()

    def of(section: str, name: str) -> tuple[object, str, str]:
        setting = told[section, name]
        return setting.value, setting.source, setting.where.replace("~/.config/hotdesk/hotdesk.toml", "FILE")

    assert of("defaults", "usd_per_month") == (50.0, "file", "FILE:2")
    assert of("defaults", "provider") == ("local", "default", "")
    assert of("desks.red", "gpu") == ("L4", "file", "FILE:5")
    assert of("desks.red", "regions") == (("us-west-2",), "file", "FILE:5")
    assert of("desks.green", "provider") == ("aws", "file", "FILE:9")
    assert of("desks.green", "idle") == ("45m", "file", "FILE:10")
    assert of("desks.red", "idle") == ("never", "default", "")
    assert of("jobs.train", "command") == ("python train.py\npull = 7", "file", "FILE:12")
    assert of("jobs.train", "pull") == (("out",), "file", "FILE:15")
    assert of("aws", "owner") == ("carol", "file", "FILE:17")
    assert of("aws", "profile") == ("work", "environment", "AWS_PROFILE")
    assert of("aws", "vpc") == ("", "default", "")
    assert told["", "state folder"].where == "HOTDESK_STATE"
    assert told["", "settings file"].value == "~/.config/hotdesk/hotdesk.toml"


def test_a_desk_takes_its_regions_from_the_defaults(home: Path) -> None:
    (home / "hotdesk.toml").write_text(
        '[defaults]\nprovider = "aws"\nregions = ["eu-west-1"]\n[desks.a]\ngpu = "T4"'
    )
    told = found("a")
    assert (told["desks.a", "provider"].value, told["desks.a", "provider"].where) == ("aws", "hotdesk.toml:2")
    assert (told["desks.a", "regions"].value, told["desks.a", "regions"].where) == (
        ("eu-west-1",),
        "hotdesk.toml:3",
    )
    assert told["desks.a", "idle"].value == "60m"


def test_a_desk_that_is_keeps_what_it_was_made_with(settings: Path) -> None:
    with Hotdesk() as desks:
        want = Want(gpu="A100", gpu_count=2)
        desks.services.store.put(
            Desk(name="red", goal=Goal.PARKED, since=1.0, created_at=1.0, provider="local", want=want)
        )
    told = found("red")
    assert {section for section, _ in told} == {"desks.red"}
    gpu = told["desks.red", "gpu"]
    assert (gpu.value, gpu.source, gpu.where) == ("A100", "option", "hotdesk up, hotdesk move")
    assert told["desks.red", "regions"].value == ()


def test_a_file_that_cannot_be_used_in_full_is_not_explained(home: Path) -> None:
    (home / "hotdesk.toml").write_text("[defaults]\nusd_per_moth = 5\n")
    with pytest.raises(Damaged, match="usd_per_month"):
        found()
    (home / "hotdesk.toml").unlink()
    with pytest.raises(Unknown, match="no desk blue"):
        found("blue")


def test_the_table_names_what_is_set(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config"]) == 0
    said = capsys.readouterr()
    assert re.search(r"desks\.red +gpu +hotdesk\.toml:5 +\"L4\"\n", said.out)
    assert "zone" not in said.out
    assert re.search(r"\d+ more have their defaults: hotdesk config --all", said.err)
    assert run(["config", "--all"]) == 0
    assert "zone" in capsys.readouterr().out
    assert run(["config", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"section": "defaults", "name": "usd_per_month", "value": 50.0, "source": "file"}.items() <= rows[
        4
    ].items()


# ---- init --------------------------------------------------------------------------------------------


def uncommented(text: str) -> str:
    return re.sub(r"(?m)^# (?=\[|\w+ = )", "", text)


def test_init_changes_nothing_and_lists_everything(home: Path) -> None:
    with Hotdesk() as desks:
        path = desks.init()
    assert path == home / "hotdesk.toml"
    text = path.read_text()
    assert load(config_files()) == Config()
    config = parse(uncommented(text), path)
    assert not config.faults
    told = tomllib.loads(uncommented(text))
    assert told["defaults"].keys() == DEFAULTS.keys()
    assert told["money"].keys() == MONEY.keys()
    assert told["desks"]["blue"].keys() == DESK.keys()
    assert told["jobs"]["train"].keys() == JOB.keys()
    for name, cloud in clouds.KNOWN.items():
        if cloud.settings:
            assert told[name].keys() == set(cloud.settings.__struct_fields__)
            assert config.clouds[name] == cloud.settings()
    assert all("  # " in line for line in text.splitlines() if " = " in line), "each has its meaning"


def test_what_can_be_set_is_what_is_read() -> None:
    assert DESK.keys() == set(DeskSettings.__struct_fields__) - {"idle_park_minutes", "lease_hours"}
    assert JOB.keys() == set(JobSettings.__struct_fields__)


def test_init_keeps_the_values_that_counted_until_now(settings: Path, home: Path) -> None:
    """The folder's file counts instead of the person's: their budget must not end with it."""
    before = load(config_files())
    with Hotdesk() as desks:
        path = desks.init()
    after = load(config_files())
    assert (home / "hotdesk.toml") == path == config_files()[0]
    assert after.defaults == before.defaults
    assert after.jobs == before.jobs
    assert after.clouds == before.clouds
    assert {n: d.idle_minutes for n, d in after.desks.items()} == {"red": None, "green": 45.0}
    assert after.desks["red"].gpu == "L4"


def test_init_never_overwrites(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for make in (lambda p: p.write_text("# mine\n"), lambda p: p.symlink_to("nowhere")):
        path = home / "hotdesk.toml"
        make(path)
        with Hotdesk() as desks, pytest.raises(NeedsDecision, match="already"):
            desks.init()
        assert run(["init"]) == 5
        assert path.is_symlink() or path.read_text() == "# mine\n"
        path.unlink()
    assert run(["init", "--dry-run"]) == 0
    assert "[defaults]" in capsys.readouterr().out
    assert list(home.iterdir()) == []
    assert run(["init", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["written"], Path(told["path"]).read_text()) == (True, told["text"])


# ---- TOML --------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab .\"'é", max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@tries(max_examples=60)
@given(VALUES)
def test_a_value_is_read_as_it_was_written(value: object) -> None:
    assert tomllib.loads(f"x = {toml(value)}") == {"x": value}


@tries(max_examples=60)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), VALUES, max_size=5), st.lists(st.booleans()))
def test_every_key_has_its_line(values: dict[str, object], blanks: list[bool]) -> None:
    text, wanted = "# a file\n[t]\n", {}
    for (key, value), blank in zip(values.items(), blanks + [False] * len(values), strict=False):
        text += "\n# between [ ' \n" * blank
        wanted["t", key] = text.count("\n") + 1
        text += f"{key} = {toml(value)}  # [x]\n"
    assert {path: line for path, line in lines(text).items() if len(path) == 2} == wanted
