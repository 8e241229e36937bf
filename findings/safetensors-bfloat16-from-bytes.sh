#!/usr/bin/env bash
# safetensors 0.8.0 with numpy 2.4.6 and ml_dtypes 0.6.0
#
# What: safetensors.numpy.save() writes bfloat16 arrays, and safetensors.numpy.load() cannot read those bytes:
#   KeyError: 'BF16'. The same bytes in a file are read by load_file(), but only while something in the process
#   has imported ml_dtypes, which safetensors does not: otherwise it fails with "data type 'bfloat16' not
#   understood". Whether a checkpoint can be read so hangs on an import elsewhere.
# Why it matters: bfloat16 is what most checkpoints are in. load() is for those that come from an object
#   store, an archive or a socket; one finds out when the work is to be resumed.
# Expected: what a module writes it reads, from bytes as from a file.
# Seen:
#   load(save(bfloat16)): KeyError: 'BF16'
#   load_file, ml_dtypes imported: bfloat16
#   load_file, ml_dtypes installed but not imported: TypeError: data type 'bfloat16' not understood
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq safetensors==0.8.0 numpy==2.4.6 ml_dtypes==0.6.0
cd "$work"
bytes=$(venv/bin/python - <<'PY'
import ml_dtypes
import numpy as np
from safetensors.numpy import load, save, save_file

tensors = {"weight": np.ones(3, ml_dtypes.bfloat16)}
save_file(tensors, "weights.safetensors")
try:
    print(load(save(tensors))["weight"].dtype)
except Exception as error:
    print(f"{type(error).__name__}: {error}")
PY
)
read_file='
try:
    print(load_file("weights.safetensors")["weight"].dtype)
except Exception as error:
    print(f"{type(error).__name__}: {error}")'
with=$(venv/bin/python -c "import ml_dtypes; from safetensors.numpy import load_file$read_file")
without=$(venv/bin/python -c "from safetensors.numpy import load_file$read_file")
echo "load(save(bfloat16)): $bytes"
echo "load_file, ml_dtypes imported: $with"
echo "load_file, ml_dtypes installed but not imported: $without"
[[ $bytes == KeyError* && $with == bfloat16 && $without == TypeError* ]]
