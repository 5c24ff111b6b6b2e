#!/usr/bin/env bash
# Measures a mount beside what could be reached (raw: the same HTTP client without a file system, null: a FUSE file system
# that answers from memory, local: the same bytes in a local file) and beside curl and the Python clients, over three
# links: loopback as it is, "cloud" with 20 ms to the first byte and 100 MB/s per connection, and loopback over HTTPS.
# Prints each workload's table with its goals, and writes target/bench/<time>.json and .svg.
#
#   scripts/bench.sh                          everything, reading three times; below 40 minutes on 2 cores
#   scripts/bench.sh --quick                  less of reading, once; below five minutes once built
#   scripts/bench.sh --workload R1 --workload R2 --subject "mount;raw"
#   scripts/bench.sh --read-ahead 128         as in a container whose /sys is read-only
#   scripts/bench.sh --no-container         readers of large files may fill all memory, see scripts/bench/container.py
#   scripts/bench.sh --chart scripts/bench/chart.svg --readme README.md
#   scripts/bench.sh --help                   the names of everything
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
need_venv "$repository/scripts/bench/requirements.txt"
need_package openssl openssl version
need_package curl curl --version
# Its own requirement, PyTorch, is larger than everything else together and not needed for reading.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps osstorchconnector==1.2.3 \
  || say "osstorchconnector cannot be installed on this Python: it is left out"
export PYTHONDONTWRITEBYTECODE=1
exec "$venv/bin/python" scripts/bench/run.py --binaries "${ROLEFS_BENCH_BINARIES:-$target_directory/release}" "$@"
