//! What can be wrong before anything is mounted, each as one sentence with its remedy.
//!
//! A mount goes through all of it and ends at the first thing that is wrong ([`local`], [`remote`]). `rolefs doctor` takes the same
//! checks one by one, and goes on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};

use super::config::{Config, Connection};
use super::parent;
use crate::credentials::{self, Provider, Source};
use crate::disk::NAME;
use crate::fs::{Capabilities, Probe};
use crate::fuse;
use crate::metrics::Metrics;
use crate::oss::{self, Bucket, Kind, Retry};
use crate::transport;

/// How long OSS may stay silent before preflight gives up. Shorter than later on: somebody waits for the prompt.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// `x-oss-ec` of "Invalid signing region in Authorization header".
const WRONG_REGION: &str = "0002-00000226";

/// Looks at everything that needs no network.
pub(super) fn local(config: &Config) -> Result<()> {
    if parent::descriptor(&config.mountpoint).is_some() {
        // Where it is mounted is its caller's matter.
        return Ok(());
    }
    let resolved = mountpoint(&config.mountpoint)?;
    hidden(config, &resolved)?;
    device()
}

/// The mountpoint without links, if something can be mounted there.
pub(super) fn mountpoint(mountpoint: &Path) -> Result<PathBuf> {
    let shown = mountpoint.display();
    match fs::metadata(mountpoint) {
        Ok(found) => ensure!(
            found.is_dir(),
            "{shown} is not a directory; choose an empty directory"
        ),
        Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => return Err(died(mountpoint)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("{shown} does not exist; create it with 'mkdir -p {shown}'")
        }
        Err(error) => return Err(error).context(format!("cannot look at {shown}")),
    }
    let resolved = mountpoint
        .canonicalize()
        .with_context(|| format!("cannot resolve {shown}"))?;
    if fuse::mounted_at(&resolved).is_some() {
        ensure!(!fuse::is_dead(&resolved), died(mountpoint));
        bail!("{shown} is a rolefs mount already; end it with 'rolefs umount {shown}' first");
    }
    Ok(resolved)
}

/// Refuses files of ours that a mount at `resolved` would hide.
fn hidden(config: &Config, resolved: &Path) -> Result<()> {
    let shown = config.mountpoint.display();
    for (what, file) in [
        ("--log-file", &config.log_file),
        ("--stats-file", &config.stats_file),
    ] {
        if let Some(file) = file {
            outside(what, file, resolved)?;
        }
    }
    if let Some(directory) = config.stats_file.as_deref().and_then(Path::parent) {
        // Else it would be told when the mount ends, and its figures with it.
        let shown = directory.display();
        ensure!(directory.is_dir(), "--stats-file: {shown} is no directory");
    }
    if let Some(disk) = &config.disk {
        outside("--cache-dir", &disk.directory.join(NAME), resolved)?;
        ensure!(
            !resolved.starts_with(resolve(&disk.directory).join(NAME)),
            "{shown} lies in the cache of --cache-dir; mount elsewhere"
        );
    }
    if let Some(staging) = &config.staging {
        outside("--staging-dir", &staging.directory.join("x"), resolved)?;
    }
    match &config.connection.credentials.source {
        Source::Auto => outside(
            "the credentials file",
            &config.connection.credentials.file,
            resolved,
        )?,
        Source::File(file) => outside("the credentials file", file, resolved)?,
        Source::Uri(_)
        | Source::Env
        | Source::Oidc
        | Source::Cli(_)
        | Source::Ini(_)
        | Source::Ecs(_)
        | Source::Process(_) => {}
    }
    Ok(())
}

/// Looks for the kernel's FUSE.
pub(super) fn device() -> Result<()> {
    ensure!(
        Path::new("/dev/fuse").exists(),
        "/dev/fuse is missing; run with the device, e.g. 'docker run --device /dev/fuse --cap-add SYS_ADMIN', or load the \
         kernel's fuse module"
    );
    Ok(())
}

