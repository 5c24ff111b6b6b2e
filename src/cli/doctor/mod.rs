//! `rolefs doctor`: every precondition of a mount in order, each with ok, or what is wrong and the remedy.
//!
//! The checks are those of a mount's own preflight ([`super::preflight`]), taken one by one, and what a mount does not look at because it
//! is no reason not to begin. What follows from something that failed is skipped, and says so. Nothing is written to the bucket
//! without `--probe-writes`, and what that writes is deleted again.
//!
//! - [`local`]: this machine. [`way`]: from here to OSS. [`rights`]: the bucket, and what the role may do.
//! - [`report`]: how it is told. [`explain`]: errors that are known, of the platform and of OSS, and the policy that mends them.

mod explain;
mod local;
mod report;
mod rights;
mod way;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args as ClapArgs;

use super::args::{ConnectionArgs, path};
use super::config::{Connection, Surroundings};
use super::{discover, preflight};
use crate::metrics::Metrics;
use report::{Report, State};

/// The longest text that `--explain -` takes: the end of a log.
const EXPLAINED_BYTES_MAX: u64 = 1 << 20;

/// `rolefs doctor`.
#[derive(Debug, ClapArgs)]
pub(super) struct DoctorArgs {
    /// The bucket, as for a mount.
    #[arg(env = "ROLEFS_BUCKET", value_name = "oss://BUCKET[.ENDPOINT][/PREFIX]")]
    bucket: Option<String>,

    #[command(flatten)]
    connection: ConnectionArgs,

    /// Where it would be mounted.
    #[arg(long, value_name = "DIR", value_parser = path())]
    mountpoint: Option<PathBuf>,

    /// As for a mount.
    #[arg(long, env = "ROLEFS_MEMORY", value_name = "SIZE")]
    memory: Option<String>,

    /// As for a mount.
    #[arg(long, env = "ROLEFS_CACHE_DIR", value_name = "DIR", value_parser = path())]
    cache_dir: Option<PathBuf>,

    /// As for a mount.
    #[arg(long, env = "ROLEFS_STAGING_DIR", value_name = "DIR", value_parser = path())]
    staging_dir: Option<PathBuf>,

    /// Try what the role may write, by an object of a few bytes below the prefix that is deleted again.
    #[arg(long)]
    probe_writes: bool,

    /// As JSON.
    #[arg(long)]
    json: bool,

    /// Check nothing; say what an error message means, and print the policy that mends it. With - it is read from standard input.
    #[arg(long, value_name = "TEXT|-")]
    explain: Option<String>,
}

/// Checks everything, or explains an error.
pub(super) fn run(args: &DoctorArgs) -> Result<()> {
    if let Some(text) = &args.explain {
        return explained(text);
    }
    let around = Surroundings::now();
    let (mut bucket, mut connection) = (args.bucket.clone(), args.connection.clone());
    let connection = discover::complete(&mut bucket, &mut connection, &around)
        .and_then(|_| Connection::new(bucket.as_deref(), connection, &around));
    let runtime = super::connect::runtime()?;
    let report = runtime.block_on(check(args, &around, connection));
    // A thread may hang in a name resolution.
    runtime.shutdown_background();
    let text = if args.json {
        report.json()?
    } else {
        report.text()
    };
    std::io::stdout().write_all(text.as_bytes())?;
    match report.count(State::Failed) {
        0 => Ok(()),
        1 => bail!("1 check failed"),
        count => bail!("{count} checks failed"),
    }
}

fn explained(text: &str) -> Result<()> {
    let mut read = String::new();
    let text = match text {
        "-" => {
            let mut input = std::io::stdin().take(EXPLAINED_BYTES_MAX);
            input
                .read_to_string(&mut read)
                .context("cannot read standard input")?;
            &read
        }
        text => text,
    };
    let known: Vec<String> = explain::known(text).map(explain::Known::text).collect();
    if known.is_empty() {
        bail!("nothing is known of this error; 'rolefs doctor' checks what a mount needs");
    }
    std::io::stdout().write_all(known.join("\n").as_bytes())?;
    Ok(())
}

async fn check(args: &DoctorArgs, around: &Surroundings, connection: Result<Connection>) -> Report {
    let mut report = Report::default();
    local::kernel(&mut report);
    if let Some(mountpoint) = &args.mountpoint {
        let usable = preflight::mountpoint(mountpoint);
        let said = usable.map(|place| format!("{} can be mounted on", place.display()));
        report.check("mountpoint", said);
    }
    local::memory(&mut report, args.memory.as_deref(), around);
    local::cache(&mut report, args.cache_dir.as_deref());
    local::staging(&mut report, args.staging_dir.as_deref());
    let connection = match connection {
        Ok(connection) => connection,
        Err(error) => {
            report.check("settings", Err(error));
            let why = "what to ask is not known";
            for name in ["credentials", "names", "connection", "bucket", "rights"] {
                report.skip(name, why);
            }
            return report;
        }
    };
    let target = format!("oss://{}/{}", connection.bucket, connection.prefix);
    let settings = format!("{target} at {}", connection.endpoint);
    report.check("settings", Ok(settings));
    let metrics = Arc::new(Metrics::default());
    let credentials = way::credentials(&mut report, &connection, &metrics).await;
    let transport = way::to_oss(&mut report, &connection).await;
    let (Some(credentials), Some(transport)) = (credentials, transport) else {
        for name in ["bucket", "rights"] {
            report.skip(
                name,
                "nothing can be asked without credentials and a connection",
            );
        }
        return report;
    };
    let config = connection.oss();
    match preflight::impatient(config, transport, credentials, Arc::clone(&metrics)) {
        Ok(bucket) => rights::check(&mut report, &connection, &bucket, args.probe_writes).await,
        Err(error) => report.check("bucket", Err(anyhow!("{error:#}"))),
    }
    way::throttling(&mut report, &metrics);
    report
}
