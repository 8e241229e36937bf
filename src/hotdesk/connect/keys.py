"""A desk's keys: generated on this computer, kept in the state folder, readable by their owner only.

desks/<desk>/id_ed25519, .pub        logs in at the desk
desks/<desk>/host_ed25519, .pub      the desk's ssh host key
desks/<desk>/known_hosts             the host key under the desk's alias, for stock ssh
desks/<desk>/notebook-password       in plain text, for the owner
desks/<desk>/notebook-password.argon2  its hash, for Jupyter
desks/<desk>/notebook-certificate.pem  the TLS certificate of `hotdesk notebook --public`
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hotdesk.core.errors import Damaged, Missing
from hotdesk.core.names import check_name
from hotdesk.core.ports import Keys
from hotdesk.system import locked, write_atomically

_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # without 1, l, 0 and o: it may be typed from paper

#: What only the holder of a desk's lock writes: what these names and a dot begin. (known_hosts-NAME is pinned
#: by a provider, without it.)
_OURS = ("id_ed25519.", "host_ed25519.", "known_hosts.", "notebook-password.")


def desk_keys(state: Path, desk: str) -> Keys:
    """The desk's keys, generating those that are missing. Safe to repeat and to interrupt.

    Raises `Missing` without ssh-keygen and `Damaged` when a private key cannot be read.
    """
    folder = _folder(state, desk)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    keys = Keys.within(str(folder), desk)
    with _alone(folder):
        _pair(Path(keys.user_key_path), f"hotdesk-{desk}")
        host = _pair(Path(keys.host_key_path), f"hotdesk-{desk}-host")
        line = f"{keys.alias} {' '.join(host.split()[:2])}\n"
        if _text(Path(keys.known_hosts_path)) != line:
            write_atomically(Path(keys.known_hosts_path), line, durable=True)
        _password(Path(keys.password_path), Path(keys.password_hash_path))
    return keys


def forget_keys(state: Path, desk: str) -> None:
    """Remove a desk's keys; idempotent."""
    folder = _folder(state, desk)
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name.startswith(
                (".making-", "id_ed25519", "host_ed25519", "known_hosts", "notebook-", "ssh_config")
            ):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        (folder / ".lock").unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # the folder holds something that is not ours
            folder.rmdir()


def _folder(state: Path, desk: str) -> Path:
    return Path(os.path.abspath(state)) / "desks" / check_name(desk)  # noqa: PTH100 - links stay as they are


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with locked(folder / ".lock"):
        for path in folder.iterdir():  # left by a process that was killed
            if path.name.startswith(".making-"):
                shutil.rmtree(path, ignore_errors=True)
            elif path.suffix == ".new" and path.name.startswith(_OURS):
                path.unlink(missing_ok=True)
        yield


def _pair(private: Path, comment: str) -> str:
    """The public key, after making whatever is missing of the pair."""
    public = private.with_name(private.name + ".pub")
    if not private.exists():
        public.unlink(missing_ok=True)  # its private key is lost
        with tempfile.TemporaryDirectory(prefix=".making-", dir=private.parent) as making:
            made = Path(making) / "key"
            _keygen("-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(made))
            made.chmod(0o600)
            made.replace(private)
    private.chmod(0o600)
    text = _text(public)
    if not text.startswith("ssh-ed25519 "):
        text = f"{' '.join(_keygen('-y', '-P', '', '-f', str(private)).split()[:2])} {comment}\n"
        write_atomically(public, text, durable=True)
    return text


def write_public(private: Path) -> None:
    """Rewrite a public key from its private key. Raises `Damaged` when that cannot be read."""
    half = " ".join(_keygen("-y", "-P", "", "-f", str(private)).split()[:2])
    comment = _text(private.with_name(private.name + ".pub")).split()[2:] or [
        f"hotdesk-{private.parent.name}"
    ]
    with _alone(private.parent):
        write_atomically(private.with_name(private.name + ".pub"), f"{half} {comment[0]}\n", durable=True)


def _keygen(*args: str) -> str:
    try:
        done = subprocess.run(
            ["ssh-keygen", *args], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
    except FileNotFoundError:
        raise Missing(
            "No ssh-keygen on this computer.",
            "hotdesk uses it to make each desk's own key.",
            "sudo apt install openssh-client   # or your system's OpenSSH client",
        ) from None
    if done.returncode:
        raise Damaged(
            f"The key {args[-1]} cannot be read.",
            (done.stderr.strip().splitlines() or ["ssh-keygen does not say why"])[-1],
            f"mv {args[-1]} {args[-1]}.old   # a new one is made at the desk's next start",
        )
    return done.stdout


def _password(plain: Path, hashed: Path) -> None:
    word = _text(plain).strip()
    if not word:
        hashed.unlink(missing_ok=True)  # its password is lost
        word = "-".join("".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(4))
        write_atomically(plain, word + "\n", durable=True)
    plain.chmod(0o600)
    if not _text(hashed).startswith("argon2:"):
        from argon2 import PasswordHasher

        # The form and the cost of jupyter_server.auth.passwd, without importing a web server for it.
        hasher = PasswordHasher(memory_cost=10240, time_cost=10, parallelism=8)
        write_atomically(hashed, f"argon2:{hasher.hash(word)}\n", durable=True)
    hashed.chmod(0o600)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return ""
