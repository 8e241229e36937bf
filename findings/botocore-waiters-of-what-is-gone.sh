#!/usr/bin/env bash
# botocore 1.44.5
#
# What: a thing that no longer exists is a success to one "is it gone?" waiter of EC2 and a failure to another.
#   volume_deleted takes InvalidVolume.NotFound for the end that it waits for; instance_terminated raises a
#   WaiterError on InvalidInstanceID.NotFound. It also raises at once for an instance that is "stopping", a
#   state from which the instance can still be terminated, but patiently waits for one that is "running".
# Why it matters: EC2 forgets a terminated instance after a while. A clean-up that is run again, or runs late,
#   fails just where everything is as it should be.
# Expected: gone counts as terminated, as it counts as deleted.
# Seen:
#   volume_deleted, InvalidVolume.NotFound: success
#   instance_terminated, InvalidInstanceID.NotFound: failure
#   instance_terminated, stopping: failure
#   instance_terminated, running then terminated: success
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq botocore==1.44.5
env -i PATH="$PATH" HOME="$work" "$work/venv/bin/python" - <<'PY'
import sys

import botocore.session
from botocore.exceptions import WaiterError
from botocore.stub import Stubber


def waited(name, operation, *answers):
    client = botocore.session.get_session().create_client(
        "ec2", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    with Stubber(client) as stub:
        for answer in answers:
            if answer.endswith(".NotFound"):
                stub.add_client_error(operation, answer)
            else:
                instances = [{"InstanceId": "i-1", "State": {"Name": answer}}]
                stub.add_response(operation, {"Reservations": [{"Instances": instances}]})
        try:
            client.get_waiter(name).wait(WaiterConfig={"Delay": 0, "MaxAttempts": len(answers)})
            result = "success"
        except WaiterError:
            result = "failure"
    print(f"{name}, {' then '.join(answers)}: {result}")
    return result


seen = [
    waited("volume_deleted", "describe_volumes", "InvalidVolume.NotFound"),
    waited("instance_terminated", "describe_instances", "InvalidInstanceID.NotFound"),
    waited("instance_terminated", "describe_instances", "stopping"),
    waited("instance_terminated", "describe_instances", "running", "terminated"),
]
sys.exit(seen != ["success", "failure", "failure", "success"])
PY
