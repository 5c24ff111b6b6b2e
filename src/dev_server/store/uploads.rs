//! The uploads in progress of one bucket.

use std::sync::Arc;

use jiff::Timestamp;

use super::upload::Part;
use super::{Bucket, Chosen, IfPresent, Object, OssError, Received, Upload};

/// What a listing of uploads asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AskUploads<'a> {
    pub(crate) prefix: &'a str,
    /// Empty for none.
    pub(crate) delimiter: &'a str,
    /// Uploads of later keys; empty for the beginning.
    pub(crate) key_marker: &'a str,
    /// With it, later uploads of the marker's key too.
    pub(crate) id_marker: &'a str,
    /// Uploads and common prefixes of a page together.
    pub(crate) entries_max: usize,
}

/// One line of a listing of uploads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UploadEntry {
    Upload {
        key: String,
        id: String,
        initiated: Timestamp,
    },
    CommonPrefix(String),
}

impl UploadEntry {
    /// Key and id for the marker behind it.
    pub(crate) fn marker(&self) -> (&str, &str) {
        match self {
            Self::Upload { key, id, .. } => (key, id),
            Self::CommonPrefix(prefix) => (prefix, ""),
        }
    }
}

impl Bucket {
    /// Begins an upload and returns its id.
    pub(crate) fn initiate(&self, upload: Upload) -> String {
        let id = format!("{:032X}", fastrand::u128(..));
        self.state().uploads.insert(id.clone(), upload);
        id
    }

    /// Looks at an upload of `key`.
    ///
    /// # Errors
    /// 404 `NoSuchUpload`.
    pub(crate) fn upload<T>(
        &self,
        key: &str,
        id: &str,
        look: impl FnOnce(&mut Upload) -> T,
    ) -> Result<T, OssError> {
        match self.state().uploads.get_mut(id) {
            Some(upload) if upload.key == key => Ok(look(upload)),
            Some(_) | None => Err(OssError::no_such_upload(id)),
        }
    }

    /// Keeps a part; one of the same number is replaced.
    pub(crate) fn put_part(
        &self,
        key: &str,
        id: &str,
        number: u16,
        received: Received,
    ) -> Result<(), OssError> {
        let replaced = self.upload(key, id, |upload| {
            upload.parts.insert(number, Part::new(received))
        })?;
        drop(replaced);
        Ok(())
    }

    /// Turns an upload into an object. A refused completion leaves the upload as it was.
    pub(crate) fn complete(
        &self,
        key: &str,
        id: &str,
        chosen: &Chosen,
        if_present: IfPresent,
    ) -> Result<Arc<Object>, OssError> {
        let state = &mut *self.state();
        let upload = match state.uploads.get(id) {
            Some(upload) if upload.key == key => upload,
            Some(_) | None => return Err(OssError::no_such_upload(id)),
        };
        let object = upload.assemble(id, chosen)?;
        let if_present = match upload.if_present {
            IfPresent::Refuse => IfPresent::Refuse,
            IfPresent::Replace => if_present,
        };
        let object = self.commit_locked(state, object, if_present)?;
        state.uploads.remove(id);
        Ok(object)
    }

    /// # Errors
    /// 404 `NoSuchUpload`.
    pub(crate) fn abort(&self, key: &str, id: &str) -> Result<(), OssError> {
        self.upload(key, id, |_| ())?;
        let removed = self.state().uploads.remove(id);
        drop(removed);
        Ok(())
    }

    pub(crate) fn upload_count(&self) -> usize {
        self.state().uploads.len()
    }

    /// Key, id and numbers of the parts of each upload, in no order.
    pub(crate) fn unfinished(&self) -> Vec<(String, String, Vec<u16>)> {
        let state = self.state();
        let uploads = state.uploads.iter();
        uploads
            .map(|(id, upload)| {
                let parts = upload.parts.keys().copied().collect();
                (upload.key.clone(), id.clone(), parts)
            })
            .collect()
    }

    /// A page of the uploads in the order of their keys, those of one key in that of their ids; true if there are
    /// more.
    pub(crate) fn list_uploads(&self, ask: AskUploads<'_>) -> (Vec<UploadEntry>, bool) {
        let state = self.state();
        let mut uploads: Vec<(&str, &str, Timestamp)> = state
            .uploads
            .iter()
            .map(|(id, upload)| (upload.key.as_str(), id.as_str(), upload.initiated))
            .filter(|(key, id, _)| is_behind(&ask, key, id))
            .collect();
        uploads.sort_unstable();
        let mut page: Vec<UploadEntry> = Vec::new();
        for (key, id, initiated) in uploads {
            let entry = match common_prefix(&ask, key) {
                Some(prefix) if prefix == ask.key_marker => continue,
                Some(prefix) => UploadEntry::CommonPrefix(prefix.to_owned()),
                None => UploadEntry::Upload {
                    key: key.to_owned(),
                    id: id.to_owned(),
                    initiated,
                },
            };
            if page.last() == Some(&entry) {
                continue;
            }
            if page.len() == ask.entries_max {
                return (page, true);
            }
            page.push(entry);
        }
        (page, false)
    }
}

fn is_behind(ask: &AskUploads<'_>, key: &str, id: &str) -> bool {
    let in_key = key == ask.key_marker && !ask.id_marker.is_empty() && id > ask.id_marker;
    key.starts_with(ask.prefix) && (in_key || key > ask.key_marker)
}

fn common_prefix<'k>(ask: &AskUploads<'_>, key: &'k str) -> Option<&'k str> {
    if ask.delimiter.is_empty() {
        return None;
    }
    let rest = key.get(ask.prefix.len()..)?;
    let end = ask.prefix.len() + rest.find(ask.delimiter)? + ask.delimiter.len();
    key.get(..end)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::super::{Attributes, ETags, Store};
    use super::*;
    use crate::dev_server::BucketConfig;

    #[test]
    fn pages_of_uploads_together_are_all_of_them() {
        let store = Store::open(None, &[BucketConfig::new("b")], ETags::Md5).unwrap();
        let bucket = store.bucket("b").unwrap();
        for key in ["a", "b/1", "b/1", "b/2", "c", "c", "c"] {
            bucket.initiate(Upload::new(key, Attributes::default(), IfPresent::Replace));
        }
        for (prefix, delimiter, expected) in [
            ("", "", vec!["a", "b/1", "b/1", "b/2", "c", "c", "c"]),
            ("", "/", vec!["a", "b/", "c", "c", "c"]),
            ("b/", "/", vec!["b/1", "b/1", "b/2"]),
            ("d", "", vec![]),
        ] {
            for entries_max in 1..9 {
                let mut keys: Vec<String> = Vec::new();
                let (mut key_marker, mut id_marker) = (String::new(), String::new());
                loop {
                    let (page, more) = bucket.list_uploads(AskUploads {
                        prefix,
                        delimiter,
                        key_marker: &key_marker,
                        id_marker: &id_marker,
                        entries_max,
                    });
                    keys.extend(page.iter().map(|entry| entry.marker().0.to_owned()));
                    match page.last() {
                        Some(last) if more => {
                            let (key, id) = last.marker();
                            (key_marker, id_marker) = (key.to_owned(), id.to_owned());
                        }
                        Some(_) | None => break,
                    }
                }
                assert_eq!(keys, expected, "{prefix} {delimiter} {entries_max}");
            }
        }
    }
}
