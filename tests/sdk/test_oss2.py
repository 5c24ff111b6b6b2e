"""oss2 can't tell the development server from OSS, with either signature."""

import base64
import hashlib
import os
import time

import oss2
import pytest

import conftest
import rig

MIB = 1 << 20


def test_put_get_head_and_meta_agree(bucket, prefix):
    content = os.urandom(3 * MIB + 17)
    put = bucket.put_object(
        prefix + "a.bin", content, headers={"Content-Type": "text/x-check", "x-oss-meta-Colour": "blue"}
    )
    md5 = hashlib.md5(content).hexdigest().upper()
    assert put.etag == md5
    assert put.crc is not None, "oss2 compares the CRC64 only if the server sends one"
    got = bucket.get_object(prefix + "a.bin")
    assert got.read() == content, "oss2 checks the CRC64 on the way"
    assert got.server_crc == put.crc
    head = bucket.head_object(prefix + "a.bin")
    assert head.content_length == len(content)
    assert head.etag == md5
    assert head.content_type == "text/x-check"
    assert head.headers["x-oss-meta-colour"] == "blue"
    assert head.headers["x-oss-object-type"] == "Normal"
    assert head.headers["x-oss-storage-class"] == "Standard"
    assert abs(head.last_modified - time.time()) < 60
    meta = bucket.get_object_meta(prefix + "a.bin")
    assert (meta.content_length, meta.etag) == (len(content), md5)
    assert put.request_id and len(put.request_id) >= 16


@pytest.mark.parametrize("size", [0, 1, 2])
def test_tiny_objects_are_whole(bucket, prefix, size):
    bucket.put_object(f"{prefix}{size}", b"x" * size)
    assert bucket.get_object(f"{prefix}{size}").read() == b"x" * size
    assert bucket.head_object(f"{prefix}{size}").content_length == size


def test_ranges(bucket, prefix):
    content = bytes(range(256)) * 4
    bucket.put_object(prefix + "r", content)
    standard = {"x-oss-range-behavior": "standard"}

    def get(first, last, headers=None):
        answer = bucket.get_object(prefix + "r", byte_range=(first, last), headers=headers)
        return answer.status, answer.headers.get("Content-Range"), answer.read()

    assert get(0, 99) == (206, "bytes 0-99/1024", content[:100])
    assert get(1000, None) == (206, "bytes 1000-1023/1024", content[1000:])
    assert get(None, 24) == (206, "bytes 1000-1023/1024", content[1000:])
    # Without the header, a range that reaches out of the object is ignored ...
    assert get(1000, 2000)[::2] == (200, content)
    assert get(2000, 3000)[::2] == (200, content)
    # ... and with it, cut or refused.
    assert get(1000, 2000, standard) == (206, "bytes 1000-1023/1024", content[1000:])
    with pytest.raises(oss2.exceptions.ServerError) as refused:
        get(2000, 3000, standard)
    assert (refused.value.status, refused.value.code) == (416, "InvalidRange")


def test_odd_names_come_back_as_they_went(bucket, prefix):
    for name in conftest.ODD_NAMES:
        bucket.put_object(prefix + name, name.encode())
    for name in conftest.ODD_NAMES:
        assert bucket.get_object(prefix + name).read() == name.encode(), name
    listed = {entry.key for entry in oss2.ObjectIteratorV2(bucket, prefix=prefix)}
    assert listed == {prefix + name for name in conftest.ODD_NAMES}
    listed = {entry.key for entry in oss2.ObjectIterator(bucket, prefix=prefix)}
    assert listed == {prefix + name for name in conftest.ODD_NAMES}


@pytest.mark.parametrize("version", [1, 2])
def test_pages_of_a_listing_neither_miss_nor_repeat(bucket, prefix, version):
    keys = [f"{prefix}{number:03}" for number in range(25)]
    keys += [f"{prefix}dir-{number}/{child}" for number in range(4) for child in range(2)]
    for key in keys:
        bucket.put_object(key, key)
    iterator = {1: oss2.ObjectIterator, 2: oss2.ObjectIteratorV2}[version]
    assert [entry.key for entry in iterator(bucket, prefix=prefix, max_keys=4)] == sorted(keys)
    entries = list(iterator(bucket, prefix=prefix, delimiter="/", max_keys=4))
    directories = [entry.key for entry in entries if entry.is_prefix()]
    assert directories == [f"{prefix}dir-{number}/" for number in range(4)]
    assert len(entries) == 29
    sizes = {entry.key: entry.size for entry in entries if not entry.is_prefix()}
    assert all(size == len(key) for key, size in sizes.items())


