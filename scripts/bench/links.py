"""The links between client and server."""

import dataclasses
import subprocess

import rig

# What the server is called by a client that cannot use an address.
SERVER_NAME = "oss-dev.test"

@dataclasses.dataclass(frozen=True)
class Link:
    """Options of the development server, and how many GETs in flight raw is at its best with."""

    options: tuple
    in_flight: tuple
    tls: bool = False


LINKS = {
    # Nothing shaped. The best number depends on the machine, so raw is measured with each and the best counts.
    "loopback": Link((), (4, 8, 16)),
    # A region's internal network as a job sees it: 20 ms to the first byte, 100 MB/s per connection.
    "cloud": Link(("--first-byte", "20ms", "--bandwidth", "100MB"), (32,)),
    # Loopback over HTTPS.
    "tls": Link((), (4, 8, 16), tls=True),
}


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
            raise rig.Failure(f"openssl made no certificate: {done.stderr}")
    return files


def server(link, binary, directory, fill=0):
    """The server of a link, and the environment in which clients trust it. With `fill` it has so many tiny objects
    below `many/`, in memory, and nothing else."""
    options, environment = list(link.options), {}
    if link.tls:
        cert, key = certificate(directory)
        options += ["--tls-cert", cert, "--tls-key", key]
        # rustls' platform verifier and OpenSSL; requests; curl.
        environment = dict.fromkeys(["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"], str(cert))
    if fill:
        options += ["--fill", f"{rig.BUCKET}/many/={fill}"]
    data = None if fill else directory / "objects"
    return rig.DevServer(binary, directory, rig.dev_config(), options, data=data), environment
