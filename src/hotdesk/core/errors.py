"""What can go wrong, in the three lines a person needs: what happened, why, what to do next.

    HotdeskError                exit  meaning
    ├── Usage                      2  an option or argument is wrong, or names something impossible
    ├── NotAllowed                 3  a cloud refused (capacity, quota, permission), or your budget did
    │   └── Scarce                 3  … for capacity or quota: the same may be had later
    ├── Unknown                    4  no desk, image, type or region of that name
    ├── NeedsDecision              5  continuing could lose money or work: the user must choose
    ├── Busy                       6  another command holds the desk, or changed its goal meanwhile
    ├── Unreachable                7  the cloud or the desk does not answer
    │   └── Overloaded             7  … because the cloud is too busy: try again later
    ├── Missing                    8  this computer lacks something (ssh, space, a package, a free port)
    └── Damaged                    9  hotdesk's own state or configuration cannot be read
        └── Newer                  9  … because a newer hotdesk wrote it

Exit code 0 means that the goal was seen to be reached, 1 is a bug in hotdesk, 130 is Ctrl-C: the goal is
saved and the next command continues.

`Refused` is not for users: a provider raises it to give the loop a *definite* no, which the loop journals
and the planner decides on. Any other exception from a provider means that the outcome is unknown; with
`Failing`, the same request may be sent again after a while.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from hotdesk.core.model import Scope


class HotdeskError(Exception):
    """Something a person has to know: `what` happened, `why`, and how to `fix` it (a command to paste)."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(what, why, fix)
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        return "\n".join(line for line in (self.what, self.why, self.fix) if line)


class Usage(HotdeskError):
    exit_code = 2


class NotAllowed(HotdeskError):
    exit_code = 3


class Scarce(NotAllowed):
    """Sold out, or past a quota: the same may be had later."""


class Unknown(HotdeskError):
    exit_code = 4


class NeedsDecision(HotdeskError):
    exit_code = 5


class Busy(HotdeskError):
    exit_code = 6


class Unreachable(HotdeskError):
    exit_code = 7


class Overloaded(Unreachable):
    pass


class Missing(HotdeskError):
    exit_code = 8


class Damaged(HotdeskError):
    exit_code = 9


class Newer(Damaged):
    pass


#: What each exit code of the command line promises.
EXIT_CODES = {
    0: "the wanted state was seen",
    1: "a defect of hotdesk",
    2: "usage: an option or argument is wrong, or names something impossible",
    3: "a cloud refused: capacity, quota, permission, or your budget",
    4: "no desk, image, type or region of that name",
    5: "you must choose: going on could lose money or work",
    6: "busy: another command holds the desk, or changed its goal meanwhile",
    7: "unreachable: the cloud or the desk does not answer",
    8: "this computer lacks something: ssh, space, a package, a free port",
    9: "state or settings cannot be read, or are of a newer hotdesk",
    130: "Ctrl-C",
    141: "who read the output of a pipe has left",
}

#: Exit codes after which a person has to decide: more money may be spent, or work may end.
NEED_A_PERSON = frozenset({3, 5})


class Kind(StrEnum):
    """Why a provider refuses. One table per cloud maps its error codes to these."""

    NO_CAPACITY = "no-capacity"  # sold out here and now: another offer may work
    QUOTA = "quota"  # the account's limit: another type or region may work
    UNSUPPORTED = "unsupported"  # this offer cannot do it (type not in that zone): another may
    DENIED = "denied"  # no permission or no credentials
    BAD_REQUEST = "bad-request"  # the order itself is wrong
    THROTTLED = "throttled"  # asked too fast: the same again, later
    NO_SPACE = "no-space"  # a disk is full
    UNREADABLE = "unreadable"  # something that must be saved cannot be read, or changes while it is read
    CORRUPT = "rotten"  # an image that lacks something it should hold; the value is in old journals
    MISMATCH = "mismatch"  # this name already stands for something else
    NOT_READY = "not-ready"  # not yet: look again soon


#: Refusals of the offer, not of the account: the next offer may well succeed.
OFFER_KINDS = frozenset({Kind.NO_CAPACITY, Kind.QUOTA, Kind.UNSUPPORTED})
#: Of these, what waiting helps: a quota is raised, capacity comes back.
SCARCE = frozenset({Kind.NO_CAPACITY, Kind.QUOTA})


class Refused(Exception):
    """A provider's definite no: nothing was made or changed by the call that raised it."""

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        fix: str = "",
        seconds: float = 600.0,
        scope: Scope | None = None,
    ) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message
        self.fix = fix
        self.seconds = seconds  # how long it is valid: after that the same may be asked again
        self.scope = scope  # of a launch: which other offers would be refused as well

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


class Failing(Exception):
    """The cloud failed on its own side (a 5xx answer to a change): the outcome is unknown.

    The same request may be sent again after a while."""
