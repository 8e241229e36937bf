"""No machine in a subnet from which nobody could reach it: it is said why, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_ec2.process import FakeEc2
from hotdesk.core.model import Goal
from hotdesk.providers.aws.settings import Settings
from tests.aws_desk import HOME, Laptop, offer

pytest.importorskip("moto", reason="moto is not installed")

ZONE = "us-west-2a"  # where `offer()` is


@pytest.fixture
def ec2(fake: FakeEc2) -> Any:
    return fake.client("ec2", HOME)


class Network:
    """A VPC of its own in the fake, with subnets as a person may have made them."""

    def __init__(self, ec2: Any) -> None:
        self.ec2 = ec2
        self.vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
        self.gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=self.gateway, VpcId=self.vpc)
        self.public = ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"]
        ec2.create_route(RouteTableId=self.public, DestinationCidrBlock="0.0.0.0/0", GatewayId=self.gateway)
        self.count = 0

    def subnet(self, zone: str = ZONE, *, public: bool = False, **more: Any) -> str:
        self.count += 1
        place = more or {"CidrBlock": f"10.9.{self.count}.0/24"}
        made = self.ec2.create_subnet(VpcId=self.vpc, AvailabilityZone=zone, **place)["Subnet"]["SubnetId"]
        if public:
            self.ec2.associate_route_table(RouteTableId=self.public, SubnetId=made)
        return str(made)

    def ipv6_only(self) -> str:
        self.ec2.associate_vpc_cidr_block(VpcId=self.vpc, AmazonProvidedIpv6CidrBlock=True)
        [block] = self.ec2.describe_vpcs(VpcIds=[self.vpc])["Vpcs"][0]["Ipv6CidrBlockAssociationSet"]
        six = block["Ipv6CidrBlock"].replace("/56", "/64")
        return self.subnet(public=True, Ipv6Native=True, Ipv6CidrBlock=six)


@pytest.fixture
def network(ec2: Any) -> Network:
    return Network(ec2)


@pytest.fixture
def desk(fake: FakeEc2, tmp_path: Path) -> Iterator[Any]:
    """A laptop with these settings of `[aws]`."""
    made = []

    def with_settings(**settings: Any) -> Laptop:
        made.append(Laptop(fake, tmp_path / str(len(made)), settings=Settings(lag_seconds=0.0, **settings)))
        return made[-1]

    yield with_settings
    for laptop in made:
        laptop.store.close()


def launch(ec2: Any, subnet: str) -> str:
    """A machine that anybody may reach, as far as its group goes."""
    vpc = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["VpcId"]
    group = ec2.create_security_group(GroupName="open", Description="open", VpcId=vpc)["GroupId"]
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    image = ec2.describe_images(Filters=[{"Name": "architecture", "Values": ["x86_64"]}])["Images"][0]
    interface = {"DeviceIndex": 0, "SubnetId": subnet, "Groups": [group], "AssociatePublicIpAddress": True}
    made = ec2.run_instances(
        ImageId=image["ImageId"],
        InstanceType="t3.micro",
        MinCount=1,
        MaxCount=1,
        NetworkInterfaces=[interface],
    )
    return str(made["Instances"][0]["InstanceId"])


def reached(fake: FakeEc2, machine: str) -> tuple[bool, str]:
    fake.post("clock", advance=60)
    told = fake.get("reach", **{"id": machine, "port": 22, "from": "203.0.113.9"})
    return told["open"], told["no_way"]


# ---- the fake has the harm in it ---------------------------------------------------------------------


def test_the_default_network_has_its_gateway_and_a_machine_there_is_reached(fake: FakeEc2, ec2: Any) -> None:
    default = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"][0]
    [gateway] = ec2.describe_internet_gateways()["InternetGateways"]
    assert gateway["Attachments"] == [{"State": "available", "VpcId": default["VpcId"]}]
    [table] = ec2.describe_route_tables()["RouteTables"]
    assert gateway["InternetGatewayId"] in {r["GatewayId"] for r in table["Routes"]}
    assert reached(fake, launch(ec2, default["SubnetId"])) == (True, "")


def test_a_machine_in_a_private_subnet_runs_and_nobody_reaches_it(
    fake: FakeEc2, ec2: Any, network: Network
) -> None:
    private = network.subnet()
    machine = launch(ec2, private)
    assert reached(fake, machine) == (
        False,
        f"{private} has no route to an internet gateway for 203.0.113.9",
    )
    ec2.associate_route_table(RouteTableId=network.public, SubnetId=private)
    assert reached(fake, machine) == (True, "")
    ec2.modify_vpc_block_public_access_options(InternetGatewayBlockMode="block-ingress")
    assert reached(fake, machine)[0] is False
    ec2.create_vpc_block_public_access_exclusion(
        SubnetId=private, InternetGatewayExclusionMode="allow-bidirectional"
    )
    assert reached(fake, machine) == (True, "")
    ec2.detach_internet_gateway(InternetGatewayId=network.gateway, VpcId=network.vpc)
    assert reached(fake, machine)[0] is False


def test_a_default_network_that_is_made_anew_has_its_gateway_too(fake: FakeEc2, ec2: Any) -> None:
    fake.post("network", default_vpc=False)
    assert ec2.describe_internet_gateways()["InternetGateways"] == []
    vpc = ec2.create_default_vpc()["Vpc"]["VpcId"]
    [gateway] = ec2.describe_internet_gateways()["InternetGateways"]
    assert gateway["Attachments"][0]["VpcId"] == vpc


# ---- what is chosen ----------------------------------------------------------------------------------


def test_of_several_subnets_in_a_zone_only_the_one_that_is_reached_is_chosen(
    network: Network, desk: Any
) -> None:
    public = network.subnet(public=True)
    network.ipv6_only()
    while min(network.subnet() for _ in range(4)) > public:  # the lowest id was taken, whatever it was
        pass
    laptop = desk(vpc=network.vpc)
    assert laptop.do(Goal.RUNNING) is None
    [machine] = laptop.machines()
    found = network.ec2.describe_instances(InstanceIds=[machine["id"]])["Reservations"][0]["Instances"][0]
    assert found["SubnetId"] == public
    assert laptop.do(Goal.PARKED) is None
    assert laptop.do(Goal.RUNNING) is None


@pytest.mark.parametrize(
    ("kind", "words", "fix"),
    [
        ("private", "has no route to an internet gateway", "aws ec2 create-route --region us-west-2"),
        ("ipv6", "is for IPv6 only", "aws ec2 describe-subnets"),
        ("edge", "a zone at the edge", "aws ec2 describe-subnets"),
        (
            "blocked",
            "VPC Block Public Access (block-bidirectional)",
            "create-vpc-block-public-access-exclusion",
        ),
    ],
)
def test_a_subnet_that_nobody_reaches_is_refused_before_anything_is_paid(
    network: Network, desk: Any, kind: str, words: str, fix: str
) -> None:
    match kind:
        case "private":
            subnet = network.subnet()
        case "ipv6":
            subnet = network.ipv6_only()
        case "edge":
            subnet = network.subnet("us-west-2-lax-1a", public=True)
        case _:
            subnet = network.subnet(public=True)
            network.ec2.modify_vpc_block_public_access_options(InternetGatewayBlockMode="block-bidirectional")
    laptop = desk(subnet=subnet)
    asked = laptop.do(Goal.RUNNING)
    assert asked is not None
    assert subnet in asked.why
    assert words in asked.why
    assert fix in asked.fix
    assert laptop.things("instance") == []
    laptop.aws._clock = laptop.time
    assert [f.fix for f in laptop.aws.examine(laptop.store.desks(), [], None) if subnet in f.why] == [
        asked.fix
    ]


def test_what_the_fix_says_helps(network: Network, desk: Any) -> None:
    laptop = desk(subnet=network.subnet())
    assert laptop.do(Goal.RUNNING) is not None
    [main] = network.ec2.describe_route_tables(
        Filters=[
            {"Name": "vpc-id", "Values": [network.vpc]},
            {"Name": "association.main", "Values": ["true"]},
        ]
    )["RouteTables"]
    network.ec2.create_route(
        RouteTableId=main["RouteTableId"], DestinationCidrBlock="0.0.0.0/0", GatewayId=network.gateway
    )
    assert laptop.do(Goal.RUNNING) is None


def test_a_zone_whose_subnet_is_cut_off_is_passed_over(network: Network, desk: Any) -> None:
    network.subnet()
    network.subnet("us-west-2b", public=True)
    laptop = desk(vpc=network.vpc)
    assert laptop.do(Goal.RUNNING, (offer(), offer(zone="us-west-2b"))) is None
    assert [m["zone"] for m in laptop.machines()] == ["us-west-2b"]
    why = [str(row) for row in laptop.store.rows("blue")]
    assert any("has no route to an internet gateway" in text for text in why)


def test_credentials_that_may_not_see_routes_launch_as_before(fake: FakeEc2, desk: Any) -> None:
    fake.post("refuse", action="DescribeRouteTables", code="UnauthorizedOperation", times=None)
    assert desk().do(Goal.RUNNING) is None
