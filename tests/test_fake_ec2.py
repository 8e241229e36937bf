"""The fake EC2 does what EC2 does, where plain moto does not; and what its control address sets, happens."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("boto3", reason="the fake EC2 is spoken to with boto3: pip install boto3 'moto[server]'")
pytest.importorskip("moto", reason="the fake EC2 is built on moto: pip install 'moto[server]'")

from fake_ec2.checks import Cloud, all_checks
from fake_ec2.fixtures import cloud, fake  # noqa: F401
from fake_ec2.process import FakeEc2

CHECKS = all_checks()
MOTO_IMAGE = "ami-0123456789abcdef0"


@pytest.mark.parametrize("name", CHECKS)
def test_does_what_ec2_does(name: str, cloud: Cloud) -> None:
    CHECKS[name][0](cloud)


# ── the guard: without the corrections each of these checks fails, and for the reason given ──────────────


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Plain moto, as anybody would start it, with one image to launch from."""
    images = tmp_path_factory.mktemp("moto") / "amis.json"
    images.write_text(
        f'[{{"ami_id": "{MOTO_IMAGE}", "name": "ubuntu", "description": "x", "owner_id": "099720109477",'
        ' "public": true, "virtualization_type": "hvm", "architecture": "x86_64", "state": "available",'
        ' "platform": null, "image_type": "machine", "hypervisor": "xen", "root_device_name": "/dev/sda1",'
        ' "root_device_type": "ebs", "sriov": "simple"}]'
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    strict = {
        "MOTO_AMIS_PATH": str(images),
        "MOTO_ENABLE_AMI_VALIDATION": "1",
        "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)],
        env={k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | strict,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{url}/moto-api/", timeout=5).close()
                break
            except OSError:
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(120)


@pytest.mark.long
@pytest.mark.parametrize("name", CHECKS)
def test_plain_moto_does_not(name: str, moto: str, tmp_path: Path) -> None:
    from botocore.exceptions import ClientError  # type: ignore[import-untyped]
    from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]

    plain = FakeEc2()
    plain.url = moto
    urllib.request.urlopen(
        urllib.request.Request(f"{moto}/moto-api/reset", method="POST"), timeout=10
    ).close()
    do, reason = CHECKS[name]
    try:
        do(Cloud(plain.client, MOTO_IMAGE, lambda seconds: None, tmp_path))
    except AssertionError as failure:
        said = str(failure)
    except ClientError as failure:
        code = failure.response["Error"]["Code"]
        said = "HTTP 500" if code == "500" else str(failure)
    except ResponseParserError:
        said = "HTTP 500"
    else:
        pytest.fail(f"plain moto passes {name} now: the correction may go")
    assert reason in said
