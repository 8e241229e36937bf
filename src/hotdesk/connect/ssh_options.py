"""The one list of options that stands before everything that runs ssh or rsync.

A person's own ssh settings are read after it, and for most keywords the first value counts (ssh_config(5)):
what is pinned here holds whatever `Host *` says. Pinned is what decides which machine answers, how it proves
that, with which key we log in and what then happens. Left to the person is the way to a rented machine (jump
hosts, proxies, agents, addresses to call from) and their taste in cryptography. A desk on this computer is
reached directly: no proxy leads to our own loopback.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from enum import StrEnum
from functools import cache

from hotdesk.core.ports import Access

_LOOPBACK = "127.0.0.1"


class Use(StrEnum):
    """What a connection is for."""

    QUESTION = "question"  # hotdesk asks something; nobody watches
    COPY = "copy"  # rsync
    SESSION = "session"  # a person's command or terminal
    TUNNEL = "tunnel"  # stays in the background, and is told what to forward by its control socket
    PRINTED = "printed"  # a command line for the person to complete: their own -L and -N must work
    FILE = "file"  # a host in ssh's settings, for editors: they bring their own -D


def settings(access: Access, use: Use) -> dict[str, str]:
    """The options for one connection, by keyword. `IgnoreUnknown` stands first: it holds for what follows."""
    here = access.notebook_here
    pinned = {
        # Older clients lack some of these keywords. A person's own IgnoreUnknown would come too late for
        # ours, and ours, being first, replaces theirs: so it names everything.
        "IgnoreUnknown": "*",
        # Which machine.
        "HostName": access.host.replace("%", "%%"),
        "AddressFamily": "any",
        "CanonicalizeHostname": "no",
        # A shared connection is the one way past the proof below: its socket may lead to another desk.
        "ControlMaster": "no",
        "ControlPath": "none",
        "ControlPersist": "no",
        # The proof that it is the desk: the one pinned host key of its own alias, and nothing else.
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
        "GSSAPIKeyExchange": "no",  # a patch of several distributions: it takes Kerberos' word for the host
        # Our key. Others of the person's are not offered, unless they are of the same plain kind.
        "IdentityFile": quoted(access.key_path),
        "IdentitiesOnly": "yes",
        "PubkeyAuthentication": "yes",
        "PubkeyAcceptedAlgorithms": "ssh-ed25519",
        "PubkeyAcceptedKeyTypes": "ssh-ed25519",  # its name before OpenSSH 8.5
        "PreferredAuthentications": "publickey",
        "AddKeysToAgent": "no",
        "BatchMode": "yes",  # of our connection: a jump host may still ask for what it needs
        # How long. A jump host's second factor is typed by hand.
        "ConnectTimeout": "10" if use is Use.QUESTION else "60",
        "ConnectionAttempts": "1",
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "2" if use is Use.QUESTION else "3",
        "ChannelTimeout": "none",
        # What happens then.
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
            "ForwardX11": "no",  # the person's display is as near without it
        }
    if use in {Use.QUESTION, Use.COPY, Use.TUNNEL}:
        pinned |= {"ForwardAgent": "no", "ForwardX11": "no"}
        if here:
            # Elsewhere the way may need one. From OpenSSH 10.5 on, "none" also takes it from the ssh that
            # ProxyJump starts: SSH_AUTH_SOCK is unset before the connection is made, not after.
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


def words(pinned: Mapping[str, str]) -> list[str]:
    """The options as words of a command line."""
    return [part for keyword, value in pinned.items() for part in ("-o", f"{keyword}={value}")]


def lines(access: Access, program: str) -> list[str]:
    """The options as lines of a settings file, as far as this ssh program knows their keywords.

    An unknown keyword in such a file would end every ssh command, whatever its host, and IgnoreUnknown
    cannot stand here: it would replace the person's own.
    """
    pinned = settings(access, Use.FILE)
    del pinned["IgnoreUnknown"]
    if not _knows(program, *words(pinned)):
        pinned = {keyword: v for keyword, v in pinned.items() if _knows(program, "-o", f"{keyword}={v}")}
    return [f"{keyword} {value}" for keyword, value in pinned.items()]


@cache
def _knows(program: str, *options: str) -> bool:
    asked = [program, "-G", "-F", "/dev/null", *options, "localhost"]
    done = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode == 0 and b"nsupported option" not in done.stderr


def quoted(path: str) -> str:
    """A path as an ssh option: ssh splits options at blanks, and expands %."""
    escaped = path.replace("%", "%%")
    return f'"{escaped}"' if any(c.isspace() for c in escaped) else escaped
