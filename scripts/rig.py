"""Starts and stops the development server and mounts, for benchmarks and SDK checks. Standard library only.

Everything here is a context manager that ends what it started, by process id, also when the body fails; a mount that
does not go in time is unmounted lazily, so that nothing is left behind.
"""

import base64
import hashlib
import hmac
import http.client
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import urllib.parse

START_SECONDS = 30
STOP_SECONDS = 30
ADMIN_ID = "LTAIadmin"
ADMIN_SECRET = "admin-secret-of-the-development-server"
REGION = "cn-hangzhou"
BUCKET = "workspace-default"
# What the server is called by a client that cannot use an address.
SERVER_NAME = "oss-dev.test"


class Failure(Exception):
    """Something did not start, or not in time; the text holds the end of its log."""


def wait_until(condition, seconds, what):
    """Waits for a condition; the deadline is wide, the steps are short."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not within {seconds} s")
        time.sleep(0.02)
    return value


def stop(process, seconds=STOP_SECONDS):
    """Ends a process that was started here: SIGTERM, then SIGKILL."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return process.returncode


def tail(path, lines=20):
    """The last lines of a log."""
    try:
        return "\n".join(pathlib.Path(path).read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


def dev_config(job="", roles="", buckets=(BUCKET,), admin=True):
    """The TOML of a development server: the first bucket is the workspace's default one."""
    parts = [f'region = "{REGION}"']
    for number, name in enumerate(buckets):
        default = "default = true\n" if number == 0 else ""
        parts.append(f'[[bucket]]\nname = "{name}"\n{default}')
    parts.append(roles or "[role.AliyunPAIDLCDefaultRole]\ndefault_bucket_only = true\n")
    if admin:
        parts.append(
            f'[key.admin]\nid = "{ADMIN_ID}"\nsecret = "{ADMIN_SECRET}"\n'
        )
    if job:
        parts.append(f"[job]\n{job}")
    return "\n".join(parts)


def certificate(directory):
    """A self-signed certificate of 127.0.0.1: its path and its key's.

    It is no CA: then it can be the server's and the trusted one at once.
    """
    files = directory / "tls.pem", directory / "tls.key"
    if not files[0].exists():
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-subj", "/CN=rolefs-dev", "-days", "30", "-out", files[0], "-keyout", files[1]]
        command += ["-addext", f"subjectAltName=IP:127.0.0.1,DNS:{SERVER_NAME},DNS:*.{SERVER_NAME}", "-addext", "basicConstraints=critical,CA:FALSE"]
        done = subprocess.run(command, capture_output=True, check=False, text=True)
        if done.returncode != 0:
            raise Failure(f"openssl made no certificate: {done.stderr}")
    return files


def trust(certificate):
    """The environment in which clients trust it: rustls' platform verifier and OpenSSL; requests; curl."""
    return dict.fromkeys(["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"], str(certificate))


class DevServer:
    """A running `rolefs-dev serve`."""

    def __init__(self, binary, directory, config=None, options=(), data="objects"):
        """`data` is the directory of the objects, from `directory` on; `None` keeps them in memory."""
        self.directory = pathlib.Path(directory)
        self.log = self.directory / "rolefs-dev.log"
        self._data = data and self.directory / data
        self._command = [str(binary), "serve", *(["--data", str(self._data)] if data else [])]
        self._command += ["--listen", "127.0.0.1:0", "--ready-file", str(self.directory / "ready")]
        if config is not None:
            path = self.directory / "dev.toml"
            path.write_text(config)
            self._command += ["--config", str(path)]
        self._command += [str(option) for option in options]
        self.endpoint = None
        self.credentials_uri = None

    def __enter__(self):
        (self._data or self.directory).mkdir(parents=True, exist_ok=True)
        ready = self.directory / "ready"
        ready.unlink(missing_ok=True)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            wait_until(lambda: self._announced(ready), START_SECONDS, "rolefs-dev")
        except Failure as failure:
            stop(self.process)
            raise Failure(f"{failure}\n{tail(self.log)}") from None
        return self

    def _announced(self, ready):
        if self.process.poll() is not None:
            raise Failure(f"rolefs-dev ended with {self.process.returncode}")
        lines = ready.read_text().splitlines() if ready.exists() else []
        if not lines:
            return False
        self.endpoint = lines[0].strip()
        for line in lines[1:]:
            name, _, value = line.partition("=")
            if name.strip() == "ALIBABA_CLOUD_CREDENTIALS_URI":
                self.credentials_uri = value.strip()
        return True

    def __exit__(self, *_):
        stop(self.process)

    @property
    def pid(self):
        """Process id of the server."""
        return self.process.pid

    @property
    def address(self):
        """Host and port of the server."""
        return urllib.parse.urlsplit(self.endpoint).netloc

    def url(self, method, bucket, key, life_seconds=7 * 24 * 3600):
        """A presigned URL (signature V1, path style) of the administrator's key."""
        expires = int(time.time()) + life_seconds
        text = f"{method}\n\n\n{expires}\n/{bucket}/{key}"
        digest = hmac.new(ADMIN_SECRET.encode(), text.encode(), hashlib.sha1).digest()
        query = urllib.parse.urlencode(
            {
                "OSSAccessKeyId": ADMIN_ID,
                "Expires": expires,
                "Signature": base64.b64encode(digest).decode(),
            }
        )
        return f"{self.endpoint.rstrip('/')}/{bucket}/{urllib.parse.quote(key)}?{query}"

    def put_all(self, bucket, objects):
        """Uploads pairs of key and (length, iterable of bytes) over one connection."""
        connection = http.client.HTTPConnection(self.address, timeout=120)
        for key, (length, body) in objects:
            url = urllib.parse.urlsplit(self.url("PUT", bucket, key))
            # No Content-Type: a presigned URL is signed with an empty one.
            connection.putrequest("PUT", f"{url.path}?{url.query}", skip_accept_encoding=True)
            connection.putheader("Content-Length", str(length))
            connection.endheaders()
            for piece in body:
                connection.send(piece)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise Failure(f"PUT {key}: {answer.status} {text[:500]!r}")
        connection.close()


class Mount:
    """A file system served by a child process in the foreground, so that its process id is known.

    `command` is the whole command line; it must serve until SIGTERM or until the mount point is unmounted.
    """

    def __init__(self, command, mountpoint, environment=None, log=None, ends_with_its_mount=True):
        self.ends_with_its_mount = ends_with_its_mount
        self.command = [str(part) for part in command]
        self.path = pathlib.Path(mountpoint)
        self.environment = environment or {}
        self.log = pathlib.Path(log) if log else self.path.with_name(self.path.name + ".log")
        self.process = None

    @classmethod
    def rolefs(cls, binary, server, mountpoint, target=f"oss://{BUCKET}", options=(), environment=None, more=None):
        """A mount of rolefs; with the administrator's key unless the environment names other credentials. `more` is
        added to the environment."""
        mountpoint = pathlib.Path(mountpoint)
        stats = mountpoint.with_name(mountpoint.name + ".metrics")
        log = mountpoint.with_name(mountpoint.name + ".log")
        command = [binary, "mount", "--foreground", "--endpoint", server.endpoint, "--region", REGION]
        command += ["--stats-file", stats, "--log-file", log, *options, mountpoint, target]
        if environment is None:
            environment = {
                "ALIBABA_CLOUD_ACCESS_KEY_ID": ADMIN_ID,
                "ALIBABA_CLOUD_ACCESS_KEY_SECRET": ADMIN_SECRET,
                "ROLEFS_CREDENTIALS": "env",
            }
        mount = cls(command, mountpoint, {**environment, **(more or {})}, log)
        mount.stats = stats
        stats.unlink(missing_ok=True)
        return mount

    def __enter__(self):
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=subprocess.DEVNULL,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**clean_environment(), **self.environment},
            )
        try:
            wait_until(self._answers, START_SECONDS, f"mount of {self.path}")
        except Failure as failure:
            self.__exit__()
            raise Failure(f"{failure}\n{tail(self.log)}") from None
        return self

    def _answers(self):
        if self.process.poll() is not None:
            raise Failure(f"{self.command[0]} ended with {self.process.returncode}")
        return os.path.ismount(self.path)

    def __exit__(self, *_):
        if os.path.ismount(self.path):
            subprocess.run(["umount", self.path], stderr=subprocess.DEVNULL, check=False, timeout=STOP_SECONDS)
        if os.path.ismount(self.path):
            subprocess.run(["umount", "--lazy", self.path], check=False, timeout=STOP_SECONDS)
        try:
            if self.ends_with_its_mount:
                self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        stop(self.process)

    @property
    def pid(self):
        """Process id of the server of the mount."""
        return self.process.pid


def clean_environment():
    """This process's environment without anything that tells credentials or proxies."""
    prefixes = ("ALIBABA_CLOUD_", "ROLEFS_", "OSS_")
    proxies = {"http_proxy", "https_proxy", "all_proxy"}
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(prefixes) and name.lower() not in proxies
    }


def metrics(path):
    """Values of a file of metrics in Prometheus text, by name; empty if there is no such file."""
    try:
        lines = pathlib.Path(path).read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def cpu_times(pid):
    """User and system CPU-seconds of a process so far (proc(5): fields 14 and 15, in ticks)."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    ticks = os.sysconf("SC_CLK_TCK")
    return {"user": int(fields[11]) / ticks, "system": int(fields[12]) / ticks}


def peak_rss_bytes(pid):
    """Largest resident set of a process so far."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def temporary_directory(prefix):
    """A directory that goes away with its context, unless something is still mounted inside it."""
    return tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)
