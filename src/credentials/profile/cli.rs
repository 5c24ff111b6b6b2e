//! `~/.aliyun/config.json`.

use serde::Deserialize;

use super::{key, needed};
use crate::credentials::environment::StsVariables;
use crate::credentials::error::Trouble;
use crate::credentials::grant::Grant;
use crate::credentials::set::Secret;
use crate::credentials::sts::{Assume, Oidc, Sts};

/// How many profiles may stand behind each other (`source_profile`): more is a circle.
const CHAIN_MAX: usize = 5;

#[derive(Deserialize)]
struct File {
    current: Option<String>,
    #[serde(default)]
    profiles: Vec<Profile>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Profile {
    name: Option<String>,
    mode: Option<String>,
    access_key_id: Option<String>,
    access_key_secret: Option<Secret>,
    sts_token: Option<Secret>,
    ram_role_arn: Option<String>,
    ram_session_name: Option<String>,
    role_session_name: Option<String>,
    ram_role_name: Option<String>,
    expired_seconds: Option<u32>,
    policy: Option<String>,
    external_id: Option<String>,
    sts_region: Option<String>,
    enable_vpc: Option<bool>,
    source_profile: Option<String>,
    oidc_provider_arn: Option<String>,
    oidc_token_file: Option<String>,
    process_command: Option<String>,
    credentials_uri: Option<String>,
}

/// What the profile `name`, by default the current one, says. A profile of an empty mode has keys of its own.
///
/// No such profile, and one of a mode that is not known here, is nothing at all, as in the official chain.
pub(in crate::credentials) fn grant(
    text: &str,
    name: Option<&str>,
    known: &StsVariables,
) -> Result<Grant, Trouble> {
    let file: File = serde_json::from_str(text).map_err(|error| {
        // Not its text: that quotes the value it stumbles on.
        let (line, column) = (error.line(), error.column());
        Trouble::Unusable(format!(
            "not the tool's JSON at line {line}, column {column}"
        ))
    })?;
    let name = name.or(file.current.as_deref().filter(|name| !name.is_empty()));
    let Some(name) = name.map(str::to_owned) else {
        return Err(Trouble::Absent("it names no current profile".to_owned()));
    };
    resolved(file.profiles, name, known)
}

fn resolved(
    mut profiles: Vec<Profile>,
    mut name: String,
    known: &StsVariables,
) -> Result<Grant, Trouble> {
    // The roles from the last one that is taken to the first.
    let mut roles = Vec::new();
    loop {
        let at = profiles
            .iter()
            .position(|profile| profile.name.as_deref() == Some(&name));
        let Some(at) = at else {
            let reason = format!("there is no profile {name}");
            return Err(match roles.is_empty() {
                true => Trouble::Absent(reason),
                false => Trouble::Unusable(reason),
            });
        };
        let mut profile = profiles.swap_remove(at).without_empty();
        let mode = profile.mode.take().unwrap_or_default();
        let of_profile = |trouble: Trouble| trouble.within(format!("profile {name} ({mode})"));
        if mode != "ChainableRamRoleArn" {
            let base = profile.grant(&mode, known).map_err(of_profile)?;
            return Ok(roles.into_iter().rev().fold(base, |base, (assume, sts)| {
                Grant::Role(Box::new(base), assume, sts)
            }));
        }
        if roles.len() == CHAIN_MAX {
            return Err(of_profile(Trouble::unusable(
                "too many profiles stand behind each other",
            )));
        }
        let source = profile.source_profile.take();
        let source = needed(source, "source_profile").map_err(of_profile)?;
        let sts = profile.sts(known);
        roles.push((profile.assume().map_err(of_profile)?, sts));
        name = source;
    }
}

impl Profile {
    fn without_empty(mut self) -> Self {
        for text in [
            &mut self.mode,
            &mut self.access_key_id,
            &mut self.ram_role_arn,
            &mut self.ram_session_name,
            &mut self.role_session_name,
            &mut self.ram_role_name,
            &mut self.policy,
            &mut self.external_id,
            &mut self.sts_region,
            &mut self.source_profile,
            &mut self.oidc_provider_arn,
            &mut self.oidc_token_file,
            &mut self.process_command,
            &mut self.credentials_uri,
        ] {
            text.take_if(|text| text.is_empty());
        }
        for secret in [&mut self.access_key_secret, &mut self.sts_token] {
            secret.take_if(|secret| secret.expose().is_empty());
        }
        // The tool writes a zero where nothing was said.
        self.expired_seconds.take_if(|seconds| *seconds == 0);
        self
    }

    fn grant(self, mode: &str, known: &StsVariables) -> Result<Grant, Trouble> {
        let sts = self.sts(known);
        match mode {
            "" | "AK" => key(self.access_key_id, self.access_key_secret, None),
            "StsToken" => {
                let token = needed(self.sts_token, "sts_token")?;
                key(self.access_key_id, self.access_key_secret, Some(token))
            }
            "RamRoleArn" => {
                let assume = self.assume()?;
                let base = key(self.access_key_id, self.access_key_secret, self.sts_token)?;
                Ok(Grant::Role(Box::new(base), assume, sts))
            }
            "EcsRamRole" => Ok(Grant::Ecs(self.ram_role_name)),
            "OIDC" => {
                let oidc = Oidc {
                    assume: Assume {
                        session_name: self.role_session_name.clone(),
                        ..self.assume()?
                    },
                    provider_arn: needed(self.oidc_provider_arn, "oidc_provider_arn")?,
                    token_file: needed(self.oidc_token_file, "oidc_token_file")?.into(),
                };
                Ok(Grant::Oidc(oidc, sts))
            }
            "External" => {
                let command = needed(self.process_command, "process_command")?;
                Ok(Grant::Process(command))
            }
            "CredentialsURI" => {
                let uri = needed(self.credentials_uri, "credentials_uri")?;
                Ok(Grant::Uri(uri))
            }
            _ => Err(Trouble::Absent(
                "a mode that is not supported; use AK, StsToken, RamRoleArn, ChainableRamRoleArn, EcsRamRole, OIDC, External or CredentialsURI".to_owned(),
            )),
        }
    }

