#!/usr/bin/env bash
# hydra-core 1.3.8 with omegaconf 2.3.1
#
# What: the same words mean different things in a configuration file and as an override on the command line of
#   the same program. `off` is False in the file and the text "off", which is true, as an override; `1:30:00` is
#   5400 and a text; `010` is 8 and a text; `nan` is a text in the file and the number as an override.
# Why it matters: trying `logging=off` on the command line leaves logging on; moved into the file it works.
#   Resuming with nan as the best loss so far works on the command line, and compares a text in the file.
# Expected: one reading of one word, whichever way it comes in.
# Seen:
#   off: False in the file, 'off' as an override
#   1:30:00: 5400 in the file, '1:30:00' as an override
#   010: 8 in the file, '010' as an override
#   nan: 'nan' in the file, nan as an override
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq hydra-core==1.3.8 omegaconf==2.3.1
cd "$work"
"$work/venv/bin/python" - <<'PY'
import os
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir

words = ["off", "1:30:00", "010", "nan"]
Path("settings").mkdir()
Path("settings/empty.yaml").write_text("value: null\n")
seen = []
with initialize_config_dir(os.path.abspath("settings"), version_base=None):
    for number, word in enumerate(words):
        Path(f"settings/file{number}.yaml").write_text(f"value: {word}\n")
        file = compose(f"file{number}").value
        override = compose("empty", overrides=[f"value={word}"]).value
        print(f"{word}: {file!r} in the file, {override!r} as an override")
        seen.append((repr(file), repr(override)))
sys.exit(seen != [("False", "'off'"), ("5400", "'1:30:00'"), ("8", "'010'"), ("'nan'", "nan")])
PY
