//! The store over a restart.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::*;

fn put(bucket: &Bucket, key: &str, bytes: &[u8]) -> Arc<Object> {
    let received = bucket.received(Bytes::copy_from_slice(bytes)).unwrap();
    let object = Object::normal(key, received, Attributes::default());
    bucket.commit(object, IfPresent::Replace).unwrap()
}

fn whole(object: &Object) -> Vec<u8> {
    object.content.slice(0..object.size).unwrap().concat()
}

fn open(directory: &Path) -> Store {
    Store::open(Some(directory), &[BucketConfig::new("b")], ETags::Md5).unwrap()
}

#[test]
fn objects_survive_a_restart_and_nothing_else_does() {
    let directory = tempfile::tempdir().unwrap();
    let big = vec![3; 300 << 10];
    {
        let store = open(directory.path());
        let bucket = store.bucket("b").unwrap();
        put(bucket, "a", b"old");
        put(bucket, "a", b"new");
        put(bucket, "big", &big);
        put(bucket, "gone", b"x");
        bucket.delete("gone", None).unwrap();
        let upload = |key| Upload::new(key, Attributes::default(), IfPresent::Replace);
        let id = bucket.initiate(upload("m"));
        for (number, bytes) in [(1, big.clone()), (2, b"tail".to_vec())] {
            let received = bucket.received(Bytes::from(bytes)).unwrap();
            bucket.put_part("m", &id, number, received).unwrap();
        }
        bucket
            .complete("m", &id, &Chosen::All, IfPresent::Replace)
            .unwrap();
        let big_object = bucket.get("big").unwrap();
        let content = bucket.content_for_copy(&big_object.content).unwrap();
        let copy = big_object.copied_to("copy", Attributes::default(), content);
        bucket.commit(copy, IfPresent::Replace).unwrap();
        bucket.delete("big", None).unwrap();
        // An upload that was never completed.
        let _ = bucket.initiate(Upload {
            parts: BTreeMap::from([(
                1,
                upload::Part::new(bucket.received(Bytes::from("part")).unwrap()),
            )]),
            ..upload("half")
        });
    }
    let store = open(directory.path());
    let bucket = store.bucket("b").unwrap();
    assert_eq!(bucket.object_count(), 3);
    assert_eq!(bucket.upload_count(), 0);
    assert_eq!(whole(&bucket.get("a").unwrap()), b"new");
    assert_eq!(whole(&bucket.get("copy").unwrap()), big);
    let multipart = bucket.get("m").unwrap();
    assert_eq!(whole(&multipart), [big, b"tail".to_vec()].concat());
    assert!(multipart.etag.ends_with("-2"));
    let files = |name: &str| {
        std::fs::read_dir(directory.path().join("b").join(name))
            .unwrap()
            .count()
    };
    assert_eq!((files("objects"), files("content")), (3, 4));
}

#[test]
fn a_reader_keeps_its_version() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let bucket = store.bucket("b").unwrap();
    let old = put(bucket, "a", b"old");
    put(bucket, "a", b"newer");
    bucket.delete("a", None).unwrap();
    assert_eq!(whole(&old), b"old");
    assert_eq!(bucket.get("a").unwrap_err().code, "NoSuchKey");
}

#[test]
fn forbidding_refuses_only_what_is_there() {
    let store = Store::open(None, &[BucketConfig::new("b")], ETags::Md5).unwrap();
    let bucket = store.bucket("b").unwrap();
    let commit = || {
        let received = bucket.received(Bytes::from("x")).unwrap();
        let object = Object::normal("k", received, Attributes::default());
        bucket.commit(object, IfPresent::Refuse)
    };
    assert!(commit().is_ok());
    assert_eq!(commit().unwrap_err().code, "FileAlreadyExists");
}
