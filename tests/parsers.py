"""What reads what others have written, each as a call with bytes: for tests and for scripts/fuzz.py.

Whatever the bytes, a call returns, or raises an error of `ALLOWED`: one for a person, or the one that its
function promises. Anything else is a fault.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec

from hotdesk import config
from hotdesk.connect import editor, guest_agent, job_runner, limits, tunnel
from hotdesk.core import lengths, load, matching, notices, wire
from hotdesk.core.errors import HotdeskError, Refused
from hotdesk.core.money import Money
from hotdesk.core.ports import Access
from hotdesk.core.sizing import gpu
from hotdesk.core.spot.prices import Storing
from hotdesk.core.sweep import params
from hotdesk.guest import data_record
from hotdesk.guest.idle import Watch
from hotdesk.market import catalog, job_model
from hotdesk.providers.aliyun import client
from hotdesk.providers.aliyun import inventory as aliyun_inventory
from hotdesk.providers.aliyun import survey as aliyun_survey
from hotdesk.providers.aliyun.errors import Problem
from hotdesk.providers.aliyun.transport import Reply
from hotdesk.providers.aws import inventory as aws_inventory
from hotdesk.providers.aws import spot_advisor
from hotdesk.providers.aws import survey as aws_survey
from hotdesk.providers.cloud import hostkeys, price, vocabulary
from hotdesk.providers.cloud.replies import legible
from hotdesk.providers.local.offers import read_nvidia
from hotdesk.services import forwarding, settings, sweep_file, template
from hotdesk.services.job_variables import gather
from hotdesk.simulate import traces
from hotdesk.state.store import Store
from hotdesk.sweep import machine

Target = Callable[[bytes], object]
TARGETS: dict[str, Target] = {}
#: Bytes that a target understands, from which others are made.
SEEDS: dict[str, tuple[bytes, ...]] = {}
ALLOWED: dict[str, tuple[type[Exception], ...]] = {}
FOLDER = Path(tempfile.mkdtemp(prefix="hotdesk-parsers-"))
_ACCESS = Access(
    desk="blue", host="127.0.0.1", port=22, user="me", key_path="/k", known_hosts_path="/h",
    alias="hotdesk-blue", notebook_port=8888,
)  # fmt: skip


def target(*seeds: str | bytes, may: tuple[type[Exception], ...] = ()) -> Callable[[Target], Target]:
    def add(call: Target) -> Target:
        name = call.__name__
        TARGETS[name] = call
        SEEDS[name] = tuple(s.encode() if isinstance(s, str) else s for s in seeds)
        ALLOWED[name] = (HotdeskError, Refused, *may)
        return call

    return add


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


@contextlib.contextmanager
def _file(data: bytes, name: str = "given") -> Iterator[Path]:
    path = FOLDER / f"{os.getpid()}-{name}"
    path.write_bytes(data)
    try:
        yield path
    finally:
        path.unlink()


# ---- files of a person's -----------------------------------------------------------------------------

_TOML = """[defaults]
provider = "local"
usd_per_month = 5.5
[desks.blue]
gpu = "L4"
idle = "30m"
regions = ["us-west-2"]
[jobs.train]
command = ["python", "train.py"]
env = {A = "1"}
budget = 3
[aws]
profile = "me"
[ssh.machines.gpu1]
host = "me@gpu1"
[notify]
on = ["job"]
webhook = "https://example.org/h"
"""


@target(_TOML, 'desks = 1\n[defaults]\nprovider="aw"', "[money]\ncny_per_usd = 7.1\nday = 2026-11-30")
def hotdesk_toml(data: bytes) -> None:
    with _file(data, "hotdesk.toml") as file:
        config.load([file])
    settings.lines(data.decode("utf-8", "replace"))


@target('1 2 "a/b"\n', '{"to": "~/x", "from": "/y"}', '1 2 "../a"\nx')
def data_folder(data: bytes) -> None:
    list(data_record.listed(data))
    data_record.parsed(data)


@target(_TOML, '[desks.a]\n[environment]\npackages = ["numpy==2"]\npython = "3.12"\n')
def template_file(data: bytes) -> None:
    with _file(data) as file:
        template.read(file)


@target('samples = 3\nmachines = "auto"\n[param]\nlr = [1e-4, 0.1]\nn = "1..5"\nd = "log 1e-5 1e-2"\n')
def sweep_toml(data: bytes) -> None:
    with _file(data) as file:
        sweep_file.read_file(file)


@target("lr=1e-4,3e-4", "n=1..9:2", "x=log(1e-5,1e-1)", "s=a,b,c", "u=uniform(0,1)")
def sweep_parameter(data: bytes) -> None:
    params.read_parameter(_text(data))


@target("A=1\nexport B='x y'\n# no\nC\nD=${HOME}\n")
def env_file(data: bytes) -> None:
    with _file(data) as file:
        gather({}, [file], {}, {})


@target('Host *\n  ForwardAgent yes\nInclude "/x/ssh/*.conf"\n')
def ssh_config(data: bytes) -> None:
    with _file(data) as file:
        was = editor.includes(file, Path("/s/*.conf"))
        assert editor.include(file, Path("/s/*.conf")) is not was
        assert editor.exclude(file, Path("/s/*.conf"))


@target("8..16", "4..", "L4,A100", "g6.*", "2h", "45m", "1.5h", "8888:80", "A100-80GB", may=(ValueError,))
def options(data: bytes) -> None:
    text = _text(data)
    for read in (
        lambda: lengths.seconds(text, "h"), lambda: matching.read_gpu(text), lambda: gpu.read_name(text),
        lambda: matching.span_of(text, "--cpus"), lambda: forwarding.read(text),
        lambda: job_model.parse([text]),
    ):  # fmt: skip
        with contextlib.suppress(HotdeskError, ValueError):
            read()


@target('{"text": "{text}", "n": [1, {"a": "{desk}"}]}', "{desk}: {title}")
def webhook_body(data: bytes) -> None:
    notices.body(notices.Notice(id="1", event="job", desk="blue", title="t", text="u"), _text(data))


# ---- prices, traces, measurements --------------------------------------------------------------------


@target('{"metadata": {"gap_seconds": 600}, "data": [1, 1, 0, 1]}', "[1, 0]")
def trace(data: bytes) -> None:
    with _file(data, "zone_gpu_1.json") as file:
        traces.read_trace(file)


@target(
    '{"SpotPriceHistory": [{"AvailabilityZone": "us-west-2a", "InstanceType": "g6.xlarge", '
    '"ProductDescription": "Linux/UNIX", "SpotPrice": "0.31", "Timestamp": "2026-11-30T00:00:00Z"}]}',
    '[{"AvailabilityZone": "a"}] {"x": 1}',
)
def price_history(data: bytes) -> None:
    from hotdesk.market import history_files

    with _file(data, "h.json") as file:
        history_files.read(file)


@target(
    '[{"provider": "aws", "instance_type": "g6.xlarge", "region": "r", "zone": "a", "market": "spot", '
    '"usd_per_hour": 0.3}]',
    '{"offers": [{}]}',
)
def offers_file(data: bytes) -> None:
    with _file(data) as file:
        job_model.read_offers(file)


@target('{"spot_advisor": {"us-west-2": {"Linux": {"g6.xlarge": {"r": 1, "s": 70}}}}}', may=(ValueError,))
def spot_advisor_file(data: bytes) -> None:
    spot_advisor.read_advice(data)


@target(may=(ValueError,))
def kept_catalog(data: bytes) -> None:
    catalog.Catalog.unpack(data)


@target(msgspec.msgpack.encode([["a", bytes(8), bytes(8)]]), may=(ValueError,))
def kept_prices(data: bytes) -> None:
    from hotdesk.market import history_files

    history_files.unpack("g6.xlarge", data)


@target("0.35 USD", "9.53 CNY", "1e5 EUR")
def price_tag(data: bytes) -> None:
    price.read(_text(data))


# ---- clouds ------------------------------------------------------------------------------------------

_STORING = Storing(disk_usd_per_gib_month=0.1, image_usd_per_gib_month=0.05)


@target('{"RequestId": "1", "Instances": {}}', '{"Code": "Throttling", "Message": "m"}', may=(Problem,))
def aliyun_reply(data: bytes) -> None:
    for status in (200, 403):
        with contextlib.suppress(Problem):
            client._read("DescribeInstances", Reply(status, {"x-acs-retry-after": _text(data[:9])}, data))


@target(
    '{"instances": [{"InstanceId": "i-1", "Status": "Running", "InstanceType": "ecs.g7.large", "Tags": '
    '{"Tag": [{"TagKey": "hotdesk", "TagValue": "1"}]}}], "disks": [], "images": []}',
    '{"disks": [{"DiskId": "d-1", "Size": 40, "Status": "Available"}], "images": [{"ImageId": "m-1", '
    '"ImageName": "x", "Status": "Available", "CreationTime": "2026-11-30T00:00:00Z"}]}',
)
def aliyun_region(data: bytes) -> None:
    """What a region's answers hold, in any form, as a survey."""
    told = _tables(data, ("instances", "disks", "images", "snapshots", "groups"))
    with legible("Alibaba Cloud"):
        aliyun_survey.survey(
            [aliyun_inventory.Found("cn-hangzhou", *told.values())], (),
            lag_seconds=1, poll_seconds=1, owner="", storage=lambda region: _STORING, money=Money(),
            list_price=lambda region, kind: None,
        )  # fmt: skip


