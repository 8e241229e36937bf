"""What a machine, a cloud or a tag may say that would do harm here: it is refused, and nothing is written."""

from __future__ import annotations

import ast
import copy
import itertools
import os
import re
import shlex
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotdesk.cli.ui import render
from hotdesk.config import JOB_NAME
from hotdesk.core.errors import Kind, Refused
from hotdesk.core.ports import Access, Keys
from hotdesk.guest import idle, ray_node
from hotdesk.providers.cloud import hostkeys
from hotdesk.system import write_atomically
from tests.test_transfer import between

pytest.importorskip("blake3", reason="the extra local is not installed")
pytest.importorskip("zstandard", reason="the extra local is not installed")

import zstandard

from hotdesk.providers.local.runtime import environment
from hotdesk.snapshots import snapshot, transfer
from hotdesk.snapshots.pack_file import CHUNK, DIGEST, Damaged, digest, unpacked
from hotdesk.snapshots.transfer import Cut
from hotdesk.snapshots.tree import Manifest, check_manifest, load_manifest, pack_manifest

# ---- lists of files ----------------------------------------------------------------------------------

Change = Callable[[Manifest], None]


def _set(which: str, /, **fields: object) -> Change:
    """Change fields of the entry with this name."""

    def change(manifest: Manifest) -> None:
        entry = next(e for e in manifest.entries if e.name == which.encode())
        for field, value in fields.items():
            setattr(entry, field, value)

    return change


HOSTILE = {
    "a file above the folder": _set("plain", name=b"../plain"),
    "a file far above it": _set("plain", name=b"../../../tmp/plain"),
    "an absolute path": _set("plain", name=b"/tmp/plain"),
    "a path through a link": _set("plain", name=b"link/plain"),
    "the folder itself": _set("plain", name=b"."),
    "the folder above": _set("below", name=b".."),
    "no name": _set("plain", name=b""),
    "a name that ends early": _set("plain", name=b"pl\0ain"),
    "a folder in itself": _set("below", parent=1 << 20),
    "a folder before the first": _set("plain", parent=-1),
    "a file in a link": lambda m: _set("inner", parent=_at(m, "link"))(m),
    "another name of what comes later": _set("second", link=1 << 20),
    "another name of a folder": lambda m: _set("second", link=_at(m, "below"))(m),
    "a kind that there is not": _set("plain", kind="b"),
    "a link to nowhere": _set("link", target=b""),
    "a size that is none": _set("plain", size=-1),
    "more bytes than its chunks": _set("plain", size=1 << 60),
    "a hole behind its end": _set("plain", extents=((1 << 40, 1),)),
    "a mode of more than permissions": _set("plain", mode=0o100644),
    "an owner that is none": _set("plain", uid=-1),
    "a time that no file has": _set("plain", mtime_ns=1 << 63),
    "an attribute that ends early": _set("plain", xattrs=((b"user.\0", b""),)),
    "no folder at all": lambda m: m.entries.clear(),
}


