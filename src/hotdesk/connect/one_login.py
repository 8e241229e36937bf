"""One login for many of hotdesk's own commands at a desk, while a command here lasts.

`ssh_options` shares no connections, because another's control socket may lead to another desk. This one is
of this process alone, in a folder that no other user may enter, and its login has checked the same pinned
host key. It ends with this process, however that ends: its command at the desk reads what only we hold open.
Where it is lost, each ssh logs in by itself again. A login that is a proof (`readiness`) never goes over it.
"""

from __future__ import annotations

import contextlib
import select
import subprocess
import tempfile
from collections.abc import Iterator

from hotdesk.connect import ssh, ssh_options
from hotdesk.connect.ssh_options import Use
from hotdesk.core.ports import Access

_LOGIN_SECONDS = 15.0
_END_SECONDS = 5.0
_LONGEST = 80  # of a socket's path, in bytes: ssh itself adds to it while it makes the socket
_UNTIL_WE_END = "echo; exec cat >/dev/null"


@contextlib.contextmanager
def held(access: Access) -> Iterator[None]:
    """While this lasts, hotdesk's own commands at this desk share one login, if there can be one."""
    if access in ssh_options.logins:  # a wider part of this command holds one, or another thread
        yield
        return
    with tempfile.TemporaryDirectory(prefix="hotdesk-", ignore_cleanup_errors=True) as folder:
        path = f"{folder}/s"
        master = _begin(access, path)
        if master is not None:
            ssh_options.logins[access] = lambda: path if master.poll() is None else ""
        try:
            yield
        finally:
            if master is not None:
                ssh_options.logins.pop(access, None)
                _stop(master)


def _begin(access: Access, path: str) -> subprocess.Popen[bytes] | None:
    if len(path.encode()) > _LONGEST:
        return None
    changed = {"ControlMaster": "yes", "ControlPath": ssh_options.quoted(path)}
    argv = [*ssh.ssh(access, use=Use.QUESTION, changed=changed), "--", _UNTIL_WE_END]
    master = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        process_group=0,  # Ctrl-C is for the command that waits
    )
    assert master.stdout is not None
    answers, _, _ = select.select([master.stdout], [], [], _LOGIN_SECONDS)
    if answers and master.stdout.read(1):  # its socket is there before its first session
        return master
    _stop(master)
    return None


def _stop(master: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        master.terminate()
    for pipe in (master.stdin, master.stdout):
        if pipe is not None:
            pipe.close()
    try:
        master.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        master.kill()
        master.wait()