fn died(mountpoint: &Path) -> Error {
    let shown = mountpoint.display();
    anyhow!(
        "{shown} is a mount whose process has died; end it with 'rolefs umount --lazy {shown}' first"
    )
}

/// A path without links, as far as it is there.
fn resolve(path: &Path) -> PathBuf {
    let there = path.ancestors().find_map(|above| {
        let resolved = above.canonicalize().ok()?;
        Some(resolved.join(path.strip_prefix(above).ok()?))
    });
    there.unwrap_or_else(|| path.to_owned())
}

/// Refuses a file of ours that the mount would hide.
fn outside(what: &str, file: &Path, mountpoint: &Path) -> Result<()> {
    let absolute = std::path::absolute(file)?;
    let parent = absolute.parent().map(resolve);
    let hidden = parent.is_some_and(|parent| parent.starts_with(mountpoint));
    ensure!(
        !hidden,
        "{what} {} lies under the mountpoint, which would hide it; move it",
        file.display()
    );
    Ok(())
}

/// Asks the credentials' source and the bucket.
pub(super) async fn remote(
    config: &Config,
    bucket: oss::Config,
    transport: transport::Client,
    metrics: Arc<Metrics>,
) -> Result<Probe> {
    let connection = &config.connection;
    let credentials = credentials(connection, &metrics).await?;
    let bucket = impatient(bucket, transport, credentials, metrics)?;
    let mut probe = reading(connection, &bucket).await?;
    if !config.read_only {
        writing(connection, &bucket, &mut probe).await?;
    }
    showable(connection, &probe)?;
    Ok(probe)
}

/// Asks the source of the credentials, by a provider of its own, less patient than the mount's.
pub(super) async fn credentials(
    connection: &Connection,
    metrics: &Arc<Metrics>,
) -> Result<Arc<Provider>> {
    let hold = connection.credentials.hold.min(SILENCE_MAX);
    let credentials = Provider::new(
        credentials::Config {
            hold,
            ..connection.credentials.clone()
        },
        Arc::clone(metrics),
    )?;
    credentials.first().await?;
    Ok(credentials)
}

/// The bucket, less patient than the mount's.
pub(super) fn impatient(
    bucket: oss::Config,
    transport: transport::Client,
    credentials: Arc<Provider>,
    metrics: Arc<Metrics>,
) -> Result<Bucket> {
    let retry = Retry {
        no_progress: SILENCE_MAX.min(bucket.retry.no_progress),
        ..bucket.retry
    };
    let patience = oss::Config { retry, ..bucket };
    Ok(Bucket::new(patience, transport, credentials, metrics)?)
}

/// Asks what the bucket is, and what the role may read.
pub(super) async fn reading(connection: &Connection, bucket: &Bucket) -> Result<Probe> {
    let probe = Capabilities::probe(bucket, &connection.prefix).await;
    probe.map_err(|error| explain(connection, error))
}

/// Asks whether the role may write, without writing anything.
pub(super) async fn writing(
    connection: &Connection,
    bucket: &Bucket,
    probe: &mut Probe,
) -> Result<()> {
    let writes = probe.capabilities.probe_writes(bucket, &connection.prefix);
    writes.await.map_err(|error| explain(connection, error))
}

/// Refuses a bucket that cannot be shown.
pub(super) fn showable(connection: &Connection, probe: &Probe) -> Result<()> {
    if let Some(info) = &probe.bucket {
        ensure!(
            !info.hierarchical,
            "bucket {} has a hierarchical namespace, which rolefs cannot show; use a bucket without one",
            connection.bucket
        );
    }
    Ok(())
}

/// What follows from a RAM action that the role lacks.
pub(super) fn effect(action: &str) -> &'static str {
    match action {
        "oss:ListObjects" => {
            "directories cannot be listed, only files whose names are known can be opened"
        }
        "oss:PutObject" => "nothing can be written; --read-only says so to programs from the start",
        _ => "files can be listed, not read",
    }
}

