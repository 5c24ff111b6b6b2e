//! What the process's environment says of credentials: a snapshot that `cli` takes once, at start.

use std::fmt;
use std::path::PathBuf;

use super::set::{Secret, short};
use super::source::shown_url;

/// The variables of the official tools, by what they are for. An empty variable is an absent one. `Debug` shows no secret.
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
    /// A role that a token of the cluster stands for (RRSA).
    pub oidc: OidcVariables,
    /// Where profiles are.
    pub profiles: ProfileVariables,
    /// The metadata service of an ECS instance.
    pub metadata: MetadataVariables,
    /// Where STS is.
    pub sts: StsVariables,
}

/// `ALIBABA_CLOUD_ROLE_ARN` and what goes with it. Only all three of them name a role.
#[derive(Debug, Clone, Default)]
pub struct OidcVariables {
    /// `ALIBABA_CLOUD_ROLE_ARN`.
    pub role_arn: Option<String>,
    /// `ALIBABA_CLOUD_OIDC_PROVIDER_ARN`.
    pub provider_arn: Option<String>,
    /// `ALIBABA_CLOUD_OIDC_TOKEN_FILE`.
    pub token_file: Option<PathBuf>,
}

/// Where the official tools keep profiles.
#[derive(Debug, Clone, Default)]
pub struct ProfileVariables {
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `ALIBABA_CLOUD_PROFILE`: the profile of both files.
    pub name: Option<String>,
    /// `ALIBABA_CLOUD_CONFIG_FILE`, instead of `~/.aliyun/config.json`.
    pub config_file: Option<PathBuf>,
    /// `ALIBABA_CLOUD_CLI_PROFILE_DISABLED` is `true`.
    pub config_disabled: bool,
    /// `ALIBABA_CLOUD_CREDENTIALS_FILE`, instead of `~/.alibabacloud/credentials.ini` and `~/.alibabacloud/credentials`.
    pub credentials_file: Option<PathBuf>,
}

/// How the metadata service of an ECS instance is asked.
#[derive(Debug, Clone, Default)]
pub struct MetadataVariables {
    /// `ALIBABA_CLOUD_ECS_METADATA`: the role's name; by default the service is asked for it.
    pub role: Option<String>,
    /// `ALIBABA_CLOUD_ECS_METADATA_DISABLED` is `true`.
    pub disabled: bool,
    /// `ALIBABA_CLOUD_IMDSV1_DISABLED` is `true`: no question without a token of the service.
    pub v1_disabled: bool,
    /// `ROLEFS_ECS_METADATA_ENDPOINT`, instead of `http://100.100.100.200`: for tests.
    pub endpoint: Option<String>,
    /// One of the variables by which a job or a notebook of PAI is told is there: the instance's role is not the job's.
    pub in_pai: bool,
}

/// Where STS is asked.
#[derive(Debug, Clone, Default)]
pub struct StsVariables {
    /// `ALIBABA_CLOUD_STS_ENDPOINT`: a host, or a URL.
    pub endpoint: Option<String>,
    /// `ALIBABA_CLOUD_STS_REGION`.
    pub region: Option<String>,
    /// `ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED` is `true`.
    pub vpc: bool,
    /// `ALIBABA_CLOUD_ROLE_SESSION_NAME`.
    pub session_name: Option<String>,
}

/// What a container of PAI has, and nothing else: names that PAI's own SDK goes by (undocumented).
const OF_PAI: [&str; 2] = ["DLC_JOB_ID", "DSW_INSTANCE_ID"];

impl Environment {
    /// Asks `variable` for each name that matters; empty answers count as none.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let ask = |name| variable(name).filter(|value| !value.is_empty());
        let path = |name| ask(name).map(PathBuf::from);
        let is_true =
            |name| ask(name).is_some_and(|value: String| value.eq_ignore_ascii_case("true"));
        Self {
            uri: ask("ALIBABA_CLOUD_CREDENTIALS_URI"),
            access_key_id: ask("ALIBABA_CLOUD_ACCESS_KEY_ID"),
            access_key_secret: ask("ALIBABA_CLOUD_ACCESS_KEY_SECRET").map(Secret::new),
            security_token: ask("ALIBABA_CLOUD_SECURITY_TOKEN").map(Secret::new),
            oidc: OidcVariables {
                role_arn: ask("ALIBABA_CLOUD_ROLE_ARN"),
                provider_arn: ask("ALIBABA_CLOUD_OIDC_PROVIDER_ARN"),
                token_file: path("ALIBABA_CLOUD_OIDC_TOKEN_FILE"),
            },
            profiles: ProfileVariables {
                home: path("HOME"),
                name: ask("ALIBABA_CLOUD_PROFILE"),
                config_file: path("ALIBABA_CLOUD_CONFIG_FILE"),
                config_disabled: is_true("ALIBABA_CLOUD_CLI_PROFILE_DISABLED"),
                credentials_file: path("ALIBABA_CLOUD_CREDENTIALS_FILE"),
            },
            metadata: MetadataVariables {
                role: ask("ALIBABA_CLOUD_ECS_METADATA"),
                disabled: is_true("ALIBABA_CLOUD_ECS_METADATA_DISABLED"),
                v1_disabled: is_true("ALIBABA_CLOUD_IMDSV1_DISABLED"),
                endpoint: ask("ROLEFS_ECS_METADATA_ENDPOINT"),
                in_pai: OF_PAI.iter().any(|name| ask(name).is_some()),
            },
            sts: StsVariables {
                endpoint: ask("ALIBABA_CLOUD_STS_ENDPOINT"),
                region: ask("ALIBABA_CLOUD_STS_REGION"),
                vpc: is_true("ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED"),
                session_name: ask("ALIBABA_CLOUD_ROLE_SESSION_NAME"),
            },
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
            .field("oidc", &self.oidc)
            .field("profiles", &self.profiles)
            .field("metadata", &self.metadata)
            .field("sts", &self.sts)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_variables_are_absent() {
        let environment = Environment::read(|_| Some(String::new()));
        assert!(environment.uri.is_none() && environment.access_key_id.is_none());
        assert!(environment.access_key_secret.is_none() && environment.security_token.is_none());
        assert!(environment.oidc.role_arn.is_none() && !environment.metadata.in_pai);
    }

    #[test]
    fn a_job_of_pai_is_known_by_its_variables() {
        let read = |known: &'static str| {
            Environment::read(|name| (name == known).then(|| "x".to_owned())).metadata
        };
        assert!(read("DLC_JOB_ID").in_pai && !read("REGION").in_pai);
    }
}
