"""List the files of a project folder by git's own ignore rules, for `run` and for `push` of a folder.

Each repository is asked separately, so that a clone or a submodule inside a project follows its own rules.
`.hotdeskignore` leaves out more, in the syntax of `.gitignore`, and git evaluates it too. Nothing below a
`.git` is part of a project. Empty folders are, although git does not keep them: programs write there.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec.structs import replace

from hotdesk.core.errors import Missing, NeedsDecision
from hotdesk.core.model import Value

IGNORE = ".hotdeskignore"
#: Holds files from a desk until they are complete; never part of a project.
ARRIVING = ".hotdesk-copying"
_RULES = {".git", ".gitignore", IGNORE}
#: Read another owner's repository without running anything that its settings name.
_SAFE = ("safe.directory=*", "core.fsmonitor=false", "core.hooksPath=/dev/null")
#: Variables that would make git answer for another repository than the one asked about (git hooks set them).
_ELSEWHERE = {
    "GIT_DIR", "GIT_WORK_TREE", "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR",
    "GIT_NAMESPACE", "GIT_CONFIG", "GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS", "GIT_INTERNAL_SUPER_PREFIX", "GIT_SHALLOW_FILE",
}  # fmt: skip


class Contents(Value, frozen=True):
    """The files of a folder that go to a desk. Names are relative to it, decoded with surrogateescape."""

    folder: Path
    names: tuple[str, ...]  # files, links and empty folders, by name
    bytes: int = 0
    ignored: tuple[str, ...] = ()  # by git; a whole folder counts once and ends with a slash
    hotdesk_ignored: tuple[str, ...] = ()  # by .hotdeskignore
    unfit: tuple[str, ...] = ()  # sockets and devices
    unreadable: tuple[str, ...] = ()  # files and folders that this user may not read
    outward: tuple[str, ...] = ()  # links out of the folder: they go, and may lead nowhere at the desk
    repositories: int = 0  # repositories found; their .git stays here
    rule: str = ""  # a note for the person if the usual rules were not used


def contents(folder: Path, *, everything: bool = False) -> Contents:
    """The folder's files, without what git ignores; with `everything`, all but sockets and devices.

    A folder that a repository above it ignores, or that is in no repository, is a project of its own: its own
    `.gitignore` files apply. Raises `Missing` if there are rules and this computer has no git, and
    `NeedsDecision` if git cannot read a repository.
    """
    folder = Path(os.path.realpath(folder))
    if everything:
        return _described(folder, _walk(folder))
    if shutil.which("git") is None:
        return _without_git(folder)
    seen = _Seen()
    names = list(_of_project(folder, "", seen))
    kept, hotdesk_ignored = _by_hotdeskignore(folder, seen.root or folder, names)
    found = _described(folder, kept)
    return replace(
        found,
        ignored=tuple(sorted(n for n in seen.ignored if not _arriving(n))),
        hotdesk_ignored=tuple(sorted(hotdesk_ignored)),
        unreadable=tuple(sorted({*found.unreadable, *seen.unreadable})),
        repositories=seen.repositories,
        rule=seen.rule,
    )


def _without_git(folder: Path) -> Contents:
    ruled = any((above / ".git").exists() for above in (folder, *folder.parents))
    if ruled or any(_RULES & {*folders, *files} for _, folders, files in os.walk(folder)):
        raise Missing(
            "This computer has no git.",
            f"git decides which files of {folder.name or folder} are copied; hotdesk guesses no rules.",
            "sudo apt-get install git   # or the same command with --all: everything goes",
        )
    rule = "this computer has no git, and nothing there says what to leave out: everything goes"
    return replace(_described(folder, _walk(folder)), rule=rule)


# ---- as git sees it ----------------------------------------------------------------------------------


class _Seen:
    """What is collected while walking a project and the repositories in it."""

    def __init__(self) -> None:
        self.ignored: list[str] = []
        self.unreadable: list[str] = []
        self.repositories = 0
        self.root: Path | None = None  # of the repository that the project is in
        self.rule = ""


def _of_project(folder: Path, prefix: str, seen: _Seen) -> Iterator[str]:
    """Names below `folder`, each with `prefix`, from its repository and those inside it."""
    root = _root(folder)
    if (folder / ".git").exists():
        seen.repositories += 1
    if prefix and root != folder:  # a submodule that has lost its repository
        root = None
    above = _ignored_above(folder) if root and root != folder else ""
    tracked = _ls(folder, "--cached") if root else []
    if root and not above:
        if not prefix:
            seen.root = root
        yield from _listed(folder, prefix, tracked, (), seen)
        return
    if above:
        seen.rule = seen.rule or f"{folder.name} is ignored by {above}, so only its own .gitignore holds"
    with tempfile.TemporaryDirectory(prefix="hotdesk-") as empty:
        _git(Path(empty), "init", "-q", "--template=", ".")
        yield from _listed(
            folder, prefix, tracked, (f"--git-dir={empty}/.git", f"--work-tree={folder}"), seen
        )


def _listed(
    folder: Path, prefix: str, tracked: list[str], where: tuple[str, ...], seen: _Seen
) -> Iterator[str]:
    others = _ls(folder, "--others", "--exclude-standard", where=where)
    away = _ignored(folder, where)
    seen.ignored += [prefix + name for name in away]
    real = _Real(folder)
    inner = set()
    for name in sorted({*tracked, *others}):
        kind = real.kind(name.rstrip("/"))
        if kind is None or not stat.S_ISDIR(kind):
            if kind is not None:
                yield prefix + name
        elif name.endswith("/") or (folder / name / ".git").exists() or _is_submodule(folder, name):
            inner.add(
                name.rstrip("/")
            )  # else a file that git knows is a folder now: `others` has what is in it
    but = inner | {name.rstrip("/") for name in away if name.endswith("/")}
    empty, unreadable = _empty_folders(folder, but)
    seen.unreadable += [prefix + name for name in _not_ignored(folder, unreadable, where)]
    yield from (prefix + name for name in _not_ignored(folder, empty, where))
    for name in sorted(inner):
        yield from _of_project(folder / name, f"{prefix}{name}/", seen)


def _root(folder: Path) -> Path | None:
    """The top of the repository that holds the folder, or None. Raises `NeedsDecision`."""
    done = _ask(folder, "rev-parse", "--show-toplevel")
    if done.returncode == 0:
        return Path(os.fsdecode(done.stdout.removesuffix(b"\n")))
    if b"not a git repository" in done.stderr or b"must be run in a work tree" in done.stderr:
        return None
    raise _unread(folder, done)


def _ignored_above(folder: Path) -> str:
    """The rule above the folder that ignores it, as FILE:LINE:PATTERN; "" when there is none."""
    done = _ask(folder, "check-ignore", "--no-index", "-v", ".")
    return os.fsdecode(done.stdout).partition("\t")[0] if done.returncode == 0 else ""


def _is_submodule(folder: Path, name: str) -> bool:
    done = _ask(folder, "--literal-pathspecs", "ls-files", "-s", "-z", "--", name)
    return done.stdout.startswith(b"160000 ")


def _not_ignored(folder: Path, names: list[str], where: tuple[str, ...]) -> list[str]:
    if not names:
        return []
    ignored = _matched(folder, names, where)
    return [name for name in names if name not in ignored]


def _matched(folder: Path, names: Iterable[str], where: tuple[str, ...] = ()) -> set[str]:
    """Those of these names that git's rules there ignore, tracked or not."""
    given = b"".join(
        b"./" + os.fsencode(name) + b"\0" for name in names
    )  # ./: else :name would be a magic pathspec
    done = _ask(folder, *where, "check-ignore", "--no-index", "-z", "--stdin", given=given)
    if done.returncode not in {0, 1}:
        raise _unread(folder, done)
    return {os.fsdecode(name[2:]) for name in done.stdout.split(b"\0") if name}


