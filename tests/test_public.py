"""Jupyter without a tunnel: who is let in, what is served there, and that it ends."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from hotdesk.api import Hotdesk
from hotdesk.config import Config
from hotdesk.connect import public as connecting
from hotdesk.core.errors import Unreachable, Usage
from hotdesk.core.model import Goal
from hotdesk.core.ports import Access
from hotdesk.doctor import Finding
from hotdesk.doctor import desks as doctor
from hotdesk.machine import public
from hotdesk.opening import CALLER, who_may
from hotdesk.providers.aws.provider import Aws
from hotdesk.providers.aws.settings import Settings
from tests.aws_desk import HOME, Laptop
from tests.conftest import Command
from tests.fake_ec2.process import FakeEc2
from tests.local_rig import tool


@pytest.mark.parametrize(
    "to", ["0.0.0.0/0", "0.0.0.0/1", "64.0.0.0/2", "::/0", "fe80::/64", "my house", "10.0.0.1/8"]
)
def test_a_range_that_is_too_wide_or_none_is_refused(to: str) -> None:
    with pytest.raises(Usage) as error:
        who_may(to)
    assert error.value.fix.startswith("hotdesk notebook --public-to")


def test_what_is_spelled_out_is_taken() -> None:
    assert who_may("") == who_may("caller") == CALLER
    assert who_may("203.0.113.7") == "203.0.113.7/32"
    assert who_may("198.51.100.0/24") == "198.51.100.0/24"
    assert who_may("everybody") == "0.0.0.0/0"


def test_a_desk_on_this_computer_is_opened_to_nobody(hotdesk: Command) -> None:
    for words in (["up", "blue", "--public"], ["up", "blue", "--public-to", "0.0.0.0/0"]):
        done = hotdesk(*words)
        assert done.returncode == 2, done.stderr
    assert hotdesk("ls", "--json").stdout.strip() == "[]", "nothing was made before it was refused"


# ---- the security group --------------------------------------------------------------------------------


def rules(fake: FakeEc2, port: int = 8888) -> set[str]:
    """The ranges that are let in, by EC2's own answer."""
    listed = fake.client("ec2", HOME).describe_security_groups(
        Filters=[{"Name": "group-name", "Values": ["hotdesk"]}]
    )
    [group] = listed["SecurityGroups"]
    return {
        r["CidrIp"] for rule in group["IpPermissions"] if rule["FromPort"] == port for r in rule["IpRanges"]
    }


def at(mine: Laptop, address: str) -> Aws:
    """A new process of the same computer, which has that address by now."""
    mine.settings = Settings(address=address, lag_seconds=0.0)
    mine.crash()
    return mine.aws


@pytest.fixture
def mine(fake: FakeEc2, tmp_path: Path) -> Iterator[Laptop]:
    made = Laptop(fake, tmp_path)
    made.do(Goal.RUNNING)
    yield made
    made.store.close()


def test_it_is_opened_for_the_callers_address_only_and_closed_again(mine: Laptop, fake: FakeEc2) -> None:
    aws = mine.aws
    assert rules(fake) == set()
    assert aws.open_notebooks(HOME, True, []) == ("127.0.0.1/32",)
    assert aws.open_notebooks(HOME, True, []) == ("127.0.0.1/32",), "twice is once"
    assert rules(fake) == {"127.0.0.1/32"}
    [machine] = aws.survey().instances
    assert machine.open_to == ("127.0.0.1/32",)
    assert aws.opened() == (HOME,)
    aws.open_notebooks(HOME, True, ["198.51.100.0/24"])
    assert rules(fake) == {"127.0.0.1/32", "198.51.100.0/24"}
    aws.open_notebooks(HOME, False, [])
    assert rules(fake) == set()
    assert rules(fake, 22) == {"127.0.0.1/32"}, "the way in by ssh stays"


