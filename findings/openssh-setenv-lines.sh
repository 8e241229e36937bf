#!/usr/bin/env bash
# OpenSSH client 9.2p1 (Debian 12, openssh-client 1:9.2p1-2+deb12u10)
#
# What: of two SetEnv lines only the first counts; the second is dropped without a word. SendEnv, its sibling,
#   adds up over lines, and so do LocalForward and IdentityFile. Several variables on one SetEnv line are all
#   set.
# Why it matters: one line for a host and one under `Host *` is how settings are laid out. A job then runs
#   without the variable (a cache folder, the visible GPUs) that its owner sees in the file.
# Expected: both variables are sent.
# Seen:
#   two SetEnv lines: setenv A=1
#   one SetEnv line: setenv A=1, setenv B=2
#   two SendEnv lines: sendenv A, sendenv B
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq openssh-client=1:9.2p1-2+deb12u10 2>apt.log || { cat apt.log; exit 2; }
dpkg -x openssh-client_*.deb root
as_read() { # the settings that ssh takes from this file; nothing is connected to
  root/usr/bin/ssh -F "$1" -G desk 2>errors | grep -E '^(setenv|sendenv) ' | paste -sd, | sed 's/,/, /g'
}
printf 'Host desk\n  SetEnv A=1\nHost *\n  SetEnv B=2\n' >two
printf 'Host desk\n  SetEnv A=1 B=2\n' >one
printf 'Host desk\n  SendEnv A\nHost *\n  SendEnv B\n' >send
two=$(as_read two) one=$(as_read one) send=$(as_read send)
echo "two SetEnv lines: $two"
echo "one SetEnv line: $one"
echo "two SendEnv lines: $send"
[[ $two == "setenv A=1" && $one == "setenv A=1, setenv B=2" && $send == "sendenv A, sendenv B" ]]
