//! symlink, readlink.
//!
//! A symbolic link of OSS points to a key of the bucket, never relative; one of a file system holds any text. So the text is kept
//! beside the key, as metadata of the link: readlink(2) gives back what symlink(2) was given, and other clients of OSS follow the key.
//! A link that another client made has no text: it is shown as the way from its directory to the key.

use std::sync::Arc;
use std::time::Instant;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::change::Maker;
use super::{Entry, Error, FileSystem};
use crate::object::{ObjectKey, UnixTime};
use crate::op::Op;
use crate::oss::{Bucket, Condition, Properties, Symlink};
use crate::tree::{Ino, Kind, Stale, Tree};

/// The metadata that holds the text of a link, percent-encoded: `x-oss-meta-rolefs-link`.
const TEXT: &str = "rolefs-link";

/// Bytes of the longest text: what Linux takes for a path, without the zero byte.
const TEXT_BYTES_MAX: usize = 4095;

impl FileSystem {
    /// Makes a symbolic link.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Invalid`] and [`Error::NameTooLong`] of the name or the text, [`Error::ReadOnly`], [`Error::Denied`], or what
    /// OSS says.
    pub async fn symlink(
        self: &Arc<Self>,
        op: &Op,
        parent: Ino,
        name: &str,
        text: &str,
        maker: Maker,
    ) -> Result<Entry, Error> {
        self.vacant(op, parent, name).await?;
        if text.is_empty() || text.len() > TEXT_BYTES_MAX {
            return Err(Error::NameTooLong);
        }
        let (key, target) = {
            let tree = self.tree();
            let directory = tree.prefix_of(parent)?;
            let target = target(self.config.prefix.as_str(), directory.as_str(), text);
            (directory.object(name)?, target)
        };
        let mut said = Properties::default();
        let encoded = utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        said.user.insert(TEXT.to_owned(), encoded);
        let put = self
            .bucket
            .put_symlink(op, &key, &target, &said, Condition::None);
        put.await.map_err(|error| self.noted(error))?;
        let mut tree = self.tree();
        let ino = tree.make_symlink(parent, name, text, now(), Instant::now())?;
        Self::touch(&mut tree, parent);
        self.made(&mut tree, ino, maker)
    }

    /// The text of a symbolic link; asked for if it is not known.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is no link, [`Error::Stale`], or what OSS says.
    pub async fn readlink(&self, op: &Op, ino: Ino) -> Result<String, Error> {
        let (key, parent) = {
            let tree = self.tree();
            let node = tree.node(ino).ok_or(Stale)?;
            match node.kind() {
                Kind::Symlink(link) => {
                    if let Some(text) = link.target() {
                        return Ok(text.to_owned());
                    }
                }
                Kind::Directory | Kind::Object(_) | Kind::File(_) => {
                    return Err(Error::Invalid("this is no symbolic link"));
                }
            }
            (tree.key_of(node.parent(), node.name())?, node.parent())
        };
        let link = self.bucket.get_symlink(op, &key).await;
        let link = link.map_err(|error| self.noted(error))?;
        Ok(text(&self.tree(), &self.bucket, parent, &link))
    }
}

/// Now, as a link keeps it.
fn now() -> UnixTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixTime(since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }))
}

/// What readlink(2) answers for a link in the directory `parent`.
pub(super) fn text(tree: &Tree, bucket: &Bucket, parent: Ino, link: &Symlink) -> String {
    let kept = link.properties.user.get(TEXT);
    if let Some(kept) = kept.and_then(|kept| percent_decode_str(kept).decode_utf8().ok()) {
        return kept.into_owned();
    }
    let root = tree.prefix_of(Ino::ROOT);
    let directory = tree.prefix_of(parent);
    match (root, directory) {
        (Ok(root), Ok(directory)) if link.target.starts_with(root.as_str()) => {
            way(directory.as_str(), &link.target)
        }
        // Nothing in the mount shows it: the text says where it is.
        (Ok(_) | Err(_), _) => format!("oss://{}/{}", bucket.name(), link.target),
    }
}

/// The way from a directory to a key.
fn way(directory: &str, key: &str) -> String {
    let common = directory
        .match_indices('/')
        .map(|(at, _)| at + 1)
        .take_while(|end| key.as_bytes().starts_with(&directory.as_bytes()[..*end]))
        .last()
        .unwrap_or(0);
    let ups = directory[common..].matches('/').count();
    format!("{}{}", "../".repeat(ups), &key[common..])
}

/// The key that a link in `directory` with this text points to. Where the text leads out of the mount there is none: the link then points to
/// a key that nothing has, and the text is what counts.
fn target(root: &str, directory: &str, text: &str) -> ObjectKey {
    let inside = directory.strip_prefix(root).unwrap_or_default();
    let mut parts: Vec<&str> = inside.split('/').filter(|part| !part.is_empty()).collect();
    let mut is_inside = !text.starts_with('/');
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => is_inside &= parts.pop().is_some(),
            part => parts.push(part),
        }
    }
    let key = match is_inside && !parts.is_empty() {
        true => ObjectKey::new(format!("{root}{}", parts.join("/"))),
        false => ObjectKey::new(outside(text)),
    };
    key.unwrap_or_else(|_| ObjectKey::new(outside("")).expect("a short word is a key"))
}

/// A key for what lies elsewhere.
fn outside(text: &str) -> String {
    format!("rolefs-outside/{}", text.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_points_to_the_key_that_its_text_leads_to() {
        let key = |directory: &str, text: &str| target("m/", directory, text).as_str().to_owned();
        assert_eq!(key("m/a/b/", "c"), "m/a/b/c");
        assert_eq!(key("m/a/b/", "../c/./d/"), "m/a/c/d");
        assert_eq!(key("m/", "../x"), "rolefs-outside/../x");
        assert_eq!(key("m/", "/etc/passwd"), "rolefs-outside/etc/passwd");
        assert_eq!(key("m/a/", ".."), "rolefs-outside/..");
    }

    #[test]
    fn a_link_of_another_client_is_shown_as_the_way_to_its_key() {
        assert_eq!(way("a/b/", "a/b/c"), "c");
        assert_eq!(way("a/b/", "a/x/y"), "../x/y");
        assert_eq!(way("a/b/", "z"), "../../z");
        assert_eq!(way("", "z/y"), "z/y");
        assert_eq!(way("ab/", "a/c"), "../a/c");
    }
}
