"""What a writing mount needs, by alibabacloud-oss-v2."""

import os

import alibabacloud_oss_v2 as oss_v2

import conftest
import rig
from test_oss_v2 import get, put, refusal

PART = 100 * 1024


def request(kind, key=None, bucket=rig.BUCKET, **options):
    options = {"key": key, **options} if key is not None else options
    return getattr(oss_v2, kind + "Request")(bucket=bucket, **options)


def test_appends(client, prefix):
    key = prefix + "log"
    one = client.append_object(request("AppendObject", key, position=0, body=b"one", metadata={"a": "1"}))
    assert one.next_position == 3
    two = client.append_object(request("AppendObject", key, position=3, body=b"+two"))
    assert two.next_position == 7
    error = refusal(client.append_object, request("AppendObject", key, position=3, body=b"late"))
    assert (error.status_code, error.code) == (409, "PositionNotEqualToLength")
    assert error.headers["x-oss-next-append-position"] == "7"
    got = get(client, key)
    assert (got.body.content, got.object_type, got.next_append_position) == (b"one+two", "Appendable", 7)
    assert (got.hash_crc64, got.metadata) == (two.hash_crc64, {"a": "1"})
    with client.append_file(rig.BUCKET, key) as file:
        file.write(b"+three")
    assert get(client, key).body.content == b"one+two+three"
    put(client, key, b"normal")
    error = refusal(client.append_object, request("AppendObject", key, position=6, body=b"x"))
    assert (error.status_code, error.code) == (409, "ObjectNotAppendable")


def test_symlinks(client, prefix):
    target, link = prefix + "target", prefix + "link"
    client.put_symlink(request("PutSymlink", link, target=target, metadata={"mine": "yes"}))
    error = refusal(get, client, link)
    assert (error.status_code, error.code, error.ec) == (404, "SymlinkTargetNotExist", "0026-00000012")
    made = put(client, target, b"content")
    got = get(client, link)
    assert (got.body.content, got.object_type, got.etag) == (b"content", "Symlink", made.etag)
    told = client.get_symlink(request("GetSymlink", link))
    assert (told.target, told.metadata) == (target.replace("/", "%2F"), {"mine": "yes"})
    error = refusal(client.get_symlink, request("GetSymlink", target))
    assert (error.status_code, error.code) == (400, "NotSymlink")
    page = client.list_objects_v2(oss_v2.ListObjectsV2Request(bucket=rig.BUCKET, prefix=prefix))
    assert [(entry.key, entry.object_type) for entry in page.contents] == [(link, "Symlink"), (target, "Normal")]
    again = request("PutSymlink", link, target=target, forbid_overwrite=True)
    assert refusal(client.put_symlink, again).code == "FileAlreadyExists"
    client.delete_object(request("DeleteObject", link))
    assert client.is_object_exist(rig.BUCKET, target)


def test_batch_delete(client, prefix):
    keys = [prefix + name for name in conftest.ODD_NAMES] + [prefix + " spaces ", prefix + "tab\tline\n"]
    for key in keys:
        put(client, key, b"x")

    def delete(keys, quiet=False):
        objects = [oss_v2.DeleteObject(key=key) for key in keys]
        return client.delete_multiple_objects(request("DeleteMultipleObjects", objects=objects, quiet=quiet))

    answer = delete(keys[1:] + [prefix + "never"])
    assert sorted(one.key for one in answer.deleted_objects) == sorted(keys[1:] + [prefix + "never"])
    assert not delete(keys[:1], quiet=True).deleted_objects
    page = client.list_objects_v2(oss_v2.ListObjectsV2Request(bucket=rig.BUCKET, prefix=prefix))
    assert not page.contents
    error = refusal(delete, [f"{prefix}{number}" for number in range(1001)])
    assert (error.status_code, error.code, error.ec) == (400, "MalformedXML", "0016-00000609")


