"""Call the job runner at a desk (guest/runner.py), installing it there on first use."""

from __future__ import annotations

import hashlib
import io
import os
import platform
import posixpath
import shlex
import subprocess
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import msgspec

import hotdesk
from hotdesk.connect import ssh
from hotdesk.core import shell, wire
from hotdesk.core.errors import NeedsDecision, Unreachable
from hotdesk.core.jobs import Job, SeenJob, Variables
from hotdesk.core.ports import Access

_RUNNER = (
    *("runner", "attempt", "checkpoints", "hooks", "install", "measure"),
    *("process_tree", "job_files", "variables", "data", "data_source", "data_record"),
    *("data_mount", "mounts"),
)
_MAIN = b"import sys\nfrom hotdesk.guest import runner\nsys.exit(runner.main(sys.argv[1:]))\n"
_ABSENT = 74  # exit status of our shell line: the runner is not installed
SECONDS = 60.0


class Looked(msgspec.Struct, frozen=True):
    now: float  # the desk's clock
    jobs: list[SeenJob]


@cache
def packed_runner() -> tuple[str, bytes]:
    """The runner's file name at a desk, with a digest of its source; and the zip that Python runs."""
    packed = io.BytesIO()
    package = Path(hotdesk.__file__).parent
    texts = {f"hotdesk/guest/{n}.py": (package / "guest" / f"{n}.py").read_bytes() for n in _RUNNER}
    texts["lines/sitecustomize.py"] = (package / "guest" / "sitecustomize.py").read_bytes()
    texts |= {"hotdesk/__init__.py": b"", "hotdesk/guest/__init__.py": b"", "__main__.py": _MAIN}
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in sorted(texts.items()):  # undated, so that equal sources give equal bytes
            file.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    digest = hashlib.sha256(repr(sorted(texts.items())).encode()).hexdigest()[:12]
    return f"runner-{digest}.py", packed.getvalue()


def _line(words: tuple[str, ...]) -> str:
    name, _ = packed_runner()
    return f"test -f .hotdesk/{name} || exit {_ABSENT}; exec python3 .hotdesk/{name} {shlex.join(words)}"


