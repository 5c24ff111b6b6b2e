//! The head of a log: what its changes are changes of.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crc_fast::CrcAlgorithm::Crc64Xz;
use serde::{Deserialize, Serialize};

use crate::object::{ETag, ObjectKey, Version};

/// The version that a file begins from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::write) struct BaseOf {
    pub(super) etag: String,
    pub(super) size: u64,
}

/// A commit that may have had its effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::write) struct Unsure {
    /// The change that it stores.
    pub(in crate::write) generation: u64,
    /// Bytes of the object that it makes.
    pub(in crate::write) bytes: u64,
    /// CRC-64/XZ of them.
    pub(in crate::write) crc64: u64,
}

/// What a file is, before what is logged of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::write) struct Identity {
    /// The key that it is to be stored as.
    pub(in crate::write) key: ObjectKey,
    /// ETag and size of the object of that key; `None`: there is none yet.
    pub(in crate::write) base: Option<(ETag, u64)>,
    /// The last change that the object has.
    pub(in crate::write) generation: u64,
    /// A rename has put it over what is there.
    pub(in crate::write) replaces: bool,
}

impl Identity {
    pub(in crate::write) fn new(key: ObjectKey, base: Option<&Version>, generation: u64) -> Self {
        Self {
            key,
            base: base.map(|version| (version.etag().clone(), version.size())),
            generation,
            replaces: false,
        }
    }
}

/// All that a head says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) endpoint: String,
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) base: Option<BaseOf>,
    pub(super) generation: u64,
    /// As in [`Identity`].
    #[serde(default)]
    pub(super) replaces: bool,
    /// The first segment that counts.
    pub(super) first: u32,
    pub(super) unsure: Option<Unsure>,
    /// The log was given up: this is only the name.
    pub(super) is_given_up: bool,
}

impl Head {
    pub(super) fn identify(&mut self, identity: &Identity) {
        identity.key.as_str().clone_into(&mut self.key);
        self.base = identity.base.as_ref().map(|(etag, size)| BaseOf {
            etag: etag.as_str().to_owned(),
            size: *size,
        });
        self.generation = identity.generation;
        self.replaces = identity.replaces;
    }

    /// Puts it in the place of the head that is there.
    pub(super) fn store(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        let crc64 = crc_fast::checksum(Crc64Xz, &text);
        let new = path.with_extension("new");
        let mut options = fs::OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut bytes = format!("{crc64:016x}\n").into_bytes();
        bytes.extend_from_slice(&text);
        options.open(&new)?.write_all(&bytes)?;
        fs::rename(new, path)
    }

    /// Reads one; `None` if it is damaged.
    pub(super) fn load(path: &Path) -> io::Result<Option<Self>> {
        let bytes = fs::read(path)?;
        Ok(Self::parse(&bytes))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (check, text) = bytes.split_at_checked(17)?;
        let check = std::str::from_utf8(check.strip_suffix(b"\n")?).ok()?;
        let crc64 = u64::from_str_radix(check, 16).ok()?;
        if crc64 != crc_fast::checksum(Crc64Xz, text) {
            return None;
        }
        serde_json::from_slice(text).ok()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_head_comes_back_or_is_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1.head");
        let head = Head {
            endpoint: "http://e".to_owned(),
            bucket: "b".to_owned(),
            key: "a\u{1}\"b".to_owned(),
            base: Some(BaseOf {
                etag: "5B".to_owned(),
                size: 7,
            }),
            generation: 3,
            replaces: true,
            first: 2,
            unsure: Some(Unsure {
                generation: 9,
                bytes: u64::MAX,
                crc64: u64::MAX,
            }),
            is_given_up: false,
        };
        head.store(&path).unwrap();
        assert_eq!(Head::load(&path).unwrap(), Some(head));
        let bytes = fs::read(&path).unwrap();
        for cut in 0..bytes.len() {
            assert_eq!(Head::parse(&bytes[..cut]), None, "{cut}");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