def _ignored(folder: Path, where: tuple[str, ...]) -> list[str]:
    """What git ignores; an ignored folder stands for all that is in it."""
    listed = sorted(_ls(folder, "--others", "--ignored", "--exclude-standard", "--directory", where=where))
    pairs = zip(listed, [*listed[1:], ""], strict=False)  # a folder is listed right before what it holds
    return [name for name, after in pairs if not (name.endswith("/") and after.startswith(name))]


def _ls(folder: Path, *words: str, where: tuple[str, ...] = ()) -> list[str]:
    listed = _git(folder, *where, "ls-files", "-z", *words)
    return [os.fsdecode(name) for name in listed.split(b"\0") if name]


def _git(folder: Path, *words: str) -> bytes:
    done = _ask(folder, *words)
    if done.returncode != 0:
        raise _unread(folder, done)
    return done.stdout


def _ask(folder: Path, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment = {k: v for k, v in os.environ.items() if k not in _ELSEWHERE}
    environment |= {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1"}
    settings = [part for setting in _SAFE for part in ("-c", setting)]
    argv = ["git", "-C", str(folder), *settings, *words]
    return subprocess.run(argv, input=given, capture_output=True, env=environment, check=False)


def _unread(folder: Path, done: subprocess.CompletedProcess[bytes]) -> NeedsDecision:
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    said = [line for line in said if line.startswith(("fatal:", "error:"))] or said
    return NeedsDecision(
        f"git cannot say which files of {folder.name} belong to it.",
        said[0] if said else f"It ended with {done.returncode}.",
        f"git -C {folder} status   # or the same command with --all: everything goes",
    )


# ---- .hotdeskignore ----------------------------------------------------------------------------------


def _by_hotdeskignore(folder: Path, root: Path, names: list[str]) -> tuple[list[str], set[str]]:
    """The names that stay, and those that a .hotdeskignore leaves out.

    It may lie in the folder, in a folder in it, or above it up to the repository's top. git is asked in an
    empty repository that holds only these files, as its .gitignore files: so their rules reach into
    repositories inside the project and are not mixed with git's own.
    """
    below = {name for name in names if name.rpartition("/")[2] == IGNORE}
    if (folder / IGNORE).is_file():
        below.add(IGNORE)
    inside = folder.relative_to(root) if folder.is_relative_to(root) else Path()
    above = [root.joinpath(*inside.parts[:depth]) / IGNORE for depth in range(len(inside.parts))]
    above = [file for file in above if file.is_file()]
    if not below and not above:
        return names, set()
    with tempfile.TemporaryDirectory(prefix="hotdesk-") as empty:
        top = Path(empty)
        _git(top, "init", "-q", "--template=", ".")
        for file in [*above, *(folder / name for name in below)]:
            rules = top / file.relative_to(root).parent / ".gitignore"
            rules.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, rules)
        for name in names:  # git matches "name/" only where it sees a folder
            if stat.S_ISDIR(os.lstat(folder / name).st_mode):
                (top / inside / name).mkdir(parents=True, exist_ok=True)
        (top / inside).mkdir(parents=True, exist_ok=True)
        mine = ("-c", "core.excludesFile=/dev/null")
        if inside.parts and _matched(
            top, [inside.as_posix()], mine
        ):  # the folder itself is ignored, but was asked for by name
            for file in above:
                (top / file.relative_to(root).parent / ".gitignore").unlink()
        prefix = f"{inside.as_posix()}/" if inside.parts else ""
        out = _matched(top, [prefix + name for name in names], mine)
        out = {name.removeprefix(prefix) for name in out}
    return [name for name in names if name not in out], out


# ---- the folder itself -------------------------------------------------------------------------------


class _Real:
    """What a name refers to, without following links among its folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folders: dict[str, bool] = {"": True}

    def kind(self, name: str) -> int | None:
        """Its mode; None if it does not exist."""
        if not self._is_folder(name.rpartition("/")[0]):
            return None
        try:
            return os.lstat(self.folder / name).st_mode
        except OSError:
            return None

    def _is_folder(self, name: str) -> bool:
        if name not in self.folders:
            mode = self.kind(name)
            self.folders[name] = mode is not None and stat.S_ISDIR(mode)
        return self.folders[name]


def _empty_folders(folder: Path, but: set[str]) -> tuple[list[str], list[str]]:
    """Empty folders, and those that cannot be read, except in the folders of `but`."""
    found, unreadable = list[str](), list[str]()

    def failed(error: OSError) -> None:
        unreadable.append(os.path.relpath(error.filename, folder))

    for at, folders, files in os.walk(folder, onerror=failed):
        inside = os.path.relpath(at, folder)
        prefix = "" if inside == "." else f"{inside}/"
        if not folders and not files and prefix:
            found.append(inside)
        folders[:] = [n for n in folders if prefix + n not in but and n not in {".git", ARRIVING}]
    return found, unreadable


def _walk(folder: Path) -> Iterator[str]:
    """Everything: files, links, and folders that are empty or unreadable."""
    failed: list[str] = []
    for at, folders, files in os.walk(folder, onerror=lambda error: failed.append(str(error.filename))):
        inside = os.path.relpath(at, folder)
        prefix = "" if inside == "." else f"{inside}/"
        if not folders and not files and prefix:
            yield inside
        links = [n for n in folders if (Path(at) / n).is_symlink()]
        folders[:] = [n for n in folders if n not in links and n != ARRIVING]
        yield from (prefix + name for name in (*files, *links))
    yield from (os.path.relpath(name, folder) for name in failed)


def _arriving(name: str) -> bool:
    return ARRIVING in name.split("/")


def _described(folder: Path, names: Iterable[str]) -> Contents:
    kept, unfit, unreadable, outward, size = [], [], [], [], 0
    for name in sorted({n for n in names if not _arriving(n)}, key=os.fsencode):
        try:
            told = os.lstat(folder / name)
        except OSError:  # it was deleted meanwhile
            continue
        if stat.S_ISSOCK(told.st_mode) or stat.S_ISBLK(told.st_mode) or stat.S_ISCHR(told.st_mode):
            unfit.append(name)
            continue
        kept.append(name)
        if not stat.S_ISLNK(told.st_mode) and not os.access(folder / name, os.R_OK, effective_ids=True):
            unreadable.append(name)
        if stat.S_ISREG(told.st_mode):
            size += told.st_size
        elif stat.S_ISLNK(told.st_mode) and _leads_out(name, str((folder / name).readlink())):
            outward.append(name)
    return Contents(
        folder=folder,
        names=tuple(kept),
        bytes=size,
        unfit=tuple(unfit),
        unreadable=tuple(unreadable),
        outward=tuple(outward),
    )


def _leads_out(name: str, to: str) -> bool:
    way = os.path.normpath(Path(name).parent / to)
    return to.startswith("/") or way == ".." or way.startswith("../")
