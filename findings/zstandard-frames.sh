#!/usr/bin/env bash
# zstandard 0.25.0 (python-zstandard)
#
# What: a .zst file of two frames is read to its end by half of the library's readers, and by the other half to
#   the end of the first frame, without an error: stream_reader(), copy_stream() and zstandard.open() give both,
#   decompress(), decompressobj() and read_to_iter() give the first.
# Why it matters: such files are ordinary. Appending to a compressed log, `cat a.zst b.zst` and parallel
#   compressors make them, and the zstd program reads them whole. Going from a stream to the one-call form for
#   speed cuts a data set to its first part.
# Expected: all of it from every reader, or an error about what is left.
# Seen:
#   stream_reader: b'onetwo'
#   copy_stream: b'onetwo'
#   open: b'onetwo'
#   decompress: b'one'
#   decompressobj: b'one'
#   read_to_iter: b'one'
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq zstandard==0.25.0
"$work/venv/bin/python" - <<'PY'
import io
import sys

import zstandard

data = zstandard.compress(b"one") + zstandard.compress(b"two")
reader = zstandard.ZstdDecompressor()
copied = io.BytesIO()
reader.copy_stream(io.BytesIO(data), copied)
seen = {
    "stream_reader": reader.stream_reader(io.BytesIO(data)).read(),
    "copy_stream": copied.getvalue(),
    "open": zstandard.open(io.BytesIO(data)).read(),
    "decompress": reader.decompress(data),
    "decompressobj": reader.decompressobj().decompress(data),
    "read_to_iter": b"".join(reader.read_to_iter(io.BytesIO(data))),
}
for name, got in seen.items():
    print(f"{name}: {got}")
sys.exit(list(seen.values()) != [b"onetwo"] * 3 + [b"one"] * 3)
PY
