//! Where credentials come from, as the command line and the environment say it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where credentials come from: `auto`, `file:PATH`, `uri:URL`, `env`, or what else the official chain knows.
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
    /// A role that a token of the cluster stands for (RRSA), by the variables `ALIBABA_CLOUD_ROLE_ARN`,
    /// `…_OIDC_PROVIDER_ARN` and `…_OIDC_TOKEN_FILE`.
    Oidc,
    /// A profile of the command-line tool `aliyun`, by default the current one.
    Cli(Option<String>),
    /// A section of the ini file of the SDKs, by default `default`.
    Ini(Option<String>),
    /// The role of the ECS instance, by default the one that its metadata service names.
    Ecs(Option<String>),
    /// A command that prints a set as JSON. Split into words as a shell would, and run without one.
    Process(String),
}

/// Why a text names no [`Source`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// None of the forms. The text is not repeated: someone may have pasted a key.
    #[error(
        "not a credentials source: give auto, file:PATH, uri:URL, env, oidc, cli[:PROFILE], ini[:SECTION], ecs[:ROLE] or process:COMMAND"
    )]
    Unknown,
    /// `file:` and nothing after it.
    #[error("file: needs a path, for instance file:/mnt/.alibabacloud/credentials")]
    NoPath,
    /// `uri:` and no http or https URL after it.
    #[error("uri: needs an http:// or https:// URL with a host and no blanks")]
    NoUrl,
    /// `process:` and no command after it, or one whose quotes do not match.
    #[error("process: needs a command that prints a set, with matching quotes")]
    NoCommand,
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let name = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        match (text, text.split_once(':')) {
            ("auto", _) => Ok(Self::Auto),
            ("env", _) => Ok(Self::Env),
            ("oidc", _) => Ok(Self::Oidc),
            ("cli", _) => Ok(Self::Cli(None)),
            ("ini", _) => Ok(Self::Ini(None)),
            ("ecs", _) => Ok(Self::Ecs(None)),
            (_, Some(("cli", profile))) => Ok(Self::Cli(name(profile))),
            (_, Some(("ini", section))) => Ok(Self::Ini(name(section))),
            (_, Some(("ecs", role))) => Ok(Self::Ecs(name(role))),
            (_, Some(("process", command))) => match shlex::split(command) {
                Some(words) if !words.is_empty() => Ok(Self::Process(command.to_owned())),
                Some(_) | None => Err(SourceError::NoCommand),
            },
            (_, Some(("file", ""))) => Err(SourceError::NoPath),
            (_, Some(("file", path))) => Ok(Self::File(PathBuf::from(path))),
            (_, Some(("uri", url))) if is_http_url(url) => Ok(Self::Uri(url.to_owned())),
            (_, Some(("uri", _))) => Err(SourceError::NoUrl),
            _ => Err(SourceError::Unknown),
        }
    }
}

/// The form that [`Source::from_str`] takes, except that a URL is shown without user, password, query and fragment, and of
/// a command the program alone.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |f: &mut fmt::Formatter<'_>, kind: &str, name: &Option<String>| match name {
            Some(name) => write!(f, "{kind}:{name}"),
            None => f.write_str(kind),
        };
        match self {
            Self::Auto => f.write_str("auto"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Uri(url) => write!(f, "uri:{}", shown_url(url)),
            Self::Env => f.write_str("env"),
            Self::Oidc => f.write_str("oidc"),
            Self::Cli(profile) => named(f, "cli", profile),
            Self::Ini(section) => named(f, "ini", section),
            Self::Ecs(role) => named(f, "ecs", role),
            Self::Process(command) => write!(f, "process:{}", program(command)),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({self})")
    }
}

/// The first word of a command; what follows may be secret.
fn program(command: &str) -> &str {
    command.split_whitespace().next().unwrap_or_default()
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

/// Scheme, host, port and path of a URL, without what may be secret: the path of a service that asks for no other key has its key in it.
pub(super) fn shown_url(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let is_key =
        |part: &&str| part.len() >= 16 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts = path
        .split('/')
        .map(|part| if is_key(&part) { "…" } else { part });
    let path: Vec<&str> = parts.collect();
    format!("{scheme}://{host}{}", path.join("/"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_path_that_is_a_key_is_not_shown() {
        let shown = |url| shown_url(url);
        let plain = "http://localhost:7002/api/v1/credentials/0";
        assert_eq!(shown(plain), plain);
        assert_eq!(shown("https://me:pass@h/a?key=b#c"), "https://h/a");
        let keyed = "http://127.0.0.1:80/0123456789abcdef0123456789abcdef/x";
        assert_eq!(shown(keyed), "http://127.0.0.1:80/…/x");
    }

    #[test]
    fn the_forms_parse_and_print() {
        for text in [
            "auto",
            "env",
            "oidc",
            "cli",
            "cli:me",
            "ini:a b",
            "ecs",
            "ecs:role",
            "process:/usr/bin/keys",
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
            ("process: ", SourceError::NoCommand),
            ("process:sh -c 'topsecret", SourceError::NoCommand),
            ("ecs2", SourceError::Unknown),
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
        let source: Source = "process:/bin/keys --password hush".parse().unwrap();
        assert_eq!(source.to_string(), "process:/bin/keys");
    }
}
