#!/usr/bin/env bash
# cyclonedx-bom 7.5.0
#
# What: a licence that a package declares in a few words, in its `License` field and nowhere else, is left out of the
#   bill of materials without a word. With --gather-license-texts, which adds the whole licence texts of all
#   packages, it appears as a text under a name that is no licence.
# Why it matters: a package that says "License: Apache Software License" counts as one without a licence, and a check
#   for allowed licences fails for it either way.
# Expected: the declared words as the licence's name, as a classifier's words are.
# Seen:
#   declared: Apache Software License | expression: None
#   plain: none
#   with texts: declared license of 'bleach': Apache Software License
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for name in tool held; do python3 -m venv "$scratch/$name"; done
"$scratch/tool/bin/python" -m pip install -qq --disable-pip-version-check cyclonedx-bom==7.5.0
"$scratch/held/bin/python" -m pip install -qq --disable-pip-version-check --no-deps bleach==6.4.0
bom() { "$scratch/tool/bin/cyclonedx-py" environment "$scratch/held/bin/python" --of JSON -o "$1" "${@:2}"; }
bom "$scratch/plain.json"
bom "$scratch/texts.json" --gather-license-texts
"$scratch/held/bin/python" - "$scratch" <<'EOF'
import importlib.metadata
import json
import sys

told = importlib.metadata.metadata("bleach")
print("declared:", told["License"], "| expression:", told["License-Expression"])


def licences(file):
    with open(f"{sys.argv[1]}/{file}.json", encoding="utf-8") as bom:
        [part] = [part for part in json.load(bom)["components"] if part["name"] == "bleach"]
    return [row["license"] for row in part.get("licenses", [])]


plain, texts = licences("plain"), licences("texts")
print("plain:", plain or "none")
short = [row for row in texts if row["name"] == "declared license of 'bleach'"]
print("with texts:", *(f"{row['name']}: {row['text']['content']}" for row in short))
same = told["License"] == "Apache Software License" and not plain and short
sys.exit(0 if same and short[0]["text"]["content"] == told["License"] else 1)
EOF