def test_what_others_have_opened_stays(mine: Laptop, fake: FakeEc2, monkeypatch: pytest.MonkeyPatch) -> None:
    mine.aws.open_notebooks(HOME, True, [])
    monkeypatch.setattr(socket, "gethostname", lambda: "another")
    other = at(mine, "192.0.2.9/32")
    other.open_notebooks(HOME, True, [])
    assert rules(fake) == {"127.0.0.1/32", "192.0.2.9/32"}
    other.open_notebooks(HOME, False, [])
    assert rules(fake) == {"127.0.0.1/32"}


def test_a_changed_address_is_noticed_when_connecting_and_the_old_one_taken_back(
    mine: Laptop, fake: FakeEc2
) -> None:
    """1. opened in a cafe; 2. at home, `ssh` or `notebook` connects; 3. a range that was named stays."""
    mine.aws.open_notebooks(HOME, True, ["198.51.100.0/24"])
    at_home = at(mine, "192.0.2.9/32")
    [machine] = at_home.survey().instances
    at_home.access(machine)
    assert rules(fake, 22) == {"192.0.2.9/32"}
    assert rules(fake) == {"192.0.2.9/32", "198.51.100.0/24"}


def test_a_process_that_lives_on_notices_it_too(mine: Laptop, fake: FakeEc2) -> None:
    watching = at(mine, "203.0.113.7/32")
    [machine] = watching.survey().instances
    watching.access(machine)
    watching.account.settings = Settings(address="192.0.2.9/32")  # the lid was closed, and opened elsewhere
    watching.access(machine)
    assert rules(fake, 22) == {"203.0.113.7/32"}, "it is not asked at every step"
    mine.time.sleep(61)
    watching.access(machine)
    assert rules(fake, 22) == {"192.0.2.9/32"}


def test_one_desk_parked_does_not_close_another(mine: Laptop, fake: FakeEc2, tmp_path: Path) -> None:
    """1. blue is open to us, green to a range; 2. blue is private; 3. green is left; 4. it goes, too."""
    desks = Hotdesk(mine.folder, config=Config(), clock=mine.time)
    desks._providers["aws"] = mine.aws
    with desks:
        mine.do(Goal.RUNNING, name="green")
        for name, to in (("blue", CALLER), ("green", "198.51.100.0/24")):
            desks.store.put(msgspec.structs.replace(desks.store.desk(name), public=to))
        assert set(desks._open_and_close(desks.store.desk("blue"))) == {"127.0.0.1/32", "198.51.100.0/24"}
        assert [v.open_to for v in desks.ls()] == [("127.0.0.1/32", "198.51.100.0/24")] * 2
        found = [f for f in examine_open(desks) if "8888" in f.what or "is open to" in f.what]
        assert [f.level for f in found] == ["note", "note"]
        assert "127.0.0.1/32, 198.51.100.0/24" in found[0].what
        desks.store.put(msgspec.structs.replace(desks.store.desk("blue"), public=""))
        desks._open_and_close(desks.store.desk("blue"))
        assert rules(fake) == {"198.51.100.0/24"}
        green = desks.store.desk("green")
        mine.do(Goal.GONE, name="green")
        desks.close_behind(green)
        assert rules(fake) == set()
        mine.aws.open_notebooks(HOME, True, [])
        mine.do(Goal.PARKED)  # by a watcher, which opens and closes nothing
        desks.ls()
        assert rules(fake) == {"127.0.0.1/32"}, "blue is not a public desk: it may be another's"
        desks.store.put(msgspec.structs.replace(desks.store.desk("blue"), public=CALLER))
        desks.ls()
        assert rules(fake) == set()


def examine_open(desks: Hotdesk) -> list[Finding]:
    survey = desks.survey("aws")
    found = []
    for desk in desks.store.desks():
        machine = survey.of(desk.name).live
        assert machine is not None
        found.append(doctor._open(desk, machine))
    return found


