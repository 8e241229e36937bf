#!/usr/bin/env bash
# papermill 2.7.0
#
# What: a tuple among a notebook's parameters arrives in the notebook as text: (3, 224) as "(3, 224)". So does a
#   set; a list, a dict, None and nan arrive as what they are. Nothing is raised or logged.
# Why it matters: the text has a length and can be indexed and looped over, so a shape or a range of layers goes
#   wrong some cells later: shape[0] is "(".
# Expected: a tuple, or a list as in JSON, or an error.
# Seen:
#   [3, 224]: shape = [3, 224]
#   (3, 224): shape = "(3, 224)"
#   {224}: shape = "{224}"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq papermill==2.7.0
cd "$work"
"$work/venv/bin/python" - <<'PY'
import sys

import nbformat
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
cell = nbformat.v4.new_code_cell("shape = None", metadata={"tags": ["parameters"]})
nbformat.write(nbformat.v4.new_notebook(metadata={"kernelspec": kernel}, cells=[cell]), "given.ipynb")
seen = []
for value in ([3, 224], (3, 224), {224}):
    made = parameterize_notebook(load_notebook_node("given.ipynb"), {"shape": value})
    seen.append(made.cells[1].source.splitlines()[-1])
    print(f"{value}: {seen[-1]}")
sys.exit(seen != ["shape = [3, 224]", 'shape = "(3, 224)"', 'shape = "{224}"'])
PY
