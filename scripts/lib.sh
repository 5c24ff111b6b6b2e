# Shared by the scripts here; sourced, not run.

repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# Where cargo puts what it builds.
target_directory="${CARGO_TARGET_DIR:-$repository/target}"
venv="$repository/target/venv"

say() { printf '%s\n' "== $*"; }

die() {
  printf '%s\n' "$*" >&2
  exit 1
}

# Waits until a condition holds, at most 30 seconds.
wait_for() {
  local what="$1" deadline=$((SECONDS + 30))
  until "${@:2}"; do
    ((SECONDS < deadline)) || die "$what: not within 30 seconds"
    sleep 0.05
  done
}

# Fails with one sentence if a program that cannot be installed from here is missing.
need_rust() {
  command -v cargo >/dev/null || die "cargo is missing: install Rust 1.89 or newer (https://rustup.rs)"
}

# Mounting needs root and the device; both are said in one line.
need_fuse() {
  [[ -c /dev/fuse ]] || die "/dev/fuse is missing: load the fuse module, or give the container --device /dev/fuse"
  [[ "$(id --user)" == 0 ]] || die "mounting needs root: run this as root (sudo $0)"
}

# Installs Debian packages that are missing, if this is a Debian with the right to.
need_package() {
  local program="$1" package="$2"
  "$program" "${@:3}" >/dev/null 2>&1 && return
  command -v apt-get >/dev/null && [[ "$(id --user)" == 0 ]] || die "$package is missing: install it"
  say "installs the package $package"
  apt-get update --quiet=2 && apt-get install --yes --quiet=2 "$package" >/dev/null
}

# A Python environment under target/ with what the given requirements files pin. Nothing is installed twice.
need_venv() {
  need_package python3 python3-venv -c 'import venv, ensurepip'
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "Python 3.11 or newer is needed"
  [[ -x "$venv/bin/python" ]] || python3 -m venv "$venv"
  local requirements stamp
  for requirements in "$@"; do
    stamp="$venv/$(printf '%s' "$requirements" | sha256sum | cut --characters=1-16).installed"
    if ! cmp --silent "$requirements" "$stamp"; then
      say "installs into $venv: $(grep --invert-match '^#' "$requirements" | tr '\n' ' ')"
      "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements"
      cp "$requirements" "$stamp"
    fi
  done
}

# need_scratch NAME: makes "$scratch", a temporary directory of this run. When the script ends, however it does, before_scratch_goes is called if
# it is a function, the process "$server" ends, and the directory goes.
need_scratch() {
  scratch="$(mktemp --directory --tmpdir "rolefs-$1-XXXXXXXX")"
  server=""
  trap end_scratch EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

end_scratch() {
  local status=$?
  trap - EXIT
  if declare -F before_scratch_goes >/dev/null; then before_scratch_goes; fi
  if [[ -n "$server" ]]; then
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  if ((status != 0)); then
    tail --lines 20 "$scratch"/*.log 2>/dev/null >&2 || true
  fi
  # Never into a bucket that is still mounted.
  rm --recursive --force --one-file-system "$scratch"
  exit "$status"
}

# start_server BINARY OPTION...: starts the development server with "$scratch/dev.toml", and waits until it is up. Sets "$endpoint", and
# "$credentials_uri", where the job's credentials are.
start_server() {
  "$1" serve --config "$scratch/dev.toml" --ready-file "$scratch/ready" "${@:2}" >"$scratch/rolefs-dev.log" 2>&1 &
  server=$!
  wait_for "rolefs-dev" server_is_up
  endpoint="$(head --lines 1 "$scratch/ready")"
  credentials_uri="$(sed --quiet 's/^ALIBABA_CLOUD_CREDENTIALS_URI=//p' "$scratch/ready")"
}

server_is_up() {
  kill -0 "$server" 2>/dev/null || die "rolefs-dev ended at once"
  grep --quiet '^ALIBABA_CLOUD_CREDENTIALS_URI=' "$scratch/ready" 2>/dev/null
}
