#!/usr/bin/env bash
# alibabacloud-tea-openapi 0.4.6, alibabacloud-ecs20140526 7.11.8 (the official clients of Alibaba Cloud)
#
# What: RuntimeOptions(autoretry=True, max_attempts=3) is accepted by every call and does nothing. A server that
#   answers 503 hears one request, as without it. Only Config.retry_options retries, which has other names.
# Why it matters: the option is on every call's signature and in the clients' documentation, so a program that
#   sets it believes that a passing 503 or a lost connection is asked again.
# Expected: three requests, or an error about the option.
# Seen:
#   without options: 1 request
#   autoretry=True, max_attempts=3: 1 request
#   Config.retry_options: 3 requests
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq alibabacloud-tea-openapi==0.4.6 alibabacloud-ecs20140526==7.11.8 \
  alibabacloud-tea-util==0.3.15 darabonba-core==1.0.9
env -i PATH="$PATH" HOME="$work" "$work/venv/bin/python" - <<'PY'
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from alibabacloud_ecs20140526 import models
from alibabacloud_ecs20140526.client import Client
from alibabacloud_tea_openapi.models import Config
from darabonba.policy.retry import RetryOptions
from darabonba.runtime import RuntimeOptions

heard = 0


class Busy(BaseHTTPRequestHandler):
    def do_POST(self):
        global heard
        heard += 1
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b'{"Code": "ServiceUnavailable", "Message": "try later", "RequestId": "1"}'
        self.send_response(503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Busy)
threading.Thread(target=server.serve_forever, daemon=True).start()


def ask(said, runtime, **more):
    global heard
    heard = 0
    config = Config(access_key_id="a", access_key_secret="b", protocol="HTTP", region_id="cn-hangzhou",
                    endpoint=f"127.0.0.1:{server.server_address[1]}", **more)
    try:
        Client(config).describe_regions_with_options(models.DescribeRegionsRequest(), runtime)
    except Exception:
        pass  # 503, in the end
    print(f"{said}: {heard} request{'s' * (heard != 1)}")
    return heard


again = RetryOptions({"retryable": True, "retryCondition": [
    {"maxAttempts": 3, "errorCode": ["ServiceUnavailable"], "exception": [], "backoff": {"policy": "Fixed", "period": 1}}]})
seen = [
    ask("without options", RuntimeOptions()),
    ask("autoretry=True, max_attempts=3", RuntimeOptions(autoretry=True, max_attempts=3)),
    ask("Config.retry_options", RuntimeOptions(), retry_options=again),
]
sys.exit(seen != [1, 1, 3])
PY
