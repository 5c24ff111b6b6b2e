//! What is typed about credentials: of these commands, and of every one that needs a set.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args as ClapArgs, Subcommand};

use crate::cli::config::{Surroundings, duration};
use crate::credentials::{
    self, Assume, Config, DURATION_MAX_SECONDS, DURATION_MIN_SECONDS, Source,
};

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct CredentialsArgs {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what is used, until when, and what each source says. No secret is shown.
    Show(ShowArgs),
    /// Give the credentials to other programs on this machine, as ALIBABA_CLOUD_CREDENTIALS_URI; prints what to set.
    Serve(ServeArgs),
    /// Run a command with credentials for the official SDKs, renewed for as long as it runs.
    Exec(ExecArgs),
}

/// Where credentials come from, and which role is taken with them.
#[derive(Debug, Clone, ClapArgs)]
pub(in crate::cli) struct SourceArgs {
    /// Where the role's credentials come from: auto, file:PATH, uri:URL, env, oidc, cli or cli:PROFILE, ini or ini:SECTION, ecs or
    /// ecs:ROLE, or process:COMMAND.
    ///
    /// auto takes the file and the service that the platform injects, each standing in for the other, and when nothing is
    /// injected the first of these that is there: environment variables, a token of the cluster (OIDC), the profile of the
    /// command-line tool, the ini file, the role of the ECS instance. A permanent key in the environment goes before all. A command
    /// may take 60s, then it is killed with what it has started.
    #[arg(
        long,
        env = "ROLEFS_CREDENTIALS",
        hide_env_values = true, // a URL may hold a password
        default_value = "auto",
        value_name = "SOURCE"
    )]
    pub(in crate::cli) credentials: String,

    /// Take this role with the credentials that are found (AssumeRole), e.g. acs:ram::1234567890123456:role/reader.
    #[arg(long, env = "ROLEFS_ROLE_ARN", value_name = "ARN")]
    pub(super) role_arn: Option<String>,

    /// What the session of --role-arn is called in the audit log; by default ALIBABA_CLOUD_ROLE_SESSION_NAME, or rolefs.
    #[arg(long, env = "ROLEFS_ROLE_SESSION_NAME", value_name = "NAME")]
    pub(super) role_session_name: Option<String>,

    /// A policy that the session of --role-arn is confined to, as JSON or as @FILE.
    #[arg(long, env = "ROLEFS_SESSION_POLICY", value_name = "JSON|@FILE")]
    pub(super) session_policy: Option<String>,

    /// How long a session of --role-arn lives before it is taken anew, 15min to 12h; by default 1h.
    #[arg(long, env = "ROLEFS_ROLE_DURATION", value_name = "DURATION")]
    pub(super) role_duration: Option<String>,

    /// Where STS is asked, e.g. sts-vpc.cn-hangzhou.aliyuncs.com; by default as ALIBABA_CLOUD_STS_REGION says.
    #[arg(long, env = "ROLEFS_STS_ENDPOINT", value_name = "URL|HOST")]
    pub(super) sts_endpoint: Option<String>,
}

impl SourceArgs {
    /// Gives them their meaning; empty flags count as absent.
    pub(in crate::cli) fn config(mut self, around: &Surroundings) -> Result<Config> {
        for text in [
            &mut self.role_arn,
            &mut self.role_session_name,
            &mut self.session_policy,
            &mut self.role_duration,
            &mut self.sts_endpoint,
        ] {
            text.take_if(|text| text.is_empty());
        }
        let source = Source::from_str(&self.credentials).context("--credentials")?;
        let source = match source {
            Source::File(path) => Source::File(around.directory.join(path)),
            source => source,
        };
        let mut environment = around.credentials.clone();
        if let Some(endpoint) = &self.sts_endpoint {
            environment.sts.endpoint = Some(endpoint.clone());
        }
        Ok(Config {
            assume: self.assume()?,
            ..Config::new(source, environment)
        })
    }

    fn assume(self) -> Result<Option<Assume>> {
        let Some(role_arn) = self.role_arn else {
            for (flag, value) in [
                ("--role-session-name", &self.role_session_name),
                ("--session-policy", &self.session_policy),
                ("--role-duration", &self.role_duration),
            ] {
                ensure!(
                    value.is_none(),
                    "{flag} is of the session of --role-arn; pass that too"
                );
            }
            return Ok(None);
        };
        ensure!(
            role_arn.starts_with("acs:ram::") && role_arn.contains(":role/"),
            "--role-arn {role_arn}: a role is acs:ram::ACCOUNT:role/NAME"
        );
        Ok(Some(Assume {
            session_name: self.role_session_name,
            policy: self.session_policy.map(policy).transpose()?,
            duration_seconds: self.role_duration.as_deref().map(seconds).transpose()?,
            ..Assume::new(role_arn)
        }))
    }

