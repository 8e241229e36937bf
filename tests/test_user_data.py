"""What a rented machine is told at its first boot and when a desk is resumed, and the agent that it runs."""

from __future__ import annotations

import gzip
import http.server
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hotdesk.connect import readiness
from hotdesk.core.errors import Kind, Refused
from hotdesk.core.ports import Access
from hotdesk.guest import agent, jupyter, one_file
from hotdesk.guest.cloud_init import LIMIT_BYTES, TOOLS, render, setup_script
from hotdesk.guest.one_file import source
from tests.local_rig import wait_for

HASH = "argon2:$argon2id$v=19$m=10240,t=10,p=8$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA"

#: The keys that cloud-init knows and that are used here, with the type each must have.
KEYS = {
    "ssh_pwauth": bool,
    "disable_root": bool,
    "ssh_deletekeys": bool,
    "ssh_genkeytypes": list,
    "package_update": bool,
    "package_upgrade": bool,
    "write_files": list,
    "bootcmd": list,
    "runcmd": list,
}
FILE_KEYS = {"path", "owner", "permissions", "content"}


def document(*, resumed: bool, fleet: bool = False) -> dict[str, Any]:
    text = gzip.decompress(render(password_hash=HASH, resumed=resumed, fleet=fleet)).decode()
    head, _, body = text.partition("\n")
    assert head == "#cloud-config"
    return json.loads(body)  # JSON is YAML


def files() -> dict[str, str]:
    return {f["path"]: f["content"] for f in document(resumed=False)["write_files"]}


@pytest.mark.parametrize("resumed", [False, True])
def test_the_document_holds_only_keys_that_cloud_init_knows(resumed: bool) -> None:
    told = document(resumed=resumed)
    for key, value in told.items():
        assert isinstance(value, KEYS[key]), key
    for file in told.get("write_files", ()):
        assert set(file) == FILE_KEYS
        assert file["path"].startswith("/")
    for words in told["runcmd"]:
        assert all(isinstance(word, str) for word in words)


@pytest.mark.parametrize("shown", [False, True])
def test_the_host_keys_are_shown_again_at_each_later_boot(tmp_path: Path, shown: bool) -> None:
    """Not before cloud-init has shown them at the first: an image's own keys are replaced before that."""
    for folder in ("sem", "ssh"):
        (tmp_path / folder).mkdir()
    (tmp_path / "ssh/ssh_host_ed25519_key.pub").write_text("ssh-ed25519 AAAA me\n")
    if shown:
        (tmp_path / "sem/config_keys_to_console").touch()
    [[shell, option, script]] = document(resumed=False)["bootcmd"]
    for path, ours in {"/var/lib/cloud/instance/sem": "sem", "/etc/ssh": "ssh", "/dev/console": "c"}.items():
        assert path in script
        script = script.replace(path, str(tmp_path / ours))
    assert subprocess.run([shell, option, script], check=False).returncode == 0
    told = (tmp_path / "c").read_text().splitlines() if (tmp_path / "c").exists() else []
    marks = "-----BEGIN SSH HOST KEY KEYS-----", "-----END SSH HOST KEY KEYS-----"
    assert told == ([marks[0], "ssh-ed25519 AAAA me", marks[1]] if shown else [])


def test_a_machine_of_a_fleet_forgets_once_what_its_image_was_told(tmp_path: Path) -> None:
    """An image of a desk that never ends said so to machines that nobody ever logged in to."""
    told = tmp_path / "ubuntu" / ".hotdesk"
    told.mkdir(parents=True)
    for name in ("leave", "stay", "jobs"):
        (told / name).write_text("{}")
    assert len(document(resumed=True)["bootcmd"]) == 1, "a desk keeps its limits"
    [_, [per, often, _, *words]] = document(resumed=True, fleet=True)["bootcmd"]
    assert (per, often) == ("cloud-init-per", "instance")
    subprocess.run([word.replace("/home", str(tmp_path)) for word in words], check=True)
    assert [path.name for path in told.iterdir()] == ["jobs"]


