"""hotdesk iam: the policy that an account's administrator attaches to whoever uses hotdesk."""

from __future__ import annotations

import click

from hotdesk.cli.ui import render


@click.command()
def command() -> None:
    """Print the least that hotdesk must be allowed to do on AWS, as an IAM policy.

    It is JSON, made to be piped: `hotdesk iam > hotdesk.json`, then
    `aws iam create-policy --policy-name hotdesk --policy-document file://hotdesk.json`.
    """
    from hotdesk.providers.aws.iam import policy

    render.json(policy())
