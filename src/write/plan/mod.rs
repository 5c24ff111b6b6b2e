//! How a file gets into the bucket, once somebody wants it there.
//!
//! A [`Plan`] is a function of what the file consists of ([`ExtentMap`]), which parts of it are up already ([`Parts`]), and
//! what can be had of its objects without sending ([`Bases`]). Small files are one PutObject. Of large ones the clean parts are
//! kept, unchanged ranges of objects are copied by OSS, and the rest is sent ([`fill`]): nothing that is in the bucket
//! already is sent, but what a part needs to reach its least size.
//!
//! A plan names ranges of the file, at most one for each part; what they consist of says the map ([`ExtentMap::pieces`]). So
//! the plan of 48.8 TB with a million changes takes some hundred kilobytes. It belongs to the map that it was made from:
//! clone that, for as long as writes go on meanwhile.
//!
//! **There is always a plan.** Bytes that lie only in parts which cannot be kept are named ([`Plan::Materialise`]):
//! the upload is completed to a hidden object, they lie in that from then on, no part is left, and the next plan does not ask again. Without parts any file
//! of up to [`FILE_BYTES_MAX`] bytes has numbers enough, if need be by sending more.

mod fill;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests;

use std::ops::Range;

use super::bases::{BaseId, Bases, Copying};
use super::extents::{ExtentMap, Piece, Place};
use super::limits::{FILE_BYTES_MAX, Limits, PART_BYTES_MAX, PARTS_MAX, PartNumber};
use super::parts::{Part, Parts};
use fill::Gap;

/// What a commit starts from.
#[derive(Debug, Clone, Copy)]
pub struct Commit<'a> {
    /// The file.
    pub map: &'a ExtentMap,
    /// Its upload.
    pub parts: &'a Parts,
    /// Its objects.
    pub bases: &'a Bases,
    /// What the file's name stands for in the bucket; `None` if it was created.
    pub origin: Option<BaseId>,
    /// The bounds to keep to.
    pub limits: &'a Limits,
}

/// What a part of the new object is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// It is up, or being sent: wait for it.
    Keep,
    /// UploadPart of what the map says, which may lie in objects too: those bytes are read for it.
    Upload,
    /// UploadPartCopy.
    Copy {
        /// From which object.
        base: BaseId,
        /// The first byte, in the object.
        offset: u64,
    },
}

/// One part of the new object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its number. A part that is not kept may have been sent under this number before: it replaces that.
    pub number: PartNumber,
    /// Its bytes, in the file.
    pub range: Range<u64>,
    /// How it is made.
    pub make: Make,
}

/// How a file gets into the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// It is there. An upload, if there is one, is given up.
    Nothing,
    /// One PutObject of the whole file. An upload, if there is one, is given up.
    Put,
    /// One CopyObject.
    Copy(BaseId),
    /// All parts of a multipart upload, in the order of the file, which is that of the numbers. The rest can be done in any order, and then
    /// the upload is completed with exactly these parts.
    Multipart(Vec<Step>),
    /// These ranges of the file must be readable first. Complete the upload with the parts of [`Parts::layout`] to a hidden object,
    /// tell the map ([`ExtentMap::materialised`]) and the parts ([`Parts::ended`]), and plan again.
    Materialise(Vec<Range<u64>>),
    /// The file is longer than OSS takes ([`FILE_BYTES_MAX`]).
    TooLong,
}

impl Plan {
    /// Bytes that are sent by the commit itself.
    #[must_use]
    pub fn sent_bytes(&self, map: &ExtentMap) -> u64 {
        match self {
            Self::Put => map.len(),
            Self::Multipart(steps) => steps
                .iter()
                .filter(|step| step.make == Make::Upload)
                .map(|step| step.range.end - step.range.start)
                .sum(),
            Self::Nothing | Self::Copy(_) | Self::Materialise(_) | Self::TooLong => 0,
        }
    }

