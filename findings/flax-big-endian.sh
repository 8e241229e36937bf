#!/usr/bin/env bash
# flax 0.12.8 (jax 0.10.2, numpy 2.4.6)
#
# What: flax.serialization.to_bytes() writes a big-endian array's bytes as they lie and its type without the
#   byte order; from_bytes() reads them in the machine's order. 1, 2, 3 come back as 16777216, 33554432,
#   50331648, in the right shape and type. Nothing is raised.
# Why it matters: arrays that were read from network formats, FITS images or MNIST's own files are big-endian,
#   and NumPy computes with them as with any other. Statistics of the data that are stored beside the weights
#   are then numbers of no meaning after a restart, and only then.
# Expected: the values that were saved, or an error while saving, as for text.
# Seen:
#   saved: [1, 2, 3], int32
#   restored: [16777216, 33554432, 50331648], int32
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq flax==0.12.8 jax==0.10.2 numpy==2.4.6
JAX_PLATFORMS=cpu "$work/venv/bin/python" - <<'PY'
import sys

import numpy as np
from flax import serialization

saved = {"mean": np.array([1, 2, 3], dtype=">i4")}
restored = serialization.from_bytes(saved, serialization.to_bytes(saved))
for said, tree in (("saved", saved), ("restored", restored)):
    print(f"{said}: {tree['mean'].tolist()}, {tree['mean'].dtype.name}")
wrong = saved["mean"].byteswap().tolist()
sys.exit(sys.byteorder != "little" or restored["mean"].tolist() != wrong)
PY
