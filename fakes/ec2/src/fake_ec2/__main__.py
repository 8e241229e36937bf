"""`python -m fake_ec2 --port PORT [--seed N] [--latency MS]`: serve until told to stop."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fake_ec2.world import World


def main(arguments: list[str] | None = None) -> int:
    asked = parse(arguments)
    # moto's stock images would make the first call take seconds and own 1300 snapshots of "ours".
    os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
    os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = (
        "true"  # AmazonEC2FullAccess and its like are in every account
    )
    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    from fake_ec2.listener import Listener
    from fake_ec2.motos import quicken
    from fake_ec2.rig import load_rig
    from fake_ec2.server import Application, tick
    from fake_ec2.world import World

    quicken()
    world = World(asked.seed, asked.latency / 1000, asked.pace, asked.addresses)
    stopped = threading.Event()
    if asked.rig:
        world.rig = load_rig(asked.rig, partial(turned_off, world))
        threading.Thread(target=tick, args=(world, stopped), daemon=True).start()
    try:
        server = Listener(asked.host, asked.port, Application(world))
    except OSError as busy:
        print(
            f"cannot listen on {asked.host}:{asked.port}: {busy.strerror}; --port 0 chooses a free one",
            file=sys.stderr,
        )
        return 1

    def leave(*_: Any) -> None:
        threading.Thread(target=server.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    if asked.until_eof:
        threading.Thread(target=follow, args=(leave,), daemon=True).start()
    print(f"ready {server.url}", flush=True)
    try:
        server.serve_forever(poll_interval=0.05)
    finally:
        stopped.set()
        server.server_close()
        if world.rig:
            world.rig.close()
    return 0


def turned_off(world: World, instance_id: str) -> None:
    """A real machine was shut down from within."""
    from fake_ec2.machine import shut_down_inside
    from fake_ec2.things import Instance

    with world.lock:
        thing = world.anywhere(instance_id)
        if isinstance(thing, Instance) and thing.state == "running":
            shut_down_inside(world, thing)


def follow(leave: Callable[[], None]) -> None:
    """Leave when whoever started us has gone: their end of our standard input closes with them."""
    sys.stdin.read()
    leave()


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fake_ec2", description="A fake EC2 over real HTTP.")
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--seed", type=int, default=1, help="all chance comes from it")
    parser.add_argument("--latency", type=float, default=0.0, metavar="MS", help="added to every answer")
    parser.add_argument(
        "--pace", type=float, default=0.01, help="real durations times this; 1 is the real cloud"
    )
    parser.add_argument(
        "--addresses", default="", metavar="CIDR", help="where public addresses are drawn from"
    )
    parser.add_argument("--until-eof", action="store_true", help="leave when standard input ends")
    parser.add_argument("--rig", default="", metavar="MODULE:FUNCTION", help="real machines: see rig.py")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
