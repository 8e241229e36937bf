#!/usr/bin/env bash
# tfrecord 1.14.6
#
# What: of a feature with one bytes value tfrecord_loader() gives back those bytes. Of one with two or more it
#   gives an array of numpy's S type, which drops zero bytes at the end of each: b"ab\0\0" comes back as b"ab".
# Why it matters: bytes values are packed numbers, audio or token ids as often as they are text, and many end in
#   zeros. The record is intact; only some of its values, in some records, are short, and nothing is raised.
# Expected: the bytes that were written.
# Seen:
#   one value: b'ab\x00\x00'
#   two values: b'ab', b'abcd'
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq tfrecord==1.14.6
cd "$work"
"$work/venv/bin/python" - <<'PY'
import sys

import tfrecord

writer = tfrecord.TFRecordWriter("data.tfrecord")
writer.write({"one": (b"ab\0\0", "byte"), "two": ([b"ab\0\0", b"abcd"], "byte")})
writer.close()
(read,) = tfrecord.tfrecord_loader("data.tfrecord", None)
two = [bytes(value) for value in read["two"]]
print("one value:", read["one"])
print("two values:", ", ".join(map(repr, two)))
sys.exit((read["one"], two) != (b"ab\0\0", [b"ab", b"abcd"]))
PY
