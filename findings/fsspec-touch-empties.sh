#!/usr/bin/env bash
# fsspec 2026.9.0 (its local and its memory file system; that of s3fs 2026.9.0 does the same)
#
# What: touch() on a file that exists empties it. What the program `touch` and pathlib's touch() do, leave the
#   content alone, takes touch(truncate=False), which the file systems in memory and of S3 cannot do.
# Why it matters: touch() marks a result as seen, or keeps it from being expired. Here it deletes the result.
# Expected: the content stays, the time changes.
# Seen:
#   pathlib: b'result'
#   fsspec, file: b''
#   fsspec, memory: b''
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq fsspec==2026.9.0
cd "$work"
"$work/venv/bin/python" - <<'PY'
import sys
from pathlib import Path

import fsspec

path = Path.cwd() / "file"
path.write_bytes(b"result")
path.touch()
seen = [path.read_bytes()]
print(f"pathlib: {seen[-1]}")
for kind in ("file", "memory"):
    files = fsspec.filesystem(kind)
    name = str(path) if kind == "file" else "/file"
    files.pipe_file(name, b"result")
    files.touch(name)
    seen.append(files.cat_file(name))
    print(f"fsspec, {kind}: {seen[-1]}")
sys.exit(seen != [b"result", b"", b""])
PY
