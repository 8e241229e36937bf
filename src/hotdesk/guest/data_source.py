"""Where a desk's data are kept: a folder of its machine, a bucket, or a remote of rclone.

Each source lists its files, tells which of them are here already, and fetches others, by the tool that the
desk's owner has at the machine, with their own settings and credentials. It is only ever read. The standard
library only, for Python 3.8 and later: it runs at desks.
"""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
import json
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

FEW = 20  # files that are fetched one by one; more by one command for all
MANY = 1000  # names in one command line
_PART = 8 << 20  # of a large upload by the tools of S3, unless somebody set another
_GLOB = re.compile(r"[*?\[\]]")
_OSS_LINE = re.compile(r"^\S+ \S+ \S+ \S+ +(\d+) +\S+ +(\S+) +(oss://.+)$", re.M)
#: Where tools keep their settings, below a person's home, and the variable that names another place.
SETTINGS = (
    ("RCLONE_CONFIG", ".config/rclone/rclone.conf"),
    ("AWS_CONFIG_FILE", ".aws/config"),
    ("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"),
)


class failed(Exception):  # noqa: N801 - it reads as what happened
    """What could not be, in words for a person; `fix` is a line for the desk's terminal."""

    def __init__(self, why: str, fix: str = "") -> None:
        super().__init__(why)
        self.fix = fix


class Told(NamedTuple):
    """What a source says of a file."""

    size: int
    tag: str  # another one after every change


class Source:
    """One source."""

    def __init__(self, origin: str) -> None:
        self.origin = origin

    def files(self) -> dict[str, Told]:
        """Every file there, by its path. Raises `failed`."""
        raise NotImplementedError

    def same(self, folder: str, paths: Sequence[str]) -> list[str]:
        """Those of these paths whose content in this folder is the source's."""
        raise NotImplementedError

    def fetch(
        self, paths: Sequence[str], rest: Collection[str], folder: str, report: Callable[[str], None]
    ) -> str:
        """Bring these files, and rather none of the `rest`, into a folder; why not all came, "" if they did.

        What is in the folder came from an earlier call.
        """
        raise NotImplementedError


def opened(origin: str) -> Source:
    """The source of this name. Raises `failed` where its tool is not here."""
    if origin.startswith("/"):
        return Here(origin)
    if origin.startswith("s3://"):
        if shutil.which("aws", path=environment()["PATH"]):
            return S3(origin)
        return Rclone(named(origin))
    if origin.startswith("oss://"):
        return Oss(origin)
    return Rclone(origin)


def named(origin: str) -> str:
    """A bucket or a remote as rclone names it."""
    if not origin.startswith("s3://"):
        return origin
    own = environment()
    where = (own.get("AWS_ENDPOINT_URL_S3") or own.get("AWS_ENDPOINT_URL") or "").replace('"', '""')
    whose = f'Other,endpoint="{where}"' if where else "AWS"  # AWS alone has a name for each bucket
    return f":s3,provider={whose},env_auth=true:{origin[len('s3://') :]}"


# ---- what sources share ------------------------------------------------------------------------------


def walk(folder: str) -> dict[str, tuple[int, int]]:
    """Everything below a folder that is no folder itself: size and time; -1 as the size of no plain file."""
    found: dict[str, tuple[int, int]] = {}
    for at, folders, names in os.walk(folder):
        for name in names + [name for name in folders if os.path.islink(os.path.join(at, name))]:
            path = os.path.join(at, name)
            with contextlib.suppress(OSError):
                told = os.lstat(path)
                size = told.st_size if stat.S_ISREG(told.st_mode) and told.st_nlink == 1 else -1
                found[os.path.relpath(path, folder)] = (size, told.st_mtime_ns)
    return found


def usable(path: str) -> bool:
    """Whether a name at a source can be a file below a folder here."""
    return not {"", ".", ".."} & set(path.split("/")) and "\0" not in path and "\n" not in path


def is_md5(file: str, tag: str) -> bool:
    """Whether a file is the object with this ETag: an MD5, or an MD5 of those of its parts."""
    whole, parts, count = hashlib.md5(), [], tag.partition("-")[2]
    with open(file, "rb") as content:
        for part in iter(lambda: content.read(_PART), b""):
            whole.update(part)
            parts.append(hashlib.md5(part).digest())
    if not count:
        return whole.hexdigest() == tag.lower()
    return f"{hashlib.md5(b''.join(parts)).hexdigest()}-{len(parts)}" == tag.lower()


