"""Identify the owner, whose name tags all resources, so that colleagues' desks are told apart.

It is the user's name in the account, and no secret: `root`, `user/alice`, `role/Admins/alice@example.com`.
AWS is asked once per access key (sts:GetCallerIdentity, which cannot be denied), and the answer is cached.
"""

from __future__ import annotations

import re

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.ports import Cache
from hotdesk.providers.aws.account import Account
from hotdesk.providers.aws.errors import answers

#: Role session names that tools generate, or an instance's id: then only the role identifies the owner.
_MADE_UP = re.compile(
    r"(botocore-session|aws-cli|awscli|aws-sdk|boto|session|i)-[0-9a-z-]*\d[0-9a-z-]*", re.I
)


def owner(account: Account, cache: Cache | None, now: float) -> str:
    """The owner, from hotdesk.toml, else from AWS. Raises `Refused` if AWS does not accept us."""
    if account.settings.owner:
        return account.settings.owner
    with answers():
        credentials = account.session.get_credentials()
    key = f"aws-owner/{credentials.access_key}" if credentials else ""
    if key and cache and (kept := cache.cached(key)):
        return kept[1].decode()
    with answers():
        arn = str(account.client("sts", account.home).get_caller_identity()["Arn"])
    if not (found := name_of(arn)):
        raise Refused(Kind.DENIED, f"AWS calls us {arn!r}, which names nobody.")
    if key and cache:
        cache.keep(key, found.encode(), now)
    return found


def name_of(arn: str) -> str:
    """The owner in an ARN of STS, without a session name that a tool generated."""
    who = arn.split(":", 5)[-1]
    if who.startswith("assumed-role/"):
        _, role, session = who.split("/", 2)
        return f"role/{role}" if _MADE_UP.fullmatch(session) else f"role/{role}/{session}"
    return who