@target(
    '{"reservations": [{"Instances": [{"InstanceId": "i-1", "State": {"Name": "running"}, "InstanceType": '
    '"g6.xlarge", "Placement": {"AvailabilityZone": "us-west-2a"}, "Tags": [{"Key": "hotdesk:desk", "Value": '
    '"blue"}]}]}], "volumes": [{"VolumeId": "vol-1", "Size": 9, "State": "in-use", "Attachments": []}], '
    '"images": [{"ImageId": "ami-1", "Name": "n", "State": "available"}], "snapshots": [{"SnapshotId": "s"}'
    "]}",
)
def aws_region(data: bytes) -> None:
    told = _tables(data, ("reservations", "volumes", "images", "snapshots", "keys", "groups"))
    with legible("AWS"):
        aws_survey.survey(
            [aws_inventory.Found("us-west-2", told)], (), lag_seconds=1, poll_seconds=1, owner="",
            storage=lambda region: _STORING,
        )  # fmt: skip


def _tables(data: bytes, names: tuple[str, ...]) -> dict[str, list[Any]]:
    try:
        told = wire.json(data, dict[str, list[dict[str, Any]]])
    except msgspec.DecodeError:
        told = {}
    return {name: told.get(name, []) for name in names}


@target('{"hotdesk:line": "0badc0de@rvqk2g,-", "hotdesk:generation": "3", "hotdesk:usd": "1e3"}')
def tags(data: bytes) -> None:
    """Tags are written by whoever may: each value is any text."""
    try:
        written = wire.json(data, dict[str, str])
    except msgspec.DecodeError:
        written = {"hotdesk:line": _text(data), "hotdesk:generation": _text(data), "hotdesk:usd": _text(data)}
    told = vocabulary.read(written)
    vocabulary.line_of(told), vocabulary.generation(told), vocabulary.number(told, "usd")
    vocabulary.unpacked(told)


