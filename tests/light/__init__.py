"""Light machines behind the fake EC2: `python -m fake_ec2 --rig tests.light:machines`.

Each instance is a process of this computer with an ssh server on a loopback address of its own, a home folder
on its volume, real shells, tmux and programs in it. No root, no boot, no cloud-init: a second instead of half
a minute. What only a whole system shows (user data, systemd, the agent) is the business of `tests.rig`.

    plug.py       the hooks that the fake calls
    machine.py    the process whose life is the machine's life
    desk.py       what a test needs around it: the fake, its settings, and ssh on the machines' port
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fake_ec2.process import FakeEc2
    from tests.light.plug import LightMachines


def machines() -> LightMachines:
    """The plug-in. Its folder is a new one below the temporary folder."""
    from tests.light.plug import LightMachines

    return LightMachines()


def folders(fake: FakeEc2) -> list[Path]:
    """Where this cloud's machines are, and no other test's."""
    assert fake.process is not None
    return [*Path(tempfile.gettempdir()).glob(f"hotdesk-light-{fake.process.pid}-*")]


def volumes(fake: FakeEc2, volume_id: str) -> list[Path]:
    """The folder of a volume, once there is one."""
    return [folder / volume_id for folder in folders(fake) if (folder / volume_id).exists()]
