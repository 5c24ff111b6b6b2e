#!/usr/bin/env bash
# Builds the Python wheel that carries rolefs into target/wheels: linked by zig against glibc 2.17, so that it runs in old training images.
# auditwheel must agree with its tag. A fresh environment must be able to install it, and a user without rights (65534, if this is run as root) to
# write and read through `rolefs run` from it, against the development server; the command's exit code must come through.
#
# Takes a release build; needs Rust, Python 3.11 and /dev/fuse. ROLEFS_DEV_BIN names another server than the debug build.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$repository"

tag="manylinux_2_17_$(uname --machine)"
wheels="$target_directory/wheels"
need_scratch wheel

need_rust
need_venv scripts/wheel/requirements.txt
say "builds the wheel"
rm --recursive --force "$wheels"
PATH="$venv/bin:$PATH" maturin build --release --locked --zig --compatibility manylinux2014 --out "$wheels"
wheel="$(echo "$wheels"/rolefs-*.whl)"

said="$(PATH="$venv/bin:$PATH" auditwheel show "$wheel")"
printf '%s\n' "$said"
[[ "$(tr '\n' ' ' <<<"$said")" == *"\"$tag\""* ]] || die "auditwheel does not find $wheel fit for $tag"

say "installs it into a fresh environment"
# Not below the repository: that may lie where only its owner may look.
chmod 755 "$scratch"
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check --no-index "$wheel"
rolefs="$scratch/venv/bin/rolefs"
"$rolefs" --version

say "starts the development server with the role of a job"
dev="${ROLEFS_DEV_BIN:-}"
if [[ -z "$dev" ]]; then
  cargo build --quiet --bin rolefs-dev
  dev="$target_directory/debug/rolefs-dev"
fi
cat >"$scratch/dev.toml" <<'TOML'
[[bucket]]
name = "workspace-default"
default = true
[role.AliyunPAIDLCDefaultRole]
default_bucket_only = true
[job]
role = "AliyunPAIDLCDefaultRole"
TOML
start_server "$dev"

# As a user without rights. Where only root may open the device, as in many containers, that user gets a node of it in a mount
# namespace; that of the machine stays as it is.
user=(env)
if [[ "$(id --user)" == 0 ]]; then
  need_package setpriv util-linux --version
  user=(setpriv --reuid 65534 --regid 65534 --clear-groups env)
  if ! "${user[@]}" test -r /dev/fuse -a -w /dev/fuse; then
    node='mount -t tmpfs none "$1"; mknod -m 666 "$1/fuse" c 10 229; mount --bind "$1/fuse" /dev/fuse; umount --lazy "$1"; exec "${@:2}"'
    mkdir "$scratch/node"
    user=(unshare --mount bash -euc "$node" bash "$scratch/node" "${user[@]}")
  fi
fi
mkdir "$scratch/mnt" "$scratch/home"
[[ "$(id --user)" != 0 ]] || chown 65534:65534 "$scratch/mnt" "$scratch/home"

# job OPTION… -- COMMAND…: as in the startup command of a job, whose environment holds where the credentials are, and no key.
job() {
  "${user[@]}" --ignore-environment PATH="$PATH" HOME="$scratch/home" TMPDIR="$scratch/home" \
    ALIBABA_CLOUD_CREDENTIALS_URI="$credentials_uri" \
    "$rolefs" run --endpoint "$endpoint" --region cn-hangzhou --log-level warn --at "$scratch/mnt" oss://workspace-default "$@"
}

say "rolefs run, as $("${user[@]}" id --user --name), writes and passes an exit code on"
status=0
job -- sh -euc 'id -u; echo "from the wheel" >"$1/result"; exit 7' sh "$scratch/mnt" || status=$?
((status == 7)) || die "the exit code should be 7, not $status"
say "and reads it in a mount of its own"
found="$(job --read-only -- cat "$scratch/mnt/result")"
[[ "$found" == "from the wheel" ]] || die "that was read: $found"
printf '%s\n' "$found"
! mountpoint --quiet "$scratch/mnt" || die "the mount is left"
say "built and tried $wheel"
