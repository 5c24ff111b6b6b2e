//! `rolefs recover`: what a crashed mount has left unstored in its staging directory.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use bytesize::ByteSize;
use tokio::runtime::Handle;

use super::args::{ConnectionArgs, RecoverAction, RecoverArgs};
use super::config::{Connection, Limits, Surroundings, shown_age};
use super::connect;
use crate::buffer::{Budget, Failure};
use crate::cache::BlockCache;
use crate::fs as file_system;
use crate::metrics::Metrics;
use crate::object::ObjectKey;
use crate::op::Op;
use crate::oss::Bucket;
use crate::read::{self, Reader};
use crate::write::{self, CrashedMount, Fetch, Recovered, Standing, UnfinishedFile, Writer};

/// Memory for what is on its way.
const MEMORY_BYTES: u64 = 256 << 20;

/// A bucket, and what stores to it.
struct Place {
    bucket: Arc<Bucket>,
    writer: Arc<Writer>,
    fetch: Fetch,
}

/// The buckets that files belong to, opened when they are needed.
struct Places {
    args: ConnectionArgs,
    around: Surroundings,
    open: HashMap<(String, String), Arc<Place>>,
}

/// Does what was asked for.
pub(super) fn run(args: &RecoverArgs) -> Result<()> {
    let runtime = connect::runtime()?;
    let outcome = runtime.block_on(recover(args));
    runtime.shutdown_background();
    outcome
}

#[expect(clippy::print_stdout, reason = "the list is what was asked for")]
async fn recover(args: &RecoverArgs) -> Result<()> {
    ensure!(
        args.to.is_none() || args.action == RecoverAction::Restore,
        "--to is for 'rolefs recover restore'"
    );
    let directory = &args.staging_dir;
    let crashed = CrashedMount::find(directory);
    let mut crashed = crashed.with_context(|| directory.display().to_string())?;
    let mut places = Places {
        args: args.connection.clone().without_empty(),
        around: Surroundings::now(),
        open: HashMap::new(),
    };
    let known = crashed.iter().flat_map(CrashedMount::files);
    let known: HashSet<&str> = known.map(|file| file.key().as_str()).collect();
    if let Some(absent) = args.keys.iter().find(|key| !known.contains(key.as_str())) {
        bail!(
            "{}: nothing of {absent} is there; 'rolefs recover' lists what is",
            directory.display()
        );
    }
    let is_asked_for = |file: &&UnfinishedFile| {
        args.keys.is_empty() || args.keys.iter().any(|key| key == file.key().as_str())
    };
    let (mut count, mut failures, mut damaged) = (0, 0, 0);
    for mount in &mut crashed {
        for file in mount.files().iter().filter(is_asked_for) {
            count += 1;
            let done = one(args, &mut places, file).await;
            if let Err(error) = &done {
                failures += 1;
                println!("{}\t{error:#}", shown(file));
            }
        }
        if args.action == RecoverAction::Drop && args.keys.is_empty() {
            mount.remove_damaged();
        }
        damaged += mount.damaged();
    }
    if damaged > 0 {
        println!("{damaged} files are damaged so that not even their names are known");
    }
    if count == 0 {
        println!(
            "{}: nothing of a crashed mount is there",
            directory.display()
        );
    }
    ensure!(
        failures == 0,
        "{failures} of {count} files were left where they are"
    );
    Ok(())
}

/// Does it to one file. What cannot be done is an error, which leaves the file as it is.
#[expect(clippy::print_stdout, reason = "the list is what was asked for")]
async fn one(args: &RecoverArgs, places: &mut Places, file: &UnfinishedFile) -> Result<()> {
    if args.action == RecoverAction::Drop {
        file.remove();
        println!("{}\tdropped", shown(file));
        return Ok(());
    }
    let place = places.of(file).await?;
    let op = Op::awaited("recover");
    let found = file.look(&place.bucket, &op).await?;
    let done = match (args.action, &args.to) {
        (RecoverAction::List | RecoverAction::Drop, _) => said(&found),
        (RecoverAction::Restore, Some(to)) => save(&place, file, &found, to).await?,
        (RecoverAction::Restore, None) => restore(&place, file, &found).await?,
    };
    println!("{}\t{}\t{done}", shown(file), size(&found));
    Ok(())
}

