#!/usr/bin/env bash
# Measures a mount beside what could be reached: raw (the same HTTP client, no file system) and null (a FUSE file system
# that answers from memory), over two links: loopback as it is, and "cloud" with 20 ms to the first byte and 100 MB/s per
# connection. Prints a table and writes target/bench/<time>.json.
#
#   scripts/bench.sh            1 GiB in one file, 2,000 files of 100 KiB, three repetitions
#   scripts/bench.sh --quick    fewer files where one thread reads over the slow link; below five minutes once built
#   scripts/bench.sh --full     4 GiB, five repetitions
#   scripts/bench.sh --help     more options: which subjects, links and workloads
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$repository"

need_rust
need_package python3 python3 --version
for argument in "$@"; do
  if [[ "$argument" == --help ]]; then exec python3 scripts/bench/run.py --help; fi
done
need_fuse
if [[ -z "${ROLEFS_BENCH_BINARIES:-}" ]]; then
  say "builds the release binaries"
  cargo build --release --bins
fi
export PYTHONDONTWRITEBYTECODE=1
exec python3 scripts/bench/run.py --binaries "${ROLEFS_BENCH_BINARIES:-$target_directory/release}" "$@"
