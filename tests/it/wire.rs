//! Every write of the wire against a development server, with lost answers, faults and roles.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rolefs::credentials::{self, Environment, Provider};
use rolefs::dev_server::roles::{self, Roles};
use rolefs::dev_server::{
    BucketConfig, Config, DevServer, Fault, FaultKind, Operation, RandomFaults,
};
use rolefs::metrics::Metrics;
use rolefs::object::{ETag, ObjectKey, Source, StorageClass, Version};
use rolefs::op::Op;
use rolefs::oss::{
    self, Body, Bucket, Condition, CopyProperties, CopySource, Kind, Properties, Retry, Stored,
};
use rolefs::transport;

use crate::harness::{BUCKET, DEFAULT_ROLE};

/// The smallest part OSS takes.
const PART: usize = 100 << 10;

const RETRY: Retry = Retry {
    attempt_timeout: Duration::from_secs(20),
    idle_timeout: Duration::from_secs(20),
    no_progress: Duration::from_secs(60),
    backoff_base: Duration::from_millis(1),
    throttle_base: Duration::from_millis(2),
    backoff_max: Duration::from_millis(20),
    few_attempts: 4,
};

struct Wire {
    server: DevServer,
    roles: Option<Roles>,
    bucket: Bucket,
    metrics: Arc<Metrics>,
}

impl Wire {
    /// A bucket that everybody may write.
    async fn open() -> Self {
        Self::new(None).await
    }

    /// A bucket with a role, whose signatures are checked.
    async fn with_role(toml: &str) -> Self {
        let config = roles::Config::parse(toml).unwrap();
        Self::new(Some(Roles::start(&config).await.unwrap())).await
    }

    async fn new(roles: Option<Roles>) -> Self {
        let server = DevServer::start(Config {
            buckets: vec![BucketConfig::new(BUCKET)],
            auth: roles.as_ref().map(|roles| Arc::clone(&roles.authority)),
            ..Config::default()
        });
        let server = server.await.unwrap();
        let metrics = Arc::new(Metrics::default());
        let job = roles.as_ref().and_then(|roles| roles.job.as_ref());
        let (source, environment) = match job {
            Some(job) => (credentials::Source::Uri(job.uri()), Environment::default()),
            None => (
                credentials::Source::Env,
                Environment {
                    access_key_id: Some("anybody".to_owned()),
                    access_key_secret: Some("secret".into()),
                    ..Environment::default()
                },
            ),
        };
        let provider = credentials::Config::new(source, environment);
        let provider = Provider::new(provider, Arc::clone(&metrics)).unwrap();
        let config = oss::Config {
            region: Some("cn-hangzhou".to_owned()),
            retry: RETRY,
            ..oss::Config::new(server.endpoint().parse().unwrap(), BUCKET)
        };
        let transport = transport::Client::new(&transport::Config {
            proxy: transport::Proxy::Never,
            ..transport::Config::default()
        });
        let bucket = Bucket::new(config, transport.unwrap(), provider, Arc::clone(&metrics));
        Self {
            server,
            roles,
            bucket: bucket.unwrap(),
            metrics,
        }
    }

    /// The next request of this kind has its effect and no answer.
    fn lose(&self, operation: Operation) {
        let faults = self.server.faults();
        faults.script(1, Some(operation), "", Fault::AnswerLost);
    }

    async fn put(
        &self,
        name: &str,
        body: &Body,
        said: &Properties,
        condition: Condition,
    ) -> Result<Stored, oss::Error> {
        let op = Op::background("test");
        self.bucket
            .put_object(&op, &key(name), body, said, condition)
            .await
    }

    fn content(&self, name: &str) -> Vec<u8> {
        self.server.get(BUCKET, name).unwrap().to_vec()
    }
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

fn bytes(seed: u64, len: usize) -> Bytes {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(len).collect()
}

fn crc(bytes: &[u8]) -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Xz, bytes)
}

fn marked(by: &str) -> Properties {
    Properties {
        content_type: Some("text/plain".to_owned()),
        cache_control: Some("no-cache".to_owned()),
        user: [("by".to_owned(), by.to_owned())].into(),
        storage_class: Some(StorageClass::InfrequentAccess),
        ..Properties::default()
    }
}