async fn restore(place: &Place, file: &UnfinishedFile, found: &Recovered) -> Result<String> {
    match found.standing() {
        Standing::Unchanged => {}
        Standing::Stored => {
            file.remove();
            return Ok("was stored already".to_owned());
        }
        Standing::Changed | Standing::GivenUp => bail!("{}", said(found)),
    }
    let op = Op::awaited("recover");
    found.store(&place.writer, &op).await?;
    place.writer.ended().await;
    file.remove();
    Ok(format!("restored{}", caveat(found)))
}

async fn save(
    place: &Place,
    file: &UnfinishedFile,
    found: &Recovered,
    to: &Path,
) -> Result<String> {
    ensure!(found.standing() != Standing::GivenUp, "{}", said(found));
    let path = below(to, file.key())?;
    let is_gone = |failure: &Failure| {
        let error = failure.downcast_ref::<read::Error>();
        error.is_some_and(read::Error::is_of_a_lost_version)
    };
    let missing = found.save(&path, &place.fetch, is_gone).await;
    let missing = missing.with_context(|| path.display().to_string())?;
    file.remove();
    let lost = match missing {
        0 => String::new(),
        missing => format!(
            "; {missing} bytes of the object that somebody else has replaced are gone, and zeros there"
        ),
    };
    let shown = path.display();
    Ok(format!("restored to {shown}{lost}{}", caveat(found)))
}

/// Where a key is below a directory. A key may hold anything.
fn below(directory: &Path, key: &ObjectKey) -> Result<PathBuf> {
    let path = Path::new(key.as_str());
    let is_plain = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    ensure!(is_plain, "the key is no path below a directory");
    Ok(directory.join(path))
}

fn shown(file: &UnfinishedFile) -> String {
    let age = SystemTime::now().duration_since(file.modified());
    let age = shown_age(age.unwrap_or_default());
    format!("oss://{}/{}\t{age} ago", file.bucket(), file.key())
}

fn size(found: &Recovered) -> String {
    let all = ByteSize::b(found.len()).display().iec();
    let dirty = ByteSize::b(found.dirty_bytes()).display().iec();
    format!("{all}, {dirty} of it not stored")
}

fn said(found: &Recovered) -> String {
    match found.standing() {
        Standing::Unchanged => format!("can be restored{}", caveat(found)),
        Standing::Stored => "is stored already".to_owned(),
        Standing::Changed => format!(
            "somebody else has changed the object since: restore it with --to DIR{}",
            caveat(found)
        ),
        Standing::GivenUp => {
            "is lost: there was no room for it in the staging directory".to_owned()
        }
    }
}

fn caveat(found: &Recovered) -> &'static str {
    match found.is_whole() {
        true => "",
        false => ", as it was before its last writes: the log is damaged",
    }
}

impl Places {
    async fn of(&mut self, file: &UnfinishedFile) -> Result<Arc<Place>> {
        let name = (file.endpoint().to_owned(), file.bucket().to_owned());
        if let Some(open) = self.open.get(&name) {
            return Ok(Arc::clone(open));
        }
        let mut args = self.args.clone();
        args.endpoint.get_or_insert_with(|| name.0.clone());
        let connection = Connection::new(Some(&name.1), args, &self.around)?;
        let limits = Limits::for_cores(self.around.cores);
        let place = Arc::new(Place::open(&connection, &limits).await?);
        self.open.insert(name, Arc::clone(&place));
        Ok(place)
    }
}

impl Place {
    async fn open(connection: &Connection, limits: &Limits) -> Result<Self> {
        let metrics = Arc::new(Metrics::default());
        let bucket = connect::bucket(connection, &metrics).await?;
        let budget = Budget::new(MEMORY_BYTES, Arc::clone(&metrics));
        let reader = Reader::new(
            read::Config {
                window_bytes_max: limits.window_bytes_max,
                gets_max: limits.gets_max,
            },
            Arc::clone(&bucket),
            BlockCache::new(&budget, Arc::clone(&metrics)),
            Arc::clone(&budget),
            Arc::clone(&metrics),
            Handle::current(),
        );
        let fetch = file_system::fetch(reader);
        let writer = Writer::new(
            write::Config::new(&budget),
            Arc::clone(&bucket),
            budget,
            Arc::clone(&fetch),
            metrics,
            Handle::current(),
        );
        Ok(Self {
            bucket,
            writer,
            fetch,
        })
    }
}