    /// The variables that say the same to another process of ours; command lines are seen by all users.
    pub(super) fn variables(&self) -> Vec<(&'static str, &str)> {
        let optional = [
            ("ROLEFS_ROLE_ARN", &self.role_arn),
            ("ROLEFS_ROLE_SESSION_NAME", &self.role_session_name),
            ("ROLEFS_SESSION_POLICY", &self.session_policy),
            ("ROLEFS_ROLE_DURATION", &self.role_duration),
            ("ROLEFS_STS_ENDPOINT", &self.sts_endpoint),
        ];
        let mut variables = vec![("ROLEFS_CREDENTIALS", self.credentials.as_str())];
        variables.extend(
            optional
                .into_iter()
                .map(|(name, value)| (name, value.as_deref().unwrap_or_default())),
        );
        variables
    }
}

fn policy(text: String) -> Result<String> {
    let text = match text.strip_prefix('@') {
        Some(path) => {
            fs::read_to_string(path).with_context(|| format!("--session-policy {path}"))?
        }
        None => text,
    };
    let policy: serde_json::Value =
        serde_json::from_str(&text).context("--session-policy: not JSON")?;
    // Without the blanks of who wrote it: STS takes 2048 characters.
    Ok(policy.to_string())
}

fn seconds(text: &str) -> Result<u32> {
    let bounds = DURATION_MIN_SECONDS..=DURATION_MAX_SECONDS;
    let seconds = duration("--role-duration", text)?.as_secs();
    let seconds = u32::try_from(seconds).ok().filter(|it| bounds.contains(it));
    seconds.with_context(|| format!("--role-duration {text}: a session lives for 15min to 12h"))
}

#[derive(Debug, ClapArgs)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,

    /// Write JSON instead of text.
    #[arg(long)]
    pub(super) json: bool,

    /// Do not ask STS whose credentials they are.
    #[arg(long)]
    pub(super) offline: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,

    /// Address to listen on; port 0 picks a free one.
    #[arg(
        long,
        env = "ROLEFS_LISTEN",
        default_value = "127.0.0.1:0",
        value_name = "ADDRESS"
    )]
    pub(super) listen: SocketAddr,

    /// Path that answers, e.g. /credentials; by default one that nobody can guess.
    #[arg(
        long,
        env = "ROLEFS_LISTEN_PATH",
        hide_env_values = true, // who knows it has the role
        value_name = "PATH"
    )]
    pub(super) listen_path: Option<String>,

    /// Listen on an address that other machines reach. Whoever asks there has the role.
    #[arg(long)]
    pub(super) allow_remote: bool,

    /// How much to log: error, warn, info, debug or trace.
    #[arg(
        long,
        env = "ROLEFS_LOG_LEVEL",
        default_value = "info",
        value_name = "LEVEL"
    )]
    pub(super) log_level: String,

    /// The process that it is for: of `exec`.
    #[arg(long, hide = true)]
    pub(super) for_process: Option<u32>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct ExecArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,

    /// Set the keys themselves, for a command that knows nothing else. They end with the set that is current now.
    #[arg(long = "static")]
    pub(super) fixed: bool,

    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}

/// Waits for a set at start as long as a mount does, and is not patient with those who ask later: the official clients give
/// up after ten seconds.
pub(super) fn impatient(config: Config) -> Config {
    credentials::Config {
        hold: Duration::from_secs(8),
        ..config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> SourceArgs {
        SourceArgs {
            credentials: "auto".to_owned(),
            role_arn: None,
            role_session_name: None,
            session_policy: None,
            role_duration: None,
            sts_endpoint: None,
        }
    }

    #[test]
    fn a_session_is_of_a_role_and_has_bounds() {
        let arn = Some("acs:ram::1:role/r".to_owned());
        let config = |args: SourceArgs| args.config(&Surroundings::now());
        let with = |time: &str| SourceArgs {
            role_arn: arn.clone(),
            role_duration: Some(time.to_owned()),
            ..source()
        };
        for (time, is_good) in [
            ("15min", true),
            ("14min", false),
            ("12h", true),
            ("13h", false),
        ] {
            assert_eq!(config(with(time)).is_ok(), is_good, "{time}");
        }
        let orphan = SourceArgs {
            role_session_name: Some("x".to_owned()),
            ..source()
        };
        assert!(config(orphan).is_err());
        let wrong = SourceArgs {
            role_arn: Some("reader".to_owned()),
            ..source()
        };
        assert!(config(wrong).is_err());
        let policy = SourceArgs {
            role_arn: arn.clone(),
            session_policy: Some("{ \"Version\": \"1\" }".to_owned()),
            ..source()
        };
        let assume = config(policy).ok().and_then(|config| config.assume);
        let policy = assume.and_then(|assume| assume.policy);
        assert_eq!(policy.as_deref(), Some("{\"Version\":\"1\"}"));
    }
}
