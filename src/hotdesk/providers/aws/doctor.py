"""Check an account: identity, clock, permissions, quotas, network, keys and images.

Changes nothing: permissions are tested with DryRun requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from email.utils import parsedate_to_datetime
from typing import Any

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.findings import Finding
from hotdesk.core.model import Desk, Image, Market, Offer, Phase, Survey
from hotdesk.core.ports import Clock, KeyFiles
from hotdesk.parallel import side_by_side
from hotdesk.providers.aws import exposure, network, quotas, tags
from hotdesk.providers.aws.account import Account
from hotdesk.providers.aws.base_images import enabling
from hotdesk.providers.aws.dry_run import Launcher, refusals
from hotdesk.providers.aws.errors import answers, code, refusal, unreachable
from hotdesk.providers.cloud.ids import split

SKEW_SECONDS, SKEW_FATAL_SECONDS = 60.0, 300.0  # AWS refuses signatures that are off by five minutes


def findings(
    account: Account,
    desks: Sequence[Desk],
    keys: Sequence[KeyFiles],
    survey: Survey | None,
    *,
    clock: Clock,
    launcher: Launcher,
) -> Iterator[Finding]:
    try:
        with answers():
            account.client("sts", account.home).get_caller_identity()
    except Refused as no:
        yield _bad("AWS does not know who we are.", no.message, no.fix or "aws sts get-caller-identity")
        yield from _clock(account, clock)
        return
    except Exception as error:  # no network or no endpoint: nothing else can be checked
        silent = unreachable(error)
        yield _bad(silent.what, silent.why, silent.fix)
        return
    yield from _clock(account, clock)
    regions = _regions(account, desks, survey)
    checks: list[Callable[[], Iterable[Finding]]] = [
        lambda: list(refusals(account, regions[0], survey, desks=desks, keys=keys, launcher=launcher)),
        lambda: list(_quotas(account, desks)),
        *[lambda region=region: list(_network(account, region)) for region in regions],
        lambda: list(_groups(desks, survey)),
        *[lambda region=region: list(_keys(account, region, keys, survey)) for region in regions],
        lambda: list(_images(account, desks, survey)),
    ]
    for found in side_by_side(checks):
        if isinstance(found, Exception):
            said = found if isinstance(found, Refused) else refusal(found)
            why = said.message if said else f"{type(found).__name__}: {found}"
            fix = said.fix if said and said.fix else "hotdesk iam"
            yield _bad("AWS could not be examined to the end.", why, fix)
        else:
            yield from found


def _bad(what: str, why: str, fix: str) -> Finding:
    return Finding(level="bad", what=what, why=why, fix=fix)


def _regions(account: Account, desks: Sequence[Desk], survey: Survey | None) -> list[str]:
    """The regions where desks are or may be launched, else the account's home."""
    found = [i.region for i in survey.instances if i.phase is not Phase.ENDED] if survey else []
    found += [i.region for i in survey.images] if survey else []
    for desk in desks:
        found += [*desk.want.regions, *(o.region for o in desk.offers[:1])]
    return list(dict.fromkeys(found)) or [account.home]


# ---- the clock ---------------------------------------------------------------------------------------


def _clock(account: Account, clock: Clock) -> Iterator[Finding]:
    """Compare our clock with the Date header of AWS's answer, which errors have too."""
    before = clock.now()
    try:
        said = account.ec2(account.home).describe_regions(RegionNames=[account.home])
    except Exception as error:
        said = getattr(error, "response", None) or {}
    after = clock.now()
    date = said.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    if not date:
        return
    theirs = parsedate_to_datetime(date).timestamp()
    # Their time is truncated to seconds, and was taken between our two.
    skew = max(before - theirs - 1.0, theirs - after, 0.0)
    if skew > SKEW_SECONDS:
        ahead = "ahead of" if before > theirs else "behind"
        yield Finding(
            level="bad" if skew > SKEW_FATAL_SECONDS else "note",
            what=f"This computer's clock is {skew:.0f} s {ahead} AWS's.",
            why="AWS refuses requests whose time is off by more than five minutes.",
            fix="sudo timedatectl set-ntp true",
        )


# ---- quotas ------------------------------------------------------------------------------------------


