"""Reads or writes with a Python client, for `scripts/bench.sh`: `sdk_worker.py JOB.json` prints a report as `rolefs-bench` does.

The work stops when the job's seconds are over; what was read or written by then counts.
"""

import importlib.util
import json
import os
import pathlib
import sys
import threading
import time
import types

CHUNK = 1 << 20


class Unusable(Exception):
    """The client is not installed, or cannot do this; the text says why."""


class Oss2:
    """`oss2`, version 2 of the SDK that most programs use."""

    def __init__(self, job):
        import oss2

        self.oss2 = oss2
        auth = oss2.ProviderAuthV4(oss2.credentials.StaticCredentialsProvider(job["id"], job["secret"]))
        self.bucket = oss2.Bucket(auth, job["endpoint"], job["bucket"], region=job["region"], is_path_style=True)

    def stream(self, key):
        answer = self.bucket.get_object(key)
        while piece := answer.read(CHUNK):
            yield len(piece)

    def put(self, key, job):
        self.bucket.put_object(key, os.urandom(job["size"]))
        yield job["size"]

    def upload(self, key, job):
        store = self.oss2.ResumableStore(root=job["directory"])
        how = {"store": store, "multipart_threshold": job["part_bytes"], "part_size": job["part_bytes"]}
        self.oss2.resumable_upload(self.bucket, key, job["source"], num_threads=job["connections"], **how)
        yield os.path.getsize(job["source"])

    def list(self, prefix):
        for entry in self.oss2.ObjectIteratorV2(self.bucket, prefix=prefix, delimiter="/", max_keys=1000):
            yield len(entry.key)


class OssV2:
    """`alibabacloud-oss-v2`, the SDK's rewrite."""

    def __init__(self, job):
        import alibabacloud_oss_v2 as oss

        self.oss, self.name = oss, job["bucket"]
        config = oss.config.load_default()
        config.credentials_provider = oss.credentials.StaticCredentialsProvider(job["id"], job["secret"])
        config.region, config.endpoint, config.use_path_style = job["region"], job["endpoint"], True
        self.client = oss.Client(config)

    def stream(self, key):
        answer = self.client.get_object(self.oss.GetObjectRequest(bucket=self.name, key=key))
        for piece in answer.body.iter_bytes(block_size=CHUNK):
            yield len(piece)

    def put(self, key, job):
        self.client.put_object(self.oss.PutObjectRequest(bucket=self.name, key=key, body=os.urandom(job["size"])))
        yield job["size"]

    def upload(self, key, job):
        uploader = self.client.uploader(part_size=job["part_bytes"], parallel_num=job["connections"])
        uploader.upload_file(self.oss.PutObjectRequest(bucket=self.name, key=key), filepath=job["source"])
        yield os.path.getsize(job["source"])

    def list(self, prefix):
        pages = self.client.list_objects_v2_paginator()
        request = self.oss.ListObjectsV2Request(bucket=self.name, prefix=prefix, delimiter="/", max_keys=1000)
        for page in pages.iter_page(request):
            for entry in page.contents or []:
                yield len(entry.key)


class Connector:
    """`osstorchconnector`: its reader of checkpoints, and its iterator of data sets for small files.

    Only its data classes need PyTorch; its client is loaded without them.
    """

    def __init__(self, job):
        spec = importlib.util.find_spec("osstorchconnector")
        if spec is None:
            raise Unusable("osstorchconnector is not installed")
        package = types.ModuleType("osstorchconnector")
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules["osstorchconnector"] = package
        from osstorchconnector._oss_client import OssClient

        self.name = job["bucket"]
        directory = pathlib.Path(job["directory"])
        credentials = directory / "connector.credentials"
        credentials.write_text(json.dumps({"AccessKeyId": job["id"], "AccessKeySecret": job["secret"]}))
        config = directory / "connector.config"
        config.write_text(json.dumps({"logLevel": 3, "logPath": str(directory / "connector.log")}))
        self.client = OssClient(job["endpoint"], str(credentials), str(config), "bench", 0, 1, region=job["region"])

    def stream(self, key):
        answer = self.client.get_object(self.name, key, type=1)
        while piece := answer.read(CHUNK):
            yield len(piece)

    def small(self, keys):
        from osstorchconnector._oss_connector import new_data_object

        objects = [new_data_object(f"oss://{self.name}/{key}", 0, "") for key in keys]
        for entry in self.client.list_objects_from_uris_with_preload(objects):
            yield len(entry.read())

    def list(self, prefix):
        for entry in self.client.list_objects(self.name, prefix):
            yield len(entry.key)


CLIENTS = {"oss2": Oss2, "alibabacloud-oss-v2": OssV2, "osstorchconnector": Connector}


class Count:
    """Bytes and operations of all threads, until the time is over."""

    def __init__(self, seconds):
        self.ends = time.monotonic() + seconds
        self.bytes = self.operations = 0
        self.lock = threading.Lock()

    def over(self):
        return time.monotonic() >= self.ends

    def add(self, size, operations=0):
        with self.lock:
            self.bytes += size
            self.operations += operations


def work(client, job, count):
    """Does the job with as many threads as it says."""
    if job["kind"] == "list":
        for _ in client.list(job["keys"][0]):
            count.add(0, 1)
            if count.over():
                return
        return
    if job["kind"] == "small" and hasattr(client, "small"):
        for size in client.small(job["keys"]):
            count.add(size, 1)
            if count.over():
                return
        return
    keys, lock, failures = iter(job["keys"]), threading.Lock(), []
    writing = job["kind"] in ("put", "upload")

    def reader():
        try:
            while not count.over():
                with lock:
                    key = next(keys, None)
                if key is None:
                    return
                for size in getattr(client, job["kind"])(key, job) if writing else client.stream(key):
                    count.add(size)
                    if count.over() and not writing:
                        return
                count.add(0, 1)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=reader) for _ in range(job["threads"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def peak_rss_bytes():
    """VmHWM; what a parent is told begins with the parent's own memory."""
    status = pathlib.Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) << 10


def main():
    job = json.loads(pathlib.Path(sys.argv[1]).read_text())
    job["directory"] = str(pathlib.Path(sys.argv[1]).parent)
    try:
        client = CLIENTS[job["client"]](job)
        before, started = os.times(), time.monotonic()
        count = Count(job["seconds"])
        work(client, job, count)
    except (Unusable, ImportError) as error:
        print(json.dumps({"skip": str(error)}))
    except Exception as error:
        print(json.dumps({"skip": f"{type(error).__name__}: {str(error)[:200]}"}))
    else:
        seconds, after = time.monotonic() - started, os.times()
        report = {"bytes": count.bytes, "operations": count.operations, "seconds": seconds}
        report |= {"user_seconds": after.user - before.user, "system_seconds": after.system - before.system}
        report["peak_rss_bytes"] = peak_rss_bytes()
        print(json.dumps(report))
    sys.stdout.flush()
    # Clients with threads of their own may hang in their destructors.
    os._exit(0)


if __name__ == "__main__":
    main()
