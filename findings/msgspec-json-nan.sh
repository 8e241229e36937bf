#!/usr/bin/env bash
# msgspec 0.22.0
#
# What: msgspec.json writes nan and infinity as null, and refuses to read that null where the type says float:
#   a struct that was encoded without complaint cannot be decoded as what it is. Without a type, or as
#   `float | None`, infinity comes back as None. msgspec.msgpack keeps all of them.
# Why it matters: a loss that diverges is the one line of a log that people look for. It is the line at which
#   reading the log fails, and it no longer says whether the loss was nan or infinite.
# Expected: an error while encoding, or NaN as the standard library writes it.
# Seen:
#   json.encode: {"loss":null}
#   json.decode: ValidationError: Expected `float`, got `null` - at `$.loss`
#   msgpack: Step(loss=nan)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq msgspec==0.22.0
"$work/venv/bin/python" - <<'PY'
import sys

import msgspec


class Step(msgspec.Struct):
    loss: float


step = Step(float("nan"))
written = msgspec.json.encode(step)
print("json.encode:", written.decode())
refused = False
try:
    print("json.decode:", msgspec.json.decode(written, type=Step))
except msgspec.ValidationError as error:
    refused = True
    print(f"json.decode: ValidationError: {error}")
packed = msgspec.msgpack.decode(msgspec.msgpack.encode(step), type=Step)
print("msgpack:", packed)
sys.exit(not (written == msgspec.json.encode(Step(float("inf"))) and refused and packed.loss != packed.loss))
PY
