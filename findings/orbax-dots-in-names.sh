#!/usr/bin/env bash
# orbax-checkpoint 0.12.8 (jax 0.10.2)
#
# What: a tree has ones as {"layer": {"w": …}} and, beside it, zeros as "layer.w". Restored, both places hold
#   the same: ones in one run, zeros in the next. The names of the levels are joined with a dot into one,
#   under which both are written, side by side. A slash in a name does no harm.
# Why it matters: flat names with dots come from other frameworks, and stand beside nested ones in a tree that
#   holds a converted model and the new one. The checkpoint has every key and every shape; one set of weights
#   is the other's.
# Expected: two values, or an error while saving.
# Seen (or zeros in both places):
#   saved:    layer: w: [1. 1.], layer.w: [0. 0.]
#   restored: layer: w: [1. 1.], layer.w: [1. 1.]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq orbax-checkpoint==0.12.8 jax==0.10.2 numpy==2.4.6
cd "$work"
JAX_PLATFORMS=cpu "$work/venv/bin/python" - <<'PY'
import os
import sys

import numpy as np
import orbax.checkpoint as ocp


def said(tree, dot="."):
    return f"layer: w: {tree['layer']['w']}, layer{dot}w: {tree[f'layer{dot}w']}"


seen = []
for dot in (".", "/"):
    tree = {"layer": {"w": np.ones(2)}, f"layer{dot}w": np.zeros(2)}
    with ocp.StandardCheckpointer() as checkpointer:
        folder = f"{os.getcwd()}/{len(seen)}"
        checkpointer.save(folder, tree)
        checkpointer.wait_until_finished()
        seen.append(said(checkpointer.restore(folder, tree), dot))
    if dot == ".":
        print("saved:   ", said(tree))
        print("restored:", seen[0])
either = ["layer: w: [0. 0.], layer.w: [0. 0.]", "layer: w: [1. 1.], layer.w: [1. 1.]"]
sys.exit(seen[0] not in either or seen[1] != "layer: w: [1. 1.], layer/w: [0. 0.]")
PY
