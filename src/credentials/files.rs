//! Reading files that somebody else rewrites: whole, bounded, one at a time, wiped.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::timeout;
use zeroize::Zeroizing;

use super::document::{self, DOCUMENT_BYTES_MAX, Writer};
use super::error::Trouble;
use super::fetch::{ATTEMPT_TIMEOUT, Answer};

/// A file is taken as whole when two readings this far apart agree.
const SETTLE: Duration = Duration::from_millis(20);
/// Readings of a file that keeps changing before it is left for later.
const SETTLE_READINGS: u32 = 5;

/// Reads files for one provider.
#[derive(Debug, Clone, Default)]
pub(super) struct Files {
    /// One reading of a file at a time: on a hanging file system no second thread gets stuck.
    reading: Arc<tokio::sync::Mutex<()>>,
}

impl Files {
    /// Reads a document until two readings agree in bytes and time of change: a writer that overwrites in place could
    /// otherwise show the key id of one set beside the token of another, in valid JSON.
    pub(super) async fn settled(&self, path: &Path) -> Answer {
        let mut last = self.read(path, DOCUMENT_BYTES_MAX).await?;
        for _ in 0..SETTLE_READINGS {
            tokio::time::sleep(SETTLE).await;
            let next = self.read(path, DOCUMENT_BYTES_MAX).await?;
            if next == last {
                return document::parse(&last.bytes, Writer::File);
            }
            last = next;
        }
        Err(Trouble::unusable("it is being written"))
    }

    /// One reading of the watched file, to see whether a second look is worth it; torn or mixed as it may be.
    pub(super) async fn glance(&self, path: &Path) -> Answer {
        let reading = self.read(path, DOCUMENT_BYTES_MAX).await?;
        document::parse(&reading.bytes, Writer::File)
    }

    /// A file of at most `max` bytes as it is now.
    pub(super) async fn text(&self, path: &Path, max: usize) -> Result<Zeroizing<String>, Trouble> {
        let reading = self.read(path, max).await?;
        match std::str::from_utf8(&reading.bytes) {
            Ok(text) => Ok(Zeroizing::new(text.to_owned())),
            Err(_) => Err(Trouble::unusable("it is not UTF-8")),
        }
    }

    async fn read(&self, path: &Path, max: usize) -> Result<Reading, Trouble> {
        let path = path.to_owned();
        let reading = Arc::clone(&self.reading);
        let read = async move {
            let turn = reading.lock_owned().await;
            tokio::task::spawn_blocking(move || {
                let _turn = turn;
                read_bounded(&path, max)
            })
            .await
        };
        match timeout(ATTEMPT_TIMEOUT, read).await {
            Err(_) => Err(Trouble::unusable("reading it takes too long")),
            Ok(Err(_)) => Err(Trouble::unusable("reading it was cut short")),
            Ok(Ok(Ok(reading))) if reading.bytes.len() > max => {
                Err(Trouble::unusable("it is too long"))
            }
            Ok(Ok(Ok(reading))) => Ok(reading),
            Ok(Ok(Err(error)))
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Err(Trouble::Absent("not there".to_owned()))
            }
            Ok(Ok(Err(error))) => Err(Trouble::Unusable(error.to_string())),
        }
    }
}

/// A file as it was at one moment, or while it was being written.
#[derive(PartialEq, Eq)]
struct Reading {
    bytes: Zeroizing<Vec<u8>>,
    /// Bytes alone would not do: a slow writer may be in a stretch in which the old and the new text are the same.
    changed: SystemTime,
}

fn read_bounded(path: &Path, max: usize) -> io::Result<Reading> {
    let mut file = std::fs::File::open(path)?;
    // All the room there can be, at once: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(max + 1));
    (&mut file).take(max as u64 + 1).read_to_end(&mut bytes)?;
    let changed = file.metadata()?.modified()?;
    Ok(Reading { bytes, changed })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn readings_with_a_write_between_them_do_not_agree_although_their_bytes_do() {
        let read = |path| read_bounded(path, DOCUMENT_BYTES_MAX).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "same").unwrap();
        let before = read(file.path());
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        // The kernel's clock of files moves in ticks.
        while file.path().metadata().unwrap().modified().unwrap() == before.changed {
            assert!(std::time::Instant::now() < deadline);
            std::fs::write(&file, "same").unwrap();
        }
        let after = read(file.path());
        assert!(before.bytes == after.bytes && before != after);
        assert!(after == read(file.path()));
    }
}