    /// True if bytes of `base` are read or copied: the plan fails if the object is not there any more.
    #[must_use]
    pub fn needs(&self, base: BaseId, map: &ExtentMap) -> bool {
        let lies_there = |range: &Range<u64>| {
            map.pieces(range.clone())
                .any(|piece| matches!(piece.place, Place::Base { base: it, .. } if it == base))
        };
        match self {
            Self::Put => map.base_bytes(base) > 0,
            Self::Copy(it) => *it == base,
            Self::Multipart(steps) => steps.iter().any(|step| match step.make {
                Make::Keep => false,
                Make::Upload => map.base_bytes(base) > 0 && lies_there(&step.range),
                Make::Copy { base: it, .. } => it == base,
            }),
            Self::Nothing | Self::Materialise(_) | Self::TooLong => false,
        }
    }
}

/// The pieces of what is to be sent that must be read from the bucket for it.
pub fn fetched(map: &ExtentMap, range: Range<u64>) -> impl Iterator<Item = Piece> + use<'_> {
    map.pieces(range)
        .filter(|piece| matches!(piece.place, Place::Base { .. }))
}

impl Commit<'_> {
    /// How the file gets into the bucket. O(n) in the runs of the file that are in no clean part.
    #[must_use]
    pub fn plan(&self) -> Plan {
        if self.map.len() > FILE_BYTES_MAX {
            return Plan::TooLong;
        }
        let whole = self.whole();
        if self.origin.is_some() && whole == self.origin {
            return Plan::Nothing;
        }
        if let Some(base) = whole.filter(|base| self.is_copied_whole(*base)) {
            return Plan::Copy(base);
        }
        let is_small = self.map.len() <= self.limits.put_bytes_max.clamp(1, PART_BYTES_MAX);
        if is_small && self.map.totals().uploaded == 0 && !self.parts.iter().any(Part::is_clean) {
            return Plan::Put;
        }
        let kept: Vec<&Part> = self.parts.iter().filter(|part| part.is_clean()).collect();
        match self.around(&kept) {
            Ok(Some(steps)) => Plan::Multipart(steps),
            Err(uploaded) => Plan::Materialise(uploaded),
            // Numbers do not suffice between the parts that are up. Without them they do.
            Ok(None) => match self.around(&[]) {
                Ok(Some(steps)) => Plan::Multipart(steps),
                Ok(None) => Plan::TooLong,
                Err(uploaded) => Plan::Materialise(uploaded),
            },
        }
    }

    /// The object that the file is, if it is one from its first to its last byte.
    fn whole(&self) -> Option<BaseId> {
        let base = match self.map.is_empty() {
            true => self.origin?,
            false => self.map.only_base()?,
        };
        let is_all = self.bases.get(base).version.size() == self.map.len();
        is_all.then_some(base)
    }

    fn is_copied_whole(&self, base: BaseId) -> bool {
        match self.bases.get(base).copying {
            Copying::Nothing => false,
            Copying::Whole => true,
            Copying::Ranges => self.map.len() <= self.limits.copy_object_bytes_max,
        }
    }

    /// The steps with these parts kept; `None` if there are too few numbers between them.
    fn around(&self, kept: &[&Part]) -> Result<Option<Vec<Step>>, Vec<Range<u64>>> {
        let mut steps = Vec::new();
        let mut uploaded = Vec::new();
        let (mut at, mut number) = (0, 0);
        for part in kept.iter().map(Some).chain([None]) {
            let (end, next) = match part {
                Some(part) => (part.sealed.start, part.number.get()),
                None => (self.map.len(), PARTS_MAX + 1),
            };
            let gap = Gap {
                map: self.map,
                bases: self.bases,
                limits: self.limits,
                range: at..end,
                numbers: number + 1..next,
            };
            match gap.fill() {
                Err(ranges) => uploaded.extend(ranges),
                Ok(None) => return Ok(None),
                Ok(Some(filled)) => steps.extend(filled),
            }
            if let Some(part) = part {
                (at, number) = (part.sealed.end, next);
                steps.push(Step {
                    number: part.number,
                    range: part.sealed.clone(),
                    make: Make::Keep,
                });
            }
        }
        match uploaded.is_empty() {
            true => Ok(Some(steps)),
            false => Err(uploaded),
        }
    }
}