#[tokio::test]
async fn what_is_put_is_there_with_all_that_was_said_of_it() {
    let wire = Wire::open().await;
    let op = Op::background("test");
    let content = bytes(1, 3 << 20);
    let pieces = content.chunks(700_001).map(Bytes::copy_from_slice);
    let body = Body::new(pieces).with_crc64(crc(&content));
    let (name, said) = (key("dir/a b+ü"), marked("ä ö"));
    let put = wire.put(name.as_str(), &body, &said, Condition::None);
    let made = put.await.unwrap();
    assert_eq!(made.crc64, Some(crc(&content)));
    assert_eq!(wire.content("dir/a b+ü"), content);
    let described = wire.bucket.describe_with_tags(&op, &name).await.unwrap();
    assert_eq!(described.properties, said);
    assert_eq!(described.meta.etag, made.etag);
    let empty = Body::new([]);
    let none = Properties::default();
    let put = wire.put("empty", &empty, &none, Condition::None);
    assert_eq!(put.await.unwrap().crc64, Some(0));
    assert_eq!(wire.content("empty"), b"");
}

#[tokio::test]
async fn a_put_whose_answer_is_lost_is_recognised_and_a_strangers_is_not() {
    let wire = Wire::open().await;
    let body = Body::from(Bytes::from_static(b"same"));
    let forbid = Condition::ForbidOverwrite;
    wire.lose(Operation::PutObject);
    let (name, said) = (key("k"), marked("me"));
    let put = wire.put(name.as_str(), &body, &said, forbid);
    let made = put.await.unwrap();
    assert_eq!(
        Some(made.etag.as_str().to_owned()),
        wire.server.etag(BUCKET, "k")
    );
    assert_eq!(wire.metrics.oss.recognised.get(), 1);
    for lost in [false, true] {
        if lost {
            wire.lose(Operation::PutObject);
        }
        let said = marked("another");
        let put = wire.put(name.as_str(), &body, &said, forbid);
        assert_eq!(
            put.await.unwrap_err().kind(),
            &Kind::AlreadyExists,
            "{lost}"
        );
    }
}

#[tokio::test]
async fn parts_sent_and_copied_become_one_object() {
    let wire = Wire::open().await;
    let op = Op::background("test");
    let base = bytes(2, 5 * PART);
    let etag = wire.server.put(BUCKET, "base", base.clone()).unwrap();
    let version = Version::new(key("base"), ETag::new(&etag), base.len() as u64);
    let none = Properties::default();
    let upload = wire
        .bucket
        .initiate(&op, &key("big"), &marked("me"), Condition::None)
        .await
        .unwrap();
    let new = bytes(3, 2 * PART + 7);
    let body = Body::from(new.clone());
    let source = Source {
        version: Arc::clone(&version),
        range: 7..4 * PART as u64,
    };
    // In any order, and each one twice.
    let mut parts = Vec::new();
    for lost in [true, false] {
        if lost {
            wire.lose(Operation::UploadPart);
            wire.lose(Operation::UploadPartCopy);
        }
        let expected = Some(crc(&base[7..4 * PART]));
        let copied = wire
            .bucket
            .upload_part_copy(&op, &upload, 9, &source, expected);
        let copied = copied.await.unwrap();
        let sent = wire.bucket.upload_part(&op, &upload, 2, &body).await;
        parts = vec![sent.unwrap(), copied];
    }
    let listed = wire.bucket.list_parts(&op, &upload, 0).await.unwrap();
    // The answer to a part copy has no checksum, the list has.
    assert_eq!(parts[1].crc64, None);
    parts[1].crc64 = Some(crc(&base[7..4 * PART]));
    assert_eq!(listed.parts, parts);
    wire.lose(Operation::CompleteMultipartUpload);
    let complete = || {
        wire.bucket
            .complete(&op, &upload, &parts, Condition::None, None)
    };
    let made = complete().await.unwrap();
    let whole = [&new, &base[7..4 * PART]].concat();
    assert_eq!(wire.content("big"), whole);
    assert_eq!(made.crc64, Some(crc(&whole)));
    assert_eq!(wire.metrics.oss.recognised.get(), 1);
    let described = wire.bucket.describe(&op, &key("big")).await.unwrap();
    assert_eq!(described.properties, marked("me"));
    // Again, as after a crash; and when another object has taken its place.
    assert_eq!(complete().await.unwrap(), made);
    let other = Body::from(Bytes::from_static(b"other"));
    let put = wire.put("big", &other, &none, Condition::None);
    put.await.unwrap();
    let error = complete().await.unwrap_err();
    assert_eq!(error.kind(), &Kind::NoSuchUpload);
    assert_eq!(wire.content("big"), b"other");
}

