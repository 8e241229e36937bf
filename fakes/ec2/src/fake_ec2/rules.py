"""What a test makes go wrong: refusals, lost replies, delays, spoiled images. Each rule says how often."""

from __future__ import annotations

import fnmatch
import json
from dataclasses import dataclass, field
from typing import Any

from fake_ec2.actions import Call
from fake_ec2.errors import Problem, no_capacity, unauthorized

# A repeated launch (same token) is answered before AWS looks for capacity or counts a quota.
PLACING = {"RunInstances", "StartInstances"}
LATE = {
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "UnfulfillableCapacity",
    "SpotMaxPriceTooLow",
    "MaxSpotInstanceCountExceeded",
    "VcpuLimitExceeded",
    "InstanceLimitExceeded",
    "Unsupported",
}

ARN = "arn:aws:iam::123456789012:user/hotdesk"


@dataclass(kw_only=True)
class Rule:
    """Matches a call by action, region, zone, instance type, market (globs) and text; counts itself down."""

    what: str  # refuse | lose | delay | spoil | throttle
    action: str = "*"
    service: str = "*"
    region: str = "*"
    zone: str = "*"
    type: str = "*"
    market: str = "*"
    access_key: str = "*"  # whose call it is
    contains: str = ""
    skip: int = 0  # let so many matching calls pass first
    times: int | None = 1  # then act on so many; None: for ever
    code: str = ""
    message: str = ""
    status: int | None = None
    when: str = "after"  # lose: before | after the effect
    seconds: float = 0.0
    how: str = ""  # spoil: failed | missing-disk | short-disk | stuck | snapshot-error | wrong-source
    size: float = 0.0  # throttle: so many calls at once, and then per_second, in real time
    per_second: float = 0.0
    tokens: float = 0.0
    hits: int = 0

    def meets(self, call: Call, zone: str | None, market: str, instance_type: str) -> bool:
        return (
            self.times != 0
            and fnmatch.fnmatchcase(call.action, self.action)
            and fnmatch.fnmatchcase(call.service, self.service)
            and fnmatch.fnmatchcase(call.region, self.region)
            and (self.zone == "*" or (zone is not None and fnmatch.fnmatchcase(zone, self.zone)))
            and fnmatch.fnmatchcase(instance_type, self.type)
            and fnmatch.fnmatchcase(market, self.market)
            and fnmatch.fnmatchcase(call.access_key, self.access_key)
            and (not self.contains or self.contains in json.dumps([call.params, call.raw], default=str))
        )

    def count(self) -> bool:
        """True if this matching call is one to act on."""
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        self.hits += 1
        return True


