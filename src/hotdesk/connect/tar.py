"""Copy files by tar over ssh where there is no rsync; and the errors of both ways of copying."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from hotdesk.connect import job_runner, placing, ssh
from hotdesk.connect.ssh_options import Use
from hotdesk.core.errors import Missing, NeedsDecision, Unknown, Unreachable
from hotdesk.core.ports import Access

NOT_EMPTY = "cannot delete non-empty directory: "
_NO_SPACE = 11  # an exit status of rsync's
#: rsync's exit statuses where the line, or its other half, went away: of a killed half 16, "sibling process
#: terminated abnormally", as often as 12 (rsync 3.5.0). Above 128 they are ssh's, or of a signal at that end.
_LOST = frozenset({10, 12, 14, 15, 16, 19, 20, 30, 35})
_FULL = re.compile(r"\((?:28|122)\)|No space left|Disk quota")
_SOME = {1, 2}  # GNU tar: a file changed, or could not be read; all others are in the archive
_ABSENT = 44  # exit status of our shell line: the source does not exist


def push(
    access: Access, given: Sequence[tuple[Path, Sequence[str]]], target: str, key: str
) -> tuple[str, ...]:
    """Copy the named files of each folder into `target`; they move into place when all have arrived.

    Returns the links here that are folders at the desk: the folders stay.
    """
    at, kept = f".hotdesk/copying/{key}", list[str]()
    for folder, names in given:
        argv = [ssh.program("tar"), *_sparse(), "-C", str(folder), "-cf", "-"]
        argv += ["--no-recursion", "--null", "-T", "-"]
        line = f"cd && rm -rf {at}/tree && mkdir -p {at}/tree && exec tar -xpf - -C {at}/tree"
        every = sorted({part for name in names for part in parts(name)})  # folders bring their permissions
        _piped(access, argv, line, b"".join(b"./" + os.fsencode(n) + b"\0" for n in every))
        words = ["-", f"{at}/tree", plain(target)]
        put = f"cd && python3 {shlex.join(words)} && rm -rf {at}/tree"
        done = job_runner.run_there(access, put, Path(placing.__file__).read_bytes())
        said = done.stderr.decode("utf-8", "replace").splitlines()
        complain(done.returncode, said[-1:], "Not everything was copied", access)
        for name in (os.fsdecode(n) for n in done.stdout.split(b"\0") if n):
            if not (folder / name).is_symlink():
                complain(1, [f"could not make way for {name}"], "Not everything was copied", access)
            kept.append(name)
    return tuple(kept)


def _there(access: Access, line: str) -> list[str]:
    return [*ssh.ssh(access, use=Use.COPY), "--", line]


def _piped(access: Access, argv: list[str], line: str, names: bytes) -> None:
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as words:
        given.write(names)
        given.seek(0)
        with (
            subprocess.Popen(argv, stdin=given, stdout=subprocess.PIPE, stderr=words) as packer,
            subprocess.Popen(
                _there(access, line), stdin=packer.stdout, stdout=subprocess.DEVNULL, stderr=words
            ) as client,
        ):
            assert packer.stdout is not None
            packer.stdout.close()
            try:
                client.wait()
            except BaseException:
                packer.terminate()
                client.terminate()
                raise
        words.seek(0)
        said = words.read().decode("utf-8", "replace").splitlines()
    complain(client.returncode or packer.returncode, said, "Not everything was copied", access)


def pull(access: Access, sources: Sequence[str], tree: Path, below: str) -> tuple[list[str], list[str]]:
    """Copy files and folders into `tree`, a folder here.

    Returns the sources that do not exist at the desk, and why others could not be read there.
    """
    absent, failed = list[str](), list[str]()
    for source in sources:
        at, name = (below, source) if below else (source, ".")
        if not below and "/./" in source:  # its path is kept from there
            at, _, name = source.partition("/./")
        elif not below and not source.endswith("/"):
            at, slash, name = source.rpartition("/")
            at = at or slash
        at, name = shlex.quote(plain(at)), shlex.quote(f"./{name.rstrip('/')}")
        line = (
            f"cd && cd -- {at} 2>/dev/null && test -e {name} || exit {_ABSENT}; "
            # Follow a source that is a link.
            f"n={name}; how=c; test ! -L {name} || if test -d {name}; then n={name}/.; else how=ch; fi; "
            'tar --version 2>/dev/null | grep -q GNU && exec tar -"$how"Sf - "$n" || exec tar -"$how"f - "$n"'
        )
        unpack = [ssh.program("tar"), "-xpf", "-", "-C", str(tree)]
        with tempfile.TemporaryFile() as words:
            with (
                subprocess.Popen(
                    _there(access, line),
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=words,
                ) as client,
                subprocess.Popen(
                    unpack, stdin=client.stdout, stdout=subprocess.DEVNULL, stderr=words
                ) as unpacker,
            ):  # fmt: skip
                assert client.stdout is not None
                client.stdout.close()
                try:
                    unpacker.wait()
                    client.wait()
                except BaseException:
                    client.terminate()
                    unpacker.terminate()
                    raise
            words.seek(0)
            said = words.read().decode("utf-8", "replace").splitlines()
        if client.returncode == _ABSENT:
            absent.append(source)
        elif client.returncode in _SOME and unpacker.returncode == 0:
            failed += said
        else:
            what = f"Not everything was copied from {access.desk}"
            complain(client.returncode or unpacker.returncode, said, what, access)
    return absent, failed


@cache
def _sparse() -> tuple[str, ...]:
    """tar's option to keep holes: only GNU tar needs it; others do it by themselves, or cannot."""
    said = subprocess.run(["tar", "--version"], capture_output=True, text=True, check=False).stdout
    return ("-S",) if "GNU" in said else ()


# ---- both ways ----------------------------------------------------------------------------------------


def plain(path: str) -> str:
    """A path that cannot be taken for an option or for HOST:PATH."""
    return path if path.startswith("/") else f"./{path}"


def parts(path: str) -> list[str]:
    """A path and its parent folders, outermost first."""
    words = path.strip("/").split("/")
    return ["/".join(words[:length]) for length in range(1, len(words) + 1)]


def is_full(said: Sequence[str]) -> bool:
    """Whether these messages say that a disk or a quota is full."""
    return any(_FULL.search(line) for line in said)


def is_lost(status: int) -> bool:
    """Whether rsync ended because its other half was gone: the same may go on later."""
    return status in _LOST or status > 128


def complain(status: int, said: Sequence[str], what: str, access: Access) -> None:
    """Raise the `HotdeskError` for a failed copy; return if `status` is 0."""
    if status == 0:
        return
    why = next((w for w in said if w.strip()), f"No reason is given (status {status}).")
    desk = access.desk
    if status == _NO_SPACE or is_full(said):
        raise Missing(f"{what}: a disk is full ({desk}).", why, f"df -h . && hotdesk ssh {desk} -- df -h .")
    if is_lost(status):
        raise Unreachable(f"{what}: {desk} does not answer.", why, f"hotdesk doctor {desk}")
    if any(NOT_EMPTY in line or "could not make way" in line for line in said):
        raise NeedsDecision(
            f"{what}: at {desk} a folder is where a file should go.",
            f"{why}. Nothing is deleted there.",
            f"hotdesk ssh {desk}   # give one of them another name",
        )
    raise Unknown(f"{what} ({desk}).", f"{why} What was copied is whole.", f"hotdesk ssh {desk} -- ls -la")
