#!/usr/bin/env bash
# s3fs 2026.9.0 (aiobotocore 3.10.0, shown against moto 5.2.5)
#
# What: where a bucket holds both "run" and "run/log", mv("bucket/run", "bucket/moved") copies nothing, deletes
#   "run" and raises nothing: the object is gone. The copying takes the name for a folder, which it leaves out,
#   and the deleting takes it for the object.
# Why it matters: S3 has no folders, and tools write both: a checkpoint and, below its name, its parts. A move
#   is what one trusts with the only copy.
# Expected: the object is moved, or nothing happens at all.
# Seen:
#   before: run, run/log
#   after mv('bucket/run', 'bucket/moved'): run/log
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq s3fs==2026.9.0 fsspec==2026.9.0 aiobotocore==3.10.0 boto3==1.43.117 \
  "moto[s3,server]==5.2.5"
env -i PATH="$PATH" HOME="$work" AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b AWS_DEFAULT_REGION=us-east-1 \
  "$work/venv/bin/python" - <<'PY'
import logging
import os
import sys

import boto3
import s3fs
from moto.server import ThreadedMotoServer

logging.disable(logging.CRITICAL)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
os.environ["AWS_ENDPOINT_URL"] = "http://{}:{}".format(*server.get_host_and_port())
s3 = boto3.client("s3")
s3.create_bucket(Bucket="bucket")


def names():
    return [one["Key"] for one in s3.list_objects_v2(Bucket="bucket").get("Contents", [])]


for name in ("run", "run/log"):
    s3.put_object(Bucket="bucket", Key=name, Body=b"result")
print("before:", ", ".join(names()))
s3fs.S3FileSystem().mv("bucket/run", "bucket/moved")
print("after mv('bucket/run', 'bucket/moved'):", ", ".join(names()))
left = names()
server.stop()
sys.exit(left != ["run/log"])
PY
