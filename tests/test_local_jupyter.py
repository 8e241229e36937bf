"""A local desk's Jupyter: its password, its one kernel, and the packages installed at the desk."""

from __future__ import annotations

import http.cookiejar
import json
import os
import socket
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hotdesk.connect.readiness import prove
from hotdesk.core.errors import Kind, Refused
from hotdesk.core.model import Instance
from hotdesk.core.ports import Access
from hotdesk.providers.local.runtime import python_env
from tests.local_rig import LocalRig, needs, one_desk, rig_in, tool

pytestmark = [tool("ssh"), one_desk("local jupyter")]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRig]:
    node = tmp_path_factory.mktemp("bin") / "node"
    node.write_text(f"#!/bin/sh\necho $* >> {node}.asked\n")
    node.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch, rig_in(tmp_path_factory.mktemp("state")) as rig:
        patch.setenv("PATH", f"{node.parent}{os.pathsep}{os.environ['PATH']}")
        yield rig
        asked = node.with_suffix(".asked")
        assert not asked.exists() or "yarn" not in asked.read_text(), "JupyterLab prepares to build itself"


@pytest.fixture(scope="module")
def desk(rig: LocalRig) -> Instance:
    return rig.up("blue")


class Denied(Exception):
    """The server's no, with its status."""


class Browser:
    """Enough of a browser to log in and to use what lies behind the login."""

    def __init__(self, access: Access) -> None:
        self.base = f"http://127.0.0.1:{access.notebook_port}"
        self.jar = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))

    def open(self, request: str | urllib.request.Request) -> bytes:
        try:
            with self.opener.open(request, timeout=30) as reply:
                return bytes(reply.read())
        except urllib.error.HTTPError as error:
            with error:
                raise Denied(error.code) from None

    def get(self, path: str) -> Any:
        return json.loads(self.open(self.base + path))

    def post(self, path: str, body: bytes, kind: str) -> bytes:
        headers = {"Content-Type": kind, "X-XSRFToken": self.cookie("_xsrf")}
        request = urllib.request.Request(self.base + path, data=body, headers=headers)
        return self.open(request)

    def cookie(self, name: str) -> str:
        return next((c.value or "" for c in self.jar if c.name == name), "")

    def log_in(self, password: str) -> None:
        self.open(self.base + "/login")
        form = urllib.parse.urlencode({"password": password, "_xsrf": self.cookie("_xsrf")})
        self.post("/login?next=%2Fapi%2Fstatus", form.encode(), "application/x-www-form-urlencoded")

    def run(self, code: str, name: str = "python3") -> str:
        """Run a cell in a fresh kernel; what it printed."""
        import websocket

        asked = json.dumps({"name": name}).encode()
        kernel = json.loads(self.post("/api/kernels", asked, "application/json"))
        cookies = "; ".join(f"{c.name}={c.value}" for c in self.jar)
        url = f"{self.base.replace('http', 'ws')}/api/kernels/{kernel['id']}/channels"
        link = websocket.create_connection(url, cookie=cookies, timeout=60)
        try:
            request = {
                "header": {"msg_id": "m", "msg_type": "execute_request", "session": "s", "username": "",
                           "version": "5.3", "date": ""},
                "parent_header": {}, "metadata": {}, "channel": "shell", "buffers": [],
                "content": {"code": code, "silent": False, "store_history": False, "user_expressions": {},
                            "allow_stdin": False, "stop_on_error": True},
            }  # fmt: skip
            link.send(json.dumps(request))
            said = ""
            while True:
                message = json.loads(link.recv())
                if message["parent_header"].get("msg_id") != "m":
                    continue
                if message["msg_type"] == "stream":
                    said += message["content"]["text"]
                if message["msg_type"] == "error":
                    said += "\n".join(message["content"]["traceback"])
                if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                    return said
        finally:
            link.close()


def password(rig: LocalRig, desk: str = "blue") -> str:
    return (rig.state / "desks" / desk / "notebook-password").read_text().strip()


