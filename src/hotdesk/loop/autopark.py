"""Park desks whose machines ended themselves, in the background of any command.

The survey runs in a separate process that outlives the command: a desk may be in any cloud, and
`hotdesk offers` must not wait for that. If it is killed, the next command starts it again; two of them share
the work, as any two commands do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from hotdesk.system import SystemClock, spawn

if TYPE_CHECKING:
    from hotdesk.core.model import Desk
    from hotdesk.loop.clouds import Clouds

#: How long the last look is good for.
SECONDS = 20.0
_LOOKED = "looked"  # a file in the state folder: its time is that of the last look


def begin(folder: Path) -> None:
    """Find desks whose machines ended themselves and park them, unless another process does, or just did."""
    if not (folder / "hotdesk.db").exists():
        return
    looked, now = folder / _LOOKED, SystemClock().now()
    if looked.exists() and 0 <= now - looked.stat().st_mtime < SECONDS:
        return
    if not _anything_to_look_at(folder):
        return
    looked.touch(0o600)
    spawn("hotdesk", "watch", "--left", variables={"HOTDESK_STATE": str(folder)})


def _anything_to_look_at(folder: Path) -> bool:
    """Whether a desk is wanted running here; or a cloud is in use, in which another computer may have one."""
    from hotdesk.core.model import Goal
    from hotdesk.loop.watcher import alive
    from hotdesk.state.store import Store

    if alive(folder):
        return False
    with Store(folder) as store:
        if any(desk.goal is Goal.RUNNING for desk in store.desks()):
            return True
    from hotdesk.config import load
    from hotdesk.providers import registry
    from hotdesk.system import config_files

    settings = load(config_files())
    named = {settings.defaults.provider, *(d.provider for d in settings.desks.values())}
    return any(registry.known(name).rented for name in named if name)


def park_left(clouds: Clouds, names: Iterable[str], settle: Callable[[Desk], object]) -> list[str]:
    """Park the desks in these clouds whose machines ended themselves, other computers' too; their names.

    A desk that another command holds is its work. What stops one desk does not stop the next.
    """
    from hotdesk.core.errors import HotdeskError
    from hotdesk.core.lifecycle.shutdown import ended_alone, left
    from hotdesk.core.model import Desk, Goal
    from hotdesk.core.names import is_name

    done, store = [], clouds.store
    for provider in sorted(names):
        with contextlib.suppress(HotdeskError):
            for name, seen in clouds.survey(provider).by_desk().items():
                desk, machine = store.find(name), ended_alone(seen)
                # A desk deleted here may still be listed for a while: the journal knows.
                unknown = desk is None and is_name(name) and not store.rows(name, limit=1)
                if unknown and machine is not None:
                    now = clouds.clock.now()
                    store.put(Desk(name=name, goal=Goal.PARKED, since=now, created_at=now, provider=provider))
                elif desk is None or left(desk, seen, store.past(desk)) is None:
                    continue
                if not store.holder(name):
                    with contextlib.suppress(HotdeskError):
                        settle(store.desk(name))
                        done.append(name)
    return done
