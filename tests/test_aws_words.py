"""What a person gets told about AWS: every error code has one meaning, and every no has a way on."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotdesk.core.errors import Failing, Kind, Refused
from hotdesk.core.model import EndedBy, Market, Offer
from hotdesk.core.steps import LaunchOrder
from hotdesk.providers.aws import account, network, quotas, tags
from hotdesk.providers.aws.base_images import login_user
from hotdesk.providers.aws.disks import sizes_of
from hotdesk.providers.aws.errors import CODES, answers, missing_action, refusal
from hotdesk.providers.aws.hardware import as_type
from hotdesk.providers.aws.settings import Settings
from hotdesk.providers.aws.survey import ended_by
from hotdesk.providers.cloud import address, ids, vocabulary

boto = pytest.importorskip("botocore.exceptions", reason="boto3 is not installed")


def said(code: str, status: int = 400, message: str = "no", action: str = "RunInstances") -> Exception:
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return boto.ClientError(answer, action)  # type: ignore[no-any-return]


def refused(error: Exception) -> Refused:
    with pytest.raises(Refused) as caught, answers():
        raise error
    return caught.value


@pytest.mark.parametrize(("code", "kind"), sorted(CODES.items()))
def test_each_code_of_the_table_is_a_definite_no_of_its_kind(code: str, kind: Kind) -> None:
    no = refused(said(code))
    assert no.kind is kind
    assert code in no.message or kind is Kind.DENIED


def test_sold_out_is_definite_although_its_status_is_a_servers_failure() -> None:
    assert refused(said("InsufficientInstanceCapacity", 500)).kind is Kind.NO_CAPACITY


@pytest.mark.parametrize(
    "error",
    [
        said("RequestTimeout", 400),
        boto.ReadTimeoutError(endpoint_url="https://ec2"),
        boto.ConnectionClosedError(endpoint_url="https://ec2"),
        boto.EndpointConnectionError(endpoint_url="https://ec2"),
        ValueError("half an answer"),
    ],
    ids=lambda error: f"{type(error).__name__}-{error}"[:50],
)
def test_what_says_nothing_about_the_outcome_is_not_taken_for_a_no(error: Exception) -> None:
    assert refusal(error) is None
    with pytest.raises(type(error)), answers():
        raise error


@pytest.mark.parametrize("code", ["InternalError", "Unavailable", "ServiceUnavailable", "503"])
def test_a_servers_failure_is_asked_again_and_of_a_change_its_outcome_is_unknown(code: str) -> None:
    assert refusal(said(code, 503)) is None
    with pytest.raises(Failing, match="RunInstances"), answers():
        raise said(code, 503)
    assert refused(said(code, 503, action="DescribeInstances")).kind is Kind.THROTTLED


@pytest.mark.parametrize(
    ("policy", "named"),
    [
        ("a service control policy", "A service control policy denies ec2:RunInstances"),
        ("an identity-based policy", "An identity-based policy denies ec2:RunInstances"),
        ("a permissions boundary", "A permissions boundary denies ec2:RunInstances"),
        ("", "These credentials may not do ec2:RunInstances"),
    ],
)
def test_an_explicit_deny_is_not_a_missing_permission(policy: str, named: str) -> None:
    """What `hotdesk iam` prints helps where a permission is missing, and not where a policy denies it."""
    deny = f"with an explicit deny in {policy}." if policy else "because no identity-based policy allows it."
    text = (
        f"User: arn:aws:iam::1:user/me is not authorized to perform: ec2:RunInstances on resource: x {deny}"
    )
    no = refused(said("UnauthorizedOperation", 403, text))
    assert named in no.message
    assert ("hotdesk iam" in no.fix) is (policy == "")


def test_an_unknown_code_with_a_400_status_is_a_no() -> None:
    assert refused(said("InvalidParameterSomething", 400)).kind is Kind.BAD_REQUEST


def test_a_missing_permission_is_named() -> None:
    no = refused(
        said(
            "UnauthorizedOperation",
            403,
            "You are not authorized to perform this operation. User: arn:aws:iam::1:user/me is not "
            "authorized to perform: ec2:CreateTags on resource: arn:aws:ec2:us-east-1:1:instance/* because "
            "no identity-based policy allows it. Encoded authorization failure message: AAAA",
        )
    )
    assert no.kind is Kind.DENIED
    assert "ec2:CreateTags" in no.message
    assert "AAAA" not in no.message
    assert no.fix.startswith("hotdesk iam")


def test_without_a_name_in_the_message_the_operation_is_named() -> None:
    assert "RunInstances" in refused(said("UnauthorizedOperation", 403, "You may not do this.")).message
    assert missing_action("nothing of the sort") == ""


@pytest.mark.parametrize(
    ("error", "words", "fix"),
    [
        (boto.NoCredentialsError(), "No AWS credentials", "aws configure"),
        (boto.ProfileNotFound(profile="work"), "work", "aws configure list-profiles"),
        (boto.UnauthorizedSSOTokenError(), "SSO session", "aws sso login"),
        (boto.LoginRefreshRequired(), "`aws login`", "aws login"),
        (boto.PartialCredentialsError(provider="env", cred_var="AWS_X"), "broken", "aws configure list"),
        (said("ExpiredToken"), "expired", "aws sso login"),
        (said("RequestExpired", 400, "Request has expired."), "clock", "timedatectl"),
        (said("SignatureDoesNotMatch", 403, "Signature not yet current: 2026"), "clock", "timedatectl"),
        (said("AuthFailure", 401, "not able to validate"), "does not accept", "aws configure list"),
        (said("OptInRequired", 401, "not subscribed"), "not subscribed", "enable-region"),
        (said("PendingVerification", 400, "is being verified"), "is being verified", "support"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_credentials_that_do_not_work_say_what_to_do(error: Exception, words: str, fix: str) -> None:
    no = refused(error)
    assert no.kind is Kind.DENIED
    assert words in no.message
    assert fix in no.fix


def test_throttling_is_asked_again_soon_and_a_quota_is_believed_for_an_hour() -> None:
    assert refused(said("RequestLimitExceeded", 503)).seconds <= 10
    assert refused(said("VcpuLimitExceeded")).seconds >= 3600


@pytest.mark.parametrize(
    ("instance_type", "market", "code"),
    [
        ("g5.xlarge", Market.ON_DEMAND, "L-DB2E81BA"),
        ("g6e.xlarge", Market.SPOT, "L-3819A6DF"),
        ("gr6.4xlarge", Market.ON_DEMAND, "L-DB2E81BA"),
        ("p5.48xlarge", Market.ON_DEMAND, "L-417A185B"),
        ("p4d.24xlarge", Market.SPOT, "L-7212CCBC"),
        ("m7i.large", Market.ON_DEMAND, "L-1216C47A"),
        ("t3.large", Market.SPOT, "L-34B43A08"),
    ],
)
def test_each_type_counts_against_its_own_quota(instance_type: str, market: Market, code: str) -> None:
    assert quotas.quota_code(instance_type, market) == code


# ---- small translations ------------------------------------------------------------------------------


def test_ids_carry_their_region() -> None:
    assert ids.split(ids.qualified("us-west-2", "i-0abc")) == ("us-west-2", "i-0abc")
    with pytest.raises(Refused, match="REGION/ID"):
        ids.split("i-0abc")


def test_a_key_pairs_name_contains_its_hash_so_another_key_has_another_name() -> None:
    one = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGx1 me"
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGx2 me"
    assert network.key_name("blue", one) == network.key_name("blue", one.replace(" me", " somebody"))
    assert network.key_name("blue", one) != network.key_name("blue", other)


def test_tags_of_other_people_are_not_read_as_ours() -> None:
    listed = [
        {"Key": "hotdesk", "Value": "1"},
        {"Key": "desk", "Value": "x"},
        {"Key": "hotdesk:desk", "Value": "blue"},
    ]
    assert tags.read(listed) == {"desk": "blue"}
    assert tags.is_ours(listed)
    assert vocabulary.generation({"generation": "x"}) == 0


@pytest.mark.parametrize(
    ("name", "user"),
    [
        ("Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04) 20261009", "ubuntu"),
        ("Deep Learning Base OSS Nvidia Driver GPU AMI (Amazon Linux 2023) 20261009", "ec2-user"),
        ("debian-13-amd64-20261001", "admin"),
        ("something of my own", "ubuntu"),
    ],
)
def test_the_first_user_follows_from_the_distribution(name: str, user: str) -> None:
    assert login_user(name) == user


def test_what_an_image_must_hold_is_read_from_its_tags() -> None:
    assert sizes_of({"disks": "/dev/sda1=100,/dev/sdf=50"}) == {"/dev/sda1": 100, "/dev/sdf": 50}
    assert sizes_of({}) == {}


def test_a_fraction_of_a_gpu_is_a_fraction_and_other_makers_gpus_are_no_offer() -> None:
    raw = {
        "InstanceType": "g6f.2xlarge",
        "GpuInfo": {
            "Gpus": [{"Name": "L4", "Manufacturer": "NVIDIA", "Count": 0, "LogicalGpuCount": 1,
                      "GpuPartitionSize": 0.25, "MemoryInfo": {"SizeInMiB": 5722}}],
            "TotalGpuMemoryInMiB": 5722,
        },
        "VCpuInfo": {"DefaultVCpus": 8},
        "MemoryInfo": {"SizeInMiB": 32768},
        "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]},
    }  # fmt: skip
    offer = as_type(raw)
    assert offer is not None
    assert (offer.gpu, offer.gpu_count, offer.vcpus, offer.memory_gib) == ("L4", 0.25, 8, 32.0)
    assert 5 < offer.gpu_memory_gib < 6
    raw["GpuInfo"]["Gpus"][0]["Manufacturer"] = "AMD"  # type: ignore[index]
    other = as_type(raw)
    assert other is not None
    assert (other.gpu, other.accelerator) == ("", "L4"), "an accelerator, and no GPU of ours"


def test_a_configured_address_is_used_as_it_is_and_a_wrong_one_is_explained() -> None:
    mine = account.Account(Settings(address="203.0.113.7"))
    assert network.callers_address(mine, "us-east-1") == "203.0.113.7/32"
    wrong = account.Account(Settings(address="my house"))
    with pytest.raises(Refused, match="my house"):
        network.callers_address(wrong, "us-east-1")


def test_the_address_behind_a_router_is_asked_for_only_where_that_is_allowed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A computer whose own address is private, towards a public endpoint: only the outside could tell."""
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "x")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    here = account.Account(Settings(address_url=""))
    assert network.callers_address(here, "us-east-1") == "127.0.0.1/32"  # no router between us and the cloud
    monkeypatch.setattr(address, "_socket_addresses", lambda url: (None, None))
    with pytest.raises(Refused, match="may not ask"):
        network.callers_address(here, "us-east-1")


