"""What a type of machine is, beyond its size: a Xen console, a GPU that the usual image cannot drive."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from fake_ec2.process import FakeEc2
from hotdesk.core.errors import Kind, Refused
from hotdesk.core.lifecycle.history import Past
from hotdesk.core.lifecycle.plan import PROVE_SECONDS, plan
from hotdesk.core.model import Desk, Goal, Instance, Market, Phase, Seen, Want
from hotdesk.core.steps import Ask, Done, Launch, LaunchOrder, Prove, Row
from hotdesk.providers.aws import base_images, hardware, instances
from hotdesk.providers.aws.offers import GPU_PATTERNS
from tests.aws_desk import HOME, Laptop, host_key, offer

pytest.importorskip("moto", reason="moto is not installed")

from fake_ec2.catalogue import TYPES
from fake_ec2.public_images import SUPPORTED

PINNED = "-----BEGIN SSH HOST KEY KEYS-----\n{}\n-----END SSH HOST KEY KEYS-----\n"
KEY = host_key("blue")
CUT = f"{KEY[:50]}[   31.3] systemd[1]: Reached target.\n{KEY[50:]}"


@pytest.fixture
def mine(fake: FakeEc2, tmp_path: Path) -> Iterator[Laptop]:
    laptop = Laptop(fake, tmp_path)
    yield laptop
    laptop.store.close()


# ---- consoles ------------------------------------------------------------------------------------------


def test_xen_is_what_aws_says_of_each_type() -> None:
    for name, entry in TYPES.items():
        assert hardware.is_xen(name) is (entry.get("Hypervisor") == "xen"), name


def test_a_console_that_has_no_latest_shows_the_host_key_later(mine: Laptop, fake: FakeEc2) -> None:
    said = "This instance type does not support the latest console logs"
    rule = {"action": "GetConsoleOutput", "contains": "Latest", "code": "UnsupportedOperation"}
    fake.post("refuse", **rule, message=said, times=None)
    assert mine.do(Goal.RUNNING, (offer("t2.large", gpu=""),)) is None
    [machine] = mine.aws.survey().instances
    assert machine.proves_within == hardware.SLOW_SECONDS
    assert len(mine.proven) == 1


def test_a_machine_that_shows_its_key_late_is_given_the_time_for_it() -> None:
    desk = Desk(name="blue", goal=Goal.RUNNING, since=0.0, created_at=0.0, provider="aws")
    order = LaunchOrder(desk="blue", born=0.0, generation=1, attempt=0, offer=offer("t2.large", gpu=""))
    row = Row(id=1, desk="blue", at=1.0, step=Launch(order=order, why=""), ended_at=2.0,
              outcome=Done(id="us-west-2/i-1"))  # fmt: skip
    for within, until in ((0.0, PROVE_SECONDS), (1800.0, 1800.0)):
        machine = Instance(
            id="us-west-2/i-1", name=order.name, desk="blue", generation=1, phase=Phase.READY, provider="aws",
            region=HOME, zone="us-west-2a", instance_type="t2.large", market=Market.ON_DEMAND,
            proves_within=within,
        )  # fmt: skip
        seen = Seen(instances=(machine,))
        assert isinstance(plan(desk, seen, Past([row]), until)[0], Prove)
        assert isinstance(plan(desk, seen, Past([row]), until + 10.0)[0], Ask)


@pytest.mark.parametrize(
    ("console", "keys"),
    [
        (PINNED.format(f"{KEY} root@ip"), [KEY]),
        (PINNED.format(CUT), []),
        (PINNED.format(KEY) + PINNED.format(CUT), [KEY]),
        (PINNED.format(host_key("an earlier one")) + PINNED.format(KEY), [KEY]),
        (PINNED.format(f"ssh-rsa {KEY.split()[1]}"), []),
        (PINNED.format("ssh-ed25519 AAAA"), []),
        ("", []),
    ],
)
def test_only_a_whole_host_key_is_pinned(
    monkeypatch: pytest.MonkeyPatch, console: str, keys: list[str]
) -> None:
    """A kernel line in the middle of a key would pin a stump for ever; an earlier block counts then."""
    monkeypatch.setattr(instances, "_console", lambda *args: console)
    if keys:
        assert instances.host_keys(None, HOME, "i-1") == keys  # type: ignore[arg-type]
        return
    with pytest.raises(Refused) as no:
        instances.host_keys(None, HOME, "i-1")  # type: ignore[arg-type]
    assert no.value.kind is Kind.NOT_READY


# ---- GPUs ----------------------------------------------------------------------------------------------


def test_of_each_gpu_it_is_known_which_image_can_drive_it() -> None:
    """A family that AWS adds is looked up in the image's release notes before it is offered."""
    known = hardware.IN_THE_GPU_IMAGE | hardware.IN_UBUNTU | hardware.SLICES
    makers = {n: g["Manufacturer"] for n, t in TYPES.items() for g in t.get("GpuInfo", {}).get("Gpus", ())}
    nvidia = [name for name, maker in makers.items() if maker == "NVIDIA"]
    asked = {hardware.family(name) for name in nvidia if any(fnmatchcase(name, p) for p in GPU_PATTERNS)}
    assert asked <= known, f"not known: {sorted(asked - known)}"


