//! A development server and everything above it but the kernel, in this process.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rolefs::buffer::Budget;
use rolefs::cache::BlockCache;
use rolefs::credentials::{self, Environment, Provider};
use rolefs::dev_server::{BucketConfig, Config, DevServer};
use rolefs::fs::{self, Capabilities, FileSystem, Ownership, Probe};
use rolefs::metrics::Metrics;
use rolefs::object::{ETag, ObjectKey, Prefix, Version};
use rolefs::op::Op;
use rolefs::oss::{self, Bucket, Retry};
use rolefs::read::{self, File, Reader};
use rolefs::transport;
use rolefs::tree::Globs;
use rolefs::write::{self, Exclusive, Writer};

use crate::harness::{BUCKET, SOON};

/// Impatient: the server is near.
const RETRY: Retry = Retry {
    attempt_timeout: Duration::from_secs(20),
    idle_timeout: Duration::from_secs(20),
    no_progress: Duration::from_secs(60),
    backoff_base: Duration::from_millis(1),
    throttle_base: Duration::from_millis(2),
    backoff_max: Duration::from_millis(20),
    few_attempts: 4,
};

/// No answer takes this long unless it never comes.
pub(crate) const NEVER: Duration = Duration::from_secs(90);

pub(crate) struct Stack {
    pub(crate) server: DevServer,
    pub(crate) bucket: Arc<Bucket>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) cache: Arc<BlockCache>,
    pub(crate) reader: Arc<Reader>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Stack {
    /// A reader with so much memory.
    pub(crate) async fn new(memory_bytes: u64) -> Self {
        let server = DevServer::start(Config {
            buckets: vec![BucketConfig::new(BUCKET)],
            ..Config::default()
        });
        let server = server.await.unwrap();
        let metrics = Arc::new(Metrics::default());
        let environment = Environment {
            access_key_id: Some("anybody".to_owned()),
            access_key_secret: Some("secret".into()),
            ..Environment::default()
        };
        let source = credentials::Source::Env;
        let provider = Provider::new(
            credentials::Config::new(source, environment),
            Arc::clone(&metrics),
        );
        let config = oss::Config {
            region: Some("cn-hangzhou".to_owned()),
            retry: RETRY,
            ..oss::Config::new(server.endpoint().parse().unwrap(), BUCKET)
        };
        let transport = transport::Client::new(&transport::Config {
            proxy: transport::Proxy::Never,
            ..transport::Config::default()
        });
        let bucket = Bucket::new(
            config,
            transport.unwrap(),
            provider.unwrap(),
            Arc::clone(&metrics),
        );
        let bucket = Arc::new(bucket.unwrap());
        let budget = Budget::new(memory_bytes, Arc::clone(&metrics));
        let cache = BlockCache::new(&budget, Arc::clone(&metrics));
        let reader = Reader::new(
            read::Config {
                window_bytes_max: 64 << 20,
                gets_max: 16,
            },
            Arc::clone(&bucket),
            Arc::clone(&cache),
            Arc::clone(&budget),
            Arc::clone(&metrics),
            tokio::runtime::Handle::current(),
        );
        Self {
            server,
            bucket,
            budget,
            cache,
            reader,
            metrics,
        }
    }

    /// Stores an object; its version.
    pub(crate) fn put(&self, key: &str, bytes: &[u8]) -> Arc<Version> {
        let etag = self.server.put(BUCKET, key, bytes.to_vec()).unwrap();
        let key = ObjectKey::new(key).unwrap();
        Version::new(key, ETag::new(&etag), bytes.len() as u64)
    }

    /// One READ, from memory or from the server.
    pub(crate) async fn read(
        &self,
        file: &Arc<File>,
        offset: u64,
        len: u64,
    ) -> Result<Vec<u8>, read::Error> {
        read(&self.reader, file, offset, len).await
    }

    /// A file system with what the server lets it do.
    pub(crate) async fn file_system(
        &self,
        attr_ttl: Duration,
        names_max: usize,
    ) -> (Arc<FileSystem>, Vec<&'static str>) {
        self.file_system_with(attr_ttl, names_max, |_| {}).await
    }

    /// The same with a writer that is set up by `set`.
    pub(crate) async fn file_system_with(
        &self,
        attr_ttl: Duration,
        names_max: usize,
        set: impl FnOnce(&mut write::Config),
    ) -> (Arc<FileSystem>, Vec<&'static str>) {
        let Probe {
            capabilities,
            missing,
            ..
        } = Capabilities::probe(&self.bucket, &Prefix::root())
            .await
            .unwrap();
        let config = fs::Config {
            prefix: Prefix::root(),
            attr_ttl,
            negative_ttl: attr_ttl.min(Duration::from_secs(1)),
            names_max,
            immutable: Globs::default(),
            direct: Globs::default(),
            listing_requests_max: 16,
            listing_pages_max: 64,
            read_only: false,
            exclusive_create: Exclusive::Local,
            ownership: Ownership {
                uid: 0,
                gid: 0,
                file_mode: 0o644,
                dir_mode: 0o755,
                started: SystemTime::now(),
            },
        };
        let mut writing = write::Config::new(&self.budget);
        set(&mut writing);
        let writer = Writer::new(
            writing,
            Arc::clone(&self.bucket),
            Arc::clone(&self.budget),
            fs::fetch(Arc::clone(&self.reader)),
            Arc::clone(&self.metrics),
            tokio::runtime::Handle::current(),
        );
        let fs = FileSystem::new(
            config,
            capabilities,
            Arc::clone(&self.bucket),
            Arc::clone(&self.reader),
            writer,
            Arc::clone(&self.metrics),
            tokio::runtime::Handle::current(),
        );
        (fs, missing)
    }

    /// Once no file is open: what is leased is what the cache keeps, and without the cache nothing is.
    pub(crate) async fn nothing_is_leaked(&self, versions: &[Arc<Version>]) {
        soon("only cached blocks are leased", || {
            self.budget.leased() == self.cache.bytes()
        })
        .await;
        for version in versions {
            self.cache.purge(version);
        }
        assert_eq!(self.cache.bytes(), 0);
        // A GET that was given up lets go of its blocks when its task ends.
        soon("nothing is leased", || self.budget.leased() == 0).await;
    }
}

/// One READ, from memory or from the server.
pub(crate) async fn read(
    reader: &Reader,
    file: &Arc<File>,
    offset: u64,
    len: u64,
) -> Result<Vec<u8>, read::Error> {
    let served = match reader.try_read(file, offset, len) {
        Ok(served) => served,
        Err(pending) => {
            let op = Op::background("test");
            tokio::time::timeout(NEVER, reader.read(&op, file, pending))
                .await
                .unwrap_or_else(|_| panic!("READ of {len} at {offset} hangs"))?
        }
    };
    Ok(served.with(<[u8]>::to_vec))
}

/// Resolves once `is_true`.
pub(crate) async fn soon(what: &str, mut is_true: impl FnMut() -> bool) {
    let wait = async {
        while !is_true() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = tokio::time::timeout(SOON, wait).await;
    assert!(waited.is_ok(), "{what}: not within {SOON:?}");
}