#[tokio::test]
async fn a_part_of_a_version_that_is_gone_is_not_copied() {
    let wire = Wire::open().await;
    let op = Op::background("test");
    let base = bytes(4, 2 * PART);
    let etag = wire.server.put(BUCKET, "base", base.clone()).unwrap();
    let version = Version::new(key("base"), ETag::new(&etag), base.len() as u64);
    let none = Properties::default();
    let upload = wire
        .bucket
        .initiate(&op, &key("big"), &none, Condition::None)
        .await
        .unwrap();
    wire.server.put(BUCKET, "base", bytes(5, 2 * PART)).unwrap();
    let source = Source::whole(version);
    let copy = wire.bucket.upload_part_copy(&op, &upload, 1, &source, None);
    assert_eq!(copy.await.unwrap_err().kind(), &Kind::Changed);
    wire.server.delete(BUCKET, "base").unwrap();
    let copy = wire.bucket.upload_part_copy(&op, &upload, 1, &source, None);
    assert_eq!(copy.await.unwrap_err().kind(), &Kind::NotFound);
    assert_eq!(wire.server.upload_count(BUCKET), 1);
    wire.lose(Operation::AbortMultipartUpload);
    wire.bucket.abort(&op, &upload).await.unwrap();
    assert_eq!(wire.server.upload_count(BUCKET), 0);
    let body = Body::from(base);
    let sent = wire.bucket.upload_part(&op, &upload, 1, &body).await;
    assert_eq!(sent.unwrap_err().kind(), &Kind::NoSuchUpload);
}

#[tokio::test]
async fn an_object_is_copied_and_renamed() {
    let wire = Wire::open().await;
    let op = Op::background("test");
    let content = bytes(6, 200_000);
    let (from, to) = (key("from +ü/x"), key("to"));
    let body = Body::from(content.clone());
    let said = marked("me");
    let put = wire.put(from.as_str(), &body, &said, Condition::None);
    let made = put.await.unwrap();
    let version = Version::new(from.clone(), made.etag, content.len() as u64);
    let source = CopySource {
        crc64: made.crc64,
        ..CopySource::from(&*version)
    };
    wire.lose(Operation::CopyObject);
    let keep = CopyProperties::Keep(&said);
    let forbid = Condition::ForbidOverwrite;
    let copy = wire.bucket.copy_object(&op, source, &to, keep, forbid);
    copy.await.unwrap();
    assert_eq!(wire.metrics.oss.recognised.get(), 1);
    let described = wire.bucket.describe(&op, &to).await.unwrap();
    assert_eq!(described.properties, said);
    let copy = wire.bucket.copy_object(&op, source, &to, keep, forbid);
    assert_eq!(copy.await.unwrap_err().kind(), &Kind::AlreadyExists);
    // Onto itself, with other properties.
    let other = Properties {
        content_type: Some("x/y".to_owned()),
        ..said.clone()
    };
    let replace = CopyProperties::Replace(&other);
    let copy = wire
        .bucket
        .copy_object(&op, source, &from, replace, Condition::None);
    copy.await.unwrap();
    let described = wire.bucket.describe(&op, &from).await.unwrap();
    assert_eq!(described.properties, other);
    wire.lose(Operation::DeleteObject);
    wire.bucket.delete_object(&op, &from).await.unwrap();
    assert_eq!(wire.server.object_count(BUCKET), 1);
    let copy = wire
        .bucket
        .copy_object(&op, source, &to, keep, Condition::None);
    assert_eq!(copy.await.unwrap_err().kind(), &Kind::NotFound);
    assert_eq!(wire.content("to"), content);
}

/// Many uploads under faults of all kinds: what is told to be stored is stored, byte for byte.
#[tokio::test]
async fn faults_cost_time_and_no_bytes() {
    let wire = Wire::open().await;
    let random = [
        FaultKind::ServerError,
        FaultKind::Throttle,
        FaultKind::Reset,
        FaultKind::AnswerLost,
    ];
    let random = random
        .into_iter()
        .fold(RandomFaults::default(), |all, kind| all.with(kind, 0.08));
    wire.server.faults().set_random(random.with_seed(11));
    let op = Op::background("test");
    for round in 0..20 {
        let name = key(&format!("k{round}"));
        let content = bytes(round, 4 * PART);
        if round % 2 == 0 {
            let body = Body::from(content.clone());
            let said = marked(&format!("{round}"));
            let forbid = Condition::ForbidOverwrite;
            let put = wire.put(name.as_str(), &body, &said, forbid);
            put.await.unwrap();
        } else {
            let none = Properties::default();
            let upload = wire.bucket.initiate(&op, &name, &none, Condition::None);
            let upload = upload.await.unwrap();
            let mut parts = Vec::new();
            for (number, piece) in (1..).zip(content.chunks(PART)) {
                let body = Body::from(Bytes::copy_from_slice(piece));
                let part = wire.bucket.upload_part(&op, &upload, number, &body).await;
                parts.push(part.unwrap());
            }
            let complete = wire
                .bucket
                .complete(&op, &upload, &parts, Condition::None, None);
            assert_eq!(complete.await.unwrap().crc64, Some(crc(&content)));
        }
        assert_eq!(wire.content(name.as_str()), content, "round {round}");
    }
    assert!(wire.metrics.oss.retries.get() > 5);
}

