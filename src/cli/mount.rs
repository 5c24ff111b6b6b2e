//! `rolefs mount`: builds upwards from the credentials to the kernel, and stays until the mount ends.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow};
use tokio::runtime::Runtime;
use tokio_util::task::AbortOnDropHandle;

use super::args::MountCommand;
use super::config::{Config, Surroundings};
use super::control::{self, Parts};
use super::daemon::{self, Readiness};
use super::ending::{self, Signals};
use super::parent::Parent;
use super::writing::{self, LastStores};
use super::{connect, discover, disk, logging, prefetch, preflight, process};
use crate::buffer::Budget;
use crate::cache::BlockCache;
use crate::credentials::Provider;
use crate::disk::DiskCache;
use crate::fs::{self as file_system, FileSystem, Ownership, Probe};
use crate::fuse::{self, MountOptions, Mounted, Session, SessionOptions};
use crate::metrics::Metrics;
use crate::oss::{self, Bucket};
use crate::read::{self, Reader};

/// The kernel's own read-ahead, in KiB: one of our blocks. Its default of 128 halves the speed of buffered reads.
const READ_AHEAD_KIB: &str = "1024";

/// How long the fresh mount may take to answer its first stat(2).
const FIRST_ANSWER_MAX: Duration = Duration::from_secs(10);

/// Mounts, in the background unless told otherwise.
#[expect(
    clippy::print_stderr,
    reason = "the user at the prompt is told where the log is"
)]
pub(super) fn run(mut args: MountCommand) -> Result<()> {
    process::tune_allocator();
    let around = Surroundings::now();
    let mount = &mut args.mount;
    let found = discover::complete(&mut mount.bucket, &mut mount.connection, &around)?;
    let mut config = Config::new(args.mountpoint, args.mount, &around)?;
    if args.foreground {
        return serve(&config, &mut Parent::prompt(Readiness::new()?));
    }
    let log = config
        .log_file
        .get_or_insert_with(|| daemon::default_log_file(&config.mountpoint))
        .clone();
    if !daemon::is_child() {
        daemon::spawn(&found)?;
        eprintln!(
            "rolefs: oss://{}/{} is mounted on {}; its log is {}",
            config.connection.bucket,
            config.connection.prefix,
            config.mountpoint.display(),
            log.display()
        );
        return Ok(());
    }
    let mut parent = Parent::prompt(Readiness::new()?);
    if let Err(error) = serve(&config, &mut parent) {
        tracing::error!("{error:#}");
        if let Parent::Prompt(readiness, _) = &mut parent {
            readiness.failed(&error)?;
        }
        // The parent says it; said here too it would stand twice.
        std::process::exit(1);
    }
    Ok(())
}

/// A mount that is ready to be made.
struct Prepared {
    fs: Arc<FileSystem>,
    credentials: Arc<Provider>,
    budget: Arc<Budget>,
    disk: Option<Arc<DiskCache>>,
}

/// Serves a mount to its end.
pub(super) fn serve(config: &Config, parent: &mut Parent) -> Result<()> {
    // First: the log must not be made where the mount would hide it.
    preflight::local(config)?;
    logging::start(
        &config.log_level,
        config.log_file.as_deref(),
        config.log_style,
    )?;
    process::harden();
    tracing::debug!(?config.limits, memory_bytes = config.memory_bytes, "limits");
    let metrics = Arc::new(Metrics::default());
    metrics.journal.log_slow_after(config.slow_after);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.limits.runtime_threads)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let outcome = serve_on(&runtime, config, &metrics, parent);
    // Not by its drop, which waits for ever: a thread may hang in a name resolution, or in a file that is a pipe.
    match &outcome {
        Ok(()) => runtime.shutdown_timeout(ending::GOODBYE_MAX),
        Err(_) => runtime.shutdown_background(),
    }
    outcome
}

