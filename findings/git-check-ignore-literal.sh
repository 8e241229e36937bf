#!/usr/bin/env bash
# git 2.39.5 (Debian 12, git 1:2.39.5-0+deb12u3)
#
# What: `git check-ignore --stdin` takes the names that it is given for pathspecs: of a file whose name begins
#   with ":!" it says "pathspec magic not supported". GIT_LITERAL_PATHSPECS=1, git's way to say that names are
#   just names, makes it refuse every name, with the same message. A "./" in front is what helps.
#   `git check-attr --stdin`, its sibling, takes both as they are.
# Why it matters: a program that sets the variable once for all its calls of git, as it should for names which
#   it did not choose, finds that this one command fails on all of them.
# Expected: literal names are what check-ignore is about.
# Seen:
#   :!b.log: exit status 128
#   ./:!b.log: exit status 0
#   a.log, literal: exit status 128
#   check-attr, :!b.log, literal: exit status 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq git=1:2.39.5-0+deb12u3 2>apt.log || { cat apt.log; exit 2; }
dpkg -x git_*.deb root
git() {
  env -i PATH="$PATH" HOME="$work" GIT_EXEC_PATH="$work/root/usr/lib/git-core" GIT_CONFIG_NOSYSTEM=1 \
    "$work/root/usr/bin/git" -C "$work/repository" "$@"
}
mkdir repository
git init -q
echo '*.log' >repository/.gitignore
touch repository/a.log 'repository/:!b.log'
seen=
asked() { # what it is called, the name, and the command
  local status=0
  printf '%s\0' "$2" | git "${@:3}" >answer 2>errors || status=$?
  echo "$1: exit status $status"
  seen="$seen $status"
}
asked ':!b.log' ':!b.log' check-ignore -z --stdin
asked './:!b.log' './:!b.log' check-ignore -z --stdin
asked 'a.log, literal' a.log --literal-pathspecs check-ignore -z --stdin
asked 'check-attr, :!b.log, literal' ':!b.log' --literal-pathspecs check-attr -z --stdin -a
[[ $seen == " 128 0 128 0" ]]