def test_the_doctor_names_a_port_that_is_open_to_strangers(mine: Laptop, fake: FakeEc2) -> None:
    mine.aws.open_notebooks(HOME, False, ["198.0.0.0/8"])
    [machine] = mine.aws.survey().instances
    desk = mine.store.desk("blue")
    assert doctor._open(desk, machine).level == "note", "another desk's, or another computer's"
    wide = doctor._open(msgspec.structs.replace(desk, public="198.0.0.0/8"), machine)
    assert (wide.level, wide.fix) == ("bad", "hotdesk notebook blue --private")


# ---- what is served there ------------------------------------------------------------------------------


class Jupyter(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"behind")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """The real server on one loopback address, in front of a web server on another."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    public.certificate("hotdesk-blue", str(tmp_path / "tls"))
    behind = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Jupyter)
    number = behind.server_port
    threading.Thread(target=behind.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    code = (
        "import asyncio, sys; sys.path.insert(0, sys.argv[1]); import public as p; "
        "p._become_nobody = lambda: None; "
        "asyncio.run(p.serve('127.0.0.2', int(sys.argv[2]), ('127.0.0.1', int(sys.argv[2])), sys.argv[3]))"
    )
    folder = str(Path(public.__file__).parent)
    with subprocess.Popen([sys.executable, "-c", code, folder, str(number), str(tmp_path / "tls")]) as front:
        try:
            public.wait_for_it("127.0.0.2", number)
            yield number
        finally:
            front.terminate()
            assert front.wait(10) == 0
            behind.shutdown()
            behind.server_close()


def access(port: int) -> Access:
    return Access(desk="blue", host="127.0.0.2", port=22, user="me", key_path="/k", known_hosts_path="/h",
                  alias="hotdesk-blue", notebook_port=port)  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is an address of its own on Linux only")
def test_tls_with_the_pinned_certificate_and_no_other(port: int, tmp_path: Path) -> None:
    mine = public.certificate("hotdesk-blue", str(tmp_path / "tls"))
    assert stat_mode(tmp_path / "tls" / "key.pem") == 0o600
    connecting.probe(access(port), mine)
    other = public.certificate("hotdesk-blue", str(tmp_path / "other"))
    with pytest.raises(Unreachable, match="certificate"):
        connecting.probe(access(port), other)
    context = ssl.create_default_context(cadata=mine)
    context.check_hostname = False
    with socket.create_connection(("127.0.0.2", port)) as plain, context.wrap_socket(plain) as wire:
        der = wire.getpeercert(binary_form=True)
        assert der is not None
        assert public.fingerprint(ssl.DER_cert_to_PEM_cert(der)) == public.fingerprint(mine)
        assert wire.version() in {"TLSv1.2", "TLSv1.3"}
    with socket.create_connection(("127.0.0.2", port)) as plain:  # without TLS nothing is said
        plain.sendall(b"GET /api HTTP/1.0\r\n\r\n")
        plain.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP" not in plain.recv(100)


def stat_mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@tool("openssl")
def test_a_certificate_is_made_once_and_again_before_it_runs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = public.certificate("hotdesk-blue", str(tmp_path))
    assert public.certificate("hotdesk-blue", str(tmp_path)) == first
    monkeypatch.setattr(public, "DAYS", 20)
    (tmp_path / "key.pem").unlink()  # a half is worth nothing
    short = public.certificate("hotdesk-blue", str(tmp_path))
    assert short != first
    assert public.certificate("hotdesk-blue", str(tmp_path)) != short


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is an address of its own on Linux only")
def test_many_connections_at_once_and_one_that_stalls(port: int, tmp_path: Path) -> None:
    """A connection that never says anything holds up nobody."""
    context = ssl.create_default_context(cadata=(tmp_path / "tls" / "certificate.pem").read_text())
    context.check_hostname = False

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.2", port, ssl=context)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        said = await reader.read()
        writer.close()
        return said

    async def all_of_them() -> list[bytes]:
        return await asyncio.wait_for(asyncio.gather(*(ask() for _ in range(40))), 30)

    with socket.create_connection(("127.0.0.2", port)):
        assert all(said.endswith(b"behind") for said in asyncio.run(all_of_them()))
