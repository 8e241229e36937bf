"""List instances of the other zones while one availability zone is down.

"If you describe instances in the rare case where an Availability Zone is experiencing a service disruption
and you specify instance IDs that are in the affected zone, or do not specify any instance IDs at all, the
call fails. If you describe instances and specify only instance IDs that are in an unaffected zone, the call
works normally." (EC2 API reference, DescribeInstances.) The ids are learned from their tags.
"""

from __future__ import annotations

from typing import Any

import msgspec

from hotdesk.providers.aws import tags
from hotdesk.providers.aws.account import Account
from hotdesk.providers.aws.errors import CODES, answers, code
from hotdesk.providers.cloud import vocabulary


class Partly(msgspec.Struct, frozen=True):
    """The instances of a region that could be described, and the tags of the others."""

    reservations: list[Any]
    lost: dict[str, vocabulary.Tags]


def may_be(error: Exception) -> bool:
    """Whether an error may come from one zone's outage: a 5xx answer with an unspecific code."""
    answer = error.__cause__ or error
    told = getattr(answer, "response", None) or {}
    status = int(told.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) or 0)
    return status >= 500 and code(answer) not in CODES


def around(account: Account, region: str, suspects: frozenset[str]) -> Partly:
    """Describe the region's instances by their ids, without those whose ids make the request fail.

    `suspects` did so a moment ago: they are described separately, so that the others need one request. Raises
    EC2's error if tags cannot be read either: then it is not just one zone.
    """
    told = _tagged(account, region)
    found: dict[str, Any] = {}
    for ids in ([i for i in told if i not in suspects], [i for i in told if i in suspects]):
        _ask(account, region, ids, found)
    lost = {i: told[i] for i in told if i not in found}
    return Partly([r for r in found.values() if r is not None], lost)


def _ask(account: Account, region: str, ids: list[str], found: dict[str, Any]) -> None:
    """Fill `found`, halving the request when it fails. None: the instance no longer exists."""
    if not ids:
        return
    try:
        with answers():  # without a retry: the zone will not recover between two attempts
            listed = account.ec2_once(region).describe_instances(InstanceIds=ids)["Reservations"]
    except Exception as error:
        gone = code(error.__cause__ or error) == "InvalidInstanceID.NotFound"
        if not gone and not may_be(error):
            raise
        if len(ids) > 1:
            half = len(ids) // 2
            _ask(account, region, ids[:half], found)
            _ask(account, region, ids[half:], found)
        elif gone:
            found[ids[0]] = None
        return
    found |= dict.fromkeys(ids)
    found |= {i["InstanceId"]: {**r, "Instances": [i]} for r in listed for i in r["Instances"]}


def _tagged(account: Account, region: str) -> dict[str, vocabulary.Tags]:
    """The tags of all our instances, by id."""
    wanted = {"resource-type": ["instance"], "key": [vocabulary.MARK, f"{vocabulary.MARK}:*"]}
    page: dict[str, Any] = {"Filters": [{"Name": name, "Values": values} for name, values in wanted.items()]}
    raw: dict[str, list[dict[str, str]]] = {}
    while True:
        with answers():
            answer = account.ec2(region).describe_tags(**page)
        for row in answer["Tags"]:
            raw.setdefault(row["ResourceId"], []).append({"Key": row["Key"], "Value": row["Value"]})
        if not answer.get("NextToken"):
            return {bare: tags.read(told) for bare, told in raw.items() if tags.is_ours(told)}
        page["NextToken"] = answer["NextToken"]
