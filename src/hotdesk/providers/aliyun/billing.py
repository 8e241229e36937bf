"""Ask Alibaba Cloud for its own bill, by desk.

DescribeInstanceBill tells a month's cost of each resource with its tags, in the account's currency, usually
without the last day (BSS OpenAPI 2017-12-14). In which form it writes a tag is not documented: a name that
follows the key is taken. Two sites serve this, one for accounts opened in China and one for all others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.money import Money, is_comparable, rate_line
from hotdesk.providers.aliyun.account import Account
from hotdesk.providers.aliyun.errors import Problem, code, refusal
from hotdesk.providers.cloud.vocabulary import MARK

ACTION = "DescribeInstanceBill"
SITES = ("bss", "bss-abroad")
#: Codes of a site that does not know the account.
_ELSEWHERE = frozenset({"InvalidAccessKeyId.NotFound", "InvalidAccessKeyId", "NotApplicable"})
_DESK = re.compile(rf"(?:^|\W){MARK}:desk\W+(?:value\W+)?([a-z0-9][a-z0-9-]*)", re.IGNORECASE)
_OURS = re.compile(rf"(?:^|\W){MARK}\W")

Row = dict[str, Any]


def billed(account: Account, since: float, until: float, money: Money) -> dict[str, float]:
    """US dollars by desk in the months from `since` to `until`; "" for what has our tag and no desk.

    Raises `Refused`: denied without the right, bad-request where the bill is in a currency without a rate.
    """
    usd: dict[str, float] = {}
    for row in _rows(account, _months(since, until)):
        desk = desk_of(str(row.get("Tag") or ""))
        if desk is None:
            continue
        paid, currency = float(row.get("PretaxAmount") or 0.0), str(row.get("Currency") or "CNY")
        usd[desk] = usd.get(desk, 0.0) + _dollars(paid, currency, money)
    return usd


def desk_of(tag: str) -> str | None:
    """The desk that the text of a row's tags names; "" where it has our tag alone, None where it has not."""
    if found := _DESK.search(tag):
        return found[1]
    return "" if _OURS.search(tag) else None


def _dollars(paid: float, currency: str, money: Money) -> float:
    try:
        usd, told = money.dollars(paid, currency)
    except ValueError:
        raise Refused(Kind.BAD_REQUEST, f"The account is billed in {currency}.") from None
    if not is_comparable(told):
        raise Refused(
            Kind.BAD_REQUEST,
            f"The account is billed in {currency}, and hotdesk.toml has no rate of it to US dollars.",
            fix=rate_line(currency),
        )
    return usd


def _months(since: float, until: float) -> Iterator[str]:
    begin, end = (datetime.fromtimestamp(at, UTC) for at in (since, until))
    for number in range(begin.year * 12 + begin.month - 1, end.year * 12 + end.month):
        yield f"{number // 12}-{number % 12 + 1:02d}"


def _rows(account: Account, months: Iterator[str]) -> Iterator[Row]:
    site = ""
    for cycle in months:
        token: str | None = None
        while True:
            asked = {"BillingCycle": cycle, "IsHideZeroCharge": True, "MaxResults": 300, "NextToken": token}
            site, told = _ask(account, site, asked)
            yield from told.get("Items") or ()
            if not (token := told.get("NextToken") or None):
                break


def _ask(account: Account, site: str, asked: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The answer's data, and the site that gave it: this one, or the first that knows the account."""
    for one in (site,) if site else SITES:
        try:
            return one, _data(account.client.ask(one, account.home, ACTION, **asked))
        except Refused as no:
            if site or one == SITES[-1] or code(no) not in _ELSEWHERE:
                raise
    raise AssertionError(SITES)


def _data(told: dict[str, Any]) -> dict[str, Any]:
    """What was asked for. The service tells its own refusals with the status 200."""
    if told.get("Success", True):
        data: dict[str, Any] = told.get("Data") or {}
        return data
    problem = Problem(ACTION, 400, str(told.get("Code") or ""), str(told.get("Message") or ""))
    raise refusal(problem) or Refused(Kind.BAD_REQUEST, str(problem)) from problem