def test_the_image_supports_what_we_launch_it_on() -> None:
    told = {name.strip().lower() for names in SUPPORTED.values() for name in names.split(",")}
    ours = {name.split("-")[0] if name.startswith("p6-") else name for name in hardware.IN_THE_GPU_IMAGE}
    assert ours - {"g7e"} == told


@pytest.mark.parametrize(
    ("instance_type", "gpu", "named"),
    [
        ("g4dn.xlarge", "T4", "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04)"),
        ("p3dn.24xlarge", "V100", "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64"),
        ("g5g.xlarge", "T4g", "Deep Learning ARM64 Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04)"),
    ],
)
def test_each_gpu_gets_an_image_whose_driver_suits(
    mine: Laptop, fake: FakeEc2, instance_type: str, gpu: str, named: str
) -> None:
    """A V100 gets Ubuntu, which then installs the driver for it. Where no parameter is published, by name."""
    place = offer(instance_type, gpu=gpu, arch="arm64" if instance_type.startswith("g5g") else "x86_64")
    order = LaunchOrder(desk="blue", born=1.0, generation=1, attempt=0, offer=place)
    for _ in range(2):
        found = base_images.find_base(mine.aws.account, order)
        assert base_images.describe(mine.aws.account, HOME, found.id)["Name"].startswith(named)
        fake.post("refuse", action="GetParameter", code="ParameterNotFound", status=400, times=None)


def test_a_slice_of_a_gpu_is_refused_with_what_it_lacks(mine: Laptop) -> None:
    with pytest.raises(Refused, match="GRID") as no:
        mine.aws.offers(Want(instance_type="g6f.large"))
    assert no.value.kind is Kind.BAD_REQUEST
    assert mine.aws.offers(Want(instance_type="g6f.large", image="ami-0123"))
    assert {o.instance_type.split(".")[0] for o in mine.aws.offers(Want(gpu="L4"))} <= {"g6", "gr6"}


@pytest.mark.parametrize(
    ("want", "types"),
    [
        (Want(gpu="NVIDIA L4", gpu_count=1), "g6 gr6"),
        (Want(gpu="tesla-t4"), "g4dn"),
        (Want(gpu="A100-80GB"), "p4de"),
        (Want(gpu="A100"), "p4d p4de"),
        (Want(gpu="L4", gpu_count=0.5, image="ami-0123"), "g6f gr6f"),
        (Want(gpu="none"), "t3 m7i m7i-flex m6i c7i c6i r7i"),
    ],
    ids=str,
)
def test_a_cloud_finds_what_the_one_table_of_wishes_says(mine: Laptop, want: Want, types: str) -> None:
    found = mine.aws.offers(want)
    assert found
    assert {hardware.family(o.instance_type) for o in found} <= set(types.split())


def test_regions_may_be_patterns(mine: Laptop) -> None:
    found = {o.region for o in mine.aws.offers(Want(instance_type="g6.xlarge", regions=("eu-*", "us-w*")))}
    assert found == {HOME}, "the one region that this computer's settings name"
    with pytest.raises(Refused, match="us-wst-2 is not a region") as no:
        mine.aws.offers(Want(instance_type="g6.xlarge", regions=("us-wst-2",)))
    assert "--region us-west-2" in no.value.fix


def test_other_accelerators_are_told_from_gpus_and_from_plain_machines(mine: Laptop) -> None:
    kinds = {name: kind for name, raw in TYPES.items() if (kind := hardware.as_type(raw))}
    assert (kinds["trn1.32xlarge"].accelerator, kinds["trn1.32xlarge"].accelerator_count) == ("Trainium", 16)
    assert (kinds["inf2.xlarge"].accelerator, kinds["inf2.xlarge"].accelerator_count) == ("Inferentia2", 1)
    radeon = {"Gpus": [{"Name": "Radeon Pro V520", "Manufacturer": "AMD", "Count": 1}]}
    of_amd = hardware.as_type(TYPES["g4dn.xlarge"] | {"GpuInfo": radeon})
    assert of_amd is not None
    assert (of_amd.gpu, of_amd.accelerator) == ("", "Radeon Pro V520")
    assert not [kind for kind in kinds.values() if kind.gpu and kind.accelerator]
    with pytest.raises(Refused, match="computes on Trainium, which is no NVIDIA GPU") as no:
        mine.aws.offers(Want(instance_type="trn1.2xlarge"))
    assert "--image" in no.value.fix
