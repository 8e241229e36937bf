#!/usr/bin/env bash
# numpy 2.4.6 with ml_dtypes 0.6.0
#
# What: np.save() and np.savez() take an array of bfloat16 or of float8 without a word. What np.load() gives back
#   of bfloat16 is of type V2, raw bytes that no arithmetic works on; of float8_e4m3fn and of int4 it is V1, so
#   nothing in the file tells one from the other; and a file of float8_e5m2 cannot be loaded at all. That
#   ml_dtypes is imported by the reader as well changes none of it.
# Why it matters: whoever opens the file has to know by other means what the bytes were. Of two 8-bit types
#   the wrong one gives plausible numbers, and the file of the third takes work to get at.
# Expected: the type comes back, or saving is refused.
# Seen:
#   bfloat16: saved as '<V2', loaded as |V2
#   float8_e4m3fn: saved as '<V1', loaded as |V1
#   int4: saved as '<V1', loaded as |V1
#   float8_e5m2: saved as '<f1', ValueError: descr is not a valid dtype descriptor: '<f1'
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq numpy==2.4.6 ml_dtypes==0.6.0
"$work/venv/bin/python" - <<'PY'
import io
import re
import sys

import ml_dtypes
import numpy as np

seen = []
for dtype in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.int4, ml_dtypes.float8_e5m2):
    file = io.BytesIO()
    np.save(file, np.ones(3, dtype))
    header = re.search(rb"'descr': ('[^']*')", file.getvalue())[1].decode()
    file.seek(0)
    try:
        seen.append(np.load(file).dtype.str)
        said = f"loaded as {seen[-1]}"
    except ValueError as error:
        seen.append("ValueError")
        said = f"ValueError: {error}"
    print(f"{np.dtype(dtype)}: saved as {header}, {said}")
sys.exit(seen != ["|V2", "|V1", "|V1", "ValueError"])
PY
