"""A made-up Ubuntu with a GPU, in which the real program of guest/driver.py runs.

Stand-ins, which keep what was installed and loaded, are only the commands that would change this computer:
the package manager, ubuntu-drivers, modprobe, nvidia-smi and systemctl.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from hotdesk.connect import guest_agent as connect_agent
from hotdesk.guest.one_file import source
from tests.local_rig import wait_for

KERNEL = os.uname().release
READY_MADE = f"linux-modules-nvidia-580-server-open-{KERNEL}"
DRIVER = ["nvidia-headless-no-dkms-580-server-open", "nvidia-utils-580-server"]
BUILT = [f"linux-headers-{KERNEL}", "nvidia-dkms-580-server-open"]

#: One script under every name. $M: what the machine holds. `hold`: the command to get stuck at; `busy`: how
#: often a lock is somebody else's; `slow`: how often a module is not loaded; the folders: packages.
MACHINE = r"""#!/bin/sh
me=${0##*/}
echo "$me $*" >> $M/did
if [ -e $M/hold ] && echo "$me $*" | grep -q -- "$(cat $M/hold)"; then : > $M/held; exec sleep 600; fi
busy() {
  read -r n < $M/busy || return 1
  [ "$n" -gt 0 ] || return 1
  echo $((n - 1)) > $M/busy; echo "$1"; exit 100
}
loads() { [ -e $M/installed/$1 ]; }
case $me in
dpkg)
  busy "dpkg: error: dpkg frontend lock was locked by another process with pid 7"
  rm -f $M/cut-off;;
apt-get)
  case "$*" in
  *" update") busy "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)";;
  *" -f install") [ ! -e $M/cut-off ];;
  *" install "*)
    if [ -e $M/cut-off ]; then echo "E: dpkg was interrupted, you must manually run 'dpkg'"; exit 100; fi
    wanted=${*##*--no-install-recommends}
    for p in $wanted; do
      if [ ! -e $M/archive/$p ]; then echo "E: Unable to locate package $p"; exit 100; fi
    done
    : > $M/cut-off
    for p in $wanted; do
      if [ -e $M/hold ] && [ "unpacking $p" = "$(cat $M/hold)" ]; then : > $M/held; exec sleep 600; fi
      : > $M/installed/$p
      case $p in
      ubuntu-drivers-common) ln -sf apt-get $M/bin/ubuntu-drivers;;
      nvidia-utils-*) ln -sf apt-get $M/bin/nvidia-smi;;
      esac
    done
    rm $M/cut-off;;
  esac;;
ubuntu-drivers)
  [ "$*" = "list --gpgpu" ] && cat $M/offered
  [ "$*" = "list --gpgpu --include-dkms" ] && cat $M/offered-built
  true;;
modprobe)
  for word; do name=$word; done
  [ "$1" = -r ] && { grep -v "^$name " $M/proc/modules > $M/left; cp $M/left $M/proc/modules; exit 0; }
  [ "$name" = nvidia-uvm ] && exit 0
  read -r tries < $M/slow || tries=0
  echo $((tries - 1)) > $M/slow
  [ "$tries" -le 1 ] || exit 1
  for p in $(ls $M/installed); do
    case $p in
    linux-modules-nvidia-*-$KERNEL) of=ready-made;;
    nvidia-dkms-*) if loads linux-headers-$KERNEL; then of=built; fi;;
    brought) of=brought;;
    esac
  done
  [ -n "${of:-}" ] || { echo "modprobe: FATAL: Module nvidia not found in directory /lib"; exit 1; }
  echo "nvidia 1 0 $of" > $M/proc/modules;;
nvidia-smi)
  if ! grep -q "^nvidia " $M/proc/modules; then
    echo "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."; exit 9
  fi
  if [ -e $M/mismatch ] && grep -q ready-made $M/proc/modules; then
    echo "Failed to initialize NVML: Driver/library version mismatch"; exit 18
  fi
  cat $M/answer;;