def test_one_page_of_a_listing(bucket, prefix):
    for name in ("a", "b/1", "b/2", "c", "d"):
        bucket.put_object(prefix + name, b"")
    page = bucket.list_objects_v2(prefix=prefix, delimiter="/", max_keys=2)
    assert [entry.key for entry in page.object_list] == [prefix + "a"]
    assert page.prefix_list == [prefix + "b/"], "keys and prefixes count together"
    assert page.is_truncated
    rest = bucket.list_objects_v2(
        prefix=prefix, delimiter="/", continuation_token=page.next_continuation_token
    )
    assert [entry.key for entry in rest.object_list] == [prefix + "c", prefix + "d"]
    assert not rest.is_truncated
    later = bucket.list_objects_v2(prefix=prefix, delimiter="/", start_after=prefix + "c")
    assert [entry.key for entry in later.object_list] == [prefix + "d"]
    owned = bucket.list_objects_v2(prefix=prefix, fetch_owner=True)
    assert owned.object_list[0].owner is not None
    assert owned.object_list[0].type == "Normal"
    assert owned.object_list[0].storage_class == "Standard"
    first = bucket.list_objects(prefix=prefix, max_keys=1)
    assert first.is_truncated and first.next_marker == prefix + "a"


def test_multipart(bucket, prefix, tmp_path):
    key = prefix + "big"
    parts = [os.urandom(200 * 1024), os.urandom(100 * 1024), b"tail"]
    upload = bucket.init_multipart_upload(key).upload_id
    done = []
    for number, part in enumerate(parts, start=1):
        result = bucket.upload_part(key, upload, number, part)
        assert result.etag == hashlib.md5(part).hexdigest().upper()
        done.append(oss2.models.PartInfo(number, result.etag, size=len(part), part_crc=result.crc))
    assert [part.size for part in bucket.list_parts(key, upload).parts] == [len(part) for part in parts]
    bucket.complete_multipart_upload(key, upload, done)
    got = bucket.get_object(key)
    assert got.read() == b"".join(parts)
    head = bucket.head_object(key)
    assert head.headers["x-oss-object-type"] == "Multipart"
    assert head.etag.endswith("-3")
    # The SDK's own way of uploading a big file.
    path = tmp_path / "big"
    path.write_bytes(os.urandom(900 * 1024))
    oss2.resumable_upload(bucket, prefix + "resumable", str(path), multipart_threshold=300 * 1024,
                          part_size=256 * 1024, num_threads=3,
                          store=oss2.ResumableStore(root=str(tmp_path)))
    assert bucket.get_object(prefix + "resumable").read() == path.read_bytes()
    target = tmp_path / "down"
    oss2.resumable_download(bucket, prefix + "resumable", str(target), multiget_threshold=300 * 1024,
                            part_size=256 * 1024, num_threads=3,
                            store=oss2.ResumableDownloadStore(root=str(tmp_path)))
    assert target.read_bytes() == path.read_bytes()


def test_multipart_mistakes_are_named(bucket, prefix):
    key = prefix + "big"
    upload = bucket.init_multipart_upload(key).upload_id
    one = bucket.upload_part(key, upload, 1, b"too small").etag
    two = bucket.upload_part(key, upload, 2, b"x").etag
    info = oss2.models.PartInfo
    with pytest.raises(oss2.exceptions.ServerError) as refused:
        bucket.complete_multipart_upload(key, upload, [info(1, one), info(2, two)])
    assert (refused.value.status, refused.value.code) == (400, "EntityTooSmall")
    with pytest.raises(oss2.exceptions.ServerError) as refused:
        bucket.complete_multipart_upload(key, upload, [info(1, "0" * 32)])
    assert (refused.value.status, refused.value.code) == (400, "InvalidPart")
    bucket.abort_multipart_upload(key, upload)
    with pytest.raises(oss2.exceptions.NoSuchUpload):
        bucket.upload_part(key, upload, 1, b"x")
    with pytest.raises(oss2.exceptions.NoSuchKey):
        bucket.get_object(key)


def test_copy_and_delete(bucket, prefix):
    source = prefix + "数据 +%.bin"
    bucket.put_object(source, b"content", headers={"x-oss-meta-kept": "yes"})
    copied = bucket.copy_object(rig.BUCKET, source, prefix + "copy")
    assert copied.etag == hashlib.md5(b"content").hexdigest().upper()
    assert bucket.get_object(prefix + "copy").read() == b"content"
    assert bucket.head_object(prefix + "copy").headers["x-oss-meta-kept"] == "yes"
    assert bucket.delete_object(source).status == 204
    assert bucket.delete_object(source).status == 204, "deleting what is not there is no error"
    assert not bucket.object_exists(source)
    assert bucket.object_exists(prefix + "copy")


