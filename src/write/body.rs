//! Bodies of what is sent, put together from where the bytes lie.
//!
//! Staged bytes in memory are sent from where they are, and holes from one page of zeros. Bytes of objects and of staging files are
//! brought into memory that is leased for it, all of it at once, and short runs are copied beside them: a body of a million pieces would
//! cost more than its bytes.

use std::sync::Arc;

use bytes::Bytes;
use crc_fast::CrcAlgorithm::Crc64Xz;
use crc_fast::Digest;

use super::error::Error;
use super::file::{Fragment, Staged};
use super::writer::{FETCH_BYTES_MAX, Writer};
use crate::buffer::{BLOCK_BYTES, Block, BlockWriter, Class, Lease, Publish, capacity_for};
use crate::object::Source;
use crate::oss::Body;

/// Shorter runs are copied together.
const PIECE_BYTES_MIN: u64 = 4 << 10;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What of a body is made how.
enum Run {
    Sent(Bytes),
    Zeros(u64),
    /// Copied into memory of their own: at most a block.
    Copied(Vec<Fragment>, usize),
}

/// The body of these fragments. Waits for memory of the class [`Class::Commit`], and then for bytes of objects.
///
/// # Errors
/// [`Error::NoRoom`] if more has to be copied together than one lease may have, [`Error::Fetch`] and [`Error::Staging`].
pub(super) async fn assemble(
    writer: &Arc<Writer>,
    fragments: Vec<Fragment>,
) -> Result<Body, Error> {
    Ok(Body::new(pieces(writer, fragments).await?))
}

async fn pieces(writer: &Arc<Writer>, fragments: Vec<Fragment>) -> Result<Vec<Bytes>, Error> {
    let runs = runs(fragments);
    let copied = |run: &Run| match run {
        Run::Copied(_, bytes) => capacity_for(*bytes),
        Run::Sent(_) | Run::Zeros(_) => 0,
    };
    let wanted: u64 = runs.iter().map(copied).sum();
    let limit = writer.budget.max_lease(Class::Commit);
    if wanted > limit {
        let space = writer.staging.space();
        return Err(Error::NoRoom {
            wanted,
            staged: space.memory(),
            limit,
            on_disk: space.disk(),
        });
    }
    let mut lease = match wanted {
        0 => None,
        _ => Some(writer.budget.lease(Class::Commit, wanted).await),
    };
    let mut pieces = Vec::with_capacity(runs.len());
    for run in runs {
        match run {
            Run::Sent(bytes) => pieces.push(bytes),
            Run::Zeros(bytes) => zeros(bytes, &mut pieces),
            Run::Copied(fragments, bytes) => {
                let lease = lease.as_mut().expect("a run that is copied was counted");
                let lease = lease.split(capacity_for(bytes));
                pieces.push(copy(writer, fragments, bytes, lease).await?);
            }
        }
    }
    Ok(pieces)
}

/// The same with its checksum, so that what is made can be told before it is sent.
///
/// # Errors
/// As [`assemble`].
pub(super) async fn assemble_checked(
    writer: &Arc<Writer>,
    fragments: Vec<Fragment>,
) -> Result<Body, Error> {
    let pieces = pieces(writer, fragments).await?;
    let mut digest = Digest::new(Crc64Xz);
    for piece in &pieces {
        digest.update(piece);
    }
    Ok(Body::new(pieces).with_crc64(digest.finalize()))
}

/// Sorts fragments into what is sent as it is and what is copied.
fn runs(fragments: Vec<Fragment>) -> Vec<Run> {
    let mut runs = Vec::new();
    for fragment in fragments {
        let long = fragment.len() >= PIECE_BYTES_MIN;
        match &fragment {
            Fragment::Staged(staged) if long && let Some(bytes) = staged.bytes() => {
                runs.push(Run::Sent(bytes));
            }
            Fragment::Zeros(bytes) if long => runs.push(Run::Zeros(*bytes)),
            Fragment::Staged(_) | Fragment::Zeros(_) | Fragment::Object(_) => {
                add_copied(fragment, &mut runs);
            }
        }
    }
    runs
}

