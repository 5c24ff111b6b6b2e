#!/usr/bin/env bash
# A training job reads its role's bucket as files: from nothing to an accuracy, on this machine alone.
#
# What a cloud would do is done by rolefs-dev, a server that speaks OSS and gives out the role's credentials as PAI does:
# the default role, which sees one bucket, with tokens that are replaced every five seconds and refused from then on.
# Needs root (it mounts), /dev/fuse, Rust and Python 3.11; all it makes goes to target/ and to a temporary directory.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$repository"

need_rust
need_fuse
bucket=workspace-default
region=cn-hangzhou
# Nothing of the caller's own account may decide what happens here.
unset "${!ALIBABA_CLOUD_@}" "${!ROLEFS_@}" "${!OSS_@}"

before_scratch_goes() {
  if mountpoint --quiet "$mountpoint"; then
    "$target_directory/debug/rolefs" umount "$mountpoint" || umount --lazy "$mountpoint" || true
  fi
}
need_scratch demo
mountpoint="$scratch/bucket"

say "Python environment in target/venv"
need_venv "$repository/examples/requirements.txt"

say "builds rolefs and rolefs-dev"
cargo build --bin rolefs --bin rolefs-dev

say "starts the development server: role AliyunPAIDLCDefaultRole, a new token every 5 seconds"
secret="$(od --address-radix=n --format=x1 --read-bytes=16 /dev/urandom | tr --delete ' \n')"
cat > "$scratch/dev.toml" <<TOML
region = "$region"

[[bucket]]
name = "$bucket"
default = true

[role.AliyunPAIDLCDefaultRole]
default_bucket_only = true

# A key without a role may do everything.
[key.admin]
id = "LTAIuploader"
secret = "$secret"

[job]
role = "AliyunPAIDLCDefaultRole"
token_life = "30s"
rotate_every = "5s"
old_tokens = "refused_at_once"
TOML
mkdir "$scratch/objects" "$mountpoint"
start_server "$target_directory/debug/rolefs-dev" --data "$scratch/objects" --listen 127.0.0.1:0

say "uploads scikit-learn's digits with the official SDK (oss2) and the uploader's own key"
OSS_ACCESS_KEY_ID=LTAIuploader OSS_ACCESS_KEY_SECRET="$secret" OSS_REGION="$region" \
  "$venv/bin/python" examples/upload_digits.py "$endpoint" "$bucket" digits

say "mounts the bucket as the job would: its environment holds the credentials' URI, and no key"
mount_command=(rolefs mount --endpoint "$endpoint" --region "$region" "$mountpoint" "oss://$bucket")
printf '   %s\n' "${mount_command[*]}"
ALIBABA_CLOUD_CREDENTIALS_URI="$credentials_uri" ROLEFS_STATS_FILE="$scratch/metrics" ROLEFS_LOG_FILE="$scratch/rolefs.log" \
  "$target_directory/debug/${mount_command[0]}" "${mount_command[@]:1}"

say "trains: examples/train_digits.py $mountpoint/digits"
"$venv/bin/python" examples/train_digits.py "$mountpoint/digits" | tee "$scratch/training"

say "unmounts"
"$target_directory/debug/rolefs" umount "$mountpoint"
wait_for "the mount's figures" test -s "$scratch/metrics"

"$venv/bin/python" - "$scratch/training" "$scratch/metrics" <<'PYTHON'
import json
import sys

training = json.loads(open(sys.argv[1]).read().splitlines()[-1])
lines = [line for line in open(sys.argv[2]).read().splitlines() if line and not line.startswith("#")]
metric = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def count(name):
    return int(metric.get(f"rolefs_{name}_total", 0))


rows = {
    "accuracy": f"{training['accuracy']:.1%} after {training['epochs']} epochs",
    "files read": f"{training['files']:,}, {training['files_per_second']:,} per second",
    "bytes read": f"{training['bytes']:,}",
    "GETs": f"{count('oss_get_requests'):,}, all other reads came out of memory",
    "cache hits": f"{count('cache_hits'):,} in the mount; the kernel's own page cache answers before it is asked",
    "other requests": f"{count('oss_list_requests'):,} listings, {count('oss_head_requests'):,} HEADs",
    "token rotations": f"{max(0, count('credentials_adopted') - 1):,} seen while training for {training['seconds']} s",
}
print()
for name, value in rows.items():
    print(f"  {name:<16} {value}")
if training["accuracy"] < 0.9:
    sys.exit("the model learned nothing: were these the right bytes?")
if count("credentials_adopted") < 3:
    sys.exit("fewer than two token rotations were seen")
PYTHON
say "done"
