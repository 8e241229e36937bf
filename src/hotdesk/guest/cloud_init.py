"""The user data of a rented machine: what cloud-init does at its first boot, and at a resumed desk's.

Two documents. The first sets a bare image up: what a person needs at the prompt, JupyterLab as a service,
the agent. The second is for a machine from a desk's own image, where all of that is there already and
a new instance id would make cloud-init do everything again: it keeps the host keys and checks. It brings
hotdesk's own programs, for the image may be older than this hotdesk, and nothing that a person may change.

No secret is in either: every process on the machine can read its user data, and so can everybody who may
describe instances. Both are the same bytes for the same desk, or a repeated order would be another one.
Both are sent as gzip, which cloud-init unpacks (cloud-init documentation, "User data formats").
"""

from __future__ import annotations

import ast
import gzip
import json
import re
from functools import cache
from pathlib import Path

from hotdesk.guest import jupyter

#: EC2's limit on user data, before base64 (EC2 user guide, "Run commands at launch").
LIMIT_BYTES = 16384

#: What must be there at the prompt: command -> package, where the names differ.
TOOLS = {"tmux": "tmux", "htop": "htop", "screen": "screen", "git": "git", "rsync": "rsync"}

#: cloud-init shows the host keys on the console once, at a machine's first boot. At each later one they are
#: shown again, so that a computer that was not there can know the desk; not before, when they may yet change.
_SHOW_KEYS = (
    "[ ! -e /var/lib/cloud/instance/sem/config_keys_to_console ] || {\n"
    "echo -----BEGIN SSH HOST KEY KEYS-----\ncat /etc/ssh/ssh_host_*_key.pub\n"
    "echo -----END SSH HOST KEY KEYS-----\n} > /dev/console 2>/dev/null || true"
)


def render(*, password_hash: str, resumed: bool) -> bytes:
    """The document, as gzip. Raises `ValueError` when it would not fit into EC2's 16 KiB."""
    document: dict[str, object] = {
        "ssh_pwauth": False,
        "disable_root": True,
        # A desk's own image carries the desk's host keys, by which it is known. A stranger's image may carry
        # keys that others know too, so a first boot makes new ones.
        "ssh_deletekeys": not resumed,
        "ssh_genkeytypes": ["ed25519"],
        "package_update": False,
        "package_upgrade": False,
    }
    document["write_files"] = _programs() + ([] if resumed else _files(password_hash))
    document["bootcmd"] = [["sh", "-c", _SHOW_KEYS]]
    document["runcmd"] = [["sh", "/opt/hotdesk/setup.sh", "resumed" if resumed else "first"]]
    # JSON is YAML, and leaves nothing to a quoting rule.
    packed = gzip.compress(
        f"#cloud-config\n{json.dumps(document, separators=(',', ':'))}\n".encode(), 9, mtime=0
    )
    if len(packed) > LIMIT_BYTES:
        raise ValueError(f"the user data is {len(packed)} bytes, and EC2 takes {LIMIT_BYTES}")
    return packed


def _programs() -> list[dict[str, str]]:
    units = {"agent": AGENT_UNIT, "idle": IDLE_UNIT, "warm": WARM_UNIT, "driver": DRIVER_UNIT}
    return [  # the order in which they are packed best: what resembles what stood shortly before is short
        *(_file(f"/opt/hotdesk/{name}.py", source(name), "0755") for name in ("idle", "driver", "agent")),
        _file("/opt/hotdesk/setup.sh", re.sub(r"(?m)^ +", "", _bare(setup_script())), "0755"),
        *(_file(f"/etc/systemd/system/hotdesk-{n}.service", unit, "0644") for n, unit in units.items()),
    ]


def _files(password_hash: str) -> list[dict[str, str]]:
    return [
        _file("/opt/hotdesk/jupyter.py", _bare(jupyter.config(password_hash)), "0644"),
        _file("/etc/systemd/system/hotdesk-jupyter.service", jupyter.unit(), "0644"),
        # From now on this image is the desk's: every later boot keeps the keys, whatever its user data says.
        _file(
            "/etc/cloud/cloud.cfg.d/99-hotdesk.cfg",
            "ssh_deletekeys: false\npreserve_hostname: true\n",
            "0644",
        ),
    ]


def _bare(text: str) -> str:
    """A text without the lines that are comments."""
    return re.sub(r"(?m)^ *#(?!!).*\n", "", text)


def _file(path: str, text: str, permissions: str) -> dict[str, str]:
    return {"path": path, "owner": "root:root", "permissions": permissions, "content": text}