    fn sts(&self, known: &StsVariables) -> Sts {
        Sts::new(known, self.sts_region.as_deref(), self.enable_vpc)
    }

    fn assume(&self) -> Result<Assume, Trouble> {
        Ok(Assume {
            role_arn: needed(self.ram_role_arn.clone(), "ram_role_arn")?,
            session_name: self.ram_session_name.clone(),
            policy: self.policy.clone(),
            external_id: self.external_id.clone(),
            duration_seconds: self.expired_seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    /// What `aliyun configure` of 3.0 writes, with one profile of each mode.
    const FILE: &str = r#"{"current": "ak", "meta_path": "", "profiles": [
        {"name": "ak", "mode": "AK", "access_key_id": "LTAI1", "access_key_secret": "hush", "sts_token": "", "expired_seconds": 0},
        {"name": "sts", "mode": "StsToken", "access_key_id": "STS.1", "access_key_secret": "hush", "sts_token": "t"},
        {"name": "arn", "mode": "RamRoleArn", "access_key_id": "LTAI1", "access_key_secret": "hush",
         "ram_role_arn": "acs:ram::1:role/r", "ram_session_name": "me", "expired_seconds": 900, "sts_region": "cn-x", "enable_vpc": true},
        {"name": "next", "mode": "ChainableRamRoleArn", "source_profile": "arn", "ram_role_arn": "acs:ram::1:role/s"},
        {"name": "circle", "mode": "ChainableRamRoleArn", "source_profile": "circle", "ram_role_arn": "acs:ram::1:role/s"},
        {"name": "ecs", "mode": "EcsRamRole", "ram_role_name": ""},
        {"name": "oidc", "mode": "OIDC", "ram_role_arn": "r", "oidc_provider_arn": "p", "oidc_token_file": "/t", "role_session_name": "s"},
        {"name": "ext", "mode": "External", "process_command": "keys --x"},
        {"name": "uri", "mode": "CredentialsURI", "credentials_uri": "http://localhost/x"},
        {"name": "sso", "mode": "CloudSSO", "access_token": "hush"},
        {"name": "empty", "mode": "AK", "access_key_id": "", "access_key_secret": ""},
        {"name": "bare", "mode": "OIDC", "ram_role_arn": "r"}
    ]}"#;

    fn of(name: &str) -> Result<Grant, Trouble> {
        grant(FILE, Some(name), &StsVariables::default())
    }

    #[test]
    fn each_mode_is_a_way_to_a_set() {
        let known = StsVariables::default();
        assert!(matches!(grant(FILE, None, &known), Ok(Grant::Set(set)) if set.token().is_none()));
        assert!(matches!(of("sts"), Ok(Grant::Set(set)) if set.token().is_some()));
        assert!(matches!(of("ecs"), Ok(Grant::Ecs(None))));
        assert!(matches!(of("ext"), Ok(Grant::Process(command)) if command == "keys --x"));
        assert!(matches!(of("uri"), Ok(Grant::Uri(_))));
        let Ok(Grant::Oidc(oidc, _)) = of("oidc") else {
            panic!("a token is the way");
        };
        assert_eq!(oidc.assume.session_name.as_deref(), Some("s"));
    }

    #[test]
    fn roles_are_taken_one_after_the_other() {
        let Ok(Grant::Role(base, assume, _)) = of("next") else {
            panic!("a role is the way");
        };
        assert_eq!(assume.role_arn, "acs:ram::1:role/s");
        let Grant::Role(base, assume, sts) = *base else {
            panic!("a role is the way");
        };
        assert_eq!(assume.role_arn, "acs:ram::1:role/r");
        assert_eq!(assume.duration_seconds, Some(900));
        assert!(format!("{sts:?}").contains("https://sts-vpc.cn-x.aliyuncs.com"));
        assert!(matches!(*base, Grant::Set(_)));
    }

    #[test]
    fn what_is_wrong_is_named_and_no_value_is_quoted() {
        for (name, words) in [
            ("nobody", "there is no profile nobody"),
            (
                "sso",
                "profile sso (CloudSSO): a mode that is not supported",
            ),
            ("circle", "there is no profile circle"),
            ("bare", "oidc_provider_arn is missing"),
            ("empty", "profile empty (AK): no key is in it"),
        ] {
            let trouble = of(name).unwrap_err();
            assert!(trouble.reason().contains(words), "{trouble:?}");
            // In a chain of sources, what is not there for us decides nothing.
            let is_absent = matches!(trouble, Trouble::Absent(_));
            assert_eq!(is_absent, ["nobody", "sso", "empty"].contains(&name));
        }
        let known = StsVariables::default();
        for text in [
            "{\"profiles\": [{\"name\": 1, \"x\": \"hush\"}]}",
            "hush",
            "{}",
        ] {
            let trouble = grant(text, None, &known).unwrap_err();
            assert!(!trouble.reason().contains("hush"), "{trouble:?}");
        }
    }
}
