"""Serve this computer's desks to another computer that has logged in here over ssh.

    python -m hotdesk.providers.local.served STATE survey | launch | power | delete | source | adopt | leave
    python -m hotdesk.providers.local.served STATE give DESK | take IMAGE | push IMAGE
    python -m hotdesk.providers.local.served STATE keep DESK IMAGE | check IMAGE
    python -m hotdesk.providers.local.served STATE across IMAGE SSH HOST
    python -m hotdesk.providers.local.served STATE unpack IMAGE | outward IMAGE SSH HOST

The first kind reads its arguments as JSON from standard input and answers in JSON, with a refusal as such;
the second carries a disk or an image (snapshots/transfer.py); the third keeps one here (snapshots/kept.py);
the fourth sends one straight to a third computer, and prints how far it is in lines of JSON; the fifth does
so for a computer without hotdesk (providers/local/outward.py). Keys are made
by the other computer, which sends those halves that a desk's ssh server and its Jupyter need.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from hotdesk.core import wire
from hotdesk.core.errors import Kind, Refused
from hotdesk.core.model import Phase, Survey, Value
from hotdesk.core.ports import Keys
from hotdesk.core.steps import LaunchOrder
from hotdesk.providers.local import records
from hotdesk.providers.local import survey as looking
from hotdesk.providers.local.paths import Folders
from hotdesk.providers.local.provider import Local
from hotdesk.providers.local.runtime import clock
from hotdesk.snapshots import kept, transfer
from hotdesk.snapshots.rmtree import remove_tree
from hotdesk.system import locked, write_atomically

_TOLD_SECONDS = 0.3


class DeskKeys(Value, frozen=True):
    """The parts of a desk's keys that its own programs need."""

    desk: str
    alias: str
    user_public: str
    host_private: str
    host_public: str
    password_hash: str


class Running(Value, frozen=True):
    """Where the programs of a machine listen, and how far its disk is."""

    ssh_port: int
    notebook_port: int
    prepared: bool
    worked_at: float = 0.0  # as in its record; by that computer's clock
    looked_at: float = 0.0


class Told(Value, frozen=True):
    """Everything of one computer's desks here."""

    survey: Survey
    machines: dict[str, Running]
    free_bytes: int
    now: float  # by this computer's clock


class Order(Value, frozen=True):
    """The arguments of a call; each takes some of them."""

    order: LaunchOrder | None = None
    keys: DeskKeys | None = None
    id: str = ""
    on: bool = False
    keep_disk: bool = False
    picture: records.Picture | None = None


class Answer(Value, frozen=True):
    """What a call returned, or why it was refused."""

    kind: Kind | None = None
    message: str = ""
    fix: str = ""
    seconds: float = 0.0
    id: str = ""
    told: Told | None = None
    prepared: bool = False


def call(state: Path, verb: str, given: Order) -> Answer:
    """Do one thing. Raises `Refused`."""
    local = Local(state, lambda desk: _keys(state, desk))
    if given.keys is not None:
        _keep(state, given.keys)
    match verb:
        case "survey":
            return Answer(told=_survey(local))
        case "launch":
            assert given.order is not None
            return Answer(id=local.launch(given.order))
        case "power":
            local.power(given.id, given.on)
        case "delete":
            local.delete(given.id, keep_disk=given.keep_disk)
        case "source":
            return Answer(prepared=(local.folders.machines / given.id / "prepared").exists())
        case "adopt":
            assert given.picture is not None
            _adopt(local, given.id, given.picture)
        case "leave":
            _leave(state, local)
        case _:
            raise Refused(Kind.BAD_REQUEST, f"there is no {verb}")
    return Answer(id=given.id)


def _survey(local: Local) -> Told:
    folders = local.folders
    machines = {}
    for id_ in looking.names(folders.machines):
        run = records.read(folders.machines / id_ / "run.json", records.Run)
        machines[id_] = Running(
            ssh_port=run.ssh_port if run else 0,
            notebook_port=run.notebook_port if run else 0,
            prepared=(folders.machines / id_ / "prepared").exists(),
            worked_at=run.worked_at if run else 0.0,
            looked_at=run.looked_at if run else 0.0,
        )
    free = shutil.disk_usage(folders.root.parent).free
    return Told(survey=local.survey(), machines=machines, free_bytes=free, now=clock.wall())


def _adopt(local: Local, id_: str, picture: records.Picture) -> None:
    """Record an image whose content has arrived; it counts as carried, and not as verified here."""
    with local.images.in_order():
        if local.images.picture(id_) is None:
            arrived = msgspec.structs.replace(picture, verified=False, carried=True, at="")
            records.write(local.folders.image(id_), arrived)


def _leave(state: Path, local: Local) -> None:
    """Remove all that is left of a computer that has no desk here any more."""
    seen = local.survey()
    if left := [thing.desk for group in (seen.instances, seen.disks, seen.images) for thing in group]:
        raise Refused(Kind.NOT_READY, f"{left[0]} is still here", seconds=1.0)
    try:
        remove_tree(state)
    except OSError as error:  # what is mounted below is not deleted with it
        why = f"{error.filename or state} is left there: {error.strerror or error}"
        raise Refused(Kind.NOT_READY, why, seconds=1.0) from error


