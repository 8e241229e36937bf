"""Interfaces to the outside world: everything that can wait, fail or cost money is behind one of these."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.findings import Finding
from hotdesk.core.fleet import FleetOrder, FleetReply, Holds
from hotdesk.core.idling import Idle
from hotdesk.core.model import Desk, Instance, Leftover, Market, Offer, Retained, Survey, Value, Want
from hotdesk.core.spot.prices import Storing
from hotdesk.core.steps import AnyStep, BakeOrder, LaunchOrder

#: Hears which share is done, and of what.
OnProgress = Callable[[float, str], None]


class Provider(Protocol):
    """A cloud, in a handful of methods under three laws.

    1. **It returns at once.** Long work continues on its own and shows in the survey. Waiting is a step.
    2. **It is idempotent.** The same arguments have one effect, however often they are sent.
    3. **It is discoverable.** Name and tags go in the creating call: a survey finds it even if the
       answer was lost.

    `Refused` is a definite no: nothing was changed. Any other exception means that the outcome is unknown.
    """

    name: str

    def offers(self, want: Want) -> Sequence[Offer]:
        """Offers that fit, best first, each with `why` it was chosen. Empty if nothing fits.

        May refuse (bad-request) a type or a region that does not exist, naming the nearest that do.
        """
        ...

    def survey(self, regions: Sequence[str] = ()) -> Survey:
        """Everything with our tag, with its price."""
        ...

    def launch(self, order: LaunchOrder) -> str:
        """Launch exactly this order and return the machine's id. Ensures the free resources it needs.

        A placeholder is ordered only where the cloud `holds` (core.clouds): a machine whose disk is as small
        as can be and ends with it. It shuts itself down after `holding.PLACEHOLDER_SECONDS`, and a survey
        shows it as a leftover of that kind.
        """
        ...

    def power(self, instance_id: str, on: bool) -> None:
        """Start or stop a machine and keep it."""
        ...

    def bake(self, order: BakeOrder) -> str:
        """Take an image of a stopped machine, or of the disk of a terminated one; return its id."""
        ...

    def verify(self, image_id: str) -> None:
        """Read an image back: shows as `verified`, as FAILED with a reason, or is refused as CORRUPT."""
        ...

    def copy(self, image_id: str, region: str, name: str) -> str:
        """Copy the image to another region and return the copy's id.

        A copy keeps its original's generation, source and `taken_at`: its work is the same, not newer.
        """
        ...

    def delete(self, thing_id: str, *, keep_disk: bool = False) -> None:
        """Delete a resource of any kind; absence is success. `keep_disk` leaves a machine's disk behind."""
        ...

    def access(self, instance: Instance) -> Access:
        """How to reach a machine that is READY."""
        ...


@runtime_checkable
class Retyper(Protocol):
    """Optional: change the instance type of a stopped machine that is `retypable`."""

    def retype(self, instance_id: str, offer: Offer, generation: int) -> None:
        """Change a stopped machine to the offer's type, and mark it as `retyped_for` the generation.

        The offer is in the machine's own zone and market. Idempotent: repeated after a crash, it completes.
        """
        ...


@runtime_checkable
class Grower(Protocol):
    """Optional: make the root disk of a machine bigger, on or off."""

    def grow(self, instance_id: str, gib: int) -> None:
        """Make it this big; one that is already is a success. Refuses where the cloud does not now."""
        ...


@runtime_checkable
class Shared(Protocol):
    """Optional: for a cloud that other computers change at the same time."""

    def doom(self, thing_id: str) -> None:
        """Tag a resource as deleted on purpose: it shows as `doomed` from then on, also while it ends.

        One that is already gone is a success.
        """
        ...

    def report(self, machine_id: str) -> None:
        """Tag a machine as reported to a user: it shows as `reported`, and no longer as `doomed`.

        (Its owner asked for it again after asking to delete it.)
        """
        ...

    def delete_saved(self, machine_id: str, started_at: float) -> None:
        """Delete a machine and its disk, whose work as of that start is in an image.

        Raises `Refused` (not-ready), changing nothing, if it is running or was started since.
        """
        ...


@runtime_checkable
class Counted(Protocol):
    """Optional: of a cloud that can tell what is in an image without a machine."""

    def contents(self, thing_id: str) -> tuple[int, int] | None:
        """Files and bytes of an image, or of the disk of a machine here; None where that is not known."""
        ...


