#!/usr/bin/env bash
# Runs what others wrote to try file systems, over real mounts of the development server: pjdfstest, fsx, fio --verify,
# stress-ng's file-system stressors, mounts that are killed, and the programs that training jobs write with. Prints what passed of what is
# applicable, and every failure and skip with its reason; logs stay in target/suites/logs.
#
#   scripts/suites.sh                         all suites, short, as scripts/test.sh runs them: some minutes
#   scripts/suites.sh --full                  in full: fsx with 20 seeds of 10,000 operations, larger files, all cases of
#                                             pjdfstest and stress-ng, longer stress, and PyTorch, which is 5 GB
#   scripts/suites.sh --suite fsx             one suite; may be repeated
#   scripts/suites.sh --suite applications --only git --only h5py
#   scripts/suites.sh --on /tmp/directory     the same on a directory that is there already, as a control
#   scripts/suites.sh --help                  the names of everything
#
# ROLEFS_SUITES_BINARIES names a directory with other binaries than the debug build.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$repository"

tools="$repository/target/suites"
# Versions as tried; pjdfstest counts its cases, so another version has another total.
pjdfstest_version=0.2.2
fsx_version=0.3.2

# need_crate PROGRAM VERSION: builds a program of the registry of crates, once; without optimisation, for it is the mount that
# takes the time.
need_crate() {
  local program="$1" version="$2" stamp="$tools/$1.version"
  [[ -x "$tools/bin/$program" && "$(cat "$stamp" 2>/dev/null)" == "$version" ]] && return
  say "builds $program $version"
  CARGO_TARGET_DIR="$tools/build" cargo install --quiet --locked --debug --root "$tools" --version "$version" "$program"
  printf '%s\n' "$version" > "$stamp"
}

# Whether a suite was asked for: all are, unless some are named.
wanted() {
  local argument previous="" named=0
  for argument in "${arguments[@]}"; do
    if [[ "$previous" == --suite || "$argument" == --suite=* ]]; then
      named=1
      [[ "${argument#--suite=}" == "$1" ]] && return 0
    fi
    previous="$argument"
  done
  ((named == 0))
}

# Whether everything is wanted in full.
full() {
  local argument
  for argument in "${arguments[@]}"; do
    [[ "$argument" == --full ]] && return 0
  done
  return 1
}

arguments=("$@")
need_package python3 python3 --version
for argument in "$@"; do
  if [[ "$argument" == --help ]]; then exec python3 scripts/suites/run.py --help; fi
done
need_rust
need_fuse
mkdir --parents "$tools"
if wanted pjdfstest; then
  # Its ACL cases are not for Linux, but it links the library all the same.
  need_package dpkg libacl1-dev --status libacl1-dev
  need_crate pjdfstest "$pjdfstest_version"
fi
if wanted fsx; then need_crate fsx "$fsx_version"; fi
if wanted fio; then need_package fio fio --version; fi
if wanted stress-ng; then need_package stress-ng stress-ng --version; fi
python=python3
if wanted applications; then
  need_package git git --version
  need_package rsync rsync --version
  need_package sqlite3 sqlite3 --version
  need_package unzip unzip -v
  need_package vim vim --version
  need_package tar tar --version
  venv="$tools/venv"
  need_venv "$repository/scripts/suites/requirements.txt"
  if full; then need_venv "$repository/scripts/suites/requirements-full.txt"; fi
  python="$venv/bin/python"
fi
if [[ -z "${ROLEFS_SUITES_BINARIES:-}" ]]; then
  say "builds rolefs and rolefs-dev"
  cargo build --quiet --bin rolefs --bin rolefs-dev
fi
export PYTHONDONTWRITEBYTECODE=1
exec "$python" scripts/suites/run.py --binaries "${ROLEFS_SUITES_BINARIES:-$target_directory/debug}" --tools "$tools" "$@"
