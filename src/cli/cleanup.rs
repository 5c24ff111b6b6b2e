//! `rolefs cleanup`: unfinished uploads that crashed mounts have left in a bucket.
//!
//! Pages of ListMultipartUploads; of each upload its parts are asked for, which tell whether it is ours ([`is_ours`]) and how much it holds. What is
//! old enough is given up when it is found, so a cleanup that is interrupted has done a part of its work.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use bytesize::ByteSize;
use tokio::task::JoinSet;

use super::args::CleanupArgs;
use super::config::{Connection, Surroundings, age, shown_age};
use super::connect;
use crate::metrics::Metrics;
use crate::object::{ObjectKey, UnixTime};
use crate::op::Op;
use crate::oss::{Bucket, Error, Kind, OpenUpload, Upload};
use crate::write::{is_ours, sent};

/// Uploads that are looked at at once: each takes two requests or three.
const CHECKS_MAX: usize = 16;

/// What is done with uploads that are ours.
#[derive(Debug, Clone, Copy)]
struct Rule {
    older_than: Duration,
    is_dry_run: bool,
}

/// What became of one upload.
#[derive(Debug)]
enum Outcome {
    /// It is ours.
    Ours {
        upload: Upload,
        age: Duration,
        parts: usize,
        bytes: u64,
        is_given_up: bool,
    },
    /// It is not, or nothing proves it.
    Foreign,
    /// It was completed or given up meanwhile.
    Over,
}

/// How many of each there were.
#[derive(Debug, Default)]
struct Counts {
    given_up: usize,
    bytes: u64,
    young: usize,
    foreign: usize,
    failures: usize,
    first_failure: Option<String>,
}

/// Lists and gives up.
pub(super) fn run(args: CleanupArgs) -> Result<()> {
    let rule = Rule {
        older_than: age("--older-than", &args.older_than)?,
        is_dry_run: args.dry_run,
    };
    let around = Surroundings::now();
    let connection = Connection::new(args.bucket.as_deref(), args.connection, &around)?;
    let runtime = connect::runtime()?;
    let counts = runtime.block_on(clean(&connection, rule));
    runtime.shutdown_background();
    tell(&connection, rule, &counts?)
}

async fn clean(connection: &Connection, rule: Rule) -> Result<Counts> {
    let bucket = connect::bucket(connection, &Arc::new(Metrics::default())).await?;
    let op = Op::awaited("cleanup");
    let mut counts = Counts::default();
    let mut marker = None;
    loop {
        let page = bucket.list_uploads(&op, connection.prefix.as_str(), marker.as_ref());
        let page = page.await.map_err(|error| explain(connection, error))?;
        let mut checks = JoinSet::new();
        for found in page.uploads {
            if checks.len() >= CHECKS_MAX
                && let Some(checked) = checks.join_next().await
            {
                counts.add(rule, checked?);
            }
            let bucket = Arc::clone(&bucket);
            checks.spawn(async move {
                let op = Op::awaited("cleanup");
                let checked = check(&bucket, &op, rule, &found).await;
                (found.key, checked)
            });
        }
        while let Some(checked) = checks.join_next().await {
            counts.add(rule, checked?);
        }
        marker = page.next;
        if marker.is_none() {
            return Ok(counts);
        }
    }
}

fn explain(connection: &Connection, error: Error) -> anyhow::Error {
    let (bucket, prefix) = (&connection.bucket, &connection.prefix);
    let denied = matches!(error.kind(), Kind::Denied { .. });
    let error = anyhow::Error::new(error);
    match denied {
        true => error.context(format!(
            "the role may not list the uploads of {bucket}; allow it oss:ListMultipartUploads on acs:oss:*:*:{bucket}, and oss:ListParts and \
             oss:AbortMultipartUpload on acs:oss:*:*:{bucket}/{prefix}*"
        )),
        false => error.context(format!("cannot list the uploads of {bucket}")),
    }
}

/// Looks at one upload, and gives it up if it is ours and old enough.
async fn check(bucket: &Bucket, op: &Op, rule: Rule, found: &OpenUpload) -> Result<Outcome, Error> {
    // A key that this program cannot write is not one of its uploads.
    let Ok(key) = ObjectKey::new(found.key.as_str()) else {
        return Ok(Outcome::Foreign);
    };
    let upload = Upload {
        key,
        id: found.id.clone(),
    };
    let looked = async {
        if !is_ours(bucket, op, &upload).await? {
            return Ok(Outcome::Foreign);
        }
        let (parts, bytes) = sent(bucket, op, &upload).await?;
        let age = since(found.initiated);
        let is_given_up = age >= rule.older_than;
        if is_given_up && !rule.is_dry_run {
            bucket.abort(op, &upload).await?;
        }
        Ok(Outcome::Ours {
            upload: upload.clone(),
            age,
            parts,
            bytes,
            is_given_up,
        })
    };
    match looked.await {
        Err(error) if *Error::kind(&error) == Kind::NoSuchUpload => Ok(Outcome::Over),
        outcome => outcome,
    }
}

/// By our clock, which may be a little behind that of OSS: what is from the future is new.
fn since(time: UnixTime) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let then = Duration::from_secs(u64::try_from(time.0).unwrap_or(0));
    now.unwrap_or_default().saturating_sub(then)
}

impl Counts {
    #[expect(clippy::print_stdout, reason = "the list is what was asked for")]
    fn add(&mut self, rule: Rule, (key, checked): (String, Result<Outcome, Error>)) {
        match checked {
            Ok(Outcome::Ours {
                upload,
                age,
                parts,
                bytes,
                is_given_up,
            }) => {
                let done = match (is_given_up, rule.is_dry_run) {
                    (true, false) => "given up",
                    (true, true) => "would be given up",
                    (false, _) => "too young",
                };
                println!(
                    "{}\t{}\t{parts} parts\t{}\t{done}",
                    upload.key,
                    shown_age(age),
                    ByteSize::b(bytes).display().iec()
                );
                if is_given_up {
                    self.given_up += 1;
                    self.bytes += bytes;
                } else {
                    self.young += 1;
                }
            }
            Ok(Outcome::Foreign) => self.foreign += 1,
            Ok(Outcome::Over) => {}
            Err(error) => {
                self.failures += 1;
                self.first_failure
                    .get_or_insert_with(|| format!("{}: {error}", key.escape_debug()));
            }
        }
    }
}

#[expect(clippy::print_stdout, reason = "the sum is a part of the list")]
fn tell(connection: &Connection, rule: Rule, counts: &Counts) -> Result<()> {
    let given_up = match rule.is_dry_run {
        true => "would be given up",
        false => "given up",
    };
    println!(
        "oss://{}/{}: {} uploads of rolefs {given_up} ({}), {} too young, {} of others left alone",
        connection.bucket,
        connection.prefix,
        counts.given_up,
        ByteSize::b(counts.bytes).display().iec(),
        counts.young,
        counts.foreign
    );
    match &counts.first_failure {
        None => Ok(()),
        Some(first) if counts.failures == 1 => bail!("{first}"),
        Some(first) => bail!("{first}; and {} more failures", counts.failures - 1),
    }
}
