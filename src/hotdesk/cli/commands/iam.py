"""hotdesk iam: the policy that an account's administrator attaches to whoever uses hotdesk."""

from __future__ import annotations

import click

from hotdesk.cli.ui import render


@click.command()
def command() -> None:
    """Print the minimal IAM policy that hotdesk needs on AWS, as JSON.

    Save it with `hotdesk iam > hotdesk.json`, then create it with
    `aws iam create-policy --policy-name hotdesk --policy-document file://hotdesk.json`.
    """
    from hotdesk.providers.aws.iam import policy

    render.json(policy())
