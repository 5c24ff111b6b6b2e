"""The links between client and server."""

import dataclasses

import rig

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


def server(link, binary, directory, fill=0, memory=False):
    """The server of a link, and the environment in which clients trust it. With `fill` it has so many tiny objects
    below `many/`, in memory, and nothing else; with `memory` it has nothing, and keeps in memory what it gets."""
    options, environment = list(link.options), {}
    if link.tls:
        certificate, key = rig.certificate(directory)
        options += ["--tls-cert", certificate, "--tls-key", key]
        environment = rig.trust(certificate)
    if fill:
        options += ["--fill", f"{rig.BUCKET}/many/={fill}"]
    if memory:
        # The MD5 of what is uploaded would take a core, and OSS makes it elsewhere.
        options += ["--fast-etags"]
    data = None if fill or memory else directory / "objects"
    return rig.DevServer(binary, directory, rig.dev_config(), options, data=data), environment
