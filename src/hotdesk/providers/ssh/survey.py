"""Survey the machines: what each says of this computer's desks there, and what is under way from here."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from hotdesk.core.errors import Refused
from hotdesk.core.model import Disk, Hidden, Image, Instance, Leftover, Phase, Survey
from hotdesk.parallel import side_by_side
from hotdesk.providers.local import survey as here
from hotdesk.providers.local.paths import Folders
from hotdesk.providers.local.records import Picture, Taking, pictures, read
from hotdesk.providers.local.served import Told
from hotdesk.providers.ssh import records
from hotdesk.providers.ssh.hosts import Hosts
from hotdesk.providers.ssh.line import Far, Nothing, Silent

PROVIDER = REGION = "ssh"

Answer = Told | Nothing | Refused | Silent


def ask(hosts: Hosts, names: tuple[str, ...]) -> dict[str, Answer]:
    """What each of these machines says, side by side."""

    def one(name: str) -> Answer:
        try:
            answer = Far(hosts, name, hosts.find(name)).call("survey")
            assert answer.told is not None
            return answer.told
        except (Nothing, Refused, Silent) as error:
            return error

    answers: dict[str, Answer] = {}
    for name, answer in zip(names, side_by_side([partial(one, name) for name in names]), strict=True):
        if not isinstance(answer, (Told, Nothing, Refused, Silent)):
            raise answer
        answers[name] = answer
    return answers


def survey(
    state: Path, hosts: Hosts, poll_seconds: float, hear: Callable[[dict[str, Answer]], None]
) -> Survey:
    """Everything of this computer's at all machines; `hear` is told what they said."""
    placed = records.machines(state)
    # Before they are asked: what happens meanwhile is in the next survey.
    busy = {id_: folder.busy for id_, folder in placed.items()}
    arrived = {id_: folder.has("there") for id_, folder in placed.items()}
    said = ask(hosts, hosts.used())
    hear(said)
    told = {name: one for name, one in said.items() if isinstance(one, Told)}
    there = {i.id for one in told.values() for i in one.survey.instances}
    instances: list[Instance] = []
    hidden: list[Hidden] = []
    for id_, folder in placed.items():
        record = folder.placed
        if record is None or id_ in there:
            continue
        name = record.order.offer.zone
        answered = isinstance(said.get(name), (Told, Nothing))
        if not answered and (arrived[id_] or folder.has("ending")):
            hidden.append(Hidden(id=id_, desk=record.order.desk, zone=name))
        elif arrived[id_] or (folder.has("ending") and not busy[id_]):
            shutil.rmtree(folder.path, ignore_errors=True)  # it is gone there
        else:  # also one that arrived since the machine was asked
            instances.append(_on_its_way(id_, record, folder, busy[id_] or folder.has("there")))
    for name, one in told.items():
        instances += [_instance(i, name, hosts) for i in one.survey.instances]
    coming = {id_ for id_ in placed if busy[id_] and not arrived[id_]}
    instances = [_coming(i) if i.id in coming else i for i in instances]
    denied = next((no for no in said.values() if isinstance(no, Refused)), None)
    return Survey(
        provider=PROVIDER,
        instances=tuple(instances),
        disks=tuple(_disk(d, name) for name, one in told.items() for d in one.survey.disks),
        images=tuple(images(Folders.of(state))),
        leftovers=tuple(_leftovers(told, placed, busy, kept(state))),
        hidden=tuple(hidden),
        closed=denied.message if denied else "",
        closed_fix=denied.fix if denied else "",
        linear=True,
        lag_seconds=0.0,
        poll_seconds=poll_seconds,
    )


def _on_its_way(id_: str, record: records.Placed, folder: records.Folder, busy: bool) -> Instance:
    """A machine of which only this computer knows yet."""
    order, progress = record.order, folder.progress
    return Instance(
        id=id_,
        name=id_,
        desk=order.desk,
        generation=order.generation,
        phase=Phase.PENDING if busy else Phase.STOPPED,
        provider=PROVIDER,
        region=REGION,
        zone=order.offer.zone,
        instance_type=order.offer.instance_type,
        usd_per_hour=order.offer.usd_per_hour,
        image_id=order.image_id,
        arch=order.offer.arch,
        gpu=order.offer.gpu,
        progress=progress.share if busy else None,
        reason=progress.reason or ("it is being set up" if busy else "its launch was interrupted"),
        fix="" if busy else progress.fix,
    )


def _instance(found: Instance, name: str, hosts: Hosts) -> Instance:
    machine = hosts.all().get(name)
    return replace(
        found,
        provider=PROVIDER,
        region=REGION,
        zone=name,
        usd_per_hour=machine.usd_per_hour if machine else 0.0,
    )


def _coming(found: Instance) -> Instance:
    """A machine that is just being launched there: seen before its first start, it is not off."""
    never = found.phase is Phase.STOPPED and not found.started_at
    return replace(found, phase=Phase.PENDING, reason="it is being set up", fix="") if never else found


def _disk(found: Disk, name: str) -> Disk:
    return replace(found, id=f"{name}/{found.id}", provider=PROVIDER, region=REGION, zone=name)


def images(folders: Folders) -> Iterator[Image]:
    """The images of this computer's pool, from which a desk at any machine can be restored."""
    for image in here.images(folders, here.names(folders.images)):
        picture = read(folders.image(image.id), Picture)
        started_at = picture.order.started_at if picture else None
        yield replace(image, provider=PROVIDER, region=REGION, started_at=started_at)


def kept(state: Path) -> set[tuple[str, str]]:
    """Images that stay where their machine was, as (machine, image); ("", image) while one is taken."""
    found = pictures(Folders.of(state).images)
    return {(one.at, id_) for id_, one in found if one.at or (one.order.there and one.phase is Taking.BAKING)}


def _leftovers(
    told: Mapping[str, Told],
    placed: Mapping[str, records.Folder],
    busy: Mapping[str, bool],
    kept: set[tuple[str, str]],
) -> Iterator[Leftover]:
    for name, one in told.items():
        for thing in one.survey.leftovers:
            yield replace(thing, id=f"{name}/{thing.id}", provider=PROVIDER, region=name)
        for image in one.survey.images:
            if (name, image.id) in kept or ("", image.id) in kept:
                continue
            needed = [i for i in one.survey.instances if i.image_id == image.id]
            coming = any(
                busy[id_] for id_, f in placed.items() if (p := f.placed) and p.order.image_id == image.id
            )
            if not coming and all(m.prepared for i in needed if (m := one.machines.get(i.id))):
                yield Leftover(
                    id=f"{name}/{image.id}",
                    kind="copy",
                    provider=PROVIDER,
                    region=name,
                    desk=image.desk,
                    why="it was restored, and is in this computer's store",
                )
