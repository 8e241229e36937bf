"""What a rented machine is told at its first boot and when a desk is resumed, and the agent that it runs."""

from __future__ import annotations

import gzip
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hotdesk.machine import agent, jupyter
from hotdesk.machine.user_data import LIMIT_BYTES, TOOLS, agent_source, render, setup_script

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
    "runcmd": list,
}
FILE_KEYS = {"path", "owner", "permissions", "content"}


def document(*, resumed: bool) -> dict[str, Any]:
    text = gzip.decompress(render(password_hash=HASH, resumed=resumed)).decode()
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


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.skipif(not shutil.which("cloud-init"), reason="cloud-init is not installed on this computer")
def test_cloud_init_itself_finds_the_document_valid(resumed: bool, tmp_path: Path) -> None:
    path = tmp_path / "user-data"
    path.write_bytes(gzip.decompress(render(password_hash=HASH, resumed=resumed)))
    done = subprocess.run(["cloud-init", "schema", "-c", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("resumed", [False, True])
def test_it_fits_into_what_ec2_takes_and_is_the_same_every_time(resumed: bool) -> None:
    packed = render(password_hash=HASH, resumed=resumed)
    assert len(packed) < LIMIT_BYTES * 0.9
    assert packed == render(password_hash=HASH, resumed=resumed)


def test_a_first_boot_makes_new_host_keys_and_every_later_one_keeps_them() -> None:
    assert document(resumed=False)["ssh_deletekeys"] is True
    assert document(resumed=True)["ssh_deletekeys"] is False
    assert "ssh_deletekeys: false" in files()["/etc/cloud/cloud.cfg.d/99-hotdesk.cfg"]


def test_a_resumed_desk_is_told_to_write_nothing_over_what_is_there() -> None:
    told = document(resumed=True)
    assert "write_files" not in told
    assert len(render(password_hash=HASH, resumed=True)) < 1024


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


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("unshare"), reason="unshare is not installed")
def test_the_setup_script_runs_twice_and_the_second_time_fetches_nothing(tmp_path: Path) -> None:
    """With stand-ins for apt-get, systemctl, the interpreter and the paths, the real script is run twice."""
    tools = tmp_path / "bin"
    tools.mkdir()
    log = tmp_path / "log"

    def tool(name: str, body: str) -> None:
        (tools / name).write_text(f"#!/bin/sh\n{body}\n")
        (tools / name).chmod(0o755)

    # What apt-get installs appears as a command; the interpreter that makes the venv is a stand-in, too.
    tool("apt-get", f'echo "apt-get $*" >> {log}; for w; do case $w in tmux|htop|screen|git|rsync) '
         f'printf "#!/bin/sh\\n" > {tools}/$w; chmod 755 {tools}/$w;; esac; done')  # fmt: skip
    python = (
        f'echo "python $*" >> {log}\n'
        'case "$*" in\n'
        '  *"import jupyterlab"*) [ -e "$(dirname "$0")/jupyterlab" ];;\n'
        '  *"-m venv"*) for v; do :; done; mkdir -p "$v/bin"; cp "$0" "$v/bin/python";;\n'
        '  *"pip install"*) touch "$(dirname "$0")/jupyterlab";;\n'
        "  *) true;;\n"
        "esac"
    )
    tool("python3", python)
    for name in ("systemctl", "chown"):
        tool(name, f'echo "{name} $*" >> {log}')
    tool("getent", "echo me:x:1000:1000::/home/me:/bin/sh")
    for name in ("mkdir", "cp", "touch", "cut", "sed", "cat", "dirname", "chmod", "sleep"):
        (tools / name).symlink_to(shutil.which(name) or name)
    root = tmp_path / "root"
    for folder in ("opt/hotdesk", "etc/systemd/system", "etc/ssh", "run/hotdesk", "dev"):
        (root / folder).mkdir(parents=True)
    (root / "etc/ssh/ssh_host_ed25519_key.pub").write_text("ssh-ed25519 AAAA me\n")
    (root / "etc/systemd/system/hotdesk-jupyter.service").write_text(jupyter.unit())
    text = setup_script().replace(
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", f"PATH={tools}"
    )
    for path in ("/opt/hotdesk", "/etc/systemd", "/etc/ssh", "/run/hotdesk", "/dev/console"):
        text = text.replace(path, f"{root}{path}")
    text = text.replace("/usr/bin/python3", f"{tools}/python3").replace("/opt/pytorch", f"{root}/opt/pytorch")
    runs = []
    for _ in range(2):
        log.write_text("")
        done = subprocess.run(["/bin/sh", "-c", text, "setup.sh", "first"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        runs.append(log.read_text())
    assert "install --no-install-recommends tmux htop screen git rsync" in runs[0]
    assert "pip install -q jupyterlab" in runs[0]
    assert "apt-get" not in runs[1]
    assert "pip install" not in runs[1]
    assert "start --no-block hotdesk-jupyter.service hotdesk-agent.service" in runs[1]
    unit = (root / "etc/systemd/system/hotdesk-jupyter.service").read_text()
    assert "User=me" in unit
    assert "WorkingDirectory=/home/me" in unit
    assert "BEGIN SSH HOST KEY KEYS" in (root / "dev/console").read_text()


def test_jupyter_answers_only_once_cloud_init_has_finished() -> None:
    [line] = [line for line in jupyter.unit().splitlines() if line.startswith("Exec")]
    assert line.index("/run/cloud-init/result.json") < line.index("exec /opt/hotdesk/venv")
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
    path.write_text(agent_source())
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


class Imds(http.server.BaseHTTPRequestHandler):
    """The metadata service, version 2: no answer without a token, and tokens run out."""

    tokens: set[str] = set()  # noqa: RUF012 - one per server class made by the fixture
    action: str | None = None
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
    kind = type("OneImds", (Imds,), {"tokens": set(), "action": None, "made": 0})
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