@runtime_checkable
class Pool(Protocol):
    """Optional: this computer's store of images, as the desks of other places come to it and go from it."""

    def unpack(self, image_id: str, disk: str, progress: OnProgress) -> str:
        """Restore an image as a new folder, and read it back; the home folder in it. Raises `Refused`."""
        ...

    def unpack_newest(self, desk: str, disk: str, progress: OnProgress) -> str:
        """The same for a desk's newest image, as what is here already; an empty home if there is none."""
        ...

    def pack(self, order: BakeOrder, disk: str, progress: OnProgress) -> None:
        """Take such a folder into the store as a verified image. Idempotent."""
        ...


SECOND = "hotdesk-images"  # below a folder that a person names: the store of second copies


class Copied(Value, frozen=True):
    """An image that is in a second store now."""

    id: str
    desk: str
    bytes: int  # of files that were not there yet


class Part(Value, frozen=True):
    """An image as the files that a second store needs of it: their names below that store, and paths here."""

    id: str
    desk: str
    packs: dict[str, str]
    manifest: tuple[str, str]
    record: tuple[str, bytes]  # its content: what has a record is there


@runtime_checkable
class Copier(Protocol):
    """Optional: this computer's store of images, which can be read again, and copied to another disk."""

    def damages(self, image_ids: Sequence[str], progress: OnProgress) -> dict[str, str]:
        """What is damaged in each image, "" where nothing is: each byte is read, what they share once."""
        ...

    def shared(self, image_ids: Sequence[str]) -> dict[str, int | None]:
        """How many bytes of each image others of these hold too; None for one that cannot be read."""
        ...

    def copies(
        self, folder: str, desk: str, progress: OnProgress, *, back: bool, skip: Collection[str] = ()
    ) -> Iterator[Copied]:
        """Copy the images of a desk ("": of all) but those to `skip` to a store below a folder, or `back`.

        Each is read back there. `back` mends images that are damaged here, and brings those that are newer
        than what is here. Raises `Refused`.
        """
        ...

    def parts(self, desk: str, progress: OnProgress, skip: Collection[str] = ()) -> Iterator[Part]:
        """The same images, newest first, for a store that is no folder of this computer; each is whole.

        Nothing of them is deleted before the next is asked for. Raises `Refused`.
        """
        ...

    def lacking(self, folder: str, desk: str, progress: OnProgress) -> list[str]:
        """The images that `copies` would bring back from the store below a folder, by its records alone."""
        ...

    def old(self, folder: str, desk: str, keep: int, keep_seconds: float) -> list[Copied]:
        """The images in the store below a folder ("": in this computer's) that a policy does not keep.

        Of each desk it keeps the `keep` newest and those that were taken in the last `keep_seconds`, in any
        case the newest of those that were read back. Desks of one name that were made at different times,
        or on different computers, are different desks.
        """
        ...

    def prune(self, folder: str, ids: Sequence[str]) -> int:
        """Delete these images from the store below a folder; the bytes freed.

        Raises `Refused` (CORRUPT) and deletes nothing where the newest one that stays of a desk cannot be
        read back there.
        """
        ...


@runtime_checkable
class Fleets(Protocol):
    """Optional: launches many equal machines by one request. The three laws hold for each method.

    A fleet's machines may use all ports of each other that a cluster needs (`cluster_ports`), by private
    address. Survey and `access` know them as any machine; their desk is the fleet's name.
    """

    fleet_most: int  # machines in one order
    fleet_burst: tuple[int, float]  # machines that may be launched at once, and how many more each second
    cluster_ports: tuple[int, int]  # first and last
    holds: Holds  # which computer goes on with each

    @property
    def lag_seconds(self) -> float:
        """How long a machine may exist before a look shows it."""
        ...

    @property
    def poll_seconds(self) -> float:
        """Recommended time between two looks while something is on its way."""
        ...

    def fleet_room(self, offers: Sequence[Offer]) -> Mapping[Market, int]:
        """How many more machines of these pools (of one region and size) the account's quotas allow now.

        A market of which that is not known is left out. May raise.
        """
        ...

    def launch_fleet(self, order: FleetOrder) -> FleetReply:
        """Launch what there is of this order now, and keep it. What pools lack stands in the reply.

        Raises `Refused` where nothing was launched and no pool is the reason.
        """
        ...

    def fleet(self, fleet: str, region: str) -> Sequence[Instance]:
        """The machines of a fleet, those that ended lately too. Cheaper than a survey."""
        ...

    def end_fleet(self, ids: Collection[str]) -> None:
        """Terminate these machines of one region, and their disks. Absence is success."""
        ...

    def renew_fleet(self, ids: Collection[str], seconds: float) -> None:
        """Where the cloud itself ends them, not before so long from now. Absence is success."""
        ...

    def clear_fleet(self, fleet: str, region: str) -> None:
        """Delete what a fleet needed besides its machines. Absence is success."""
        ...