#[tokio::test]
async fn a_checksum_that_the_wire_spoiled_is_sent_again() {
    let wire = Wire::open().await;
    let faults = wire.server.faults();
    faults.script(1, Some(Operation::PutObject), "", Fault::WrongCrc);
    faults.script(1, Some(Operation::UploadPart), "", Fault::WrongCrc);
    let op = Op::background("test");
    let body = Body::from(bytes(8, PART));
    let none = Properties::default();
    let put = wire.put("k", &body, &none, Condition::ForbidOverwrite);
    put.await.unwrap();
    let upload = wire
        .bucket
        .initiate(&op, &key("big"), &none, Condition::None)
        .await
        .unwrap();
    wire.bucket
        .upload_part(&op, &upload, 1, &body)
        .await
        .unwrap();
    let oss = &wire.metrics.oss;
    assert_eq!(oss.corrupt_uploads.get(), 2);
    assert_eq!((oss.put_requests.get(), oss.part_requests.get()), (2, 2));
}

#[tokio::test]
async fn a_role_signs_every_write_and_its_rotation_costs_none() {
    let wire = Wire::with_role(DEFAULT_ROLE).await;
    let op = Op::background("test");
    let none = Properties::default();
    let content = bytes(9, 2 * PART);
    let body = Body::from(content.clone());
    let upload = wire
        .bucket
        .initiate(&op, &key("a b/ü"), &marked("ü"), Condition::None)
        .await
        .unwrap();
    let job = wire.roles.as_ref().and_then(|roles| roles.job.as_ref());
    let job = job.unwrap();
    let mut parts = Vec::new();
    for number in 1..=3 {
        // The set in use dies; the next part is refused, signed anew and sent again.
        job.revoke_current();
        job.rotate_now().unwrap();
        let part = wire.bucket.upload_part(&op, &upload, number, &body).await;
        parts.push(part.unwrap());
    }
    let listed = wire.bucket.list_parts(&op, &upload, 1).await.unwrap();
    assert_eq!(listed.parts, parts[1..]);
    wire.bucket
        .complete(&op, &upload, &parts, Condition::ForbidOverwrite, None)
        .await
        .unwrap();
    assert_eq!(wire.content("a b/ü"), content.repeat(3));
    let source = CopySource {
        key: &upload.key,
        if_match: None,
        size: None,
        crc64: None,
    };
    let keep = CopyProperties::Keep(&none);
    let copied = key("copy");
    let copy = wire
        .bucket
        .copy_object(&op, source, &copied, keep, Condition::None);
    copy.await.unwrap();
    wire.bucket.delete_object(&op, &key("copy")).await.unwrap();
    assert!(wire.metrics.credentials.forced.get() >= 1);
}

#[tokio::test]
async fn a_role_that_may_not_write_is_told_the_action() {
    let toml = r#"
[[bucket]]
name = "workspace-default"
default = true
[role.reader]
policy = '{"Version":"1","Statement":[{"Effect":"Allow","Action":["oss:Get*","oss:List*"],"Resource":["*"]}]}'
[job]
role = "reader"
token_life = "1h"
rotate_every = "30min"
"#;
    let wire = Wire::with_role(toml).await;
    let op = Op::background("test");
    let none = Properties::default();
    let denied = |action| Kind::Denied { action };
    let name = key("k");
    // More than the sockets hold: the refusal comes while it is being sent.
    let body = Body::from(bytes(10, 16 << 20));
    let put = wire.put(name.as_str(), &body, &none, Condition::None);
    assert_eq!(put.await.unwrap_err().kind(), &denied("oss:PutObject"));
    let begun = wire.bucket.initiate(&op, &name, &none, Condition::None);
    assert_eq!(begun.await.unwrap_err().kind(), &denied("oss:PutObject"));
    let deleted = wire.bucket.delete_object(&op, &name).await;
    assert_eq!(deleted.unwrap_err().kind(), &denied("oss:DeleteObject"));
}
