#!/usr/bin/env bash
# awkward 2.14.0 (numpy 2.4.6)
#
# What: ak.max() of all values is nan when one of them is, as in NumPy; of the same values along an axis it
#   leaves nan out, and of a row of nan alone it is -inf. ak.argmax() goes by the order: it points at the nan
#   when that comes first, and past it when it comes later. np.max() and np.argmax() of such an array, which
#   awkward answers, do the same. For leaving nan out there is ak.nanmax(), "see also".
# Why it matters: a nan in a loss or a gradient is there to be seen. Per sequence, which is what ragged arrays
#   are for, the largest loss of a run that diverged is a good one, or -inf. min() and argmin() are the same,
#   with inf.
# Expected: nan, with an axis and without.
# Seen:
#   [nan, 1, 2]: max nan, along the axis 2.0; argmax points at nan
#   [1, nan, 2]: max nan, along the axis 2.0; argmax points at 2.0
#   [nan]: max nan, along the axis -inf; argmax points at nan
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq awkward==2.14.0 numpy==2.4.6
"$work/venv/bin/python" -W error - <<'PY'
import sys
from math import nan

import awkward as ak
import numpy as np

seen = []
for row in ([nan, 1, 2], [1, nan, 2], [nan]):
    rows = ak.Array([row])
    (along,) = ak.max(rows, axis=1).to_list()
    (where,) = ak.argmax(rows, axis=1).to_list()
    flat = ak.max(ak.Array(row))
    pointed = ak.Array(row)[where]
    print(f"{row}: max {flat}, along the axis {along}; argmax points at {pointed}")
    seen.append((str(flat), along, str(pointed), float(np.max(rows, axis=1)[0])))
sys.exit(
    seen != [("nan", 2.0, "nan", 2.0), ("nan", 2.0, "2.0", 2.0), ("nan", float("-inf"), "nan", float("-inf"))]
)
PY
