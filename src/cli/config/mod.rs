//! What the arguments mean: units, defaults, bounds, and every limit of the program in one list.
//!
//! Pure: the environment and the machine are read by [`Surroundings::now`] and handed in.

mod disk;
mod limits;
mod staging;
mod surroundings;
mod target;
mod units;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result};

use super::args::MountArgs;
use crate::credentials;
use crate::object::Prefix;
use crate::oss::{Endpoint, SignatureVersion};
use crate::tree::{Globs, NEGATIVE_TTL_MAX};
use crate::write::{Exclusive, OnConflict};

pub(super) use disk::Disk;
pub(super) use limits::Limits;
pub(super) use staging::Staging;
pub(super) use surroundings::Surroundings;
use target::Target;
pub(super) use units::duration;
use units::{globs, max_bandwidth, max_qps, memory, mode, names};

/// A mount as it is meant.
#[derive(Debug, Clone)]
pub(super) struct Config {
    pub(super) mountpoint: PathBuf,
    pub(super) bucket: String,
    pub(super) prefix: Prefix,
    pub(super) endpoint: Endpoint,
    pub(super) region: Option<String>,
    pub(super) signature: SignatureVersion,
    pub(super) path_style: bool,
    pub(super) credentials: credentials::Config,
    pub(super) memory_bytes: u64,
    pub(super) disk: Option<Disk>,
    /// Of all requests together; `None` is no limit.
    pub(super) requests_per_second: Option<u64>,
    pub(super) bytes_per_second: Option<u64>,
    pub(super) attr_ttl: Duration,
    pub(super) negative_ttl: Duration,
    pub(super) prefetch_list: Option<PathBuf>,
    pub(super) immutable: Globs,
    pub(super) direct: Globs,
    pub(super) names_max: usize,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) file_mode: u16,
    pub(super) dir_mode: u16,
    pub(super) allow_other: bool,
    pub(super) read_only: bool,
    pub(super) on_conflict: OnConflict,
    pub(super) exclusive_create: Exclusive,
    pub(super) staging: Option<Staging>,
    pub(super) log_file: Option<PathBuf>,
    pub(super) log_level: String,
    pub(super) stats_file: Option<PathBuf>,
    pub(super) limits: Limits,
}

impl Config {
    /// Gives the arguments of a mount on `mountpoint` their meaning.
    pub(super) fn new(mountpoint: PathBuf, args: MountArgs, around: Surroundings) -> Result<Self> {
        let args = args.without_empty();
        // A mount leaves the directory it was started in.
        let absolute = |path: PathBuf| around.directory.join(path);
        let target = Target::parse(args.bucket.as_deref().context(
            "no bucket is given; pass oss://BUCKET[.ENDPOINT][/PREFIX] or set ROLEFS_BUCKET",
        )?)?;
        let endpoint = args
            .endpoint
            .or(target.endpoint)
            .or(around.oss_endpoint)
            .context("no endpoint is given; pass --endpoint or set OSS_ENDPOINT, e.g. oss-cn-hangzhou-internal.aliyuncs.com")?;
        let attr_ttl = duration("--attr-ttl", &args.attr_ttl)?;
        let hold = duration("--hold", &args.hold)?;
        let source = credentials::Source::from_str(&args.credentials).context("--credentials")?;
        let source = match source {
            credentials::Source::File(path) => credentials::Source::File(absolute(path)),
            source => source,
        };
        Ok(Self {
            mountpoint: absolute(mountpoint),
            bucket: target.bucket,
            prefix: target.prefix,
            endpoint: Endpoint::from_str(&endpoint).context("--endpoint")?,
            region: args.region,
            signature: SignatureVersion::from_str(&args.signature).context("--signature")?,
            path_style: args.path_style,
            credentials: credentials::Config {
                hold,
                ..credentials::Config::new(source, around.credentials)
            },
            memory_bytes: memory(args.memory.as_deref(), around.memory_limit)?,
            disk: Disk::new(args.cache_dir.map(absolute), args.cache_size.as_deref())?,
            requests_per_second: args.max_qps.as_deref().map(max_qps).transpose()?,
            bytes_per_second: args
                .max_bandwidth
                .as_deref()
                .map(max_bandwidth)
                .transpose()?,
            attr_ttl,
            negative_ttl: attr_ttl.min(NEGATIVE_TTL_MAX),
            prefetch_list: args.prefetch_list.map(absolute),
            immutable: globs("--immutable", &args.immutable)?,
            direct: globs("--direct", &args.direct)?,
            names_max: names(&args.max_cached_names)?,
            uid: args.uid.unwrap_or(around.uid),
            gid: args.gid.unwrap_or(around.gid),
            file_mode: mode("--file-mode", &args.file_mode)?,
            dir_mode: mode("--dir-mode", &args.dir_mode)?,
            allow_other: args.allow_other,
            read_only: args.read_only,
            on_conflict: staging::on_conflict(&args.on_conflict)?,
            exclusive_create: staging::exclusive_create(&args.exclusive_create)?,
            staging: Staging::new(args.staging_dir.map(absolute), args.staging_size.as_deref())?,
            log_file: args.log_file.map(absolute),
            log_level: args.log_level,
            stats_file: args.stats_file.map(absolute),
            limits: Limits::for_cores(around.cores),
        })
    }
}