def _quotas(account: Account, desks: Sequence[Desk]) -> Iterator[Finding]:
    """Wanted instance families whose quota does not allow even one instance."""
    wanted: dict[tuple[str, str], Offer] = {}
    for desk in desks:
        for offer in desk.offers[:8]:
            key = (offer.region, quotas.quota_code(offer.instance_type, offer.market))
            if key not in wanted or offer.vcpus < wanted[key].vcpus:
                wanted[key] = offer

    def ask(region: str, quota: str) -> dict[str, Any]:
        with answers():
            client = account.client("service-quotas", region)
            found: dict[str, Any] = client.get_service_quota(ServiceCode="ec2", QuotaCode=quota)["Quota"]
            return found

    replies = side_by_side([lambda k=k: ask(*k) for k in wanted]) if wanted else []  # type: ignore[misc]
    for ((region, quota), offer), reply in zip(wanted.items(), replies, strict=True):
        needed = offer.vcpus or 4
        if isinstance(reply, Exception) or reply["Value"] >= needed:
            continue
        market = "spot" if offer.market is Market.SPOT else "on demand"
        yield _bad(
            f"No {offer.instance_type} can be had in {region} on {market}: the account's quota is "
            f"{reply['Value']:g} vCPUs, and one takes {needed:g}.",
            f"The quota is {reply.get('QuotaName') or quotas.family(offer.instance_type)!r} ({quota}). "
            "New accounts have none for GPUs; asking takes hours to days.",
            f"aws service-quotas request-service-quota-increase --region {region} --service-code ec2 "
            f"--quota-code {quota} --desired-value {needed:g}",
        )


# ---- network -----------------------------------------------------------------------------------------


def _network(account: Account, region: str) -> Iterator[Finding]:
    try:
        network.find_subnet(account, region, "")
    except Refused as no:
        if no.kind is Kind.BAD_REQUEST:
            yield _bad(f"A machine in {region} would have no network.", no.message, no.fix)


def _groups(desks: Sequence[Desk], survey: Survey | None) -> Iterator[Finding]:
    """Security groups of desks whose public Jupyter was closed, and that could not be deleted."""
    names = {desk.name for desk in desks}
    for left in survey.leftovers if survey else ():
        if left.kind == "security group" and left.desk in names:
            region, bare = split(left.id)
            yield Finding(
                level="note",
                what=f"{left.desk}: the security group that opened its Jupyter is still there "
                f"({exposure.group_name(left.desk)}, {bare}).",
                why="No machine of ours uses it, so it opens nothing, and it costs nothing. The next command "
                "deletes it, unless something else uses it.",
                fix=f"aws ec2 describe-network-interfaces --region {region} "
                f"--filters Name=group-id,Values={bare}   # what uses it",
            )


# ---- keys --------------------------------------------------------------------------------------------


def _keys(
    account: Account, region: str, keys: Sequence[KeyFiles], survey: Survey | None
) -> Iterator[Finding]:
    """Find key files without their key pair in EC2, and key pairs without their file.

    Public keys are compared, never names or fingerprints.
    """
    with answers():
        pairs = account.ec2(region).describe_key_pairs(Filters=tags.OURS, IncludePublicKey=True)["KeyPairs"]
    there: dict[str, list[str]] = {}
    for pair in pairs:
        desk = tags.read(pair.get("Tags")).get("desk", "")
        there.setdefault(desk, []).append(_half(str(pair.get("PublicKey") or "")))
    here = {k.desk: k for k in keys}
    machines = survey.instances if survey else ()
    running = {i.desk for i in machines if i.region == region and i.phase not in {Phase.ENDED, Phase.ENDING}}
    for desk, halves in there.items():
        mine = here.get(desk)
        if desk not in here or (mine and mine.private and _half(mine.public) in halves):
            continue
        lost = "is not on this computer" if not (mine and mine.private) else "is another one than is here"
        level = "bad" if desk in running else "note"
        yield Finding(
            level=level,
            what=f"{desk}: the private half of its key pair in {region} {lost}.",
            why=(
                "AWS never had it, so nobody can log in with that pair. "
                + (
                    "The desk's files are whole: parked and resumed, it gets a new key."
                    if desk in running
                    else "The next launch imports the key that is here; the old pair costs nothing."
                )
            ),
            fix=f"hotdesk park {desk} && hotdesk resume {desk}" if desk in running else "hotdesk gc --yes",
        )
    for desk in sorted(running & here.keys()):
        if here[desk].private and desk not in there:
            yield Finding(
                level="note",
                what=f"{desk}: its key is here, and the key pair is gone from {region}.",
                why=(
                    "Somebody deleted it there. The machine knows the key and lets you in; the next launch "
                    "imports it again, so InvalidKeyPair.NotFound cannot happen."
                ),
                fix=f"hotdesk ssh {desk}   # works as before",
            )


