"""The base image: a distribution's root made from packages, as a public machine image would be."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from tests.rig import settings
from tests.rig.commands import run

#: What an image for clouds holds beside the essentials. None of what user data must bring is here.
#: Without locales and gpgv cloud-init ends in "error".
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "cloud-init", "openssh-server", "python3", "sudo", "locales"),
    *("gpgv", "ca-certificates", "iproute2", "procps", "netbase", "less"),
    "libnss-myhostname",  # in EC2 the network's own name server knows the machine's name
)

#: The datasource of the real thing. Outside EC2 nothing else vouches for it, hence `strict_id`. The network
#: is set up before the machine boots, and the image's package sources are this computer's (settings.py).
CLOUD_INIT = """\
datasource_list: [Ec2]
datasource:
  Ec2:
    strict_id: false
    max_wait: 30
    timeout: 5
network:
  config: disabled
apt:
  preserve_sources_list: true
locale: C.UTF-8
system_info:
  default_user:
    name: ubuntu
    gecos: Ubuntu
"""
#: Nobody sits at the console, and the clock and unattended upgrades are this computer's.
_MASKED = (
    "console-getty.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "systemd-timesyncd.service",
    "systemd-networkd-wait-online.service",
)


KEPT_SECONDS = 7 * 86400.0  # that a base is used again


def place() -> Path:
    """Where the base is kept between runs: a folder below the temporary one, of exactly this base."""
    parts = [*PACKAGES, *_MASKED, CLOUD_INIT, Path("/etc/os-release").read_text()]
    parts += [Path(p).read_text() for p in settings.sources()]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"hotdesk-rig-base-{digest}"


def make(folder: Path | None = None) -> Path:
    """The base's root below `folder`, made once however many ask; about 260 MB and half a minute."""
    if folder is None:
        folder = place()
        for old in folder.parent.glob("hotdesk-rig-base-*"):  # of packages that are out of date by now
            with contextlib.suppress(OSError):
                if time.time() - (old / "made").stat().st_mtime > KEPT_SECONDS:
                    shutil.rmtree(old)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    root = folder / "root"
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            shutil.rmtree(root, ignore_errors=True)  # of a maker that was killed
            begun = time.monotonic()
            _build(root)
            (folder / "made").write_text(f"{time.monotonic() - begun:.1f}\n")
    finally:
        os.close(lock)
    return root


def _build(root: Path) -> None:
    options = [f"--aptopt={p}" for p in settings.apt_options()]
    release = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line
    )
    run(
        "unshare",  # what it mounts ends with it, even when it is killed
        "--mount",
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        *options,
        "--dpkgopt=force-unsafe-io",  # a power cut now costs nothing but a second try
        *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "info", "locale")),
        "--aptopt=Acquire::Languages none",
        release["VERSION_CODENAME"].strip('"'),
        str(root),
        *settings.sources(),
        seconds=480,
    )
    (root / "etc/cloud/cloud.cfg.d/90-rig.cfg").write_text(CLOUD_INIT)
    for path in (root / "etc/apt").glob("sources.list*"):  # lent while a machine runs, not part of it
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (root / "etc/apt/sources.list.d").mkdir()
    for unit in _MASKED:
        (root / "etc/systemd/system" / unit).unlink(missing_ok=True)
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    (root / "etc/machine-id").write_text("")  # each machine makes its own
    (root / "etc/hostname").unlink(missing_ok=True)
