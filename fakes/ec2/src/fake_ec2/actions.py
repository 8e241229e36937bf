"""The table of what this server answers itself. Everything that is not in it is moto's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fake_ec2.errors import Problem

if TYPE_CHECKING:
    from fake_ec2.world import World


@dataclass
class Call:
    """One request, parsed: parameters in the shape that boto3 takes them."""

    service: str
    action: str
    region: str
    params: dict[str, Any]
    access_key: str = ""
    raw: dict[str, str] = field(default_factory=dict)  # the query parameters as sent (EC2)
    request_id: str = ""

    def get(self, name: str, default: Any = None) -> Any:
        value = self.params.get(name)
        return default if value is None else value

    def dry_run(self) -> None:
        """Raises DryRunOperation when the caller only asks whether it might."""
        if self.params.get("DryRun"):
            raise Problem("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")


Answer = Callable[["World", Call], "dict[str, Any] | None"]
TABLE: dict[tuple[str, str], Answer] = {}


def action(*names: str, service: str = "ec2") -> Callable[[Answer], Answer]:
    """The decorated function answers these actions: a result in boto3's shape, or a Problem."""

    def enter(answer: Answer) -> Answer:
        for name in names:
            assert (service, name) not in TABLE, f"{name} is answered twice"
            TABLE[service, name] = answer
        return answer

    return enter


def load() -> None:
    """Fill the table: each file enters what it answers."""
    from fake_ec2 import (  # noqa: F401
        addresses,
        attributes,
        billing,
        disks,
        fleets,
        hidden_images,
        history,
        images,
        instances,
        launch,
        market,
        network,
        parameters,
        plan,
        power,
        pricing,
        quotas,
        recycle,
        registration,
        reservations,
        routes,
        snapshots,
        tags,
        types,
    )