def test_conditions(bucket, prefix):
    key = prefix + "c"
    etag = bucket.put_object(key, b"one").etag
    quoted = f'"{etag}"'
    assert bucket.get_object(key, headers={"If-Match": quoted}).read() == b"one"
    with pytest.raises(oss2.exceptions.PreconditionFailed):
        bucket.get_object(key, headers={"If-Match": '"0123"'})
    with pytest.raises(oss2.exceptions.NotModified):
        bucket.get_object(key, headers={"If-None-Match": quoted})
    past, future = oss2.http_date(time.time() - 3600), oss2.http_date(time.time() + 3600)
    assert bucket.get_object(key, headers={"If-Modified-Since": past}).status == 200
    with pytest.raises(oss2.exceptions.NotModified):
        bucket.get_object(key, headers={"If-Modified-Since": future})
    with pytest.raises(oss2.exceptions.PreconditionFailed):
        bucket.get_object(key, headers={"If-Unmodified-Since": past})
    with pytest.raises(oss2.exceptions.ServerError) as refused:
        bucket.put_object(key, b"two", headers={"x-oss-forbid-overwrite": "true"})
    assert (refused.value.status, refused.value.code) == (409, "FileAlreadyExists")
    # One object, two versions: a reader that pins its ETag never sees a mixture.
    bucket.put_object(key, b"two")
    with pytest.raises(oss2.exceptions.PreconditionFailed):
        bucket.get_object(key, byte_range=(1, 2), headers={"If-Match": quoted})


def test_a_wrong_md5_is_refused(bucket, prefix):
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    with pytest.raises(oss2.exceptions.InvalidDigest):
        bucket.put_object(prefix + "x", b"this", headers={"Content-MD5": wrong})
    assert not bucket.object_exists(prefix + "x")


@pytest.mark.parametrize("name", ["plain.txt", "数据 +%?#&.txt"])
def test_presigned_urls(bucket, prefix, name):
    url = bucket.sign_url("PUT", prefix + name, 60)
    assert bucket.put_object_with_url(url, b"by url").status == 200
    url = bucket.sign_url("GET", prefix + name, 60)
    assert bucket.get_object_with_url(url).read() == b"by url"
    for broken in (url[:-3] + "AAA", bucket.sign_url("PUT", prefix + name, 60)):
        with pytest.raises(oss2.exceptions.ServerError) as refused:
            bucket.get_object_with_url(broken)
        assert (refused.value.status, refused.value.code) == (403, "SignatureDoesNotMatch")


def test_what_is_not_there(bucket, server, prefix):
    with pytest.raises(oss2.exceptions.NoSuchKey) as refused:
        bucket.get_object(prefix + "absent")
    assert refused.value.request_id
    assert refused.value.details.get("Key") == prefix + "absent"
    with pytest.raises(oss2.exceptions.NotFound) as refused:
        bucket.head_object(prefix + "absent")
    assert refused.value.code in ("NoSuchKey", ""), "the code of a HEAD is in x-oss-err"
    with pytest.raises(oss2.exceptions.NotFound):
        bucket.get_object_meta(prefix + "absent")
    nowhere = oss2.Bucket(bucket.auth, server.endpoint, "no-such-bucket", region=rig.REGION)
    with pytest.raises(oss2.exceptions.NoSuchBucket):
        nowhere.get_object("x")
    with pytest.raises(oss2.exceptions.NoSuchBucket):
        nowhere.list_objects_v2()


def test_bucket_info_and_location(bucket):
    info = bucket.get_bucket_info()
    assert info.name == rig.BUCKET
    assert info.location == f"oss-{rig.REGION}"
    assert info.storage_class == "Standard"
    assert bucket.get_bucket_location().location == f"oss-{rig.REGION}"


def test_a_folder_marker_is_an_object_like_any_other(bucket, prefix):
    bucket.put_object(prefix + "folder/", b"")
    bucket.put_object(prefix + "folder/file", b"x")
    inside = [entry.key for entry in oss2.ObjectIteratorV2(bucket, prefix=prefix + "folder/", delimiter="/")]
    assert inside == [prefix + "folder/", prefix + "folder/file"]
