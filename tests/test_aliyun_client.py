"""Alibaba Cloud's client: signatures, retries, proxies, errors. The official clients are the measure."""

from __future__ import annotations

import ipaddress
import ssl
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from http.client import RemoteDisconnected
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from hotdesk.core.errors import Failing, Kind, Refused, Unreachable
from hotdesk.providers.aliyun.client import Client
from hotdesk.providers.aliyun.errors import code
from hotdesk.providers.aliyun.signing import Keys, authorization, flat
from tests.fake_ecs.server import FakeEcs
from tests.fake_ecs.wire import Call, Door, Problem, nested

KEYS = Keys("LTAIfake", "fake-secret")
REGION = "cn-hangzhou"
RECORDED = Path(__file__).parents[2] / "shared" / "data" / "aliyun-wire" / "all"


@pytest.fixture
def fake(ecs: FakeEcs) -> FakeEcs:
    ecs.reset()
    return ecs


@pytest.fixture
def client(fake: FakeEcs) -> Client:
    return Client(lambda: KEYS, endpoint=fake.url)


# ---- signatures and parameters -----------------------------------------------------------------------

#: The example of "V3 request body & signature mechanism".
EXAMPLE = {
    "host": "ecs.cn-shanghai.aliyuncs.com",
    "x-acs-action": "RunInstances",
    "x-acs-content-sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "x-acs-date": "2023-10-26T10:22:32Z",
    "x-acs-signature-nonce": "3156853299f313e23d1673dc12e1703d",
    "x-acs-version": "2014-05-26",
}
EXAMPLE_QUERY = {
    "ImageId": "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd",
    "RegionId": "cn-shanghai",
}
EXAMPLE_SIGNATURE = "06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"


def test_the_official_example_gets_the_official_signature() -> None:
    said = authorization(Keys("YourAccessKeyId", "YourAccessKeySecret"), "POST", EXAMPLE_QUERY, EXAMPLE)
    assert said.endswith(f"Signature={EXAMPLE_SIGNATURE}")


def a_door(**secrets: str) -> Door:
    door = Door()
    door.secrets = secrets
    return door


def test_the_fakes_door_admits_both_official_examples() -> None:
    door = a_door(YourAccessKeyId="YourAccessKeySecret", testid="testsecret")
    door.now = lambda: 1698315752.0
    signed = ";".join(sorted(EXAMPLE))
    said = f"ACS3-HMAC-SHA256 Credential=YourAccessKeyId,SignedHeaders={signed},Signature={EXAMPLE_SIGNATURE}"
    query = "&".join(f"{k}={v}" for k, v in EXAMPLE_QUERY.items())
    assert door.admit("POST", "/", query, {**EXAMPLE, "authorization": said}, b"").action == "RunInstances"
    door.now = lambda: 1456231606.0
    old = (
        "Timestamp=2016-02-23T12%3A46%3A24Z&Format=XML&AccessKeyId=testid&Action=DescribeRegions"
        "&SignatureMethod=HMAC-SHA1&SignatureNonce=3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf&Version=2014-05-26"
        "&SignatureVersion=1.0&Signature=OLeaidS1JvxuMvnyHOwuJ%2BuX5qY%3D"
    )
    assert door.admit("GET", "/", old, {}, b"").action == "DescribeRegions"


TRICKY: dict[str, Any] = {
    "RegionId": REGION,
    "Tag": [{"Key": "hotdesk", "Value": "1"}, {"Key": "hotdesk:desk", "Value": "blau grün/ä~*+=&"}],
    "SystemDisk": {"Size": 64, "Category": "cloud_essd"},
    "SecurityGroupIds": ["sg-1", "sg-2"],
    "Empty": "",
    "Absent": None,
    "DryRun": False,
    "InstanceIds": '["i-1"]',
}


def test_parameters_are_flat_as_the_official_client_flattens_them() -> None:
    util = pytest.importorskip(
        "alibabacloud_tea_openapi.utils", reason="the official client is not installed"
    )
    theirs = dict(util.Utils.query(TRICKY))
    ours = flat(TRICKY)
    assert theirs.pop("DryRun") == "False"  # str() of Python's; the service reads them without case
    assert ours.pop("DryRun") == "false"
    assert ours == theirs


def called(fake: FakeEcs) -> dict[str, Any]:
    return dict(fake.world.log[-1])


