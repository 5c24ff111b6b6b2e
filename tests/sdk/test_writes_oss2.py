"""What a writing mount needs, by oss2 and with either signature."""

import os
import urllib.parse

import oss2
import pytest

import conftest
import rig

PART = 100 * 1024


def refused(call, *arguments, **options):
    with pytest.raises(oss2.exceptions.ServerError) as raised:
        call(*arguments, **options)
    return raised.value.status, raised.value.code


def test_appends(bucket, prefix):
    key = prefix + "log"
    one = bucket.append_object(key, 0, b"one", headers={"Content-Type": "text/x-log"}, init_crc=0)
    assert one.next_position == 3
    two = bucket.append_object(key, 3, b"+two", init_crc=one.crc)
    assert two.next_position == 7, "oss2 has compared the CRC of everything so far"
    with pytest.raises(oss2.exceptions.PositionNotEqualToLength) as late:
        bucket.append_object(key, 3, b"late")
    assert late.value.next_position == 7
    got = bucket.get_object(key)
    assert (got.read(), got.object_type) == (b"one+two", "Appendable")
    head = bucket.head_object(key)
    assert head.headers["x-oss-next-append-position"] == "7"
    assert head.content_type == "text/x-log"
    bucket.append_object(key, 7, b"")
    assert bucket.head_object(key).content_length == 7
    bucket.put_object(key, b"normal")
    with pytest.raises(oss2.exceptions.ObjectNotAppendable):
        bucket.append_object(key, 6, b"x")
    assert refused(bucket.append_object, prefix + "new", 5, b"x")[1] == "PositionNotEqualToLength"


def test_symlinks(bucket, prefix):
    target, link = prefix + "数据 +%.bin", prefix + "link"
    bucket.put_symlink(target, link, headers={"x-oss-meta-mine": "yes"})
    with pytest.raises(oss2.exceptions.ServerError) as missing:
        bucket.get_object(link)
    assert (missing.value.status, missing.value.code) == (404, "SymlinkTargetNotExist")
    put = bucket.put_object(target, b"content")
    got = bucket.get_object(link)
    assert got.read() == b"content"
    assert (got.object_type, got.etag, got.server_crc) == ("Symlink", put.etag, put.crc)
    assert bucket.head_object(link).headers["x-oss-meta-mine"] == "yes"
    assert bucket.get_symlink(link).target_key == target
    assert refused(bucket.get_symlink, target) == (400, "NotSymlink")
    types = {entry.key: entry.type for entry in oss2.ObjectIteratorV2(bucket, prefix=prefix)}
    assert types == {target: "Normal", link: "Symlink"}
    bucket.copy_object(rig.BUCKET, link, prefix + "copy")
    assert bucket.get_symlink(prefix + "copy").target_key == target
    bucket.put_symlink(link, prefix + "twice")
    assert refused(bucket.get_object, prefix + "twice") == (400, "InvalidTargetType")
    bucket.delete_object(link)
    assert bucket.object_exists(target)


def test_batch_delete(bucket, prefix):
    keys = [prefix + name for name in conftest.ODD_NAMES] + [prefix + " spaces ", prefix + "control\x01"]
    for key in keys:
        bucket.put_object(key, b"x")
    answer = bucket.batch_delete_objects(keys + [prefix + "never"])
    assert sorted(answer.deleted_keys) == sorted(keys + [prefix + "never"])
    assert not list(oss2.ObjectIteratorV2(bucket, prefix=prefix))
    assert refused(bucket.batch_delete_objects, [f"{prefix}{n}" for n in range(1001)]) == (400, "MalformedXML")
    with pytest.raises(oss2.exceptions.ClientError):
        bucket.batch_delete_objects([])


