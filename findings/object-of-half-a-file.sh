#!/usr/bin/env bash
# s3fs 2026.9.0, cloudpathlib 0.26.0, smart_open 9.0.2 (shown against moto 5.2.5)
#
# What: an exception within `with open(..., "wb")` does not keep s3fs and cloudpathlib from uploading what was
#   written before it. smart_open gives the upload up, and no object appears.
# Why it matters: an object of S3 appears at once and whole, so that a checkpoint's being there is taken to
#   mean that it is complete. Whether it does depends on which of three interchangeable libraries wrote it.
#   An older, complete object of that name is replaced by the half one.
# Expected: no object of half a file; an upload needs a last call, and there was none.
# Seen:
#   s3fs: b'half'
#   cloudpathlib: b'half'
#   smart_open: no object
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq s3fs==2026.9.0 fsspec==2026.9.0 aiobotocore==3.10.0 boto3==1.43.117 \
  "cloudpathlib[s3]==0.26.0" "smart_open[s3]==9.0.2" "moto[s3,server]==5.2.5"
env -i PATH="$PATH" HOME="$work" AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b AWS_DEFAULT_REGION=us-east-1 \
  "$work/venv/bin/python" - <<'PY'
import logging
import os
import sys

import boto3
import s3fs
import smart_open
from cloudpathlib import S3Client
from moto.server import ThreadedMotoServer

logging.disable(logging.CRITICAL)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
os.environ["AWS_ENDPOINT_URL"] = "http://{}:{}".format(*server.get_host_and_port())
s3 = boto3.client("s3")
s3.create_bucket(Bucket="bucket")

opened = {
    "s3fs": lambda name: s3fs.S3FileSystem().open(f"bucket/{name}", "wb"),
    "cloudpathlib": lambda name: S3Client().CloudPath(f"s3://bucket/{name}").open("wb"),
    "smart_open": lambda name: smart_open.open(f"s3://bucket/{name}", "wb"),
}
seen = []
for name, to_write in opened.items():
    try:
        with to_write(name) as file:
            file.write(b"half")
            raise InterruptedError
    except InterruptedError:
        pass
    try:
        seen.append(s3.get_object(Bucket="bucket", Key=name)["Body"].read())
    except s3.exceptions.NoSuchKey:
        seen.append(None)
    print(f"{name}: {seen[-1] or 'no object'}")
server.stop()
sys.exit(seen != [b"half", b"half", None])
PY
