#!/usr/bin/env bash
# rsync 3.5.0 (Debian 12 security, 3.5.0+ds1-0+deb12u1), beside 3.2.7 (3.2.7-1+deb12u6)
#
# What: --keep-dirlinks treats a link to a folder at the destination as that folder. From 3.5.0 on this works
#   when the link is relative, and fails with "Too many levels of symbolic links" when it is absolute, though
#   both lead to the same folder inside the destination. 3.2.7 copies through both. Debian brought 3.5.0 to
#   its stable release as a security update, so the change came in the middle of a release.
# Why it matters: a link such as ~/data -> /mnt/disk/data is nearly always absolute. There is no loop of links;
#   who reads the message looks for one.
# Expected: how a link is spelled does not matter to where it leads, or the message says what is refused.
# Seen:
#   3.2.7, relative link: exit status 0
#   3.2.7, absolute link: exit status 0
#   3.5.0, relative link: exit status 0
#   3.5.0, absolute link: exit status 23, Too many levels of symbolic links
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq rsync=3.2.7-1+deb12u6 rsync=3.5.0+ds1-0+deb12u1 2>apt.log || { cat apt.log; exit 2; }
dpkg -x rsync_3.2.7*.deb 3.2.7
dpkg -x rsync_3.5.0*.deb 3.5.0
mkdir -p from/data
echo text >from/data/file
seen=
for version in 3.2.7 3.5.0; do
  for kind in relative absolute; do
    rm -rf to && mkdir -p to/disk
    target=disk && [[ $kind == relative ]] || target=$PWD/to/disk
    ln -s "$target" to/data
    status=0
    "$version/usr/bin/rsync" -r --keep-dirlinks from/ to/ 2>errors || status=$?
    reason=$(grep -o 'Too many levels of symbolic links' errors | sed 's/^/, /' || true)
    echo "$version, $kind link: exit status $status$reason"
    seen="$seen $status"
    [[ $status != 0 || -e to/disk/file ]] || seen="$seen lost"
  done
done
[[ $seen == " 0 0 0 23" ]]