def environment() -> dict[str, str]:
    """This one's, with the settings of the machine's user where the desk has a home folder of its own."""
    found, own = dict(os.environ, LC_ALL="C", AWS_PAGER=""), pwd.getpwuid(os.getuid()).pw_dir
    home = os.path.expanduser("~")
    for variable, file in SETTINGS:
        theirs = os.path.join(own, file)
        if variable not in found and not os.path.exists(os.path.join(home, file)) and os.path.exists(theirs):
            found[variable] = theirs
    more = [os.path.join(top, ".local", "bin") for top in (home, own)]
    found["PATH"] = os.pathsep.join([found.get("PATH", os.defpath), *more, "/usr/local/bin"])
    return found


def program(name: str, fix: str) -> str:
    found = shutil.which(name, path=environment()["PATH"])
    if not found:
        raise failed(f"{name} is not installed here", fix)
    return found


def asked(words: Sequence[str]) -> str:
    """What a tool prints. Raises `failed` with its last words."""
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, env=environment())
    if done.returncode:
        raise failed(last(done.stderr) or f"{os.path.basename(words[0])} ended with {done.returncode}")
    return done.stdout.decode("utf-8", "surrogateescape")


def done(words: Sequence[str], report: Callable[[str], None]) -> str:
    """Run a tool, and report the lines by which it tells how far it is; why it failed, "" if it did not."""
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment()
    ) as child:
        assert child.stdout is not None
        line = ""
        while some := os.read(child.stdout.fileno(), 1 << 16):
            line = last(some) or line
            report(line)
    return (line or f"{os.path.basename(words[0])} ended with {child.returncode}") if child.returncode else ""


def last(said: bytes) -> str:
    lines = [line.strip() for line in re.split(r"[\r\n]", said.decode("utf-8", "replace"))]
    return next((line for line in reversed(lines) if line), "")[-300:]


@contextlib.contextmanager
def listed(paths: Sequence[str]) -> Any:
    """A file that names these paths, one a line."""
    with tempfile.NamedTemporaryFile("w", prefix="hotdesk-", errors="surrogateescape") as file:
        file.write("".join(path + "\n" for path in paths))
        file.flush()
        yield file.name


# ---- the sources -------------------------------------------------------------------------------------


class Here(Source):
    """A folder of the machine itself."""

    def files(self) -> dict[str, Told]:
        if not os.path.isdir(self.origin):
            raise failed(f"there is no folder {self.origin} at this machine")
        found = {}
        for path in filter(usable, walk(self.origin)):
            with contextlib.suppress(OSError):
                told = os.stat(os.path.join(self.origin, path))  # a link counts as its file
                if stat.S_ISREG(told.st_mode):
                    found[path] = Told(told.st_size, str(told.st_mtime_ns))
        return found

    def same(self, folder: str, paths: Sequence[str]) -> list[str]:
        found = []
        for path in paths:
            with contextlib.suppress(OSError):
                if filecmp.cmp(os.path.join(self.origin, path), os.path.join(folder, path), shallow=False):
                    found.append(path)
        return found

    def fetch(
        self, paths: Sequence[str], rest: Collection[str], folder: str, report: Callable[[str], None]
    ) -> str:
        why = ""
        for number, path in enumerate(paths):
            report(f"{number} of {len(paths)} files")
            target = os.path.join(folder, path)
            try:
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.copy2(os.path.join(self.origin, path), target)
            except OSError as error:
                why = f"{path}: {error.strerror or error}"
        return why


