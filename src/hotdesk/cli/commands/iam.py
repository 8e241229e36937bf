"""hotdesk iam: the policy that an account's administrator attaches to whoever uses hotdesk."""

from __future__ import annotations

import click

from hotdesk.cli.ui import options, render


@click.command()
@options.provider("Cloud whose policy to print.  [default: the first that has policies]")
def command(provider: str | None) -> None:
    """Print the minimal access policy that hotdesk needs in a cloud account, as JSON.

    On AWS: save it with `hotdesk iam > hotdesk.json`, then create it with
    `aws iam create-policy --policy-name hotdesk --policy-document file://hotdesk.json`.
    """
    from hotdesk.providers import registry

    render.json(registry.policy(provider or ""))