@dataclass
class Rules:
    rows: list[Rule] = field(default_factory=list)
    # AWS Billing user guide, "Using the AWS Price List Query API", quotas: by account.
    throttles: list[Rule] = field(
        default_factory=lambda: [
            Rule(what="throttle", action="GetProducts", times=None, size=10, per_second=5, tokens=10)
        ]
    )

    #: Machines that may still be launched: 1,000 at once and then 2 a second (EC2 developer guide, "Request
    #: throttling", resource token limits of RunInstances, by account and region). In real time, as above.
    machines: Rule = field(
        default_factory=lambda: Rule(what="throttle", times=None, size=1000, per_second=2, tokens=1000)
    )

    def machines_allowed(self, count: int, now: float) -> bool:
        """Take so many tokens of the bucket of launched machines; False, taking none, where it has fewer."""
        bucket = self.machines
        bucket.tokens = min(bucket.size, bucket.tokens + (now - bucket.seconds) * bucket.per_second)
        bucket.seconds = now
        if bucket.tokens < count:
            bucket.hits += 1
            return False
        bucket.tokens -= count
        return True

    def add(self, what: str, **fields: Any) -> Rule:
        rule = Rule(what=what, **fields)
        self.rows.append(rule)
        return rule

    def first(self, what: str, call: Call, **only: str) -> Rule | None:
        """The first rule of that kind that applies now; it is counted."""
        zone, market, kind = facts(call)
        for rule in self.rows:
            if rule.what != what or any(getattr(rule, k) != v for k, v in only.items()):
                continue
            if rule.meets(call, zone, market, kind) and rule.count():
                return rule
        return None

    def throttled(self, call: Call, now: float) -> Problem | None:
        """A refusal of what goes past a token bucket of AWS. `now` is real time: that is what it counts."""
        for rule in self.throttles:
            if not rule.meets(call, *facts(call)):
                continue
            rule.tokens = min(rule.size, rule.tokens + (now - rule.seconds) * rule.per_second)
            rule.seconds = now
            if rule.tokens < 1:
                rule.hits += 1
                if call.service == "ec2":
                    return Problem("RequestLimitExceeded", "Request limit exceeded.")
                return Problem("ThrottlingException", "Rate exceeded", 400)
            rule.tokens -= 1
        return None

    def refusal(self, call: Call) -> Problem | None:
        """A refusal before anything is looked at. Those that speak of capacity come later: see below."""
        for rule in self.rows:
            if rule.what != "refuse" or rule.zone != "*" or (call.action in PLACING and rule.code in LATE):
                continue
            zone, market, kind = facts(call)
            if rule.meets(call, zone, market, kind) and rule.count():
                return problem_of(rule, call)
        return None

    def late_refusal(self, call: Call, zone: str | None, market: str, instance_type: str) -> Problem | None:
        """Asked once a launch is known to be new: for the launch as a whole (no zone), then for each zone."""
        for rule in self.rows:
            whole = rule.zone == "*"
            if rule.what != "refuse" or whole != (zone is None) or (whole and rule.code not in LATE):
                continue
            if rule.meets(call, zone, market, instance_type) and rule.count():
                return problem_of(rule, call, zone, instance_type)
        return None


def problem_of(rule: Rule, call: Call, zone: str | None = None, kind: str = "") -> Problem:
    zone, kind = zone or facts(call)[0], kind or facts(call)[2]
    match rule.code:
        case "UnauthorizedOperation" if not rule.message:
            return unauthorized(call.action, ARN, call.service)
        case "InsufficientInstanceCapacity" if not rule.message:
            return no_capacity(kind or "g5.xlarge", zone or call.region + "a", ())
        case "ExpiredCredentials":
            if call.service == "ec2":
                return Problem("RequestExpired", "Request has expired.")
            if call.service == "sts":
                return Problem("ExpiredToken", "The security token included in the request is expired")
            return Problem(
                "ExpiredTokenException", "The security token included in the request is expired", 400
            )
        case "InvalidCredentials":
            if call.service == "ec2":
                return Problem("AuthFailure", "AWS was not able to validate the provided access credentials")
            if call.service == "sts":
                return Problem(
                    "InvalidClientTokenId", "The security token included in the request is invalid."
                )
            return Problem(
                "UnrecognizedClientException", "The security token included in the request is invalid.", 400
            )
        case "RequestLimitExceeded":
            if call.service != "ec2":
                return Problem("ThrottlingException", rule.message or "Rate exceeded", 400)
            return Problem("RequestLimitExceeded", rule.message or "Request limit exceeded.")
    return Problem(rule.code or "InternalError", rule.message or "Refused by the test.", rule.status)


def facts(call: Call) -> tuple[str | None, str, str]:
    """(zone, market, instance type) that the call names."""
    p = call.params
    if call.action not in {"RunInstances", "CreateFleet", "RequestSpotInstances", "CreateVolume"}:
        return p.get("AvailabilityZone") if isinstance(p.get("AvailabilityZone"), str) else None, "", ""
    zone = (p.get("Placement") or {}).get("AvailabilityZone") or p.get("AvailabilityZone")
    market = "spot" if (p.get("InstanceMarketOptions") or {}).get("MarketType") == "spot" else "on-demand"
    return zone, market, str(p.get("InstanceType") or "")
