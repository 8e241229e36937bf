#!/usr/bin/env bash
# ml_dtypes 0.6.0 with numpy 2.4.6
#
# What: the mean of a thousand ones is 0.256 in bfloat16, and 0.0156 in float8_e4m3fn. numpy adds numbers of
#   its own float16 up in wider ones; those of ml_dtypes are added one by one in their own few bits, where
#   256 + 1 is 256 again. The dot product of the same array with itself is right.
# Why it matters: this is the everyday look at weights, activations and losses that came from a GPU. No warning
#   is given, and a mean of numbers around 1 that reads 0.26 looks like a finding about the model.
# Expected: 1 from each, as from float16.
# Seen:
#   float16: mean 1.0, sum 1000.0, dot 1000.0
#   bfloat16: mean 0.255859375, sum 256.0, dot 1000.0
#   float8_e4m3fn: mean 0.015625, sum 16.0, dot 1000.0
#   bfloat16, mean(dtype=float32): 1.0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq ml_dtypes==0.6.0 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import sys

import ml_dtypes
import numpy as np

seen = []
for dtype in (np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn):
    ones = np.ones(1000, dtype)
    seen.append((float(ones.mean()), float(ones.sum()), float(ones @ ones)))
    print("{}: mean {}, sum {}, dot {}".format(np.dtype(dtype), *seen[-1]))
wide = float(np.ones(1000, ml_dtypes.bfloat16).mean(dtype=np.float32))
print(f"bfloat16, mean(dtype=float32): {wide}")
sys.exit(seen != [(1, 1000, 1000), (0.255859375, 256, 1000), (0.015625, 16, 1000)] or wide != 1)
PY
