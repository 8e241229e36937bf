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

from hotdesk.guest import cloud_init

LIMIT_BYTES = 32768
USER = "ubuntu"


def render(*, password_hash: str, public_key: str, resumed: bool) -> bytes:
    """The document. Raises `ValueError` if it exceeds 32 KiB. Contains no secret."""
    document = cloud_init.document(password_hash=password_hash, resumed=resumed)
    document["write_files"] = [_packed(file) for file in document["write_files"]]
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


def _packed(file: dict[str, str]) -> dict[str, Any]:
    packed = base64.b64encode(gzip.compress(file["content"].encode(), 9, mtime=0)).decode()
    return {**file, "encoding": "gz+b64", "content": packed}
