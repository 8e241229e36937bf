"""Read a machine's ssh host keys through the cloud's API, never from the network on first use.

Its console is asked first: a question that changes nothing. An image may print nothing there, and a kernel
message may cut into every key; then Cloud Assistant, whose agent public images have, prints the files.
Only root can write to either, so a man in the middle cannot insert a key of his own.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from hotdesk.core.errors import Kind, Refused
from hotdesk.providers.aliyun import tags, times
from hotdesk.providers.aliyun.account import Account
from hotdesk.providers.aliyun.client import DATE
from hotdesk.providers.cloud import hostkeys

NAME = "hotdesk-host-keys"  # of the command: its name, and its tag
POLL_SECONDS = 5.0
#: Since the machine's start. cloud-init prints the keys within half a minute of it, as a rule.
CONSOLE_SECONDS = 30.0
#: Since its start: for so long either way may still come to something.
PATIENCE_SECONDS = 600.0
EVERY_SECONDS = 60.0  # a command to the machine, at most

#: At the first boot of a new machine the image's keys are still there, until cloud-init has replaced them:
#: then it has left this mark (cloud-init's FileSemaphores, of the module `ssh`).
_SHOW = """\
made=/var/lib/cloud/instances/{id}/sem/config_ssh
for second in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do [ -e $made ] && break; sleep 1; done
[ -e $made ] || {{ echo "cloud-init has not made them yet"; exit 75; }}
echo -----BEGIN SSH HOST KEY KEYS-----
cat /etc/ssh/ssh_host_*_key.pub
echo -----END SSH HOST KEY KEYS-----
"""
_UNDER_WAY = frozenset({"Pending", "Scheduled", "Running", "Stopping"})


def host_keys(account: Account, region: str, machine: Mapping[str, Any]) -> list[str]:
    """The public host keys of a machine that runs, as `type base64`.

    Raises `Refused`: not-ready until they are there, and after `PATIENCE_SECONDS` why they are not.
    """
    bare = str(machine["InstanceId"])
    age, silent = 0.0, ""
    try:
        shown = account.ask(region, "GetInstanceConsoleOutput", InstanceId=bare)
        if keys := hostkeys.on_console(_text(shown.get("ConsoleOutput"))):
            return keys
        silent = f"{bare} has not shown its host key on its console yet"
        age = times.clock(shown[DATE]) - times.started(machine)
        if age < CONSOLE_SECONDS:
            raise Refused(Kind.NOT_READY, f"{silent}.", seconds=POLL_SECONDS)
    except Refused as no:
        if silent or no.kind is Kind.THROTTLED:
            raise
        silent = f"the console of {bare} cannot be read: {no.message}"
    try:
        keys, so_far, now = _printed(account, region, bare, silent)
        age = now - times.started(machine)  # a console that cannot be read has told no time
        if keys:
            return keys
        raise Refused(Kind.NOT_READY, f"{silent}; {so_far}.", seconds=POLL_SECONDS)
    except Refused as no:
        if no.kind is Kind.DENIED and 0.0 < age < PATIENCE_SECONDS:
            raise Refused(Kind.NOT_READY, no.message, fix=no.fix, seconds=POLL_SECONDS) from no
        if no.kind is Kind.NOT_READY and age >= PATIENCE_SECONDS:
            desk = tags.read(machine.get("Tags")).get("desk", "")
            fix = (
                f"hotdesk stop {desk} && hotdesk start {desk}   # it prints its host key again at each start"
            )
            raise Refused(Kind.BAD_REQUEST, no.message, fix=no.fix or fix) from no
        raise


def _printed(account: Account, region: str, bare: str, silent: str) -> tuple[list[str], str, float]:
    """The keys that Cloud Assistant's agent on the machine has printed; it is asked to where it has not.

    Also what it says instead, and the time.

    The command is found by its tag, so that a process that was killed leaves none behind that the next one
    does not know; the service keeps results for some weeks. `silent`: why the console does not help.
    """
    try:
        told = account.ask(
            region, "DescribeInvocationResults", InstanceId=bare, Tag=tags.named(NAME),
            ContentEncoding="Base64", MaxResults=50,
        )  # fmt: skip
        rows = ((told.get("Invocation") or {}).get("InvocationResults") or {}).get("InvocationResult") or []
        done = [r for r in rows if str(r.get("InstanceId")) == bare]  # another's key would be pinned for good
        now = times.clock(told[DATE])
        if keys := next(filter(None, (hostkeys.on_console(_text(r.get("Output"))) for r in done)), None):
            return keys, "", now
        if not any(str(r.get("InvocationStatus")) in _UNDER_WAY for r in done):
            account.ask(  # a change, and the same twice by its token
                region, "RunCommand", InstanceId=[bare], Type="RunShellScript", Name=NAME, Timeout=60,
                ContentEncoding="Base64", CommandContent=_base64(_SHOW.format(id=bare)),
                Tag=tags.written({"name": NAME}), ClientToken=f"{bare}-{now // EVERY_SECONDS:.0f}",
            )  # fmt: skip
    except Refused as no:
        if no.kind is Kind.THROTTLED:
            raise
        kind = no.kind if no.kind is Kind.DENIED else Kind.NOT_READY
        why = f"{silent}, and Cloud Assistant cannot be asked: {no.message}"
        raise Refused(kind, why, fix=no.fix, seconds=POLL_SECONDS) from no
    return [], _so_far(done), now


def _so_far(done: Sequence[Mapping[str, Any]]) -> str:
    """What Cloud Assistant has to say, which may be that its agent is not there."""
    last = max(done, key=lambda r: str(r.get("StartTime") or ""), default=None)
    if last is None or str(last.get("InvocationStatus")) in _UNDER_WAY:
        return "Cloud Assistant was asked to print it"
    said = _text(last.get("Output")).strip() or str(last.get("ErrorInfo") or "")
    code = str(last.get("ErrorCode") or last.get("InvocationStatus"))
    return f"Cloud Assistant says: {said.rstrip('.') or code} ({code})"


def _text(encoded: Any) -> str:
    with contextlib.suppress(ValueError):
        return base64.b64decode(str(encoded or "")).decode("utf-8", "replace")
    return ""


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
