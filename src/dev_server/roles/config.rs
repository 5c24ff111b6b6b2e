//! The file that says which buckets, roles, keys and job the development server has.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer};

use crate::dev_server::auth::{OidcTrust, Policy, Sessions};
use crate::dev_server::{self, Versioning};

/// Everything the file can say.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The region all signatures are for. Default `cn-hangzhou`.
    #[serde(default = "default_region")]
    pub region: String,
    /// The id of the workspace, whose default storage is the default bucket; without one AIWorkSpace knows none.
    pub workspace: Option<String>,
    /// The buckets, in the order of the file.
    #[serde(default, rename = "bucket")]
    pub buckets: Vec<BucketConfig>,
    /// The roles by name.
    #[serde(default, rename = "role")]
    pub roles: BTreeMap<String, RoleConfig>,
    /// The permanent keys by name; the name is only for reading.
    #[serde(default, rename = "key")]
    pub keys: BTreeMap<String, KeyConfig>,
    /// The job that credentials are injected into.
    pub job: Option<JobConfig>,
}

/// One bucket.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketConfig {
    /// Its name.
    pub name: String,
    /// Whether it is the default bucket of the workspace; at most one is.
    #[serde(default)]
    pub default: bool,
    /// Whether it keeps versions: `enabled` or `suspended`. Default: it never did.
    #[serde(default)]
    pub versioning: Versioning,
    /// Whether it has a hierarchical namespace.
    #[serde(default)]
    pub hierarchical: bool,
}

impl From<&BucketConfig> for dev_server::BucketConfig {
    fn from(bucket: &BucketConfig) -> Self {
        Self {
            name: bucket.name.clone(),
            versioning: bucket.versioning,
            hierarchical: bucket.hierarchical,
        }
    }
}

/// What a role may do: everything its parts say together.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleConfig {
    /// Everything on the default bucket, as the default role of a job. Default no.
    #[serde(default)]
    pub default_bucket_only: bool,
    /// System policies: `AliyunOSSReadOnlyAccess`, `AliyunOSSFullAccess`.
    #[serde(default)]
    pub policies: Vec<String>,
    /// A policy document in JSON.
    pub policy: Option<String>,
    /// The ARN of a provider of tokens that the role trusts, for AssumeRoleWithOIDC; with `oidc_token`.
    pub oidc_provider: Option<String>,
    /// The token of it that stands for the role.
    pub oidc_token: Option<String>,
}

/// One permanent key.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// The access key id.
    pub id: String,
    /// The access key secret.
    pub secret: String,
    /// What it may do; without a role, everything.
    pub role: Option<String>,
}

impl std::fmt::Debug for KeyConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyConfig")
            .field("id", &self.id)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// The job and how its credentials change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobConfig {
    /// The job's role; without one nothing is injected.
    pub role: Option<String>,
    /// How long a set lives. Default one hour, at least a second.
    #[serde(default = "default_life", deserialize_with = "duration")]
    pub token_life: SignedDuration,
    /// How often a new set comes. Default half an hour, at least 10 milliseconds.
    #[serde(default = "default_rotation", deserialize_with = "duration")]
    pub rotate_every: SignedDuration,
    /// What becomes of a set when the next one comes. Default `until_expiry`.
    #[serde(default)]
    pub old_tokens: OldTokens,
    /// Where the injected file is written; without a path there is none.
    pub credentials_file: Option<PathBuf>,
    /// How the injected file is replaced. Default `rename`.
    #[serde(default)]
    pub file_mode: FileMode,
    /// The path of the credentials service. Default `/api/v1/credentials/0`.
    #[serde(default = "default_uri_path")]
    pub uri_path: String,
    /// Whether the metadata service, which answers at the same port, takes questions without its token. Default yes.
    #[serde(default = "yes")]
    pub metadata_v1: bool,
    /// The loopback port of the credentials service. Default 0: any free one.
    #[serde(default)]
    pub port: u16,
    /// How expirations are written. Default `seconds`.
    #[serde(default)]
    pub expiration_format: ExpirationFormat,
}

impl JobConfig {
    /// A job with this role and the defaults, for tests that set the rest.
    pub fn new(role: &str) -> Self {
        Self {
            role: Some(role.to_owned()),
            token_life: default_life(),
            rotate_every: default_rotation(),
            old_tokens: OldTokens::default(),
            credentials_file: None,
            file_mode: FileMode::default(),
            uri_path: default_uri_path(),
            metadata_v1: true,
            port: 0,
            expiration_format: ExpirationFormat::default(),
        }
    }
}

