#!/usr/bin/env bash
# gensim 4.4.0 (numpy 2.4.6)
#
# What: save_word2vec_format(binary=True) writes a key with a space as it is, and load_word2vec_format() ends
#   the key at the space and reads the rest of it as numbers: "new york" comes back as "new" with a vector
#   that was never there, and the next key is wrong too. Nothing is raised. In the text form the same vectors
#   raise an error while reading; save() and load() keep them.
# Why it matters: keys with spaces are names of things, or phrases joined with a space. The file has the right
#   length, loads, and gives noise for such a name; a spot check of other keys shows nothing.
# Expected: an error while writing what cannot be read back.
# Seen:
#   written: 'a' [0.0, 1.0], 'new york' [2.0, 3.0], 'b' [4.0, 5.0]
#   binary: 'a' [0.0, 1.0], 'new' [2.930864630823717e+26, 4.484155085839415e-44], '@\x00\x00@@b' [4.0, 5.0]
#   text: ValueError
#   save and load: 'a' [0.0, 1.0], 'new york' [2.0, 3.0], 'b' [4.0, 5.0]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq gensim==4.4.0 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PY'
import sys

import numpy as np
from gensim.models import KeyedVectors

vectors = KeyedVectors(2)
vectors.add_vectors(["a", "new york", "b"], np.arange(6, dtype=np.float32).reshape(3, 2))


def said(read):
    return ", ".join(f"{key!r} {read[key].tolist()}" for key in read.index_to_key)


print("written:", said(vectors))
vectors.save_word2vec_format("vectors.bin", binary=True)
binary = said(KeyedVectors.load_word2vec_format("vectors.bin", binary=True))
print("binary:", binary)
vectors.save_word2vec_format("vectors.txt")
try:
    KeyedVectors.load_word2vec_format("vectors.txt")
    text = "no error"
except ValueError:
    text = "ValueError"
print("text:", text)
vectors.save("vectors.kv")
kept = said(KeyedVectors.load("vectors.kv"))
print("save and load:", kept)
sys.exit(
    "'new york'" in binary or "'new' [2.93" not in binary or text != "ValueError" or kept != said(vectors)
)
PY
