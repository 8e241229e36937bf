"""One table of wishes and types: what `offers` lists, `up` launches, in a cloud and on this computer."""

from __future__ import annotations

import msgspec
import pytest

from hotdesk.core.errors import Usage
from hotdesk.core.matching import InstanceType, Place, Query, fits, sold_there, wish
from hotdesk.core.model import Market, Want


def kind(
    name: str, gpu: str = "", count: float = 0, gib: float = 0.0, *, vcpus: float = 8, **more: object
) -> InstanceType:
    return InstanceType(
        provider="aws", instance_type=name, gpu=gpu, gpu_count=count, gpu_memory_gib=gib, vcpus=vcpus,
        memory_gib=4 * vcpus, **more,  # type: ignore[arg-type]
    )  # fmt: skip


TYPES = {
    one.instance_type: one
    for one in (
        kind("m7i.2xlarge"),
        kind("m7g.large", vcpus=2, arch="arm64"),
        kind("g4dn.xlarge", "T4", 1, 16.0, vcpus=4),
        kind("g5g.xlarge", "T4g", 1, 16.0, vcpus=4, arch="arm64"),
        kind("g5.xlarge", "A10G", 1, 22.35, vcpus=4),
        kind("g6.xlarge", "L4", 1, 22.35, vcpus=4),
        kind("g6.12xlarge", "L4", 4, 22.35, vcpus=48),
        kind("g6f.4xlarge", "L4", 0.5, 11.18, vcpus=16),
        kind("g6e.xlarge", "L40S", 1, 44.7, vcpus=4),
        kind("g7e.2xlarge", "RTX PRO 6000", 1, 95.6),
        kind("p4d.24xlarge", "A100", 8, 40.0, vcpus=96),
        kind("p4de.24xlarge", "A100", 8, 80.0, vcpus=96),
        kind("trn1.2xlarge", accelerator="Trainium", accelerator_count=1),
        # as drivers of people's own computers call them
        kind("local.3090", "RTX 3090", 2, 24.0),
        kind("local.a100", "NVIDIA A100-SXM4-80GB", 1, 80.0),
        kind("local.h100", "H100 80GB HBM3", 1, 79.6),
    )
}

#: What is wished for, and the types that fit.
CASES: list[tuple[Query | Want, str]] = [
    # names of GPUs, as people, clouds and drivers write them
    (Query(gpu=("L4",)), "g6.xlarge g6.12xlarge"),
    (Query(gpu=("NVIDIA L4",)), "g6.xlarge g6.12xlarge"),
    (Query(gpu=("l4",)), "g6.xlarge g6.12xlarge"),
    (Query(gpu=("tesla-t4",)), "g4dn.xlarge"),
    (Query(gpu=("T4",)), "g4dn.xlarge"),
    (Query(gpu=("T4g",)), "g5g.xlarge"),
    (Query(gpu=("a10",)), ""),
    (Query(gpu=("A100",)), "p4d.24xlarge p4de.24xlarge local.a100"),
    (Query(gpu=("A100-80GB",)), "p4de.24xlarge local.a100"),
    (Query(gpu=("a100_40gb",)), "p4d.24xlarge"),
    (Query(gpu=("NVIDIA A100-SXM4-40GB",)), "p4d.24xlarge"),
    (Query(gpu=("A100 PCIe",)), "p4d.24xlarge p4de.24xlarge"),
    (Query(gpu=("A10G-24GB",)), "g5.xlarge"),
    (Query(gpu=("NVIDIA H100 80GB HBM3",)), "local.h100"),
    (Query(gpu=("RTX PRO Server 6000",)), "g7e.2xlarge"),
    (Query(gpu=("NVIDIA RTX PRO 6000 Blackwell Server Edition",)), "g7e.2xlarge"),
    (Query(gpu=("6000",)), ""),
    (Query(gpu=("3090",)), "local.3090"),
    (Query(gpu=("GeForce RTX 3090",)), "local.3090"),
    (Query(gpu=("rtx",)), ""),
    (Query(gpu=("T4,L40S",)), "g4dn.xlarge g6e.xlarge"),
    (Query(gpu=("T4", "L40S")), "g4dn.xlarge g6e.xlarge"),
    # how many; a slice fits who asks for one
    (Query(gpu=("L4:4",)), "g6.12xlarge"),
    (Query(gpu=("L4:0.5",)), "g6f.4xlarge"),
    (Query(gpu=("L4",), gpus="..1"), "g6.xlarge g6f.4xlarge"),
    (Query(gpu=("L4",), types=("g6f.*",)), "g6f.4xlarge"),
    (Query(gpus="2..4"), "g6.12xlarge local.3090"),
    # memory: a card that is sold as 24 GB has 22.35 GiB, and is none of 25 either
    (Query(gpu_memory="24", gpus="1"), "g5.xlarge g6.xlarge"),
    (Query(gpu_memory="..16", gpu=("T4", "L4")), "g4dn.xlarge"),
    (Query(gpu_memory="96.."), "g7e.2xlarge"),
    (Query(memory="16", cpus="4", arch="arm"), "g5g.xlarge"),
    # other chips are no GPUs, and no plain machine
    (Query(gpu=("none",)), "m7i.2xlarge m7g.large"),
    (Query(gpu=("Trainium",)), ""),
    (Query(types=("trn1.2xlarge",)), "trn1.2xlarge"),
    (Query(types=("g6.*", "m7i.2xlarge")), "g6.xlarge g6.12xlarge m7i.2xlarge"),
    # desks: who names no hardware gets a machine without a GPU
    (Want(), "m7i.2xlarge m7g.large"),
    (Want(gpu="none"), "m7i.2xlarge m7g.large"),
    (Want(gpu="NVIDIA L4"), "g6.xlarge g6.12xlarge"),
    (Want(gpu="L4", gpu_count=4), "g6.12xlarge"),
    (Want(gpu="A100-80GB"), "p4de.24xlarge local.a100"),
    (Want(gpu_count=8), "p4d.24xlarge p4de.24xlarge"),
    (Want(instance_type="g6f.4xlarge"), "g6f.4xlarge"),
]