/// What becomes of a set when the next one is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OldTokens {
    /// It works until it expires.
    #[default]
    UntilExpiry,
    /// It is refused at once.
    RefusedAtOnce,
}

/// How the injected file is replaced; which way the platform takes is not public.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileMode {
    /// A new file is renamed over the old one.
    #[default]
    Rename,
    /// The file is truncated and written again: a reader can see any part of it.
    InPlace,
    /// The file is a symbolic link into `..data`, itself a link to a directory that is swapped (Kubernetes volumes).
    Symlink,
}

/// How an expiration is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpirationFormat {
    /// `2024-05-21T10:39:29Z`, as documented.
    #[default]
    Seconds,
    /// `2024-05-21T10:39:29.000Z`.
    Fractional,
    /// `2024-05-21T18:39:29+08:00`.
    Offset,
}

fn default_region() -> String {
    "cn-hangzhou".to_owned()
}

fn default_life() -> SignedDuration {
    SignedDuration::from_hours(1)
}

fn default_rotation() -> SignedDuration {
    SignedDuration::from_mins(30)
}

fn yes() -> bool {
    true
}

fn default_uri_path() -> String {
    "/api/v1/credentials/0".to_owned()
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<SignedDuration, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(serde::de::Error::custom)
}

/// Why a configuration cannot be used; one line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The text is not what the file may say.
    #[error("line {line}: {reason}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The parts do not fit together.
    #[error("{0}")]
    Meaning(String),
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`ConfigError`], with the line where a single line is to blame.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            ConfigError::Syntax {
                line: 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count(),
                reason: error.message().replace('\n', " "),
            }
        })?;
        config.validate().map_err(ConfigError::Meaning)?;
        Ok(config)
    }

    /// The default bucket of the workspace.
    pub fn default_bucket(&self) -> Option<&str> {
        let bucket = self.buckets.iter().find(|bucket| bucket.default)?;
        Some(&bucket.name)
    }

    fn validate(&self) -> Result<(), String> {
        let mut names = HashSet::new();
        if let Some(twice) = self
            .buckets
            .iter()
            .find(|bucket| !names.insert(&bucket.name))
        {
            return Err(format!("bucket '{}' is there twice", twice.name));
        }
        if self.buckets.iter().filter(|bucket| bucket.default).count() > 1 {
            return Err("only one bucket can be the default".to_owned());
        }
        for name in self.roles.keys() {
            self.policy(name)?;
        }
        let mut ids = HashSet::new();
        for (name, key) in &self.keys {
            self.known_role(&format!("key '{name}'"), key.role.as_deref())?;
            if !ids.insert(&key.id) {
                return Err(format!("key '{name}': id '{}' is there twice", key.id));
            }
        }
        let Some(job) = &self.job else { return Ok(()) };
        self.known_role("job", job.role.as_deref())?;
        if job.token_life < SignedDuration::from_secs(1) {
            return Err("job: token_life is at least 1s".to_owned());
        }
        if job.rotate_every < SignedDuration::from_millis(10) {
            return Err("job: rotate_every is at least 10ms".to_owned());
        }
        if !job.uri_path.starts_with('/') {
            return Err("job: uri_path begins with '/'".to_owned());
        }
        Ok(())
    }

    fn known_role(&self, who: &str, role: Option<&str>) -> Result<(), String> {
        match role {
            Some(role) if !self.roles.contains_key(role) => {
                Err(format!("{who}: there is no role '{role}'"))
            }
            _ => Ok(()),
        }
    }

    /// What STS and AIWorkSpace know.
    pub(super) fn sessions(&self) -> Sessions {
        let oidc = self.roles.iter().filter_map(|(name, role)| {
            let trust = OidcTrust {
                provider_arn: role.oidc_provider.clone()?,
                token: role.oidc_token.clone()?,
            };
            Some((name.clone(), trust))
        });
        let workspace = self.workspace.clone().zip(self.default_bucket());
        Sessions {
            oidc: oidc.collect(),
            workspace: workspace.map(|(id, bucket)| {
                let host = format!("oss-{}-internal.aliyuncs.com", self.region);
                (id, format!("oss://{bucket}.{host}/"))
            }),
        }
    }

    /// The policies of all roles by name.
    ///
    /// # Errors
    /// One line naming the role that cannot be understood; never after [`Config::parse`].
    pub(super) fn policies(&self) -> Result<Vec<(String, Policy)>, String> {
        self.roles
            .keys()
            .map(|name| Ok((name.clone(), self.policy(name)?)))
            .collect()
    }

    fn policy(&self, name: &str) -> Result<Policy, String> {
        let role = &self.roles[name];
        let mut policy = Policy::default();
        if role.default_bucket_only {
            let bucket = self
                .default_bucket()
                .ok_or_else(|| format!("role '{name}': no bucket is the default"))?;
            policy = policy.join(Policy::one_bucket(bucket));
        }
        for system in &role.policies {
            let part = Policy::system(system)
                .ok_or_else(|| format!("role '{name}': system policy '{system}' is not known"))?;
            policy = policy.join(part);
        }
        if let Some(json) = &role.policy {
            let part = Policy::parse(json).map_err(|error| format!("role '{name}': {error}"))?;
            policy = policy.join(part);
        }
        Ok(policy)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    const FULL: &str = r#"
region = "cn-hangzhou"
[[bucket]]
name = "workspace-default"
default = true
[[bucket]]
name = "other"
versioning = "suspended"
[role.AliyunPAIDLCDefaultRole]
default_bucket_only = true
[role.reader]
policies = ["AliyunOSSReadOnlyAccess"]
[role.custom]
policy = '''{"Version": "1", "Statement": [{"Effect": "Allow", "Action": "oss:*", "Resource": "*"}]}'''
[key.admin]
id = "LTAIadmin"
secret = "hush"
[job]
role = "AliyunPAIDLCDefaultRole"
token_life = "3s"
rotate_every = "500ms"
old_tokens = "refused_at_once"
credentials_file = "/tmp/credentials"
file_mode = "symlink"
expiration_format = "offset"
"#;

    fn error(text: &str) -> String {
        let error = Config::parse(text).unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
        error
    }

    #[test]
    fn everything_is_read() {
        let config = Config::parse(FULL).unwrap();
        assert_eq!(config.default_bucket(), Some("workspace-default"));
        assert_eq!(config.buckets[1].versioning, Versioning::Suspended);
        assert!(!format!("{config:?}").contains("hush"));
        assert_eq!(config.policies().unwrap().len(), 3);
        let job = config.job.unwrap();
        assert_eq!(job.rotate_every, SignedDuration::from_millis(500));
        assert_eq!(job.old_tokens, OldTokens::RefusedAtOnce);
        assert_eq!(job.uri_path, "/api/v1/credentials/0");
        assert!(Config::parse("").unwrap().job.is_none());
    }

    #[test]
    fn a_wrong_line_is_named() {
        assert!(error("region = \"x\"\nregoin = \"y\"").starts_with("line 2: unknown field"));
        let life = error("[job]\ntoken_life = \"soon\"");
        assert!(life.starts_with("line 2: "), "{life}");
        assert!(error("[[bucket]]\nname = 1").starts_with("line 2: "));
        assert!(error("x").starts_with("line 1: "));
    }

    #[test]
    fn parts_that_do_not_fit_are_named() {
        for (text, words) in [
            (
                "[role.a]\ndefault_bucket_only = true",
                "no bucket is the default",
            ),
            ("[role.a]\npolicies = [\"X\"]", "'X' is not known"),
            ("[role.a]\npolicy = '{}'", "role 'a'"),
            ("[job]\nrole = \"b\"", "job: there is no role 'b'"),
            (
                "[key.k]\nid = \"1\"\nsecret = \"2\"\nrole = \"c\"",
                "key 'k': there is no role 'c'",
            ),
            ("[job]\ntoken_life = \"999ms\"", "at least 1s"),
            ("[job]\nrotate_every = \"9ms\"", "at least 10ms"),
            (
                "[[bucket]]\nname = \"a\"\n[[bucket]]\nname = \"a\"",
                "twice",
            ),
        ] {
            let error = error(text);
            assert!(error.contains(words), "{text}: {error}");
        }
        assert!(Config::parse("[job]\ntoken_life = \"1s\"\nrotate_every = \"10ms\"").is_ok());
    }
}
