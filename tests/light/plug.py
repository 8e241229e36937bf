"""The hooks that the fake EC2 calls (`fake_ec2.rig`): volumes are folders, machines are processes."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import asyncssh

from fake_ec2.rig import Machines
from tests import forked
from tests.light.machine import PORT, ROOT, end_all, environment

#: What a whole system keeps in folders of its own is not to be looked for in this computer's.
_SHELL = """\
#!/bin/bash
[ "$1" = -c ] || exec /bin/bash "$@"
line=${{2//\\/var\\/lib\\/hotdesk/{lib}}}
exec /bin/bash -c "${{line//\\/run\\/cloud-init/{lib}}}" "${{@:3}}"
"""
_HOST_KEYS = "-----BEGIN SSH HOST KEY KEYS-----\n{key} root@ip\n-----END SSH HOST KEY KEYS-----\n"
#: A serial console has many writers: the kernel's line stands in the middle of a key.
_KERNEL = "[   31.337203] NET: Registered PF_VSOCK protocol family\n"
#: Of cloud-config in plain text: ours is compressed, and lets nobody else in.
_KEY = re.compile(r"ssh-(?:rsa|ed25519) [A-Za-z0-9+/=]+")


class LightMachines(Machines):
    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"hotdesk-light-{os.getpid()}-"))
        self.dice = random.Random(os.getpid())
        self.lock = threading.RLock()
        if compiler := shutil.which("cc"):  # without it, two machines cannot use the same ports
            source = Path(__file__).with_name("bind.c")
            made = [
                compiler,
                "-shared",
                "-fPIC",
                "-O1",
                "-o",
                str(self.folder / "bind.so"),
                str(source),
                "-ldl",
            ]
            subprocess.run(made, check=True)
        self.running: dict[
            str, tuple[subprocess.Popen[str] | forked.Begun, str]
        ] = {}  # by instance: process and mark
        self.volumes: dict[str, str] = {}  # by instance
        self.consoles: dict[str, str] = {}

    def start(self, machine: dict[str, Any]) -> dict[str, Any]:
        root = next(d for d in machine["disks"] if d["root"])
        volume = self._volume(root["volume_id"], root["snapshot_id"])
        self._set_up(volume, [machine["public_key"], *_KEY.findall(machine["user_data"].decode("latin-1"))])
        mark = f"{self.folder.name.rpartition('-')[2]}-{machine['id'][-8:]}-{self.dice.randrange(10**6)}"
        Path(f"/tmp/hdl-{mark}").mkdir(mode=0o700)
        address = self._address()
        process = forked.begin_module(
            [sys.executable, "-m", "tests.light.machine", str(volume), address, mark],
            {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        )
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            process.kill()
            shutil.rmtree(f"/tmp/hdl-{mark}", ignore_errors=True)
            raise RuntimeError("the light machine does not start")
        with self.lock:
            self.running[machine["id"]] = (process, mark)
            self.volumes[machine["id"]] = root["volume_id"]
        key = (volume / "etc" / "host_key.pub").read_text().strip()
        console = _HOST_KEYS.format(key=key) + _HOST_KEYS.format(key=key[:52] + _KERNEL + key[52:])
        self.consoles[machine["id"]] = console
        return {"public_ip": address, "private_ip": address, "console": console}

    def console(self, instance_id: str) -> str | None:
        return self.consoles.get(instance_id)

    def stop(self, machine: dict[str, Any]) -> None:
        self._end(machine["id"])

    def terminate(self, machine: dict[str, Any]) -> None:
        self._end(machine["id"])

    def warn(self, instance_id: str, action: str, at: float) -> None:
        """What the agent of a real machine does when the metadata service tells it."""
        with self.lock:
            _, mark = self.running[instance_id]
            home = self.folder / self.volumes[instance_id] / "home"
        kinds = ("runner-*.py", "sweep-*.py")
        for runner in (file for kind in kinds for file in (home / ".hotdesk").glob(kind)):
            subprocess.run(
                ["python3", str(runner), "notice"],
                env=environment(home.parent, mark),
                cwd=home,
                stdin=subprocess.DEVNULL,
                timeout=20,
                check=False,
            )

    def bake(self, snapshot_id: str, volume_id: str) -> None:
        with self.lock:
            shutil.copytree(self.folder / volume_id, self.folder / snapshot_id, symlinks=True)

    def copy(self, snapshot_id: str, source_id: str) -> None:
        with self.lock:
            shutil.copytree(self.folder / source_id, self.folder / snapshot_id, symlinks=True)

    def restore(self, volume_id: str, snapshot_id: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._volume(volume_id, snapshot_id)

    def forget(self, thing_id: str) -> None:
        with self.lock:
            shutil.rmtree(self.folder / thing_id, ignore_errors=True)

    def close(self) -> None:
        for instance_id in list(self.running):
            self._end(instance_id)
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- inside --------------------------------------------------------------------------------------

    def _volume(self, volume_id: str, snapshot_id: str | None) -> Path:
        """A stranger's snapshot is the base image: an empty home."""
        folder, source = self.folder / volume_id, self.folder / (snapshot_id or "none")
        with self.lock:
            if not folder.exists():
                if source.exists():
                    shutil.copytree(source, folder, symlinks=True)
                else:
                    (folder / "home").mkdir(parents=True)
                    (folder / "etc").mkdir()
        return folder

    def _set_up(self, volume: Path, public_keys: list[str]) -> None:
        (volume / "etc" / "authorized_keys").write_text(
            "".join(f"{key.strip()}\n" for key in public_keys if key)
        )
        key = volume / "etc" / "host_key"
        if not key.exists():
            made = asyncssh.generate_private_key("ssh-ed25519")
            made.write_private_key(str(key))
            key.with_suffix(".pub").write_text(made.export_public_key().decode())
        shell = volume / "etc" / "bash"
        shell.write_text(_SHELL.format(lib=str(volume / "lib").replace("/", "\\/")))
        shell.chmod(0o755)
        path = environment(volume, "")["PATH"]
        (volume / "home" / ".profile").write_text(f"PATH={path}; export PATH\n")

    def _address(self) -> str:
        while True:
            parts = [self.dice.randrange(64, 255), self.dice.randrange(256), self.dice.randrange(1, 255)]
            address = "127." + ".".join(map(str, parts))
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.bind((address, PORT))
                return address

    def _end(self, instance_id: str) -> None:
        with self.lock:
            process, mark = self.running.pop(instance_id, (None, ""))
            self.consoles.pop(instance_id, None)  # another may get the id, in a world that has begun anew
        if process is not None:
            process.kill()
            process.wait()
            end_all(mark)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
            shutil.rmtree(f"/tmp/hdl-{mark}", ignore_errors=True)