@runtime_checkable
class Releaser(Protocol):
    """Optional: the cloud itself deletes a machine, with its disks, that no hotdesk puts off any more."""

    def release_in(self, desk: str, seconds: float) -> None:
        """Put off the deletion of the desk's machine, as last surveyed, for at least so long; 0: for ever.

        It is never brought forward. Where the settings do not ask for it, nothing is to be deleted. May
        refuse.
        """
        ...


@runtime_checkable
class Watched(Protocol):
    """Optional: a survey shows too how long nothing has worked at a machine; others are asked over ssh."""

    def idle(self, machine_id: str) -> Idle | None:
        """As of the last survey; None where that is not known."""
        ...


@runtime_checkable
class Concurrent(Protocol):
    """Optional: accepts calls for several desks concurrently."""

    at_once: int  # number of concurrent calls

    def expect(self, steps: Sequence[AnyStep]) -> None:
        """Called on the loop thread before a concurrent batch, so that state can be saved."""
        ...


@runtime_checkable
class Peeker(Protocol):
    """Optional: tells by a request or two whether it is worth a survey."""

    def in_transit(self, ids: Collection[str]) -> bool:
        """Whether all these machines and images are still on their way: being started, stopped, ended, taken.

        In doubt (one is not listed, or of another kind) False. May raise.
        """
        ...


@runtime_checkable
class Biller(Protocol):
    """Optional: knows the prices that were actually charged."""

    def spot_prices(
        self, offers: Sequence[Offer], since: float, until: float
    ) -> Mapping[str, list[tuple[float, float]]]:
        """By offer key: (time, US dollars an hour) in order of time, starting with the price at `since`."""
        ...

    def ended(self, machines: Sequence[str]) -> Mapping[str, float]:
        """The end times, by the cloud's clock, of machines no longer listed, if it still knows them."""
        ...

    def storing(self, regions: Iterable[str], *, ask: bool) -> Mapping[str, Storing]:
        """Storage prices in these regions. Without `ask`: only those cached here."""
        ...

    def billed(self, since: float, until: float) -> dict[str, float]:
        """US dollars by desk, by the cloud's own bill of what carries our tag. May refuse (denied)."""
        ...


@runtime_checkable
class Sweeper(Protocol):
    """Optional: for a cloud where more may be left over than a survey reads."""

    def sweep(self, survey: Survey) -> tuple[list[Leftover], list[str]]:
        """Orphaned resources that no survey shows, in every region; and the regions that did not answer."""
        ...


@runtime_checkable
class Retainer(Protocol):
    """Optional: for a cloud that may keep, and bill, deleted resources."""

    def retained(self, ids: Collection[str], *, everywhere: bool) -> tuple[list[Retained], list[str]]:
        """Which of these ids are retained, and regions that did not answer.

        `everywhere`: in all regions, including resources that are ours by their name.
        """
        ...


@runtime_checkable
class Housing(Protocol):
    """Optional: for a cloud whose desks take space of this computer's own disk."""

    def space(self) -> dict[str, int]:
        """Bytes on this computer's disk, by desk; of "": what several share."""
        ...


class KeyFiles(Value, frozen=True):
    """The key files of one desk on this computer."""

    desk: str
    public: str = ""  # "ssh-ed25519 AAAA…"; "" if there is none
    private: bool = False  # whether the private key is here


@runtime_checkable
class Guest(Protocol):
    """Optional: for machines that are not ours, where a desk's end takes more than deleting what it had."""

    def forget(self, desk: str) -> None:
        """Remove what is there for this desk alone, now that the desk is gone. Safe to repeat."""
        ...

    def tidy(self) -> None:
        """Remove what is ours at machines where no desk is any more. Safe to repeat."""
        ...


