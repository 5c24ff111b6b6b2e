"""Fixtures: development servers, and one client of each kind.

`ROLEFS_DEV_BIN` names the server's binary, `ROLEFS_BIN` the mount's. Without them the debug build is taken.
"""

import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import rig  # noqa: E402

DEV_BIN = os.environ.get("ROLEFS_DEV_BIN", str(ROOT / "target/debug/rolefs-dev"))
ROLEFS_BIN = os.environ.get("ROLEFS_BIN", str(ROOT / "target/debug/rolefs"))

# Credentials and proxies of this machine must not decide a check; the SDKs read them when they are imported.
for name in set(os.environ) - set(rig.clean_environment()):
    del os.environ[name]

import alibabacloud_oss_v2 as oss_v2  # noqa: E402
import oss2  # noqa: E402
import pytest  # noqa: E402

OTHER_BUCKET = "somebody-elses"
VERSIONED_BUCKET = "with-versions"
SUSPENDED_BUCKET = "with-old-versions"
HIERARCHICAL_BUCKET = "with-directories"

# A key that may write below w/ and no more.
WRITER_ID = "LTAIwriter"
WRITER_SECRET = "secret-of-the-writer"
SPECIAL = f"""
[[bucket]]
name = "{VERSIONED_BUCKET}"
versioning = "enabled"
[[bucket]]
name = "{SUSPENDED_BUCKET}"
versioning = "suspended"
[[bucket]]
name = "{HIERARCHICAL_BUCKET}"
hierarchical = true
[role.writer]
policy = '''{{"Version": "1", "Statement": [{{"Effect": "Allow",
  "Action": ["oss:PutObject", "oss:DeleteObject", "oss:GetObject"],
  "Resource": ["acs:oss:*:*:{rig.BUCKET}/w/*"]}}]}}'''
[key.writer]
id = "{WRITER_ID}"
secret = "{WRITER_SECRET}"
role = "writer"
"""

# Names that a file system and an object store both allow, and that encodings like to break.
ODD_NAMES = [
    "plain.txt",
    "with space.txt",
    "plus+and%percent%20.txt",
    "what?#&=;,@$.txt",
    "quote'\"<>`.txt",
    "back\\slash.txt",
    "数据/文件 一.bin",
    "emoji-🎉.bin",
    "combining-e\u0301-and-\u00e9.txt",
    "deep/er/and/deeper/file",
    "-leading-dash",
    ".hidden",
    "trailing dot.",
    "~tilde*(paren)!",
]


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One server for all checks that change no clock: tokens live an hour."""
    config = rig.dev_config(
        job='role = "AliyunPAIDLCDefaultRole"\ntoken_life = "1h"\nrotate_every = "30m"\nold_tokens = "until_expiry"\n',
        buckets=(rig.BUCKET, OTHER_BUCKET),
    )
    with rig.DevServer(DEV_BIN, tmp_path_factory.mktemp("server"), config + SPECIAL) as running:
        yield running


@pytest.fixture(params=["v1", "v4"])
def bucket(request, server):
    """oss2's bucket, with each signature."""
    return oss2_bucket(server, request.param)


@pytest.fixture
def client(server):
    """The client of alibabacloud-oss-v2."""
    return v2_client(server)


@pytest.fixture
def prefix(request):
    """A prefix of its own for each check."""
    return f"{request.node.name.replace('/', '_').replace('[', '-').replace(']', '')}/"


def oss2_bucket(server, signature="v4", name=rig.BUCKET, key=rig.ADMIN_ID, secret=rig.ADMIN_SECRET, token=None):
    """A bucket of oss2. The endpoint is an address, so oss2 uses path style by itself."""
    if token is not None:
        kinds = {"v1": oss2.AUTH_VERSION_1, "v4": oss2.AUTH_VERSION_4}
        auth = oss2.StsAuth(key, secret, token, auth_version=kinds[signature])
    elif signature == "v1":
        auth = oss2.Auth(key, secret)
    else:
        auth = oss2.AuthV4(key, secret)
    return oss2.Bucket(auth, server.endpoint, name, region=rig.REGION, connect_timeout=30)


def v2_client(server, key=rig.ADMIN_ID, secret=rig.ADMIN_SECRET, token=None, attempts=1):
    """A client of alibabacloud-oss-v2; one attempt, so that a first refusal is seen."""
    config = oss_v2.config.load_default()
    config.credentials_provider = oss_v2.credentials.StaticCredentialsProvider(key, secret, token)
    config.region = rig.REGION
    config.endpoint = server.endpoint
    config.retry_max_attempts = attempts
    return oss_v2.Client(config)
