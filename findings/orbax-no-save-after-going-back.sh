#!/usr/bin/env bash
# orbax-checkpoint 0.12.8 (jax 0.10.2)
#
# What: save(step) writes nothing for a step below the latest one in the folder, and returns False; nothing is
#   raised or logged. So after a restore of an older step no checkpoint is written until training has passed
#   the latest one again, and a restart restores that one: the bad one that one went back from.
# Why it matters: going back to before the loss blew up is what old checkpoints are for. On a machine that is
#   interrupted all that was trained since is lost, and the run comes up with the very state that it was to
#   leave. False is also what every step between two intervals gives, so that no loop looks at it.
# Expected: the step is saved, or an error that says what to delete first.
# Seen:
#   saved 0: True
#   saved 500: True
#   saved 1000: True
#   restored 500
#   saved 600: False
#   saved 700: False
#   latest: 1000
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq orbax-checkpoint==0.12.8 jax==0.10.2 numpy==2.4.6
cd "$work"
JAX_PLATFORMS=cpu "$work/venv/bin/python" - <<'PY' 2>warnings
import os
import sys

import numpy as np
import orbax.checkpoint as ocp

saved = []


def save(manager, step):
    saved.append(manager.save(step, args=ocp.args.StandardSave({"weight": np.full(2, step)})))
    manager.wait_until_finished()
    print(f"saved {step}: {saved[-1]}")


with ocp.CheckpointManager(os.getcwd() + "/run") as manager:
    for step in (0, 500, 1000):
        save(manager, step)
with ocp.CheckpointManager(os.getcwd() + "/run") as manager:
    manager.restore(500, args=ocp.args.StandardRestore())
    print("restored 500")
    for step in (600, 700):
        save(manager, step)
    latest = manager.latest_step()
    print("latest:", latest)
sys.exit((saved, latest) != ([True, True, True, False, False], 1000))
PY
! grep -i -E "skip|not sav|600" "$work/warnings"
