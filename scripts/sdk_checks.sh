#!/usr/bin/env bash
# Checks the development server, a mount of it and `rolefs credentials` with the official Alibaba Cloud clients (oss2,
# alibabacloud-oss-v2, alibabacloud-credentials, alibabacloud-aiworkspace20210204, pyodps). Arguments go to pytest: scripts/sdk_checks.sh -k presigned
#
# ROLEFS_DEV_BIN and ROLEFS_BIN name other binaries than the debug build.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$repository"

need_rust
need_package openssl openssl version
need_venv "$repository/tests/sdk/requirements.txt"
if [[ -z "${ROLEFS_DEV_BIN:-}" || -z "${ROLEFS_BIN:-}" ]]; then
  cargo build --quiet --bin rolefs --bin rolefs-dev
fi
export ROLEFS_DEV_BIN="${ROLEFS_DEV_BIN:-$target_directory/debug/rolefs-dev}"
export ROLEFS_BIN="${ROLEFS_BIN:-$target_directory/debug/rolefs}"
export PYTHONDONTWRITEBYTECODE=1
exec "$venv/bin/python" -m pytest --quiet tests/sdk "$@"
