#!/usr/bin/env bash
# botocore 1.44.5
#
# What: max_attempts = 2 is two requests in the configuration file and in AWS_MAX_ATTEMPTS, and three in
#   Config(retries={"max_attempts": 2}): there the same name counts the retries after the first request.
#   (total_max_attempts is what Config calls the other meaning.)
# Why it matters: moving a setting from the environment into code adds a request to each call. Set to 1 so
#   that a call which costs money is sent once, it is sent twice.
# Expected: one name, one number.
# Seen:
#   AWS_MAX_ATTEMPTS=2: 2 requests
#   max_attempts = 2 in the file: 2 requests
#   Config(retries={'max_attempts': 2}): 3 requests
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq botocore==1.44.5
printf '[profile two]\nmax_attempts = 2\n' >"$work/config"
env -i PATH="$PATH" HOME="$work" AWS_CONFIG_FILE="$work/config" AWS_RETRY_MODE=standard \
  "$work/venv/bin/python" - <<'PY'
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

requests = 0


class Busy(BaseHTTPRequestHandler):
    """Answers 503 to everything."""

    def do_POST(self):
        global requests
        requests += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Busy)
threading.Thread(target=server.serve_forever, daemon=True).start()


def asked(said, profile=None, config=None):
    global requests
    requests = 0
    client = botocore.session.Session(profile=profile).create_client(
        "ec2",
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        endpoint_url=f"http://127.0.0.1:{server.server_port}",
        config=config,
    )
    try:
        client.describe_regions()
    except ClientError:
        pass
    print(f"{said}: {requests} requests")
    return requests


os.environ["AWS_MAX_ATTEMPTS"] = "2"
seen = [asked("AWS_MAX_ATTEMPTS=2")]
del os.environ["AWS_MAX_ATTEMPTS"]
seen.append(asked("max_attempts = 2 in the file", profile="two"))
seen.append(asked("Config(retries={'max_attempts': 2})", config=Config(retries={"max_attempts": 2})))
sys.exit(seen != [2, 2, 3])
PY