def test_a_launch_token_is_one_exact_order_and_fits_ec2() -> None:
    offer = Offer(provider="aws", region="us-east-1", zone="us-east-1a", instance_type="g5.xlarge")
    order = LaunchOrder(desk="blue", born=1.0, generation=1, attempt=0, offer=offer)
    assert len(order.token) <= 64
    assert order.token.isascii()
    assert len(order.name) <= 128


@pytest.mark.parametrize(
    ("code", "transition", "who"),
    [
        ("Client.InstanceInitiatedShutdown", "", EndedBy.GUEST),
        ("Client.UserInitiatedShutdown", "User initiated (2026-11-23 12:00:00 GMT)", EndedBy.OWNER),
        ("Client.UserInitiatedHibernate", "", EndedBy.OWNER),
        ("", "User initiated (2026-11-23 12:00:00 GMT)", EndedBy.OWNER),
        ("Server.SpotInstanceTermination", "", EndedBy.PROVIDER),
        ("Server.InternalError", "User initiated", EndedBy.PROVIDER),
        ("Client.InternalError", "User initiated", EndedBy.UNKNOWN),
        ("", "", EndedBy.UNKNOWN),
    ],
)
def test_who_ended_a_machine(code: str, transition: str, who: EndedBy) -> None:
    """The codes of StateReason, EC2 API reference."""
    reason = {"Code": code, "Message": f"{code}: words"} if code else None
    assert ended_by({"StateReason": reason, "StateTransitionReason": transition}) is who
