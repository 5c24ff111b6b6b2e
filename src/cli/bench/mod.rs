//! `rolefs bench`: what this machine and this bucket reach, through a mount and without one.
//!
//! It mounts the bucket afresh (so nothing is cached), reads what is there through the mount, and reads the same objects by plain GETs of the
//! same HTTP client. Each measurement ends after some seconds or some hundred MiB, whichever is first. Nothing is written unless `--write`
//! says so; then it is written below a directory of its own, which is removed at the end, also after Ctrl-C.

mod direct;
mod mounted;
mod plan;
mod report;

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytesize::ByteSize;
use clap::Args as ClapArgs;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::args::{Command, MountArgs};
use super::config::{Connection, Surroundings};
use super::{connect, discover, settings};
use crate::metrics::Metrics;
use crate::oss::Bucket;
use mounted::OwnMount;
use plan::Plan;
use report::{Row, Unit};

/// Files read, and GETs sent, at the same time where there are many.
const IN_FLIGHT: usize = 16;

/// Bytes that are written by each side with `--write`.
const WRITE_BYTES: u64 = 64 << 20;

/// What `rolefs bench` is asked for.
#[derive(Debug, ClapArgs)]
pub(super) struct BenchArgs {
    /// Bucket, or a directory of it; the one that 'rolefs mount' would take if none is given.
    #[arg(env = "ROLEFS_BUCKET", value_name = "oss://BUCKET[.ENDPOINT][/PREFIX]")]
    bucket: Option<String>,

    /// Measure writing too: 64 MiB each way, below a directory of its own that is removed afterwards.
    #[arg(long)]
    write: bool,

    /// Seconds that all measurements may take together, 2 to 600.
    #[arg(long, default_value_t = 30, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=600))]
    seconds: u16,

    /// Options of 'rolefs mount' for the mount that is measured.
    #[arg(last = true, value_name = "MOUNT OPTION")]
    options: Vec<OsString>,
}

/// When a measurement is over.
#[derive(Debug, Clone)]
struct Until {
    at: Instant,
    interrupted: CancellationToken,
}

impl Until {
    fn is_over(&self) -> bool {
        self.interrupted.is_cancelled() || Instant::now() >= self.at
    }
}

/// How much was done, and how long it took.
#[derive(Debug, Clone, Copy, Default)]
struct Done {
    files: u64,
    bytes: u64,
    took: Duration,
}

/// The bench at work.
struct Bench {
    runtime: Runtime,
    bucket: Arc<Bucket>,
    connection: Connection,
    mount: OwnMount,
    interrupted: CancellationToken,
    /// What one side of one measurement may take.
    share: Duration,
    rows: Vec<Row>,
}

/// Measures, and shows a table with bars. `config` is the file of settings that is named.
#[expect(clippy::print_stdout, reason = "this is what was asked for")]
pub(super) fn run(args: &BenchArgs, config: Option<&Path>) -> Result<()> {
    let around = Surroundings::now();
    let runtime = connect::runtime()?;
    // Before there is anything that would be left behind.
    let (interrupted, _listening) = listen(&runtime)?;
    let place = mounted::Place::new()?;
    let mut words: Vec<OsString> = vec!["mount".into(), place.mountpoint().into()];
    if let Some(config) = config {
        words.extend(["--config".into(), config.into()]);
    }
    words.extend(args.bucket.iter().map(OsString::from));
    words.extend(args.options.iter().cloned());
    let typed = settings::of_words(&words)?;
    let named = |error: anyhow::Error| anyhow::anyhow!(typed.settings.named(&format!("{error:#}")));
    let Command::Mount(mount) = typed.args.command else {
        bail!("mount is a command");
    };
    let MountArgs {
        mut bucket,
        mut connection,
        ..
    } = mount.mount;
    discover::complete(&mut bucket, &mut connection, &around)?;
    let connection = Connection::new(bucket.as_deref(), connection, &around);
    let connection = connection.map_err(named)?;
    let asked = async {
        let bucket = connect::bucket(&connection, &Arc::new(Metrics::default())).await?;
        let plan = plan::choose(&bucket, &connection.prefix).await?;
        Ok((bucket, plan))
    };
    let (bucket, plan) = runtime.block_on(async {
        tokio::select! {
            done = asked => done,
            () = interrupted.cancelled() => bail!("interrupted"),
        }
    })?;
    let is_empty = plan.large.is_empty() && plan.small.is_empty();
    ensure!(
        !is_empty || args.write,
        "there is no object to read below oss://{}/{}; pass --write, or another bucket",
        connection.bucket,
        connection.prefix
    );
    let mount = place.mount(words, args.write)?;
    ensure!(!interrupted.is_cancelled(), "interrupted");
    println!(
        "oss://{}/{} at {}, {} cores",
        connection.bucket,
        connection.prefix,
        connection.endpoint.host(),
        around.cores
    );
    // Reading large and small files and at random, and writing, each by two sides.
    let sides = if args.write { 8 } else { 6 };
    let mut bench = Bench {
        runtime,
        bucket,
        connection,
        mount,
        interrupted,
        share: Duration::from_secs(u64::from(args.seconds)) / sides,
        rows: Vec::new(),
    };
    bench.reads(&plan)?;
    if args.write {
        bench.writes()?;
    }
    print!("{}", report::table(&bench.rows));
    ensure!(!bench.is_interrupted(), "interrupted");
    bench.mount.end()
}