def test_copies_keep_or_replace(client, prefix):
    source = prefix + "source"
    etag = put(client, source, b"content", content_type="text/x", metadata={"a": "1"}, tagging="t=1").etag
    copy = {"source_bucket": rig.BUCKET, "source_key": source}
    copied = client.copy_object(request("CopyObject", prefix + "kept", if_match=etag, **copy))
    assert copied.etag == etag
    head = client.head_object(request("HeadObject", prefix + "kept"))
    assert (head.content_type, head.metadata, head.tagging_count) == ("text/x", {"a": "1"}, 1)
    changes = {"metadata_directive": "REPLACE", "tagging_directive": "Replace", "metadata": {"b": "2"}}
    changes |= {"storage_class": "IA", "server_side_encryption": "AES256"}
    copied = client.copy_object(request("CopyObject", prefix + "changed", **copy, **changes))
    assert copied.server_side_encryption == "AES256"
    head = client.head_object(request("HeadObject", prefix + "changed"))
    assert (head.metadata, head.tagging_count, head.storage_class) == ({"b": "2"}, None, "IA")
    forbidden = request("CopyObject", prefix + "kept", forbid_overwrite=True, **copy)
    assert refusal(client.copy_object, forbidden).code == "FileAlreadyExists"
    other = request("CopyObject", prefix + "kept", if_match='"0"', **copy)
    assert refusal(client.copy_object, other).status_code == 412
    result = client.copier(part_size=PART, multipart_copy_threshold=0).copy(
        request("CopyObject", prefix + "by parts", **copy)
    )
    assert result.status_code == 200
    assert get(client, prefix + "by parts").body.content == b"content"


def test_tags(client, prefix):
    key = prefix + "k"
    put(client, key, b"x")
    tags = [oss_v2.Tag(key="team", value="a b"), oss_v2.Tag(key="stage", value="dev")]
    tagging = oss_v2.Tagging(tag_set=oss_v2.TagSet(tags=tags))
    client.put_object_tagging(request("PutObjectTagging", key, tagging=tagging))
    told = client.get_object_tagging(request("GetObjectTagging", key)).tag_set.tags
    assert [(tag.key, tag.value) for tag in told] == [("team", "a b"), ("stage", "dev")]
    client.delete_object_tagging(request("DeleteObjectTagging", key))
    assert client.head_object(request("HeadObject", key)).tagging_count is None


def test_part_copies_and_listing_of_uploads(client, prefix):
    source, key = prefix + "source", prefix + "k"
    content = os.urandom(2 * PART)
    put(client, source, content)
    begin = request("InitiateMultipartUpload", key, metadata={"a": "1"}, server_side_encryption="AES256")
    upload = client.initiate_multipart_upload(begin).upload_id
    other = client.initiate_multipart_upload(request("InitiateMultipartUpload", key)).upload_id
    listing = oss_v2.ListMultipartUploadsRequest(bucket=rig.BUCKET, prefix=prefix, max_uploads=1)
    pages = client.list_multipart_uploads_paginator().iter_page(listing)
    found = [(entry.key, entry.upload_id) for page in pages for entry in page.uploads]
    assert found == sorted([(key, upload), (key, other)])
    copy = {"upload_id": upload, "source_bucket": rig.BUCKET, "source_key": source}
    ranged = {"part_number": 1, "source_range": f"bytes={PART}-{2 * PART - 1}"}
    one = client.upload_part_copy(request("UploadPartCopy", key, **copy, **ranged))
    part = request("UploadPart", key, upload_id=upload, part_number=2, body=b"end")
    two = client.upload_part(part)
    error = refusal(client.upload_part_copy, request("UploadPartCopy", key, part_number=3, if_match='"0"', **copy))
    assert error.status_code == 412
    listed = client.list_parts(request("ListParts", key, upload_id=upload)).parts
    assert [(part.part_number, part.etag, part.size) for part in listed] == [(1, one.etag, PART), (2, two.etag, 3)]
    assert listed[1].hash_crc64 == two.hash_crc64
    parts = [oss_v2.UploadPart(part_number=n, etag=etag) for n, etag in ((1, one.etag), (2, two.etag))]
    complete = oss_v2.CompleteMultipartUpload(parts=parts)
    finish = {"upload_id": upload, "complete_multipart_upload": complete}
    client.complete_multipart_upload(request("CompleteMultipartUpload", key, **finish))
    got = get(client, key)
    assert (got.body.content, got.metadata) == (content[PART:] + b"end", {"a": "1"})
    assert got.server_side_encryption == "AES256"
    error = refusal(client.complete_multipart_upload, request("CompleteMultipartUpload", key, **finish))
    assert (error.status_code, error.code) == (404, "NoSuchUpload")
    client.abort_multipart_upload(request("AbortMultipartUpload", key, upload_id=other))
    assert refusal(client.list_parts, request("ListParts", key, upload_id=other)).code == "NoSuchUpload"


