"""The environment of processes at a desk, and the first files of its home.

Only listed variables are passed on: the owner's cloud credentials and tokens are not.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import shutil
import stat
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hotdesk.guest import mounts
from hotdesk.providers.local.runtime.processes import MARK

#: Variables passed on to a desk: language, time zone, network (proxies, certificate authorities, package
#: indexes), libraries, and what affects numerical results, so that a program computes the same at the desk
#: as outside it (docs/run.md).
_LET_IN = re.compile(
    r"LANG|LANGUAGE|LC_[A-Z]+|TZ|TZDIR|USER|LOGNAME|SHELL|COLORTERM|LD_LIBRARY_PATH"
    r"|(?i:(https?|ftp|all|no)_proxy)"
    r"|PIP_.*|UV_.*|CONDA_CHANNEL.*|HF_ENDPOINT|NPM_CONFIG_REGISTRY"
    r"|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|NODE_EXTRA_CA_CERTS|GIT_SSL_CAINFO"
    r"|NIX_SSL_CERT_FILE|AWS_CA_BUNDLE|HTTPLIB2_CA_CERTS|GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"
    r"|CUDA_.*|NVIDIA_.*|NCCL_.*|OMP_.*|MKL_.*|PYTORCH_.*"
    r"|OPENBLAS_.*|GOTO_NUM_THREADS|BLIS_.*|VECLIB_.*|ACCELERATE_.*|NUMEXPR_.*|NPY_.*|ATEN_.*"
    r"|KMP_.*|GOMP_.*|DNNL_.*|ONEDNN_.*|CUBLAS_.*|CUDNN_.*|HIP_VISIBLE_DEVICES|ROCR_VISIBLE_DEVICES"
    r"|TF_(ENABLE_ONEDNN_OPTS|DETERMINISTIC_OPS|CUDNN_DETERMINISTIC)|XLA_FLAGS|JAX_.*|PYTHONHASHSEED"
)
_SOCKET_PATH_LIMIT = 100  # bytes: macOS allows 104 for a socket's whole path, Linux 108


def of_desk(disk: Path, desk: str, mark: str, outside: Mapping[str, str], *, gpu: bool) -> dict[str, str]:
    """The environment of every process at the desk."""
    home, env = disk / "home", disk / "env"
    inside = {name: value for name, value in outside.items() if _LET_IN.fullmatch(name)}
    inside.pop("PIP_TARGET", None)
    inside.pop("PIP_PREFIX", None)
    inside.pop("PIP_USER", None)
    inside.setdefault("LANG", "C.UTF-8")
    user = getpass.getuser()
    inside |= {
        MARK: mark,
        "HOTDESK_DESK": desk,
        "HOME": str(home),
        "USER": user,
        "LOGNAME": user,
        "SHELL": shell(outside),
        "PATH": os.pathsep.join([str(env / "bin"), str(home / ".local" / "bin"), *_path(outside)]),
        # Not VIRTUAL_ENV: uv, poetry and others would take it for the environment of whatever project they
        # are run in. They find ~/.venv from any folder of the home that has none of its own (`lay_out`).
        "HOTDESK_ENV": str(env),
        "HOTDESK_START": str(_start_file(disk)),
        "TMPDIR": str(disk / "tmp"),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_DATA_HOME": str(home / ".local" / "share"),
        "XDG_STATE_HOME": str(home / ".local" / "state"),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "XDG_RUNTIME_DIR": str(disk / "run"),
        "TMUX_TMPDIR": str(tmux_folder(disk, mark)),
        "JUPYTER_CONFIG_DIR": str(disk / "jupyter" / "config"),
        "JUPYTER_CONFIG_PATH": str(
            home / ".jupyter"
        ),  # where the user's own settings are on a rented machine
        "JUPYTER_DATA_DIR": str(disk / "jupyter" / "data"),
        "JUPYTER_RUNTIME_DIR": str(disk / "jupyter" / "runtime"),
        "JUPYTER_PREFER_ENV_PATH": "0",  # else the kernel of hotdesk's environment would win
    }
    own_pip = Path(outside.get("HOME", "/nonexistent")) / ".config" / "pip" / "pip.conf"
    if "PIP_CONFIG_FILE" not in inside and own_pip.is_file():
        inside["PIP_CONFIG_FILE"] = str(own_pip)  # the owner's package mirror applies at the desk too
    if not gpu:
        inside["CUDA_VISIBLE_DEVICES"] = ""
    return inside


def shell(outside: Mapping[str, str]) -> str:
    """The owner's shell, if it is executable, else bash or sh."""
    for candidate in (outside.get("SHELL", ""), "/bin/bash", "/bin/sh"):
        if Path(candidate).is_absolute() and os.access(candidate, os.X_OK):
            return candidate
    return "/bin/sh"


def _path(outside: Mapping[str, str]) -> list[str]:
    """The outer PATH without hotdesk's own environment, whose programs are not for the desk."""
    own = {str(Path(sys.prefix) / "bin"), str(Path(outside.get("VIRTUAL_ENV", sys.prefix)) / "bin")}
    usual = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
    outer = outside.get("PATH", usual).split(os.pathsep)
    return [p for p in outer if p and p not in own and Path(p).is_absolute()]


def tmux_folder(disk: Path, mark: str) -> Path:
    """The folder of the desk's tmux sockets: on its disk, unless that path is too long for a socket."""
    inside = disk / "run"
    socket = inside / f"tmux-{os.getuid()}" / "default"
    if len(os.fsencode(socket)) <= _SOCKET_PATH_LIMIT:
        return inside
    return Path(tempfile.gettempdir()) / f"hotdesk-{os.getuid()}-{mark.rpartition(':')[2]}"