def test_the_generic_and_the_typed_client_and_ours_send_the_same_request(
    fake: FakeEcs, client: Client
) -> None:
    pytest.importorskip("alibabacloud_ecs20140526", reason="the official clients are not installed")
    from alibabacloud_ecs20140526 import models
    from alibabacloud_ecs20140526.client import Client as Typed
    from alibabacloud_tea_openapi.client import Client as Generic
    from alibabacloud_tea_openapi.models import Config, OpenApiRequest, Params
    from darabonba.runtime import RuntimeOptions

    asked = {"RegionId": REGION, "InstanceIds": '["i-1"]', "MaxResults": 100,
             "Tag": [{"Key": "hotdesk:desk", "Value": "blau grün/ä~*+=&"}]}  # fmt: skip
    config = Config(
        access_key_id=KEYS.id, access_key_secret=KEYS.secret, protocol="HTTP",
        endpoint=fake.url.removeprefix("http://"), region_id=REGION,
    )  # fmt: skip
    Typed(config).describe_instances(models.DescribeInstancesRequest().from_map(asked))
    typed = called(fake)
    params = Params(
        action="DescribeInstances", version="2014-05-26", protocol="HTTP", pathname="/", method="POST",
        auth_type="AK", style="RPC", req_body_type="formData", body_type="json",
    )  # fmt: skip
    Generic(config).call_api(params, OpenApiRequest(body=asked), RuntimeOptions())
    generic = called(fake)
    client.ask("ecs", REGION, "DescribeInstances", **asked)
    ours = called(fake)
    assert ours["flat"] == typed["flat"] == generic["flat"]
    assert ours["params"] == typed["params"]
    assert {ours["code"], typed["code"], generic["code"]} == {None}


def test_temporary_keys_are_signed_as_the_service_demands(fake: FakeEcs) -> None:
    mine = Client(lambda: Keys("STS.temporary", "temporary-secret", "the-token"), endpoint=fake.url)
    assert mine.ask("sts", "", "GetCallerIdentity")["Arn"].endswith("user/alice")
    wrong = Client(lambda: Keys("STS.temporary", "temporary-secret", "another"), endpoint=fake.url)
    with pytest.raises(Refused, match="temporary Alibaba Cloud credentials"):
        wrong.ask("sts", "", "GetCallerIdentity")


@pytest.mark.recorded(RECORDED)
def test_the_recorded_requests_of_the_official_clients_are_judged_as_they_should_be() -> None:
    """Three were sent with a wrong secret and three with an unknown key; all others are admitted."""
    door, said = Door(), Counter[str]()
    door.secrets = {"AKIDtest": "secret-of-test", "STS.temp": "temp-secret"}
    door.tokens = {"STS.temp": "the-security-token"}
    for file in sorted(RECORDED.glob("*.txt")):
        head, _, body = file.read_bytes().partition(b"\n\n")
        first, *lines = head.decode().splitlines()
        method, path, _ = first.split(" ")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
        place, _, query = path.partition("?")
        door.now = _time_of(headers.get("x-acs-date") or dict(_pairs(query))["Timestamp"])
        try:
            door.admit(method, place, query, headers, body)
            said["admitted"] += 1
        except Problem as no:
            said[no.code] += 1
    assert said == {"admitted": 97, "SignatureDoesNotMatch": 3, "InvalidAccessKeyId.NotFound": 3}


def _pairs(query: str) -> list[tuple[str, str]]:
    from urllib.parse import parse_qsl

    return parse_qsl(query)


def _time_of(text: str) -> Any:
    at = datetime.fromisoformat(text).timestamp()
    return lambda: at


def test_a_booleans_case_does_not_matter_to_the_service() -> None:
    for said in ("True", "true"):
        given = {"DryRun": said}
        assert Call("X", "1", given, params=nested(given)).flag("DryRun")


# ---- answers -----------------------------------------------------------------------------------------


def test_a_question_is_asked_again_and_a_change_is_not(fake: FakeEcs, client: Client) -> None:
    for lost in ("before", "after"):
        fake.world.harm("DescribeRegions", lose=lost)
        assert client.ask("ecs", REGION, "DescribeRegions")["Regions"]
        fake.world.harm("CreateVpc", lose=lost)
        with pytest.raises(RemoteDisconnected):  # not a refusal: its outcome is unknown
            client.tell("vpc", REGION, "CreateVpc", RegionId=REGION)
    assert [e["action"] for e in fake.world.log].count("CreateVpc") == 2
    assert len(fake.world.region(REGION).vpcs) == 1


def test_the_same_order_after_a_lost_answer_has_one_effect_and_a_new_signature(
    fake: FakeEcs, client: Client
) -> None:
    order = {"RegionId": REGION, "ClientToken": "an-order"}
    fake.world.harm("CreateVpc", lose="after")
    with pytest.raises(RemoteDisconnected):
        client.tell("vpc", REGION, "CreateVpc", **order)
    fake.advance(5)
    made = client.tell("vpc", REGION, "CreateVpc", **order)["VpcId"]
    assert [*fake.world.region(REGION).vpcs] == [made]
    with pytest.raises(Refused) as no:
        client.tell("vpc", REGION, "CreateVpc", **order, VpcName="another")
    assert (no.value.kind, code(no.value)) == (Kind.MISMATCH, "IdempotentParameterMismatch")


