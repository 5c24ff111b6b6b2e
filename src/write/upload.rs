//! The multipart upload of one file: begun with its first part, and what is known of its parts.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OnceCell, oneshot};

use super::body::assemble;
use super::error::Error;
use super::file::Fragment;
use super::limits::PartNumber;
use super::mark::mark;
use super::writer::Writer;
use crate::object::{ObjectKey, Source};
use crate::op::Op;
use crate::oss::{self, Condition, Kind, Properties};

/// An upload that may have been begun.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) key: ObjectKey,
    /// Of the object that it becomes. `None`: those of the object that is there.
    properties: Option<Properties>,
    upload: OnceCell<oss::Upload>,
    /// Tries to begin it that have failed, and how the last of them did.
    failures: Mutex<(u64, Option<Error>)>,
    /// Parts that are up, by number.
    parts: Mutex<BTreeMap<u16, oss::Part>>,
    /// By number, who was the last to be told to send it: a part that the file has outrun may still be on its way.
    turns: Mutex<HashMap<u16, oneshot::Receiver<()>>>,
    /// Whoever sends the first part marks the upload.
    is_marked: AtomicBool,
}

/// The right to send a part: in the order in which they were asked for, one after the other for each number.
#[derive(Debug)]
pub(super) struct Turn {
    number: u16,
    before: Option<oneshot::Receiver<()>>,
    /// Dropped when the part is up, or given up.
    _done: oneshot::Sender<()>,
}

impl Turn {
    async fn comes(&mut self) {
        if let Some(before) = self.before.take() {
            // The one before is over, however it ended.
            let _: Result<(), _> = before.await;
        }
    }
}

impl Session {
    pub(super) fn new(key: ObjectKey, properties: Option<Properties>) -> Self {
        Self {
            key,
            properties,
            upload: OnceCell::new(),
            failures: Mutex::default(),
            parts: Mutex::default(),
            turns: Mutex::default(),
            is_marked: AtomicBool::new(false),
        }
    }

    /// The upload, begun if it is not. Whoever waits for a try that fails gets its error: if each tried anew, one after the other, the last of sixteen
    /// parts would be told after sixteen times the patience of a request.
    pub(super) async fn begin(&self, writer: &Arc<Writer>, op: &Op) -> Result<&oss::Upload, Error> {
        let seen = self.failures().0;
        let begin = async {
            if let (now, Some(error)) = &*self.failures()
                && *now > seen
            {
                return Err(error.clone());
            }
            let begun = self.begin_anew(writer, op).await;
            match &begun {
                // Only this caller has given up.
                Err(Error::Oss(error)) if *error.kind() == Kind::Cancelled => {}
                Err(error) => {
                    let mut failures = self.failures();
                    *failures = (failures.0 + 1, Some(error.clone()));
                }
                Ok(_) => {}
            }
            begun
        };
        self.upload.get_or_try_init(|| begin).await
    }

    async fn begin_anew(&self, writer: &Arc<Writer>, op: &Op) -> Result<oss::Upload, Error> {
        let properties = match &self.properties {
            Some(properties) => properties.clone(),
            None => describe(writer, op, &self.key).await?,
        };
        let (tell, told) = oneshot::channel();
        let (owner, key) = (Arc::clone(writer), self.key.clone());
        // Whoever waits may be given up, and OSS would keep an upload of which nobody knows: so this goes on without him.
        writer.spawn_end(async move {
            let op = Op::background("initiate upload");
            let begun = owner
                .bucket
                .initiate(&op, &key, &properties, Condition::None);
            if let Err(Ok(unwanted)) = tell.send(begun.await) {
                abort(&owner, &unwanted).await;
            }
        });
        match told.await {
            Ok(begun) => Ok(begun?),
            // The mount ends.
            Err(_) => Err(Error::UploadGone(self.key.clone())),
        }
    }

    fn failures(&self) -> MutexGuard<'_, (u64, Option<Error>)> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The upload, if it was begun.
    pub(super) fn begun(&self) -> Option<&oss::Upload> {
        self.upload.get()
    }

    /// Stands in line to send the part of a number.
    pub(super) fn turn(&self, number: PartNumber) -> Turn {
        let (done, receiver) = oneshot::channel();
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let number = number.get();
        Turn {
            number,
            before: turns.insert(number, receiver),
            _done: done,
        }
    }

    /// Sends a part.
    pub(super) async fn send_part(
        &self,
        writer: &Arc<Writer>,
        op: &Op,
        mut turn: Turn,
        fragments: Vec<Fragment>,
    ) -> Result<(), Error> {
        let sent = async {
            // Who has memory and the place on the wire goes, so they come last, in this order.
            turn.comes().await;
            let body = assemble(writer, fragments).await?;
            let _place = writer.sends.acquire().await;
            let upload = self.begin(writer, op).await?;
            let part = writer.bucket.upload_part(op, upload, turn.number, &body);
            let ((), part) = tokio::join!(self.mark(writer, op, upload), part);
            self.is_up(part?);
            writer.metrics.write.parts_sent.inc();
            Ok(())
        };
        let sent: Result<(), Error> = sent.await;
        if sent.is_err() {
            writer.metrics.write.part_failures.inc();
        }
        sent
    }