def _at(manifest: Manifest, which: str) -> int:
    return next(n for n, e in enumerate(manifest.entries) if e.name == which.encode())


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store, and the manifest of a small disk in it."""
    folder = tmp_path_factory.mktemp("saved")
    disk = folder / "disk"
    (disk / "below").mkdir(parents=True)
    (disk / "plain").write_bytes(b"here")
    (disk / "below" / "inner").write_bytes(b"inside")
    (disk / "link").symlink_to("/tmp")
    (disk / "second").hardlink_to(disk / "plain")
    snapshot.capture(disk, folder / "store", folder / "a.manifest")
    return folder / "store", folder / "a.manifest"


@pytest.mark.parametrize("how", HOSTILE)
def test_a_list_of_files_that_leads_astray_makes_none(
    how: str, saved: tuple[Path, Path], tmp_path: Path
) -> None:
    store, path = saved
    manifest = copy.deepcopy(load_manifest(path)[0])
    check_manifest(manifest)
    HOSTILE[how](manifest)
    with pytest.raises(Damaged):
        check_manifest(manifest)
    bad = tmp_path / "bad.manifest"
    bad.write_bytes(pack_manifest(manifest))
    (tmp_path / "in").mkdir()
    with pytest.raises(Refused) as no:
        snapshot.restore(bad, store, tmp_path / "in" / "back")
    assert no.value.kind is Kind.CORRUPT
    assert not any((tmp_path / "in").iterdir()), "it is refused before the first file is made"


def test_a_list_of_files_from_another_machine_is_checked_when_it_arrives(
    saved: tuple[Path, Path], tmp_path: Path
) -> None:
    store, path = saved
    manifest = load_manifest(path)[0]
    HOSTILE["a file above the folder"](manifest)

    def give(line: transfer.Line) -> None:
        line.receive(b"K")
        captured = transfer.Captured(files=1, bytes=0, new_bytes=0, stored_bytes=0, note="")
        line.send(b"M", msgspec.msgpack.encode((captured, pack_manifest(manifest))))

    with pytest.raises(Cut, match="name"):
        between(lambda line: transfer.pull(line, store, tmp_path / "new.manifest"), give)
    assert not any(tmp_path.iterdir()), "nor is it kept"


# ---- chunks ------------------------------------------------------------------------------------------

BODY = b"hello, this is content " * 40


def _frame(names: bytes, sizes: list[int], body: bytes, packed: bool) -> bytes:
    head = msgspec.msgpack.encode((names, sizes, packed))
    return len(head).to_bytes(4, "little") + head + body


FRAMES = {
    "more names than chunks": (digest(BODY) * 2, [len(BODY)], BODY, False),
    "a name that is cut": (digest(BODY)[:9], [len(BODY)], BODY, False),
    "a size below nothing": (digest(BODY) + digest(b""), [len(BODY), -1], BODY, False),
    "more than it says": (digest(BODY), [len(BODY)], BODY + b"and more", False),
    "a chunk larger than any": (bytes(DIGEST), [CHUNK + 1], bytes(CHUNK + 1), False),
    "more when unpacked than it says": (
        digest(BODY), [len(BODY)], zstandard.ZstdCompressor().compress(bytes(64 << 20)), True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", FRAMES)
def test_a_frame_that_lies_is_not_stored(how: str, tmp_path: Path) -> None:
    """A frame with one name too many was stored once, and then no pack beside it could be read."""

    def give(line: transfer.Line) -> None:
        line.receive(b"K")
        line.send(b"F", _frame(*FRAMES[how]))

    with pytest.raises(Cut, match="frame"):
        between(lambda line: transfer.pull(line, tmp_path / "store", tmp_path / "m"), give)
    assert not list((tmp_path / "store" / "packs").glob("*.pack"))


def test_what_announces_an_exabyte_gets_no_room() -> None:
    """The size in a frame's head is whatever its writer put there: no memory is taken for it."""
    honest = zstandard.ZstdCompressor().compress(BODY)
    assert unpacked(honest, len(BODY)) == BODY
    announced = honest[:4] + bytes([0xE0]) + (1 << 60).to_bytes(8, "little") + honest[7:]
    assert zstandard.frame_content_size(announced) == 1 << 60
    for packed in (announced, honest):
        with pytest.raises(zstandard.ZstdError):
            unpacked(packed, len(BODY) - 1)


# ---- the way to a desk -------------------------------------------------------------------------------


def _access(**said: str) -> Access:
    keys = Keys.within("/k", "blue")
    return Access(
        **{"desk": "blue", "host": "192.0.2.7", "user": "ubuntu", **said},
        port=22, key_path=keys.user_key_path, known_hosts_path=keys.known_hosts_path,
        alias=keys.alias, notebook_port=8888,
    )  # fmt: skip


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7", "fe80::1%eth0", "gpu-1.example.edu", "[::1]"])
def test_an_address_is_taken(host: str) -> None:
    assert _access(host=host).host == host


@pytest.mark.parametrize("user", ["ubuntu", "ec2-user", "root", "a.b+c_d", "LAB\\jo", "jürgen", "svc$"])
def test_a_user_is_taken(user: str) -> None:
    assert _access(user=user).user == user


@pytest.mark.parametrize(
    "said",
    [
        {"host": ""},
        {"host": "-oProxyCommand=true"},
        {"host": "192.0.2.7\n    ProxyCommand true"},
        {"host": "192.0.2.7 true"},
        {"host": "$(true)"},
        {"user": ""},
        {"user": "-oProxyCommand=true"},
        {"user": "ubuntu\n    ProxyCommand true"},
        {"user": "ubuntu -oProxyCommand=true"},
        {"user": "`true`"},
    ],
    ids=str,
)
def test_what_ssh_would_take_for_an_option_is_no_machine(said: dict[str, str]) -> None:
    """A tag tells the user of a machine, and everybody with the account can write tags."""
    with pytest.raises(Refused) as no:
        _access(**said)
    assert no.value.kind is Kind.BAD_REQUEST


@pytest.mark.parametrize("launch", ["../../id_ed25519", "a/b", "", ".", "..", "a\nb", "x" * 200])
def test_a_launch_that_a_tag_names_is_a_file_beside_the_keys_or_none(launch: str, tmp_path: Path) -> None:
    keys = Keys.within(str(tmp_path / "blue"), "blue")
    with pytest.raises(Refused):
        hostkeys.pinned(keys, launch, lambda: ["ssh-ed25519 AAAA"])
    assert not any(tmp_path.iterdir())
    known = hostkeys.pinned(keys, "blue-g1-a3", lambda: ["ssh-ed25519 AAAA"])
    assert known == tmp_path / "blue" / "known_hosts-blue-g1-a3"
    assert known.read_text() == "hotdesk-blue ssh-ed25519 AAAA\n"
    assert hostkeys.pinned(keys, "blue-g1-a3", lambda: ["ssh-ed25519 BBBB"]).read_text() == known.read_text()


