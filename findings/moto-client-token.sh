#!/usr/bin/env bash
# moto 5.2.5 (with boto3 1.44.5)
#
# What: EC2 answers a second request of the same ClientToken with what the first one made. moto, which lists
#   run_instances and create_volume as implemented and keeps an instance's token, makes another: two instances
#   of one token, two volumes.
# Why it matters: the token is there for the answer that got lost. Code that repeats a launch with the same
#   token is right, and its test against moto shows two machines; code without a token passes as well.
# Expected: one instance and one volume, or an error that says that tokens are not followed.
# Seen:
#   run_instances twice, one token: 2 instances
#   create_volume twice, one token: 2 volumes
#   tokens of the instances: ['one', 'one']
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq boto3==1.44.5 "moto[ec2]==5.2.5"
env -i PATH="$PATH" HOME="$work" AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b AWS_DEFAULT_REGION=us-east-1 \
  "$work/venv/bin/python" - <<'PY'
import sys

import boto3
from moto import mock_aws

with mock_aws():
    client = boto3.client("ec2")
    image = client.describe_images()["Images"][0]["ImageId"]
    for _ in range(2):
        client.run_instances(ImageId=image, MinCount=1, MaxCount=1, ClientToken="one")
        client.create_volume(AvailabilityZone="us-east-1a", Size=1, ClientToken="one")
    pages = client.describe_instances()["Reservations"]
    instances = [instance for page in pages for instance in page["Instances"]]
    volumes = client.describe_volumes(Filters=[{"Name": "status", "Values": ["available"]}])["Volumes"]
print(f"run_instances twice, one token: {len(instances)} instances")
print(f"create_volume twice, one token: {len(volumes)} volumes")
print("tokens of the instances:", [instance.get("ClientToken") for instance in instances])
sys.exit((len(instances), len(volumes)) != (2, 2))
PY
