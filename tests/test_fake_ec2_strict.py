"""The fake EC2 is as strict as EC2, says nothing of another world, and reads what other clients write."""

from __future__ import annotations

import ipaddress
import urllib.error
import urllib.request
from typing import Any

import pytest

pytest.importorskip("boto3", reason="the fake EC2 is spoken to with boto3: pip install boto3 'moto[server]'")
pytest.importorskip("moto", reason="the fake EC2 is built on moto: pip install 'moto[server]'")

from fake_ec2.checks import Cloud, refused, root
from fake_ec2.fixtures import cloud, fake  # noqa: F401
from fake_ec2.process import FakeEc2

SPOT = {"MarketType": "spot"}
SIGNED = "AWS4-HMAC-SHA256 Credential=AKIAFAKE/20261120/us-east-1/{}/aws4_request, Signature=0"
TWO = [{"DeviceIndex": n, "AssociatePublicIpAddress": n == 0} for n in range(2)]


@pytest.mark.parametrize(
    ("order", "code"),
    [
        ({"ClientToken": "t" * 65}, "InvalidParameterValue"),
        ({"BlockDeviceMappings": root() * 2}, "InvalidBlockDeviceMapping"),
        ({"BlockDeviceMappings": root(65_537)}, "InvalidParameterValue"),
        ({"NetworkInterfaces": TWO}, "InvalidParameterCombination"),
        ({"InstanceMarketOptions": SPOT, "InstanceInitiatedShutdownBehavior": "stop"},
         "InvalidParameterCombination"),
        ({"CpuOptions": {"CoreCount": 64, "ThreadsPerCore": 2}}, "InvalidParameterValue"),
        ({"HibernationOptions": {"Configured": True}}, "UnsupportedHibernationConfiguration"),
        ({"ImageId": "ami-zz"}, "InvalidAMIID.Malformed"),
        ({"IamInstanceProfile": {"Name": "nobodys"}}, "InvalidParameterValue"),
        ({"TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "k", "Value": "a"}] * 2}]},
         "InvalidParameterValue"),
    ],
)  # fmt: skip
def test_orders_that_ec2_refuses(cloud: Cloud, order: dict[str, Any], code: str) -> None:
    refused(lambda: cloud.launch(**order), code)


def test_what_ec2_refuses_of_other_requests(cloud: Cloud) -> None:
    ec2 = cloud.ec2
    machine = cloud.running()
    for call, code in (
        (lambda: ec2.describe_instances(InstanceIds=["i-zz"]), "InvalidInstanceID.Malformed"),
        (lambda: ec2.describe_instances(MaxResults=4), "InvalidParameterValue"),
        (lambda: ec2.describe_instances(MaxResults=1001), "InvalidParameterValue"),
        (lambda: ec2.describe_instance_types(InstanceTypes=["t3.micro"] * 101), "InvalidParameterValue"),
        (lambda: ec2.stop_instances(InstanceIds=[machine], Hibernate=True),
         "UnsupportedHibernationConfiguration"),
        (lambda: ec2.describe_volumes(NextToken="5"), "InvalidNextToken"),
        (lambda: ec2.create_tags(Resources=[machine], Tags=[{"Key": str(n)} for n in range(51)]),
         "TagLimitExceeded"),
    ):  # fmt: skip
        refused(call, code)


def test_of_one_key_twice_the_last_is_kept(cloud: Cloud) -> None:
    """What is tagged later may say it; what is tagged as it is made may not."""
    machine = cloud.running()
    twice = [{"Key": "Name", "Value": "one"}, {"Key": "Name", "Value": "one-head"}]
    cloud.ec2.create_tags(Resources=[machine], Tags=twice)
    assert cloud.machine(machine)["Tags"] == twice[1:]


def test_a_role_with_a_policy_of_the_first_version_and_of_aws(cloud: Cloud) -> None:
    iam, document = cloud.client("iam", cloud.region), '{"Statement": [{"Effect": "Allow", %s}]}'
    trust = document % '"Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"'
    iam.create_instance_profile(InstanceProfileName="mine")
    refused(lambda: cloud.launch(IamInstanceProfile={"Name": "mine"}), "InvalidParameterValue")
    iam.create_role(RoleName="mine", AssumeRolePolicyDocument=trust)
    iam.attach_role_policy(RoleName="mine", PolicyArn="arn:aws:iam::aws:policy/AmazonEC2FullAccess")
    mine = document % '"Action": "iam:PassRole", "Resource": "*"'
    iam.put_role_policy(RoleName="mine", PolicyName="p", PolicyDocument=mine)
    iam.add_role_to_instance_profile(InstanceProfileName="mine", RoleName="mine")
    assert cloud.launch(IamInstanceProfile={"Name": "mine"})["IamInstanceProfile"]


def test_a_console_of_xen_is_not_shown_as_it_is_now(cloud: Cloud) -> None:
    machine = cloud.running(InstanceType="t2.micro")
    refused(lambda: cloud.ec2.get_console_output(InstanceId=machine, Latest=True), "UnsupportedOperation")
    assert "Output" in cloud.ec2.get_console_output(InstanceId=machine)


def test_host_bits_of_a_rule_are_cut_off(cloud: Cloud) -> None:
    group = cloud.ec2.create_security_group(GroupName="mine", Description="x")["GroupId"]
    for block in ("1.2.3.4/24", "1.2.3.0/24"):
        rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": block}]}
        allow = lambda rule=rule: cloud.ec2.authorize_security_group_ingress(  # noqa: E731
            GroupId=group, IpPermissions=[rule]
        )
        allow() if block == "1.2.3.4/24" else refused(allow, "InvalidPermission.Duplicate")
    [found] = cloud.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    assert found["IpPermissions"][0]["IpRanges"] == [{"CidrIp": "1.2.3.0/24"}]


def test_a_machine_that_has_ended_loses_its_tags_before_it_is_forgotten(cloud: Cloud) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "k", "Value": "v"}]}]
    machine = cloud.running(TagSpecifications=tags)
    cloud.ec2.terminate_instances(InstanceIds=[machine])
    cloud.pass_time(60)
    assert cloud.machine(machine)["Tags"] == [{"Key": "k", "Value": "v"}]
    cloud.pass_time(900)
    assert cloud.machine(machine).get("Tags", []) == []