def test_copies_keep_or_replace(bucket, prefix):
    source = prefix + "source"
    headers = {"Content-Type": "text/x", "x-oss-meta-a": "1", "x-oss-tagging": "t=1", "x-oss-storage-class": "IA"}
    bucket.put_object(source, b"content", headers=headers)
    bucket.copy_object(rig.BUCKET, source, prefix + "kept", headers={"x-oss-storage-class": "IA"})
    head = bucket.head_object(prefix + "kept").headers
    assert (head["Content-Type"], head["x-oss-meta-a"]) == ("text/x", "1")
    assert (head["x-oss-tagging-count"], head["x-oss-storage-class"]) == ("1", "IA")
    changes = {"x-oss-metadata-directive": "REPLACE", "x-oss-tagging-directive": "Replace", "x-oss-meta-b": "2"}
    bucket.copy_object(rig.BUCKET, source, prefix + "changed", headers=changes)
    head = bucket.head_object(prefix + "changed").headers
    assert head["x-oss-meta-b"] == "2"
    assert "x-oss-meta-a" not in head and "x-oss-tagging-count" not in head
    forbid = {"x-oss-forbid-overwrite": "true"}
    assert refused(bucket.copy_object, rig.BUCKET, source, prefix + "kept", headers=forbid) == (409, "FileAlreadyExists")
    condition = {"x-oss-copy-source-if-match": '"0"'}
    with pytest.raises(oss2.exceptions.PreconditionFailed):
        bucket.copy_object(rig.BUCKET, source, prefix + "c", headers=condition)


def test_tags(bucket, prefix):
    key = prefix + "k"
    bucket.put_object(key, b"x")
    rule = oss2.models.TaggingRule()
    rule.add("team", "a +/b:c")
    rule.add("stage", "dev")
    bucket.put_object_tagging(key, oss2.models.Tagging(rule))
    assert bucket.get_object_tagging(key).tag_set.tagging_rule == {"team": "a +/b:c", "stage": "dev"}
    assert bucket.head_object(key).headers["x-oss-tagging-count"] == "2"
    bucket.delete_object_tagging(key)
    assert bucket.get_object_tagging(key).tag_set.tagging_rule == {}
    header = {"x-oss-tagging": urllib.parse.urlencode({"a b": "c+d"})}
    bucket.put_object(key, b"x", headers=header)
    assert bucket.get_object_tagging(key).tag_set.tagging_rule == {"a b": "c+d"}
    assert refused(bucket.put_object, key, b"x", headers={"x-oss-tagging": "a=b=c"}) == (400, "InvalidTag")


def test_part_copies_and_listing_of_uploads(bucket, prefix):
    source = prefix + "source"
    content = os.urandom(3 * PART)
    etag = bucket.put_object(source, content).etag
    key = prefix + "数据 +"
    headers = {"x-oss-meta-a": "1", "x-oss-server-side-encryption": "AES256", "x-oss-tagging": "t=1"}
    upload = bucket.init_multipart_upload(key, headers=headers).upload_id
    other = bucket.init_multipart_upload(key).upload_id
    listed = bucket.list_multipart_uploads(prefix=prefix, max_uploads=1)
    assert listed.is_truncated
    rest = bucket.list_multipart_uploads(
        prefix=prefix, key_marker=listed.next_key_marker, upload_id_marker=listed.next_upload_id_marker
    )
    found = [(entry.key, entry.upload_id) for entry in listed.upload_list + rest.upload_list]
    assert found == sorted([(key, upload), (key, other)])
    assert not rest.is_truncated
    everything = oss2.MultipartUploadIterator(bucket, prefix=prefix, max_uploads=1)
    assert [entry.upload_id for entry in everything] == [entry[1] for entry in found]
    assert [entry.upload_id for entry in oss2.ObjectUploadIterator(bucket, key, max_uploads=1)] == [
        entry[1] for entry in found
    ]
    match = {"x-oss-copy-source-if-match": f'"{etag}"'}
    one = bucket.upload_part_copy(rig.BUCKET, source, (0, PART - 1), key, upload, 1, headers=match)
    two = bucket.upload_part(key, upload, 2, b"n" * PART)
    three = bucket.upload_part_copy(rig.BUCKET, source, (2 * PART, 3 * PART - 1), key, upload, 3)
    with pytest.raises(oss2.exceptions.PreconditionFailed):
        wrong = {"x-oss-copy-source-if-match": '"0"'}
        bucket.upload_part_copy(rig.BUCKET, source, (0, 9), key, upload, 4, headers=wrong)
    parts = [(part.part_number, part.etag, part.size) for part in bucket.list_parts(key, upload).parts]
    assert parts == [(1, one.etag, PART), (2, two.etag, PART), (3, three.etag, PART)]
    info = [oss2.models.PartInfo(number, etag) for number, etag, _ in parts]
    bucket.put_object(key, b"in the way")
    forbid = {"x-oss-forbid-overwrite": "true"}
    assert refused(bucket.complete_multipart_upload, key, upload, info, headers=forbid) == (409, "FileAlreadyExists")
    bucket.complete_multipart_upload(key, upload, info)
    assert bucket.get_object(key).read() == content[:PART] + b"n" * PART + content[2 * PART:]
    head = bucket.head_object(key).headers
    assert (head["x-oss-meta-a"], head["x-oss-tagging-count"]) == ("1", "1")
    assert head["x-oss-server-side-encryption"] == "AES256"
    bucket.abort_multipart_upload(key, other)
    with pytest.raises(oss2.exceptions.NoSuchUpload):
        bucket.list_parts(key, other)
    assert not bucket.list_multipart_uploads(prefix=prefix).upload_list
    bucket.append_object(prefix + "log", 0, b"x")
    upload = bucket.init_multipart_upload(key).upload_id
    refusal = refused(bucket.upload_part_copy, rig.BUCKET, prefix + "log", None, key, upload, 1)
    assert refusal == (400, "OperationNotSupported")
    bucket.abort_multipart_upload(key, upload)


