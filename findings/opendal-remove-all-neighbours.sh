#!/usr/bin/env bash
# opendal 0.47.12 (shown against moto 5.2.5)
#
# What: remove_all("run") deletes run1 and run10/x as well in S3 and in memory; in a local folder the same
#   call deletes run/a alone. remove_all("ru"), of which exists() says that it is not there, deletes them too.
# Why it matters: one program for every store is what the library is for. Tried in a folder,
#   remove_all("step1") does what it says; in the bucket it takes step10 to step19 along.
# Expected: "all files and directories at the given path", in every store: what is below run/.
# Seen:
#   fs: exists('ru') False, remove_all('ru') leaves run/a, run1, run10/x, remove_all('run') run1, run10/x
#   memory: exists('ru') False, remove_all('ru') leaves nothing, remove_all('run') nothing
#   s3: exists('ru') False, remove_all('ru') leaves nothing, remove_all('run') nothing
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq opendal==0.47.12 boto3==1.44.5 "moto[s3,server]==5.2.5"
cd "$work"
env -i PATH="$PATH" HOME="$work" AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b AWS_DEFAULT_REGION=us-east-1 \
  "$work/venv/bin/python" - <<'PY'
import os
import subprocess
import sys

import boto3
import opendal

SERVER = """
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("http://{}:{}".format(*server.get_host_and_port()), flush=True)
input()
"""
pipe = subprocess.PIPE
names = ("run/a", "run1", "run10/x")
seen = []
with subprocess.Popen(
    [sys.executable, "-c", SERVER], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL
) as server:
    endpoint = server.stdout.readline().decode().strip()
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="bucket")
    stores = {
        "fs": opendal.Operator("fs", root=os.getcwd() + "/files"),
        "memory": opendal.Operator("memory"),
        "s3": opendal.Operator("s3", bucket="bucket", endpoint=endpoint, region="us-east-1"),
    }
    for store, files in stores.items():
        for name in names:
            files.write(name, b"result")
        there = files.exists("ru")
        left = []
        for prefix in ("ru", "run"):
            for name in names:
                files.write(name, b"result")
            files.remove_all(prefix)
            left.append(", ".join(name for name in names if files.exists(name)) or "nothing")
        print(
            f"{store}: exists('ru') {there}, remove_all('ru') leaves {left[0]}, remove_all('run') {left[1]}"
        )
        seen.append((there, *left))
    server.terminate()
bare = (False, "nothing", "nothing")
sys.exit(seen != [(False, "run/a, run1, run10/x", "run1, run10/x"), bare, bare])
PY
