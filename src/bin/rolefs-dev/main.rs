//! The `rolefs-dev` command: an OSS-speaking server for development, tests and benchmarks.

use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Parser, Subcommand};
use jiff::SignedDuration;
use rolefs::dev_server::roles::{self, Job, Roles};
use rolefs::dev_server::{BucketConfig, Config, DevServer, ETags, RandomFaults, Tls};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Exit code of wrong arguments, as clap has it.
const USAGE: u8 = 2;

/// How old the counts of --stats-file may be.
const STATS_PAUSE: Duration = Duration::from_millis(50);

/// A server that speaks OSS, for development, tests and benchmarks.
#[derive(Debug, Parser)]
#[command(name = "rolefs-dev", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves buckets until SIGTERM or SIGINT. The endpoint is printed as the only line of standard output.
    Serve(ServeArgs),
}

#[derive(Debug, clap::Args)]
struct ServeArgs {
    /// Directory that keeps the objects; buckets already there are served too. Without it they are kept in memory.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address to listen on; port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// A bucket to serve, made if it is not there; may be repeated.
    #[arg(long = "bucket", value_name = "NAME")]
    buckets: Vec<String>,
    /// Region that the buckets are in; by default that of --config, or cn-hangzhou.
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Roles, keys and the job, as TOML. Without it everybody may do everything, and no signature is looked at.
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Least time from a request to the first byte of its answer, such as 20ms.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s")]
    first_byte: Duration,
    /// Bytes per second of one connection and direction, such as 100MB; without it there is no cap.
    #[arg(long, value_name = "SIZE")]
    bandwidth: Option<ByteSize>,
    /// The same for what comes in only; by default --bandwidth.
    #[arg(long, value_name = "SIZE")]
    upload_bandwidth: Option<ByteSize>,
    /// Make ETags of the CRC-64 instead of the MD5, which takes a core for 0.6 GB/s of uploads.
    #[arg(long)]
    fast_etags: bool,
    /// What goes wrong at random, such as 5xx=0.01,reset=0.01,seed=7. Kinds: 5xx, throttle, delay, reset, lost, cut, stall, lie,
    /// flip; of uploads up-reset, up-stall, up-flip; of batch deletes skip.
    #[arg(long, value_name = "SPEC")]
    faults: Option<RandomFaults>,
    /// Speak HTTPS with the certificate of this file (PEM), and nothing else.
    #[arg(long, value_name = "PATH", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[arg(long, value_name = "PATH", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Stores tiny objects PREFIX000000.bin, PREFIX000001.bin, … at the start, such as my-bucket/many/=100000; may be
    /// repeated.
    #[arg(long = "fill", value_name = "BUCKET/PREFIX=COUNT", value_parser = fill)]
    fills: Vec<Fill>,
    /// File that gets the endpoint once the server listens, and in a second line the variable that tells a job where its
    /// credentials are.
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
    /// File that gets the counts of requests and bytes as Prometheus text, again whenever they have changed.
    #[arg(long, value_name = "PATH")]
    stats_file: Option<PathBuf>,
}

/// Objects to make.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fill {
    bucket: String,
    prefix: String,
    count: u64,
}

