"""Keys, parameters, prices, quotas and the catalogue."""

from __future__ import annotations

import base64
import datetime as dt
import json
import subprocess

from fake_ec2.checks import DEEP, Cloud, check, refused


@check(moto="fingerprint")
def fingerprints_are_those_of_ssh(cloud: Cloud) -> None:
    path = cloud.folder / f"key-{next(cloud.numbers)}"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(path)], check=True, capture_output=True, text=True
    ).stdout
    name = f"key-{path.name}"
    made = cloud.ec2.import_key_pair(KeyName=name, PublicKeyMaterial=path.with_suffix(".pub").read_bytes())
    expected = shown.split()[1].removeprefix("SHA256:")
    assert made["KeyFingerprint"].rstrip("=") == expected, f"fingerprint {made['KeyFingerprint']}"
    found = cloud.ec2.describe_key_pairs(KeyNames=[name], IncludePublicKey=True)["KeyPairs"][0]
    assert found["KeyFingerprint"] == made["KeyFingerprint"]
    assert found["PublicKey"].split()[1] == path.with_suffix(".pub").read_text().split()[1]


@check(moto="ParameterNotFound")
def the_deep_learning_image_is_published(cloud: Cloud) -> None:
    image = cloud.client("ssm", cloud.region).get_parameter(Name=DEEP)["Parameter"]["Value"]
    found = cloud.ec2.describe_images(ImageIds=[image])["Images"][0]
    assert found["Name"].startswith("Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04)")
    assert (found["RootDeviceName"], found["Architecture"]) == ("/dev/sda1", "x86_64")


@check(moto="prices")
def spot_prices_live(cloud: Cloud) -> None:
    """Zones differ, times are honoured, and the price in force at the start is told."""
    now = dt.datetime.now(dt.UTC)
    ask = {"InstanceTypes": ["g5.xlarge"], "ProductDescriptions": ["Linux/UNIX"]}
    current = cloud.ec2.describe_spot_price_history(**ask, StartTime=now)["SpotPriceHistory"]
    prices = {r["AvailabilityZone"]: float(r["SpotPrice"]) for r in current}
    assert len(set(prices.values())) > 1, f"prices {set(prices.values())}"
    assert len(current) == len(prices), "one price per zone is in force"
    week = now - dt.timedelta(days=7)
    past = cloud.ec2.describe_spot_price_history(
        **ask, StartTime=week, EndTime=now, AvailabilityZone=min(prices)
    )
    times = [r["Timestamp"] for r in past["SpotPriceHistory"]]
    assert times == sorted(times, reverse=True)
    assert len(times) > 5
    assert times[-1] <= week < times[-2], "begins with the price in force at StartTime"


@check(moto="HTTP 500")
def products_have_prices(cloud: Cloud) -> None:
    fields = {
        "instanceType": "g5.xlarge",
        "regionCode": "us-west-2",
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
    }
    query = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in fields.items()]
    found = cloud.client("pricing", "us-east-1").get_products(ServiceCode="AmazonEC2", Filters=query)[
        "PriceList"
    ]
    assert len(found) == 1
    (term,) = json.loads(found[0])["terms"]["OnDemand"].values()
    (dimension,) = term["priceDimensions"].values()
    assert float(dimension["pricePerUnit"]["USD"]) == 1.006


@check(moto="NoSuchResourceException")
def quotas_are_told(cloud: Cloud) -> None:
    quotas = cloud.client("service-quotas", cloud.region)
    found = quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-DB2E81BA")["Quota"]
    assert found["QuotaName"] == "Running On-Demand G and VT instances"
    assert found["Value"] >= 0


@check(moto="types in one page")
def types_come_in_pages(cloud: Cloud) -> None:
    page = cloud.ec2.describe_instance_types(MaxResults=20)["InstanceTypes"]
    assert len(page) == 20, f"{len(page)} types in one page"


@check(moto="0 offerings")
def offerings_take_wildcards(cloud: Cloud) -> None:
    query = [{"Name": "instance-type", "Values": ["g6*"]}]
    found = cloud.ec2.describe_instance_type_offerings(Filters=query)["InstanceTypeOfferings"]
    assert len(found) > 5, f"{len(found)} offerings"


@check(moto="HTTP 500")
def what_is_missing_is_said_plainly(cloud: Cloud) -> None:
    refused(cloud.ec2.describe_fast_snapshot_restores, "UnsupportedOperation")


@check(moto="not refused")
def regions_must_be_enabled(cloud: Cloud) -> None:
    refused(lambda: cloud.client("ec2", "eu-south-1").describe_instances(), "AuthFailure")


@check(moto="InvalidUserData.Malformed")
def user_data_reads_back(cloud: Cloud) -> None:
    """And changes only while the machine is stopped."""
    instance_id = cloud.running(UserData="#cloud-config\n{}\n")
    found = cloud.ec2.describe_instance_attribute(InstanceId=instance_id, Attribute="userData")
    assert base64.b64decode(found["UserData"]["Value"]) == b"#cloud-config\n{}\n", "not readable"
    change = {"InstanceId": instance_id, "UserData": {"Value": b"#!/bin/sh\n"}}
    refused(lambda: cloud.ec2.modify_instance_attribute(**change), "IncorrectInstanceState")
