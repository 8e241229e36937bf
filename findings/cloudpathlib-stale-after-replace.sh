#!/usr/bin/env bash
# cloudpathlib 0.26.0 (shown against moto 5.2.5)
#
# What: after new.replace(old) a read of "old" through the same client gives the old content, when both happen
#   within one second of the last read, and goes on giving it for as long as the process lives. The store has
#   the new content. The library compares times, which S3 gives in whole seconds, and does not look at the
#   entity tag that changed, nor note that the change was its own.
# Why it matters: write beside, then replace, is the careful way to update a small state file, and a loop that
#   does so reads its own state of the round before.
# Expected: one sees one's own changes.
# Seen:
#   in the store: new
#   read at once: old
#   read 1.5 s later: old
#   read by another client: new
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "cloudpathlib[s3]==0.26.0" boto3==1.44.5 "moto[s3,server]==5.2.5"
env -i PATH="$PATH" HOME="$work" AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b AWS_DEFAULT_REGION=us-east-1 \
  "$work/venv/bin/python" - <<'PY'
import logging
import os
import sys
import time

import boto3
from cloudpathlib import S3Client
from moto.server import ThreadedMotoServer

logging.disable(logging.CRITICAL)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
os.environ["AWS_ENDPOINT_URL"] = "http://{}:{}".format(*server.get_host_and_port())
s3 = boto3.client("s3")
s3.create_bucket(Bucket="bucket")

client = S3Client()
state, beside = (client.CloudPath(f"s3://bucket/{name}") for name in ("state", "beside"))
state.write_text("first")  # whatever is slow the first time is behind us
for _ in range(20):
    time.sleep(1 - time.time() % 1)  # a second begins
    began = int(time.time())
    state.write_text("old")
    state.read_text()
    beside.write_text("new")
    beside.replace(state)
    if int(time.time()) == began:
        break
stored = s3.get_object(Bucket="bucket", Key="state")["Body"].read().decode()
seen = [stored, state.read_text()]
time.sleep(1.5)
seen += [state.read_text(), S3Client().CloudPath("s3://bucket/state").read_text()]
for said, got in zip(
    ("in the store", "read at once", "read 1.5 s later", "read by another client"), seen, strict=True
):
    print(f"{said}: {got}")
server.stop()
sys.exit(seen != ["new", "old", "old", "new"])
PY