@pytest.mark.parametrize(("resumed", "fleet"), [(False, False), (True, False), (True, True)])
@pytest.mark.tools("cloud-init")
def test_cloud_init_itself_finds_the_document_valid(resumed: bool, fleet: bool, tmp_path: Path) -> None:
    path = tmp_path / "user-data"
    path.write_bytes(gzip.decompress(render(password_hash=HASH, resumed=resumed, fleet=fleet)))
    done = subprocess.run(["cloud-init", "schema", "-c", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("resumed", [False, True])
def test_it_fits_into_what_ec2_takes_and_is_the_same_every_time(resumed: bool) -> None:
    packed = render(password_hash=HASH, resumed=resumed)
    assert len(packed) < LIMIT_BYTES * 0.91  # another computer's zlib may pack a few percent worse
    assert packed == render(password_hash=HASH, resumed=resumed)


def test_a_first_boot_makes_new_host_keys_and_every_later_one_keeps_them() -> None:
    assert document(resumed=False)["ssh_deletekeys"] is True
    assert document(resumed=True)["ssh_deletekeys"] is False
    assert "ssh_deletekeys: false" in files()["/etc/cloud/cloud.cfg.d/99-hotdesk.cfg"]


def test_a_resumed_desk_gets_this_hotdesks_programs_and_keeps_what_is_a_persons() -> None:
    """Its image may be of an older hotdesk, whose set-up knew nothing of drivers, say."""
    told = {f["path"]: f["content"] for f in document(resumed=True)["write_files"]}
    assert {Path(path).name for path in told} == {
        *("setup.sh", "agent.py", "idle.py", "driver.py"),
        *(f"hotdesk-{name}.service" for name in ("agent", "idle", "warm", "driver")),
    }
    assert told.items() <= files().items()
    assert document(resumed=True)["runcmd"] == [["sh", "/opt/hotdesk/setup.sh", "resumed"]]
    assert HASH not in json.dumps(told), "its Jupyter has a password"


def test_nothing_waits_for_a_driver_to_be_installed() -> None:
    unit = files()["/etc/systemd/system/hotdesk-driver.service"]
    assert "Type=exec" in unit, "multi-user.target, and cloud-init after it, wait for a oneshot's end"
    assert "WantedBy=multi-user.target" in unit, "at every boot: a move in place runs no user data"


def test_no_secret_is_in_it() -> None:
    everything = json.dumps(document(resumed=False))
    assert "PRIVATE KEY" not in everything
    assert HASH in files()["/opt/hotdesk/jupyter.py"]  # a hash, of a random password
    with pytest.raises(ValueError, match="argon2"):
        render(password_hash="open sesame", resumed=False)


def test_the_setup_script_parses_and_fetches_each_tool_only_where_it_is_missing(tmp_path: Path) -> None:
    script = tmp_path / "setup.sh"
    script.write_text(setup_script())
    assert subprocess.run(["sh", "-n", str(script)]).returncode == 0
    for command, package in TOOLS.items():
        assert f"{command}:{package}" in setup_script()
    assert {"tmux", "htop", "screen", "git", "rsync"} <= set(TOOLS)


class SetUp:
    """The real script, with stand-ins for apt-get, systemctl, the interpreter and the paths."""

    def __init__(self, folder: Path) -> None:
        self.root, self.tools, self.log = folder / "root", folder / "bin", folder / "log"
        self.tools.mkdir()
        # What apt-get installs appears as a command; the interpreter that makes the venv is a stand-in, too.
        self.tool("apt-get", f'echo "apt-get $*" >> {self.log}; for w; do case $w in '
                  f'tmux|htop|screen|git|rsync) printf "#!/bin/sh\\n" > {self.tools}/$w; '
                  f'chmod 755 {self.tools}/$w;; esac; done')  # fmt: skip
        python = (
            f'echo "python $*" >> {self.log}\n'
            'case "$*" in\n'
            '  *"import jupyterlab"*) [ -e "$(dirname "$0")/jupyterlab" ];;\n'
            '  *"-m venv"*) for v; do :; done; mkdir -p "$v/bin"; cp "$0" "$v/bin/python";;\n'
            '  *"pip install"*) touch "$(dirname "$0")/jupyterlab";;\n'
            "  *) true;;\n"
            "esac"
        )
        self.tool("python3", python)
        for name in ("systemctl", "chown"):
            self.tool(name, f'echo "{name} $*" >> {self.log}')
        self.tool("getent", f"echo me:x:1000:1000::{self.root}/home/me:/bin/sh")
        self.tool("sleep", "true")
        self.tool("runuser", 'shift 3; exec "$@"')
        for name in (
            *("mkdir", "cp", "touch", "cut", "sed", "cat", "dirname", "chmod", "rm", "grep", "tail", "stat"),
            *("ln", "sh"),
        ):
            (self.tools / name).symlink_to(shutil.which(name) or name)
        for part in (
            "opt/hotdesk",
            "home/me",
            "etc/profile.d",
            "etc/systemd/system",
            "etc/ssh",
            "run/hotdesk",
            "dev",
        ):
            (self.root / part).mkdir(parents=True)
        (self.root / "etc/ssh/ssh_host_ed25519_key.pub").write_text("ssh-ed25519 AAAA me\n")
        (self.root / "etc/systemd/system/hotdesk-jupyter.service").write_text(jupyter.unit())

    def tool(self, name: str, body: str) -> None:
        (self.tools / name).write_text(f"#!/bin/sh\n{body}\n")
        (self.tools / name).chmod(0o755)

    def here(self, text: str) -> str:
        """A script for the machine's paths, for ours."""
        text = text.replace(
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", f"PATH={self.tools}"
        )
        for path in (
            *("/opt/hotdesk", "/etc/systemd", "/etc/ssh", "/run/hotdesk", "/dev/console"),
            *("/var/lib/hotdesk", "/run/cloud-init", "/opt/*/lib", "/opt/conda", "/etc/profile.d"),
        ):
            text = text.replace(path, f"{self.root}{path}")
        return text.replace("/usr/bin/python3", f"{self.tools}/python3")

    def run(self, word: str = "first") -> str:
        """What it did."""
        self.log.write_text("")
        words = ["/bin/sh", "-c", self.here(setup_script()), "setup.sh", word]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return self.log.read_text()

    def said(self, name: str) -> str:
        path = self.root / "var/lib/hotdesk" / name
        return path.read_text() if path.exists() else ""


@pytest.fixture
def set_up(tmp_path: Path) -> SetUp:
    return SetUp(tmp_path)


def test_the_setup_script_runs_twice_and_the_second_time_fetches_nothing(set_up: SetUp) -> None:
    runs = [set_up.run(), set_up.run()]
    assert "install --no-install-recommends tmux htop screen git rsync" in runs[0]
    assert "pip install -q --no-compile jupyterlab" in runs[0]
    assert "apt-get" not in runs[1]
    assert "pip install" not in runs[1]
    assert "start --no-block hotdesk-jupyter.service hotdesk-agent.service" in runs[1]
    unit = (set_up.root / "etc/systemd/system/hotdesk-jupyter.service").read_text()
    assert "User=me" in unit
    assert f"WorkingDirectory={set_up.root}/home/me" in unit
    assert f"JUPYTER_PATH={set_up.root}/opt/hotdesk/venv/share/jupyter" in unit
    assert "BEGIN SSH HOST KEY KEYS" in (set_up.root / "dev/console").read_text()
    assert [set_up.said(name) for name in ("failed", "lacking", "doing")] == ["", "", ""]


def test_one_dead_list_of_packages_costs_nothing_that_the_others_have(set_up: SetUp) -> None:
    """The Deep Learning image brings lists of NVIDIA's and Docker's, whose keys have expired before."""
    body = (set_up.tools / "apt-get").read_text().removeprefix("#!/bin/sh\n")
    set_up.tool("apt-get", f'case "$*" in *" update") exit 100;; esac; {body}')
    did = set_up.run()
    assert "install --no-install-recommends tmux htop screen git rsync" in did
    assert "pip install" in did
    assert [set_up.said(name) for name in ("failed", "lacking")] == ["", ""]


def test_no_service_is_started_anew_for_a_package() -> None:
    """needrestart would take cloud-final, whose script this is, for one of those (Launchpad 2059337)."""
    assert "export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1" in setup_script()


def with_torch(set_up: SetUp, at: str) -> Path:
    """An environment of the image, real but for torch. It finds this one's packages: no network."""
    set_up.tool("python3", f'exec {sys.executable} "$@"')
    env = set_up.root / at
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(env)], check=True)
    [packages] = env.glob("lib/python3*/site-packages")
    (packages / "torch").mkdir()
    (packages / "torch" / "__init__.py").write_text(f"where = {str(packages)!r}\n")
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    own = set_up.root / "opt/hotdesk/venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(own)], check=True)
    for site in own.glob("lib/python3*/site-packages"):
        (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return env


@pytest.mark.parametrize("at", ["opt/pytorch", "opt/conda/envs/torch"])
def test_the_environment_with_torch_is_the_desk_s(set_up: SetUp, at: str) -> None:
    """Of a Deep Learning image: its python comes first, and its kernel and extensions are Jupyter's."""
    env = with_torch(set_up, at)
    assert "pip install" not in set_up.run()
    assert [set_up.said(name) for name in ("failed", "lacking")] == ["", ""]
    kernel = json.loads((env / "share/jupyter/kernels/python3/kernel.json").read_text())
    assert kernel["argv"][0] == str(env / "bin/python")
    unit = (set_up.root / "etc/systemd/system/hotdesk-jupyter.service").read_text()
    assert f"\nEnvironment=PATH={env}/bin:" in unit
    assert f"\nEnvironment=JUPYTER_PATH={env}/share/jupyter\n" in unit
    assert "ExecStart=/bin/sh" in unit
    assert f"{set_up.root}/opt/hotdesk/venv/bin/python -m jupyterlab" in set_up.here(unit)
    assert (set_up.root / "home/me/.venv").resolve() == env
    profile = set_up.root / "etc/profile.d/hotdesk.sh"
    ask = f". {profile}; . {profile}; command -v python; echo $PATH; echo ${{VIRTUAL_ENV-none}}"
    for mine in ("", "/mine"):
        environment = {"PATH": "/usr/bin:/bin", **({"VIRTUAL_ENV": mine} if mine else {})}
        done = subprocess.run(["sh", "-euc", ask], env=environment, capture_output=True, text=True)
        assert done.stderr == ""
        python, path, own = done.stdout.split()
        assert python == str(env / "bin/python")
        assert path.startswith(f"{mine}/bin:{env}/bin:" if mine else f"{env}/bin:/usr/bin")
        assert own == (mine or "none")


def test_an_image_without_torch_computes_where_jupyter_is(set_up: SetUp) -> None:
    set_up.run()
    profile = (set_up.root / "etc/profile.d/hotdesk.sh").read_text()
    assert f"{set_up.root}/opt/hotdesk/venv/bin:$PATH" in profile


def test_a_resumed_desk_keeps_the_environment_that_it_had(set_up: SetUp) -> None:
    """Packages may have been installed where an earlier version had its kernel."""
    with_torch(set_up, "opt/pytorch")
    set_up.run("resumed")
    assert not (set_up.root / "etc/profile.d/hotdesk.sh").exists()
    assert not (set_up.root / "opt/pytorch/share/jupyter").exists()


def test_a_python_of_the_image_that_makes_no_environment_is_passed_over(set_up: SetUp) -> None:
    (set_up.root / "opt/pytorch/bin").mkdir(parents=True)
    broken = set_up.root / "opt/pytorch/bin/python"
    broken.write_text(
        '#!/bin/sh\nfor v; do :; done; mkdir -p "$v/bin"; cp /bin/false "$v/bin/python"; exit 1\n'
    )
    broken.chmod(0o755)
    assert "pip install -q --no-compile jupyterlab" in set_up.run()
    assert set_up.said("failed") == ""


def test_the_driver_is_seen_to_from_now_on_at_every_boot(set_up: SetUp) -> None:
    for word in ("first", "resumed"):
        done = [line for line in set_up.run(word).splitlines() if "hotdesk-driver" in line]
        assert [line.split()[1] for line in done] == ["enable", "start"]
        assert "--no-block" in done[1]


def test_only_a_resumed_desk_reads_its_disk_ahead(set_up: SetUp) -> None:
    assert "hotdesk-warm" not in set_up.run("first")
    assert "systemctl start --no-block hotdesk-warm.service" in set_up.run("resumed")


def prove_here(set_up: SetUp, patch: pytest.MonkeyPatch, tmp_path: Path) -> Refused:
    """What `up` says: its own question, asked where the script ran instead of over ssh."""
    (set_up.root / "run/cloud-init").mkdir(exist_ok=True)
    shell = tmp_path / "ssh"
    question = set_up.here(readiness._SET_UP)
    shell.write_text(f"#!/bin/sh\n{question}\necho no complaint\n")
    shell.chmod(0o755)
    patch.setattr(readiness.ssh, "program", lambda name: str(shell))
    access = Access(desk="blue", host="h", port=22, user="me", key_path="/k", known_hosts_path="/h",
                    alias="a", notebook_port=1)  # fmt: skip
    with pytest.raises(Refused) as no:
        readiness.prove(access)
    return no.value


def test_what_the_set_up_could_not_do_is_said_at_once_with_its_last_words(
    set_up: SetUp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """1. no JupyterLab to be had; 2. `up` says so; 3. a tool only: a remark; 4. it works, and all is well."""
    good = (set_up.tools / "python3").read_text()
    bad = good.replace('touch "$(dirname "$0")/jupyterlab"', 'echo "No matching distribution"; exit 1')
    set_up.tool("python3", bad.removeprefix("#!/bin/sh\n"))
    apt = (set_up.tools / "apt-get").read_text()
    set_up.tool("apt-get", "echo 'E: Unable to fetch some archives'; exit 100")
    did = set_up.run()
    assert did.count("pip install") == 3
    assert "start --no-block hotdesk-jupyter.service" in did, "the desk can be reached, whatever it lacks"
    before = prove_here(set_up, monkeypatch, tmp_path)
    assert before.kind is Kind.NOT_READY  # cloud-init has not finished yet
    (set_up.root / "run/cloud-init/result.json").write_text("{}")
    no = prove_here(set_up, monkeypatch, tmp_path)
    assert no.kind is Kind.BAD_REQUEST
    assert "JupyterLab could not be installed" in no.message
    assert "No matching distribution" in no.message
    assert "setup.sh first" in no.fix
    assert "could not be installed: tmux htop" in set_up.said("lacking")
    assert "Unable to fetch" in set_up.said("lacking")
    (set_up.tools / "python3").write_text(good)
    (set_up.root / "opt/hotdesk/venv/bin/python").write_text(good)
    set_up.run()
    assert set_up.said("failed") == ""
    assert "~/.bashrc there ends or replaces it" in prove_here(set_up, monkeypatch, tmp_path).message
    (set_up.tools / "apt-get").write_text(apt)
    set_up.run()
    assert set_up.said("lacking") == ""


def test_a_set_up_that_was_cut_off_is_said_as_well(
    set_up: SetUp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_up.tool("apt-get", "kill -9 $PPID")  # out of memory, say
    words = ["/bin/sh", "-c", set_up.here(setup_script()), "setup.sh", "first"]
    assert subprocess.run(words, capture_output=True).returncode == -9
    no = prove_here(set_up, monkeypatch, tmp_path)
    assert no.kind is Kind.NOT_READY
    assert no.message.startswith("the machine is still being set up: installing tmux")
    (set_up.root / "run/cloud-init/result.json").write_text("{}")
    no = prove_here(set_up, monkeypatch, tmp_path)
    assert no.kind is Kind.BAD_REQUEST
    assert "cut off while installing tmux" in no.message


def test_jupyter_answers_only_once_cloud_init_has_finished() -> None:
    [line] = [line for line in jupyter.unit().splitlines() if line.startswith("Exec")]
    assert line.index("/run/cloud-init/result.json") < line.index("exec /opt/hotdesk/venv")
    head, service = jupyter.unit().split("[Service]")
    limit, pause = (int(re.findall(rf"^{key}=(\d+)$", text, re.M)[0])
                    for key, text in (("StartLimitIntervalSec", head), ("RestartSec", service)))  # fmt: skip
    assert limit >= 5 * (pause + 10), "five starts that end within 10 s each are the last"
    assert "Type=simple" in jupyter.unit()  # a start that waits would hold up what cloud-init waits for
    assert "start --no-block" in setup_script()  # or the script would wait for what waits for the script


def test_jupyters_configuration_is_one_that_it_reads(tmp_path: Path) -> None:
    loader = pytest.importorskip("traitlets.config.loader", reason="Jupyter is not installed")
    path = tmp_path / "jupyter.py"
    path.write_text(jupyter.config(HASH))
    told = loader.PyFileConfigLoader("jupyter.py", path=str(tmp_path)).load_config()
    assert told.ServerApp.ip == "127.0.0.1"
    assert told.PasswordIdentityProvider.hashed_password == HASH


# ---- the agent ---------------------------------------------------------------------------------------


def test_the_agent_is_one_file_of_the_standard_library(tmp_path: Path) -> None:
    path = tmp_path / "agent.py"
    path.write_text(source("agent"))
    done = subprocess.run([sys.executable, "-I", "-S", str(path)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "manifest" in done.stdout


def test_a_manifest_tells_what_is_missing_changed_and_new(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "project").mkdir(parents=True)
    (home / "project" / "train.py").write_text("print(1)")
    (home / "notes.txt").write_text("a")
    (home / "gone").mkdir()
    (home / "gone" / "x").write_text("x")
    (home / "link").symlink_to("project")
    (home / ".cache").mkdir()
    before = agent.manifest([str(home)])
    (home / ".cache" / "pip").write_text("what programs write by themselves is nobody's work")
    assert before["whole"]
    assert agent.compare(before, agent.manifest([str(home)]))["same"] is True
    shutil.rmtree(home / "gone")
    (home / "project" / "train.py").write_text("print(2)  # longer")
    (home / "fresh").mkdir()
    told = agent.compare(before, agent.manifest([str(home)]))
    assert told["same"] is False
    assert told["missing"] == [str(home / "gone")]
    assert told["changed"] == [str(home / "project")]
    assert told["new"] == [str(home / "fresh")]


def test_a_manifest_that_ran_out_of_time_says_so(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("x")
    assert agent.manifest([str(tmp_path)], limit_seconds=-1.0)["whole"] is False


def test_a_boot_that_ended_without_a_shutdown_is_told_by_the_next(tmp_path: Path) -> None:
    """1. A shutdown as it should be. 2. A stop that skips it. 3. And one as it should be again."""

    imports = "from hotdesk.guest import agent\nfrom hotdesk.guest.agent import *"

    def machine(words: str, boot: str) -> None:
        own = {"HOTDESK_LIB": str(tmp_path), "HOTDESK_BOOT": boot, "HOTDESK_HOMES": str(tmp_path / "home")}
        command = [sys.executable, "-c", f"{imports}\n{words}"]
        subprocess.run(
            command,
            env={**os.environ, **own, "HOTDESK_HOMES": str(tmp_path / "home")},
            check=True,
            timeout=60,
        )

    def unclean() -> bool:
        return json.loads((tmp_path / "boot.json").read_text())["clean"] is False

    (tmp_path / "home").mkdir()
    up = "began(); agent._write(f'{LIB}/clean.json', '')"
    for boot, shut_down, before_was_cut_off in (("a", True, False), ("b", False, False), ("c", True, True)):
        machine(up, boot)
        machine(up, boot)  # the agent starts again in the same boot
        assert unclean() is before_was_cut_off, boot
        if shut_down:
            machine("main(['manifest'])", boot)
    machine(up, "d")
    assert unclean() is False


def test_after_a_shutdown_that_was_skipped_files_are_not_called_as_they_were() -> None:
    from hotdesk.connect.guest_agent import Compared, Report, remarks

    same = Compared(same=True, whole=True)
    [well] = remarks(Report(compared=same), "blue", "")
    assert "as they were" in well.text
    [cut] = remarks(Report(compared=same, unclean=True), "blue", "")
    assert "was not shut down" in cut.text
    assert "as they were" not in cut.text


class Imds(http.server.BaseHTTPRequestHandler):
    """The metadata service, version 2: no answer without a token, and tokens run out."""

    tokens: set[str] = set()  # noqa: RUF012 - one per server class made by the fixture
    action: str | None = None
    recommended: str | None = None
    made = 0

    def do_PUT(self) -> None:
        type(self).made += 1
        token = f"token-{type(self).made}"
        self.tokens.clear()
        self.tokens.add(token)
        self._say(200, token)

    def do_GET(self) -> None:
        if self.headers.get("X-aws-ec2-metadata-token") not in self.tokens:
            self._say(401, "")
        elif self.path == "/latest/meta-data/spot/instance-action" and self.action:
            self._say(200, self.action)
        elif self.path == "/latest/meta-data/events/recommendations/rebalance" and self.recommended:
            self._say(200, self.recommended)
        elif self.path == "/latest/meta-data/instance-life-cycle":
            self._say(200, "spot")
        else:
            self._say(404, "")

    def _say(self, status: int, text: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def imds() -> Iterator[tuple[type[Imds], str]]:
    kind = type("OneImds", (Imds,), {"tokens": set(), "action": None, "recommended": None, "made": 0})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield kind, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_interruption_is_read_with_a_token_that_is_renewed(imds: tuple[type[Imds], str]) -> None:
    kind, url = imds
    metadata = agent.Metadata(url)
    assert agent.notice(metadata) is None
    kind.action = '{"action": "terminate", "time": "2026-11-23T10:00:00Z"}'
    assert agent.notice(metadata) == {"action": "terminate", "time": "2026-11-23T10:00:00Z"}
    assert kind.made == 1
    kind.tokens.clear()  # it ran out
    assert agent.notice(metadata) is not None
    assert kind.made == 2


class AgentRun:
    """The real agent in a process of its own, at a home and a metadata service that are made for it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.home = folder / "home"
        (self.home / ".hotdesk").mkdir(parents=True)
        path = folder / "agent.py"
        path.write_text(source("agent"))
        self.environment = {
            **os.environ,
            "HOTDESK_IMDS": url,
            "HOTDESK_HOMES": str(self.home),
            "HOTDESK_RUN": str(folder / "run"),
            "HOTDESK_LIB": str(folder / "lib"),
            "HOTDESK_CLOUD": str(folder / "no-cloud-init"),
            "HOTDESK_PCI": str(folder / "pci"),
            "HOTDESK_JUPYTER": f"{url}/api",
            "HOTDESK_POLL_SECONDS": "0.05",
            "HOTDESK_TERMINALS": "/nowhere",
        }
        self.words = [sys.executable, "-I", "-S", str(path)]

    def begin(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*self.words, "run"], env=self.environment)

    def ask(self, word: str, **more: str) -> Any:
        environment = {**self.environment, **more}
        done = subprocess.run([*self.words, word], env=environment, capture_output=True, check=True)
        return json.loads(done.stdout) if done.stdout else None

    def events(self) -> list[str]:
        return [e["what"] for e in self.ask("report")["events"]]


@pytest.fixture
def at_work(tmp_path: Path, imds: tuple[type[Imds], str]) -> AgentRun:
    return AgentRun(tmp_path, imds[1])


def test_a_notice_leads_to_a_warning_a_checkpoint_the_hook_and_a_record(
    at_work: AgentRun, imds: tuple[type[Imds], str]
) -> None:
    """1. a job runs; 2. a recommendation; 3. the notice; 4. each is acted on once, and written down."""
    kind, _ = imds
    home = at_work.home
    (home / ".hotdesk" / "runner-1.py").write_text("open('old', 'w')")
    os.utime(home / ".hotdesk" / "runner-1.py", (1, 1))
    runner = "import os, sys; open(os.environ['HOME'] + '/asked', 'a').write(sys.argv[1] + ' ')"
    (home / ".hotdesk" / "runner-2.py").write_text(runner)
    hook = home / ".hotdesk" / "on-interruption"
    hook.write_text('#!/bin/sh\necho "$HOTDESK_ACTION $HOTDESK_AT $HOME $PWD" >> hook; exit 3\n')
    hook.chmod(0o755)
    newer = home / ".hotdesk" / "hooks" / "interrupted"
    newer.parent.mkdir()
    newer.write_text('#!/bin/sh\necho "bucket written, $HOTDESK_ACTION"\n')
    newer.chmod(0o755)
    leader, terminal = pty.openpty()
    at_work.environment["HOTDESK_TERMINALS"] = os.ttyname(terminal)
    with at_work.begin() as process:
        try:
            time.sleep(0.5)
            assert at_work.events() == []
            kind.recommended = '{"noticeTime": "2026-11-23T09:00:00Z"}'
            wait_for(lambda: len(at_work.events()) == 2, 20)
            kind.action = '{"action": "terminate", "time": "2026-11-23T10:00:00Z"}'
            wait_for(lambda: len(at_work.events()) == 4, 20)
            time.sleep(0.3)  # some more looks
        finally:
            process.terminate()
            assert process.wait(10) == 0
    told = at_work.events()
    assert "rebalance recommendation of 2026-11-23T09:00:00Z" in told[0]
    assert "takes this spot machine back at 2026-11-23T10:00:00Z (terminate)" in told[2]
    assert "on-interruption ended with 3" in told[3]
    assert "hooks/interrupted ended with 0" in told[3]
    said = ["bucket written, rebalance", "bucket written, terminate"]
    assert newer.with_name("log").read_text().splitlines() == said
    assert (home / "asked").read_text() == "notice notice ", "the newest runner, once for each"
    assert (home / "hook").read_text().splitlines() == [
        f"rebalance 2026-11-23T09:00:00Z {home} {home}",
        f"terminate 2026-11-23T10:00:00Z {home} {home}",
    ]
    assert b"takes this spot machine back" in os.read(leader, 4000)
    notes = sorted(p.name for p in home.glob("AWS-*"))
    assert notes == ["AWS-MAY-TAKE-THIS-MACHINE.txt", "AWS-TAKES-THIS-MACHINE.txt"]
    os.close(leader)
    os.close(terminal)
    kind.recommended = kind.action = None
    with at_work.begin() as process:  # on the next machine
        wait_for(lambda: not list(home.glob("AWS-*")), 10)
        process.terminate()
    assert len(at_work.events()) == 4, "they come along with the disk"


@pytest.mark.parametrize(("state", "runs"), [("stopping", True), ("running", False), ("", False)])
def test_the_parking_hook_runs_when_the_machine_stops_and_not_its_agent_alone(
    at_work: AgentRun, tmp_path: Path, state: str, runs: bool
) -> None:
    hook = at_work.home / ".hotdesk" / "hooks" / "parking"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\necho saving; pwd > where\n")
    hook.chmod(0o755)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "systemctl").write_text(f"#!/bin/sh\n[ $1 = is-system-running ] && echo {state}\n")
    (programs / "systemctl").chmod(0o755 if state else 0o644)
    at_work.environment["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
    with at_work.begin() as process:
        wait_for((tmp_path / "lib" / "clean.json").exists, 20)
        time.sleep(0.3)  # it listens for the signal from here on
        process.terminate()
        assert process.wait(20) == 0
    assert (at_work.home / "where").exists() == runs
    if runs:
        assert (at_work.home / "where").read_text() == f"{at_work.home}\n"
        assert hook.with_name("log").read_text() == "saving\n"
        assert "hooks/parking ended with 0" in at_work.events()[-1]


def test_a_hook_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".hotdesk").mkdir()
    hook = tmp_path / ".hotdesk" / "on-interruption"
    hook.write_text("#!/bin/sh\nsleep 600\n")
    hook.chmod(0o755)
    monkeypatch.setenv("HOTDESK_HOMES", str(tmp_path))
    [said] = agent.run_hooks("on-interruption", "terminate", "soon", 0.2)
    assert "the time was over" in said
    hook.chmod(0o644)
    assert agent.run_hooks("on-interruption", "terminate", "soon", 0.2) == []


@pytest.mark.parametrize(
    ("answer", "works", "said"),
    [
        ("echo 570.195.03", True, "570.195.03"),
        ("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18", False, "mismatch"),
        ("", False, "knows 0 of 1"),
        (None, False, "no NVIDIA driver is installed"),
    ],
)
def test_a_gpu_without_a_working_driver_is_reported(
    at_work: AgentRun, tmp_path: Path, answer: str | None, works: bool, said: str
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    if answer is not None:
        (tools / "nvidia-smi").write_text(f"#!/bin/sh\n{answer}\n")
        (tools / "nvidia-smi").chmod(0o755)
    assert at_work.ask("report")["driver"] == {"devices": 0, "works": False, "said": ""}
    for number, (vendor, kind) in enumerate(
        [("0x10de", "0x030200"), ("0x10de", "0x040300"), ("0x1d0f", "0x0300")]
    ):
        device = tmp_path / "pci" / str(number)
        device.mkdir(parents=True)
        (device / "vendor").write_text(vendor + "\n")
        (device / "class").write_text(kind + "\n")
    driver = at_work.ask("report", PATH=f"{tools}:/nowhere")["driver"]
    assert (driver["devices"], driver["works"]) == (1, works)
    assert said in driver["said"] or (answer == "" and "ended with 0" in driver["said"])


def test_what_was_used_last_is_listed_at_the_end_and_read_first_on_the_next_machine(
    at_work: AgentRun, tmp_path: Path
) -> None:
    """1. a shutdown; 2. resumed: the files are read, the latest first, what is gone is left out."""
    home = at_work.home
    now = time.time()
    for name, age, size in (
        ("old", 9 * 86400, 5),
        ("train.py", 60, 7),
        ("data", 3600, 2_500_000),
        ("gone", 1, 9),
    ):
        (home / name).write_bytes(b"x" * size)
        os.utime(home / name, (now - age, now - age))
    (home / "link").symlink_to("/etc/passwd")
    (home / "empty").touch()
    listed = agent.used([str(home)], now + 1.0)
    if now - float(Path("/proc/uptime").read_text().split()[0]) > now - 9 * 86400:
        assert [Path(p).name for p in listed] == ["gone", "train.py", "data"]
    assert {"gone", "train.py", "data"} <= {Path(p).name for p in listed}
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "used.json").write_text(
        json.dumps([str(home / n) for n in ("gone", "train.py", "data")])
    )
    (home / "gone").unlink()
    assert at_work.ask("report")["warm"] is None
    at_work.ask("warm")
    state = at_work.ask("report")["warm"]
    assert (state["files"], state["of_files"], state["bytes"], state["done"]) == (3, 3, 2_500_007, True)


def test_a_program_with_short_names_does_the_same() -> None:
    program = '''"""made.py run"""
import os.path as where
limit = 2
def outer(values, *, scale=1):
    total, seen = 0, []
    def add(amount):
        nonlocal total
        before = total
        total = before + amount * scale
    for value in values:
        add(value)
        seen += [value for limit in range(limit)]
    try:
        raise ValueError(f"{total=}")
    except ValueError as error:
        told = {key: str(error) for key in map(where.basename, ["a/b"])}
    if (longest := max(seen, default=0)) > 1:
        global found
        found = longest
    return total, seen, told, (lambda scale: scale + longest)(1)
class Kept:
    size: int = 3
    def grown(self, by=1):
        result = self.size + by
        return result
answer = outer([1, 2], scale=10), found, Kept().grown(by=2)
assert globals()["answer"]
'''
    lean = one_file._lean(program)
    plain: dict[str, object] = {}
    short: dict[str, object] = {}
    exec(program, plain)
    exec(lean, short)
    assert plain["answer"] == short["answer"]
    assert "result" not in lean
    assert "longest" not in lean
    assert "nonlocal total" in lean


def test_names_that_nobody_else_knows_are_shortened_and_the_others_are_not() -> None:
    program = """
import collections
_PLACES = collections.namedtuple('_PLACES', 'near far')
_count = 0
class _Shop:
    def __init__(self, _given):
        self._stock = _given
        self._asked_for = 0
    def _sell(self, thing):
        self._asked_for += 1
        return self._stock._replace(near=thing), getattr(self, '_hidden_one')
    def _hidden_one(self):
        pass
def _bump():
    global _count
    _count += 1
def main():
    _bump()
    shop = _Shop(_given=_PLACES(1, 2))
    sold, found = shop._sell(3)
    return sold.near, sold._fields, found.__name__, shop._asked_for, _count
if __name__ == '__main__':
    main()
"""
    lean = one_file._lean(program)
    whole: dict[str, Any] = {}
    short: dict[str, Any] = {}
    exec(program, whole)
    exec(lean, short)
    assert short["main"]() == whole["main"]() == (3, ("near", "far"), "_hidden_one", 1, 1)
    assert not re.search(r"_Shop|_sell|_stock|_asked_for|_bump", lean)
    assert all(name in lean for name in ("_count", "_given", "_hidden_one", "_replace", "_fields"))


def test_a_program_that_runs_alone_names_its_own_functions_as_it_likes() -> None:
    """Its parameters too, unless a call names them, and with no space that Python does not need."""
    program = """
'''shop.py run
shop.py look'''
import collections
LIMIT_SECONDS = 5.0
OPENED = 'opened'
COUNTS = collections.Counter()
class Shelf:
    WIDTH = 3
    def hold(self, things, *, twice=False):
        return [f'{thing} of { {1: things}[1] }' for thing in things] * (1 + twice) + [self.WIDTH]
class Broken(Exception):
    pass
def fill(self_made, shelf, also=()):
    try:
        raise Broken(self_made)
    except Broken as why:
        COUNTS[str(why)] += 1 if not also else - 1
    return shelf.hold(self_made, twice=True), sorted(also, key=lambda also: -also)
def main(words=()):
    WIDTH = 4
    return fill(words or ['a  b'], Shelf(), also=(1, 2)), dict(COUNTS), WIDTH, globals()['OPENED']
if __name__ == '__main__':
    main()
"""
    lean = one_file._lean(program)
    whole: dict[str, Any] = {}
    short: dict[str, Any] = {}
    exec(program, whole)
    exec(lean, short)
    assert short["main"]() == whole["main"]()
    assert not re.search(r"COUNTS|LIMIT_SECONDS|Shelf|Broken|fill|self|shelf|things| = | \+ ", lean)
    assert all(name in lean for name in ("OPENED", "WIDTH", "hold", "also", "twice", "a  b", "why"))
    assert "shop.py run\nshop.py look" in lean