def test_addresses_lead_to_this_computer(cloud: Cloud) -> None:
    address = cloud.machine(cloud.running())["PublicIpAddress"]
    assert ipaddress.ip_address(address).is_loopback


def ask(fake: FakeEc2, words: str, service: str = "ec2", body: bytes | None = None) -> tuple[int, str]:
    request = urllib.request.Request(f"{fake.url}/?{words}", data=body)
    request.add_header("Authorization", SIGNED.format(service))
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as bad:
        with bad:
            return bad.code, bad.read().decode()


def test_a_get_is_answered_as_a_post_is(fake: FakeEc2, cloud: Cloud) -> None:
    machine = cloud.running()
    asked = f"Action=DescribeInstances&Version=2016-11-15&InstanceId.1={machine}"
    status, text = ask(fake, asked)
    assert (status, machine in text) == (200, True)
    assert machine in ask(fake, "", body=asked.encode())[1]


def test_lists_that_are_counted_from_zero_are_read(fake: FakeEc2, cloud: Cloud) -> None:
    machine = cloud.running()
    asked = f"Action=CreateTags&ResourceId.0={machine}&Tag.0.Key=a&Tag.0.Value=1&Tag.1.Key=b&Tag.1.Value=2"
    assert ask(fake, asked)[0] == 200
    assert cloud.machine(machine)["Tags"] == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]


def test_one_name_space_whoever_answers(fake: FakeEc2) -> None:
    for action in ("DescribeInstances", "DescribeVpcs", "DescribeKeyPairs"):
        assert 'xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"' in ask(fake, f"Action={action}")[1]


def test_each_answer_has_its_own_request_id(cloud: Cloud) -> None:
    for ask in (cloud.ec2.describe_instances, cloud.ec2.describe_vpcs):
        told = [ask()["ResponseMetadata"] for _ in range(2)]
        assert len({meta["RequestId"] for meta in told}) == 2
        assert all(meta["HTTPHeaders"]["x-amzn-requestid"] == meta["RequestId"] for meta in told)


@pytest.mark.parametrize(
    ("action", "service"),
    [("AssociateIamInstanceProfile", "ec2"), ("CreateFlowLogs", "ec2"), ("CreateStack", "cloudformation")],
)
def test_what_it_does_not_answer_is_refused_in_the_clients_own_form(
    fake: FakeEc2, action: str, service: str
) -> None:
    """moto would answer each of these, of machines and disks that it does not have."""
    status, text = ask(fake, f"Action={action}", service)
    assert status == 400
    assert text.lstrip().startswith("<")
    assert "<Code>UnsupportedOperation</Code>" in text or "<Code>MissingParameter</Code>" in text
