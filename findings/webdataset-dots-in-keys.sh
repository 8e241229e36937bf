#!/usr/bin/env bash
# webdataset 1.0.2
#
# What: TarWriter takes a key with a dot and reading splits it there: the samples "lr_0.1" and "lr_0.3" come
#   back as one, "lr_0", whose fields are called "1.txt" and "3.txt". Nothing is raised by either side. A dot
#   in the folder part of a key ("v1.0/a") is left alone.
# Why it matters: keys are made of time stamps, versions, scores and file names. A whole shard can become a
#   few large samples, and a loop that asks for sample["txt"] finds none.
# Expected: what the library's own writer writes its reader reads, or the writer refuses the key.
# Seen:
#   written: lr_0.1 {txt}, lr_0.3 {txt}, v1.0/a {txt}
#   read: lr_0 {1.txt, 3.txt}, v1.0/a {txt}
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq webdataset==1.0.2
cd "$work"
"$work/venv/bin/python" - <<'PY'
import sys

import webdataset

given = ["lr_0.1", "lr_0.3", "v1.0/a"]
with webdataset.TarWriter("shard.tar") as shard:
    for key in given:
        shard.write({"__key__": key, "txt": key})
print("written:", ", ".join(f"{key} {{txt}}" for key in given))
read = {
    sample["__key__"]: [name for name in sample if not name.startswith("__")]
    for sample in webdataset.WebDataset("shard.tar", shardshuffle=False)
}
print("read:", ", ".join(f"{key} {{{', '.join(names)}}}" for key, names in read.items()))
sys.exit(read != {"lr_0": ["1.txt", "3.txt"], "v1.0/a": ["txt"]})
PY
