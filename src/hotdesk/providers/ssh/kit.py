"""Look at a machine, and bring what hotdesk needs there: a Python environment below the one folder.

Nothing is fetched by the machine itself, which may have no way out. Where it has the same Python and the same
kind of processor as this computer, the packages are copied from here; otherwise wheels for it are downloaded
here, and sent.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import platform
import re
import shlex
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import Distribution
from pathlib import Path
from typing import IO, Any

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.matching import InstanceType
from hotdesk.core.model import Value
from hotdesk.providers.local.offers import read_nvidia
from hotdesk.providers.local.runtime import python_env
from hotdesk.providers.ssh.line import Far, Silent, full_or, library_name

OLDEST = (3, 11)
ROOTS = (
    "argon2-cffi",
    "asyncssh",
    "blake3",
    "ipykernel",
    "jupyterlab",
    "msgspec",
    "pip",
    "psutil",
    "zstandard",
)
_MODULES = "argon2, asyncssh, blake3, ipykernel, jupyterlab, msgspec, pip, psutil, zstandard"
_KIT_BYTES = 400_000_000  # of the environment and hotdesk, with some margin
_SECONDS = 900.0

#: What the machine is. In sh, by what every Linux has; the folder's disk is that of its nearest parent.
_PROBE = """\
printf 'system %s\\nmachine %s\\n' "$(uname -s)" "$(uname -m)"
printf 'libc %s\\n' "$(getconf GNU_LIBC_VERSION 2>/dev/null || ls /lib/ld-musl-* 2>/dev/null)"
printf 'cpus %s\\n' "$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)"
printf 'memory %s\\n' "$(sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo)"
f=@FOLDER@; while [ ! -d "$f" ]; do f=$(dirname "$f"); done
printf 'free %s\\n' "$(df -Pk "$f" | awk 'NR == 2 { print $4 }')"
[ -w "$f" ] || echo 'locked yes'
nvidia-smi --query-gpu=name,memory.total --format=csv,noheader,nounits 2>/dev/null | sed 's/^/gpu /'
nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits 2>/dev/null | sed 's/^/used /'
for p in python3.14 python3.13 python3.12 python3.11 python3 "$HOME"/.local/bin/python3.1? \\
  "$HOME"/.local/share/uv/python/*/bin/python3 "$HOME"/mini*/bin/python "$HOME"/anaconda3/bin/python \\
  "$HOME"/mini*/envs/*/bin/python /opt/conda/bin/python /usr/local/bin/python3.1?; do
  p=$(command -v "$p" 2>/dev/null) && "$p" -c 'import sys, venv, ssl, sqlite3, ctypes
print("python %d.%d %s" % (*sys.version_info[:2], sys.executable))' 2>/dev/null
done
true
"""


class Facts(Value, frozen=True):
    """What a machine is, as it said itself."""

    system: str = ""
    machine: str = ""
    libc: str = ""
    cpus: float = 1
    memory_gib: float = 0.0
    free_bytes: int = 0
    locked: bool = False  # the folder's place may not be written to
    gpu: str = ""
    gpu_count: int = 0
    gpu_memory_gib: float = 0.0
    gpu_used_gib: float = 0.0  # by whoever else works there
    pythons: tuple[tuple[str, str], ...] = ()  # (version, path)

    @property
    def arch(self) -> str:
        return {"amd64": "x86_64", "aarch64": "arm64"}.get(self.machine.lower(), self.machine.lower())

    def types(self) -> list[InstanceType]:
        """The machine with its GPU, if it has one, and without."""
        plain = InstanceType(
            provider="ssh",
            instance_type="ssh.cpu",
            vcpus=self.cpus,
            memory_gib=self.memory_gib,
            arch=self.arch,
        )
        if not self.gpu:
            return [plain]
        with_gpu = InstanceType(
            provider="ssh",
            instance_type="ssh.gpu",
            gpu=self.gpu,
            gpu_count=self.gpu_count,
            gpu_memory_gib=self.gpu_memory_gib,
            vcpus=self.cpus,
            memory_gib=self.memory_gib,
            arch=self.arch,
        )
        return [with_gpu, plain]


def look(far: Far, seconds: float = 30.0) -> Facts:
    """What the machine is. Raises `Refused`, `Silent`."""
    done = far.run(_PROBE.replace("@FOLDER@", far.folder), seconds=seconds)
    said: dict[str, list[str]] = {}
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        word, _, rest = line.partition(" ")
        said.setdefault(word, []).append(rest.strip())
    if "system" not in said:
        raise Silent(f"{far.name} answers, but runs no shell script")
    one = {word: rows[0] for word, rows in said.items()}
    gpu, count, memory = read_nvidia("\n".join(said.get("gpu", ())))
    pythons = [(v, path) for v, _, path in (row.partition(" ") for row in said.get("python", ()))]
    return Facts(
        system=one["system"],
        machine=one.get("machine", ""),
        libc=one.get("libc", ""),
        cpus=_number(one.get("cpus")) or 1,
        memory_gib=round(_number(one.get("memory")) / 2**20, 1),
        free_bytes=int(_number(one.get("free")) * 1024),
        locked="locked" in said,
        gpu=gpu,
        gpu_count=count,
        gpu_memory_gib=memory,
        gpu_used_gib=round(sum(map(_number, said.get("used", ()))) / 1024, 1),
        pythons=tuple(dict.fromkeys(pythons)),
    )


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


# ---- the environment ---------------------------------------------------------------------------------


def bring(far: Far, report: Callable[[float, str], None]) -> None:
    """Put the environment and hotdesk there, unless they are. Cut off and repeated, it goes on.

    Raises `Refused` where the machine cannot have it, `Silent` where the line is cut.
    """
    report(0.01, f"looking at {far.name}")
    facts = look(far)
    python = _python(far, facts)
    dists = python_env.closure(ROOTS)
    alike = _alike(facts, python[0])
    named = [f"{name} {dist.version}" for name, dist in sorted(dists.items())]
    digest = hashlib.sha256("\n".join([*python, facts.machine, facts.libc, *named]).encode()).hexdigest()
    kit = f"kit-{digest[:12]}"
    there = far.run(f"cd {far.folder} 2>/dev/null && test -x {kit}/bin/python").returncode == 0
    if not there:
        if facts.free_bytes < _KIT_BYTES:
            raise Refused(
                Kind.NO_SPACE,
                f"{far.name} has {facts.free_bytes / 2**20:,.0f} MiB free in {far.machine.folder}, and "
                f"hotdesk itself needs {_KIT_BYTES / 2**20:,.0f} MiB there",
                seconds=0.0,
            )
        building = f"{kit}.{far.owner}"
        script = (
            f"mkdir -p {far.folder} && cd {far.folder} && chmod 700 . && "
            f"{{ [ -x {building}/bin/python ] || "
            f"{shlex.quote(python[1])} -m venv --without-pip --symlinks {building}; }} && "
            f"mkdir -p {building}/.have && ls {building}/.have"
        )
        done = far.run(script)
        if done.returncode:
            raise full_or(done, f"a Python environment could not be made at {far.name}")
        have = set(done.stdout.decode().split())
        if alike:
            todo = {name: dist for name, dist in dists.items() if f"{name}-{dist.version}" not in have}
            report(0.02, f"sending {len(todo)} packages to {far.name}")
            _copy(far, building, todo, report)
        else:
            pinned = [f"{name}=={dist.version}" for name, dist in dists.items()]
            report(0.05, f"downloading packages for Python {python[0]} of {far.name} here")
            _by_wheels(far, building, python[0], facts, pinned)
        report(0.95, f"trying them at {far.name}")
        test = (
            f"cd {far.folder} && {building}/bin/python -c 'import {_MODULES}' && rm -rf {building}/.have && "
            f"{{ [ -d {kit} ] || mv {building} {kit}; }}; rm -rf {building}; test -x {kit}/bin/python"
        )
        done = far.run(test, seconds=_SECONDS)
        if done.returncode:
            raise full_or(done, f"what hotdesk needs does not run at {far.name}")
    far.send_library() if not _has_library(far) else None
    link = (
        f"cd {far.folder} && mkdir -p -m 700 {far.owner} && ln -sfn ../{kit} {far.owner}/kit.new && "
        f"{{ mv -T {far.owner}/kit.new {far.owner}/kit 2>/dev/null || "
        f"{{ rm -f {far.owner}/kit; mv {far.owner}/kit.new {far.owner}/kit; }}; }}"
    )
    done = far.run(link)
    if done.returncode:
        raise full_or(done, f"{far.name} could not be set up")


def _has_library(far: Far) -> bool:
    return far.run(f"test -d {far.folder}/{library_name()}/hotdesk").returncode == 0


def _python(far: Far, facts: Facts) -> tuple[str, str]:
    """The version and path of the Python there to use: ours if it has that, else the newest that will do."""
    if facts.system != "Linux":
        raise Refused(Kind.UNSUPPORTED, f"{far.name} runs {facts.system}, and desks need Linux", seconds=0.0)
    if facts.locked:
        raise Refused(
            Kind.DENIED, f"{far.name} does not let you write to {far.machine.folder}",
            fix=f"hotdesk up --host {far.machine.host} --folder /a/folder/of/yours", seconds=0.0,
        )  # fmt: skip
    fit = [(v, path) for v, path in facts.pythons if _version(v) >= OLDEST]
    if not fit:
        had = ", ".join(sorted({v for v, _ in facts.pythons})) or "none"
        raise Refused(
            Kind.UNSUPPORTED,
            f"{far.name} has no Python {'.'.join(map(str, OLDEST))} or later (it has: {had}), and hotdesk "
            "cannot bring one",
            fix=f"ssh {far.machine.host} 'curl -LsSf https://astral.sh/uv/install.sh | sh && "
            "~/.local/bin/uv python install 3.12'   # no root needed; or by conda",
            seconds=0.0,
        )
    ours = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return next((one for one in fit if one[0] == ours), max(fit, key=lambda one: _version(one[0])))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


def _alike(facts: Facts, version: str) -> bool:
    """Whether this computer's own packages run there."""
    name, here = platform.libc_ver()
    found = re.fullmatch(r"glibc ([\d.]+)", facts.libc)
    same = version == f"{sys.version_info[0]}.{sys.version_info[1]}" and facts.machine == platform.machine()
    return bool(same and name == "glibc" and found and _version(found[1]) >= _version(here))


class _Sending(io.RawIOBase):
    """Counts what goes to a process there."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        try:
            self._pipe.write(data)
        except OSError as error:
            raise Silent(f"the line was cut: {error}") from error
        return len(data)


def _copy(
    far: Far, building: str, dists: dict[str, Distribution], report: Callable[[float, str], None]
) -> None:
    """Send packages of this computer, one after the other; each is marked as there once it is."""
    with far.started(f"cd {far.folder}/{building} && tar -xzf - && echo done") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with (  # tar ends with the stream
            gzip.GzipFile(fileobj=_Sending(process.stdin), mode="wb", compresslevel=4) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
        ):
            for number, (name, dist) in enumerate(sorted(dists.items())):
                report(0.05 + 0.9 * number / len(dists), f"sending {name} to {far.name}")
                for path, target in _placed(dist):
                    archive.add(path, target, recursive=False)
                mark = tarfile.TarInfo(f".have/{name}-{dist.version}")
                archive.addfile(mark, io.BytesIO())
        with contextlib.suppress(OSError):
            process.stdin.close()
        if process.stdout.read().strip() != b"done":
            raise Silent(f"the packages did not all arrive at {far.name}")


def _placed(dist: Distribution) -> Iterator[tuple[Path, str]]:
    """The files of a distribution, and where each belongs in an environment of the same Python."""
    site = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    base = Path(str(dist.locate_file("")))
    for line in python_env.recorded(dist):
        target = os.path.normpath(f"{site}/{line}")
        path = base / line
        if target.startswith(("bin/", "..")) or "__pycache__" in target or not path.is_file():
            continue
        yield path, target


def _by_wheels(far: Far, building: str, version: str, facts: Facts, pinned: list[str]) -> None:
    """Download wheels for that machine here, send them, and install them there without any network."""
    with tempfile.TemporaryDirectory(prefix="hotdesk-") as folder:
        tags = [word for tag in _tags(facts) for word in ("--platform", tag)]
        done = subprocess.run(
            [
                sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:",
                "--python-version", version, "--implementation", "cp",
                "--abi", f"cp{version.replace('.', '')}", "--abi", "abi3", "--abi", "none", *tags,
                "-d", folder, *pinned,
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["pip gives no reason"])[-1]
            raise Refused(
                Kind.UNSUPPORTED,
                f"there are no packages for Python {version} of {far.name} ({facts.machine}, {facts.libc}): "
                f"{said}",
                seconds=0.0,
            )
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for wheel in sorted(Path(folder).iterdir()):
                archive.add(wheel, wheel.name)
    script = (
        f"cd {far.folder}/{building} && mkdir -p .wheels && tar -xf - -C .wheels && "
        "bin/python $(ls .wheels/pip-*.whl)/pip install -q --no-compile --no-index --no-deps .wheels/*.whl "
        "&& rm -rf .wheels"
    )
    done_there = far.run(script, packed.getvalue(), seconds=_SECONDS)
    if done_there.returncode:
        raise full_or(done_there, f"the packages could not be installed at {far.name}")


def _tags(facts: Facts) -> list[str]:
    """Tags of wheels that run there (PEP 600, PEP 656)."""
    machine = facts.machine
    if "musl" in facts.libc:
        return [f"musllinux_1_2_{machine}", f"musllinux_1_1_{machine}"]
    found = re.fullmatch(r"glibc 2\.(\d+)", facts.libc)
    newest = int(found[1]) if found else 17
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(newest, 4, -1)]
    return [*tags, f"manylinux2014_{machine}", f"manylinux2010_{machine}", f"manylinux1_{machine}"]
