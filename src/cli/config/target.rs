//! `oss://BUCKET[.ENDPOINT][/PREFIX]`.

use anyhow::{Result, bail, ensure};

use crate::object::Prefix;

/// `oss://BUCKET[.ENDPOINT][/PREFIX]`, taken apart. A bucket's name has no dot, so the first one ends it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) bucket: String,
    pub(super) endpoint: Option<String>,
    pub(super) prefix: Prefix,
}

impl Target {
    /// Takes it apart.
    pub(super) fn parse(text: &str) -> Result<Self> {
        // First, and without the text: what stands there is a secret, and messages are logged.
        ensure!(
            !text.contains('@'),
            "the bucket's address holds an '@': credentials have no place in it, see --credentials"
        );
        let rest = match text.split_once("://") {
            Some(("oss", rest)) => rest,
            Some((scheme, _)) => {
                bail!("{scheme}:// is not oss://; write oss://BUCKET[.ENDPOINT][/PREFIX]")
            }
            None => text,
        };
        ensure!(
            !rest.contains('?'),
            "{text}: a query is not supported; pass --endpoint instead"
        );
        let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let (bucket, endpoint) = match host.split_once('.') {
            Some((bucket, endpoint)) => (bucket, Some(endpoint.to_owned())),
            None => (host, None),
        };
        ensure!(
            !bucket.is_empty(),
            "{text}: the bucket's name is missing; write oss://BUCKET[.ENDPOINT][/PREFIX]"
        );
        let mut prefix = prefix.to_owned();
        if !prefix.is_empty() && !prefix.ends_with('/') {
            prefix.push('/');
        }
        ensure!(
            prefix
                .split_terminator('/')
                .all(|part| !matches!(part, "" | "." | "..")),
            "{text}: a prefix has no empty, '.' or '..' part"
        );
        Ok(Self {
            bucket: bucket.to_owned(),
            endpoint,
            prefix: Prefix::new(prefix)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        Target::parse(text).expect("well-formed")
    }

    #[test]
    fn a_target_is_bucket_endpoint_and_prefix() {
        let full = target("oss://b.oss-cn-beijing-internal.aliyuncs.com/data/train");
        assert_eq!(full.bucket, "b");
        assert_eq!(
            full.endpoint.as_deref(),
            Some("oss-cn-beijing-internal.aliyuncs.com")
        );
        assert_eq!(full.prefix.as_str(), "data/train/");
        assert_eq!(target("oss://b").prefix, Prefix::root());
        assert_eq!(target("b/x/").prefix.as_str(), "x/");
    }

    #[test]
    fn a_secret_in_a_target_is_not_repeated() {
        let error = Target::parse("oss://id:secret@b").expect_err("no target");
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn a_bad_target_is_named_with_its_remedy() {
        for bad in [
            "s3://b",
            "oss://",
            "oss:///x",
            "oss://b/a/../c",
            "oss://b?x=1",
            "oss://b/a//c",
        ] {
            let error = Target::parse(bad).expect_err(bad).to_string();
            assert!(!error.contains('\n') && error.len() > 10, "{error}");
        }
    }
}