/// The sentence for what OSS said.
pub(super) fn explain(connection: &Connection, error: oss::Error) -> Error {
    let (bucket, endpoint) = (&connection.bucket, &connection.endpoint);
    let remedy = match error.kind() {
        Kind::NoSuchBucket | Kind::NotFound => {
            format!("bucket {bucket} does not exist at {endpoint}; check its name and region")
        }
        Kind::WrongEndpoint { right: Some(right) } => {
            format!("bucket {bucket} is not at {endpoint}; pass --endpoint {right}")
        }
        Kind::WrongEndpoint { right: None } => {
            format!(
                "bucket {bucket} is not at {endpoint}; pass the endpoint of its region by --endpoint"
            )
        }
        Kind::PublicEndpointForbidden => format!(
            "{endpoint} is a public endpoint, which OSS refuses for this bucket; pass the internal one, \
             oss-REGION-internal.aliyuncs.com, by --endpoint"
        ),
        Kind::Denied { .. } => format!(
            "the role may neither list nor read oss://{bucket}/{}; allow it oss:ListObjects on acs:oss:*:*:{bucket} and \
             oss:GetObject on acs:oss:*:*:{bucket}/{}*, or choose another role for the job",
            connection.prefix, connection.prefix
        ),
        Kind::CredentialsGone => {
            "no live credentials; check that the job is associated with a RAM role".to_owned()
        }
        Kind::CredentialsRefused => {
            "OSS refuses the role's credentials; check the role, --region and --signature"
                .to_owned()
        }
        Kind::ClockSkewed => {
            "the clock is more than 15 minutes off and could not be corrected; set it".to_owned()
        }
        Kind::Throttled | Kind::Unavailable | Kind::Lied => {
            format!(
                "no answer from {endpoint}; check --endpoint, name resolution and the way to it"
            )
        }
        Kind::Suspended => {
            format!("bucket {bucket} or its account is suspended; look at the OSS console")
        }
        Kind::Invalid if error.ec() == Some(WRONG_REGION) => format!(
            "requests are signed for another region than that of {endpoint}; pass the bucket's region by --region"
        ),
        Kind::Unsupported
        | Kind::Invalid
        | Kind::Archived
        | Kind::Changed
        | Kind::Cancelled
        | Kind::AlreadyExists
        | Kind::Immutable
        | Kind::NoSuchUpload
        | Kind::TooLarge
        | Kind::Corrupt => {
            format!(
                "cannot use oss://{bucket}/{} at {endpoint}",
                connection.prefix
            )
        }
    };
    Error::new(error).context(remedy)
}

/// The sentence for what mount(2) or fusermount3 said.
pub(super) fn explain_mount(error: &io::Error) -> Error {
    match error.raw_os_error() {
        // What fusermount3 says has no number.
        Some(libc::EPERM | libc::EACCES) | None => anyhow!(
            "no right to mount ({error}); run as root, or give the container CAP_SYS_ADMIN and /dev/fuse; else install fusermount3 \
             (package fuse3), or use 'rolefs run', which makes its own namespaces"
        ),
        Some(libc::ENODEV) => anyhow!("the kernel has no FUSE ({error}); load its fuse module"),
        _ => anyhow!("cannot mount: {error}"),
    }
}

/// The sentence for `rolefs run`, when neither this process may mount (`error`) nor one in a namespace of its own.
pub(super) fn explain_no_way(error: &io::Error, no_namespace: &Error) -> Error {
    // What fusermount3 says has no number.
    let (directly, by_program) = match error.raw_os_error() {
        Some(_) => (error.to_string(), "is not installed".to_owned()),
        None => ("no CAP_SYS_ADMIN".to_owned(), error.to_string()),
    };
    anyhow!(
        "no way to mount: directly: {directly}; {no_namespace:#}; fusermount3: {by_program}. One of these is enough: a privileged \
         container, or one with CAP_SYS_ADMIN and the device /dev/fuse (in a pod: securityContext); a /dev/fuse that this user may \
         read and write where user namespaces are allowed; the package fuse3"
    )
}