def run_there(
    access: Access, line: str, given: bytes = b"", seconds: float = SECONDS
) -> subprocess.CompletedProcess[bytes]:
    """Run a shell line at the desk, without the user's own shell settings. Raises `Unreachable`."""
    try:
        done = subprocess.run(
            ssh.question(access, line), input=given, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unreachable(
            f"{access.desk} does not answer.", f"A command took more than {seconds:.0f} s.", _fix(access)
        ) from None
    if done.returncode == 255:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Unreachable(
            f"{access.desk} does not answer.", words[-1] if words else "ssh gives no reason.", _fix(access)
        )
    return done


def _fix(access: Access) -> str:
    return f"hotdesk show {access.desk}"


def ask(access: Access, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run one command of the runner, installing it if absent. Raises `Unreachable`."""
    done = run_there(access, _line(words), given)
    if done.returncode == _ABSENT:
        name, text = packed_runner()
        file = f".hotdesk/{name}"
        place = f"umask 077; mkdir -p .hotdesk && cat > {file}.new && mv {file}.new {file}"
        _checked(access, run_there(access, place, text))
        done = run_there(access, _line(words), given)
    return done


def _checked(access: Access, done: subprocess.CompletedProcess[bytes]) -> bytes:
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Unreachable(
            f"{access.desk} cannot manage jobs at the moment.",
            words[-1] if words else f"Its runner ended with {done.returncode}.",
            f"hotdesk ssh {access.desk} -- df -h .",
        )
    return done.stdout


def look(access: Access) -> Looked:
    """List all jobs at the desk. Raises `Unreachable`."""
    return _looked(access, _checked(access, ask(access, "look")))


def _looked(access: Access, said: bytes) -> Looked:
    try:
        return wire.json(said, Looked)
    except msgspec.DecodeError as error:
        raise Unreachable(f"{access.desk} gave an unreadable answer.", str(error), _fix(access)) from error


def begin(
    access: Access, job: Job, attempt: int, restore: int = 0, variables: Variables | None = None
) -> Looked:
    """Begin exactly this attempt, and look; idempotent. Raises `Unreachable`.

    The values of its variables go through the connection into the memory of the runner, and into no file.
    """
    order = {
        "id": job.id,
        "attempt": attempt,
        "restore": restore,
        "command": job.command,
        "resume_command": job.resume_command,
        "folder": job.folder,
        "before": shell.before(" ".join((*job.command, *job.resume_command))),
        "checkpoint": job.checkpoint,
        "signal": job.signal,
        "grace_seconds": job.grace_seconds,
        "install": job.install,
        "variables": variables.values if variables else {},
        "secrets": variables.secrets if variables else (),
    }
    return _looked(access, _checked(access, ask(access, "begin", given=msgspec.json.encode(order))))


def cancel(access: Access, id_: str) -> None:
    _checked(access, ask(access, "cancel", id_))


def notice(access: Access) -> None:
    """Ask every running job for a checkpoint, in the way its options say. Raises `Unreachable`."""
    _checked(access, ask(access, "notice"))


def begin_ready(access: Access) -> None:
    """Begin the person's hook of a desk that is up, once for each start of its machine (guest/hooks.py)."""
    _checked(access, ask(access, "ready"))


def has(access: Access, folder: str, word: str = "") -> bool:
    """Whether the desk has a program of that name; with a slash, in this folder of its home; without a name,
    whether it has the folder."""
    line = f"command -v -- {shlex.quote(word)} >/dev/null 2>&1"
    if not word:
        line = f"test -d ~/{shlex.quote(folder)}"
    elif "/" in word:
        place = f"~/{shlex.quote(word[2:])}" if word.startswith("~/") else shlex.quote(word)
        line = f"cd ~/{shlex.quote(folder)} && test -x {place}"
    return run_there(access, shell.told(line)).returncode == 0


def installs(access: Access, project: str) -> bool:
    """Whether something was installed for this project at the desk."""
    return ask(access, "installed", project).returncode == 0


def claim(access: Access, target: str, here: Path, *, anyway: bool) -> None:
    """Record at the desk which local folder `target` comes from.

    Raises `NeedsDecision` if it came from another one before (two projects of one name, or one project on
    two computers), unless `anyway`.
    """
    mine = f"{platform.node()}:{os.path.realpath(here)}"
    check = (
        "" if anyway else '[ -e "$d" ] && [ -s "$f" ] && [ "$(cat "$f")" != "$m" ] && cat "$f" && exit 7; '
    )
    kept = f".hotdesk/from/{posixpath.normpath(target).replace('/', '%')}"
    line = f"d={shlex.quote(target)} f={shlex.quote(kept)} m={shlex.quote(mine)}; {check}"
    done = run_there(access, f'{line}mkdir -p .hotdesk/from && printf %s "$m" > "$f"')
    if done.returncode == 7:
        theirs = done.stdout.decode("utf-8", "replace")
        raise NeedsDecision(
            f"{target} at {access.desk} is from another folder: {theirs}.",
            f"Files of both would be mixed there. This one is {mine}.",
            f"hotdesk ssh {access.desk} -- mv {shlex.quote(target)} {shlex.quote(target + '-other')}"
            "   # or: the same command with --yes",
        )
    _checked(access, done)


def follow(
    access: Access, id_: str, offset: int, on_output: Callable[[bytes], None], *, to_the_end: bool = True
) -> tuple[int, Looked | None]:
    """Stream a job's log from byte `offset` on; return the offset reached, and a look at all jobs then.

    Returns when the attempt ends or the connection is lost: then there is no look.
    """
    words = ("log", id_, str(offset), *(["-f"] if to_the_end else []))
    with (
        tempfile.TemporaryFile() as told,
        subprocess.Popen(
            ssh.question(access, _line(words)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=told,
            bufsize=0,
        ) as client,
    ):
        assert client.stdout is not None
        try:
            while chunk := client.stdout.read(65536):
                offset += len(chunk)
                on_output(chunk)
            client.wait(SECONDS)
            told.seek(0)
            return offset, _looked(access, told.read().strip().rpartition(b"\n")[2])
        except (Unreachable, subprocess.TimeoutExpired):
            return offset, None
        finally:
            client.kill()
