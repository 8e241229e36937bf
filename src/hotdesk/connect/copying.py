"""Copy files to and from a desk; each file is replaced atomically, so none is ever half written.

Uses rsync where both sides have a new enough one, else tar over ssh, which sends everything each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from hotdesk.connect import job_runner, placing, ssh, tar
from hotdesk.connect.sync import ARRIVING
from hotdesk.connect.tar import NOT_EMPTY, complain, is_full, parts, plain
from hotdesk.core.errors import Busy, Missing
from hotdesk.core.model import Value
from hotdesk.core.ports import Access
from hotdesk.system import flock

Progress = Callable[[str], None]
#: The first rsync that has every option used here. Apple's openrsync, and its rsync 2.6.9, lack several.
NEEDED = (3, 1)
DAYS = 6  # how long an interrupted copy is kept, to be continued
_PARTIAL = ".hotdesk-partial"  # beside a file at a desk: the part received so far
_SOME, _VANISHED = 23, 24  # rsync's exit statuses
#: How rsync reports a missing file, in any locale: 2 is ENOENT.
_ABSENT = re.compile(r'(?:link_stat|change_dir) "(.*)" failed: .*\(2\)$')
_IN_THE_WAY = re.compile(r"could not make way for new symlink: (.*)$")
_HANGS_UP = " (32)"  # EPIPE: one side ended before the other
_SHARE = re.compile(rb"(\d+)% +(\S+/s) +(\d+:\d+:\d+)")  # rsync --info=progress2


class Sent(Value, frozen=True):
    kept: tuple[str, ...] = ()  # links here that are non-empty folders at the desk: the folders stay


class Arrived:
    """Result of a pull; `placed` has `came` and `beside` by name, relative to the folder here."""

    def __init__(self, placed: placing.Placed, absent: list[str], failed: list[str]) -> None:
        self.placed = placed
        self.absent = absent  # sources that do not exist at the desk
        self.failed = failed  # what rsync or tar says about files it could not read


# ---- before anything is launched ---------------------------------------------------------------------


@cache
def rsync() -> str:
    """The path of this computer's rsync; "" if it is missing or older than `NEEDED`."""
    found = shutil.which("rsync")
    if found is None:
        return ""
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    told = re.match(r"rsync\s+version v?(\d+)\.(\d+)", said)
    return found if told and (int(told[1]), int(told[2])) >= NEEDED else ""


def check() -> str:
    """Return "" for rsync, else a sentence about the fallback to tar. Raises `Missing` without either."""
    ssh.program("ssh")
    if rsync():
        return ""
    ssh.program("tar")
    lacks = "an rsync that is too old" if shutil.which("rsync") else "no rsync"
    return (
        f"This computer has {lacks}: files go by tar, all of them each time (rsync 3.1 sends what changed)."
    )


# ---- to a desk ---------------------------------------------------------------------------------------


def push(
    access: Access,
    given: Sequence[tuple[Path, Sequence[str]]],
    target: str,
    *,
    on_progress: Progress | None = None,
    like: str = "",
) -> Sent:
    """Copy the named files of each folder into `target` at the desk: relative to its home, made if absent.

    Files that are already there and equal are not sent again. Nothing is deleted there; a link to a folder
    stays a link. An interrupted copy continues where it stopped. Files that are unchanged in `like`, a folder
    beside `target`, are copied at the desk itself. Raises `Unreachable`, `Missing`, `NeedsDecision`.
    """
    key = hashlib.sha256(os.fsencode(target)).hexdigest()[:12]
    folders = {part for _, names in given for name in names for part in parts(name)[:-1]}
    home, able, links = _prepared(access, target, key, sorted(folders))
    if not (rsync() and able):
        return Sent(kept=tar.push(access, given, target, key))
    options = [*_rsync(access, on_progress), "--specials", "--ignore-missing-args"]
    options += [f"--temp-dir={home}/.hotdesk/copying/{key}", f"--partial-dir={_PARTIAL}"]
    kept: list[str] = []
    # Each link to a folder at the desk gets an rsync of its own: --keep-dirlinks fails with ELOOP for an
    # absolute link in rsync 3.5.0, and without it the link would be replaced by a folder.
    for link in ["", *sorted(links)]:
        some = [
            f"{str(folder.absolute() / link).lstrip('/')}/./{name[len(link) :].lstrip('/')}"
            for folder, names in given
            for name in names
            if link == max((at for at in links if name.startswith(f"{at}/")), key=len, default="")
        ]
        if some:
            argv = [*options, f"--copy-dest=../{like}"] if like and not link else options
            to = f"{target or '.'}/{link}".rstrip("/")
            argv = [*argv, "--from0", "--files-from=-", "--", "/", f"{host(access)}:{plain(to)}/"]
            kept += [f"{link}/{name}".lstrip("/") for name in _send(access, argv, some, on_progress)]
    return Sent(kept=tuple(sorted(kept)))


