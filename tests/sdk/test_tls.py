"""The development server over HTTPS, as oss2 and a mount see it: both look at the certificate."""

import http.server
import json
import os
import ssl
import subprocess
import threading

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


@pytest.fixture
def credentials_over_https(tmp_path):
    """A service of credentials over HTTPS: its URL, and the environment that trusts it."""
    certificate, key = rig.certificate(tmp_path)
    document = {"Code": "Success", "AccessKeyId": "STS.tls", "AccessKeySecret": "s", "SecurityToken": "t", "Expiration": "2099-01-01T00:00:00Z"}

    class Service(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://127.0.0.1:{server.server_address[1]}/x", rig.trust(certificate)
        server.shutdown()


@pytest.mark.parametrize("way", ["variable", "profile"])
def test_a_service_of_credentials_is_asked_over_https_with_the_systems_roots(credentials_over_https, tmp_path, way):
    url, trusted = credentials_over_https
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true"}
    if way == "variable":
        environment["ALIBABA_CLOUD_CREDENTIALS_URI"] = url
    else:
        profile = {"name": "tls", "mode": "CredentialsURI", "credentials_uri": url}
        (tmp_path / ".aliyun").mkdir()
        (tmp_path / ".aliyun/config.json").write_text(json.dumps({"current": "tls", "profiles": [profile]}))
    show = [conftest.ROLEFS_BIN, "credentials", "show", "--offline", "--json"]
    told = subprocess.run(show, env=environment | trusted, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr
    assert json.loads(told.stdout)["expiration"] == "2099-01-01T00:00:00Z"
    told = subprocess.run(show, env=environment, capture_output=True, text=True)
    assert told.returncode != 0 and "ertificate" in told.stderr, told.stdout + told.stderr