# ---- links where hotdesk writes ----------------------------------------------------------------------


@pytest.mark.parametrize("linked", ["warned", ".hotdesk"])
def test_the_idle_watch_writes_through_no_link_of_a_users(linked: str, tmp_path: Path) -> None:
    """On a rented machine it is root, and the home is its user's."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    (home / ".hotdesk").mkdir(parents=True)
    elsewhere.mkdir()
    (home / ".hotdesk" / "leave").write_text('{"idle_minutes": 10}')
    watch = idle.Watch([str(home)], mark="nobody", now=1000.0)
    if linked == "warned":
        (home / ".hotdesk" / "warned").symlink_to(elsewhere / "warned")
    else:
        (home / ".hotdesk").rename(elsewhere / "folder")
        (home / ".hotdesk").symlink_to(elsewhere / "folder")
    assert watch.turn(1301) == ""
    assert watch._warned, "the warning itself is given"
    assert not list(elsewhere.rglob("warned"))


def test_a_state_file_replaces_a_link_and_leaves_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "ours").symlink_to(tmp_path / "theirs")
    write_atomically(tmp_path / "ours", "new")
    assert (tmp_path / "theirs").read_text() == "theirs"
    assert not (tmp_path / "ours").is_symlink()
    waiting = tmp_path / f"ours.{os.getpid()}-{threading.get_ident()}.new"
    waiting.symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError, match="symbolic links"):
        write_atomically(tmp_path / "ours", "newer")
    assert (tmp_path / "theirs").read_text() == "theirs"


@pytest.mark.parametrize("how", ["a link", "open to others", "a file"])
def test_a_folder_of_sockets_that_somebody_else_has_made_is_not_used(how: str, tmp_path: Path) -> None:
    """Where a path is too long for a socket, they are in /tmp, where anybody may be first."""
    place = tmp_path / "hotdesk-1000-mark"
    if how == "a link":
        (tmp_path / "theirs").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "theirs")
    elif how == "a file":
        place.touch()
    else:
        place.mkdir()
        place.chmod(0o777)
    with pytest.raises(OSError):  # noqa: PT011 - FileExistsError or PermissionError
        environment._private(place)
    environment._private(tmp_path / "own")
    environment._private(tmp_path / "own")


def test_text_from_elsewhere_writes_nothing_but_itself_on_the_terminal() -> None:
    """No colour, cursor, clipboard or line of its own, and nothing that turns the reading direction."""
    said = render.safe("a\x1b]52;c;aGk=\x07b\x9b2Jc\r\nd\u202ee")
    assert re.fullmatch(r"a�\]52;c;aGk=�b�2Jc��d�e", said)


# ---- names at a machine ------------------------------------------------------------------------------


@given(st.text(max_size=40))
def test_a_job_s_name_is_one_plain_word(name: str) -> None:
    if JOB_NAME.fullmatch(name):
        assert shlex.split(name) == [name]
        assert not {"/", ".", "\0"} & set(name)
        assert not name.startswith("-"), "ssh, tmux and git would take it for an option"


def test_the_token_of_a_cluster_is_on_no_command_line() -> None:
    order = {
        "python": "/env/bin/python", "address": "127.0.0.1", "head": "127.0.0.1:6379", "heads": True,
        "cpus": 1, "gpus": 0, "token": "5" * 64,
    }  # fmt: skip
    for heads, own in ((True, False), (False, False), (False, True)):
        node = ray_node.RayNode("/sweep", {**order, "heads": heads, "own": own}, {}, 2)
        assert node.environment["RAY_AUTH_MODE"] == "token"
        assert node.environment["RAY_AUTH_TOKEN_PATH"] == "/sweep/token"
        said = [*node._argv("/tmp/hd"), *node.environment.values(), *node.address().values()]
        assert not [word for word in said if order["token"] in word]


# ---- the document ------------------------------------------------------------------------------------

TESTS = Path(__file__).parent


def test_each_threat_in_the_document_names_a_test_that_is_there() -> None:
    lines = (TESTS.parent / "docs" / "security.md").read_text("utf-8").splitlines()
    begin = lines.index("| door | threat | what hotdesk does | shown by |") + 2
    rows = list(itertools.takewhile(lambda line: line.startswith("|"), lines[begin:]))
    assert len(rows) >= 40
    for row in rows:
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row.split(" | ")[-1])
        assert named, f"no test shows this: {row}"
        for file, name in named:
            assert name in _tests(file), f"there is no {name} in {file}"
    doors = [row.split("|")[1].strip() for row in rows]
    assert doors[0]
    assert len({d for d in doors if d}) == len([d for d in doors if d]), "each door stands once"


@cache
def _tests(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
