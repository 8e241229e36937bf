#!/usr/bin/env bash
# OpenSSH client 9.2p1 (Debian 12, openssh-client 1:9.2p1-2+deb12u10)
#
# What: `ssh -o SessionType=default -N` does not start: "Cannot specify -N with -s/SessionType". The same line
#   in a settings file gives way to -N silently, and of other pairs of an -o and its letter, such as -p after
#   -o Port, one wins silently. Here even the default, written out, is a conflict. sftp and scp pass -s to ssh:
#   with -o SessionType=default they cannot start either.
# Why it matters: a program that pins options, so that nobody's settings file can bend them, breaks every
#   tunnel and copy made with its options, by pinning the value that was in force anyway.
# Expected: as with all options, the first one counts; or the default is no conflict.
# Seen:
#   -o SessionType=default -N: Cannot specify -N with -s/SessionType
#   -o SessionType=default -s: Cannot specify -s with -N/SessionType
#   SessionType default in a file, -N: sessiontype none
#   -o Port=5 -p 6: port 5
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq openssh-client=1:9.2p1-2+deb12u10 2>apt.log || { cat apt.log; exit 2; }
dpkg -x openssh-client_*.deb root
echo 'SessionType default' >file
read_as() { # what ssh says of these options; nothing is connected to
  { root/usr/bin/ssh -G "${@:2}" 2>&1 || true; } | tr -d '\r' | grep -E "^($1 |Cannot)"
}
tunnel=$(read_as sessiontype -F none -o SessionType=default -N desk)
subsystem=$(read_as sessiontype -F none -o SessionType=default -s desk sftp)
file=$(read_as sessiontype -F file -N desk)
port=$(read_as port -F none -o Port=5 -p 6 desk)
echo "-o SessionType=default -N: $tunnel"
echo "-o SessionType=default -s: $subsystem"
echo "SessionType default in a file, -N: $file"
echo "-o Port=5 -p 6: $port"
[[ $tunnel == Cannot* && $subsystem == Cannot* && $file == "sessiontype none" && $port == "port 5" ]]
