#!/usr/bin/env bash
# Builds the Python wheel that carries rolefs into target/wheels: linked by zig against glibc 2.17, so that it runs in old training images.
# auditwheel must agree with its tag, and a fresh environment must be able to install and run it.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$repository"

tag=manylinux_2_17_x86_64
[[ "$(uname --machine)" == x86_64 ]] || tag="manylinux_2_17_$(uname --machine)"
wheels="$target_directory/wheels"
fresh="$target_directory/wheel-venv"

need_rust
need_venv scripts/wheel/requirements.txt
export PATH="$venv/bin:$PATH"
rm --recursive --force "$wheels" "$fresh"
maturin build --release --locked --zig --compatibility manylinux2014 --out "$wheels"
wheel="$(echo "$wheels"/rolefs-*.whl)"

said="$(auditwheel show "$wheel")"
printf '%s\n' "$said"
[[ "$(tr '\n' ' ' <<<"$said")" == *"\"$tag\""* ]] || die "auditwheel does not find $wheel fit for $tag"

python3 -m venv "$fresh"
"$fresh/bin/pip" install --quiet --disable-pip-version-check --no-index "$wheel"
"$fresh/bin/rolefs" --version
say "built $wheel"