@target(
    "-----BEGIN SSH HOST KEY KEYS-----\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== x\n"
    "-----END SSH HOST KEY KEYS-----"
)
def console(data: bytes) -> None:
    hostkeys.on_console(_text(data))


# ---- machines ----------------------------------------------------------------------------------------


@target('{"jobs": [{"id": "1-a"}], "now": 1.0}', '{"lost": true}')
def job_runner_says(data: bytes) -> None:
    job_runner._looked(_ACCESS, data)


@target('{"machine": "m1", "epoch": 1, "running": [], "ended": []}')
def sweep_runner_says(data: bytes) -> None:
    machine._known(_ACCESS, data)


@target('idle active python3\nnow=1764460800\nwarned 1764460800 hotdesk: soon\n{"version": "1"}', "idle")
def agent_says(data: bytes) -> None:
    for here in (True, False):
        guest_agent.read(data, 0, here)


@target('hotdesk-idle active\n--\n300\n--\n12\n{"idle_minutes": 30, "lease_seconds": 1e3}')
def limits_there(data: bytes) -> None:
    limits.read(data)


@target('{"url": "http://localhost:8888/", "token": "abc", "port": 8888}\n{"x": [1]}{')
def jupyter_servers(data: bytes) -> None:
    list(tunnel._servers(_text(data)))


