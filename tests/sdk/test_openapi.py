"""STS, AIWorkSpace and the metadata of an instance, as the official clients speak to them."""

import json
import subprocess
import sys

import pytest
from alibabacloud_aiworkspace20210204 import models
from alibabacloud_aiworkspace20210204.client import Client as Workspaces
from alibabacloud_credentials import provider as providers
from alibabacloud_tea_openapi.models import Config

import conftest
import rig

WORKSPACE = "4711"
ACCOUNT = "1234567890123456"
READER = f"acs:ram::{ACCOUNT}:role/reader"
OIDC = f"acs:ram::{ACCOUNT}:oidc-provider/ack"
TOKEN = "jwt-of-the-pod"
ROLES = f"""
[role.AliyunPAIDLCDefaultRole]
default_bucket_only = true
[role.reader]
policies = ["AliyunOSSReadOnlyAccess"]
oidc_provider = "{OIDC}"
oidc_token = "{TOKEN}"
"""
JOB = 'role = "AliyunPAIDLCDefaultRole"\ntoken_life = "1h"\nrotate_every = "1h"\nmetadata_v1 = false\n'


def config():
    return f'workspace = "{WORKSPACE}"\n' + rig.dev_config(job=JOB, roles=ROLES)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    with rig.DevServer(conftest.DEV_BIN, tmp_path_factory.mktemp("openapi"), config(), data=None) as running:
        yield running


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    """The clients of STS speak HTTPS only."""
    directory = tmp_path_factory.mktemp("sts")
    certificate, key = rig.certificate(directory)
    options = ["--tls-cert", certificate, "--tls-key", key]
    with rig.DevServer(conftest.DEV_BIN, directory, config(), options, data=None) as running:
        yield running, {**rig.clean_environment(), **rig.trust(certificate), "HOME": str(directory)}


def workspaces(server, key=rig.ADMIN_ID, secret=rig.ADMIN_SECRET, token=None):
    config = Config(access_key_id=key, access_key_secret=secret, security_token=token)
    config.endpoint = server.endpoint.removeprefix("http://")
    config.protocol = "http"
    config.region_id = rig.REGION
    return Workspaces(config)


def default_storage(client, workspace=WORKSPACE):
    request = models.ListConfigsRequest(config_keys="modelExportPath")
    body = client.list_configs(workspace, request).body
    return [(entry.config_key, entry.config_value) for entry in body.configs], body.total_count


def test_the_workspaces_client_finds_the_default_storage(job):
    found, count = default_storage(workspaces(job))
    assert found == [("modelExportPath", f"oss://{rig.BUCKET}.oss-{rig.REGION}-internal.aliyuncs.com/")]
    assert count == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"secret": "wrong"}, "SignatureDoesNotMatch"),
        ({"key": "LTAInobody"}, "InvalidAccessKeyId.NotFound"),
        ({"token": "made-up"}, "InvalidSecurityToken.Malformed"),
        ({"workspace": "1"}, "WorkspaceNotExist"),
    ],
)
def test_the_workspaces_client_is_refused_by_name(job, change, code):
    workspace = change.pop("workspace", WORKSPACE)
    with pytest.raises(Exception, match=code):
        default_storage(workspaces(job, **change), workspace)


def test_a_role_without_the_right_may_not_ask(job):
    import urllib.request

    with urllib.request.urlopen(job.credentials_uri, timeout=10) as answer:
        triple = json.load(answer)
    with pytest.raises(Exception, match="NoPermission"):
        default_storage(
            workspaces(job, triple["AccessKeyId"], triple["AccessKeySecret"], triple["SecurityToken"])
        )


# In a process of its own: what is trusted is read from the environment.
STS = """
import json, sys
from alibabacloud_credentials import provider
kind, endpoint, more = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
kinds = {"arn": provider.RamRoleArnCredentialsProvider, "oidc": provider.OIDCRoleArnCredentialsProvider}
set = kinds[kind](sts_endpoint=endpoint, role_session_name="me", **more).get_credentials()
print(json.dumps([set.get_access_key_id(), set.get_access_key_secret(), set.get_security_token()]))
"""


def sts(secure, kind, **more):
    server, environment = secure
    host = server.endpoint.removeprefix("https://")
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", STS, kind, host, json.dumps(more)],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )


def test_the_credentials_tool_takes_a_role_by_a_key(secure):
    done = sts(
        secure, "arn", access_key_id=rig.ADMIN_ID, access_key_secret=rig.ADMIN_SECRET, role_arn=READER
    )
    assert done.returncode == 0, done.stderr
    key, _, token = json.loads(done.stdout)
    assert key.startswith("STS.") and token
    done = sts(secure, "arn", access_key_id=rig.ADMIN_ID, access_key_secret="wrong", role_arn=READER)
    assert "SignatureDoesNotMatch" in done.stderr


def test_the_credentials_tool_takes_a_role_by_a_token(secure, tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN)
    more = {"role_arn": READER, "oidc_provider_arn": OIDC, "oidc_token_file_path": str(file)}
    done = sts(secure, "oidc", **more)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0].startswith("STS.")
    file.write_text("made-up")
    assert "AuthenticationFail.OIDCToken.Invalid" in sts(secure, "oidc", **more).stderr


def test_the_credentials_tool_asks_the_metadata_of_an_instance(job, monkeypatch):
    role = providers.EcsRamRoleCredentialsProvider(disable_imds_v1=True, async_update_enabled=False)
    host = job.credentials_uri.removeprefix("http://").split("/")[0]
    monkeypatch.setattr(role, "_EcsRamRoleCredentialsProvider__metadata_service_host", host)
    assert role.get_credentials().get_access_key_id().startswith("STS.")