@pytest.fixture
def browser(rig: LocalRig, desk: Instance) -> Browser:
    browser = Browser(rig.provider.access(desk))
    browser.log_in(password(rig))
    return browser


def wheel(folder: Path) -> Path:
    """A tiny package, so that no registry is asked."""
    path = folder / "deskthing-1.0-py3-none-any.whl"
    info = "deskthing-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("deskthing.py", "WORDS = 'made at the desk'\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: deskthing\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(
            f"{info}/RECORD", f"deskthing.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )
    return path


def test_a_wrong_password_opens_nothing(rig: LocalRig, desk: Instance) -> None:
    browser = Browser(rig.provider.access(desk))
    for path in ("/api/contents", "/api/kernels", "/api/terminals"):
        with pytest.raises(Denied) as refused:
            browser.get(path)
        assert refused.value.args == (403,)
    with pytest.raises(Denied) as refused:
        browser.log_in("not the password")
    assert refused.value.args == (401,)
    with pytest.raises(Denied):
        browser.get("/api/contents?token=")


def test_the_right_password_opens_the_desk_s_home(rig: LocalRig, desk: Instance, browser: Browser) -> None:
    rig.write(desk, "seen-in-browser.txt", "x")
    names = {entry["name"] for entry in browser.get("/api/contents")["content"]}
    assert "seen-in-browser.txt" in names


def test_the_desk_s_own_kernel_is_the_only_one_at_first(browser: Browser, rig: LocalRig) -> None:
    specs = browser.get("/api/kernelspecs")
    assert list(specs["kernelspecs"]) == ["python3"]
    spec = specs["kernelspecs"]["python3"]["spec"]
    assert spec["argv"][0] == str(rig.disk("blue") / "env/bin/python")
    assert spec["display_name"] == "Python 3 (blue)"


def test_language_servers_are_looked_for_once_a_page_asks(browser: Browser, rig: LocalRig) -> None:
    """Looking for them, and asking npm where it keeps its own, took a fifth of Jupyter's start."""
    program = rig.disk("blue") / "env" / "bin" / "texlab"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    try:
        for _ in range(2):
            assert "texlab" in browser.get("/lsp/status")["sessions"]
    finally:
        program.unlink()


def extension(folder: Path, name: str) -> None:
    """A front-end extension as a wheel lays it out below share/jupyter/labextensions."""
    folder = folder / "share/jupyter/labextensions" / name
    (folder / "static").mkdir(parents=True)
    (folder / "static" / "entry.js").write_text("")
    build = {"load": "static/entry.js", "extension": "./extension"}
    (folder / "package.json").write_text(
        json.dumps({"name": name, "version": "1.0.0", "jupyterlab": {"extension": True, "_build": build}})
    )


def test_kernels_and_extensions_of_the_desk_appear_and_come_along(rig: LocalRig) -> None:
    """1. installed while the desk is on; 2. a cell runs there; 3. so it is on a machine from its image."""
    desk, env = rig.up("pink"), rig.disk("pink") / "env"
    rig.ssh(desk, "python -m venv --system-site-packages project/.venv")
    install = "-m ipykernel install --user --name mine --display-name Mine"
    kit = f"{env.parent}/kit"  # so that nothing is fetched
    rig.ssh(desk, f"PYTHONPATH={kit} project/.venv/bin/python {install} --env PYTHONPATH {kit}")
    packaged = env / "share/jupyter/kernels/packaged/kernel.json"  # as bash_kernel's wheel has it, say
    packaged.parent.mkdir(parents=True)
    argv = ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    packaged.write_text(json.dumps({"argv": argv, "display_name": "Packaged", "language": "python"}))
    extension(env, "of-the-desk")
    for generation in (1, 2):
        browser = Browser(rig.provider.access(desk))
        browser.log_in(password(rig, "pink"))
        specs = browser.get("/api/kernelspecs")
        assert sorted(specs["kernelspecs"]) == ["mine", "packaged", "python3"]
        assert specs["default"] == "python3"
        assert browser.run("import sys; print(sys.prefix)", "mine").strip() == str(
            rig.disk("pink") / "home/project/.venv"
        )
        assert browser.run("import sys; print(sys.prefix)", "packaged").strip() == str(env)
        assert b'"of-the-desk"' in browser.open(browser.base + "/lab")
        if generation == 1:
            rig.stop(desk)
            image = rig.image_of(desk)
            rig.provider.delete(desk.id)
            assert not rig.settle().of("pink").machines
            desk = rig.up("pink", generation=2, image_id=image.id)
    rig.provider.delete(desk.id)


def test_the_desk_s_own_jupyterlab_serves_and_one_that_does_not_start_is_passed_over(rig: LocalRig) -> None:
    """1. it comes into the desk's environment; 2. it serves, behind the same password; 3. it is broken."""
    desk, env = rig.up("cyan"), rig.disk("cyan") / "env"
    [site] = env.glob("lib/python3*/site-packages")
    python_env._link(rig.disk("cyan") / "lab", python_env.closure(["jupyterlab"]).values())
    for package in (rig.disk("cyan") / "lab").iterdir():
        (site / package.name).symlink_to(package.readlink())

    def served_by() -> tuple[str, str]:
        """Which Python serves, and what a cell computes with."""
        [running] = (rig.disk("cyan") / "jupyter/runtime").glob("jpserver-*.json")
        server = json.loads(running.read_text())["pid"]
        browser = Browser(rig.provider.access(desk))
        with pytest.raises(Denied):
            browser.get("/api/contents")
        browser.log_in(password(rig, "cyan"))
        ran = browser.run("import sys; print(sys.executable)").strip()
        return Path(f"/proc/{server}/cmdline").read_bytes().split(b"\0")[0].decode(), ran

    assert served_by() == (sys.executable, str(env / "bin/python"))
    desk = rig.start(rig.stop(desk))
    assert served_by() == (str(env / "bin/python"), str(env / "bin/python"))
    (site / "jupyterlab").unlink()
    (site / "jupyterlab").mkdir()
    desk = rig.start(rig.stop(desk))
    assert served_by() == (sys.executable, str(env / "bin/python"))
    assert "without its own JupyterLab" in desk.reason
    rig.provider.delete(desk.id)


def test_the_commands_of_what_is_lent_are_there(rig: LocalRig, desk: Instance) -> None:
    """Once `pip install nbconvert` left `jupyter` to the computer around the desk, which may have none."""
    env = rig.disk("blue") / "env"
    said = rig.ssh(desk, "command -v jupyter; jupyter kernelspec list --json; jupyter --paths --json").stdout
    assert said.startswith(f"{env}/bin/jupyter\n")
    assert f'"{rig.disk("blue")}/jupyter/data/kernels/python3"' in said


def test_a_cell_imports_what_was_installed_at_the_desk(rig: LocalRig, tmp_path: Path) -> None:
    """1. installed over ssh. 2. a cell imports it. 3. stopped, baked, deleted, launched from the image: it is
    still there, in a notebook and in a shell, and pip removes it again."""
    desk = rig.up("red")
    env = rig.disk("red") / "env"
    # A file of this name in the home must disturb neither the server nor a kernel's start.
    rig.write(desk, "random.py", "raise SystemExit('not this one')\n")
    rig.ssh(desk, f"pip install --no-index {wheel(tmp_path)}")
    browser = Browser(rig.provider.access(desk))
    browser.log_in(password(rig, "red"))
    code = "import deskthing, sys, os; print(deskthing.WORDS, sys.prefix, os.environ['HOTDESK_DESK'])"
    assert browser.run(code).split() == ["made", "at", "the", "desk", str(env), "red"]
    rig.stop(desk)
    image = rig.image_of(desk)
    rig.provider.delete(desk.id)
    assert not rig.settle().of("red").machines
    desk = rig.up("red", generation=2, image_id=image.id)
    browser = Browser(rig.provider.access(desk))
    browser.log_in(password(rig, "red"))
    assert browser.run(code).split() == ["made", "at", "the", "desk", str(env), "red"]
    assert (
        rig.ssh(desk, "python -c 'import deskthing; print(deskthing.WORDS)'").stdout == "made at the desk\n"
    )
    rig.ssh(desk, "pip uninstall -y deskthing; ! python -c 'import deskthing'")
    rig.provider.delete(desk.id)


def test_the_kit_is_lent_and_stays_hotdesk_s_own(rig: LocalRig, desk: Instance) -> None:
    import ipykernel

    shown = rig.ssh(desk, "pip list --format=freeze").stdout
    assert "ipykernel==" in shown
    assert "asyncssh" not in shown, "of hotdesk's own packages only what a kernel needs is lent"
    said = rig.ssh(desk, "pip uninstall -y ipykernel 2>&1; python -c 'import ipykernel; print(\"still\")'")
    assert "outside environment" in said.stdout + said.stderr
    assert "still" in said.stdout
    assert Path(ipykernel.__file__).exists()


def test_a_terminal_of_jupyter_is_at_the_desk(rig: LocalRig, desk: Instance, browser: Browser) -> None:
    import websocket

    name = json.loads(browser.post("/api/terminals", b"{}", "application/json"))["name"]
    cookies = "; ".join(f"{c.name}={c.value}" for c in browser.jar)
    link = websocket.create_connection(
        f"{browser.base.replace('http', 'ws')}/terminals/websocket/{name}", cookie=cookies, timeout=60
    )
    try:
        link.send(json.dumps(["stdin", "which python; pwd; echo d$((1))one\r"]))
        said = ""
        while "d1one" not in said:
            kind, *words = json.loads(link.recv())
            said += words[0] if kind == "stdout" else ""
    finally:
        link.close()
    assert str(rig.disk("blue") / "env/bin/python") in said
    assert str(rig.disk("blue") / "home") in said


# ---- the proof ---------------------------------------------------------------------------------------


def test_a_desk_is_proven_by_a_login_and_its_own_jupyter(rig: LocalRig, desk: Instance) -> None:
    prove(rig.provider.access(desk))


def changed(access: Access, **changes: Any) -> Access:
    import msgspec

    return msgspec.structs.replace(access, **changes)


@pytest.fixture
def no_cloud_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rented machine's /run/cloud-init is its own; here it is this computer's, which may have one."""
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/bash\nexec {needs("ssh")} "${{@//\\/run\\/cloud-init/no-cloud-init}}"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", str(ssh.parent), prepend=os.pathsep)


@pytest.mark.usefixtures("no_cloud_init")
def test_the_proof_works_through_ssh_alone(rig: LocalRig, desk: Instance) -> None:
    prove(changed(rig.provider.access(desk), notebook_here=False))


@pytest.mark.usefixtures("no_cloud_init")
@pytest.mark.parametrize("here", [True, False])
def test_what_is_missing_is_said(rig: LocalRig, desk: Instance, here: bool, tmp_path: Path) -> None:
    access = changed(rig.provider.access(desk), notebook_here=here)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        for wrong, words in (
            (changed(access, port=port), "no login at the desk yet"),
            (changed(access, alias="hotdesk-other"), "no login at the desk yet"),
            (changed(access, known_hosts_path=os.devnull), "no login at the desk yet"),
            (changed(access, notebook_port=port), "Jupyter does not answer"),
        ):
            with pytest.raises(Refused) as refused:
                prove(wrong)
            assert refused.value.kind is Kind.NOT_READY
            assert words in refused.value.message


def test_another_desk_s_jupyter_is_no_proof(rig: LocalRig, desk: Instance) -> None:
    other = rig.up("green")
    mixed = changed(rig.provider.access(desk), notebook_port=rig.provider.access(other).notebook_port)
    with pytest.raises(Refused) as refused:
        prove(mixed)
    assert "another server" in refused.value.message
    rig.provider.delete(other.id)
