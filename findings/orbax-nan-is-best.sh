#!/usr/bin/env bash
# orbax-checkpoint 0.12.8 (jax 0.10.2)
#
# What: a CheckpointManager that keeps the two best checkpoints by loss takes a loss of nan for the best. Each
#   nan pushes a good checkpoint out, until both that are left are of nan; best_step() names the last of them.
#   With best_mode="max" it is the same.
# Why it matters: a run that diverges goes on saving until somebody looks. "Keep the best" is what one sets so
#   that there is something to go back to, and it deletes just that. Nothing is raised or said.
# Expected: what is no number is better than nothing at most.
# Seen (best_fn gives the loss, best_mode="min", max_to_keep=2):
#   step 0, loss 0.5: kept 0; best 0
#   step 1, loss 0.4: kept 0, 1; best 1
#   step 2, loss nan: kept 1, 2; best 2
#   step 3, loss nan: kept 2, 3; best 3
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

seen = {}
for mode in ("min", "max"):
    options = ocp.CheckpointManagerOptions(
        max_to_keep=2, best_fn=lambda metrics: metrics["loss"], best_mode=mode
    )
    with ocp.CheckpointManager(f"{os.getcwd()}/{mode}", options=options) as manager:
        for step, loss in enumerate([0.5, 0.4, float("nan"), float("nan")]):
            manager.save(step, args=ocp.args.StandardSave({"weight": np.ones(2)}), metrics={"loss": loss})
            manager.wait_until_finished()
            kept = manager.all_steps()
            if mode == "min":
                print(
                    f"step {step}, loss {loss}: kept {', '.join(map(str, kept))}; best {manager.best_step()}"
                )
        seen[mode] = (kept, manager.best_step())
sys.exit(seen != {"min": ([2, 3], 3), "max": ([2, 3], 3)})
PY
