//! The JSON of the injected file and of the credentials service.
//!
//! Both have `AccessKeyId`, `AccessKeySecret`, `SecurityToken` and `Expiration`; only the service says `Code`. No text of
//! an error here quotes the document: not even serde's own messages, which repeat the value they stumble on.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::Trouble;
use super::set::{Credentials, Secret};

/// Bytes of the longest document that is read. A real one has about one kilobyte, most of it the token.
pub(super) const DOCUMENT_BYTES_MAX: usize = 64 << 10;

/// Whose document it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    /// The file, a command, or STS: `Code` is not looked at unless it denies success; the token and `Expiration` may be missing.
    File,
    /// The service: `Code` must be `Success` and a token must be there, as the official clients ask.
    Service,
    /// STS: the set is a member of the answer, and a token must be there.
    Sts,
}

/// The answer of STS to who takes a role.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Session {
    credentials: Parsed,
}

/// A set as its writer shows it: the file without `code`, the service with `Success`.
///
/// What speaks this protocol serves it: `rolefs credentials serve`, and the development server as the platform's own.
/// No `Debug`: it would show the secrets.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
#[expect(
    missing_debug_implementations,
    reason = "its members are secrets in plain text"
)]
pub struct Document<'a> {
    /// `Success`, or left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'a str>,
    /// The access key id.
    pub access_key_id: &'a str,
    /// The access key secret.
    pub access_key_secret: &'a str,
    /// The security token.
    pub security_token: &'a str,
    /// When the set ends. The official Python client takes `%Y-%m-%dT%H:%M:%SZ` and nothing else.
    pub expiration: &'a str,
}

impl Document<'_> {
    /// The text of it.
    #[must_use]
    pub fn json(&self) -> String {
        // Strings under fixed names are always JSON.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parsed {
    code: Option<String>,
    // The other names are those that commands print (`External` of the command-line tool).
    #[serde(alias = "access_key_id")]
    access_key_id: Option<String>,
    #[serde(alias = "access_key_secret")]
    access_key_secret: Option<Secret>,
    #[serde(alias = "sts_token")]
    security_token: Option<Secret>,
    #[serde(alias = "expiration")]
    expiration: Option<String>,
}

/// Reads a document. Empty strings count as missing; no `Expiration` means that the set never expires.
pub(super) fn parse(bytes: &[u8], writer: Writer) -> Result<Credentials, Trouble> {
    let document: Parsed = match writer {
        Writer::File | Writer::Service => read(bytes)?,
        Writer::Sts => read::<Session>(bytes)?.credentials,
    };
    match (document.code.as_deref(), writer) {
        (Some("Success"), _) | (None, Writer::File | Writer::Sts) => {}
        (None, Writer::Service) => return Err(Trouble::unusable("the answer has no Code")),
        (Some(_), _) => return Err(Trouble::unusable("Code is not Success")),
    }
    let token = document
        .security_token
        .filter(|token| !token.expose().is_empty());
    if token.is_none() && writer != Writer::File {
        return Err(Trouble::unusable("SecurityToken is missing"));
    }
    let expiration = match document.expiration.as_deref().map(str::trim) {
        None | Some("") => None,
        Some(text) => Some(
            text.parse::<Timestamp>()
                .map_err(|_| Trouble::unusable("Expiration is not a time in RFC 3339"))?,
        ),
    };
    let credentials = Credentials::new(
        document.access_key_id.unwrap_or_default(),
        document
            .access_key_secret
            .unwrap_or_else(|| Secret::from("")),
        token,
        expiration,
    );
    match credentials.flaw() {
        Some(flaw) => Err(Trouble::unusable(flaw)),
        None => Ok(credentials),
    }
}

/// JSON, without quoting any of it where it is wrong.
fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Trouble> {
    serde_json::from_slice(bytes).map_err(|error| {
        Trouble::Unusable(match error.classify() {
            serde_json::error::Category::Eof => "the JSON ends too early".to_owned(),
            serde_json::error::Category::Data => {
                "the JSON is not a credentials document".to_owned()
            }
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => format!(
                "not JSON at line {}, column {}",
                error.line(),
                error.column()
            ),
        })
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use proptest::prelude::*;

    use super::*;

    fn document(expiration: &str) -> String {
        format!(
            r#"{{"AccessKeyId":"STS.a","AccessKeySecret":"top-secret","SecurityToken":"to\/ken","Expiration":"{expiration}"}}"#
        )
    }

    #[test]
    fn fractions_and_offsets_of_expiration_are_understood() {
        let seconds = |text: &str| {
            let set = parse(document(text).as_bytes(), Writer::File).unwrap();
            set.expiration().map(Timestamp::as_millisecond)
        };
        assert_eq!(seconds("2026-01-02T03:04:05Z"), Some(1_767_323_045_000));
        assert_eq!(seconds("2026-01-02T03:04:05.250Z"), Some(1_767_323_045_250));
        assert_eq!(
            seconds("2026-01-02T11:04:05+08:00"),
            Some(1_767_323_045_000)
        );
        assert_eq!(seconds(""), None);
    }

    #[test]
    fn only_the_service_must_say_success() {
        let bare = document("");
        assert!(parse(bare.as_bytes(), Writer::File).is_ok());
        assert!(parse(bare.as_bytes(), Writer::Service).is_err());
        let with = |code: &str| bare.replacen('{', &format!(r#"{{"Code":"{code}","#), 1);
        assert!(parse(with("Success").as_bytes(), Writer::Service).is_ok());
        assert!(parse(with("Failed").as_bytes(), Writer::Service).is_err());
        assert!(parse(with("Failed").as_bytes(), Writer::File).is_err());
        let set = parse(with("Success").as_bytes(), Writer::Service).unwrap();
        assert_eq!(set.token().unwrap().expose(), "to/ken");
    }

    #[test]
    fn what_is_wrong_is_said_without_quoting_it() {
        for text in [
            document("soon: top-secret"),
            document("").replace("\"top-secret\"", "12345678"),
            document("").replace("\"top-secret\"", "\"\""),
            document("").replace("AccessKeyId", "Id"),
            document("").replace("\"STS.a\"", "null"),
            "\"top-secret\"".to_owned(),
            format!("{}x", document("")),
        ] {
            let trouble = parse(text.as_bytes(), Writer::File).unwrap_err();
            let message = format!("{trouble:?} {}", trouble.reason());
            assert!(!message.contains("top-secret"), "{message}");
            assert!(!message.contains("12345678"), "{message}");
        }
    }

    proptest! {
        #[test]
        fn a_cut_document_is_never_a_set(cut in 0_usize..1000) {
            let whole = document("2026-01-02T03:04:05Z");
            let cut = cut % whole.len();
            prop_assert!(parse(&whole.as_bytes()[..cut], Writer::File).is_err());
        }
    }
}