def test_a_5xx_leaves_a_change_unknown_and_its_status_is_told(fake: FakeEcs, client: Client) -> None:
    page = "<html><body>502 Bad Gateway</body></html>"
    fake.world.harm("CreateVpc", status=502, body=page)
    with pytest.raises(Failing, match=r"502 Bad Gateway.*\(502\)"):
        client.tell("vpc", REGION, "CreateVpc", RegionId=REGION)
    fake.world.harm("DescribeRegions", status=502, body=page, times=2)
    with pytest.raises(Refused) as busy:
        client.ask("ecs", REGION, "DescribeRegions")
    assert busy.value.kind is Kind.THROTTLED
    fake.world.harm("DescribeRegions", status=200, body="<html>a captive portal</html>", times=2)
    with pytest.raises(Refused, match="an answer that is not its own"):
        client.ask("ecs", REGION, "DescribeRegions")


def test_throttling_says_when_to_ask_again(fake: FakeEcs, client: Client) -> None:
    fake.world.throttle = {"DescribeRegions": 0}
    with pytest.raises(Refused) as plain:
        client.ask("ecs", REGION, "DescribeRegions")
    assert (plain.value.kind, plain.value.seconds) == (Kind.THROTTLED, 0.0)
    fake.world.retry_after = "1500"
    with pytest.raises(Refused) as told:
        client.ask("ecs", REGION, "DescribeRegions")
    assert (told.value.kind, told.value.seconds) == (Kind.THROTTLED, 1.5)


@pytest.mark.parametrize(
    ("name", "status", "text", "kind", "words"),
    [
        ("OperationDenied.NoStock", 403, "sold out in the zone", Kind.NO_CAPACITY, "sold out"),
        ("OperationDenied", 403, "The resource is out of usage.", Kind.NO_CAPACITY, "out of usage"),
        ("OperationDenied", 403, "Another reason.", Kind.BAD_REQUEST, "Another reason"),
        ("Zone.NotOnSale", 403, "", Kind.UNSUPPORTED, "Zone.NotOnSale"),
        ("QuotaExceed.AfterpayInstance", 400, "limited by user quota [0].", Kind.QUOTA, "its quota is 0"),
        ("InvalidAccountStatus.NotEnoughBalance", 403, "", Kind.DENIED, "balance is too low"),
        ("RealNameAuthenticationError", 403, "", Kind.DENIED, "name is verified"),
        ("Forbidden.RiskControl", 403, "", Kind.DENIED, "risk control"),
        ("Throttling.User", 400, "", Kind.THROTTLED, "asked too often"),
        ("Rejected.Throttling", 503, "", Kind.THROTTLED, "asked too often"),
        ("InvalidTimeStamp.Expired", 400, "", Kind.DENIED, "clock is off"),
        ("InvalidSecurityToken.Expired", 403, "", Kind.DENIED, "temporary"),
        ("TOKEN_PROCESSING", 400, "", Kind.NOT_READY, "TOKEN_PROCESSING"),
        ("SomethingNew.OfNextYear", 400, "No idea.", Kind.BAD_REQUEST, "No idea"),
    ],
)
def test_each_refusal_has_its_kind_and_says_what_to_do(  # noqa: PLR0917
    fake: FakeEcs, client: Client, name: str, status: int, text: str, kind: Kind, words: str
) -> None:
    fake.world.harm("CreateVpc", code=name, status=status, message=text or "Refused.")
    with pytest.raises(Refused) as no:
        client.tell("vpc", REGION, "CreateVpc", RegionId=REGION)
    assert no.value.kind is kind
    assert words in no.value.message
    assert (kind is not Kind.DENIED) or no.value.fix
    assert code(no.value) == name


def test_a_missing_right_is_named_with_the_policy_that_gives_it(fake: FakeEcs, client: Client) -> None:
    fake.world.denied = {"DescribeDisks"}
    with pytest.raises(Refused, match="may not do ecs:DescribeDisks") as no:
        client.ask("ecs", REGION, "DescribeDisks", RegionId=REGION)
    assert no.value.fix.startswith("hotdesk iam --provider aliyun")


