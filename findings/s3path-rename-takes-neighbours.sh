#!/usr/bin/env bash
# s3path 0.6.5 (shown against moto 5.2.5)
#
# What: rename() of the folder "run" also renames run1 and run10/x, whose names only begin the same, and
#   within the names it replaces every "run", not only the first: run/logs/run.txt becomes old/logs/old.txt.
#   rmdir() of "run" deletes run1 and run10/x too, though they lie in no folder of that name; that "run" is
#   full does not stop it, though its documentation asks for an empty one.
# Why it matters: runs and checkpoints are numbered. Tidying up step1 takes step10 to step19 along, and files
#   that name their own folder, as exports do, come out under names that nobody chose.
# Expected: what is below run/, and only the start of its names; of rmdir() an error, as from pathlib.
# Seen:
#   before: run/a, run/logs/run.txt, run1, run10/x
#   after rename('run', 'old'): old/a, old/logs/old.txt, old1, old10/x
#   after rmdir('run'): nothing
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq s3path==0.6.5 boto3==1.44.5 "moto[s3,server]==5.2.5"
env -i PATH="$PATH" HOME="$work" AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b AWS_DEFAULT_REGION=us-east-1 \
  "$work/venv/bin/python" - <<'PY'
import logging
import os
import sys

import boto3
from moto.server import ThreadedMotoServer
from s3path import S3Path

logging.disable(logging.CRITICAL)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
os.environ["AWS_ENDPOINT_URL"] = "http://{}:{}".format(*server.get_host_and_port())
s3 = boto3.client("s3")
for bucket in ("renamed", "removed"):
    s3.create_bucket(Bucket=bucket)
    for name in ("run/a", "run/logs/run.txt", "run1", "run10/x"):
        s3.put_object(Bucket=bucket, Key=name, Body=b"result")


def names(bucket):
    return ", ".join(one["Key"] for one in s3.list_objects_v2(Bucket=bucket).get("Contents", [])) or "nothing"


print("before:", names("renamed"))
S3Path("/renamed/run").rename(S3Path("/renamed/old"))
print("after rename('run', 'old'):", names("renamed"))
S3Path("/removed/run").rmdir()
print("after rmdir('run'):", names("removed"))
seen = (names("renamed"), names("removed"))
server.stop()
sys.exit(seen != ("old/a, old/logs/old.txt, old1, old10/x", "nothing"))
PY
