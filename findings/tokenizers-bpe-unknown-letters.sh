#!/usr/bin/env bash
# tokenizers 0.23.3
#
# What: a BPE model without an unknown token, which is what models.BPE() makes and a training keeps, leaves
#   out a letter that it never saw, and joins what stood left and right of it: trained on whole numbers, it
#   reads "1.5" as "15" and "-7" as "7". WordPiece, WordLevel and Unigram raise an error in the same place.
# Why it matters: a sign, a unit or an accent that the training text lacked is gone from everything that is
#   tokenized later, and nothing in the tokens tells of it. A value that changes is worse than one that is
#   missing. The offsets are wrong with it: those of "7" point at the minus sign.
# Expected: an error, as from the three others.
# Seen:
#   BPE: '1.5' is '15' at [(0, 2)]
#   BPE: '-7' is '7' at [(0, 1)]
#   WordPiece: an error
#   WordLevel: an error
#   Unigram: an error
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq tokenizers==0.23.3
"$work/venv/bin/python" - <<'PY'
import sys

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

bpe = Tokenizer(models.BPE())
bpe.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
bpe.train_from_iterator(["15 15 7 7"], trainers.BpeTrainer(show_progress=False))
seen = []
for text in ("1.5", "-7"):
    encoded = bpe.encode(text)
    seen.append((bpe.decode(encoded.ids), encoded.offsets))
    print(f"BPE: {text!r} is {seen[-1][0]!r} at {seen[-1][1]}")
others = {
    "WordPiece": models.WordPiece({"1": 0, "##5": 1}),
    "WordLevel": models.WordLevel({"1": 0, "5": 1}),
    "Unigram": models.Unigram([("1", -1.0), ("5", -1.0)]),
}
for name, model in others.items():
    try:
        seen.append(Tokenizer(model).encode("1.5").tokens)
    except Exception:
        seen.append("an error")
    print(f"{name}: {seen[-1]}")
sys.exit(seen != [("15", [(0, 2)]), ("7", [(0, 1)]), "an error", "an error", "an error"])
PY
