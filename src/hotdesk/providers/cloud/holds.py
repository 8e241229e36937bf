"""Which computer goes on with a fleet, in tags of its image and its machines: the part that clouds share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.fleet import Hold
from hotdesk.providers.cloud import vocabulary
from hotdesk.providers.cloud.ids import split

LONGEST = 128  # characters of a value: what every cloud takes


@dataclass(frozen=True)
class TaggedHolds(ABC):
    """See `Holds` in core/fleet.py. `told`: the tags of a machine, as it was described last."""

    told: Callable[[str], Mapping[str, str]]

    def tags(self, machine_id: str) -> Mapping[str, str]:
        return self.told(machine_id)

    def of_image(self, fleet: str, image_id: str) -> Hold:
        region, bare = split(image_id)
        tags = self.image_tags(region, bare)
        if tags is None:
            raise Refused(Kind.BAD_REQUEST, f"The image {bare} is gone.")
        return vocabulary.held_of(tags, fleet)

    def write(self, fleet: str, image_id: str, machine_ids: Collection[str], hold: Hold) -> None:
        region, bare = split(image_id)
        self.tag_image(region, bare, f"{vocabulary.MARK}:{vocabulary.held(fleet)}", str(hold))
        ids = sorted(split(id_)[1] for id_ in machine_ids)
        self.tag_machines(region, ids, f"{vocabulary.MARK}:held", str(hold))

    def settle(self, image_id: str, over: Mapping[str, Hold]) -> None:
        region, bare = split(image_id)
        tags = self.image_tags(region, bare)
        written, freed = vocabulary.settled(tags or {}, over, LONGEST)
        for key, value in written.items():
            self.tag_image(region, bare, f"{vocabulary.MARK}:{key}", value)
        if freed:
            self.untag_image(
                region, bare, {f"{vocabulary.MARK}:{key}": value for key, value in freed.items()}
            )

    @abstractmethod
    def image_tags(self, region: str, image: str) -> Mapping[str, str] | None:
        """Our tags of an image now; None if it is gone."""

    @abstractmethod
    def tag_image(self, region: str, image: str, key: str, value: str) -> None: ...

    @abstractmethod
    def untag_image(self, region: str, image: str, tags: Mapping[str, str]) -> None:
        """Remove these, where the cloud can tell only while they have these values."""

    @abstractmethod
    def tag_machines(self, region: str, ids: Sequence[str], key: str, value: str) -> None:
        """One that is gone is no error."""
