"""A desk's Jupyter stays where it was: whatever its home sets, and over stop, start, park and resume."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotdesk.connect.readiness import prove
from hotdesk.core.model import Instance
from tests.local_rig import LocalRig, one_desk, rig_in, tool, wait_for
from tests.test_local_jupyter import Browser, Denied, password

pytestmark = [tool("ssh"), one_desk("local notebook")]
#: What would move Jupyter, or let others in; and what is the owner's to say.
SETTINGS = """\
c.ServerApp.base_url = "/foo/"
c.ServerApp.port = 9
c.ServerApp.ip = "192.0.2.1"
c.ServerApp.sock = "/tmp/elsewhere"
c.ServerApp.certfile = c.ServerApp.keyfile = c.ServerApp.client_ca = "/nowhere"
c.ServerApp.allow_origin = "*"
c.IdentityProvider.token = c.PasswordIdentityProvider.token = ""
c.IdentityProvider.cookie_name = "theirs"
c.IdentityProvider.cookie_options = {"secure": True}
c.PasswordIdentityProvider.hashed_password = ""
c.ServerApp.tornado_settings = {"headers": {"X-Theirs": "yes"}}
c.ServerApp.root_dir = "/usr"
"""
NAMES = ("jupyter_config", "jupyter_server_config", "jupyter_lab_config")


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRig]:
    with rig_in(tmp_path_factory.mktemp("state")) as rig:
        yield rig


@pytest.fixture(scope="module")
def desk(rig: LocalRig) -> Instance:
    return rig.up("blue")


def folders(rig: LocalRig) -> list[Path]:
    disk = rig.disk("blue")
    return [disk / "home" / ".jupyter", disk / "jupyter" / "config"]


@pytest.fixture
def home(rig: LocalRig, desk: Instance) -> Iterator[None]:
    """The home is as it was afterwards, and the desk is on."""
    yield
    for folder in folders(rig):
        for name in NAMES:
            for path in folder.glob(f"{name}.*"):
                path.unlink()
    rig.start(rig.stop(desk))


@pytest.mark.parametrize(
    ("name", "place"),
    [
        pytest.param(name, place, marks=() if place == at % 2 else pytest.mark.long)
        for at, name in enumerate(NAMES)
        for place in (0, 1)
    ],
)
@pytest.mark.usefixtures("home")
def test_settings_of_the_home_do_not_move_it(rig: LocalRig, desk: Instance, name: str, place: int) -> None:
    before = rig.provider.access(desk)
    folder = folders(rig)[place]
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(SETTINGS)
    (folder / f"{name}.json").write_text(json.dumps({"ServerApp": {"base_url": "/bar/", "keyfile": "/no"}}))
    again = rig.start(rig.stop(desk))
    assert rig.provider.access(again) == before
    prove(rig.provider.access(again))
    assert again.reason == ""
    with urllib.request.urlopen(f"http://127.0.0.1:{before.notebook_port}/api") as reply:
        assert reply.headers["X-Theirs"] == "yes", "what does not move it is theirs"
        assert reply.headers.get("Access-Control-Allow-Origin") is None
    browser = Browser(rig.provider.access(again))
    with pytest.raises(Denied):
        browser.get("/api/contents")
    browser.log_in(password(rig))
    assert "share" in {entry["name"] for entry in browser.get("/api/contents")["content"]}


@pytest.mark.usefixtures("home")
def test_a_setting_that_keeps_it_from_starting_is_left_out_and_said(rig: LocalRig, desk: Instance) -> None:
    folders(rig)[0].mkdir(exist_ok=True)
    (folders(rig)[0] / "jupyter_server_config.py").write_text(
        'c.ServerApp.kernel_manager_class = "no.such.thing"'
    )
    again = rig.start(rig.stop(desk))
    assert "without the settings in its home" in again.reason
    prove(rig.provider.access(again))


@pytest.mark.usefixtures("home")
def test_a_file_that_cannot_be_read_takes_no_other_with_it(rig: LocalRig, desk: Instance) -> None:
    folders(rig)[0].mkdir(exist_ok=True)
    (folders(rig)[0] / "jupyter_server_config.py").write_text("this is no Python")
    (folders(rig)[0] / "jupyter_lab_config.py").write_text('c.ServerApp.root_dir = "/usr"')
    again = rig.start(rig.stop(desk))
    assert again.reason == ""
    browser = Browser(rig.provider.access(again))
    browser.log_in(password(rig))
    assert "share" in {entry["name"] for entry in browser.get("/api/contents")["content"]}


def test_an_open_tab_goes_on_over_stop_and_start_park_and_resume(rig: LocalRig) -> None:
    machine = rig.up("green")
    before = rig.provider.access(machine)
    browser = Browser(before)
    browser.log_in(password(rig, "green"))
    [name] = [cookie.name for cookie in browser.jar if cookie.name != "_xsrf"]
    assert name.startswith("hotdesk-")
    assert str(before.notebook_port) not in name, "a login does not hang on the port"
    machine = rig.start(rig.stop(machine))
    assert rig.provider.access(machine) == before
    assert browser.get("/api/status")
    image = rig.image_of(rig.stop(machine))
    rig.provider.delete(machine.id)
    rig.settle()
    resumed = rig.up("green", generation=2, image_id=image.id)
    access = rig.provider.access(resumed)
    assert (access.port, access.notebook_port) == (before.port, before.notebook_port)
    wait_for(lambda: browser.get("/api/status"))
