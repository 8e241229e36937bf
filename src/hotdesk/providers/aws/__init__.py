"""Desks on Amazon EC2."""

from hotdesk.core.billing.rates import Rates
from hotdesk.core.clouds import Cloud, Credentials, OwnBill
from hotdesk.providers.aws.settings import Settings

CLOUD = Cloud(
    name="aws",
    label="AWS",
    factory="hotdesk.providers.aws.provider:make",
    holds=True,
    first_hour_free=True,  # EC2 user guide, "Billing for interrupted Spot Instances"
    #: gp3 and snapshots in us-east-1, public addresses (the same everywhere, since February 2024), transfer
    #: between regions and, for the first 10 TB a month, to the internet; at least one minute for each start
    #: (EC2 user guide, "On-Demand Instances"). `services/billing.py` adds the prices of disks and images in
    #: each region.
    rates=Rates(
        disk_usd_per_gib_month=0.08,
        image_usd_per_gib_month=0.05,
        address_usd_per_hour=0.005,
        copy_usd_per_gib=0.02,
        out_usd_per_gib=0.09 * 1.073741824,  # told for 10**9 bytes; the first 100 of them a month are free
        minimum_seconds=60.0,
        disk_gib=64.0,
    ),
    extra="aws",
    requires=("boto3",),
    settings=Settings,
    variables={"profile": ("AWS_PROFILE", "AWS_DEFAULT_PROFILE")},  # as botocore reads them
    keys=("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    prices="hotdesk.providers.aws.catalog:Prices",
    spot_history="hotdesk.providers.aws.catalog:spot_history",
    credentials="hotdesk.providers.aws.session:has_credentials",
    log_in="aws configure",
    lent=Credentials(
        own="hotdesk.providers.aws.account:own",
        variable="AWS_SHARED_CREDENTIALS_FILE",
        send="hotdesk.providers.aws.account:lend",
        variables=(
            "AWS_DEFAULT_REGION",
            "AWS_REGION",
            "AWS_ENDPOINT_URL",
            "AWS_PROFILE",
            "AWS_CA_BUNDLE",
        ),
        advice="Use an instance profile on that desk, or `aws configure` there, with minimal permissions.",
    ),
    policy="hotdesk.providers.aws.iam:policy",
    regions="hotdesk.providers.aws.regions:REGIONS",
    bill=OwnBill(
        charge="AWS takes $0.01 for each page of its bill that is asked for.",
        about=(
            "AWS is up to a day behind, and knows a desk only where these are cost allocation tags:",
            "  aws ce update-cost-allocation-tags-status --cost-allocation-tags-status \\",
            "    TagKey=hotdesk,Status=Active TagKey=hotdesk:desk,Status=Active",
        ),
    ),
)
