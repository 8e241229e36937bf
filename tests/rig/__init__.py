"""Real machines behind the fake EC2: `python -m fake_ec2 --rig tests.rig:machines`.

Each instance is a Linux system on this computer that boots with its own init, network namespace and address,
and in which the distribution's own cloud-init carries out the instance's real user data. Needs root.

    ground.py     what this computer must have, tried by really doing it
    base.py       the base image: a distribution's root made from packages
    disks.py      volumes and snapshots: overlays over the base and over one another
    network.py    a bridge, an address and a namespace per machine, the way out
    metadata.py   each machine's own instance metadata service
    settings.py   this computer's package indexes, handed to machines while they run
    cgroups.py    a control group per machine, by which its processes are found
    commands.py   running the system's programs
    machine.py    one system: boot, console, clean shutdown
    plug.py       the hooks that the fake calls
    sweep.py      what rigs whose process has gone have left; `python -m tests.rig` removes it
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.rig.plug import RealMachines


def machines() -> RealMachines:
    """The plug-in. Its folder is `HOTDESK_RIG`, or a new one below the temporary folder."""
    from tests.rig.plug import RealMachines

    return RealMachines()