/// Adds a fragment to the last run that is copied, cut where that has a block.
fn add_copied(fragment: Fragment, runs: &mut Vec<Run>) {
    let mut left = Some(fragment);
    while let Some(fragment) = left.take() {
        if !matches!(runs.last(), Some(Run::Copied(_, bytes)) if *bytes < BLOCK_BYTES) {
            runs.push(Run::Copied(Vec::new(), 0));
        }
        let Some(Run::Copied(fragments, bytes)) = runs.last_mut() else {
            return;
        };
        let fits = (BLOCK_BYTES - *bytes) as u64;
        let (front, back) = split(fragment, fits);
        *bytes += usize::try_from(front.len()).expect("it fits into a block");
        fragments.push(front);
        left = back;
    }
}

/// The first `at` bytes of a fragment, and the rest.
fn split(fragment: Fragment, at: u64) -> (Fragment, Option<Fragment>) {
    if fragment.len() <= at {
        return (fragment, None);
    }
    match fragment {
        Fragment::Staged(staged) => {
            let (front, back) = staged.split(at);
            (Fragment::Staged(front), Some(Fragment::Staged(back)))
        }
        Fragment::Zeros(bytes) => (Fragment::Zeros(at), Some(Fragment::Zeros(bytes - at))),
        Fragment::Object(source) => {
            let middle = source.range.start + at;
            let part = |range| {
                Fragment::Object(Source {
                    version: Arc::clone(&source.version),
                    range,
                })
            };
            let front = part(source.range.start..middle);
            (front, Some(part(middle..source.range.end)))
        }
    }
}

async fn copy(
    writer: &Arc<Writer>,
    fragments: Vec<Fragment>,
    bytes: usize,
    lease: Lease,
) -> Result<Bytes, Error> {
    let (block, mut into) = Block::writer(lease, bytes, Publish::WhenWhole);
    for fragment in fragments {
        match fragment {
            Fragment::Zeros(bytes) => {
                let mut zeros_left = Vec::new();
                zeros(bytes, &mut zeros_left);
                zeros_left.iter().for_each(|piece| into.put(piece));
            }
            Fragment::Staged(staged) => match staged.bytes() {
                Some(bytes) => into.put(&bytes),
                None => into = from_disk(writer, staged, into).await?,
            },
            Fragment::Object(source) => {
                let mut at = source.range.start;
                while at < source.range.end {
                    let range = at..source.range.end.min(at + FETCH_BYTES_MAX);
                    at = range.end;
                    let wanted = range.end - range.start;
                    let version = Arc::clone(&source.version);
                    let fetched = (writer.fetch)(Source { version, range }).await;
                    let fetched = fetched.map_err(Error::Fetch)?;
                    assert_eq!(fetched.len() as u64, wanted, "exactly what was asked for");
                    into.put(&fetched);
                }
            }
        }
    }
    into.finish();
    Ok(Bytes::from_owner(Whole(block)))
}

/// Reads a staging file, on a thread that may wait for a disk.
async fn from_disk(
    writer: &Arc<Writer>,
    staged: Staged,
    mut into: BlockWriter,
) -> Result<BlockWriter, Error> {
    let read = writer.runtime.spawn_blocking(move || {
        // One for each thread at a time, in pieces that need no lease.
        let mut piece = vec![0; 64 << 10];
        let mut at = 0;
        while at < staged.len() {
            let bytes = (staged.len() - at).min(piece.len() as u64);
            let piece = &mut piece[..usize::try_from(bytes).expect("a piece is small")];
            staged.copy_to(at, piece)?;
            into.put(piece);
            at += bytes;
        }
        Ok(into)
    });
    let read = read
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)));
    read.map_err(|error| Error::Staging(Arc::new(error)))
}

fn zeros(bytes: u64, pieces: &mut Vec<Bytes>) {
    let mut left = bytes;
    while left > 0 {
        let piece = left.min(ZEROS.len() as u64);
        let len = usize::try_from(piece).expect("a piece is small");
        pieces.push(Bytes::from_static(&ZEROS[..len]));
        left -= piece;
    }
}

/// A block that was filled, as long as somebody sends it.
struct Whole(Arc<Block>);

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        self.0.get(0..self.0.len()).expect("it was finished")
    }
}
