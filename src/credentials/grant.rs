//! How a profile says that a set is got, and getting it.

use std::pin::Pin;

use super::environment::Environment;
use super::error::Trouble;
use super::fetch::Answer;
use super::files::Files;
use super::process;
use super::services::Services;
use super::set::Credentials;
use super::sts::{Assume, Oidc, Sts};

/// Bytes of a token of the cluster that is read. It is a JWT of one or two kilobytes.
const TOKEN_BYTES_MAX: usize = 64 << 10;

/// A way to a set.
#[derive(Debug)]
pub(super) enum Grant {
    /// It stands there.
    Set(Credentials),
    /// A service gives it.
    Uri(String),
    /// The metadata service gives it.
    Ecs(Option<String>),
    /// STS gives it for a token.
    Oidc(Oidc, Sts),
    /// A command prints it.
    Process(String),
    /// STS gives it for another one.
    Role(Box<Self>, Assume, Sts),
}

/// What grants are redeemed with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Means<'a> {
    pub(super) files: &'a Files,
    pub(super) services: &'a Services,
    pub(super) environment: &'a Environment,
    /// The metadata service is named by the user, so that it is asked also where it is switched off.
    pub(super) is_instance_named: bool,
}

impl<'a> Means<'a> {
    /// Goes the way to the set.
    pub(super) fn redeem(self, grant: Grant) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>> {
        Box::pin(async move {
            match grant {
                Grant::Set(set) => match set.flaw() {
                    None => Ok(set),
                    Some(flaw) => Err(Trouble::unusable(flaw)),
                },
                Grant::Uri(url) => self.services.by_uri(&url).await,
                Grant::Ecs(role) => {
                    let known = &self.environment.metadata;
                    if known.disabled && !self.is_instance_named {
                        let reason = "ALIBABA_CLOUD_ECS_METADATA_DISABLED is true";
                        return Err(Trouble::Absent(reason.to_owned()));
                    }
                    self.services.by_metadata(role.as_deref(), known).await
                }
                Grant::Oidc(oidc, sts) => self.by_token(&oidc, &sts).await,
                Grant::Process(command) => process::ask(&command).await,
                Grant::Role(base, assume, sts) => {
                    let base = self.redeem(*base).await?;
                    sts.assume_role(&base, &assume).await
                }
            }
        })
    }

    /// The token is read anew each time: the cluster rewrites its file.
    async fn by_token(self, oidc: &Oidc, sts: &Sts) -> Answer {
        let file = &oidc.token_file;
        let token = self.files.text(file, TOKEN_BYTES_MAX).await;
        // The variables or a profile say that it is there, so it is no place where nothing is.
        let token = token.map_err(|trouble| {
            Trouble::Unusable(trouble.within(file.display()).reason().to_owned())
        })?;
        sts.with_oidc(oidc, &token).await
    }
}
