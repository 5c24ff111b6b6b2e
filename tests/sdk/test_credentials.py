"""Injected credentials, tokens that end, roles that may not, and clocks that are wrong."""

import datetime
import json
import pathlib
import subprocess
import sys
import time

import oss2
import pytest
from alibabacloud_credentials.client import Client as CredentialsClient
from alibabacloud_credentials.models import Config as CredentialsConfig

import conftest
import rig

EXPIRY_CODES = {"SecurityTokenExpired", "InvalidSecurityToken", "InvalidAccessKeyId"}


def injected(server):
    """The triple that the credentials service gives out now."""
    import urllib.request

    with urllib.request.urlopen(server.credentials_uri, timeout=10) as answer:
        return json.load(answer)


def role_bucket(server, signature="v4", name=rig.BUCKET, triple=None):
    triple = triple or injected(server)
    return conftest.oss2_bucket(
        server, signature, name, triple["AccessKeyId"], triple["AccessKeySecret"], triple["SecurityToken"]
    )


def refused_code(call, *arguments):
    with pytest.raises(oss2.exceptions.ServerError) as refused:
        call(*arguments)
    assert refused.value.status == 403
    return refused.value.code


@pytest.fixture
def short_lived(tmp_path, request):
    """A server whose tokens live for seconds; the parameter says what becomes of old ones."""
    file = tmp_path / "injected" / "credentials"
    file.parent.mkdir()
    config = rig.dev_config(
        job='role = "AliyunPAIDLCDefaultRole"\ntoken_life = "4s"\nrotate_every = "2s"\n'
        f'old_tokens = "{request.param}"\ncredentials_file = "{file}"\n',
        buckets=(rig.BUCKET, conftest.OTHER_BUCKET),
    )
    with rig.DevServer(conftest.DEV_BIN, tmp_path, config) as running:
        running.credentials_file = file
        yield running


def test_the_credentials_tool_of_the_uri_type(server):
    client = CredentialsClient(
        CredentialsConfig(type="credentials_uri", credentials_uri=server.credentials_uri)
    )
    credential = client.get_credential()
    assert credential.access_key_id.startswith("STS.")
    assert credential.access_key_secret and credential.security_token
    bucket = role_bucket(
        server,
        triple={
            "AccessKeyId": credential.access_key_id,
            "AccessKeySecret": credential.access_key_secret,
            "SecurityToken": credential.security_token,
        },
    )
    bucket.put_object("by-uri-type", b"x")
    assert bucket.get_object("by-uri-type").read() == b"x"


# A job's script: it asks the default chain and knows nothing of where credentials come from.
JOB = """
import sys
import oss2
from alibabacloud_credentials.client import Client

class Chain(oss2.credentials.CredentialsProvider):
    client = Client()
    def get_credentials(self):
        now = self.client.get_credential()
        return oss2.credentials.Credentials(now.access_key_id, now.access_key_secret, now.security_token)

signature, endpoint, name, region = sys.argv[1:]
auth = {"v1": oss2.ProviderAuth, "v4": oss2.ProviderAuthV4}[signature](Chain())
bucket = oss2.Bucket(auth, endpoint, name, region=region)
bucket.put_object("by-default-chain-" + signature, b"x")
print([entry.key for entry in oss2.ObjectIterator(bucket, prefix="by-default-chain-" + signature)])
"""


