"""Check that a desk is ready: a login with the pinned host key, and an answer from its own Jupyter.

The login runs a command the way the person's own commands run, through their shell's start files: with
`exec zsh` or `exit` in ~/.bashrc no command runs, yet each seems to succeed.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
import shlex
import socket
import subprocess
import threading

from hotdesk.connect import ssh
from hotdesk.core.errors import Kind, Refused
from hotdesk.core.ports import Access

_LOGIN_SECONDS = 20.0
_NOTEBOOK_SECONDS = 10.0
_BEING_SET_UP = 71
_NOT_SET_UP = 72
_SSH_FAILED = 255  # of ssh itself: there was no login
#: On a rented machine. cloud-init writes its result at the end of each boot, below /run; setup.sh
#: (guest/cloud_init.py) writes its current step, or its failure, below /var/lib/hotdesk.
_SET_UP = (
    "d=/var/lib/hotdesk; "
    "if [ -d /run/cloud-init ] && [ ! -e /run/cloud-init/result.json ] && [ ! -e /run/cloud-init/disabled ]; "
    f"then cat $d/doing 2>/dev/null; exit {_BEING_SET_UP}; fi; "
    f"if [ -s $d/failed ]; then cat $d/failed; exit {_NOT_SET_UP}; fi; "
    'if [ -e $d/doing ]; then echo "it was cut off while $(cat $d/doing)"; tail -n 6 $d/setup.log; '
    f"exit {_NOT_SET_UP}; fi"
)
#: Whether a login shell, which runs a person's commands, gets as far as running one; if not, the first start
#: file that by itself prevents it. {0} and {1}: halves of a nonce that the shell has to join.
_OWN_FILES = """\
through() {{ "$(command -v bash || command -v sh)" "$@" </dev/null 2>/dev/null | grep -q {0}{1}; }}
through -lc 'echo {0}""{1}' && exit
for f in .bashrc .bash_profile .bash_login .profile ""; do
  [ ! -f ~/"$f" ] || through --norc -c '. ~/"$0"; echo {0}""{1}' "$f" || break
done
echo "{0} $f"
"""
_UNIT = "hotdesk-jupyter"
_JUPYTER_FAILED = 73
#: What the unit's own processes said, without systemd's remarks. The user may lack the right to read it.
_GIVEN_UP = (
    f"systemctl is-failed -q {_UNIT} || exit 0; "
    f"set -- journalctl -b _SYSTEMD_UNIT={_UNIT}.service -n 20 -o cat; "
    f'sudo -n "$@" || "$@"; exit {_JUPYTER_FAILED}'
)
_LAST_LINES = 3
_FORWARDING_FAILED = b"stdio forwarding failed"  # of OpenSSH's client, after the login
_AGAIN = "sudo sh /opt/hotdesk/setup.sh first"
_HOOK = "has-a-hook"  # said by a desk with ~/.hotdesk/hooks/ready
_REQUEST = b"GET /api HTTP/1.0\r\nHost: localhost\r\n\r\n"
_MARK_HEADER = "X-Hotdesk-Machine"  # sent by a local desk's Jupyter, with the machine's mark


def prove(access: Access, *, rescue: bool = False) -> bool:
    """Return when a command at the desk ran and its Jupyter answered; whether the desk has a hook for that.

    `rescue`: when its ssh server lets us in, whatever its start files or Jupyter do. Raises `Refused`
    (NOT_READY says what is missing, BAD_REQUEST what its owner has to mend) and `Missing` without an ssh
    client.
    """
    if rescue:
        _get_in(access)
        return False
    mark, hooked = _log_in(access)
    _ask_notebook(access, mark)
    return hooked


def _get_in(access: Access) -> None:
    """Ask the desk's ssh server for a connection to itself: it answers only who has logged in."""
    argv = ssh.proof(access, "-W", f"127.0.0.1:{access.port}")
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LOGIN_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise _no_login(f"it took more than {_LOGIN_SECONDS:.0f} s") from None
    if not done.stdout and _FORWARDING_FAILED not in done.stderr:
        raise _no_login(_last_line(done.stderr) or "it gave no answer")


def _log_in(access: Access) -> tuple[str, bool]:
    """Run a command at the desk; return its machine's mark, "" where it has none, and if there is a hook."""
    nonce = secrets.token_hex(16)
    first, second = nonce[:16], nonce[16:]
    # The desk has to join the two halves, so an echo of what was sent proves nothing.
    command = f'printf "%s%s %s\\n" {first} {second} "$HOTDESK_MACHINE"'
    if not access.supervised:
        command = f"{_SET_UP}; {command}"
    command += f"; [ ! -x .hotdesk/hooks/ready ] || echo {_HOOK}"
    command += f"; exec sh -c {shlex.quote(_OWN_FILES.format(first, second))}"
    argv = ssh.proof(access, line=command)
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LOGIN_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as late:
        if nonce.encode() in (late.stdout or b""):
            raise _swallowed(access, "", f"takes more than {_LOGIN_SECONDS:.0f} s to begin") from None
        raise _no_login(f"it took more than {_LOGIN_SECONDS:.0f} s") from None
    lines = [line.strip() for line in done.stdout.decode("utf-8", "replace").splitlines()]
    said = dict(line.partition(" ")[::2] for line in lines)
    if done.returncode == _BEING_SET_UP:
        doing = lines[-1] if lines else "cloud-init has not finished"
        raise Refused(Kind.NOT_READY, f"the machine is still being set up: {doing}", seconds=1.0)
    if done.returncode == _NOT_SET_UP:
        what, *last = [line for line in lines if line] or ["it does not say why"]
        raise Refused(
            Kind.BAD_REQUEST,
            f"Its set-up failed: {what}." + (f" Its last words: {' / '.join(last)}" if last else ""),
            fix=f"hotdesk ssh {access.desk} -- {_AGAIN} && hotdesk up {access.desk}   # tries again",
        )
    if done.returncode == _SSH_FAILED or (access.supervised and nonce not in said):
        raise _no_login(_last_line(done.stderr) or "it gave no answer")
    if nonce not in said:
        raise _swallowed(access, ".bashrc", "ends before it runs a command")
    if first in said:
        raise _swallowed(access, said[first], "ends before it runs a command")
    return said[nonce], _HOOK in said


