#!/usr/bin/env bash
# All checks, from a clean clone: formatting, lints, documentation, tests (with kernel mounts where this user may mount),
# the official SDKs against the development server, and what others wrote to try file systems, in short. Every step runs
# even if one before it failed; the last line says how many checks passed and failed, and the exit status is not 0 if any
# failed. Logs stay in target/test-logs.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$repository"

logs="$repository/target/test-logs"
passed=0
failed=0
skipped=0
mkdir --parents "$logs"

# Sum of the numbers in front of a word such as "passed" in a log: nextest, libtest and pytest all write them so.
count_of() {
  { grep --extended-regexp "$2" "$1" || true; } \
    | { grep --only-matching --extended-regexp "[0-9]+ $3" || true; } \
    | awk '{ sum += $1 } END { print sum + 0 }'
}

# step NAME SUMMARY COMMAND…: runs a step and adds up its counts. SUMMARY is the pattern of the lines that hold them,
# "-" for a step that is one check by itself.
step() {
  local name="$1" summary="$2" log="$logs/$1.log" status=0 bad
  shift 2
  say "$name: $*"
  "$@" 2>&1 | tee "$log" || status=$?
  if [[ "$summary" == - ]]; then
    ((status == 0)) && passed=$((passed + 1)) || failed=$((failed + 1))
    return
  fi
  bad=$(($(count_of "$log" "$summary" failed) + $(count_of "$log" "$summary" 'errors?') + $(count_of "$log" "$summary" 'timed out')))
  # A step that broke before it counted anything is a failure all the same.
  if ((status != 0 && bad == 0)); then bad=1; fi
  failed=$((failed + bad))
  passed=$((passed + $(count_of "$log" "$summary" passed)))
  skipped=$((skipped + $(count_of "$log" "$summary" '(skipped|ignored)')))
}

need_rust
for component in fmt clippy; do
  if ! cargo "$component" --version >/dev/null 2>&1; then
    command -v rustup >/dev/null || die "cargo $component is missing: install it with your Rust"
    say "installs the Rust component $component"
    rustup component add "${component/#fmt/rustfmt}"
  fi
done
export CARGO_TERM_COLOR=never

step fmt - cargo fmt --check
step clippy - cargo clippy --all-targets -- -D warnings
RUSTDOCFLAGS=-Dwarnings step doc - cargo doc --no-deps --document-private-items
if cargo nextest --version >/dev/null 2>&1; then
  step tests '^ *Summary ' cargo nextest run --no-fail-fast
else
  step tests '^test result:' cargo test --all-targets --no-fail-fast
fi
step doctests '^test result:' cargo test --doc
step sdk '^[0-9]+ (passed|failed|skipped|errors?).* in [0-9.]+s' scripts/sdk_checks.sh --color=no

if [[ "$(id --user)" == 0 && -c /dev/fuse ]]; then
  step suites '^[0-9]+ passed, [0-9]+ failed' scripts/suites.sh
else
  say "suites: skipped, for mounts need root and /dev/fuse"
  skipped=$((skipped + 1))
fi

if ((skipped > 0)); then
  say "$skipped skipped: what needs a mount, where this user is not root or there is no /dev/fuse, and cases of suites, whose reasons are in $logs"
fi
printf '%s\n' "$passed passed, $failed failed"
((failed == 0))
