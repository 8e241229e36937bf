"""Render the user data of a rented machine, for cloud-init at its first boot.

There are two documents. The first sets up a bare image: command-line tools, JupyterLab as a service, the
agent. The second is for a machine from a desk's own image, which has all of that; as a new instance id makes
cloud-init run everything again, it only keeps the host keys, runs checks, and installs hotdesk's own programs
(the image may be older than this hotdesk), but nothing that the user may have changed.

Neither contains a secret: every process on the machine can read its user data, and so can everybody who may
describe instances. Both are the same bytes for the same desk, or a repeated order would differ. Both are sent
as gzip, which cloud-init unpacks (cloud-init documentation, "User data formats").
"""

from __future__ import annotations

import gzip
import json
import re
from typing import Any

from hotdesk.core.mirrors import NO_MIRRORS, Mirrors
from hotdesk.guest import jupyter
from hotdesk.guest.one_file import source

#: EC2's limit on user data, before base64 (EC2 user guide, "Run commands at launch").
LIMIT_BYTES = 16384

#: Command-line tools to install: command -> package.
TOOLS = {"tmux": "tmux", "htop": "htop", "screen": "screen", "git": "git", "rsync": "rsync"}

#: cloud-init prints the host keys on the console at a machine's first boot only. Print them again at later
#: boots, for computers that have not seen them; not at the first boot, when they may still change.
_SHOW_KEYS = (
    "[ ! -e /var/lib/cloud/instance/sem/config_keys_to_console ] || {\n"
    "echo -----BEGIN SSH HOST KEY KEYS-----\ncat /etc/ssh/ssh_host_*_key.pub\n"
    "echo -----END SSH HOST KEY KEYS-----\n} > /dev/console 2>/dev/null || true"
)

#: At the first boot. What the image's desk was told, maybe that it never ends, is no limit of a machine that
#: nobody may ever log in to: without any it ends when idle (`idle.IDLE_MINUTES`).
_FORGET_LIMITS = [
    *("cloud-init-per", "instance", "hotdesk-limits"),
    *("sh", "-c", "rm -f /home/*/.hotdesk/leave /home/*/.hotdesk/stay"),
]


def render(
    *,
    password_hash: str,
    resumed: bool,
    mirrors: Mirrors = NO_MIRRORS,
    fleet: bool = False,
    ends_at: float = 0.0,
) -> bytes:
    """The document, as gzip. Raises `ValueError` if it exceeds EC2's 16 KiB."""
    # JSON is YAML, without YAML's quoting rules.
    made = document(
        password_hash=password_hash, resumed=resumed, mirrors=mirrors, fleet=fleet, ends_at=ends_at
    )
    text = json.dumps(made, separators=(",", ":"))
    packed = gzip.compress(f"#cloud-config\n{text}\n".encode(), 9, mtime=0)
    if len(packed) > LIMIT_BYTES:
        raise ValueError(f"the user data is {len(packed)} bytes, and EC2 takes {LIMIT_BYTES}")
    return packed


def document(
    *,
    password_hash: str,
    resumed: bool,
    mirrors: Mirrors = NO_MIRRORS,
    fleet: bool = False,
    ends_at: float = 0.0,
) -> dict[str, Any]:
    """What cloud-init is told, before it is packed. `fleet`: for one of many machines from a desk's image.

    `ends_at`: when the cloud ends the machine in any case; 0: no time is known.
    """
    first = [] if resumed else [*_files(password_hash), *_from_mirrors(mirrors)]
    near = (
        [["/usr/bin/python3", "/opt/hotdesk/mirrors.py", mirrors.apt]] if mirrors.apt and not resumed else []
    )
    return {
        "ssh_pwauth": False,
        "disable_root": True,
        # A desk's own image holds the desk's pinned host keys. A base image may hold keys that others know
        # too, so a first boot generates new ones.
        "ssh_deletekeys": not resumed,
        "ssh_genkeytypes": ["ed25519"],
        "package_update": False,
        "package_upgrade": False,
        "write_files": _programs(ends_at) + first,
        "bootcmd": [["sh", "-c", _SHOW_KEYS], *([_FORGET_LIMITS] if fleet else [])],
        "runcmd": [*near, ["sh", "/opt/hotdesk/setup.sh", "resumed" if resumed else "first"]],
    }


def _programs(ends_at: float = 0.0) -> list[dict[str, str]]:
    told = f"\nEnvironment=HOTDESK_ENDS={ends_at:.0f}\nExecStart=" if ends_at else "\nExecStart="
    agent = AGENT_UNIT.replace("\nExecStart=", told)
    units = {"agent": agent, "idle": IDLE_UNIT, "warm": WARM_UNIT, "driver": DRIVER_UNIT}
    return [  # in the order that compresses best: similar texts are adjacent
        *(_file(f"/opt/hotdesk/{name}.py", source(name), "0755") for name in ("idle", "driver", "agent")),
        _file("/opt/hotdesk/setup.sh", re.sub(r"(?m)^ +", "", _bare(setup_script())), "0755"),
        *(_file(f"/etc/systemd/system/hotdesk-{n}.service", unit, "0644") for n, unit in units.items()),
    ]


def _files(password_hash: str) -> list[dict[str, str]]:
    return [
        _file("/opt/hotdesk/jupyter.py", _bare(jupyter.config(password_hash)), "0644"),
        _file("/etc/systemd/system/hotdesk-jupyter.service", jupyter.unit(), "0644"),
        # From now on the disk is the desk's: later boots keep the host keys, whatever their user data says.
        _file(
            "/etc/cloud/cloud.cfg.d/99-hotdesk.cfg",
            "ssh_deletekeys: false\npreserve_hostname: true\n",
            "0644",
        ),
    ]


def _from_mirrors(mirrors: Mirrors) -> list[dict[str, str]]:
    """For everybody on the machine; a person's own settings count before these."""
    channels = "".join(f"  - {channel}\n" for channel in mirrors.conda)
    told = {
        "/opt/hotdesk/mirrors.py": source("mirrors") if mirrors.apt else "",
        "/etc/pip.conf": f"[global]\nindex-url = {mirrors.pip}\n" if mirrors.pip else "",
        "/etc/uv/uv.toml": f'[[index]]\nurl = "{mirrors.pip}"\ndefault = true\n' if mirrors.pip else "",
        "/etc/conda/.condarc": f"default_channels:\n{channels}" if channels else "",
    }
    return [_file(path, text, "0644") for path, text in told.items() if text]


def _bare(text: str) -> str:
    """The text without comment lines."""
    return re.sub(r"(?m)^ *#(?!!).*\n", "", text)


def _file(path: str, text: str, permissions: str) -> dict[str, str]:
    return {"path": path, "owner": "root:root", "permissions": permissions, "content": text}


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
Description=hotdesk: installs a missing NVIDIA driver
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
Description=hotdesk: reads ahead what was used last

[Service]
Type=exec
ExecStart=/usr/bin/python3 /opt/hotdesk/agent.py warm
Nice=19
IOSchedulingClass=idle
"""

AGENT_UNIT = """\
[Unit]
Description=hotdesk: notices from the cloud; a file manifest at shutdown
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
    """The shell script that sets a machine up. Idempotent; downloads only what is missing.

    It reports below /var/lib/hotdesk: `doing`, the current step; `failed`, what failed and a desk requires;
    `lacking`, what failed and a desk can do without.
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
