//! The doors of a mount that is served here, and what is told to one that is served elsewhere.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use tokio::runtime::Handle;

use super::args::path;
use super::block_on;
use super::config::Config;
use super::logging;
use crate::control::{self, Around, Client, Facts, Mount, Place, Serving, asked};
use crate::credentials::Provider;
use crate::fs::FileSystem;
use crate::fuse::{self, InMount, Kernel};
use crate::metrics::Metrics;

/// How long a command waits for the answer of a mount, unless told otherwise.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How long dropping a path may take: a directory of 100,000 names that the kernel holds, one by one.
const INVALIDATION_MAX: Duration = Duration::from_secs(60);

/// `rolefs invalidate`.
#[derive(Debug, ClapArgs)]
pub(super) struct InvalidateArgs {
    /// Files, and directories with all that is below them, in mounts. They need not exist any more.
    #[arg(required = true)]
    paths: Vec<PathBuf>,

    /// Where the mount has its socket, if it was told so.
    #[arg(long, env = "ROLEFS_CONTROL_DIR", value_name = "DIR", value_parser = path())]
    control_dir: Option<PathBuf>,
}

/// `rolefs log-level`.
#[derive(Debug, ClapArgs)]
pub(super) struct LogLevelArgs {
    /// The mount.
    mountpoint: PathBuf,

    /// How much to log: error, warn, info, debug or trace, or a filter such as rolefs::oss=debug.
    level: String,

    /// Where the mount has its socket, if it was told so.
    #[arg(long, env = "ROLEFS_CONTROL_DIR", value_name = "DIR", value_parser = path())]
    control_dir: Option<PathBuf>,
}

/// Has paths asked for again.
pub(super) fn invalidate(args: &InvalidateArgs) -> Result<()> {
    block_on(async {
        for path in &args.paths {
            let shown = path.display();
            let mount = find(path)?;
            let client = client(&mount, args.control_dir.as_deref(), INVALIDATION_MAX)?;
            let inner = std::str::from_utf8(mount.inner.as_os_str().as_bytes())
                .with_context(|| format!("{shown}: not UTF-8, as the names of a bucket are"))?;
            let dropped = client.invalidate(inner).await;
            dropped.with_context(|| shown.to_string())?;
        }
        Ok(())
    })
}

/// Changes what a mount logs.
pub(super) fn log_level(args: &LogLevelArgs) -> Result<()> {
    let mount = find(&args.mountpoint)?;
    let client = client(&mount, args.control_dir.as_deref(), PATIENCE)?;
    block_on(async {
        let told = client.set_log_level(&args.level).await;
        told.with_context(|| args.mountpoint.display().to_string())
    })
}

/// The mount that a path is in.
pub(super) fn find(path: &Path) -> Result<InMount> {
    let shown = path.display();
    let found = fuse::in_mount(path).with_context(|| format!("cannot look for {shown}"))?;
    found.with_context(|| format!("{shown}: no rolefs mount is there"))
}

/// Where to ask a mount.
pub(super) fn client(mount: &InMount, chosen: Option<&Path>, timeout: Duration) -> Result<Client> {
    let around = around(chosen.map(Path::to_owned));
    let directories = around.asking(mount.owner);
    let trusted = [around.uid, mount.owner, 0];
    let socket = asked(&directories, &mount.device, &trusted);
    // A process that was killed leaves its socket.
    let refuses = |socket: &PathBuf| {
        let refused = UnixStream::connect(socket).err();
        refused.is_some_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    if let Some(socket) = socket.filter(|socket| !refuses(socket)) {
        return Ok(Client { socket, timeout });
    }
    let shown = mount.mountpoint.display();
    if fuse::is_dead(&mount.mountpoint) {
        bail!(
            "{shown} is a mount whose process has died; end it with 'rolefs umount --lazy {shown}'"
        );
    }
    let looked: Vec<String> = directories
        .iter()
        .map(|directory| directory.display().to_string())
        .collect();
    bail!(
        "{shown}: its socket {} is in none of {}; ask as the user that mounted, in the container of its process, or give both \
         the same --control-dir",
        control::socket_name(&mount.device),
        looked.join(", ")
    )
}

fn around(chosen: Option<PathBuf>) -> Around {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    Around {
        chosen: chosen.filter(|path| !path.as_os_str().is_empty()),
        runtime: set("XDG_RUNTIME_DIR").map(PathBuf::from),
        temporary: std::env::temp_dir(),
        uid: nix::unistd::geteuid().as_raw(),
    }
}

/// Takes the address of `--metrics`, before anything is mounted.
pub(super) fn metrics_listener(config: &Config) -> Result<Option<TcpListener>> {
    let Some(address) = config.metrics else {
        return Ok(None);
    };
    let listener = TcpListener::bind(address).with_context(|| {
        format!("--metrics {address}: cannot listen there; choose another port")
    })?;
    Ok(Some(listener))
}

/// The parts of a mount that are looked at.
pub(super) struct Parts {
    pub(super) kernel: Kernel,
    pub(super) fs: Arc<FileSystem>,
    pub(super) credentials: Arc<Provider>,
    pub(super) metrics: Arc<Metrics>,
}

/// Opens the doors of a mount that was made on `mountpoint`. Without a socket it goes on, with a warning.
pub(super) fn open(
    config: &Config,
    mountpoint: &Path,
    metrics_listener: Option<TcpListener>,
    parts: Parts,
    runtime: &Handle,
) -> Result<Serving> {
    // Another one may have been mounted over it already.
    let device = fuse::mounted_at(mountpoint);
    let metrics_address = match &metrics_listener {
        Some(listener) => Some(listener.local_addr()?.to_string()),
        None => None,
    };
    if let Some(address) = &metrics_address {
        tracing::info!("metrics are at http://{address}/metrics");
    }
    let listen = |device: &String| match Place::listen(&around(config.control_dir.clone()), device)
    {
        Ok(socket) => Some(socket),
        Err(error) => {
            tracing::warn!("no control socket, so 'rolefs status' cannot ask this mount: {error}");
            None
        }
    };
    // Of a mount whose place is not known, nobody could find the socket.
    let socket = device.as_ref().and_then(listen);
    let connection = &config.connection;
    let region = connection.region.as_deref();
    let region = region.or(connection.endpoint.region());
    let mount = Mount {
        facts: Facts {
            mountpoint: mountpoint.to_owned(),
            device,
            bucket: connection.bucket.clone(),
            prefix: connection.prefix.to_string(),
            endpoint: connection.endpoint.to_string(),
            endpoint_is_internal: connection.endpoint.is_internal(),
            region: region.map(str::to_owned),
            read_only: config.read_only,
            metrics_address,
        },
        kernel: parts.kernel,
        fs: parts.fs,
        credentials: parts.credentials,
        metrics: parts.metrics,
        set_log_level: Box::new(|level| {
            logging::set_level(level).map_err(|error| error.to_string())
        }),
        mounted: (SystemTime::now(), Instant::now()),
    };
    let serving = control::listen(mount, socket, metrics_listener, runtime)
        .context("cannot open the doors of the mount")?;
    let socket = serving.socket().map(|place| place.path().display());
    tracing::debug!(
        socket = socket.map(tracing::field::display),
        "the control socket"
    );
    Ok(serving)
}
