"""Desks on Amazon EC2."""

from hotdesk.core.billing.rates import Rates
from hotdesk.core.clouds import Cloud
from hotdesk.providers.aws.settings import Settings

CLOUD = Cloud(
    name="aws",
    label="AWS",
    factory="hotdesk.providers.aws.provider:make",
    first_hour_free=True,  # EC2 user guide, "Billing for interrupted Spot Instances"
    #: gp3 and snapshots in us-east-1, public addresses (everywhere the same, since February 2024), transfer
    #: between regions, a minute at least for each start (EC2 user guide, "On-Demand Instances").
    #: `services/billing.py` adds what disks and images cost in each region.
    rates=Rates(
        disk_usd_per_gib_month=0.08,
        image_usd_per_gib_month=0.05,
        address_usd_per_hour=0.005,
        copy_usd_per_gib=0.02,
        minimum_seconds=60.0,
        disk_gib=64.0,
    ),
    extra="aws",
    requires=("boto3",),
    settings=Settings,
    prices="hotdesk.providers.aws.catalog:Prices",
    spot_history="hotdesk.providers.aws.catalog:spot_history",
    credentials="hotdesk.providers.aws.session:has_credentials",
)