def test_a_wrong_key_and_a_wrong_secret_are_told(fake: FakeEcs) -> None:
    for keys in (Keys("LTAInobody", "x"), Keys("LTAIfake", "wrong")):
        with pytest.raises(Refused, match="does not accept the access key") as no:
            Client(lambda keys=keys: keys, endpoint=fake.url).ask("ecs", REGION, "DescribeRegions")
        assert no.value.kind is Kind.DENIED


def test_all_pages_of_both_kinds_are_read(fake: FakeEcs, client: Client) -> None:
    for _ in range(23):
        client.tell("vpc", REGION, "CreateVpc", RegionId=REGION)
    rows = client.pages(
        "vpc", REGION, "DescribeVpcs", "Vpcs", "Vpc", RegionId=REGION, PageNumber=1, PageSize=10
    )
    assert len({row["VpcId"] for row in rows}) == 23
    types = client.pages(
        "ecs", REGION, "DescribeInstanceTypes", "InstanceTypes", "InstanceType", MaxResults=10
    )
    assert len({row["InstanceTypeId"] for row in types}) == 11


def test_a_page_that_names_itself_as_the_next_is_not_read_for_ever(fake: FakeEcs, client: Client) -> None:
    page = '{"InstanceTypes": {"InstanceType": []}, "NextToken": "2"}'
    fake.world.harm("DescribeInstanceTypes", status=200, body=page, times=None)
    with pytest.raises(Refused, match="the same page again"):
        client.pages("ecs", REGION, "DescribeInstanceTypes", "InstanceTypes", "InstanceType")
    assert [entry["action"] for entry in fake.world.log] == ["DescribeInstanceTypes"] * 2


# ---- the connection ----------------------------------------------------------------------------------


class _Proxy(BaseHTTPRequestHandler):
    """A forward proxy that knows where everything is."""

    asked: ClassVar[list[str]] = []
    where = ""

    def do_POST(self) -> None:
        import urllib.request

        self.asked.append(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        again = urllib.request.Request(self.where, data=body, headers=dict(self.headers.items()))
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(again) as answer:
            told = answer.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *arguments: Any) -> None: ...


def test_a_proxy_is_used_and_no_proxy_is_heard(fake: FakeEcs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The official clients use the one and ignore the other."""
    _Proxy.where, _Proxy.asked = fake.url, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Proxy)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("no_proxy", "")
        away = Client(lambda: KEYS, endpoint="http://ecs.example.test")
        assert away.ask("ecs", REGION, "DescribeRegions")["Regions"]
        assert _Proxy.asked == ["http://ecs.example.test/"]
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        near = Client(lambda: KEYS, endpoint=fake.url)
        assert near.ask("ecs", REGION, "DescribeRegions")["Regions"]
        assert len(_Proxy.asked) == 1
    finally:
        server.shutdown()
        server.server_close()


def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://user:secret@127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(Unreachable) as no:
        Client(lambda: KEYS).ask("ecs", REGION, "DescribeRegions")
    assert no.value.what == "The proxy does not answer."
    assert "secret" not in str(no.value)
    with pytest.raises(Refused, match="was not reached"):  # nothing was sent: a definite no
        Client(lambda: KEYS).tell("ecs", REGION, "StopInstances")


def test_a_connection_is_kept_and_one_that_has_ended_is_not_used(fake: FakeEcs, client: Client) -> None:
    seen: list[Any] = []
    take = client._connections._take
    client._connections._take = lambda url: seen.append(take(url)) or seen[-1]  # type: ignore[method-assign]
    for _ in range(3):
        client.ask("ecs", REGION, "DescribeRegions")
    assert len({id(one) for one in seen}) == 1
    seen[-1].sock.shutdown(2)  # a middlebox ends it: the change below must not be lost to it
    client.tell("vpc", REGION, "CreateVpc", RegionId=REGION)
    assert len({id(one) for one in seen}) == 2


def test_an_untrusted_certificate_is_said_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """… and the person's own bundle is heard, which the official clients ignore."""
    bundle, context = _own_certificate(tmp_path)
    with FakeEcs() as fake:
        fake._server.socket = context.wrap_socket(fake._server.socket, server_side=True)
        url = fake.url.replace("http://", "https://")
        with pytest.raises(Unreachable, match="certificate is not accepted"):
            Client(lambda: KEYS, endpoint=url).ask("ecs", REGION, "DescribeRegions")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
        assert Client(lambda: KEYS, endpoint=url).ask("ecs", REGION, "DescribeRegions")["Regions"]


def _own_certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1 that nobody trusts."""
    x509 = pytest.importorskip("cryptography.x509", reason="cryptography is not installed")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, today = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a firewall")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(today - timedelta(1)).not_valid_after(today + timedelta(1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    bundle, private = folder / "bundle.pem", folder / "key.pem"
    bundle.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bundle, private)
    return bundle, context
