#!/usr/bin/env bash
# fsspec 2026.9.0 (its memory file system; that of s3fs 2026.9.0 does the same)
#
# What: rm("x[1].pt") deletes x1.pt and keeps x[1].pt, though both exist: a name that is there is still taken for
#   a pattern. cat() reads the other file as well; exists(), open() and rm_file() take the name as it is. The
#   local file system of the same library deletes x[1].pt, so a test in a folder shows nothing of this.
# Why it matters: names with brackets come from settings (layers[0]) and from browsers that count downloads.
#   Code that checks with exists() and then calls rm() removes what it never looked at.
# Expected: a file of just that name is the one that is meant, in every file system.
# Seen:
#   file: exists('x[1].pt') True, after rm('x[1].pt'): x1.pt
#   memory: exists('x[1].pt') True, after rm('x[1].pt'): x[1].pt
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq fsspec==2026.9.0
mkdir "$work/files" && cd "$work/files"
"$work/venv/bin/python" - <<'PY'
import os
import sys

import fsspec

seen = []
for kind, folder in {"file": os.getcwd(), "memory": "/files"}.items():
    files = fsspec.filesystem(kind)
    for name in ("x1.pt", "x[1].pt"):
        files.pipe_file(f"{folder}/{name}", b"result")
    named = f"{folder}/x[1].pt"
    there = files.exists(named)
    files.rm(named)
    left = [os.path.basename(path) for path in files.ls(folder, detail=False)]
    print(f"{kind}: exists('x[1].pt') {there}, after rm('x[1].pt'): {', '.join(left)}")
    seen.append((there, left))
sys.exit(seen != [(True, ["x1.pt"]), (True, ["x[1].pt"])])
PY