def said(asked: object) -> str:
    """A wish as the id of a test: what is not left at its default."""
    return msgspec.json.encode(asked).decode() if isinstance(asked, Query | Want) else str(asked)


@pytest.mark.parametrize(("asked", "names"), CASES, ids=said)
def test_what_fits(asked: Query | Want, names: str) -> None:
    query = wish(asked) if isinstance(asked, Want) else asked
    assert {name for name, one in TYPES.items() if fits(query, one)} == set(names.split())


@pytest.mark.parametrize(
    ("want", "names"),
    [
        (Want(), "3090 a100 h100"),  # it is there, and costs nothing
        (Want(gpu="none"), ""),
        (Want(gpu="RTX 3090", gpu_count=1), "3090"),  # it cannot have fewer
        (Want(gpu="RTX 3090", gpu_count=3), ""),
        (Want(gpu="A100-80GB"), "a100"),
        (Want(gpu="A100-40GB"), ""),
    ],
    ids=said,
)
def test_a_computer_of_ones_own_has_what_it_has(want: Want, names: str) -> None:
    here = {name: one for name, one in TYPES.items() if name.startswith("local")}
    asked = wish(want, owned=True)
    assert {name for name, one in here.items() if fits(asked, one)} == {f"local.{n}" for n in names.split()}


@pytest.mark.parametrize(
    ("asked", "there"),
    [
        (Query(), True),
        (Query(regions=("us-*",)), True),
        (Query(regions=("eu-*", "us-west-2")), True),
        (Query(regions=("us-west-?",), zone="us-west-2b"), True),
        (Query(zone="us-west-2a"), False),
        (Query(regions=("eu-*",)), False),
        (Query(market="spot", max_usd=0.5), True),
        (Query(market="on-demand"), False),
        (Query(max_usd=0.4), False),
        (Query(provider="local"), False),
        (wish(Want(regions=("us-*",), market="cheapest")), True),
        (wish(Want(market="on-demand")), False),
        (wish(Want(usd_per_hour_max=0.4)), False),
    ],
    ids=said,
)
def test_where_it_is_sold(asked: Query, there: bool) -> None:
    assert sold_there(asked, Place("aws", "us-west-2", "us-west-2b"), Market.SPOT, 0.5) is there


def test_a_price_for_a_whole_region_is_one_for_its_zones() -> None:
    assert sold_there(Query(zone="us-west-2a"), Place("aws", "us-west-2"), Market.ON_DEMAND)
    assert not sold_there(Query(zone="us-west-2a"), Place("aws", "us-east-1"), Market.ON_DEMAND)


@pytest.mark.parametrize("words", ["L4:0", "L4:x", "A100:-1"])
def test_a_count_that_is_none_is_refused(words: str) -> None:
    with pytest.raises(Usage, match="is not a GPU"):
        fits(Query(gpu=(words,)), TYPES["g6.xlarge"])