@pytest.mark.parametrize("signature", ["v1", "v4"])
def test_the_default_chain_as_a_job_uses_it(server, tmp_path, signature):
    # In a process of its own, since the package reads its variables when it is imported. The chain asks a profile in
    # the home directory and the machine's metadata service before it asks the URI: a check must depend on neither.
    environment = {
        **rig.clean_environment(),
        "ALIBABA_CLOUD_CREDENTIALS_URI": server.credentials_uri,
        "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true",
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", JOB, signature, server.endpoint, rig.BUCKET, rig.REGION],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"['by-default-chain-{signature}']"


def test_the_answer_of_the_service_has_the_documented_form(server):
    triple = injected(server)
    assert set(triple) == {"Code", "AccessKeyId", "AccessKeySecret", "SecurityToken", "Expiration"}
    assert triple["Code"] == "Success"
    datetime.datetime.strptime(triple["Expiration"], "%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("short_lived", ["until_expiry"], indirect=True)
def test_the_injected_file_has_no_code_and_is_rotated(short_lived):
    def read():
        return json.loads(pathlib.Path(short_lived.credentials_file).read_text())

    first = rig.wait_until(short_lived.credentials_file.exists, 10, "credentials file") and read()
    assert set(first) == {"AccessKeyId", "AccessKeySecret", "SecurityToken", "Expiration"}

    def rotated():
        try:
            return read()["SecurityToken"] != first["SecurityToken"]
        except ValueError:  # caught in the middle of a rewrite
            return False

    rig.wait_until(rotated, 20, "rotation of the file")
    role_bucket(short_lived, triple=read()).put_object("by-file", b"x")


@pytest.mark.parametrize("short_lived", ["until_expiry"], indirect=True)
@pytest.mark.parametrize("signature", ["v1", "v4"])
def test_an_expired_token_is_named_so(short_lived, signature):
    triple = injected(short_lived)
    bucket = role_bucket(short_lived, signature, triple=triple)
    bucket.put_object("x", b"x")
    end = datetime.datetime.fromisoformat(triple["Expiration"]).timestamp()
    rig.wait_until(lambda: time.time() > end + 1, 30, "expiry")
    assert refused_code(bucket.get_object, "x") == "SecurityTokenExpired"
    assert role_bucket(short_lived, signature).get_object("x").read() == b"x", "the next token works"


@pytest.mark.parametrize("short_lived", ["refused_at_once"], indirect=True)
def test_a_replaced_token_can_be_refused_before_it_expires(short_lived):
    old = injected(short_lived)
    rig.wait_until(
        lambda: injected(short_lived)["SecurityToken"] != old["SecurityToken"], 20, "rotation"
    )
    assert refused_code(role_bucket(short_lived, triple=old).list_objects) in EXPIRY_CODES


@pytest.mark.parametrize("signature", ["v1", "v4"])
def test_a_torn_triple_is_refused(server, signature):
    triple = injected(server)
    wrong = conftest.oss2_bucket(
        server, signature, rig.BUCKET, rig.ADMIN_ID, rig.ADMIN_SECRET, triple["SecurityToken"]
    )
    assert refused_code(wrong.list_objects) in {
        "AccessKeyIdAndSecurityTokenNotMatch",
        "InvalidSecurityToken",
        "InvalidAccessKeyId",
    }
    made_up = role_bucket(server, signature, triple={**triple, "SecurityToken": "made-up"})
    assert refused_code(made_up.list_objects) == "InvalidSecurityToken"


@pytest.mark.parametrize("signature", ["v1", "v4"])
def test_wrong_secrets_and_unknown_keys(server, signature):
    wrong = conftest.oss2_bucket(server, signature, secret="wrong")
    assert refused_code(wrong.list_objects) == "SignatureDoesNotMatch"
    unknown = conftest.oss2_bucket(server, signature, key="LTAInobody")
    assert refused_code(unknown.list_objects) == "InvalidAccessKeyId"


def test_no_signature_is_no_access(server):
    anonymous = oss2.Bucket(oss2.AnonymousAuth(), server.endpoint, rig.BUCKET)
    assert refused_code(anonymous.list_objects) == "AccessDenied"


@pytest.mark.parametrize("signature", ["v1", "v4"])
def test_the_default_role_sees_the_default_bucket_only(server, signature):
    own = role_bucket(server, signature)
    own.put_object("of-the-role", b"x")
    assert own.get_object("of-the-role").read() == b"x"
    other = role_bucket(server, signature, conftest.OTHER_BUCKET)
    assert refused_code(other.list_objects) == "AccessDenied"
    assert refused_code(other.get_object, "x") == "AccessDenied"
    assert refused_code(other.put_object, "x", b"") == "AccessDenied"


@pytest.mark.parametrize("minutes", [-16, 16])
def test_a_clock_too_far_off_is_refused_v1(server, monkeypatch, minutes):
    bucket = conftest.oss2_bucket(server, "v1")
    skewed = oss2.http_date(int(time.time()) + 60 * minutes)
    monkeypatch.setattr("oss2.utils.http_date", lambda *_: skewed)
    assert refused_code(bucket.list_objects) == "RequestTimeTooSkewed"


@pytest.mark.parametrize("minutes", [-16, 16])
def test_a_clock_too_far_off_is_refused_v4(server, monkeypatch, minutes):
    bucket = conftest.oss2_bucket(server, "v4")
    off = datetime.timedelta(minutes=minutes)

    class Clock(datetime.datetime):
        @classmethod
        def utcnow(cls):
            return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) + off

    monkeypatch.setattr("oss2.auth.datetime", Clock)
    assert refused_code(bucket.list_objects) == "RequestTimeTooSkewed"
    monkeypatch.setattr("oss2.auth.datetime", datetime.datetime)
    bucket.list_objects()