@target("NVIDIA L4, 23034\nNVIDIA L4, 23034", "Orin (nvgpu), [N/A]")
def nvidia_smi(data: bytes) -> None:
    read_nvidia(_text(data))


@target("[1764460800.0, 0.5, 0.2, null, 0.9, 0.1]\n[1764460810.0, 0.4")
def job_curves(data: bytes) -> None:
    load.read_curves(data)


@target('{"idle_minutes": 10, "lease_seconds": 100, "stop_seconds": 50}')
def idle_limits(data: bytes) -> None:
    """At the machine: what the watch reads of a home."""
    home = FOLDER / f"{os.getpid()}-home"
    (home / ".hotdesk").mkdir(parents=True, exist_ok=True)
    for name in ("leave", "stay"):
        (home / ".hotdesk" / name).write_bytes(data)
    Watch([str(home)], mark="nobody", now=1000.0).due(2000.0)


# ---- state and images --------------------------------------------------------------------------------


@functools.cache
def _state() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        with Store(Path(folder)) as store:
            store.keep("key", b"body", 1.0)
        with contextlib.closing(sqlite3.connect(Path(folder) / "hotdesk.db")) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return (Path(folder) / "hotdesk.db").read_bytes()


@target(b"\0\0\x20no database", b"\x10\0\0\xff\xff\xff\xff", b"\x3b\0\0\0\xff\0\0\0")
def state_file(data: bytes) -> None:
    """A state file in which bytes from a place on are others; and one that is nothing else."""
    place = int.from_bytes(data[:3], "little") % len(_state())
    for body in (_state()[:place] + data[3:] + _state()[place + len(data) - 3 :], data):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "hotdesk.db").write_bytes(body)
            with contextlib.suppress(HotdeskError), Store(Path(folder)) as store:
                store.desks(), store.rows(limit=9), store.jobs(), store.cached("key")