def _at_rest(state: Path, local: Local, desk: str) -> Path:
    """A desk's disk, to which nothing writes: the other computer has seen that its machine is off."""
    from hotdesk.providers.local.runtime import processes

    owner = records.read(local.folders.disk_record(desk), records.Owner)
    if owner is not None:  # left by a machine that was killed: they could still write
        folder = local.folders.machines / owner.machine
        if folder.is_dir():
            if looking.machine_now(local.folders, owner.machine)[0] is not Phase.STOPPED:
                raise Refused(Kind.NOT_READY, f"{owner.machine} is not off", seconds=1.0)
            processes.end_all(records.mark_of(folder))
        else:
            processes.end_stray(state, owner.machine, records.mark_of(folder))
    return local.folders.disks / desk


def give(state: Path, desk: str) -> None:
    """Send a desk's disk to the other computer."""
    local = Local(state, lambda desk: _keys(state, desk))

    def send(line: transfer.Line) -> None:
        disk = _at_rest(state, local, desk)
        transfer.give(line, disk, local.folders.root / "notes")

    sys.exit(transfer.serve(send, *transfer.standard()))


def _with_store(folders: Folders, work: Callable[[transfer.Line], object]) -> NoReturn:
    """Serve one carriage, during which nothing of the store here is deleted."""

    def serve(line: transfer.Line) -> None:
        with locked(folders.root / "store.lock", shared=True):
            work(line)

    sys.exit(transfer.serve(serve, *transfer.standard()))


def keep(state: Path, desk: str, image: str) -> None:
    """Take an image of a desk's disk into the store here, where it stays."""
    local = Local(state, lambda desk: _keys(state, desk))
    local.folders.make()

    def take_it(line: transfer.Line) -> None:
        disk = _at_rest(state, local, desk)
        kept.keep(line, disk, local.folders.store, local.folders.manifest(image))

    _with_store(local.folders, take_it)


def check(state: Path, image: str) -> None:
    """Read an image in the store here back."""
    folders = Folders.of(state)
    _with_store(folders, lambda line: kept.check(line, folders.store, folders.manifest(image)))


def push(state: Path, image: str) -> None:
    """Send an image in the store here to the other computer."""
    folders = Folders.of(state)
    _with_store(folders, lambda line: transfer.push(line, folders.store, folders.manifest(image)))


def across(state: Path, image: str, ssh: str, host: str) -> int:
    """Send an image in the store here to a third computer, by an ssh command that lets us do only that."""
    folders = Folders.of(state)
    said = 0.0

    def tell(share: float, words: str) -> None:
        nonlocal said
        if (now := clock.ticks()) - said > _TOLD_SECONDS:
            said = now
            _line(share=share, words=words)

    with (
        locked(folders.root / "store.lock", shared=True),
        subprocess.Popen([ssh, host, "take"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        line = transfer.Line(process.stdout, process.stdin)  # type: ignore[arg-type]
        try:
            sent = transfer.push(line, folders.store, folders.manifest(image), progress=tell)
        except Refused as no:
            _line(kind=no.kind, message=no.message)
            return 1
        except OSError as error:
            _line(cut=str(error))
            return 1
        finally:
            with contextlib.suppress(OSError):
                process.stdin.close()
    _line(sent=sent)
    return 0


def _line(**what: Any) -> None:
    sys.stdout.write(msgspec.json.encode(what).decode() + "\n")
    sys.stdout.flush()


def take(state: Path, image: str) -> None:
    """Receive an image from the other computer into the store here."""
    local = Local(state, lambda desk: _keys(state, desk))
    local.folders.make()

    folders = local.folders
    _with_store(folders, lambda line: transfer.take(line, folders.store, folders.manifest(image)))


def _keys(state: Path, desk: str) -> Keys:
    keys = Keys.within(str(state / "desks" / desk), desk)
    if not Path(keys.host_key_path).exists():
        raise Refused(Kind.BAD_REQUEST, f"the keys of {desk} were not sent here")
    return keys


def _keep(state: Path, sent: DeskKeys) -> None:
    keys = Keys.within(str(state / "desks" / sent.desk), sent.desk)
    Path(keys.host_key_path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path, text in (
        (f"{keys.user_key_path}.pub", sent.user_public),
        (f"{keys.host_key_path}.pub", sent.host_public),
        (keys.password_hash_path, sent.password_hash),
        (keys.host_key_path, sent.host_private),
    ):
        if not Path(path).exists() or Path(path).read_text("utf-8") != text:
            write_atomically(Path(path), text)


def main(words: list[str]) -> int:
    state, verb, *rest = Path(words[0]), *words[1:]
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    if verb == "give":
        give(state, rest[0])
    if verb == "take":
        take(state, rest[0])
    if verb == "keep":
        keep(state, rest[0], rest[1])
    if verb == "check":
        check(state, rest[0])
    if verb == "push":
        push(state, rest[0])
    if verb in {"unpack", "outward"}:
        from hotdesk.providers.local import outward

        return outward.main(state, *rest)
    if verb == "across":
        return across(state, *rest)
    goes = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    answer: Any
    try:
        answer = call(state, verb, wire.json(sys.stdin.buffer.read() or b"{}", Order))
    except Refused as no:
        answer = Answer(kind=no.kind, message=no.message, fix=no.fix, seconds=no.seconds)
    goes.write(msgspec.json.encode(answer))
    goes.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
