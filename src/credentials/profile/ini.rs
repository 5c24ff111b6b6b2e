//! `~/.alibabacloud/credentials.ini`, or without the ending: sections of `name = value`.

use std::collections::HashMap;

use super::{key, needed};
use crate::credentials::environment::StsVariables;
use crate::credentials::error::Trouble;
use crate::credentials::grant::Grant;
use crate::credentials::set::Secret;
use crate::credentials::sts::{Assume, Oidc, Sts};

/// The values of one section; all may be secret.
#[derive(Default)]
struct Section(HashMap<String, Secret>);

impl Section {
    fn secret(&mut self, name: &str) -> Option<Secret> {
        self.0.remove(name)
    }

    fn text(&mut self, name: &str) -> Option<String> {
        Some(self.0.remove(name)?.expose().to_owned())
    }
}

/// What a section says; no such section is nothing at all, as in an empty file.
pub(in crate::credentials) fn grant(
    text: &str,
    name: &str,
    known: &StsVariables,
) -> Result<Grant, Trouble> {
    let Some(mut section) = section(text, name)? else {
        return Err(Trouble::Absent(format!("there is no section [{name}]")));
    };
    let kind = section.text("type").unwrap_or_default();
    let of_section = |trouble: Trouble| trouble.within(format!("[{name}] ({kind})"));
    section.grant(&kind, known).map_err(of_section)
}

/// The values of a section, without blanks around them; empty ones are absent. `#` begins a comment, also behind a value, as
/// the official clients read it.
fn section(text: &str, wanted: &str) -> Result<Option<Section>, Trouble> {
    let mut found: Option<Section> = None;
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with(';') {
            continue;
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            inside = name.trim() == wanted;
            if inside {
                found.get_or_insert_default();
            }
            continue;
        }
        let pair = line.split_once('=').or_else(|| line.split_once(':'));
        let Some((name, value)) = pair else {
            let number = number + 1;
            return Err(Trouble::Unusable(format!(
                "line {number} is neither [section] nor name = value"
            )));
        };
        if let Some(section) = found.as_mut().filter(|_| inside)
            && !value.trim().is_empty()
        {
            let name = name.trim().to_ascii_lowercase();
            section.0.insert(name, Secret::from(value.trim()));
        }
    }
    Ok(found)
}

impl Section {
    fn grant(mut self, kind: &str, known: &StsVariables) -> Result<Grant, Trouble> {
        let sts = Sts::new(known, self.text("sts_region").as_deref(), None);
        match kind {
            "access_key" => self.key(),
            "sts" => {
                let token = needed(self.secret("security_token"), "security_token")?;
                key(
                    self.text("access_key_id"),
                    self.secret("access_key_secret"),
                    Some(token),
                )
            }
            "ram_role_arn" => {
                let assume = self.assume()?;
                Ok(Grant::Role(Box::new(self.key()?), assume, sts))
            }
            "oidc_role_arn" => {
                let file = self.text("oidc_token_file_path");
                let oidc = Oidc {
                    assume: self.assume()?,
                    provider_arn: needed(self.text("oidc_provider_arn"), "oidc_provider_arn")?,
                    token_file: needed(file, "oidc_token_file_path")?.into(),
                };
                Ok(Grant::Oidc(oidc, sts))
            }
            "ecs_ram_role" => Ok(Grant::Ecs(self.text("role_name"))),
            _ => Err(Trouble::unusable(
                "a type that is not supported; use access_key, sts, ram_role_arn, oidc_role_arn or ecs_ram_role",
            )),
        }
    }

    fn key(&mut self) -> Result<Grant, Trouble> {
        let id = self.text("access_key_id");
        key(id, self.secret("access_key_secret"), None)
    }

    fn assume(&mut self) -> Result<Assume, Trouble> {
        Ok(Assume {
            session_name: self.text("role_session_name"),
            policy: self.text("policy"),
            ..Assume::new(needed(self.text("role_arn"), "role_arn")?)
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    const FILE: &str = "
; a comment
[default]                      # another one
type = access_key
access_key_id = LTAI1
Access_Key_Secret: hush # not of the value
[role]
type = ram_role_arn
access_key_id = LTAI1
access_key_secret = a=b
role_arn = acs:ram::1:role/r
role_session_name =
[instance]
type = ecs_ram_role
[pair]
type = rsa_key_pair
private_key_file = /hush
";

    fn of(name: &str) -> Result<Grant, Trouble> {
        grant(FILE, name, &StsVariables::default())
    }

    #[test]
    fn sections_are_read_as_the_official_clients_do() {
        assert!(matches!(of("default"), Ok(Grant::Set(set)) if set.secret().expose() == "hush"));
        assert!(matches!(of("instance"), Ok(Grant::Ecs(None))));
        let Ok(Grant::Role(base, assume, _)) = of("role") else {
            panic!("a role is the way");
        };
        assert_eq!(assume, Assume::new("acs:ram::1:role/r"));
        assert!(matches!(*base, Grant::Set(set) if set.secret().expose() == "a=b"));
    }

    #[test]
    fn what_is_wrong_is_named_and_no_value_is_quoted() {
        assert!(matches!(of("nobody"), Err(Trouble::Absent(_))));
        let trouble = of("pair").unwrap_err();
        assert!(trouble.reason().contains("[pair] (rsa_key_pair): a type"));
        let bad = grant("[a]\nhush", "a", &StsVariables::default()).unwrap_err();
        assert_eq!(bad.reason(), "line 2 is neither [section] nor name = value");
    }
}
