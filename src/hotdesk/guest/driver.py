#!/usr/bin/env python3
"""Sees to it that an NVIDIA GPU can be used: one file, the standard library only, run at every boot as root.

driver.py run       install Ubuntu's driver where there is such a device and no driver; else do nothing

How far it is stands in /run/hotdesk/driver.json; `state` there is none (no such device), works, looking,
installing, installed or failed. /var/lib/hotdesk/driver.log holds what was done, and driver.branch which
driver this program began to install: one that somebody else brought is loaded, and never touched.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from typing import Any

ROOT = os.environ.get("HOTDESK_ROOT", "")
RUN, LIB = f"{ROOT}/run/hotdesk", f"{ROOT}/var/lib/hotdesk"
STATE, LOG, BRANCH = f"{RUN}/driver.json", f"{LIB}/driver.log", f"{LIB}/driver.branch"
BEGUN = f"{LIB}/driver.begun"  # exists while packages are changed, and afterwards if that was interrupted
LIMIT_SECONDS = float(
    os.environ.get("HOTDESK_LIMIT_SECONDS", "1500")
)  # in total; the unit's own limit is longer
PAUSE_SECONDS = float(os.environ.get("HOTDESK_PAUSE_SECONDS", "5"))
LOADS = 6  # attempts to load a driver of the image: at boot other services load it, too
LOCK, RETRIES, OURS = "DPkg::Lock::Timeout=600", "Acquire::Retries=3", "Dpkg::Options::=--force-confold"
APT = ("apt-get", "-q", "-y", "-o", LOCK, "-o", RETRIES, "-o", OURS)
#: needrestart would restart services, such as Jupyter, whose packages somebody else replaced.
QUIETLY = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1", "LC_ALL": "C.UTF-8"}
#: DPkg::Lock::Timeout covers dpkg's lock, but not that of the package lists, or dpkg itself.
HELD = re.compile(rb"Could not get lock|lock was locked|Unable to (lock|acquire)")


class Unable(Exception):
    """The driver cannot be installed; the message says why. `again`: a retry may succeed."""

    def __init__(self, why: str, again: bool = True) -> None:
        super().__init__(why)
        self.again = again


class Driver:
    """Checks a machine's driver once, and installs it if it is missing."""

    def __init__(self) -> None:
        self.until = time.monotonic() + LIMIT_SECONDS
        # The kernel's monotonic clock: never set, and the same for all processes of this boot.
        self.told: dict[str, Any] = {"pid": os.getpid(), "since": time.monotonic()}
        self.devices = devices("0x03")  # display controllers: VGA, and 3D for those without a screen
        self.said = ""  # the driver's error, if it does not work

    def tell(self, state: str, **more: Any) -> None:
        """Record the progress, atomically."""
        self.told.update(state=state, seconds=round(time.monotonic() - self.told["since"], 1), **more)
        with open(STATE + ".new", "w") as file:
            json.dump(self.told, file)
        os.replace(STATE + ".new", STATE)

    def see_to_it(self) -> None:
        """Check the driver, and install what is missing."""
        cut_off = os.path.exists(BEGUN)
        try:
            if not self.devices:
                if cut_off:  # interrupted, then moved to a machine without a GPU
                    self.mend()
                return self.tell("none")
            self.tell("looking", step="looking for a driver that works")
            there, version = shutil.which("nvidia-smi"), self.works()
            if there and not version:
                self.load()
                version = self.works()
            if there and not version and not os.path.exists(BRANCH):
                version = self.patient()
            if version and not cut_off:
                return self.tell("works", version=version)
            return self.tell("installed", version=self.install())
        except Unable as no:
            return self.tell("failed", why=str(no), again=no.again, log=tail())
        except (OSError, subprocess.SubprocessError) as error:  # a full disk, say
            return self.tell("failed", why=str(error), again=True, log=tail())

    def works(self) -> str:
        """The driver's version if it supports every device; else "", and `said` has the error."""
        ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            done = subprocess.run(ask, capture_output=True, text=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            self.said = str(error)
            return ""
        versions = re.findall(r"^\d[\d.]+$", done.stdout, re.M)
        if done.returncode == 0 and len(versions) >= len(self.devices):
            return str(versions[0])
        said = (done.stdout + done.stderr).strip().splitlines()
        self.said = f"it knows {len(versions)} of {len(self.devices)} GPUs"
        if said and not versions:
            self.said = said[0].strip()
        return ""

    def patient(self) -> str:
        """Load the image's own driver, with retries; return its version. Raises `Unable`."""
        for _ in range(LOADS):
            self.load()
            if version := self.works():
                return version
            time.sleep(PAUSE_SECONDS)
        raise Unable(f"the image brings a driver of its own, which does not work: {self.said}", again=False)

    def load(self) -> None:
        """Load the driver into the running kernel, without a reboot."""
        self.run("modprobe", "nvidia")
        self.run("modprobe", "nvidia-uvm")
        # Only root can create it. CUDA needs it, nvidia-smi does not.
        major = re.search(r"^ *(\d+) nvidia-uvm$", text(f"{ROOT}/proc/devices"), re.M)
        node = f"{ROOT}/dev/nvidia-uvm"
        if major and not os.path.exists(node):
            with contextlib.suppress(OSError):
                os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(int(major[1]), 0))
                os.chmod(node, 0o666)

    def unload(self) -> None:
        """Unload conflicting modules: nouveau, and NVIDIA's in another version than the libraries."""
        loaded = {line.split()[0] for line in text(f"{ROOT}/proc/modules").splitlines()}
        for name in ("nouveau", "nvidia_uvm", "nvidia_drm", "nvidia_modeset", "nvidia"):
            if name in loaded:
                self.run("modprobe", "-r", name)

    def install(self) -> str:
        """Install Ubuntu's server driver for the running kernel; return its version. Raises `Unable`.

        Not by `ubuntu-drivers install --gpgpu`: it installs modules for the newest installed kernel, which
        may not be the running one; it installs no nvidia-smi; and it exits with 0 even after a failure
        (ubuntu-drivers-common, branch noble, `install_gpgpu` and `get_linux_modules_metapackage`). Only its
        choice of a driver is used, with packages for `uname -r`, prebuilt ones before DKMS (Ubuntu Server
        documentation, "NVIDIA drivers installation", which also names nvidia-utils and nvidia-fabricmanager).
        """
        if "ID=ubuntu" not in text(f"{ROOT}/etc/os-release").splitlines():
            raise Unable("this image is not Ubuntu, and hotdesk knows no other's drivers", again=False)
        for path in (LOG, BEGUN):
            open(path, "w").close()
        self.mend()
        self.step("reading the lists of packages")
        self.apt("update")
        if not shutil.which("ubuntu-drivers"):
            self.step("installing what knows the drivers")
            if not self.apt("install", "--no-install-recommends", "ubuntu-drivers-common"):
                raise Unable("ubuntu-drivers-common could not be installed")
        branch, kernel = self.choose(), os.uname().release
        with open(BRANCH, "w") as file:  # from now on the driver is ours, even if this is interrupted
            file.write(branch)
        driver = [f"nvidia-headless-no-dkms-{branch}", f"nvidia-utils-{branch.replace('-open', '')}"]
        self.said = ""
        for doing, modules in (
            ("installing", [f"linux-modules-nvidia-{branch}-{kernel}"]),
            ("building", [f"linux-headers-{kernel}", f"nvidia-dkms-{branch}"]),
        ):
            self.step(f"{doing} driver {branch}")
            if self.apt("install", "--no-install-recommends", *driver, *modules):
                self.fabric(branch)
                self.unload()
                self.load()
                if version := self.works():
                    return version
        raise Unable(
            f"driver {branch} " + (f"does not work: {self.said}" if self.said else "was not to be had")
        )

    def mend(self) -> None:
        """Complete an interrupted installation, which would block all others."""
        self.step("mending what was cut off")
        self.run("dpkg", "--configure", "-a")
        self.apt("-f", "install")

    def choose(self) -> str:
        """The driver branch for the devices, such as "580-server-open". Raises `Unable`."""
        for more in ((), ("--include-dkms",)):
            ask = ["ubuntu-drivers", "list", "--gpgpu", *more]
            done = subprocess.run(ask, capture_output=True, text=True, timeout=self.left(), check=False)
            with open(LOG, "a") as log:
                log.write(f"== {' '.join(ask)}\n{done.stdout}{done.stderr}")
            found = re.findall(r"^nvidia-driver-(\d+(?:-server)?(?:-open)?)\b", done.stdout, re.M)
            if found:
                return text(BRANCH) if text(BRANCH) in found else str(found[0])
        # NVIDIA, "Data center drivers": Kepler (K80) ended with branch 470, Volta (V100) with 580.
        raise Unable(
            f"Ubuntu has no driver for this GPU (PCI {self.devices[0]}): it may be too old", again=False
        )

    def fabric(self, branch: str) -> None:
        """Install the fabric manager, which GPUs behind NVSwitches (NVIDIA bridges) require."""
        if devices("0x0680"):
            self.apt("install", "--no-install-recommends", f"nvidia-fabricmanager-{branch[:3]}")
            self.run("systemctl", "enable", "--now", "--no-block", "nvidia-fabricmanager")

    def step(self, doing: str) -> None:
        self.tell("installing", step=doing)

    def apt(self, *words: str) -> bool:
        return self.run(*APT, *words)

    def run(self, *words: str) -> bool:
        """Run a command; return whether it succeeded. Waits for other users of apt while there is time."""
        while True:
            with open(LOG, "ab") as log:
                log.write(f"== {' '.join(words)}\n".encode())
                at = log.tell()
                log.flush()
                try:
                    code: int | None = subprocess.run(
                        words,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        env={**os.environ, **QUIETLY},
                        timeout=self.left(),
                        check=False,
                    ).returncode
                except OSError as error:
                    log.write(f"{error}\n".encode())
                    return False
                except subprocess.TimeoutExpired:
                    code = None
            with open(LOG, "rb") as said:
                said.seek(at)
                if code is not None and (code == 0 or not HELD.search(said.read())):
                    return code == 0
            if time.monotonic() >= self.until:
                raise Unable(f"after {LIMIT_SECONDS:.0f} s it was not done with: {words[0]}")
            time.sleep(PAUSE_SECONDS)

    def left(self) -> float:
        return max(0.1, self.until - time.monotonic())


def devices(kind: str) -> list[str]:
    """NVIDIA devices of this PCI class, as vendor:device."""
    found = []
    for device in sorted(glob.glob(f"{ROOT}/sys/bus/pci/devices/*")):
        if text(f"{device}/vendor") == "0x10de" and text(f"{device}/class").startswith(kind):
            found.append(f"10de:{text(f'{device}/device')[2:]}")
    return found


def tail() -> list[str]:
    """The last errors in the log, or else its last lines."""
    lines = [line for line in text(LOG).splitlines() if line and not line.startswith("==")]
    return [line[:200] for line in ([line for line in lines if line.startswith("E:")] or lines)[-3:]]


def text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def main(words: list[str]) -> int:
    if words != ["run"]:
        print(__doc__)
        return 2
    for folder in (RUN, LIB):
        os.makedirs(folder, exist_ok=True)
    with open(f"{RUN}/driver.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0  # another instance is running
        Driver().see_to_it()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(BEGUN)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
