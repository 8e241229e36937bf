#!/usr/bin/env bash
# uv 0.13.9
#
# What: `uv sync` builds a project anew when only the ctime of its pyproject.toml has changed. A hard link to the
#   file, a chmod, `cp -a` or a restore from a backup is enough; content, size and mtime are as before.
# Why it matters: a project whose build compiles something is compiled again after every restore, copy and change
#   of permissions, and on a machine without a compiler the restored environment cannot be synchronized.
# Expected: content or mtime decides, as the default cache-keys ({ file = "pyproject.toml" }) let one expect.
# Seen:
#   again, untouched: nothing is built
#   after `ln pyproject.toml other`: built; mtime and size: the same
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq uv==0.13.9
export UV_CACHE_DIR=$work/cache UV_PYTHON_DOWNLOADS=never
mkdir -p "$work/p/src/p"
cd "$work/p"
touch src/p/__init__.py
cat > pyproject.toml <<'TOML'
[project]
name = "p"
version = "1"
requires-python = ">=3.8"
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
TOML
sync() { "$work/venv/bin/uv" sync 2>&1; }
sync > /dev/null
again=$(sync | grep -c Built || true)
before=$(stat -c '%Y %s' pyproject.toml)
sleep 1.1
ln pyproject.toml other
linked=$(sync | grep -c Built || true)
after=$(stat -c '%Y %s' pyproject.toml)
echo "built, untouched: $again; built after a hard link: $linked; mtime and size before $before, after $after"
[ "$again" = 0 ] && [ "$linked" = 1 ] && [ "$before" = "$after" ]