@runtime_checkable
class Examiner(Protocol):
    """Optional: checks the cloud account for `hotdesk doctor`."""

    def examine(
        self, desks: Sequence[Desk], keys: Sequence[KeyFiles], survey: Survey | None
    ) -> Iterable[Finding]:
        """Problems of the account that concern these desks. Changes nothing."""
        ...


@runtime_checkable
class Opener(Protocol):
    """Optional: public access to a desk's Jupyter without a tunnel."""

    def open_notebook(self, instance: Instance, caller: bool, wider: Sequence[str]) -> tuple[str, ...]:
        """Let this computer's address (`caller`) and these ranges reach this machine's Jupyter.

        Replaces what this computer allowed before; what other computers allowed stays. Returns all allowed
        ranges. May refuse.
        """
        ...

    def close_notebook(self, instance: Instance) -> None:
        """Revoke all public access to this machine's Jupyter, whoever allowed it. May refuse."""
        ...

    def opened_for_all(self) -> Sequence[str]:
        """Regions where an older hotdesk on this computer used one rule for all desks, as last surveyed."""
        ...

    def close_for_all(self, region: str) -> None:
        """Remove that rule. May refuse."""
        ...


_HOST = re.compile(r"[A-Za-z0-9\[:][A-Za-z0-9.:_\[\]%-]{0,252}")
_USER = re.compile(r"[^\s\x00-\x1f\x7f\"'$&;<>`|@:/-][^\s\x00-\x1f\x7f\"'&;<>`|/]{0,254}")


class Access(Value, frozen=True):
    """How to reach a desk: everything an ssh client needs, and where its Jupyter listens."""

    desk: str
    host: str
    port: int
    user: str
    key_path: str
    known_hosts_path: str  # holds the desk's one host key under `alias`
    alias: str
    notebook_port: int  # on the desk's own loopback
    notebook_here: bool = False  # the desk's loopback is this computer's: no tunnel needed
    supervised: bool = False  # hotdesk's own process runs the desk: no root, no systemd, no agent
    proxy: str = ""  # as ssh's ProxyCommand: the only way to the host
    ends_at: float = 0.0  # when its cloud ends the machine in any case, as far as is known; 0: never
    home: str = "~"

    def __post_init__(self) -> None:
        """Raises `Refused` (bad-request) for a host or a user that ssh could take for something else.

        Both may come from a cloud, or from a tag that anybody with the account can write; and both become
        words of a command line and lines of a settings file.
        """
        for value, form in ((self.host, _HOST), (self.user, _USER)):
            if not form.fullmatch(value):
                raise Refused(Kind.BAD_REQUEST, f"ssh cannot be asked for {value[:80]!r} at {self.desk}.")


class Cache(Protocol):
    """A cache shared by processes, for answers that seldom change: bytes by key, with the time of storing."""

    def cached(self, key: str) -> tuple[float, bytes] | None: ...

    def keep(self, key: str, body: bytes, now: float) -> None: ...


class Keys(Value, frozen=True):
    """A desk's keys: files on this computer that only their owner can read."""

    desk: str
    alias: str  # the name under which `known_hosts_path` holds the host key
    user_key_path: str  # the public key is beside it, as `.pub`
    host_key_path: str  # likewise
    known_hosts_path: str
    password_path: str  # the notebook's password, for its owner
    password_hash_path: str  # its hash, for the Jupyter server

    @classmethod
    def within(cls, folder: str, desk: str) -> Keys:
        """Those of a desk whose folder that is; whether they exist is not looked at."""
        return cls(
            desk=desk,
            alias=f"hotdesk-{desk}",
            user_key_path=f"{folder}/id_ed25519",
            host_key_path=f"{folder}/host_ed25519",
            known_hosts_path=f"{folder}/known_hosts",
            password_path=f"{folder}/notebook-password",
            password_hash_path=f"{folder}/notebook-password.argon2",
        )


class KeyRing(Protocol):
    def __call__(self, desk: str) -> Keys:
        """The desk's keys; created if missing."""
        ...


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch, by this computer's clock."""
        ...

    def sleep(self, seconds: float) -> None: ...


class Prover(Protocol):
    def __call__(self, access: Access) -> None:
        """Log in and get an answer from Jupyter. Raises `Refused` (not-ready) with what is missing."""
        ...
