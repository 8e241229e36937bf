"""Render the user data of a machine whose cloud takes it as plain text: each file packed, the whole not.

Alibaba Cloud takes 32 KB before base64, and documents no gzip of the whole (ECS API reference, RunInstances);
cloud-init unpacks each file (`encoding: gz+b64`). It makes the user that logs in, with the desk's public key:
the cloud knows no ed25519 key pairs, and its images have different users.
"""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

from hotdesk.core.mirrors import NO_MIRRORS, Mirrors
from hotdesk.guest import cloud_init
from hotdesk.guest.one_file import source

LIMIT_BYTES = 32768
USER = "ubuntu"


#: The agent's metadata service is another one here, which tells only when a spot machine is taken.
_AGENT = """\
[Service]
Environment=HOTDESK_IMDS=http://100.100.100.200 HOTDESK_TOKEN=X-aliyun-ecs-metadata-token
Environment=HOTDESK_NOTICE=instance/spot/termination-time HOTDESK_TAKER=ALIYUN
"""
#: The watch that ends an idle desk finds this `shutdown` first.
_IDLE = """\
[Service]
Environment=PATH=/opt/hotdesk/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
"""
_SHUTDOWN = '#!/bin/sh\nexec /usr/bin/python3 /opt/hotdesk/economical.py "$@"\n'


def render(
    *,
    password_hash: str,
    public_key: str,
    resumed: bool,
    role: bool = False,
    mirrors: Mirrors = NO_MIRRORS,
) -> bytes:
    """The document. Raises `ValueError` if it exceeds 32 KiB. Contains no secret.

    `role`: the machine has a RAM role with which it may stop itself without being paid any more.
    """
    document = cloud_init.document(password_hash=password_hash, resumed=resumed, mirrors=mirrors)
    units = "/etc/systemd/system/hotdesk"
    files = [*document["write_files"], _file(f"{units}-agent.service.d/aliyun.conf", _AGENT)]
    if role:
        files += [
            _file("/opt/hotdesk/economical.py", source("economical"), "0755"),
            _file("/opt/hotdesk/bin/shutdown", _SHUTDOWN, "0755"),
            _file(f"{units}-idle.service.d/aliyun.conf", _IDLE),
        ]
    document["write_files"] = [_packed(file) for file in files]
    document["users"] = [
        {
            "name": USER,
            "uid": 1000,
            "shell": "/bin/bash",
            "groups": "sudo",
            "sudo": "ALL=(ALL) NOPASSWD:ALL",
            "lock_passwd": True,
            "ssh_authorized_keys": [public_key],
        }
    ]
    made = f"#cloud-config\n{json.dumps(document, separators=(',', ':'))}\n".encode()
    if len(made) > LIMIT_BYTES:
        raise ValueError(f"the user data is {len(made)} bytes, and Alibaba Cloud takes {LIMIT_BYTES}")
    return made


def _file(path: str, text: str, permissions: str = "0644") -> dict[str, str]:
    return {"path": path, "owner": "root:root", "permissions": permissions, "content": text}


def _packed(file: dict[str, str]) -> dict[str, Any]:
    packed = base64.b64encode(gzip.compress(file["content"].encode(), 9, mtime=0)).decode()
    return {**file, "encoding": "gz+b64", "content": packed}
