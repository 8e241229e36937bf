"""botocore's descriptions of AWS's services, read by our loader: the same as by its own."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hotdesk.providers.aws.iam import actions
from hotdesk.providers.aws.models import loader
from hotdesk.providers.aws.session import open_session, share_models

loaders = pytest.importorskip("botocore.loaders", reason="boto3 is not installed")


@pytest.mark.parametrize("service", ["ec2", "sts", "sso", "pricing"])
def test_a_service_is_described_as_botocore_describes_it(service: str) -> None:
    ours, theirs = loader(""), loaders.Loader()
    for kind in ("service-2", "endpoint-rule-set-1"):
        assert ours.load_service_model(service, kind) == theirs.load_service_model(service, kind)
    assert ours.load_data("endpoints") == theirs.load_data("endpoints")


def test_services_are_known_by_name_and_as_a_list() -> None:
    ours, kind = loader(""), "service-2"
    known = ours.list_available_services(type_name=kind)
    assert "ec2" in known
    assert "nosuch" not in known
    assert list(known) == loaders.Loader().list_available_services(kind)
    with pytest.raises(loaders.UnknownServiceError, match="ec2"):
        ours.load_service_model("nosuch", kind)


def test_descriptions_of_the_users_own_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of AWS_DATA_PATH, as botocore takes them."""
    monkeypatch.setenv("MODELS", str(tmp_path))
    for service in ("ec2", "mine"):
        folder = tmp_path / service / "2099-01-01"
        folder.mkdir(parents=True)
        (folder / "service-2.json").write_text(json.dumps({"metadata": {"service": service}}))
    made = loader(f"/nowhere:{tmp_path / '..'}/{tmp_path.name}")
    for ours in (made, loader("$MODELS")):
        for service in ("ec2", "mine"):
            assert service in ours.list_available_services("service-2")
            assert ours.load_service_model(service, "service-2") == {"metadata": {"service": service}}


def test_clients_of_all_regions_and_sessions_have_the_same_methods() -> None:
    """Each has its own region and credentials; the methods are there once, for a page left open for long."""
    from botocore.session import Session

    made = []
    for key, region in (("one", "us-west-2"), ("one", "eu-west-1"), ("two", "us-west-2")):
        session = Session()
        share_models(session)
        session.set_credentials(key, "secret")
        made.append(session.create_client("ec2", region_name=region))
    assert len({client.describe_instances.__func__ for client in made}) == 1
    assert [client.meta.region_name for client in made] == ["us-west-2", "eu-west-1", "us-west-2"]
    urls = [client.generate_presigned_url("describe_instances") for client in made]
    assert ["=one%2F" in url for url in urls] == [True, True, False]
    assert ["ec2.eu-west-1." in url for url in urls] == [False, True, False]


@pytest.mark.parametrize("said", [
    *("2026-12-01T01:02:03.000Z", "2026-12-01T01:02:03+08:00", "2026-12-01T01:02:03", "2026-12-01"),
    *("1764550000", "1764550000.5", 1764550000, "Tue, 01 Dec 2026 01:02:03 GMT", "20261201T010203Z"),
])  # fmt: skip
def test_a_time_is_read_as_botocore_reads_it(said: str | float) -> None:
    from botocore.utils import parse_timestamp

    parser = open_session().get_component("response_parser_factory").create_parser("ec2")
    assert parser._timestamp_parser(said) == parse_timestamp(said)
    if str(said).endswith("000Z"):
        assert parser._timestamp_parser(said) == datetime(2026, 12, 1, 1, 2, 3, tzinfo=UTC)


def test_a_client_has_what_the_policy_allows_and_no_other_method() -> None:
    """A method for each of EC2's 830 operations, for each region, is most of the time of `hotdesk ls`."""
    from botocore.session import Session

    session = Session()
    share_models(session)
    session.set_credentials("key", "secret")
    client = session.create_client("ec2", region_name="eu-west-1")
    made = set(client.meta.method_to_api_mapping.values())
    assert {f"ec2:{name}" for name in made} == {one for one in actions() if one.startswith("ec2:")}
    assert client.can_paginate("describe_instances")
    assert not hasattr(client, "purchase_reserved_instances_offering")
