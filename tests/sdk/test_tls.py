"""The development server over HTTPS, as oss2 and a mount see it: both look at the certificate."""

import os

import conftest
import oss2
import pytest
import rig


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    """A server that speaks HTTPS, and the environment that trusts it."""
    directory = tmp_path_factory.mktemp("tls")
    certificate, key = rig.certificate(directory)
    options = ["--tls-cert", certificate, "--tls-key", key]
    with rig.DevServer(conftest.DEV_BIN, directory, rig.dev_config(), options, data=None) as server:
        yield server, rig.trust(certificate)


def bucket(server, monkeypatch, trusted):
    for name, value in trusted.items():
        monkeypatch.setenv(name, value)
    auth = oss2.AuthV4(rig.ADMIN_ID, rig.ADMIN_SECRET)
    return oss2.Bucket(auth, server.endpoint, rig.BUCKET, region=rig.REGION, is_path_style=True)


def test_oss2_trusts_the_certificate_that_it_is_told_of(secure, monkeypatch):
    server, trusted = secure
    assert server.endpoint.startswith("https://")
    content = os.urandom(3 << 20)
    bucket(server, monkeypatch, trusted).put_object("secret.bin", content)
    assert bucket(server, monkeypatch, trusted).get_object("secret.bin").read() == content


def test_oss2_refuses_a_certificate_that_nobody_signed(secure, monkeypatch):
    server, _ = secure
    with pytest.raises(oss2.exceptions.RequestError, match="(?i)certificate"):
        bucket(server, monkeypatch, {}).get_object("secret.bin")


@pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"), reason="mounting needs root and /dev/fuse")
def test_a_mount_reads_over_https_and_only_with_trust(secure, monkeypatch, tmp_path):
    server, trusted = secure
    content = os.urandom(5 << 20)
    bucket(server, monkeypatch, trusted).put_object("mounted.bin", content)
    with rig.Mount.rolefs(conftest.ROLEFS_BIN, server, tmp_path / "trusting", more=trusted) as mount:
        assert (mount.path / "mounted.bin").read_bytes() == content
    for name in trusted:
        monkeypatch.delenv(name)
    with pytest.raises(rig.Failure, match="(?i)certificate"):
        with rig.Mount.rolefs(conftest.ROLEFS_BIN, server, tmp_path / "distrusting"):
            pass
