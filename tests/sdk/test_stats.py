"""Requests can be counted from outside the server's process."""

import alibabacloud_oss_v2 as oss_v2

import conftest
import rig


def test_every_request_is_counted(tmp_path):
    stats = tmp_path / "stats"
    options = ["--bucket", rig.BUCKET, "--stats-file", stats, "--fast-etags"]
    with rig.DevServer(conftest.DEV_BIN, tmp_path, options=options, data=None) as server:
        client = conftest.v2_client(server)
        client.put_object(oss_v2.PutObjectRequest(bucket=rig.BUCKET, key="k", body=b"12345"))
        for position in (0, 2):
            request = oss_v2.AppendObjectRequest(bucket=rig.BUCKET, key="log", position=position, body=b"ab")
            client.append_object(request)

        def count(name):
            return rig.metrics(stats).get(name)

        rig.wait_until(lambda: count('requests{operation="AppendObject"}') == 2, 20, "the second append is counted")
        assert count('requests{operation="PutObject"}') == 1
        assert count('requests{operation="CopyObject"}') == 0
        assert count("body_bytes_received") == 9