@pytest.mark.parametrize("signature", ["v1", "v4"])
def test_versions(server, prefix, signature):
    bucket = conftest.oss2_bucket(server, signature, conftest.VERSIONED_BUCKET)
    key = prefix + "k"
    assert bucket.get_bucket_info().versioning_status == "Enabled"
    assert bucket.get_bucket_versioning().status == "Enabled"
    one = bucket.put_object(key, b"one").versionid
    two = bucket.put_object(key, b"two", headers={"x-oss-forbid-overwrite": "true"}).versionid
    assert one and two and one != two
    assert bucket.head_object(key).versionid == two
    assert bucket.get_object(key, params={"versionId": one}).read() == b"one"
    deleted = bucket.delete_object(key)
    assert deleted.delete_marker
    with pytest.raises(oss2.exceptions.NoSuchKey) as gone:
        bucket.get_object(key)
    assert gone.value.headers["x-oss-delete-marker"] == "true"
    assert bucket.delete_object(key, params={"versionId": deleted.versionid}).delete_marker
    assert bucket.get_object(key).read() == b"two"
    batch = bucket.batch_delete_objects([key])
    assert batch.delete_versions[0].delete_marker
    versions = oss2.models.BatchDeleteObjectVersionList([oss2.models.BatchDeleteObjectVersion(key, one)])
    assert bucket.delete_object_versions(versions).delete_versions[0].versionid == one
    assert refused(bucket.get_object, key, params={"versionId": one}) == (404, "NoSuchVersion")


def test_a_suspended_bucket_has_null_versions(server, prefix):
    bucket = conftest.oss2_bucket(server, "v4", conftest.SUSPENDED_BUCKET)
    assert bucket.get_bucket_info().versioning_status == "Suspended"
    assert bucket.put_object(prefix + "k", b"one").versionid == "null"
    assert bucket.delete_object(prefix + "k").versionid == "null"


def test_a_role_deletes_what_it_may(server, prefix):
    admin = conftest.oss2_bucket(server)
    writer = conftest.oss2_bucket(server, key=conftest.WRITER_ID, secret=conftest.WRITER_SECRET)
    mine, other = f"w/{prefix}mine", f"r/{prefix}other"
    writer.put_object(mine, b"x")
    admin.put_object(other, b"x")
    assert refused(writer.put_object, other, b"x") == (403, "AccessDenied")
    assert refused(writer.append_object, other + "log", 0, b"x") == (403, "AccessDenied")
    assert refused(writer.copy_object, rig.BUCKET, other, mine + "copy") == (403, "AccessDenied")
    assert writer.batch_delete_objects([mine, other]).deleted_keys == [mine]
    assert refused(writer.batch_delete_objects, [other]) == (403, "AccessDenied")
    assert admin.object_exists(other) and not admin.object_exists(mine)
