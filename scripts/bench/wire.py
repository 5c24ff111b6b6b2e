"""Subjects without a file system: raw, curl and the SDKs."""

import dataclasses
import json
import pathlib
import sys

import rig
import uploads
from bench import Skip
from tasks import MIB, Files, Listing, Mapped, Random, Sequential, Shared

# One GET at a time over the slow link: 20 ms, and 1 ms for 100 KiB.
CLOUD_GETS_PER_SECOND = 45


@dataclasses.dataclass(frozen=True)
class Raw:
    """The same HTTP client as the mount's, and nothing else.

    `one` is the least that any client reaches: one GET at a time; of a mapping, one GET for each fault that the
    kernel's own read-ahead widens to 1 MiB.
    """

    one: bool = False

    def run(self, bench, task):
        if isinstance(task, uploads.TASKS):
            return uploads.raw(bench, task)
        if isinstance(task, Listing):
            url = bench.server.url("GET", rig.BUCKET, "")
            sample = bench.measure(["raw", "list", "--url", url, "--prefix", task.prefix])
            if sample["operations"] != bench.scale.many:
                raise rig.Failure(f"raw found {sample['operations']} keys of {bench.scale.many}")
            return sample | {"gets": 0, "heads": 0, "lists": -(-bench.scale.many // 1000), "fetched": 0}
        sample = self._objects(bench, task)
        return sample | {"gets": sample["operations"], "heads": 0, "lists": 0, "fetched": sample["bytes"]}

    def _objects(self, bench, task):
        if isinstance(task, Files):
            names = task.names(bench.scale)
            names = names[: boxed_files(bench, 1)] if self.one else names
            urls = bench.list_of("urls", [bench.url(f"small/{name}") for name in names])
            return bench.measure(["raw", "small", "--list", urls, "--in-flight", 1 if self.one else task.threads])
        if isinstance(task, Random):
            return self._random(bench, task.key, task.block, task.count(bench.scale), task.threads, bench.scale.big)
        if self.one:
            count = max(20, int(20 * bench.scale.box_seconds))
            return self._random(bench, task.keys[0], MIB, count, 1, task.size(bench.scale))
        command = ["raw", "sequential", "--size", task.size(bench.scale)]
        for key in task.keys:
            command += ["--url", bench.url(key)]
        samples = [
            bench.measure([*command, "--connections", number]) | {"in_flight": number} for number in bench.link.in_flight
        ]
        return max(samples, key=lambda sample: sample["bytes"] / sample["seconds"])

    def _random(self, bench, key, block, count, in_flight, size):
        command = ["raw", "random", "--url", bench.url(key), "--size", size, "--block", block]
        return bench.measure([*command, "--count", count, "--in-flight", in_flight])


@dataclasses.dataclass(frozen=True)
class Curl:
    """The command that everybody has: one connection per object, or ranges in parallel."""

    parallel: bool = False

    def run(self, bench, task):
        if isinstance(task, Files):
            names = task.names(bench.scale)[: boxed_files(bench, task.threads)]
            transfers, parallel = [(bench.url(f"small/{name}"), None) for name in names], task.threads
        elif isinstance(task, Sequential):
            size = task.size(bench.scale)
            parts = bench.link.in_flight[-1] // len(task.keys) if self.parallel else 1
            share = -(-size // parts)
            ranges = [f"{start}-{min(start + share, size) - 1}" for start in range(0, size, share)]
            transfers = [(bench.url(key), range_ if self.parallel else None) for key in task.keys for range_ in ranges]
            parallel = len(transfers)
        else:
            raise Skip("not what curl is for")
        box = str(bench.scale.box_seconds)
        lines = [] if parallel == 1 else ["parallel", "parallel-immediate", f"parallel-max = {parallel}"]
        for number, (url, range_) in enumerate(transfers):
            lines += ["next"] if number and not isinstance(task, Files) else []
            lines += [f'url = "{url}"', 'output = "/dev/null"']
            lines += [f'range = "{range_}"'] if range_ else []
            if not number or not isinstance(task, Files):
                lines += ["fail", 'write-out = "%{size_download}\\n"']
                lines += [] if isinstance(task, Files) else [f"max-time = {box}"]
        sample = bench.measure_program(["curl", "--silent", "--no-progress-meter", "--config", bench.list_of("curl", lines)])
        sizes = [int(line) for line in sample.pop("output").split()]
        gets = len(sizes)
        return sample | {"bytes": sum(sizes), "operations": gets, "gets": gets, "heads": 0, "lists": 0, "fetched": sum(sizes)}


@dataclasses.dataclass(frozen=True)
class Sdk:
    """A Python client, in `sdk_worker.py`; what it did within the box counts."""

    client: str

    def run(self, bench, task):
        if isinstance(task, uploads.TASKS):
            return uploads.by_sdk(bench, task, self.client)
        work = {"client": self.client, "endpoint": bench.server.endpoint, "region": rig.REGION, "bucket": rig.BUCKET}
        work |= {"id": rig.ADMIN_ID, "secret": rig.ADMIN_SECRET, "seconds": bench.scale.box_seconds}
        if isinstance(task, Sequential):
            work |= {"kind": "stream", "keys": list(task.keys), "threads": len(task.keys)}
        elif isinstance(task, Files):
            keys = [f"small/{name}" for name in task.names(bench.scale)]
            work |= {"kind": "small", "keys": keys, "threads": task.threads}
        elif isinstance(task, Listing):
            work |= {"kind": "list", "keys": [task.prefix], "threads": 1}
        elif isinstance(task, Mapped | Random | Shared):
            raise Skip("not what the SDK is for")
        command = [sys.executable]
        if self.client == "osstorchconnector":
            command = self._with_names(bench, work) + command
        worker = pathlib.Path(__file__).with_name("sdk_worker.py")
        job = bench.directory / "sdk.json"
        job.write_text(json.dumps(work))
        sample = bench.measure_worker([*command, worker, job])
        if "skip" in sample:
            raise Skip(sample["skip"])
        return sample

    @staticmethod
    def _with_names(bench, work):
        """The connector takes the bucket's name in the host's only, so it gets names for the server: in a namespace of
        its own, so that nobody else's names change."""
        hosts = bench.directory / "hosts"
        hosts.write_text(f"127.0.0.1 localhost {rig.SERVER_NAME} {rig.BUCKET}.{rig.SERVER_NAME}\n")
        work["endpoint"] = work["endpoint"].replace("127.0.0.1", rig.SERVER_NAME)
        script = 'mount --bind "$1" /etc/hosts && shift && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", script, "sh", hosts]


def boxed_files(bench, threads):
    """How many small files fit the box of a yardstick that cannot stop by itself."""
    per_second = CLOUD_GETS_PER_SECOND * threads if "--first-byte" in bench.link.options else 4000
    return max(threads, min(bench.scale.files, int(per_second * bench.scale.box_seconds)))