def test_versions(client, prefix):
    bucket, key = conftest.VERSIONED_BUCKET, prefix + "k"
    info = client.get_bucket_info(oss_v2.GetBucketInfoRequest(bucket=bucket)).bucket_info
    assert info.versioning == "Enabled"

    def write(body):
        return client.put_object(request("PutObject", key, bucket, body=body)).version_id

    one, two = write(b"one"), write(b"two")
    assert one and two and one != two
    old = client.get_object(request("GetObject", key, bucket, version_id=one))
    assert (old.body.content, old.version_id) == (b"one", one)
    deleted = client.delete_object(request("DeleteObject", key, bucket))
    assert deleted.delete_marker
    error = refusal(client.get_object, request("GetObject", key, bucket))
    assert (error.status_code, error.headers["x-oss-delete-marker"]) == (404, "true")
    marker = request("GetObject", key, bucket, version_id=deleted.version_id)
    assert refusal(client.get_object, marker).status_code == 405
    gone = client.delete_object(request("DeleteObject", key, bucket, version_id=deleted.version_id))
    assert gone.delete_marker
    assert client.head_object(request("HeadObject", key, bucket)).version_id == two
    batch = client.delete_multiple_objects(
        request("DeleteMultipleObjects", bucket=bucket, objects=[oss_v2.DeleteObject(key=key)])
    )
    assert batch.deleted_objects[0].delete_marker and batch.deleted_objects[0].delete_marker_version_id


def test_a_role_deletes_what_it_may(server, client, prefix):
    writer = conftest.v2_client(server, key=conftest.WRITER_ID, secret=conftest.WRITER_SECRET)
    mine, other = f"w/{prefix}mine", f"r/{prefix}other"
    put(writer, mine, b"x")
    put(client, other, b"x")
    assert refusal(put, writer, other, b"x").code == "AccessDenied"
    objects = [oss_v2.DeleteObject(key=key) for key in (other, mine)]
    answer = writer.delete_multiple_objects(request("DeleteMultipleObjects", objects=objects))
    assert [one.key for one in answer.deleted_objects] == [mine]


def test_hierarchical_buckets_say_what_they_lack(client, prefix):
    bucket = conftest.HIERARCHICAL_BUCKET
    info = client.get_bucket_info(oss_v2.GetBucketInfoRequest(bucket=bucket)).bucket_info
    assert getattr(info, "hierarchical_namespace", "Enabled") == "Enabled"
    client.put_object(request("PutObject", prefix + "dir/file", bucket, body=b"x"))
    error = refusal(client.append_object, request("AppendObject", prefix + "log", bucket, position=0, body=b"x"))
    assert (error.status_code, error.code) == (400, "OperationNotSupported")

    def call(key, parameters, headers=None):
        operation = oss_v2.types.OperationInput(
            op_name="Call", method="POST", bucket=bucket, key=key, parameters=parameters, headers=headers or {}
        )
        return client.invoke_operation(operation)

    call(prefix + "renamed", {"x-oss-rename": ""}, {"x-oss-rename-source": prefix + "dir"})
    assert client.is_object_exist(bucket, prefix + "renamed/file")
    call(prefix + "made", {"x-oss-dir": ""})
    call(prefix + "renamed", {"x-oss-delete": ""}, {"x-oss-delete-recursive": "true"})
    assert not client.is_object_exist(bucket, prefix + "renamed/file")
