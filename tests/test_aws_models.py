"""botocore's descriptions of AWS's services, read by our loader: the same as by its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hotdesk.providers.aws.models import loader

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