@target(b'{"name": "blue", "goal": "running", "want": {}}', b"[" * 3000)
def state_row(data: bytes) -> None:
    """A row whose body is anything, in a file that is whole."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "hotdesk.db").write_bytes(_state())
        with contextlib.closing(sqlite3.connect(Path(folder) / "hotdesk.db")) as db:
            for table in ("desks", "journal", "jobs"):
                columns = [c[1] for c in db.execute(f"PRAGMA table_info({table})")]
                marks = ", ".join("?" * len(columns))
                with contextlib.suppress(sqlite3.Error):
                    db.execute(f"INSERT INTO {table} VALUES ({marks})", [data] * len(columns))
            db.commit()
        for read in (Store.desks, lambda store: store.rows(limit=9), Store.jobs):
            with contextlib.suppress(HotdeskError), Store(Path(folder)) as store:
                read(store)


def _images() -> None:
    """Those that need the extra `local`."""
    import zstandard

    from hotdesk.snapshots import pack_file, transfer, tree

    @target(msgspec.msgpack.encode([[[0, b"", "d", 493, 0, 0, 0, 0, 1]], "", b"", b""]), may=(tree.Damaged,))
    def manifest(data: bytes) -> None:
        """A list of files that is signed as it should be, and holds anything."""
        packed = zstandard.ZstdCompressor(level=1).compress(data)
        for body in (
            tree._MAGIC + tree.digest(packed) + packed,
            tree._MAGIC + tree.digest(data) + data,
            data,
        ):
            with _file(body, "m.manifest") as file, contextlib.suppress(tree.Damaged):
                found, _ = tree.load_manifest(file)
                tree.check_manifest(found)
                for index in range(len(found.entries)):
                    tree.shown(found.entries, index)

    @target(msgspec.msgpack.encode([[8, 3, b"", bytes(32), [3]]]), may=(pack_file.Damaged,))
    def pack(data: bytes) -> None:
        index = zstandard.ZstdCompressor(level=1).compress(data)
        name = pack_file.digest(index)
        body = pack_file._MAGIC + b"abc" + index + len(index).to_bytes(8, "little") + name + pack_file._MAGIC
        with _file(body) as file:
            path = file.rename(FOLDER / f"{name.hex()}.pack")
            try:
                found = pack_file.read_pack(path)
                for number in range(len(found.frames)):
                    with contextlib.suppress(pack_file.Damaged):
                        pack_file.read_chunks(found, number)
            finally:
                path.rename(file)

    @target(b"P\x04\0\0\0\0\0\0\0\x92\x01\xa1a", b"E\x03\0\0\0\0\0\0\0\x91\xa1x", may=(OSError,))
    def line(data: bytes) -> None:
        """What comes from the other end of a copy."""
        transfer.Line(BytesIO(data), BytesIO()).receive(b"FPM")

    @target(b"\x05\0\0\0\x93\xc4\0\x90\xc2", may=(transfer.Cut,))
    def frame(data: bytes) -> None:
        class Nowhere:
            def claim(self, name: bytes) -> bool:
                return False

        transfer._keep(Nowhere(), data)  # type: ignore[arg-type]

    del manifest, pack, line, frame


def _page() -> None:
    """Those that need the extra `web`."""
    from hotdesk.web import server
    from hotdesk.web.guard import Guard
    from hotdesk.web.links import Links

    links = Links(4321)

    @target('{"verb": "up", "name": "blue", "regions": ["a"]}', '{"name": "b", "command": ["ls"]}', "{}")
    def page_body(data: bytes) -> None:
        for kind in {kind for kind, _ in (*server.CHANGES.values(), *server.ACTS.values())}:
            with contextlib.suppress(msgspec.DecodeError):
                wire.json(data, kind)

    @target(
        b"GET\n/\nhost: 127.0.0.1:4321\ncookie: hotdesk-4321=a",
        b"POST\n/api/do\nhost: 127.0.0.1:4321\norigin: http://127.0.0.1:4321\nx-hotdesk: 1\n"
        b"content-length: \xb2",
    )
    def page_head(data: bytes) -> None:
        """Only who has the cookie may pass, whatever the head of a request says."""
        method, path, *rest = [*data.split(b"\n"), b"", b""]
        said = [(name, value.strip()) for name, _, value in (one.partition(b":") for one in rest)]
        scope = {"type": "http", "method": method.decode("latin-1"), "path": path.decode("latin-1")}
        no = Guard(None, links).refusal({**scope, "headers": said})  # type: ignore[arg-type]
        assert no or links.cookie.encode() in data or scope["path"] == "/enter"

    @target("a.b", links.serving.link().partition("token=")[2])
    def page_token(data: bytes) -> None:
        links.admits(_text(data))

    del page_body, page_head, page_token


for _more in (_images, _page):
    with contextlib.suppress(ImportError):
        _more()


def clear() -> None:
    """Remove what the targets have written."""
    import shutil

    shutil.rmtree(FOLDER, ignore_errors=True)
