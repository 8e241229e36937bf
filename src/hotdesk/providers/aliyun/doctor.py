"""Check an account: identity, clock, the right to look, real name, quotas, and what leaving costs.

Changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from hotdesk.core.errors import Refused, Unreachable
from hotdesk.core.findings import Finding
from hotdesk.core.model import Desk, Survey
from hotdesk.core.ports import Clock
from hotdesk.parallel import side_by_side
from hotdesk.providers.aliyun import inventory, quotas, times
from hotdesk.providers.aliyun.account import Account
from hotdesk.providers.aliyun.client import DATE

SKEW_SECONDS = 60.0  # a signature may be off by fifteen minutes


def findings(
    account: Account, desks: Sequence[Desk], survey: Survey | None, *, clock: Clock
) -> Iterator[Finding]:
    try:
        told = account.client.ask("sts", account.home, "GetCallerIdentity")
    except Refused as no:
        yield _bad("Alibaba Cloud does not know who we are.", no.message, no.fix)
        return
    except Unreachable as error:
        yield _bad(error.what, error.why, error.fix)
        return
    yield from _clock(times.clock(told.get(DATE, "")), clock.now())
    regions = _regions(account, desks, survey)
    checks: list[Callable[[], list[Finding]]] = [
        *[lambda region=region: list(_account(account, region)) for region in regions],
        *[lambda region=region: list(_may_look(account, region)) for region in regions],
    ]
    for found in side_by_side(checks):
        if isinstance(found, Refused):
            yield _bad("Alibaba Cloud could not be examined to the end.", found.message, found.fix)
        elif isinstance(found, Exception):
            yield _bad("Alibaba Cloud could not be examined to the end.", str(found), "hotdesk doctor")
        else:
            yield from found
    if not account.settings.role:
        yield Finding(
            level="note",
            what="A desk on Alibaba Cloud that leaves by itself goes on costing.",
            why="A shutdown from within does not end the charge there, and [aliyun] names no role with which "
            "a desk could stop itself: it is paid until `hotdesk park` or a `hotdesk watch` saves it.",
            fix='role = "hotdesk-desk"   # under [aliyun] in hotdesk.toml; docs/aliyun.md makes that role',
        )


def _bad(what: str, why: str, fix: str) -> Finding:
    return Finding(level="bad", what=what, why=why, fix=fix)


def _regions(account: Account, desks: Iterable[Desk], survey: Survey | None) -> list[str]:
    """The regions where desks are or may be launched, else the account's home."""
    found = [i.region for i in survey.instances] if survey else []
    for desk in desks:
        found += [o.region for o in desk.offers[:1]]
    return list(dict.fromkeys(found)) or [account.home]


def _clock(theirs: float, ours: float) -> Iterator[Finding]:
    if theirs and abs(theirs - ours) > SKEW_SECONDS:
        off = f"{abs(theirs - ours):.0f} s {'behind' if theirs > ours else 'ahead of'} Alibaba Cloud's"
        yield _bad(
            f"This computer's clock is {off}.",
            "Requests are signed with the time, and refused from fifteen minutes on.",
            "sudo timedatectl set-ntp true",
        )


def _may_look(account: Account, region: str) -> Iterator[Finding]:
    try:
        inventory.may_read(account, region)
    except Refused as no:
        yield _bad(f"Machines in {region} cannot be listed.", no.message, no.fix)


def _account(account: Account, region: str) -> Iterator[Finding]:
    known = quotas.of(account, region)
    if region.startswith("cn-") and region != "cn-hongkong" and not known.named:
        yield _bad(
            f"The account's real name is not verified: {region} rents nothing to it.",
            "Mainland regions ask for it; the others do not.",
            "https://myaccount.console.aliyun.com/cert-info   # 实名认证; or: --region cn-hongkong",
        )
    for market, limit in known.limits.items():
        if known.free[market] < 4:
            yield _bad(
                f"The account has {limit:g} vCPUs of {market} machines in {region}, and they are used up.",
                "New accounts may have none at all.",
                "https://ecs.console.aliyun.com/privilege-quota   # ask for more",
            )
