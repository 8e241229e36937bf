"""What holds for every operation: rights, arrears, throttling, tokens, tags; and the table of operations."""

from __future__ import annotations

import copy
import json
import zlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from tests.fake_ecs.wire import Call, Problem
from tests.fake_ecs.world import World

Answer = dict[str, Any]
Operation = Callable[[World, Call], Answer]

TABLE: dict[tuple[str, str], Operation] = {}
ECS, VPC, STS, BSS = "2014-05-26", "2016-04-28", "2015-04-01", "2017-12-14"

MOST_TAGS, LONGEST_TAG = 20, 128
TOKEN_SECONDS = 600.0

#: Refused while the account is in arrears; images, snapshots and deletions are not ("API behavior for
#: accounts that have overdue payments").
_NOT_IN_ARREARS = frozenset(
    {
        *("RunInstances", "StartInstances", "StopInstances", "CreateInstance", "RebootInstances"),
        *("AttachDisk", "CreateDisk", "ModifyInstanceSpec"),
    }
)
#: How an operation says that its token was used for something else.
_MISMATCH = {
    "CreateImage": ("IdempotenceParamNotMatch", 400),
    "ModifyInstanceSpec": ("IdempotenceParamNotMatch", 400),
    "CreateSnapshot": ("IdempotentParameterMismatch", 403),
    "CreateVSwitch": ("Duplicated.ClientToken", 400),
}
_IN_FLIGHT = {"CreateVpc": "TOKEN_PROCESSING", "CreateVSwitch": "OperationFailed.IdempotentTokenProcessing"}
_NO_TOKEN = frozenset({"StartInstances", "StopInstances", "ModifyInstanceAutoReleaseTime", "DeleteImage"})


def operation(version: str, *, tokens: bool = False) -> Callable[[Operation], Operation]:
    """An operation, by its name; with `tokens`, a repeated ClientToken has no second effect."""

    def enter(do: Operation) -> Operation:
        name = "".join(word.capitalize() for word in do.__name__.split("_"))
        name = name.replace("Vpc", "Vpc").replace("Vswitch", "VSwitch")
        TABLE[version, name] = _once(name, do) if tokens else do
        return do

    return enter


def _once(name: str, do: Operation) -> Operation:
    def answer(world: World, call: Call) -> Answer:
        token = call.get("ClientToken")
        if not token or name in _NO_TOKEN:
            return do(world, call)
        if len(token) > 64 or not token.isascii():
            raise Problem("InvalidClientToken.ValueNotSupported", "The ClientToken provided is invalid.")
        said = json.dumps(call.flat, sort_keys=True)
        now = world.clock.now()
        if kept := world.tokens.get((name, token)):
            before, told, at = kept
            if now - at < TOKEN_SECONDS or name == "RunInstances":
                if before != said:
                    code, status = _MISMATCH.get(name, ("IdempotentParameterMismatch", 400))
                    raise Problem(
                        code,
                        "The request uses the same client token as a previous, but non-identical request.",
                        status,
                    )
                if now - at < world.clock.takes("token") and name in _IN_FLIGHT:
                    raise Problem(_IN_FLIGHT[name], "The request is being processed.")
                return copy.deepcopy(told)
        if call.flag("DryRun"):
            return do(world, call)
        made = do(world, call)
        world.tokens[name, token] = (said, copy.deepcopy(made), now)
        return made

    return answer


def check(world: World, call: Call) -> None:
    """Raises the refusal that has nothing to do with what is asked for."""
    window = int(world.clock.now() // 60)
    used = world.counted[call.action, window] = world.counted.get((call.action, window), 0) + 1
    if call.action in world.throttle and used > world.throttle[call.action]:
        more = {"x-acs-retry-after": world.retry_after} if world.retry_after else {}
        raise Problem("Throttling.User", "Request was denied due to user flow control.", 400, headers=more)
    if call.action in world.denied:
        raise denied(call)
    if world.arrears and call.action in _NOT_IN_ARREARS:
        raise Problem(
            "InvalidAccountStatus.NotEnoughBalance",
            "Your account does not have enough balance.",
            403,
        )
    if call.tags or "Tag" in call.params:
        check_tags(call.tags, asking=call.action.startswith("Describe"))


def denied(call: Call) -> Problem:
    return Problem(
        "Forbidden.RAM",
        "User not authorized to operate on the specified resource, or this API doesn't support RAM.",
        403,
        AccessDeniedDetail={
            "AuthAction": f"{'bssapi' if call.version == BSS else 'ecs'}:{call.action}",
            "NoPermissionType": "ImplicitDeny",
        },
    )


def check_tags(tags: Mapping[str, str], before: Collection[str] = (), *, asking: bool = False) -> None:
    if len({*tags, *before}) > MOST_TAGS:
        raise Problem("NumberExceed.Tags", "The maximum number of Tags is exceeded.")
    for key, value in tags.items():
        if not key or len(key) > LONGEST_TAG or key.startswith(("aliyun", "acs:")) or "http://" in key:
            raise Problem("InvalidTagKey.Malformed", "The specified Tag.n.Key is not valid.")
        if len(value) > LONGEST_TAG or "http://" in value or "https://" in value:
            raise Problem("InvalidTagValue.Malformed", "The specified Tag.n.Value is not valid.")


def dry_run(call: Call, code: str = "DryRunOperation") -> None:
    if call.flag("DryRun"):
        raise Problem(code, "Request validation has been passed with DryRun flag set.")


def tagged(call: Call, things: Collection[Any]) -> list[Any]:
    """Those with all the tags that are asked for; a tag without a value matches any."""
    asked = [(t["Key"], t.get("Value")) for t in call.params.get("Tag") or []]
    return [t for t in things if all(key in t.tags and value in {None, t.tags[key]} for key, value in asked)]


def listed(world: World, call: Call, things: Collection[Any]) -> list[Any]:
    """As `tagged`, without what is so new that no listing has it yet, by its id neither."""
    now = world.clock.now()

    def lag(id_: str) -> float:
        return world.lag * (zlib.crc32(id_.encode()) % 101 / 100 if world.lag_varies else 1.0)

    return [t for t in tagged(call, things) if not world.lag or t.made + lag(t.id) <= now]


def tag_list(tags: Mapping[str, str]) -> Answer:
    return {"Tag": [{"TagKey": key, "TagValue": value} for key, value in sorted(tags.items())]}


def token_page(call: Call, rows: list[Any], default: int = 10, most: int = 100) -> tuple[list[Any], Answer]:
    """A page by MaxResults and NextToken."""
    size = max(10, min(most, int(call.get("MaxResults") or default)))
    start = int(call.get("NextToken") or 0)
    after = str(start + size) if start + size < len(rows) else ""
    return rows[start : start + size], {"NextToken": after}


def number_page(call: Call, rows: list[Any], default: int = 10, most: int = 100) -> tuple[list[Any], Answer]:
    """A page by PageNumber and PageSize."""
    size, number = min(most, int(call.get("PageSize") or default)), int(call.get("PageNumber") or 1)
    told = {"PageNumber": number, "PageSize": size, "TotalCount": len(rows)}
    return rows[(number - 1) * size : number * size], told


def ids(call: Call, name: str) -> list[str] | None:
    """Ids as a JSON text; None if they are not asked for. `[]` matches nothing."""
    if name not in call.flat:
        return None
    try:
        found = json.loads(call.get(name))
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise Problem(f"Invalid{name}.Malformed", f"The specified parameter {name} is not valid.")
    return [str(one) for one in found]