def _send(access: Access, argv: list[str], names: list[str], on_progress: Progress | None) -> list[str]:
    """Copy these; return the links among them that are non-empty folders at the desk, which stay."""
    done = _run(argv, b"".join(os.fsencode(name) + b"\0" for name in names), on_progress)
    told = _complaints(done)
    if done.returncode == _SOME:
        stays = {os.fsdecode(found[1]) for line in told if (found := _IN_THE_WAY.search(line))}
        links = {name.partition("/./")[2] for name in names if Path(f"/{name}").is_symlink()}
        mine = [line for line in told if NOT_EMPTY not in line and not _IN_THE_WAY.search(line)]
        if stays and stays <= links and not mine:
            return sorted(stays)
    if done.returncode != _VANISHED:
        complain(done.returncode, told, "Not everything was copied", access)
    return []


def _prepared(access: Access, target: str, key: str, folders: Sequence[str]) -> tuple[str, bool, list[str]]:
    """Make `target` and a temporary folder at the desk, and remove interrupted copies older than `DAYS`.

    Returns the desk's home, whether it has rsync, and those of `folders` that are links to folders there.
    """
    at, place, old = shlex.quote(plain(target)), f".hotdesk/copying/{key}", f"-mtime +{DAYS}"
    line = f"""cd && mkdir -p -- {at} {place} && printf %s {at} > {place}/target || exit 1
exec 2>/dev/null
printf '%s\\0' "$(pwd -P)" "$(command -v rsync)"
(cd {at} && xargs -0 sh -c 'for d; do test -L "$d" && test -d "$d" && printf "%s\\0" "$d"; done' sh)
find .hotdesk/copying -mindepth 2 -maxdepth 2 -type f ! -name target -mmin +60 -exec rm -f {{}} +
find .hotdesk/copying -mindepth 1 -maxdepth 1 ! -name {key} {old} | while read -r old; do
  find "$(cat "$old/target")" -type d -name {_PARTIAL} {old} -exec rm -rf {{}} +
  rm -rf "$old"
done
exit 0"""
    done = job_runner.run_there(access, line, b"".join(b"./" + os.fsencode(f) + b"\0" for f in folders))
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        complain(1, said, f"The folder {target} could not be made", access)
    home, program, *links = (os.fsdecode(part) for part in done.stdout.split(b"\0")[:-1])
    return home, program != "", [link.removeprefix("./") for link in links]


# ---- from a desk -------------------------------------------------------------------------------------


