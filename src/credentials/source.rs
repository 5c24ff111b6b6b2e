//! Where credentials come from, as the command line and the environment say it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::set::{Secret, short};

/// Where credentials come from: `auto`, `file:PATH`, `uri:URL` or `env`.
///
/// A closed set: what else the official chain knows (OIDC, CLI profile, ini profile, ECS metadata) becomes further
/// variants here.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// What the job has; see the room's essay for the order.
    Auto,
    /// A JSON file that someone rewrites before its set expires.
    File(PathBuf),
    /// The URL of a service that answers with a set; asked directly, never through a proxy.
    Uri(String),
    /// `ALIBABA_CLOUD_ACCESS_KEY_ID`, `…_ACCESS_KEY_SECRET` and `…_SECURITY_TOKEN` as they were at start.
    Env,
}

/// Why a text names no [`Source`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Not one of the four forms. The text is not repeated: someone may have pasted a key.
    #[error("not a credentials source: give auto, file:PATH, uri:URL or env")]
    Unknown,
    /// `file:` and nothing after it.
    #[error("file: needs a path, for instance file:/mnt/.alibabacloud/credentials")]
    NoPath,
    /// `uri:` and no http or https URL after it.
    #[error("uri: needs an http:// or https:// URL with a host and no blanks")]
    NoUrl,
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        match (text, text.split_once(':')) {
            ("auto", _) => Ok(Self::Auto),
            ("env", _) => Ok(Self::Env),
            (_, Some(("file", ""))) => Err(SourceError::NoPath),
            (_, Some(("file", path))) => Ok(Self::File(PathBuf::from(path))),
            (_, Some(("uri", url))) if is_http_url(url) => Ok(Self::Uri(url.to_owned())),
            (_, Some(("uri", _))) => Err(SourceError::NoUrl),
            _ => Err(SourceError::Unknown),
        }
    }
}

/// The form that [`Source::from_str`] takes, except that a URL is shown without user, password, query and fragment.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Uri(url) => write!(f, "uri:{}", shown_url(url)),
            Self::Env => f.write_str("env"),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({self})")
    }
}

/// True if a request can be sent to `url`.
pub(super) fn is_http_url(url: &str) -> bool {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    rest.is_some_and(|rest| {
        !rest.starts_with(['/', '?', '#', ':'])
            && !rest.is_empty()
            && url.bytes().all(|byte| byte.is_ascii_graphic())
    })
}

/// Scheme, host, port and path of a URL: the parts that hold no secret.
fn shown_url(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    format!("{scheme}://{host}{path}")
}

/// What the process's environment says of credentials: a snapshot that `cli` takes once, at start.
///
/// An empty variable is an absent one. `Debug` shows no secret.
#[derive(Clone, Default)]
pub struct Environment {
    /// `ALIBABA_CLOUD_CREDENTIALS_URI`.
    pub uri: Option<String>,
    /// `ALIBABA_CLOUD_ACCESS_KEY_ID`.
    pub access_key_id: Option<String>,
    /// `ALIBABA_CLOUD_ACCESS_KEY_SECRET`.
    pub access_key_secret: Option<Secret>,
    /// `ALIBABA_CLOUD_SECURITY_TOKEN`.
    pub security_token: Option<Secret>,
}

impl Environment {
    /// Asks `variable` for each name that matters; empty answers count as none.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let ask = |name| variable(name).filter(|value| !value.is_empty());
        Self {
            uri: ask("ALIBABA_CLOUD_CREDENTIALS_URI"),
            access_key_id: ask("ALIBABA_CLOUD_ACCESS_KEY_ID"),
            access_key_secret: ask("ALIBABA_CLOUD_ACCESS_KEY_SECRET").map(Secret::new),
            security_token: ask("ALIBABA_CLOUD_SECURITY_TOKEN").map(Secret::new),
        }
    }

    /// The same with empty values made absent, for a snapshot that was not taken by [`Environment::read`].
    pub(super) fn without_empty(mut self) -> Self {
        let full = |secret: &Secret| !secret.expose().is_empty();
        self.uri = self.uri.filter(|value| !value.is_empty());
        self.access_key_id = self.access_key_id.filter(|value| !value.is_empty());
        self.access_key_secret = self.access_key_secret.filter(full);
        self.security_token = self.security_token.filter(full);
        self
    }

    /// True if it holds a key that is not temporary: id and secret without a token.
    pub(super) fn has_permanent_key(&self) -> bool {
        let sts = |id: &String| id.starts_with("STS.");
        self.access_key_id.as_ref().is_some_and(|id| !sts(id))
            && self.access_key_secret.is_some()
            && self.security_token.is_none()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("uri", &self.uri.as_deref().map(shown_url))
            .field("access_key_id", &self.access_key_id.as_deref().map(short))
            .field("access_key_secret", &self.access_key_secret)
            .field("security_token", &self.security_token)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn the_four_forms_parse_and_print() {
        for text in [
            "auto",
            "env",
            "file:/a b/c",
            "file:relative",
            "uri:http://localhost:7002/api/v1/credentials/0",
        ] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_source_is_refused_in_one_line_that_does_not_repeat_it() {
        for (text, error) in [
            ("", SourceError::Unknown),
            ("Auto", SourceError::Unknown),
            ("LTAI:topsecret", SourceError::Unknown),
            ("/mnt/x", SourceError::Unknown),
            ("file:", SourceError::NoPath),
            ("uri:", SourceError::NoUrl),
            ("uri:localhost:1", SourceError::NoUrl),
            ("uri:http://", SourceError::NoUrl),
            ("uri:http:///x", SourceError::NoUrl),
            ("uri:http://a b/", SourceError::NoUrl),
        ] {
            let refused = text.parse::<Source>().unwrap_err();
            assert_eq!(refused, error, "{text}");
            assert!(!refused.to_string().contains("topsecret"));
            assert!(!refused.to_string().contains('\n'));
        }
    }

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        let source: Source = "uri:http://me:pass@h:1/p?key=x#y".parse().unwrap();
        assert_eq!(source.to_string(), "uri:http://h:1/p");
        assert_eq!(format!("{source:?}"), "Source(uri:http://h:1/p)");
    }

    #[test]
    fn empty_variables_are_absent() {
        let environment = Environment::read(|_| Some(String::new()));
        assert!(environment.uri.is_none() && environment.access_key_id.is_none());
        assert!(environment.access_key_secret.is_none() && environment.security_token.is_none());
    }
}
