"""The command line where no desk is needed: help, names, bad input, and how little it loads."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from hotdesk.cli.main import COMMANDS
from hotdesk.cli.main import hotdesk as group
from hotdesk.core.model import Want
from tests.conftest import Command

ALL = [name for section in COMMANDS.values() for name in section]
#: Nothing of this may be loaded to print help or list desks.
HEAVY = {"asyncssh", "jupyter", "numpy", "boto3", "botocore", "ray", "rich", "psutil", "cryptography"}
HEAVY |= {"email", "importlib.metadata", "asyncio", "ssl", "blake3", "zstandard", "unittest", "http"}


@pytest.mark.parametrize("words", [["--help"], ["ls"], ["ls", "--json"], ["up", "--help"]])
def test_it_loads_little(hotdesk: Command, words: list[str]) -> None:
    code = (
        "import sys; from hotdesk.cli.main import run; status = run(sys.argv[1:]);"
        "print('LOADED', *sys.modules, file=sys.stderr); sys.exit(status)"
    )
    hotdesk("ls")  # the state exists
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")},
    )
    assert done.returncode == 0, done.stderr
    loaded = done.stderr.split("LOADED", 1)[1].split()
    assert not [m for m in loaded if m.split(".")[0] in HEAVY or m in HEAVY]


def test_the_version_needs_nothing_at_all(hotdesk: Command) -> None:
    done = hotdesk("--version")
    assert done.stdout == "hotdesk 0.1.0\n"


@pytest.mark.parametrize("name", ALL)
def test_every_command_explains_itself(hotdesk: Command, name: str) -> None:
    done = hotdesk(name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: hotdesk {name}")


def test_a_mistake_in_a_command_of_a_group_leads_to_its_own_help(hotdesk: Command) -> None:
    done = hotdesk("cluster", "up", "blue", "--machines", "0")
    assert done.returncode == 2
    assert done.stderr.endswith("  fix: hotdesk cluster up --help\n")


def test_the_table_and_the_files_agree() -> None:
    folder = Path(__file__).parents[1] / "src" / "hotdesk" / "cli" / "commands"
    files = {p.stem.replace("_", "-") for p in folder.glob("*.py") if "\ndef command(" in p.read_text()}
    assert files == set(ALL)


def test_every_error_has_a_documented_exit_code() -> None:
    from hotdesk.core.errors import EXIT_CODES, HotdeskError

    kinds = [HotdeskError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert {kind.exit_code for kind in kinds} | {0, 130, 141} == EXIT_CODES.keys()


def test_help_lists_every_command(hotdesk: Command) -> None:
    said = hotdesk("--help").stdout
    assert all(f"  {name} " in said for name in ALL)
    assert hotdesk().stdout == said
    assert group.name == "hotdesk"


#: NaN is neither below a limit nor above it: it passed for a price that nothing exceeds.
NOT_FINITE = [
    ["up", "blue", "--max-usd", "nan"],
    ["offers", "--max-usd", "nan"],
    ["spot", "g6.xlarge", "--days", "nan"],
    ["run", "blue", "--budget", "inf", "--", "true"],
]
BAD = [
    (["upp"], 2, "Did you mean 'up'?"),
    (["parc"], 2, "fix: hotdesk park --help"),
    (["up", "--gpu"], 2, "fix: hotdesk up --help"),
    (["completion"], 2, "Choose from: bash, zsh, fish\n"),
    (["up", "blue", "--from", "ami-none"], 4, "blue has no image or disk ami-none"),
    (["stay", "blue", "long"], 2, "hotdesk stay blue 2h"),
    (["up", "a/b"], 2, "hotdesk up a-b"),
    (["up", "x" * 300], 2, "1 to 32 characters"),
    (["up", "x\ny"], 2, "cannot be a desk's name"),
    (["up", "-a-"], 2, ""),
    (["up", "blue", "--provider", "nowhere"], 2, "nowhere"),
    (["up", "blue", "--gpu", "A100:x"], 2, "NAME:COUNT"),
    (["show", "blue"], 4, "hotdesk up"),
    (["park", "blue"], 4, "no desk named 'blue'"),
    (["resume", "blue"], 4, "no desk named"),
    (["ssh", "blue", "--", "true"], 4, "no desk named"),
    (["notebook", "blue", "--url"], 4, "no desk named"),
    (["push", "blue", "nothing-here"], 4, "nothing-here"),
    (["down", "blue", "--yes"], 4, "no desk named"),
    (["log", "blue"], 4, "no desk named"),
    (["park"], 4, "no desk yet"),
    (["ls", "--jsn"], 2, "hotdesk ls --help"),
    (["completion", "tcsh"], 2, "tcsh"),
    (["down", "", "--yes"], 4, "no desk named"),
    (["up", ""], 4, "no desk named"),
    (["park", ""], 4, "no desk named"),
    (["log", ""], 4, "no desk named"),
    (["show", "\udcff"], 4, "no desk named"),
    (["log", "\udcff"], 4, "no desk named"),
    (["log", "-n", "9" * 30], 2, "hotdesk log --help"),
    (["up", "blue", "--max-usd", "-1"], 2, "--max-usd"),
    *((words, 2, "it must be finite") for words in NOT_FINITE),
    (["up", "blue", "--type", "local.huge"], 3, "instance_type local.huge"),
    (["up", "blue", "--region", "us-west-2"], 3, "regions us-west-2"),
    (["watch", "blue"], 4, "no desk named"),
    (["up", "blue", "--disk", "500"], 3, "disk_gib 500"),
    (["up", "blue", "--image", "ubuntu"], 3, "image ubuntu"),
]


@pytest.mark.parametrize(("words", "status", "said"), BAD, ids=lambda v: str(v)[:30])
def test_bad_input(hotdesk: Command, words: list[str], status: int, said: str) -> None:
    done = hotdesk(*words)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_yet(hotdesk: Command) -> None:
    assert "hotdesk up" in hotdesk("ls").stdout
    assert json.loads(hotdesk("ls", "--json").stdout) == []


def test_a_damaged_state_file_is_named_and_set_aside(hotdesk: Command, tmp_path: Path) -> None:
    hotdesk("ls")
    file = tmp_path / "state" / "hotdesk.db"
    file.write_bytes(b"not a database at all" * 500)
    for suffix in ("-wal", "-shm"):
        Path(f"{file}{suffix}").unlink(missing_ok=True)
    done = hotdesk("ls")
    assert done.returncode == 9
    assert str(file) in done.stderr
    assert "hotdesk doctor --adopt" in done.stderr
    assert "Traceback" not in done.stderr
    hotdesk("doctor", "--adopt")
    assert hotdesk("ls").returncode == 0
    assert [p for p in file.parent.iterdir() if ".damaged-" in p.name], "it is set aside, not deleted"


def test_a_newer_state_file_is_left_alone(hotdesk: Command, tmp_path: Path) -> None:
    hotdesk("ls")
    file = tmp_path / "state" / "hotdesk.db"
    database = sqlite3.connect(file)
    database.execute("PRAGMA user_version = 99")
    database.close()
    done = hotdesk("ls")
    assert done.returncode == 9
    assert "newer hotdesk" in done.stderr
    hotdesk("doctor", "--adopt")
    assert not [p for p in file.parent.iterdir() if ".damaged-" in p.name]


def test_a_typo_in_the_settings_is_named(hotdesk: Command, home: Path) -> None:
    (home / "hotdesk.toml").write_text('[desks.blue]\ngpuu = "L4"\n')
    done = hotdesk("up", "blue")
    assert done.returncode == 9
    assert "hotdesk.toml" in done.stderr
    assert "did you mean 'gpu'?" in done.stderr
    (home / "hotdesk.toml").write_text("[desks.blue\n")
    assert "not valid TOML" in hotdesk("up", "blue").stderr
    (home / "hotdesk.toml").write_text('[desks.blue]\ndisk_gib = "big"\n')
    assert "disk_gib" in hotdesk("up", "blue").stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[desks.blue]\nmarket = "spto"\n', "desks.blue.market is 'spto'; did you mean 'spot'?"),
        ("[desks.blue]\ndisk_gib = -5\n", "desks.blue.disk_gib is -5"),
        ("[desks.blue]\nusd_per_hour_max = nan\n", "usd_per_hour_max is nan"),
        ('[defaults]\nprovider = "locla"\n', "did you mean 'local'?"),
        ("[defaults]\nusd_per_month = -3\n", "defaults.usd_per_month is -3"),
        ("[desks.blue]\nlease_hours = -1\n", "desks.blue.lease_hours is -1"),
        ('[defualts]\nprovider = "aws"\n', "did you mean 'defaults'?"),
    ],
)
def test_a_setting_that_cannot_be_is_named(hotdesk: Command, home: Path, text: str, said: str) -> None:
    (home / "hotdesk.toml").write_text(text)
    done = hotdesk("up", "blue", "--dry-run")
    assert done.returncode == 9
    assert said in done.stderr


def test_a_mistake_in_the_settings_stops_nothing_that_does_without_them(hotdesk: Command, home: Path) -> None:
    """Of five mistakes each is told once by whatever goes on; under the worst, a desk is parked and ended."""
    mistakes = {
        "[defaults]\nusd_per_month = -3\n": "usd_per_month is -3",
        '[desks.blue]\nmarket = "spto"\n': "did you mean 'spot'?",
        '[desks."a/b"]\n': "1 to 32 characters",
        '[aws]\nprofil = "work"\n': "did you mean 'profile'?",
        "[defaults\n": "not valid TOML",
    }
    assert hotdesk("up", "blue").returncode == 0

    def told(said: str, *words: str) -> None:
        done = hotdesk(*words)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count(said) == 1, (words, done.stderr)

    for text, said in mistakes.items():
        (home / "hotdesk.toml").write_text(text)
        for words in (["ls"], ["show", "blue"], ["costs"]):
            told(said, *words)
        green = hotdesk("up", "green", "--dry-run")
        assert green.returncode == (9 if "default" in text else 0), green.stderr
        assert green.stderr.count(said) == 1
    told(said, "park", "blue")
    told(said, "down", "blue", "--yes")


def test_the_regions_of_a_cloud_do_not_shut_this_computer_out(hotdesk: Command, home: Path) -> None:
    (home / "hotdesk.toml").write_text('[defaults]\nprovider = "aws"\nregions = ["us-west-2"]\n')
    done = hotdesk("up", "blue", "--provider", "local", "--dry-run")
    assert "launch local." in done.stdout, done.stderr
    (home / "hotdesk.toml").write_text('[desks.blue]\nprovider = "aws"\ndisk_gib = 200\nimage = "ami-1"\n')
    done = hotdesk("up", "blue", "--provider", "local", "--dry-run")
    assert "launch local." in done.stdout, done.stderr


def test_tab_does_not_complain(hotdesk: Command, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "hotdesk.db").write_bytes(b"no database" * 500)
    done = hotdesk(_HOTDESK_COMPLETE="bash_complete", COMP_WORDS="hotdesk show ", COMP_CWORD="2")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


def test_an_environment_that_leads_nowhere(hotdesk: Command, home: Path) -> None:
    done = hotdesk("ls", HOTDESK_STATE="~nobody-of-that-name/x")
    assert done.returncode == 8
    assert "unset HOTDESK_STATE" in done.stderr
    (home / "gone").mkdir()
    source = str(Path(__file__).parents[1] / "src")
    line = f"cd gone && rmdir ../gone && {sys.executable} -m hotdesk up blue --dry-run"
    done = subprocess.run(
        ["sh", "-c", line], env={**os.environ, "PYTHONPATH": source}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_state_folder_that_cannot_be(hotdesk: Command, home: Path) -> None:
    (home / "file").write_text("")
    done = hotdesk("ls", HOTDESK_STATE=str(home / "file" / "state"))
    assert done.returncode == 8
    assert "HOTDESK_STATE=" in done.stderr


def test_without_an_ssh_client(hotdesk: Command, home: Path) -> None:
    (home / "bin").mkdir()
    done = hotdesk("up", "blue", PATH=str(home / "bin"))
    assert done.returncode == 8
    assert "ssh" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(hotdesk("ls", "--json").stdout) == [], "nothing was begun"


COMPLETE = {
    "bash": 'eval "$(hotdesk completion bash)"; COMP_WORDS=(hotdesk park b); COMP_CWORD=2;'
    ' COMP_LINE="hotdesk park b"; _hotdesk_completion hotdesk; echo ${COMPREPLY[@]}',
    "zsh": 'autoload -U compinit && compinit -D; eval "$(hotdesk completion zsh)";'
    ' COMP_WORDS="hotdesk park b" COMP_CWORD=2 _HOTDESK_COMPLETE=zsh_complete hotdesk',
    "fish": "hotdesk completion fish | source; complete -C 'hotdesk park b'",
}


@pytest.mark.parametrize("shell", COMPLETE)
def test_shells_complete_desk_names(hotdesk: Command, home: Path, shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell} here")
    from hotdesk.core.model import Desk, Goal
    from hotdesk.state.store import Store
    from hotdesk.system import state_folder

    with Store(state_folder()) as store:
        for name in ("blue", "black", "red"):
            store.put(Desk(name=name, goal=Goal.PARKED, since=1, created_at=1))
    (home / "bin").mkdir()
    script = home / "bin" / "hotdesk"
    source = Path(__file__).parents[1] / "src"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={source} exec {sys.executable} -m hotdesk "$@"\n')
    script.chmod(0o755)
    environment = {**os.environ, "PATH": f"{home / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(
        [shell, "-c", COMPLETE[shell]], env=environment, capture_output=True, text=True, timeout=60
    )
    assert "blue" in done.stdout, done
    assert "black" in done.stdout
    assert "red" not in done.stdout


@pytest.mark.parametrize(("given", "cap"), [(0.0, 0.0), (1.5, 1.5), (None, None)])
def test_a_limit_of_nothing_is_a_limit(given: float | None, cap: float | None) -> None:
    """`--max-usd 0` was dropped as if it had not been said, and any price would have done."""
    from hotdesk.services.wanting import wanted

    want = wanted(Want(), {"usd_per_hour_max": given, "gpu": "L4", "cheap": False, "regions": (), "zone": ""})
    assert want == Want(gpu="L4", usd_per_hour_max=cap)
