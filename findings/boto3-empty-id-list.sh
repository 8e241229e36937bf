#!/usr/bin/env bash
# boto3 1.44.5 (shown against moto 5.2.5)
#
# What: an empty list of instance ids means "all of them". `ec2.instances.filter(InstanceIds=[])` is sent without
#   any id, so the collection holds every instance of the region, and its .stop() stops them all. The client's
#   own call, stop_instances(InstanceIds=[]), stops none: the same empty list is harmless one floor below.
# Why it matters: the list is usually the answer to "which of mine are idle?", and "none" is its everyday value.
# Expected: nothing is stopped, or an error.
# Seen:
#   client.stop_instances(InstanceIds=[]): stopped 0 of 3
#   resource.instances.filter(InstanceIds=[]).stop(): stopped 3 of 3
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq boto3==1.44.5 "moto[ec2]==5.2.5"
env -i PATH="$PATH" HOME="$work" AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b AWS_DEFAULT_REGION=us-east-1 \
  "$work/venv/bin/python" - <<'PY'
import sys

import boto3
from botocore.exceptions import ClientError
from moto import mock_aws

with mock_aws():
    client, resource = boto3.client("ec2"), boto3.resource("ec2")
    image = client.describe_images()["Images"][0]["ImageId"]
    client.run_instances(ImageId=image, MinCount=3, MaxCount=3)

    def stopped(said):
        found = sum(one.state["Name"] == "stopped" for one in resource.instances.all())
        print(f"{said}: stopped {found} of 3")
        return found

    try:
        client.stop_instances(InstanceIds=[])
    except ClientError:
        pass  # so EC2 answers; moto accepts it
    seen = [stopped("client.stop_instances(InstanceIds=[])")]
    resource.instances.filter(InstanceIds=[]).stop()
    seen.append(stopped("resource.instances.filter(InstanceIds=[]).stop()"))
sys.exit(seen != [0, 3])
PY
