"""The ssh options that hotdesk pins in every ssh and rsync command.

The user's own ssh settings are read after them, and for most keywords the first value counts (ssh_config(5)):
what is pinned here holds whatever `Host *` says. Pinned: which machine is reached, how it is authenticated,
which key logs in, and what runs then. Left to the user: the route to a rented machine (jump hosts, proxies,
agents, source addresses) and the choice of ciphers. A desk on this computer is reached directly: a proxy
cannot lead to our own loopback.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import cache

from hotdesk.core.ports import Access

_LOOPBACK = "127.0.0.1"
_COMPLAINT = re.compile(rb"\bline (\d+): (?!Deprecated)")


class Use(StrEnum):
    """What a connection is for."""

    QUESTION = "question"  # a command of hotdesk's own, without a person at the terminal
    COPY = "copy"  # rsync
    SESSION = "session"  # a person's command or terminal
    TUNNEL = "tunnel"  # stays in the background; its control socket takes the forwardings
    PRINTED = "printed"  # a command line for the person to extend: their own -L and -N must work
    FILE = "file"  # a host in ssh's settings, for editors: they bring their own -D


#: For a desk to which this process has a login of its own: the path of its control socket, while it lasts.
logins: dict[Access, Callable[[], str]] = {}


def _shared(access: Access) -> str:
    login = logins.get(access)
    path = login() if login else ""
    return quoted(path) if path else "none"


def settings(access: Access, use: Use) -> dict[str, str]:
    """The options for one connection, by keyword. `IgnoreUnknown` is first: it applies to what follows."""
    here = access.notebook_here
    pinned = {
        # Older clients lack some of these keywords. The user's own IgnoreUnknown comes too late for ours,
        # and ours, being first, replaces theirs: so it matches everything.
        "IgnoreUnknown": "*",
        # Which machine.
        "HostName": access.host.replace("%", "%%"),
        "AddressFamily": "any",
        "CanonicalizeHostname": "no",
        # A shared connection would bypass the host key check below: its socket may lead to another desk. But
        # for a login of this very process (`one_login`).
        "ControlMaster": "no",
        "ControlPath": _shared(access) if use in {Use.QUESTION, Use.COPY} else "none",
        "ControlPersist": "no",
        # Host authentication: only the host key pinned under the desk's alias.
        "HostKeyAlias": access.alias,
        "UserKnownHostsFile": quoted(access.known_hosts_path),
        "GlobalKnownHostsFile": "/dev/null",
        "KnownHostsCommand": "none",
        "StrictHostKeyChecking": "yes",
        "CheckHostIP": "no",
        "VerifyHostKeyDNS": "no",
        "NoHostAuthenticationForLocalhost": "no",
        "HostKeyAlgorithms": "+ssh-ed25519",  # "+" begins with the defaults, in the order of known_hosts
        "UpdateHostKeys": "no",
        "GSSAPIKeyExchange": "no",  # some distributions' patch: Kerberos would authenticate the host
        # Our key. The user's own keys are not offered, unless they are plain Ed25519 too.
        "IdentityFile": quoted(access.key_path),
        "IdentitiesOnly": "yes",
        "PubkeyAuthentication": "yes",
        "PubkeyAcceptedAlgorithms": "ssh-ed25519",
        "PubkeyAcceptedKeyTypes": "ssh-ed25519",  # its name before OpenSSH 8.5
        "PreferredAuthentications": "publickey",
        "AddKeysToAgent": "no",
        "BatchMode": "yes",  # of our connection: a jump host may still ask for what it needs
        # Timeouts. A jump host's second factor is typed by hand.
        "ConnectTimeout": "10" if use is Use.QUESTION else "60",
        "ConnectionAttempts": "1",
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "2" if use is Use.QUESTION else "3",
        "ChannelTimeout": "none",
        # After the login.
        "PermitLocalCommand": "no",
        "RemoteCommand": "none",
        "RequestTTY": "auto" if use in {Use.SESSION, Use.PRINTED, Use.FILE} else "no",
        "SessionType": "default",
        "ForkAfterAuthentication": "no",
        "StdinNull": "no",
        "ClearAllForwardings": "yes",
        "ExitOnForwardFailure": "no",
        "Tunnel": "no",
        "VisualHostKey": "no",
        "LogLevel": "ERROR",
    }
    if here:
        pinned |= {
            "ProxyCommand": "none",
            "ProxyJump": "none",
            "BindAddress": _LOOPBACK,  # it also takes precedence over a BindInterface
            "Compression": "no",
            "ForwardX11": "no",  # the user's display is on this computer anyway
        }
    if access.proxy:
        pinned |= {"ProxyCommand": access.proxy, "ProxyJump": "none", "Compression": "no"}
    if use in {Use.QUESTION, Use.COPY, Use.TUNNEL}:
        pinned |= {"ForwardAgent": "no", "ForwardX11": "no"}
        if here:
            # Only here: the route to a rented machine may need an agent. From OpenSSH 10.5 on, "none" also
            # removes it from the ssh that ProxyJump starts: SSH_AUTH_SOCK is unset before connecting.
            pinned["IdentityAgent"] = "none"
    if use is Use.TUNNEL:
        pinned |= {"SessionType": "none", "StdinNull": "yes", "ForkAfterAuthentication": "yes"}
        pinned |= {"ControlMaster": "yes", "ExitOnForwardFailure": "yes"}
    if use in {Use.PRINTED, Use.FILE}:
        del pinned["ClearAllForwardings"]  # it would clear those of the command line as well
    if use is Use.PRINTED:
        for keyword in ("SessionType", "ForkAfterAuthentication", "StdinNull"):
            del pinned[keyword]  # ssh refuses a later -N otherwise
    return pinned


def words(access: Access, use: Use, changed: Mapping[str, str] | None = None) -> list[str]:
    """The options, some of them `changed`, as words of a command line."""
    return _words(settings(access, use) | dict(changed or {}))


def _words(pinned: Mapping[str, str]) -> list[str]:
    return [part for keyword, value in pinned.items() for part in ("-o", f"{keyword}={value}")]


def lines(access: Access) -> list[str]:
    """The options as lines of a settings file of our own."""
    return [f"{keyword} {value}" for keyword, value in settings(access, Use.FILE).items()]


def included_lines(access: Access, program: str) -> list[str]:
    """The options as lines that the user's own settings file includes: those that this ssh program knows.

    An unknown one there would break every ssh command, to any host, and our IgnoreUnknown would replace
    theirs.
    """
    return list(_known(program, tuple(line for line in lines(access) if line != "IgnoreUnknown *")))


@cache
def _known(program: str, lines: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the lines that ssh does not complain about; it names each by its number."""
    while True:
        asked = [program, "-G", "-F", "/dev/stdin", "localhost"]
        text = "".join(f"{line}\n" for line in lines).encode()
        done = subprocess.run(asked, input=text, capture_output=True, check=False)
        bad = {int(number) for number in _COMPLAINT.findall(done.stderr)}
        if not bad:
            return lines if done.returncode == 0 else ()
        lines = tuple(line for number, line in enumerate(lines, 1) if number not in bad)


def quoted(path: str) -> str:
    """Quote a path for an ssh option: ssh splits at blanks and expands %."""
    escaped = path.replace("%", "%%")
    return f'"{escaped}"' if any(c.isspace() for c in escaped) else escaped
