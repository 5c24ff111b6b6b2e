//! What the arguments mean: units, defaults, bounds, and every limit of the program in one list.
//!
//! Pure: the environment and the machine are read by [`Surroundings::now`] and handed in.

mod connection;
mod disk;
mod limits;
mod log;
mod staging;
mod surroundings;
mod target;
mod units;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::args::MountArgs;
use super::logging;
use crate::tree::{Globs, NEGATIVE_TTL_MAX};
use crate::write::{Exclusive, OnConflict};

pub(super) use connection::Connection;
pub(super) use disk::Disk;
pub(super) use limits::Limits;
pub(super) use staging::Staging;
pub(super) use surroundings::{Pai, Surroundings};
pub(super) use units::{age, duration, memory, shown_age};
use units::{globs, max_bandwidth, max_qps, metrics_address, mode, names};

/// A mount as it is meant.
#[derive(Debug, Clone)]
pub(super) struct Config {
    pub(super) mountpoint: PathBuf,
    pub(super) connection: Connection,
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
    pub(super) log_style: logging::Style,
    pub(super) stats_file: Option<PathBuf>,
    pub(super) metrics: Option<SocketAddr>,
    pub(super) control_dir: Option<PathBuf>,
    pub(super) slow_after: Duration,
    pub(super) limits: Limits,
}

impl Config {
    /// Gives the arguments of a mount on `mountpoint` their meaning.
    pub(super) fn new(mountpoint: PathBuf, args: MountArgs, around: &Surroundings) -> Result<Self> {
        let args = args.without_empty();
        // A mount leaves the directory it was started in.
        let absolute = |path: PathBuf| around.directory.join(path);
        let attr_ttl = duration("--attr-ttl", &args.attr_ttl)?;
        Ok(Self {
            mountpoint: absolute(mountpoint),
            connection: Connection::new(args.bucket.as_deref(), args.connection, around)?,
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
            log_style: log::style(&args.log_format, &args.log_size, args.log_keep)?,
            stats_file: args.stats_file.map(absolute),
            metrics: args.metrics.as_deref().map(metrics_address).transpose()?,
            control_dir: args.control_dir.map(absolute),
            slow_after: duration("--slow-after", &args.slow_after)?,
            limits: Limits::for_cores(around.cores),
        })
    }
}
