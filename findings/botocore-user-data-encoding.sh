#!/usr/bin/env bash
# botocore 1.44.5
#
# What: the same plain text given as UserData is base64-encoded by run_instances and by
#   modify_instance_attribute, and sent as it is by create_launch_template and by request_spot_instances,
#   although EC2 wants base64 from all four. The opposite also holds: what was encoded beforehand, as the last
#   two need it, run_instances encodes a second time.
# Why it matters: a start script that is moved from a launch into a launch template, or from on-demand to a
#   spot request, is no script any more. Nothing on the client's side says so.
# Expected: one client encodes a field of one name always, or never.
# Seen:
#   run_instances: IyEvYmluL3NoCg==
#   modify_instance_attribute: IyEvYmluL3NoCg==
#   create_launch_template: #!/bin/sh
#   request_spot_instances: #!/bin/sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq botocore==1.44.5
env -i PATH="$PATH" HOME="$work" "$work/venv/bin/python" - <<'PY'
import sys
from urllib.parse import parse_qs

import botocore.session

client = botocore.session.get_session().create_client(
    "ec2", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
)
script = "#!/bin/sh\n"


class Enough(Exception):
    """Raised instead of sending."""


def keep(request, **_):
    fields = parse_qs(request.body if isinstance(request.body, str) else request.body.decode())
    raise Enough(next(value[0] for name, value in fields.items() if "UserData" in name))


client.meta.events.register("before-send", keep)
seen = {}
for operation, given in {
    "run_instances": {"ImageId": "ami-1", "MinCount": 1, "MaxCount": 1, "UserData": script},
    "modify_instance_attribute": {"InstanceId": "i-1", "UserData": {"Value": script}},
    "create_launch_template": {"LaunchTemplateName": "one", "LaunchTemplateData": {"UserData": script}},
    "request_spot_instances": {"LaunchSpecification": {"UserData": script}},
}.items():
    try:
        getattr(client, operation)(**given)
    except Enough as sent:
        seen[operation] = str(sent)
    print(f"{operation}: {seen[operation].strip()}")
encoded = "IyEvYmluL3NoCg=="
sys.exit(list(seen.values()) != [encoded, encoded, script, script])
PY
