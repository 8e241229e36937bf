#!/usr/bin/env bash
# jupyter-lsp 2.3.1 (installed with every JupyterLab 4), jupyter-server 2.21.1
#
# What: starting the server runs `npm prefix -g`, where a program called npm is on the PATH, before anybody asks for a
#   language server. The real npm writes a log below ~/.npm at each such start.
# Why it matters: a notebook server that edits no JavaScript starts Node.js (0.2 s of a processor here), and a home
#   folder that was deleted a moment ago, or is only being looked at, is there again with a .npm in it.
# Expected: no program of the PATH is run before a language server is used, or one that leaves nothing behind.
# Seen:
#   npm was run with: prefix -g
set -euo pipefail
scratch=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install -qq --disable-pip-version-check jupyter-lsp==2.3.1 jupyter-server==2.21.1
mkdir "$scratch/bin" "$scratch/home"
printf '#!/bin/sh\necho "$@" >> "%s"\necho /usr\n' "$scratch/run" > "$scratch/bin/npm"  # it only tells that it was run
chmod +x "$scratch/bin/npm"
cd "$scratch/home"
HOME="$scratch/home" PATH="$scratch/bin:$scratch/venv/bin:/usr/bin:/bin" \
    "$scratch/venv/bin/jupyter-server" --no-browser --allow-root --port=0 --ServerApp.token=x > "$scratch/log" 2>&1 &
server=$!
for _ in $(seq 300); do
    grep -q "is running at" "$scratch/log" && break
    sleep 0.2
done
grep -q "is running at" "$scratch/log" || { cat "$scratch/log"; exit 2; }
for _ in $(seq 50); do [ -s "$scratch/run" ] && break; sleep 0.2; done
echo "npm was run with: $(cat "$scratch/run" 2>/dev/null || echo nothing)"
grep -qx "prefix -g" "$scratch/run"