def pull(
    access: Access,
    sources: Sequence[str],
    target: Path,
    *,
    below: str = "",
    may_replace: placing.Replace,
    on_progress: Progress | None = None,
) -> Arrived:
    """Copy files and folders of a desk into a folder here, made if need be.

    `sources` are relative to the desk's home; as with rsync, `results` comes as a folder, `results/` as what
    is in it. With `below`, a folder there, they are relative to that, and come under their whole names.
    A source that is a link is followed: the disk it leads to may end with the machine.
    Everything arrives beside the files here and moves into place when it is complete: see `placing.place`.
    Repeating an interrupted pull continues it. Raises `Unreachable`, `Missing`, `Busy`.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Missing(
            f"{target} cannot be a folder here.", error.strerror or str(error), "ls -ld ."
        ) from None
    target = target.resolve()
    key = hashlib.sha256(repr((below, sorted(sources))).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    with arriving(target, f"{access.desk}-{key}") as folder:
        tree = folder / "tree"
        tree.mkdir(exist_ok=True)
        able, folders, files, dead = _found_there(access, sources, below)
        if rsync() and able:
            argv = [*_rsync(access, on_progress), *(["-R"] if below else [])]
            missing, failed = list[str](), list[str]()
            for extra, into, some in _volleys([s for s in sources if s not in dead], folders, files, below):
                marked = [f"{below.rstrip('/')}/./{source}" for source in some] if below else some
                more = _pull_rsync(access, [*argv, *extra], marked, folder, on_progress, into=into)
                missing, failed = missing + more[0], failed + more[1]
            whole = [f"{below}/{source}" if below else source for source in sources]
            absent = [
                source
                for source, path in zip(sources, whole, strict=True)
                if source in dead
                or any(gone == part or gone.endswith(f"/{part}") for gone in missing for part in parts(path))
            ]
        else:
            shutil.rmtree(tree, ignore_errors=True)
            tree.mkdir()
            kept = {} if below else _kept_paths(sources)
            absent, failed = tar.pull(access, [kept.get(s, s) for s in sources], tree, below)
            absent = [s for s in sources if kept.get(s, s) in absent]
        mine = [part for s in sources for part in (parts(s) if below else [s.rstrip("/").rpartition("/")[2]])]
        try:
            placed = placing.place(tree, target, f".from-{access.desk}", may_replace, mine)
        except OSError as error:
            at = error.filename2 or error.filename or target
            raise Missing(
                f"Not everything from {access.desk} could be put in its place here: {at}.",
                f"{error.strerror or error}. What came lies in {folder}, and goes on from there.",
                f"ls -ld {shlex.quote(str(at))} && df -h {shlex.quote(str(target))}",
            ) from error
    return Arrived(placed, absent, failed)


def _found_there(
    access: Access, sources: Sequence[str], below: str
) -> tuple[bool, set[str], set[str], set[str]]:
    """Whether the desk has rsync; and which of the sources are links to folders, to files, or dangling.

    Dangling links count as absent: here they could lead to something else, which the next pull would
    overwrite.
    """
    links = (
        'for s; do test -L "$s" || continue; if test -d "$s"; then k=d; elif test -e "$s"; then k=f; '
        'else k=x; fi; printf "$k%s\\0" "$s"; done'
    )
    at = f"cd -- {shlex.quote(plain(below))} 2>/dev/null; " if below else ""
    line = f"cd; {at}xargs -0 sh -c {shlex.quote(links)} sh; command -v rsync >/dev/null"
    given = b"".join(os.fsencode(plain(source)) + b"\0" for source in sources)
    done = job_runner.run_there(access, line, given)
    told = {os.fsdecode(part) for part in done.stdout.split(b"\0") if part}
    folders, files, dead = ({s for s in sources if f"{kind}{plain(s)}" in told} for kind in "dfx")
    return done.returncode == 0, folders, files, dead


def _volleys(
    sources: Sequence[str], folders: set[str], files: set[str], below: str
) -> Iterator[tuple[list[str], str, list[str]]]:
    """Options, the folder in the tree, and the sources of each rsync: links need separate runs."""
    kept = {} if below else _kept_paths(sources)
    if rest := [s for s in sources if s not in folders | files and s not in kept]:
        yield [], "", rest
    if paths := [path for source, path in kept.items() if source not in folders | files]:
        yield ["-R"], "", paths
    for source in sorted(folders):
        yield [], "" if below else source.rpartition("/")[2], [f"{source}/"]
    if files:
        yield ["-L"], "", sorted(files)


def _kept_paths(sources: Sequence[str]) -> dict[str, str]:
    """Sources that would collide under one name, with "/./" where their path is kept from (rsync(1), -R).

    A pattern (`runs/*/metrics.csv`) keeps the path from its first wildcard on; sources of the same name keep
    the path below the folder that they have in common.
    """
    kept = {}
    named: dict[str, list[str]] = {}
    for source in sources:
        named.setdefault(source.rpartition("/")[2], []).append(source)
    for name, alike in named.items():
        for source in alike:
            words = source.split("/")
            fixed = next((n for n, word in enumerate(words[:-1]) if set(word) & set("*?[")), None)
            if fixed is None and name and len(alike) > 1:
                folders = [one.split("/")[:-1] for one in alike]
                levels = enumerate(zip(*folders, strict=False))
                fixed = next((n for n, level in levels if len(set(level)) > 1), min(map(len, folders)))
            if fixed is not None:
                kept[source] = "/".join([*(words[:fixed] or ["."]), ".", *words[fixed:]])
    return kept


def _pull_rsync(
    access: Access,
    argv: list[str],
    sources: Sequence[str],
    folder: Path,
    on_progress: Progress | None,
    *,
    into: str,
) -> tuple[list[str], list[str]]:
    """Copy into `folder`/tree/`into` the files that differ from those in the target.

    Returns the paths that do not exist at the desk, and why others could not be read there.
    """
    temp, target, tree = folder / "temp", folder.parents[1] / into, folder / "tree" / into
    shutil.rmtree(temp, ignore_errors=True)
    temp.mkdir()
    if tree.is_symlink():  # from an earlier pull; a folder is needed
        tree.unlink()
    tree.mkdir(exist_ok=True)
    argv = [*argv, f"--temp-dir={temp}", f"--partial-dir={folder / 'partial'}"]
    argv += [f"--compare-dest={target}"] if target.is_dir() else []
    argv += ["--delete", f"--exclude={_PARTIAL}/"]
    argv += ["--", *(f"{host(access)}:{plain(s)}" for s in sources), f"{tree}/"]
    done = _run(argv, b"", on_progress)
    told = _complaints(done)
    missing = [found[1] for line in told if (found := _ABSENT.search(line))]
    others = [line for line in told if not _ABSENT.search(line)]
    if done.returncode not in {_SOME, _VANISHED} or is_full(others):
        complain(done.returncode, others or told, f"Not everything was copied from {access.desk}", access)
    return missing, others


@contextmanager
def arriving(target: Path, key: str) -> Iterator[Path]:
    """A locked folder in `target` for incoming files; removed after a complete copy."""
    place = target / ARRIVING
    folder = place / key
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        why = error.strerror or str(error)
        raise Missing(f"Nothing can be written to {target}.", why, f"ls -ld {target}") from None
    try:
        if not flock(lock, wait=False):
            raise Busy(
                f"Another command is already copying this to {target}.",
                "Only one copy at a time can write there.",
                "wait for it, then try again",
            )
        os.utime(folder)
        now = folder.stat().st_mtime
        for other in place.iterdir():
            if now - other.stat().st_mtime > DAYS * 86400:
                shutil.rmtree(other, ignore_errors=True)
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
        if not any(place.iterdir()):
            place.rmdir()
    finally:
        os.close(lock)


def forget_interrupted(target: Path, seconds: float) -> None:
    """Delete copies to `target` that were interrupted so long ago, and that no process goes on with."""
    place = target / ARRIVING
    for folder in place.glob("*"):
        with contextlib.suppress(OSError):
            os.utime(place)  # what the time is, by the disk's own clock
            newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
            try:
                if place.stat().st_mtime - newest > seconds and flock(lock, wait=False):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


# ---- rsync -------------------------------------------------------------------------------------------


def _rsync(access: Access, on_progress: Progress | None) -> list[str]:
    """The rsync command line that both directions share.

    Files belong to the receiving user. Holes stay holes, hard links stay links. -s: the other side's shell
    does not expand names.
    """
    shell = shlex.join([ssh.program("ssh"), *ssh.options(access), "-p", str(access.port)])
    shown = ["--info=progress2"] if on_progress else []
    return [rsync(), "-rlptHSs", *packed(access), *shown, "-e", shell]


def packed(access: Access) -> list[str]:
    """rsync's option to compress, where there is a line to save."""
    return [] if _loopback(access.host) else ["-z"]


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host(access: Access) -> str:
    """The machine, as rsync takes it."""
    at = f"[{access.host}]" if ":" in access.host else access.host
    return f"{access.user}@{at}"


def _run(argv: list[str], given: bytes, on_progress: Progress | None) -> subprocess.CompletedProcess[bytes]:
    """Run rsync and report its progress; it is terminated if this process is interrupted."""
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


def _complaints(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    """rsync's error messages, without its final summary line."""
    lines = [os.fsdecode(line) for line in done.stderr.splitlines() if line.strip()]
    return [line for line in lines if not line.startswith("rsync error: ") and not line.endswith(_HANGS_UP)]
