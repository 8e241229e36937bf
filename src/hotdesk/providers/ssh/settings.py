"""The section [ssh] of hotdesk.toml."""

from __future__ import annotations

import shlex
from typing import Annotated

from msgspec import Meta, field

from hotdesk.core.model import Value

FOLDER = "~/.hotdesk"


class Machine(Value, frozen=True):
    """One machine: `[ssh.machines.NAME]`."""

    host: str  # as ssh takes it: me@gpu.example.edu, or a name from your ssh settings
    port: int = 0  # 0: your ssh settings', else 22
    jump: str = ""  # as `ssh -J` takes it
    folder: str = FOLDER  # everything of hotdesk's at that machine is below it
    usd_per_hour: float = 0.0
    owner: str = ""  # whose machine it is, for people

    @property
    def by_hand(self) -> str:
        """The command that logs in there with a person's own ssh."""
        ways = [*(["-J", self.jump] if self.jump else []), *(["-p", str(self.port)] if self.port else [])]
        return shlex.join(["ssh", *ways, self.host])


class Settings(Value, frozen=True):
    """The settings for machines that you can log in to; the descriptions go into `hotdesk init`."""

    machines: Annotated[dict[str, Machine], Meta(description="by name: host, port, jump, folder, …")] = field(
        default_factory=dict
    )
    poll_seconds: Annotated[float, Meta(description="between two looks")] = 1.0