    /// Has OSS copy a part.
    pub(super) async fn copy_part(
        &self,
        writer: &Arc<Writer>,
        op: &Op,
        mut turn: Turn,
        source: &Source,
    ) -> Result<(), Error> {
        let copied = async {
            turn.comes().await;
            let _place = writer.sends.acquire().await;
            let upload = self.begin(writer, op).await?;
            let part = writer
                .bucket
                .upload_part_copy(op, upload, turn.number, source, None);
            let ((), part) = tokio::join!(self.mark(writer, op, upload), part);
            self.is_up(part?);
            writer.metrics.write.parts_copied.inc();
            Ok(())
        };
        let copied: Result<(), Error> = copied.await;
        if copied.is_err() {
            writer.metrics.write.part_failures.inc();
        }
        copied
    }

    /// Marks the upload as ours, if nobody has.
    async fn mark(&self, writer: &Writer, op: &Op, upload: &oss::Upload) {
        if self.is_marked.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Err(error) = mark(&writer.bucket, op, upload).await {
            tracing::debug!(%error, key = %self.key, "an upload could not be marked as ours");
        }
    }

    /// The parts of these numbers, in their order; `None` if one is not up.
    pub(super) fn parts(
        &self,
        numbers: impl Iterator<Item = PartNumber>,
    ) -> Option<Vec<oss::Part>> {
        let parts = self.lock();
        numbers
            .map(|number| parts.get(&number.get()).cloned())
            .collect()
    }

    /// Asks OSS for the checksums of parts of which it told none.
    ///
    /// # Errors
    /// What every request can fail with; nothing is changed then.
    pub(super) async fn learn_checksums(&self, writer: &Writer, op: &Op) -> Result<(), oss::Error> {
        let Some(upload) = self.begun() else {
            return Ok(());
        };
        let mut after = Some(0);
        while let Some(number) = after {
            let page = writer.bucket.list_parts(op, upload, number).await?;
            let mut parts = self.lock();
            for told in page.parts {
                if let Some(known) = parts.get_mut(&told.number)
                    && known.etag == told.etag
                    && known.size == told.size
                {
                    known.crc64 = known.crc64.or(told.crc64);
                }
            }
            after = page.next;
        }
        Ok(())
    }

    /// Which parts of these OSS does not have as they were sent, after it refused to complete the upload with them. They are forgotten.
    ///
    /// # Errors
    /// What every request can fail with.
    pub(super) async fn forget_wrong(
        &self,
        writer: &Writer,
        op: &Op,
        parts: &[oss::Part],
    ) -> Result<Vec<PartNumber>, oss::Error> {
        let Some(upload) = self.begun() else {
            return Ok(Vec::new());
        };
        let mut there = HashMap::new();
        let mut after = Some(0);
        while let Some(number) = after {
            let page = writer.bucket.list_parts(op, upload, number).await?;
            there.extend(page.parts.into_iter().map(|part| (part.number, part.etag)));
            after = page.next;
        }
        let is_wrong = |part: &&oss::Part| there.get(&part.number) != Some(&part.etag);
        let wrong = parts.iter().filter(is_wrong).map(|part| part.number);
        let wrong: Vec<u16> = wrong.collect();
        let mut known = self.lock();
        for number in &wrong {
            known.remove(number);
        }
        Ok(wrong.into_iter().filter_map(PartNumber::new).collect())
    }

    /// Gives the upload up.
    pub(super) async fn abort(&self, writer: &Writer) {
        if let Some(upload) = self.begun() {
            abort(writer, upload).await;
        }
    }

    fn is_up(&self, part: oss::Part) {
        self.lock().insert(part.number, part);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u16, oss::Part>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is said of the object that is there, if there is one.
async fn describe(writer: &Writer, op: &Op, key: &ObjectKey) -> Result<Properties, Error> {
    match writer.bucket.describe_with_tags(op, key).await {
        Ok(description) => Ok(description.properties),
        Err(error) if *error.kind() == Kind::NotFound => Ok(Properties::default()),
        Err(error) => Err(error.into()),
    }
}

async fn abort(writer: &Writer, upload: &oss::Upload) {
    let op = Op::background("abort upload");
    match writer.bucket.abort(&op, upload).await {
        Ok(()) => {
            writer.metrics.write.uploads_aborted.inc();
        }
        Err(error) => {
            tracing::warn!(%error, key = %upload.key, "an upload that is not needed could not be given up");
        }
    }
}