class Rclone(Source):
    """A remote that the owner has set up: everything that rclone knows."""

    def __init__(self, origin: str) -> None:
        super().__init__(origin)
        self._rclone = program("rclone", "sudo apt-get install -y rclone")

    def files(self) -> dict[str, Told]:
        rows = json.loads(
            asked([self._rclone, "lsjson", "-R", "--files-only", "--no-mimetype", "--", self.origin])
        )
        return {
            row["Path"]: Told(row["Size"], f"{row['Size']} {row.get('ModTime', '')}")
            for row in rows
            if row["Size"] >= 0 and usable(row["Path"])
        }

    def same(self, folder: str, paths: Sequence[str]) -> list[str]:
        if not paths:
            return []
        with listed(paths) as names:
            words = [self._rclone, "check", "--one-way", "--files-from-raw", names, "--match", "-"]
            for more in ([], ["--download"]):  # where both have no checksum in common, all is read
                done = subprocess.run(
                    [*words, *more, "--", self.origin, folder],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    env=environment(),
                )
                if b"hash" not in done.stderr.lower() or more:
                    break
        return done.stdout.decode("utf-8", "surrogateescape").splitlines()

    def fetch(
        self, paths: Sequence[str], rest: Collection[str], folder: str, report: Callable[[str], None]
    ) -> str:
        told = ["--stats", "2s", "--stats-one-line", "--stats-log-level", "NOTICE"]
        with listed(paths) as names:
            words = [self._rclone, "copy", "--files-from-raw", names, *told, "--", self.origin, folder]
            return done(words, report)


class Bucket(Source):
    """One whose listing has a tag of each file's content."""

    def __init__(self, origin: str) -> None:
        super().__init__(origin)
        self._tags: dict[str, str] = {}

    def tagged(self) -> dict[str, Told]:
        raise NotImplementedError

    def files(self) -> dict[str, Told]:
        found = self.tagged()
        self._tags = {path: told.tag for path, told in found.items()}
        return found

    def same(self, folder: str, paths: Sequence[str]) -> list[str]:
        found = []
        for path in paths:
            with contextlib.suppress(OSError):
                if is_md5(os.path.join(folder, path), self._tags[path]):
                    found.append(path)
        return found


class S3(Bucket):
    """A bucket, by the tool of its cloud."""

    def __init__(self, origin: str) -> None:
        super().__init__(origin)
        self.bucket, _, prefix = origin[len("s3://") :].partition("/")
        self.prefix = prefix.rstrip("/") + "/" if prefix.strip("/") else ""
        self._tool = program("aws", "pip install --user awscli")

    def tagged(self) -> dict[str, Told]:
        words = ["s3api", "list-objects-v2", "--bucket", self.bucket, "--prefix", self.prefix]
        said = asked([self._tool, *words, "--output", "json", "--query", "Contents[].[Key,Size,ETag]"])
        found = {}
        for key, size, tag in json.loads(said or "null") or ():
            path = key[len(self.prefix) :]
            if usable(path):
                found[path] = Told(int(size), str(tag).strip('"'))
        return found

    def fetch(
        self, paths: Sequence[str], rest: Collection[str], folder: str, report: Callable[[str], None]
    ) -> str:
        top = f"s3://{self.bucket}/{self.prefix}"
        if len(paths) > FEW and len(rest) <= MANY:
            words = [self._tool, "s3", "sync", "--exact-timestamps", top, folder]
            for path in rest:  # a pattern has no way to say a special character itself
                words += ["--exclude", _GLOB.sub("?", path)]
            return done(words, report)
        why = ""
        for path in paths:
            words = [self._tool, "s3", "cp", "--only-show-errors", top + path, os.path.join(folder, path)]
            why = done(words, report) or why
        return why


class Oss(Bucket):
    """A bucket of Alibaba Cloud, by ossutil."""

    def __init__(self, origin: str) -> None:
        super().__init__(origin.rstrip("/") + "/")
        where = "from Alibaba Cloud's site; or name a remote of rclone instead"
        self._tool = program("ossutil", f"command -v ossutil   # {where}")

    def tagged(self) -> dict[str, Told]:
        found = {}
        for size, tag, name in _OSS_LINE.findall(asked([self._tool, "ls", self.origin])):
            path = name[len(self.origin) :]
            if name.startswith(self.origin) and usable(path):
                found[path] = Told(int(size), tag)
        return found

    def fetch(
        self, paths: Sequence[str], rest: Collection[str], folder: str, report: Callable[[str], None]
    ) -> str:
        if len(paths) > FEW:
            return done([self._tool, "cp", "-r", "-u", "-f", self.origin, folder + "/"], report)
        why = ""
        for path in paths:
            target = os.path.join(folder, path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            why = done([self._tool, "cp", "-f", self.origin + path, target], report) or why
        return why
