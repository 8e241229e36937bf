#!/usr/bin/env bash
# gguf 0.19.0
#
# What: GGUFWriter.add_string(key, "") and add_array(key, []) write nothing: the key is not in the file. A
#   False, a 0 and a 0.0 are written. Nothing is raised or logged.
# Why it matters: "no chat template" and "template unknown" differ, and a reader that asks for the key finds
#   it in one model and a KeyError in the next. A copy of a model's metadata through this writer is not one:
#   empty values of the original are gone.
# Expected: the key with an empty value; the format has both.
# Seen:
#   written: name, tags, flag, count
#   read back: flag, count
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq gguf==0.19.0
cd "$work"
"$work/venv/bin/python" - <<'PY'
import sys

import gguf
import numpy as np

writer = gguf.GGUFWriter("model.gguf", "llama")
writer.add_string("x.name", "")
writer.add_array("x.tags", [])
writer.add_bool("x.flag", False)
writer.add_uint32("x.count", 0)
writer.add_tensor("weight", np.ones(4, np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
found = [name[2:] for name in gguf.GGUFReader("model.gguf").fields if name.startswith("x.")]
print("written: name, tags, flag, count")
print("read back:", ", ".join(found))
sys.exit(found != ["flag", "count"])
PY