/// Remembers that somebody has had enough: then what is under way ends, and the mount with it.
fn listen(runtime: &Runtime) -> Result<(CancellationToken, AbortOnDropHandle<()>)> {
    let _within = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let interrupted = CancellationToken::new();
    let told = interrupted.clone();
    let listening = runtime.spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        told.cancel();
    });
    Ok((interrupted, AbortOnDropHandle::new(listening)))
}

impl Bench {
    fn is_interrupted(&self) -> bool {
        self.interrupted.is_cancelled()
    }

    fn until(&self) -> Until {
        Until {
            at: Instant::now() + self.share,
            interrupted: self.interrupted.clone(),
        }
    }

    /// At random first: afterwards the pages of the large files are there.
    fn reads(&mut self, plan: &Plan) -> Result<()> {
        if let Some(version) = plan.large.first() {
            let places = plan::places(version.size());
            let until = self.until();
            let direct = direct::random(&self.bucket, version, &places, &until);
            let direct = self.runtime.block_on(direct)?;
            let mount = self
                .mount
                .random(&plan.path(version), &places, &self.until())?;
            self.rows.push(Row {
                what: "4 KiB at random, median".to_owned(),
                unit: Unit::Seconds,
                direct: median(direct),
                mount: median(mount),
            });
        }
        if !plan.small.is_empty() {
            let until = self.until();
            let direct = direct::small(&self.bucket, &plan.small, &until);
            let direct = self.runtime.block_on(direct)?;
            let mount = self.mount.small(&plan.paths(&plan.small), &self.until())?;
            self.rows.push(Row {
                what: format!("files of up to 1 MiB, {IN_FLIGHT} at once"),
                unit: Unit::PerSecond,
                direct: rate(direct.files, direct.took),
                mount: rate(mount.files, mount.took),
            });
        }
        if !plan.large.is_empty() {
            let until = self.until();
            let direct = direct::stream(&self.bucket, &plan.large, &until);
            let direct = self.runtime.block_on(direct)?;
            let mount = self.mount.stream(&plan.paths(&plan.large), &self.until())?;
            self.rows.push(Row {
                what: format!("large files, one reader ({IN_FLIGHT} GETs)"),
                unit: Unit::BytesPerSecond,
                direct: rate(direct.bytes, direct.took),
                mount: rate(mount.bytes, mount.took),
            });
        }
        Ok(())
    }

    fn writes(&mut self) -> Result<()> {
        let name = format!(".rolefs-bench-{}", std::process::id());
        let directory = self.connection.prefix.directory(&name);
        let directory = directory.context("the prefix is too long for what is written")?;
        let until = self.until();
        let direct = direct::write(&self.bucket, &directory, &until);
        let direct = self.runtime.block_on(direct);
        let removed = self
            .runtime
            .block_on(direct::remove(&self.bucket, &directory));
        let (direct, ()) = (direct?, removed?);
        let mount = self.mount.write(&name, &self.until())?;
        self.rows.push(Row {
            what: format!("writing {}", ByteSize::b(WRITE_BYTES).display().iec()),
            unit: Unit::BytesPerSecond,
            direct: rate(direct.bytes, direct.took),
            mount: rate(mount.bytes, mount.took),
        });
        Ok(())
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate is shown with three digits"
)]
fn rate(count: u64, took: Duration) -> Option<f64> {
    (count > 0 && took > Duration::ZERO).then(|| count as f64 / took.as_secs_f64())
}

fn median(mut took: Vec<Duration>) -> Option<f64> {
    took.sort_unstable();
    took.get(took.len() / 2).map(Duration::as_secs_f64)
}
