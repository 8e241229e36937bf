"""A project's folder, copied to a desk as git sees it: what .gitignore names stays here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from hotdesk.connect import ssh
from hotdesk.core.errors import Unreachable
from hotdesk.core.ports import Access

Progress = Callable[[str], None]
PARTIAL = 23  # rsync's exit status where some were copied, and others could not be
#: How it names what does not exist, whatever language the desk speaks: 2 is ENOENT.
_ABSENT = re.compile(r'(?:link_stat|change_dir) "(.*)" failed: .*\(2\)$')
_HANGS_UP = " (32)"  # EPIPE: the desk's side has nothing to send, and ends before ours
_SHARE = re.compile(rb"(\d+)% +(\S+/s) +(\d+:\d+:\d+)")  # rsync --info=progress2


def listing(folder: Path) -> bytes | None:
    """The folder's files, each ended by a zero byte: all but what .gitignore names, at any depth.

    git itself is asked, for nobody else knows all its rules; also where the folder is in no repository.
    None when this computer has no git.
    """
    if shutil.which("git") is None:
        return None
    asked = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = _git(folder, *asked)
    if listed is None:
        with tempfile.TemporaryDirectory(prefix="hotdesk-") as empty:
            if _git(Path(empty), "init", "-q") is None:
                return None
            listed = _git(folder, f"--git-dir={empty}/.git", f"--work-tree={folder}", *asked)
    if listed is None:
        return None
    kept = [n for n in sorted(set(listed.split(b"\0"))) if n and _exists(folder, n)]
    return b"".join(name + b"\0" for name in kept)


def _exists(folder: Path, name: bytes) -> bool:
    path = folder / name.decode("utf-8", "surrogateescape")
    return path.exists() or path.is_symlink()


def _git(folder: Path, *words: str) -> bytes | None:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


def push(
    access: Access, folder: Path, target: str, *, on_progress: Progress | None = None, like: str = ""
) -> None:
    """Copy the folder's files to `target`, relative to the desk's home; again copies only what changed.

    A file there is the old one or the whole new one: what is stopped half-way lies in `.hotdesk-partial`
    beside it, where the next copying goes on. Nothing is deleted there. What lies unchanged in `like`, a
    folder beside it, is copied at the desk itself. Raises `Missing` without rsync, `Unreachable` when it does
    not arrive.
    """
    argv = [*_rsync(access, on_progress), "-r"]
    names = listing(folder)
    if names is None:
        argv += ["--filter=:- .gitignore", "--exclude=.git/"]
    else:
        argv += ["--from0", "--files-from=-"]
    if like:
        argv += [f"--copy-dest=../{like}"]
    argv += ["--", f"{folder}/", f"{_host(access)}:{target}/"]
    done = _copy(argv, names or b"", on_progress)
    _complain(done, f"{folder.name} could not be copied to {access.desk}.", access)


def pull(
    access: Access, sources: list[str], target: Path, *, on_progress: Progress | None = None
) -> list[str]:
    """Copy files and folders, relative to the desk's home, into a folder here: each file whole or not.

    Those of `sources` that do not exist at the desk; all others are here then. Raises `Unreachable`.
    """
    target.mkdir(parents=True, exist_ok=True)
    argv = [*_rsync(access, on_progress), "--", *(f"{_host(access)}:{s}" for s in sources), f"{target}/"]
    done = _copy(argv, b"", on_progress)
    told = [
        line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.startswith("rsync: ")
    ]
    absent = [found[1] for line in told if (found := _ABSENT.search(line))]
    others = [line for line in told if not _ABSENT.search(line) and not line.endswith(_HANGS_UP)]
    if done.returncode != PARTIAL or others:
        _complain(done, f"The results could not be copied from {access.desk}.", access)
    return [s for s in sources if any(path.endswith(f"/{part}") for path in absent for part in _parts(s))]


def _parts(path: str) -> list[str]:
    """A path and the folders that it is in: rsync names the first that is missing."""
    words = path.strip("/").split("/")
    return ["/".join(words[:length]) for length in range(1, len(words) + 1)]


def _copy(argv: list[str], given: bytes, on_progress: Progress | None) -> subprocess.CompletedProcess[bytes]:
    """Run rsync, telling how far it is; it ends with us."""
    with (
        tempfile.TemporaryFile() as names,
        tempfile.TemporaryFile() as words,
    ):
        names.write(given)
        names.seek(0)
        with subprocess.Popen(argv, stdin=names, stdout=subprocess.PIPE, stderr=words) as client:
            assert client.stdout is not None
            try:
                while said := os.read(client.stdout.fileno(), 4096):
                    found = _SHARE.findall(said)
                    if on_progress and found:
                        share, speed, left = (part.decode() for part in found[-1])
                        on_progress(f"{share} %, {speed}, {left} left")
            except BaseException:
                client.terminate()
                raise
        words.seek(0)
        return subprocess.CompletedProcess(argv, client.returncode, b"", words.read())


def _rsync(access: Access, on_progress: Progress | None) -> list[str]:
    from shlex import join

    shell = join([ssh.program("ssh"), *ssh.options(access), "-p", str(access.port)])
    shown = ["--info=progress2"] if on_progress else []
    return [ssh.program("rsync"), "-a", "-z", "-s", "--partial-dir=.hotdesk-partial", *shown, "-e", shell]


def _host(access: Access) -> str:
    host = f"[{access.host}]" if ":" in access.host else access.host
    return f"{access.user}@{host}"


def _complain(done: subprocess.CompletedProcess[bytes], what: str, access: Access) -> None:
    if done.returncode != 0:
        words = [w for w in done.stderr.decode("utf-8", "replace").splitlines() if w.strip()]
        raise Unreachable(what, words[0] if words else "rsync gives no reason.", f"hotdesk ssh {access.desk}")