#: An environment that the user's own files activate stays first on the PATH, as in their terminal.
_SHELL_START = """\
# Written at each start of the desk; your own lines belong into ~/.bashrc or ~/.zshrc.
hotdesk_folder=${{VIRTUAL_ENV:-$CONDA_PREFIX}}
case ":$PATH" in
  :{env}/bin:*) ;;
  *) PATH="${{hotdesk_folder:+$hotdesk_folder/bin:}}"{env}/bin:{local}:$PATH ;;
esac
for hotdesk_folder in {folders}; do
  case ":$PATH:" in *":$hotdesk_folder:"*) ;; *) PATH="$PATH:$hotdesk_folder" ;; esac
done
export PATH; unset hotdesk_folder
"""

_INTERACTIVE = "case $- in *i*) ;; *) return ;; esac  # what follows is for terminals\n"
_PROMPT = (
    "PS1='\\[\\e[1;34m\\](\\[\\e[0m\\]'\"${HOTDESK_DESK}\"'\\[\\e[1;34m\\])\\[\\e[0m\\] \\w \\$ '\n"
    "HISTCONTROL=ignoredups; shopt -s checkwinsize histappend\n"
    "alias ls='ls --color=auto' 2>/dev/null\n"
)
_FIRST_FILES = {
    ".profile": (
        'if [ -n "$BASH_VERSION" ] && [ -f ~/.bashrc ]; then . ~/.bashrc; else . "$HOTDESK_START"; fi\n'
    ),
    ".bashrc": f'. "$HOTDESK_START"\n{_INTERACTIVE}{_PROMPT}',
    ".zshrc": '. "$HOTDESK_START"\nPROMPT="%F{blue}(%f${HOTDESK_DESK}%F{blue})%f %~ %# "\n',
    ".config/fish/conf.d/hotdesk.fish": (
        "fish_add_path -gm $HOTDESK_ENV/bin\n"
        "function fish_prompt; printf '(%s) %s > ' $HOTDESK_DESK (prompt_pwd); end\n"
    ),
    ".tmux.conf": 'set -g default-command "exec $SHELL"\nset -g mouse on\nset -g history-limit 50000\n',
}
_EARLIER_START = '. "$JUPYTER_CONFIG_DIR/shell-start"'
#: First files of earlier versions that are harmful now; replaced unless the user has changed them.
_EARLIER = {
    ".profile": _FIRST_FILES[".profile"].replace('. "$HOTDESK_START"', _EARLIER_START),
    ".bashrc": f'{_EARLIER_START}\ncase "$-" in *i*)\n'
    + "".join(f"  {line}\n" for line in _PROMPT.splitlines())
    + ";; esac\n",
    ".config/fish/conf.d/hotdesk.fish": _FIRST_FILES[".config/fish/conf.d/hotdesk.fish"].replace(
        "$HOTDESK_ENV", "$VIRTUAL_ENV"
    ),
}


def lay_out(disk: Path, mark: str, *, fresh: bool) -> None:
    """The folders of a desk's disk, and on a fresh one the first files of its home."""
    for name in ("home", "tmp", "run", "jupyter/config", "jupyter/data", "jupyter/runtime"):
        (disk / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("run", "jupyter/runtime"):  # sockets and connection files of an earlier run
        for old in (disk / name).iterdir():
            shutil.rmtree(old, ignore_errors=True) if old.is_dir() and not old.is_symlink() else old.unlink()
    _private(tmux_folder(disk, mark))
    earlier = {name: text for name, text in _EARLIER.items() if _is(disk / "home" / name, text)}
    for name in _FIRST_FILES if fresh else earlier:
        file = disk / "home" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_FIRST_FILES[name], "utf-8")
    link = disk / "home" / ".venv"
    if (fresh or earlier) and not os.path.lexists(link):
        link.symlink_to(Path("..", "env"))


def _is(file: Path, text: str) -> bool:
    try:
        return file.read_text("utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


def _start_file(disk: Path) -> Path:
    return disk / "jupyter" / "config" / "shell-start"


def write_start(disk: Path, inside: Mapping[str, str]) -> None:
    """Write the POSIX shell lines that restore the desk's PATH after the shell's start files."""
    quote = shlex.quote
    text = _SHELL_START.format(
        env=quote(str(disk / "env")),
        local=quote(str(disk / "home" / ".local" / "bin")),
        folders=" ".join(map(quote, inside["PATH"].split(os.pathsep))),
    )
    _start_file(disk).write_text(text, "utf-8")


def _private(folder: Path) -> None:
    """Make a folder that is nobody else's. Raises `PermissionError` where somebody was first, in /tmp."""
    folder.mkdir(mode=0o700, exist_ok=True)
    seen = folder.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.getuid() or seen.st_mode & 0o022:
        raise PermissionError(f"{folder} is not this user's own folder")


def clear_up(disk: Path, mark: str) -> None:
    """Unmount what the desk has mounted by FUSE, and remove a tmux folder that lies outside the disk."""
    for path, kind in mounts.mounted(os.fsencode(disk)):
        if mounts.is_elsewhere(kind):
            mounts.unmount(path)
    outside = tmux_folder(disk, mark)
    if outside != disk / "run":
        shutil.rmtree(outside, ignore_errors=True)
