#!/usr/bin/env bash
# botocore 1.44.5 (its description of the EC2 API, 2016-11-15)
#
# What: EC2 has two fields called Hypervisor. DescribeInstanceTypes says "nitro" of a Nitro type;
#   DescribeInstances says "xen" of an instance of that same type, and cannot say anything else: its
#   enumeration knows "ovm" and "xen" only.
# Why it matters: the names of disks (/dev/nvme1n1 or /dev/xvdf) and whether there is a serial console hang on the
#   hypervisor. Code that asks the running instance is wrong about nearly all of them.
# Expected: the instance's own field tells what it runs on.
# Seen:
#   Instance: ovm, xen. The hypervisor type of the instance. The value xen is used for both Xen and
#     Nitro hypervisors.
#   InstanceTypeInfo: nitro, xen
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq botocore==1.44.5
env -i PATH="$PATH" HOME="$work" "$work/venv/bin/python" - <<'PY'
import re
import sys

import botocore.session

model = botocore.session.get_session().get_service_model("ec2")
instance, kind = (model.shape_for(name).members["Hypervisor"] for name in ("Instance", "InstanceTypeInfo"))
said = re.sub("<[^>]*>", "", instance.documentation)
print(f"Instance: {', '.join(instance.enum)}. {said}")
print(f"InstanceTypeInfo: {', '.join(kind.enum)}")
sys.exit(not ("nitro" not in instance.enum and "nitro" in kind.enum and "both Xen and Nitro" in said))
PY