fn serve_on(
    runtime: &Runtime,
    config: &Config,
    metrics: &Arc<Metrics>,
    parent: &mut Parent,
) -> Result<()> {
    let listed = prefetch::read(config)?;
    let metrics_listener = control::metrics_listener(config)?;
    let prepared = runtime.block_on(prepare(config, metrics, runtime.handle()))?;
    let watching = Arc::clone(&prepared.credentials).watch();
    let _watch = AbortOnDropHandle::new(runtime.spawn(watching));
    let options = MountOptions {
        source: format!(
            "oss://{}/{}",
            config.connection.bucket, config.connection.prefix
        ),
        allow_other: config.allow_other,
        read_only: config.read_only,
    };
    // From here on a signal takes the mount away: it must not end the process and leave a dead mount behind.
    let mut signals = runtime.block_on(async { Signals::new() })?;
    let Mounted { mountpoint, fd } = parent.mount(&config.mountpoint, &options)?;
    let own_mount = parent.own(&mountpoint);
    let session_options = SessionOptions {
        threads: config.limits.fuse_threads,
        max_background: config.limits.max_background,
        passthrough: prepared.disk.as_ref().and_then(|disk| disk.stack_depth()),
        allow_other: config.allow_other,
    };
    let session = Session::new(
        fd,
        Arc::clone(&prepared.fs),
        &session_options,
        Arc::clone(metrics),
        runtime.handle(),
    )
    .context("the kernel refused the FUSE session")?;
    raise_read_ahead(&mountpoint);
    let kernel = session.kernel();
    let (ended, wait) = tokio::sync::oneshot::channel();
    thread::Builder::new()
        .name("fuse-session".to_owned())
        .spawn(move || {
            // Nobody listens any more if the process ends first.
            let _ = ended.send(session.run());
        })
        .context("cannot start the session's thread")?;
    runtime.block_on(first_answer(&mountpoint))?;
    let parts = Parts {
        kernel,
        fs: Arc::clone(&prepared.fs),
        credentials: Arc::clone(&prepared.credentials),
        metrics: Arc::clone(metrics),
    };
    let _doors = control::open(
        config,
        &mountpoint,
        metrics_listener,
        parts,
        runtime.handle(),
    )?;
    tracing::info!(bucket = config.connection.bucket, prefix = %config.connection.prefix, endpoint = %config.connection.endpoint, mountpoint = %mountpoint.display(), "mounted");
    if let Some(paths) = listed {
        prepared.fs.prefetch(paths);
    }
    if daemon::is_child() {
        // The file system that it was started on is not kept busy; all paths are absolute by now.
        std::env::set_current_dir("/").context("cannot leave the directory")?;
    }
    parent.ready()?;
    let last = LastStores::new(config, &prepared.fs, parent);
    let asked = async {
        tokio::select! {
            signal = signals.end() => signal,
            () = parent.end() => "the supervisor",
        }
    };
    let ending = ending::until_the_end(own_mount, wait, asked, last.begin(), parent.enough());
    let outcome = runtime.block_on(ending);
    // However the mount has ended, and also what was written until the last file was closed.
    let stored = runtime.block_on(last.finish());
    finish(config, metrics, &prepared);
    match (outcome, stored) {
        (Ok(()), stored) => stored,
        (Err(failed), Ok(())) => Err(failed),
        (Err(failed), Err(unstored)) => Err(unstored.context(format!("{failed:#}"))),
    }
}

/// Builds from the credentials up to the file system, and asks OSS what the role may do.
async fn prepare(
    config: &Config,
    metrics: &Arc<Metrics>,
    runtime: &tokio::runtime::Handle,
) -> Result<Prepared> {
    let transport = connect::transport(&config.connection)?;
    let bucket_config = oss::Config {
        requests_per_second: config.requests_per_second,
        bytes_per_second: config.bytes_per_second,
        ..config.connection.oss()
    };
    let probe = preflight::remote(
        config,
        bucket_config.clone(),
        transport.clone(),
        Arc::clone(metrics),
    )
    .await?;
    tell_missing(config, &probe);
    let credentials = Provider::new(config.connection.credentials.clone(), Arc::clone(metrics))?;
    credentials.first().await?;
    let bucket = Arc::new(Bucket::new(
        bucket_config,
        transport,
        Arc::clone(&credentials),
        Arc::clone(metrics),
    )?);
    let budget = Budget::new(config.memory_bytes, Arc::clone(metrics));
    let cache = BlockCache::new(&budget, Arc::clone(metrics));
    let reader = Reader::new(
        read::Config {
            window_bytes_max: config.limits.window_bytes_max,
            gets_max: config.limits.gets_max,
        },
        Arc::clone(&bucket),
        cache,
        Arc::clone(&budget),
        Arc::clone(metrics),
        runtime.clone(),
    );
    let disk = disk::open(config, metrics)?;
    if let Some(disk) = &disk {
        reader.use_disk(Arc::clone(disk));
    }
    let writer = writing::writer(config, &bucket, &reader, &budget, metrics, runtime)?;
    let fs = FileSystem::new(
        file_system::Config {
            prefix: config.connection.prefix.clone(),
            attr_ttl: config.attr_ttl,
            negative_ttl: config.negative_ttl,
            names_max: config.names_max,
            immutable: config.immutable.clone(),
            direct: config.direct.clone(),
            listing_requests_max: config.limits.listing_requests_max,
            listing_pages_max: config.limits.listing_pages_max,
            read_only: config.read_only,
            exclusive_create: config.exclusive_create,
            ownership: Ownership {
                uid: config.uid,
                gid: config.gid,
                file_mode: config.file_mode,
                dir_mode: config.dir_mode,
                started: SystemTime::now(),
            },
        },
        probe.capabilities,
        bucket,
        reader,
        writer,
        Arc::clone(metrics),
        runtime.clone(),
    );
    Ok(Prepared {
        fs,
        credentials,
        budget,
        disk,
    })
}

