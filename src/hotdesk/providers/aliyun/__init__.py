"""Desks on Alibaba Cloud's ECS."""

from hotdesk.core.billing.rates import Rates
from hotdesk.core.clouds import Cloud, Credentials, OwnBill
from hotdesk.providers.aliyun.settings import NAME, Settings

CLOUD = Cloud(
    name=NAME,
    label="Alibaba Cloud",
    factory="hotdesk.providers.aliyun.provider:make",
    #: Of mainland China, in US dollars, and without a public address's: traffic is paid by the GB.
    rates=Rates(
        disk_usd_per_gib_month=0.216,
        image_usd_per_gib_month=0.017,
        copy_usd_per_gib=0.07,
        out_usd_per_gib=None,  # it differs by region, and hotdesk has no list of it
        disk_gib=64.0,
    ),
    extra=NAME,
    settings=Settings,
    credentials="hotdesk.providers.aliyun.credentials:has_credentials",
    log_in="aliyun configure",
    lent=Credentials(
        own="hotdesk.providers.aliyun.credentials:own",
        variable="HOTDESK_ALIYUN_KEYS",
        send="hotdesk.providers.aliyun.credentials:lend",
        variables=("ALIBABA_CLOUD_REGION_ID",),
        advice="Give that desk a RAM role, or run `aliyun configure` there, with minimal permissions.",
    ),
    caution="hotdesk.providers.aliyun.settings:caution",
    policy="hotdesk.providers.aliyun.iam:policy",
    prices="hotdesk.providers.aliyun.catalog:Prices",
    spot_history="hotdesk.providers.aliyun.spot_history:spot_history",
    bill=OwnBill(
        about=(
            "Alibaba Cloud is up to a day behind, and bills after the account's discounts; hotdesk counts at",
            "list prices. What it tells without tags is in no line; all of it: https://usercenter2.aliyun.com",
        ),
    ),
    regions="hotdesk.providers.aliyun.regions:REGIONS",
)
