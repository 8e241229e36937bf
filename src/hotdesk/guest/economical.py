#!/usr/bin/env python3
"""Stops this machine so that it is no longer paid: on Alibaba Cloud a shutdown alone is not enough.

economical.py -h now TEXT   in place of `shutdown`: stop this machine through the cloud; else shut it down

One file, the standard library only. The keys are those of the machine's RAM role, which may stop it and read
and tag it (`hotdesk iam --provider aliyun`). Before it stops, the machine is tagged with the start that it
leaves, so that hotdesk knows that nobody else stopped it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
import urllib.request
import uuid
from urllib.parse import urlencode

IMDS = os.environ.get("HOTDESK_IMDS", "http://100.100.100.200")
ECS = os.environ.get("HOTDESK_ECS", "https://ecs.{}.aliyuncs.com")
OTHER = {"cn-hangzhou": "https://ecs-cn-hangzhou.aliyuncs.com"}  # as the official clients have it
SHUTDOWN = os.environ.get("HOTDESK_SHUTDOWN", "/usr/sbin/shutdown")
TRIES, PAUSE_SECONDS = 5, float(os.environ.get("HOTDESK_PAUSE_SECONDS", "5"))
STOP_SECONDS = float(
    os.environ.get("HOTDESK_STOP_SECONDS", "120")
)  # the cloud's own shutdown comes meanwhile


def metadata(path: str) -> str:
    """What the metadata service says. Raises OSError."""
    ask = "X-aliyun-ecs-metadata-token"
    token = _get("PUT", "/latest/api/token", {f"{ask}-ttl-seconds": "60"})
    return _get("GET", f"/latest/meta-data/{path}", {ask: token})


def _get(method: str, path: str, headers: dict[str, str]) -> str:
    request = urllib.request.Request(IMDS + path, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=2) as answer:
        text: str = answer.read().decode()
        return text


def call(url: str, action: str, parameters: dict[str, str], keys: dict[str, str]) -> dict[str, object]:
    """One signed request (ACS3-HMAC-SHA256). Raises OSError, also for a refusal."""
    body = urlencode(sorted(parameters.items())).encode()
    headers = {
        "host": url.split("://")[1],
        "content-type": "application/x-www-form-urlencoded",
        "x-acs-action": action,
        "x-acs-version": "2014-05-26",
        "x-acs-date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "x-acs-signature-nonce": uuid.uuid4().hex,
        "x-acs-content-sha256": hashlib.sha256(body).hexdigest(),
        "x-acs-accesskey-id": keys["AccessKeyId"],
        "x-acs-security-token": keys["SecurityToken"],
    }
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    text = "\n".join(["POST", "/", "", lines, names, headers["x-acs-content-sha256"]])
    to_sign = "ACS3-HMAC-SHA256\n" + hashlib.sha256(text.encode()).hexdigest()
    sign = hmac.new(keys["AccessKeySecret"].encode(), to_sign.encode(), hashlib.sha256).hexdigest()
    said = f"ACS3-HMAC-SHA256 Credential={keys['AccessKeyId']},SignedHeaders={names},Signature={sign}"
    request = urllib.request.Request(url, body, {**headers, "authorization": said})
    with urllib.request.urlopen(request, timeout=20) as answer:
        told: dict[str, object] = json.load(answer)
        return told


def stop() -> None:
    """Stop this machine in economical mode, tagged if it can be. Raises OSError, KeyError or ValueError."""
    role = metadata("ram/security-credentials/").split()[0]
    keys = json.loads(metadata(f"ram/security-credentials/{role}"))
    region, me = metadata("region-id"), metadata("instance-id")
    url = OTHER.get(region, ECS.format(region)) if "{}" in ECS else ECS
    here = {"RegionId": region}
    try:
        told = call(url, "DescribeInstances", {**here, "InstanceIds": json.dumps([me])}, keys)
        started = told["Instances"]["Instance"][0]["StartTime"]  # type: ignore[index]
        tag = {"Tag.1.Key": "hotdesk:left", "Tag.1.Value": str(started)}
        call(url, "TagResources", {**here, "ResourceType": "instance", "ResourceId.1": me, **tag}, keys)
    except Exception as error:  # it only tells who stopped it: not stopping costs money
        print(f"hotdesk: not tagged: {error}", flush=True)
    asked = {**here, "InstanceId.1": me, "StoppedMode": "StopCharging", "ForceStop": "false"}
    call(url, "StopInstances", asked, keys)


def main(words: list[str]) -> int:
    """Stop through the cloud, which shuts this system down; if that cannot be, shut it down: it costs on."""
    for attempt in range(TRIES):
        try:
            stop()
            time.sleep(STOP_SECONDS)
            break
        except Exception as error:
            print(f"hotdesk: attempt {attempt + 1} to stop without paying: {error}", flush=True)
            time.sleep(PAUSE_SECONDS)
    return subprocess.run([SHUTDOWN, *words], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