/// Warns of what the role may not do, in the log and to whoever waits at the prompt.
#[expect(
    clippy::print_stderr,
    reason = "a warning that only a log file holds is not seen"
)]
fn tell_missing(config: &Config, probe: &Probe) {
    let target = format!(
        "oss://{}/{}",
        config.connection.bucket, config.connection.prefix
    );
    let mut warnings = Vec::new();
    let no_writes = probe.capabilities.refuses_writes();
    let no_writes = no_writes.as_ref().map(|_| "oss:PutObject");
    for action in probe.missing.iter().copied().chain(no_writes) {
        let effect = preflight::effect(action);
        warnings.push(format!("the role lacks {action} on {target}: {effect}"));
    }
    // Of a whole bucket this is no surprise.
    if probe.is_empty && !config.connection.prefix.as_str().is_empty() {
        warnings.push(format!("nothing is below {target} yet"));
    }
    for warning in warnings {
        tracing::warn!("{warning}");
        if config.log_file.is_some() {
            eprintln!("rolefs: {warning}");
        }
    }
    match &probe.bucket {
        Some(info) => tracing::debug!(?info, "bucket"),
        None => tracing::debug!("the role lacks oss:GetBucketInfo; the bucket's kind is not known"),
    }
}

/// Asks the kernel for a larger read-ahead on this mount. In a container /sys is often read-only: then buffered reads come
/// in pieces of 128 KiB, and the rest works the same.
fn raise_read_ahead(mountpoint: &Path) {
    let Some(device) = fuse::mounted_at(mountpoint) else {
        return;
    };
    let knob = format!("/sys/class/bdi/{device}/read_ahead_kb");
    if let Err(error) = fs::write(&knob, READ_AHEAD_KIB) {
        tracing::debug!("{knob} stays as it is: {error}");
    }
}

/// Resolves when the mount has answered a stat(2).
async fn first_answer(mountpoint: &Path) -> Result<()> {
    let path = mountpoint.to_owned();
    let (answered, answer) = tokio::sync::oneshot::channel();
    // A thread that nobody joins: the runtime would wait for its own at its end, and this one may hang in the kernel.
    thread::Builder::new()
        .name("first-answer".to_owned())
        .spawn(move || {
            // Nobody listens any more if it took too long.
            let _ = answered.send(fs::metadata(path));
        })
        .context("cannot start a thread")?;
    match tokio::time::timeout(FIRST_ANSWER_MAX, answer).await {
        Ok(Ok(Ok(_))) => Ok(()),
        Ok(Ok(Err(error))) => Err(anyhow!("the mount does not answer: {error}")),
        Ok(Err(error)) => Err(anyhow!("the mount could not be tried: {error}")),
        Err(_) => Err(anyhow!(
            "the mount does not answer within {FIRST_ANSWER_MAX:?}"
        )),
    }
}

/// Says what the mount has done.
fn finish(config: &Config, metrics: &Metrics, prepared: &Prepared) {
    if let Some(disk) = &prepared.disk {
        disk::finish(disk, metrics);
    }
    tracing::info!(
        reads = metrics.read.reads.get(),
        bytes_served = metrics.read.bytes_served.get(),
        bytes_received = metrics.oss.bytes_received.get(),
        gets = metrics.oss.get_requests.get(),
        lists = metrics.oss.list_requests.get(),
        leased_bytes = prepared.budget.leased(),
        "the mount has ended"
    );
    if let Some(path) = &config.stats_file
        && let Err(error) = fs::write(path, metrics.text())
    {
        tracing::warn!("--stats-file {}: {error}", path.display());
    }
}
