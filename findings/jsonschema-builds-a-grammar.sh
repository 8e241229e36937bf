#!/usr/bin/env bash
# jsonschema 4.26.0 with rfc3987-syntax 1.1.0, which its extra `format-nongpl` brings (as jupyter-events does with
# every JupyterLab)
#
# What: `import jsonschema` alone builds a parser for the grammar of RFC 3987, though nobody has asked for a format to be
#   checked. Formats are checked only by who passes a FormatChecker.
# Why it matters: whatever imports jsonschema in such an environment pays for it in each process. Ray does so in every
#   worker and agent, so that a Ray process starts several times as slowly where JupyterLab is installed beside it.
# Expected: the grammar is built when an `iri` is first checked.
# Seen:
#   without rfc3987-syntax: lark is loaded: False
#   with rfc3987-syntax:    lark is loaded: True, grammar built at import: True
#   import jsonschema takes 14 times as much processor time (this line is measured, and differs)
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
python=$scratch/venv/bin/python
"$python" -m pip install -qq --disable-pip-version-check jsonschema==4.26.0
cat > "$scratch/look.py" <<'PY'
import sys, time
began = time.process_time()
import jsonschema
seconds = time.process_time() - began
built = False
if "lark" in sys.modules:
    import gc, lark
    built = any(isinstance(one, lark.Lark) for one in gc.get_objects())
print("lark" in sys.modules, built, seconds)
PY
"$python" "$scratch/look.py" > /dev/null  # compiled once
read -r before _ plain < <("$python" "$scratch/look.py")
"$python" -m pip install -qq --disable-pip-version-check rfc3987-syntax==1.1.0 lark==1.3.1
"$python" "$scratch/look.py" > /dev/null
read -r after built dear < <("$python" "$scratch/look.py")
echo "without rfc3987-syntax: lark is loaded: $before"
echo "with rfc3987-syntax:    lark is loaded: $after, grammar built at import: $built"
"$python" -c "print(f'import jsonschema takes {float(\"$dear\") / float(\"$plain\"):.0f} times as much processor time')"
[ "$before $after $built" = "False True True" ]