esac
"""


class Machine:
    """A made-up Ubuntu with one T4, and the real program for it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        for part in ("bin", "installed", "archive", "proc", "etc", "dev", "sys/bus/pci/devices"):
            (self.root / part).mkdir(parents=True)
        tool = self.root / "bin" / "apt-get"
        tool.write_text(MACHINE)
        tool.chmod(0o755)
        for name in ("dpkg", "modprobe", "systemctl"):
            (self.root / "bin" / name).symlink_to("apt-get")
        for name in ("cat", "cp", "grep", "id", "ln", "ls", "rm", "sleep"):
            (self.root / "bin" / name).symlink_to(shutil.which(name) or name)
        self.write("etc/os-release", 'NAME="Ubuntu"\nVERSION_ID="24.04"\nID=ubuntu\nID_LIKE=debian')
        self.write("proc/modules", "nvme 57344 1 - Live 0x0")
        self.write("offered", "nvidia-driver-580-server-open, (kernel modules provided by linux-modules-x)\n"
                   "nvidia-driver-570-server, (kernel modules provided by linux-modules-y)")  # fmt: skip
        self.write("answer", "580.95.05")
        for name in ("offered-built", "busy", "slow", "did"):
            self.write(name, "")
        self.archive("ubuntu-drivers-common", *DRIVER, READY_MADE, *BUILT)
        self.device("0x10de", "0x030200", "0x1eb8")
        self.device("0x1d0f", "0x020000", "0xec20")  # the network's
        self.program = folder / "driver.py"
        self.program.write_text(source("driver"))
        self.environment = {
            "HOTDESK_ROOT": str(self.root),
            "HOTDESK_PAUSE_SECONDS": "0.01",
            "HOTDESK_LIMIT_SECONDS": "60",
            "M": str(self.root),
            "KERNEL": KERNEL,
            "PATH": str(self.root / "bin"),
        }
        self.words = [sys.executable, "-I", "-S", str(self.program), "run"]

    def write(self, name: str, text: object) -> None:
        new = self.root / ".new"  # replaced at once, as the installer does: a reader may be looking
        new.write_text(f"{text}\n" if text != "" else "")
        new.replace(self.root / name)

    def archive(self, *names: str) -> None:
        for name in names:
            self.write(f"archive/{name}", "")

    def device(self, vendor: str, kind: str, device: str = "0x0001") -> None:
        folder = self.root / "sys/bus/pci/devices"
        place = folder / f"0000:00:{len(list(folder.iterdir())):02x}.0"
        place.mkdir()
        for name, value in (("vendor", vendor), ("class", kind), ("device", device)):
            (place / name).write_text(value + "")

    def brings(self, *packages: str) -> None:
        """The image has a driver already."""
        (self.root / "bin" / "nvidia-smi").symlink_to("apt-get")
        for package in packages:
            self.write(f"installed/{package}", "")

    def boot(self, **more: str) -> dict[str, Any]:
        """One boot: what was loaded is not; the state it ends in."""
        shutil.rmtree(self.root / "run", ignore_errors=True)
        self.write("did", "")
        return self.run(**more)

    def run(self, **more: str) -> dict[str, Any]:
        environment = {**self.environment, **more}
        done = subprocess.run(self.words, env=environment, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        return self.state()

    @contextmanager
    def stuck_at(self, command: str) -> Iterator[subprocess.Popen[bytes]]:
        """It runs, and its command that looks like this does not end."""
        self.write("hold", command)
        with subprocess.Popen(self.words, env=self.environment, start_new_session=True) as process:
            try:
                wait_for((self.root / "held").exists, 30)
                (self.root / "hold").unlink()  # nobody else is to get stuck there
                yield process
            finally:
                os.killpg(process.pid, signal.SIGKILL)  # and what it began, as systemd does
                (self.root / "held").unlink(missing_ok=True)

    def state(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.root / "run/hotdesk/driver.json").read_text())
        return told

    def did(self, *of: str) -> list[str]:
        lines = (self.root / "did").read_text().splitlines()
        return [line for line in lines if not of or line.split()[0] in of]

    def asked_for(self) -> list[list[str]]:
        """Every list of packages that was to be installed."""
        options = "--no-install-recommends "
        return [line.split(options)[1].split() for line in self.did("apt-get") if options in line]

    def installed(self) -> set[str]:
        return {path.name for path in (self.root / "installed").iterdir()}

    def report(self) -> connect_agent.Report:
        """What the real agent says of it."""
        program = self.root / "agent.py"
        program.write_text(source("agent"))
        told = {"LIB": "var/lib/hotdesk", "RUN": "run/hotdesk", "PCI": "sys/bus/pci/devices", "CLOUD": "no"}
        environment = {f"HOTDESK_{name}": f"{self.root}/{place}" for name, place in told.items()}
        environment |= {**self.environment, "HOTDESK_JUPYTER": "http://127.0.0.1:9/api"}
        words = [sys.executable, "-I", "-S", str(program), "report"]
        done = subprocess.run(words, env=environment, capture_output=True, check=True)
        return msgspec.json.decode(done.stdout, type=connect_agent.Report)

    def remark(self) -> connect_agent.Remark:
        [remark] = connect_agent.remarks(self.report(), "blue", "T4")
        return remark