def _no_login(why: str) -> Refused:
    return Refused(Kind.NOT_READY, f"no login at the desk yet: {why}", seconds=1.0)


def _last_line(said: bytes) -> str:
    return (said.decode("utf-8", "replace").strip().splitlines() or [""])[-1]


def _swallowed(access: Access, file: str, what: str) -> Refused:
    """Refuse because the person's commands would not run; `file`: the start file to blame, "" if unknown."""
    desk, name = access.desk, file or ".bashrc"
    why = f"~/{file} there ends or replaces it" if file else "one of ~/.profile, ~/.bashrc there is why"
    aside = f"mv ~/{name} ~/{name}.aside"
    mend = (
        f"ssh {desk} --rescue -- '{aside}'" if access.supervised else f"notebook {desk}   # there: !{aside}"
    )
    return Refused(
        Kind.BAD_REQUEST,
        f"Its login shell {what}: {why}.",
        fix=f"hotdesk up {desk} --rescue && hotdesk {mend}",
    )


def _ask_notebook(access: Access, mark: str) -> None:
    try:
        if access.notebook_here:
            status, said = _ask_here(access.notebook_port)
        else:
            status, said = _ask_through_ssh(access)
    except (OSError, ValueError) as error:
        if not access.supervised:
            _ask_unit(access)
        why = "nothing listens yet" if isinstance(error, ConnectionRefusedError) else str(error)
        raise Refused(
            Kind.NOT_READY, f"Jupyter does not answer on port {access.notebook_port}: {why}", seconds=1.0
        ) from None
    if status != 200:
        raise Refused(
            Kind.NOT_READY,
            f"what answers on port {access.notebook_port} is not Jupyter: it says {status}",
            seconds=1.0,
        )
    if mark and said != mark:
        raise Refused(
            Kind.NOT_READY, f"port {access.notebook_port} is answered by another server", seconds=1.0
        )


def _ask_unit(access: Access) -> None:
    """Raise `Refused` with Jupyter's last words if systemd has given it up: it will not answer by waiting."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            ssh.question(access, _GIVEN_UP),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LOGIN_SECONDS,
            check=False,
        )
        if done.returncode == _JUPYTER_FAILED:
            lines = [line.strip() for line in done.stdout.decode("utf-8", "replace").splitlines()]
            last = " / ".join([line for line in lines if line][-_LAST_LINES:])
            raise Refused(
                Kind.BAD_REQUEST,
                "Its Jupyter ends whenever it is started." + (f" Its last words: {last}" if last else ""),
                fix=f"hotdesk up {access.desk} --rescue && hotdesk ssh {access.desk}   "
                f"# mend it there, then: sudo systemctl restart {_UNIT}",
            )


def _ask_here(port: int) -> tuple[int, str]:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=_NOTEBOOK_SECONDS) as connection,
        connection.makefile("rb") as reply,
    ):
        connection.sendall(_REQUEST)
        return _answer(list(itertools.takewhile(bytes.strip, reply)), "nothing came back")


def _ask_through_ssh(access: Access) -> tuple[int, str]:
    """The same from the desk's own loopback, over one more ssh connection; no port is opened here."""
    target = f"127.0.0.1:{access.notebook_port}"
    argv = ssh.proof(access, "-W", target)
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        assert client.stderr is not None
        limit = threading.Timer(_LOGIN_SECONDS, client.kill)
        limit.start()
        try:
            # Keep its input open until the answer arrives: many servers close the connection at end of input.
            client.stdin.write(_REQUEST)
            client.stdin.flush()
            head = list(itertools.takewhile(bytes.strip, client.stdout))
        finally:
            limit.cancel()
            client.kill()
        return _answer(head, _last_line(client.stderr.read()) or "nothing came back")


def _answer(head: list[bytes], otherwise: str) -> tuple[int, str]:
    """The status and the machine's mark of an answer in HTTP. Raises `ValueError` if it is none."""
    version, _, rest = (head[0] if head else b"").decode("latin-1").partition(" ")
    if not version.startswith("HTTP/"):
        raise ValueError(otherwise)
    headers = {
        name.lower(): value.strip()
        for name, _, value in (line.decode("latin-1").partition(":") for line in head[1:])
    }
    return int(rest.split(" ")[0]), headers.get(_MARK_HEADER.lower(), "")