@cache
def source(name: str) -> str:
    """A program for the machine, one file without dependencies; without comments, to be short.

    What it imports from a module beside it becomes a part of it.
    """
    return _lean(Path(__file__).with_name(f"{name}.py").read_text("utf-8"))


def _lean(source: str) -> str:
    """The same program without comments, docstrings and types; of the file's own docstring its usage is left.

    One space is enough of an indent: what is written line by line has no string of several lines.
    """
    tree = ast.parse(source)
    if said := ast.get_docstring(tree):
        usage = [line for line in said.splitlines() if re.match(r"[a-z]+\.py ", line)]
        tree.body[0] = ast.Expr(ast.Constant("\n".join(usage or said.splitlines()[:1])))
    text = ast.unparse(ast.fix_missing_locations(_Lean(frozenset(map(ast.unparse, tree.body))).visit(tree)))
    text = re.sub(r"(?m)^(?: {4})+", lambda m: " " * (len(m[0]) // 4), re.sub(r"\n{2,}", "\n", text))
    return f"#!/usr/bin/env python3\n{text}\n"


def _only_types(node: ast.stmt) -> bool:
    """Whether it imports what only types need."""
    return isinstance(node, ast.ImportFrom) and node.module in {"__future__", "typing"}


class _Lean(ast.NodeTransformer):
    def __init__(self, known: frozenset[str] = frozenset()) -> None:
        self.known = known  # what the file itself imports

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.visit_ClassDef(node)

    def visit_ClassDef(self, node: ast.ClassDef | ast.FunctionDef) -> ast.AST:
        if ast.get_docstring(node, clean=False):
            node.body = node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | list[ast.stmt] | None:
        if node.module and node.module.startswith("hotdesk.guest."):
            beside = ast.parse(
                Path(__file__).with_name(f"{node.module.rpartition('.')[2]}.py").read_text("utf-8")
            )
            return [
                _Lean().visit(part)
                for part in beside.body[1:]
                if not _only_types(part) and ast.unparse(part) not in self.known
            ]
        return None if _only_types(node) else node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return None
        return ast.fix_missing_locations(ast.copy_location(ast.Assign([node.target], node.value), node))


IDLE_UNIT = """\
[Unit]
Description=hotdesk: ends this machine when nothing works here, or its time is over

[Service]
ExecStart=/usr/bin/python3 /opt/hotdesk/idle.py run
Restart=on-failure
RestartSec=30

[Install]
WantedBy=multi-user.target
"""

#: Of the type that counts as started once it runs: multi-user.target waits for the start of what it wants,
#: the end of cloud-init, Jupyter and "up" wait for that, and an installation takes minutes.
DRIVER_UNIT = """\
[Unit]
Description=hotdesk: installs the NVIDIA driver where there is such a device and no driver
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
ExecStart=/usr/bin/python3 /opt/hotdesk/driver.py run
RuntimeMaxSec=1800

[Install]
WantedBy=multi-user.target
"""

WARM_UNIT = """\
[Unit]
Description=hotdesk: reads what was used last, which a disk from a snapshot fetches at its first use

[Service]
Type=exec
ExecStart=/usr/bin/python3 /opt/hotdesk/agent.py warm
Nice=19
IOSchedulingClass=idle
"""

AGENT_UNIT = """\
[Unit]
Description=hotdesk agent: handles interruption notices; records a file manifest at shutdown
After=network.target

[Service]
ExecStart=/usr/bin/python3 /opt/hotdesk/agent.py run
ExecStopPost=/usr/bin/python3 /opt/hotdesk/agent.py manifest
TimeoutStopSec=60
KillMode=mixed
Restart=always
RestartSec=5

[Install]
WantedBy=multi-user.target
"""


#: For login shells, and before each command of `hotdesk run` and `ssh --` (core/shell.py). Not VIRTUAL_ENV:
#: uv would take it for every project's. An environment that the person's own files activate stays in front.
_PROFILE = """\
e=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
case :$PATH in :@/bin:*);; *) export PATH=${e:+$e/bin:}@/bin:$PATH;; esac
"""


def setup_script() -> str:
    """Brings a machine into shape; may run any number of times. Fetches only what is missing.

    Below /var/lib/hotdesk stands, for whoever logs in while or after it runs: `doing`, the step it is at;
    `failed`, what it could not do and a desk needs; `lacking`, what it could not do and a desk can go
    without.
    """
    checks = " ".join(f"{command}:{package}" for command, package in TOOLS.items())
    return f"""\
#!/bin/sh
# Written by hotdesk. Safe to run again: what is there is left as it is.
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
lib=/var/lib/hotdesk log=/var/lib/hotdesk/setup.log
mkdir -p /run/hotdesk $lib
rm -f $lib/failed $lib/lacking
: > $log
doing() {{ echo "$1" > $lib/doing; echo "== $1" >> $log; }}
unable() {{ {{ echo "$2"; grep -v '^==' $log | tail -n 6; }} > "$lib/$1"; }}
doing "looking around"

# The host keys, where only root can write and only the account's owner can read: the desk is known by them.
{{
  echo "-----BEGIN SSH HOST KEY KEYS-----"
  cat /etc/ssh/ssh_host_ed25519_key.pub
  echo "-----END SSH HOST KEY KEYS-----"
}} > /dev/console 2>/dev/null || true

# Before anybody can write: is everything here that was here when the desk was parked?
[ "${{1:-}}" = resumed ] && /usr/bin/python3 /opt/hotdesk/agent.py compare > /run/hotdesk/compared.json

user=$(getent passwd 1000 | cut -d: -f1)
[ -n "$user" ] || user=root
home=$(getent passwd "$user" | cut -d: -f6)

missing=
for pair in {checks}; do
  [ "${{1:-}}" = resumed ] && break  # what is not there now was removed by its user
  command -v "${{pair%%:*}}" >/dev/null 2>&1 || missing="$missing ${{pair##*:}}"
done
if command -v apt-get >/dev/null 2>&1; then
  /usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
fi
packages() {{
  if command -v apt-get >/dev/null 2>&1; then
    # one list that is dead, of somebody else's, costs nothing that the others have
    apt-get -q -o DPkg::Lock::Timeout=300 update
    apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@"
  else
    dnf -q -y install "$@"
  fi
}}
if [ -n "$missing" ]; then
  for attempt in first second last; do
    doing "installing$missing ($attempt attempt)"
    packages $missing >> $log 2>&1 && break
    [ $attempt = last ] && unable lacking "these packages could not be installed:$missing" || sleep 5
  done
fi

venv=/opt/hotdesk/venv
# The desk's environment: the image's own, where it has one with torch; else the one that serves Jupyter.
env=$venv
for torch in /opt/*/lib/python3*/site-packages/torch /opt/conda/envs/*/lib/python3*/site-packages/torch; do
  [ -d "$torch" ] && env=${{torch%/lib/*}} && break
done
has_jupyter() {{ "$venv/bin/python" -c 'import jupyterlab' 2>/dev/null; }}
if ! has_jupyter; then
  doing "making a Python environment"
  for base in "$env/bin/python" /usr/bin/python3; do
    [ -x "$venv/bin/python" ] && break
    "$base" -m venv --system-site-packages "$venv" >> $log 2>&1 || rm -rf "$venv"
  done
  for attempt in first second last; do
    has_jupyter && break
    doing "installing JupyterLab ($attempt attempt)"
    # what is never imported is never compiled: a quarter of the time
    "$venv/bin/python" -m pip install -q --no-compile jupyterlab >> $log 2>&1 && break
    [ $attempt = last ] || sleep 5
  done
  has_jupyter || unable failed "JupyterLab could not be installed"
  chown -R "$user:" "$venv"
fi
if [ "${{1:-}}" != resumed ]; then
  printf '%s' '{_PROFILE}' | sed "s|@|$env|g" > /etc/profile.d/hotdesk.sh
  [ "$(stat -c %U "$env")" = "$user" ] || chown -R "$user:" "$env"
  [ -e "$home/.venv" ] || ln -s "$env" "$home/.venv"
  its() {{ runuser -u "$user" -- "$env/bin/python" "$@" >> $log 2>&1; }}
  its -c 'import ipykernel' || its -m pip install -q ipykernel
  its -m ipykernel install --sys-prefix || unable lacking "no kernel in $env"
fi

doing "starting services"
sed -i "s|@USER@|$user|g; s|@HOME@|$home|g; s|@ENV@|$env|g" /etc/systemd/system/hotdesk-jupyter.service
start() {{ systemctl "$@" >> $log 2>&1 || unable failed "services could not be started"; }}
start daemon-reload
ours="hotdesk-jupyter.service hotdesk-agent.service hotdesk-idle.service hotdesk-driver.service"
start enable $ours
# they wait for this script's end
start start --no-block $ours
# A disk from a snapshot is slow where it was not read yet; a new machine has nothing to wait for.
[ "${{1:-}}" = resumed ] && systemctl start --no-block hotdesk-warm.service
rm -f $lib/doing
exit 0
"""