def _half(public: str) -> str:
    return " ".join(public.split()[:2])


# ---- images ------------------------------------------------------------------------------------------


def _images(account: Account, desks: Sequence[Desk], survey: Survey | None) -> Iterator[Finding]:
    """Desks' images that can no longer be launched, and base images that are deprecated or gone."""
    by_region: dict[str, list[Image]] = {}
    for image in survey.images if survey else ():
        if image.phase is Phase.READY and split(image.id)[1].startswith("ami-"):
            by_region.setdefault(image.region, []).append(image)
    wants = {desk.name: desk for desk in desks}
    for region, images in by_region.items():
        with answers():
            raw = {
                found["ImageId"]: found
                for found in account.ec2(region).describe_images(
                    ImageIds=[split(i.id)[1] for i in images],
                    IncludeDeprecated=True,
                    IncludeDisabled=True,
                )["Images"]
            }
        for image in images:
            found = raw.get(split(image.id)[1])
            if found is not None and found["State"] == "disabled":
                yield _bad(
                    f"{image.desk}: nothing can be launched from its image {image.id}.",
                    "Somebody has disabled it. What is in it is kept, and is paid as before.",
                    enabling(region, found["ImageId"]),
                )
                continue
            if found is not None and (why := _unbootable(account, region, found, wants.get(image.desk))):
                yield _bad(
                    f"{image.desk}: nothing can be launched from its image {image.id} as it is.",
                    why,
                    f"hotdesk show {image.desk}   # its other images; or: hotdesk move {image.desk} --type …",
                )
    for desk in desks:
        if desk.want.image:
            yield from _base(account, desk)


def _unbootable(account: Account, region: str, raw: dict[str, Any], desk: Desk | None) -> str:
    """Why no machine of today starts from an image; "" when one does."""
    parts = [
        m["Ebs"]["SnapshotId"]
        for m in raw.get("BlockDeviceMappings", ())
        if m.get("Ebs", {}).get("SnapshotId")
    ]
    if not parts:
        return "It refers to no snapshot: there is nothing in it."
    try:
        with answers():
            account.ec2(region).describe_snapshots(SnapshotIds=parts)
    except Refused as no:
        if "NotFound" in code(no.__cause__ or no):
            return f"The snapshot behind it is gone ({', '.join(parts)})."
        raise
    if not raw.get("EnaSupport"):
        return "It lacks the ENA network driver, without which no current instance type starts."
    if raw.get("VirtualizationType", "hvm") != "hvm":
        return "It is paravirtual, and no current instance type is."
    arch = str(raw.get("Architecture", ""))
    if arch not in {"x86_64", "arm64"}:
        return f"It is for {arch}, and there are no such machines any more."
    if desk is not None and desk.offers and all(offer.arch != arch for offer in desk.offers):
        return f"It is for {arch}, and all that {desk.name} wants is {desk.offers[0].arch}."
    return ""


def _base(account: Account, desk: Desk) -> Iterator[Finding]:
    region = next((o.region for o in desk.offers), "") or next(iter(desk.want.regions), "") or account.home
    with answers():
        listed = account.ec2(region).describe_images(
            Filters=[{"Name": "image-id", "Values": [desk.want.image]}], IncludeDeprecated=True
        )["Images"]
    fix = f"hotdesk move {desk.name} --image ami-…   # or none: hotdesk chooses the newest"
    if not listed:
        yield Finding(
            level="note",
            what=f"{desk.name} wants to begin with {desk.want.image}, which is not in {region} (any more).",
            why="A desk that has an image of its own comes back from that; only a new one would need it.",
            fix=fix,
        )
    elif (until := listed[0].get("DeprecationTime", "")) and until < _now_text(account):
        yield Finding(
            level="note",
            what=f"{desk.want.image}, which {desk.name} began with, is deprecated since {until[:10]}.",
            why="It still launches; its owner no longer mends it, and may withdraw it.",
            fix=fix,
        )


def _now_text(account: Account) -> str:
    """AWS's own time, to compare with DeprecationTime."""
    said = account.ec2(account.home).describe_regions(RegionNames=[account.home])
    date = said["ResponseMetadata"]["HTTPHeaders"].get("date", "")
    return parsedate_to_datetime(date).strftime("%Y-%m-%dT%H:%M:%S") if date else ""
