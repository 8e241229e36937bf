#!/usr/bin/env bash
# git 2.39.5 (Debian 12, git 1:2.39.5-0+deb12u3)
#
# What: `git ls-files --others --ignored --directory` names the ignored files within an untracked folder.
#   --no-empty-directory, an option about empty folders, makes those files vanish from the list, while one
#   within a tracked folder stays. The folder is not empty: it also holds a file that is not ignored.
# Why it matters: this is how a tool asks what a clean-up or a copy would leave out. Results and checkpoints
#   lie in new folders, and are just what the list then lacks.
# Expected: the same files, without the folders in which there is nothing.
# Seen:
#   without: tracked/a.log new/b.log
#   with --no-empty-directory: tracked/a.log
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
mkdir -p repository/tracked repository/new
git init -q
echo '*.log' >repository/.gitignore
touch repository/tracked/{a.log,kept} repository/new/{b.log,kept}
git add .gitignore tracked/kept
without=$(git ls-files --others --ignored --exclude-standard --directory | sort -r | xargs)
with=$(git ls-files --others --ignored --exclude-standard --directory --no-empty-directory | xargs)
echo "without: $without"
echo "with --no-empty-directory: $with"
[[ $without == "tracked/a.log new/b.log" && $with == "tracked/a.log" ]]