fn fill(text: &str) -> Result<Fill, String> {
    let parts = text.rsplit_once('=').and_then(|(place, count)| {
        let (bucket, prefix) = place.split_once('/')?;
        Some((bucket, prefix, count.parse().ok()?))
    });
    let (bucket, prefix, count) = parts.ok_or("a fill is BUCKET/PREFIX=COUNT")?;
    Ok(Fill {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        count,
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration: SignedDuration = text
        .parse()
        .map_err(|_| "a time has a unit, such as 20ms".to_owned())?;
    Duration::try_from(duration).map_err(|_| "a time is not negative".to_owned())
}

#[expect(clippy::print_stderr, reason = "this is the command line")]
fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default();
            eprintln!("rolefs-dev: {}", line.trim_start_matches("error: "));
            return ExitCode::from(USAGE);
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn")),
        )
        .with_writer(std::io::stderr)
        .init();
    let Command::Serve(args) = args.command;
    match tokio::runtime::Runtime::new()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(serve(args)))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut line = error.to_string();
            let mut cause = error.source();
            while let Some(source) = cause {
                line = format!("{line}: {source}");
                cause = source.source();
            }
            eprintln!("rolefs-dev: {line}");
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the endpoint is what the command prints"
)]
async fn serve(args: ServeArgs) -> Result<(), Box<dyn Error>> {
    // Before the endpoint is known to anybody: whoever reads it may end the server at once.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut config = Config {
        listen: args.listen,
        data: args.data,
        buckets: args.buckets.into_iter().map(BucketConfig::new).collect(),
        tls: args
            .tls_cert
            .zip(args.tls_key)
            .map(|(certificate, key)| Tls { certificate, key }),
        etags: match args.fast_etags {
            true => ETags::Crc,
            false => ETags::Md5,
        },
        ..Config::default()
    };
    let roles = match &args.config {
        Some(path) => Some(roles(path, args.region.as_deref(), &mut config).await?),
        None => None,
    };
    if let Some(region) = args.region {
        config.region = region;
    }
    let server = DevServer::start(config).await?;
    for Fill {
        bucket,
        prefix,
        count,
    } in &args.fills
    {
        for number in 0..*count {
            let body = number.to_string();
            server.put(bucket, &format!("{prefix}{number:06}.bin"), body)?;
        }
    }
    server.faults().set_first_byte(args.first_byte);
    server
        .faults()
        .set_bandwidth(args.bandwidth.map(|size| size.as_u64()));
    if let Some(size) = args.upload_bandwidth {
        server.faults().set_upload_bandwidth(Some(size.as_u64()));
    }
    if let Some(faults) = args.faults {
        server.faults().set_random(faults);
    }
    println!("{}", server.endpoint());
    if let Some(path) = &args.ready_file {
        let uri = roles
            .as_ref()
            .and_then(|roles| roles.job.as_ref())
            .map(Job::uri);
        let uri = uri.map_or_else(String::new, |uri| {
            format!("ALIBABA_CLOUD_CREDENTIALS_URI={uri}\n")
        });
        announce(path, &format!("{}\n{uri}", server.endpoint()))
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        error = tell_stats(&server, args.stats_file.as_deref()) => return Err(error.into()),
    }
    server.shutdown().await;
    Ok(())
}

/// Writes the counts while they change; returns only when it fails.
async fn tell_stats(server: &DevServer, path: Option<&Path>) -> String {
    let Some(path) = path else {
        return std::future::pending().await;
    };
    let mut told = None;
    loop {
        let stats = server.stats();
        if told != Some(stats) {
            if let Err(error) = announce(path, &stats.to_string()) {
                return format!("cannot write {}: {error}", path.display());
            }
            told = Some(stats);
        }
        tokio::time::sleep(STATS_PAUSE).await;
    }
}

/// Starts the roles that a file describes, and takes its buckets and region into `config`.
async fn roles(
    path: &Path,
    region: Option<&str>,
    config: &mut Config,
) -> Result<Roles, Box<dyn Error>> {
    let named = |error: &dyn std::fmt::Display| format!("--config {}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| named(&error))?;
    let mut parsed = roles::Config::parse(&text).map_err(|error| named(&error))?;
    if let Some(region) = region {
        region.clone_into(&mut parsed.region);
    }
    config.region.clone_from(&parsed.region);
    config
        .buckets
        .extend(parsed.buckets.iter().map(BucketConfig::from));
    let roles = Roles::start(&parsed).await?;
    config.auth = Some(std::sync::Arc::clone(&roles.authority));
    Ok(roles)
}

/// Writes the file under another name first, so that nobody reads half a line.
fn announce(path: &Path, text: &str) -> std::io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    fs::write(&temporary, text)?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fill_is_bucket_prefix_and_count() {
        let fill_of = |bucket: &str, prefix: &str| Fill {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            count: 7,
        };
        assert_eq!(fill("b/many/=7"), Ok(fill_of("b", "many/")));
        assert_eq!(fill("b/=7"), Ok(fill_of("b", "")));
        for wrong in ["b=7", "b/many/", "b/many/=x", ""] {
            assert!(fill(wrong).is_err(), "{wrong}");
        }
    }
}
