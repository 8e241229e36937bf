#!/usr/bin/env bash
# tokenizers 0.23.3
#
# What: add_tokens() numbers new tokens from the count of the vocabulary, not from its highest id. Of a
#   vocabulary with the ids 0, 2, 3 the new token gets 3, which is taken: two tokens have one id, and what was
#   encoded as "cat" is decoded as the new one. add_tokens() returns 1, "added"; nothing is raised.
# Why it matters: a vocabulary has gaps after unused tokens were cut from it so that the ids fit a trained
#   model, and a token for padding or the end of text is what one adds next. The model then trains with one
#   embedding for two tokens, and its output reads wrong.
# Expected: the next free id, or an error.
# Seen:
#   vocabulary: [UNK] 0, dog 2, cat 3
#   added [END], now: [UNK] 0, dog 2, cat 3, [END] 3
#   'dog cat' is encoded as [2, 3] and decoded as 'dog [END]'
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq tokenizers==0.23.3
"$work/venv/bin/python" - <<'PY'
import sys

from tokenizers import Tokenizer, models, pre_tokenizers

tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "dog": 2, "cat": 3}, unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()


def vocabulary():
    words = ("[UNK]", "dog", "cat", "[END]")
    found = tokenizer.get_vocab()
    return ", ".join(f"{word} {found[word]}" for word in words if word in found)


print("vocabulary:", vocabulary())
added = tokenizer.add_tokens(["[END]"])
print("added [END], now:", vocabulary())
ids = tokenizer.encode("dog cat").ids
text = tokenizer.decode(ids, skip_special_tokens=False)
print(f"'dog cat' is encoded as {ids} and decoded as {text!r}")
sys.exit((added, tokenizer.token_to_id("[END]"), ids, text) != (1, 3, [2, 3], "dog [END]"))
PY
