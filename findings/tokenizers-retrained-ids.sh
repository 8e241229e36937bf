#!/usr/bin/env bash
# tokenizers 0.23.3
#
# What: a tokenizer that is trained a second time keeps the special tokens of the first training under their
#   old ids, which the new vocabulary gives out again: "[END]" and "b" both are 1. Saved and loaded, the same
#   tokenizer has other ids: "[END]" has moved behind the vocabulary. Nothing is raised or said at any step.
# Why it matters: training again on more text is one call on the object at hand. What is tokenized in that
#   session disagrees with every later one that loads the file, so that a model is trained with one meaning of
#   the ids and served with another.
# Expected: two tokens have two ids; what is loaded is what was saved.
# Seen:
#   trained:       [PAD] 0, [END] 1, a 2, b 3
#   trained again: [PAD] 0, [END] 1, a 0, b 1
#   loaded:        [PAD] 2, [END] 3, a 0, b 1
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq tokenizers==0.23.3
cd "$work"
"$work/venv/bin/python" - <<'PY'
import sys

from tokenizers import Tokenizer, models, pre_tokenizers, trainers


def ids(tokenizer):
    return ", ".join(f"{token} {tokenizer.token_to_id(token)}" for token in ("[PAD]", "[END]", "a", "b"))


tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
first = trainers.BpeTrainer(special_tokens=["[PAD]", "[END]"], show_progress=False)
tokenizer.train_from_iterator(["a b"], first)
seen = [ids(tokenizer)]
tokenizer.train_from_iterator(["a b"], trainers.BpeTrainer(show_progress=False))
seen.append(ids(tokenizer))
tokenizer.save("tokenizer.json")
seen.append(ids(Tokenizer.from_file("tokenizer.json")))
for said, got in zip(("trained:      ", "trained again:", "loaded:       "), seen, strict=True):
    print(said, got)
expected = ["[PAD] 0, [END] 1, a 2, b 3", "[PAD] 0, [END] 1, a 0, b 1", "[PAD] 2, [END] 3, a 0, b 1"]
sys.exit(seen != expected)
PY
