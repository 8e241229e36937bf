#!/usr/bin/env bash
# botocore 1.44.5
#
# What: of four ways in which a credential_process can fail, one raises an error of botocore. The others let
#   through what happened inside: FileNotFoundError (the program is not installed), json.JSONDecodeError (it
#   printed something else), RuntimeError (what it printed had run out).
# Why it matters: a program that catches BotoCoreError, the base class of the client's own errors, shows a
#   traceback of the JSON parser to somebody who only has to sign in again. A FileNotFoundError may even be
#   taken for the program's own missing file.
# Expected: CredentialRetrievalError for all four.
# Seen:
#   exits 1: CredentialRetrievalError (BotoCoreError)
#   is missing: FileNotFoundError
#   prints no JSON: JSONDecodeError
#   prints what has expired: RuntimeError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq botocore==1.44.5
cat >"$work/config" <<CONFIG
[profile exits]
credential_process = false
[profile missing]
credential_process = $work/absent
[profile text]
credential_process = echo please sign in
[profile expired]
credential_process = cat $work/expired.json
CONFIG
cat >"$work/expired.json" <<'JSON'
{"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b", "SessionToken": "c", "Expiration": "2020-01-01T00:00:00Z"}
JSON
env -i PATH="$PATH" HOME="$work" AWS_CONFIG_FILE="$work/config" "$work/venv/bin/python" - <<'PY'
import sys

import botocore.session
from botocore.exceptions import BotoCoreError

seen = []
for profile, said in {
    "exits": "exits 1",
    "missing": "is missing",
    "text": "prints no JSON",
    "expired": "prints what has expired",
}.items():
    try:
        botocore.session.Session(profile=profile).get_credentials().get_frozen_credentials()
        name, own = "no error", False
    except Exception as error:
        name, own = type(error).__name__, isinstance(error, BotoCoreError)
    print(f"{said}: {name}{' (BotoCoreError)' if own else ''}")
    seen.append((name, own))
sys.exit(
    seen
    != [
        ("CredentialRetrievalError", True),
        ("FileNotFoundError", False),
        ("JSONDecodeError", False),
        ("RuntimeError", False),
    ]
)
PY
