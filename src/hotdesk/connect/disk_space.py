"""Let a desk's file system take all of its disk, after the disk was made bigger."""

from __future__ import annotations

import msgspec

from hotdesk.connect.job_runner import run_there
from hotdesk.core import wire
from hotdesk.core.errors import Unreachable
from hotdesk.core.model import Value
from hotdesk.core.ports import Access

#: The kernel hears of the new size within seconds. growpart (cloud-utils) ends with 1 where nothing is to do.
_GROW = """\
set -u
wanted=$1
source=$(findmnt -no SOURCE /) && kind=$(findmnt -no FSTYPE /) || exit 3
name=$(basename "$(readlink -f "$source")")
disk=$name part=
if [ -e "/sys/class/block/$name/partition" ]; then
  part=$(cat "/sys/class/block/$name/partition")
  disk=$(basename "$(dirname "$(readlink -f "/sys/class/block/$name")")")
fi
grown() { [ "$(cat "/sys/class/block/$disk/size")" -ge $((wanted * 2097152)) ]; }
for i in $(seq 30); do grown && break; sleep 1; done
grown || { echo "its system does not see the new size yet" >&2; exit 7; }
if [ -n "$part" ]; then
  sudo -n growpart "/dev/$disk" "$part" >&2
  [ $? -le 1 ] || exit 4
fi
case $kind in
  ext*) sudo -n resize2fs "$source" >&2 ;;
  xfs) sudo -n xfs_growfs / >&2 ;;
  btrfs) sudo -n btrfs filesystem resize max / >&2 ;;
  *) echo "hotdesk does not know how to grow $kind" >&2; exit 5 ;;
esac || exit 6
set -- $(df -B1 --output=size,avail / | tail -n 1)
printf '{"bytes": %s, "free": %s}' "$1" "$2"
"""


class Space(Value, frozen=True):
    """The file system that a desk's home is on."""

    bytes: int
    free: int


def grow(access: Access, gib: int) -> Space:
    """Grow the file system to a disk of this size. Raises `Unreachable`, with what was said there."""
    done = run_there(access, f"exec sh -s {gib}", _GROW.encode())
    try:
        return wire.json(done.stdout.strip(), Space)
    except msgspec.DecodeError:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Unreachable(
            f"The disk of {access.desk} has {gib} GiB; its file system could not be made as big.",
            f"{words[-1] if words else 'It does not say why'}. The next start of the desk does it too.",
            f"hotdesk ssh {access.desk} -- df -h /",
        ) from None
