"""The two Python examples of the platform's page on roles of jobs, with credentials from `rolefs credentials`.

The scripts are those of the page; only the places are filled in that it tells to fill in. MaxCompute is played by a small
server that checks who asks.
"""

import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import subprocess
import sys
import threading
import urllib.parse
import urllib.request

import conftest
import pytest
import rig

MAXCOMPUTE = """
from alibabacloud_credentials import providers
from odps.accounts import CredentialProviderAccount
from odps import ODPS

if __name__ == '__main__':
    account = CredentialProviderAccount(providers.DefaultCredentialsProvider())
    o = ODPS(
        account=account,
        project="{odps_project}", # Replace {odps_project} with the name of your project.
        endpoint="{odps_endpoint}" # Replace {odps_endpoint} with the endpoint of the region where your project resides.
    )
    for t in o.list_tables():
        print(t)
"""

OSS = """
import oss2
from alibabacloud_credentials.client import Client
from alibabacloud_credentials import providers
from itertools import islice

auth = oss2.ProviderAuth(providers.DefaultCredentialsProvider())
bucket = oss2.Bucket(auth,
                     '{oss_endpoint}', # Replace {oss_endpoint} with the endpoint of the region where your OSS bucket resides.
                     '{oss_bucket}' # Replace {oss_bucket} with the name of your OSS bucket.
                     )

for b in islice(oss2.ObjectIterator(bucket), 10):
    print(b.key)
"""

TABLES = """<?xml version="1.0"?><Tables><Marker/><MaxItems>1000</MaxItems>
<Table><Name>one</Name><Owner>ALIYUN$owner</Owner></Table>
<Table><Name>two</Name><Owner>ALIYUN$owner</Owner></Table></Tables>"""
PROJECT = "my_project"


class MaxCompute(http.server.BaseHTTPRequestHandler):
    """Answers a listing of tables whose signature is that of the set that it names."""

    def do_GET(self):
        path, _, query = self.path.partition("?")
        known = self.server.known()
        if self.headers["authorization-sts-token"] != known["SecurityToken"]:
            return self.answer(401, "<Error><Code>Unauthorized</Code></Error>")
        if self.headers["Authorization"] != self.signature(path, query, known):
            return self.answer(403, "<Error><Code>SignatureNotMatch</Code></Error>")
        self.server.asked.append(path)
        if path.endswith("/tables"):
            return self.answer(200, TABLES)
        # The client asks whether the tenant has schemas, in JSON; it has none.
        self.answer(200, "{}" if path.endswith("/tenants") else "<Project/>")

    def signature(self, path, query, known):
        lines = [self.command, self.headers.get("Content-MD5", ""), self.headers.get("Content-Type", "")]
        lines.append(self.headers["Date"])
        special = {name.lower(): value for name, value in self.headers.items()}
        lines += [f"{name}:{special[name]}" for name in sorted(special) if name.startswith("x-odps-")]
        pairs = sorted(urllib.parse.parse_qsl(query, keep_blank_values=True))
        joined = "&".join(f"{name}={value}" if value else name for name, value in pairs)
        resource = path.removeprefix("/api")
        lines.append(f"{resource}?{joined}" if joined else resource)
        secret = known["AccessKeySecret"].encode()
        digest = hmac.new(secret, "\n".join(lines).encode(), hashlib.sha1).digest()
        return f"ODPS {known['AccessKeyId']}:{base64.b64encode(digest).decode()}"

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def maxcompute(server):
    def known():
        with urllib.request.urlopen(server.credentials_uri, timeout=10) as answer:
            return json.load(answer)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), MaxCompute) as running:
        running.known, running.asked = known, []
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def environment(home, **more):
    """What a job has, without keys of its own."""
    return {**rig.clean_environment(), "HOME": str(home), **more}


def under_exec(server, home, script):
    """A job's startup command with `rolefs credentials exec` before it."""
    command = [conftest.ROLEFS_BIN, "credentials", "exec", "--", sys.executable, "-W", "ignore", script]
    more = {"ALIBABA_CLOUD_CREDENTIALS_URI": server.credentials_uri}
    return run(command, environment(home, **more))


def under_serve(server, home, script):
    """A script beside `rolefs credentials serve`, which knows the variable that it prints."""
    with contextlib.ExitStack() as stack:
        serving = subprocess.Popen(
            [conftest.ROLEFS_BIN, "credentials", "serve", "--credentials", f"uri:{server.credentials_uri}"],
            env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        stack.callback(rig.stop, serving)
        name, _, uri = serving.stdout.readline().strip().removeprefix("export ").partition("=")
        return run([sys.executable, "-W", "ignore", script], environment(home, **{name: uri}))


def run(command, environment):
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("under", [under_exec, under_serve])
def test_the_example_of_oss_lists_the_bucket(server, tmp_path, under):
    conftest.oss2_bucket(server).put_object("of-the-example", b"x")
    script = tmp_path / "xx.py"
    script.write_text(
        OSS.replace("'{oss_endpoint}'", repr(server.endpoint)).replace("'{oss_bucket}'", repr(rig.BUCKET))
    )
    done = under(server, tmp_path, script)
    assert done.returncode == 0, done.stderr
    listed = [entry.key for entry in conftest.oss2_bucket(server).list_objects(max_keys=10).object_list]
    assert done.stdout.split("\n")[:-1] == listed


@pytest.mark.parametrize("under", [under_exec, under_serve])
def test_the_example_of_maxcompute_lists_tables(server, maxcompute, tmp_path, under):
    script = tmp_path / "xx.py"
    endpoint = f"http://127.0.0.1:{maxcompute.server_port}/api"
    script.write_text(
        MAXCOMPUTE.replace('"{odps_project}"', repr(PROJECT)).replace('"{odps_endpoint}"', repr(endpoint))
    )
    done = under(server, tmp_path, script)
    assert done.returncode == 0, done.stderr
    # A table is printed as the object that it is.
    assert done.stdout.count("odps.models.table.Table object") == 2, done.stdout
    assert any(path.endswith(f"/projects/{PROJECT}/tables") for path in maxcompute.asked)


def test_a_profile_or_another_role_of_the_machine_does_not_come_before(server, tmp_path):
    """The chains of the SDKs ask files and variables before the service."""
    (tmp_path / ".alibabacloud").mkdir()
    wrong = "[default]\ntype = access_key\naccess_key_id = LTAIwrong\naccess_key_secret = wrong\n"
    (tmp_path / ".alibabacloud" / "credentials.ini").write_text(wrong)
    script = tmp_path / "xx.py"
    script.write_text(
        "from alibabacloud_credentials import providers\n"
        "from alibabacloud_credentials.client import Client\n"
        "print(providers.DefaultCredentialsProvider().get_credentials().get_access_key_id())\n"
        "print(Client().get_credential().access_key_id)\n"
    )
    done = under_exec(server, tmp_path, script)
    assert done.returncode == 0, done.stderr
    with urllib.request.urlopen(server.credentials_uri, timeout=10) as answer:
        assert set(done.stdout.split()) == {json.load(answer)["AccessKeyId"]}
