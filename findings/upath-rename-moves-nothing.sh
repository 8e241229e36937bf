#!/usr/bin/env bash
# universal_pathlib 0.3.10 with s3fs 2026.9.0 (aiobotocore 3.10.0, shown against moto 5.2.5)
#
# What: rename() of a folder in S3 moves nothing, raises nothing and returns the new path, at which there is
#   nothing. Of a local folder, as UPath("file://…"), the same call moves it, and in S3 move() does.
# Why it matters: "write into run.part, rename to run when it is whole" is how a result is published. Tried on
#   disk it works; in the bucket the result never appears, and the next step that clears *.part deletes it.
# Expected: the folder is moved, or an error.
# Seen:
#   file, rename('run', 'old'): returned old, which exists: True; there is old/a
#   s3, rename('run', 'old'): returned old, which exists: False; there is run/a
#   s3, move('run', 'old'): returned old, which exists: True; there is old/a
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq universal_pathlib==0.3.10 s3fs==2026.9.0 fsspec==2026.9.0 aiobotocore==3.10.0 \
  boto3==1.43.117 "moto[s3,server]==5.2.5"
mkdir "$work/files"
cd "$work/files"
env -i PATH="$PATH" HOME="$work" AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b AWS_DEFAULT_REGION=us-east-1 \
  "$work/venv/bin/python" - <<'PY'
import logging
import os
import sys

import boto3
from moto.server import ThreadedMotoServer
from upath import UPath

logging.disable(logging.CRITICAL)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
os.environ["AWS_ENDPOINT_URL"] = "http://{}:{}".format(*server.get_host_and_port())
s3 = boto3.client("s3")
seen = []
for verb, place in (("rename", f"file://{os.getcwd()}"), ("rename", "s3://renamed"), ("move", "s3://moved")):
    root = UPath(place)
    if root.protocol == "s3":
        s3.create_bucket(Bucket=place[5:])
    else:
        (root / "run").mkdir()
    (root / "run" / "a").write_text("result")
    new = getattr(root / "run", verb)(root / "old")
    left = [name for name in ("run/a", "old/a") if (root / name).exists()]
    seen.append((new.name, new.exists(), left))
    print(
        f"{root.protocol}, {verb}('run', 'old'): returned {new.name}, which exists: {new.exists()}; "
        f"there is {', '.join(left)}"
    )
server.stop()
sys.exit(seen != [("old", True, ["old/a"]), ("old", False, ["run/a"]), ("old", True, ["old/a"])])
PY
