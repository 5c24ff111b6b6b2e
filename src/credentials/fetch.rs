//! Asking the sources once, in their order. No state, no retry.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

use super::clock;
use super::document::{self, Writer};
use super::environment::Environment;
use super::error::Trouble;
use super::files::Files;
use super::grant::{Grant, Means};
use super::policy;
use super::profile;
use super::services::Services;
use super::set::Credentials;
use super::source::Source;
use super::sts::{Assume, Oidc, Sts};
use crate::transport;

/// How long one question to the service, or one reading of the file, may take as a whole.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the service is waited for when the file has already given a set that will do.
const SECOND_OPINION: Duration = Duration::from_millis(500);
/// Bytes of a file of profiles that is read.
const PROFILES_BYTES_MAX: usize = 1 << 20;

/// What one source gave.
pub(super) type Answer = Result<Credentials, Trouble>;

/// What one source gave, and which one.
pub(super) struct Offer {
    pub(super) origin: Source,
    pub(super) answer: Answer,
}

impl Offer {
    fn is_absent(&self) -> bool {
        matches!(self.answer, Err(Trouble::Absent(_)))
    }
}

/// The places to look at, and the means.
#[derive(Debug)]
pub(super) struct Places {
    source: Source,
    environment: Environment,
    file: PathBuf,
    /// A role to take with whatever is found.
    assume: Option<Assume>,
    files: Files,
    services: Services,
}

impl Places {
    pub(super) fn new(config: super::Config) -> Result<Self, transport::Error> {
        Ok(Self {
            source: config.source,
            environment: config.environment.without_empty(),
            file: config.file,
            assume: config.assume,
            files: Files::default(),
            services: Services::new()?,
        })
    }

    /// False if asking again can never give anything else.
    pub(super) fn can_change(&self) -> bool {
        match self.source {
            Source::Auto => self.assume.is_some() || !self.environment.has_permanent_key(),
            Source::Env => self.assume.is_some(),
            Source::File(_)
            | Source::Uri(_)
            | Source::Oidc
            | Source::Cli(_)
            | Source::Ini(_)
            | Source::Ecs(_)
            | Source::Process(_) => true,
        }
    }

    /// The file whose changes matter, if any. A role that was taken lives on when the set it was taken with is replaced.
    pub(super) fn watched_file(&self) -> Option<&Path> {
        match &self.source {
            _ if self.assume.is_some() => None,
            Source::Auto if self.can_change() => Some(&self.file),
            Source::File(path) => Some(path),
            Source::Auto
            | Source::Uri(_)
            | Source::Env
            | Source::Oidc
            | Source::Cli(_)
            | Source::Ini(_)
            | Source::Ecs(_)
            | Source::Process(_) => None,
        }
    }

    /// The places in the order in which they count.
    pub(super) fn order(&self) -> Vec<Source> {
        let injected = [
            Source::File(self.file.clone()),
            Source::Uri(self.environment.uri.clone().unwrap_or_default()),
        ];
        match &self.source {
            Source::Auto if self.environment.has_permanent_key() => {
                let [env, others @ ..] = self.after_injected();
                [env].into_iter().chain(injected).chain(others).collect()
            }
            Source::Auto => injected.into_iter().chain(self.after_injected()).collect(),
            named => vec![named.clone()],
        }
    }

    /// What counts when nothing is injected.
    fn after_injected(&self) -> [Source; 5] {
        [
            Source::Env,
            Source::Oidc,
            Source::Cli(None),
            Source::Ini(None),
            Source::Ecs(None),
        ]
    }

    /// Asks every place that counts. `wanted` says whether a set would be adopted.
    pub(super) async fn ask(&self, wanted: impl Fn(&Credentials) -> bool) -> Vec<Offer> {
        let Some(assume) = &self.assume else {
            return self.ask_places(wanted).await;
        };
        let now = clock::now();
        let lives = |set: &Credentials| set.expiration().is_none_or(|end| end > now);
        let mut offers = self.ask_places(lives).await;
        let mut best: Option<usize> = None;
        for (at, offer) in offers.iter().enumerate() {
            let Ok(set) = &offer.answer else { continue };
            let outlives = |other: &Offer| match &other.answer {
                Ok(other) => policy::ends_later(set.expiration(), other.expiration()),
                Err(_) => true,
            };
            if best.is_none_or(|best| outlives(&offers[best])) {
                best = Some(at);
            }
        }
        // With an expired set STS is asked all the same: it knows the time better than this machine may.
        if let Some(best) = best {
            let mut offer = offers.swap_remove(best);
            offers.retain(|offer| offer.answer.is_err());
            let sts = Sts::new(&self.environment.sts, None, None);
            if let Ok(base) = &offer.answer {
                let session = sts.assume_role(base, assume).await;
                offer.answer = session.map_err(|trouble| trouble.within(&offer.origin));
            }
            offers.insert(best.min(offers.len()), offer);
        }
        offers
    }

    async fn ask_places(&self, wanted: impl Fn(&Credentials) -> bool) -> Vec<Offer> {
        match &self.source {
            Source::Auto if self.environment.has_permanent_key() => {
                vec![self.ask_one(Source::Env).await]
            }
            Source::Auto => {
                let mut offers = self.injected(wanted).await;
                for source in self.after_injected() {
                    // What is there and cannot be used is an error, not a reason to take another role.
                    if !offers.iter().all(Offer::is_absent) {
                        break;
                    }
                    offers.push(self.ask_one(source).await);
                }
                offers
            }
            named => vec![self.ask_one(named.clone()).await],
        }
    }

    /// The file and the service side by side. When the file has something that will do, a slow service does not
    /// matter.
    async fn injected(&self, wanted: impl Fn(&Credentials) -> bool) -> Vec<Offer> {
        let url = self.environment.uri.clone().unwrap_or_default();
        let mut service = pin!(self.ask_one(Source::Uri(url)));
        let mut file = pin!(self.ask_one(Source::File(self.file.clone())));
        let (file, answered) = tokio::select! {
            file = &mut file => (file, None),
            service = &mut service => (file.await, Some(service)),
        };
        if let Some(service) = answered {
            return vec![file, service];
        }
        let enough = file.answer.as_ref().is_ok_and(wanted);
        let patience = if enough {
            SECOND_OPINION
        } else {
            ATTEMPT_TIMEOUT * 2 // the service's own bound ends first
        };
        match timeout(patience, service).await {
            Ok(service) => vec![file, service],
            Err(_) => vec![file],
        }
    }

    /// Asks one place; what is wrong there is told with its name.
    pub(super) async fn ask_one(&self, origin: Source) -> Offer {
        let answer = match &origin {
            // Never one of several: `ask_places` takes it apart.
            Source::Auto => Err(Trouble::unusable("not a place")),
            Source::File(path) => {
                let answer = self.files.settled(path).await;
                answer.map_err(|trouble| trouble.within(path.display()))
            }
            Source::Uri(url) if url.is_empty() => Err(Trouble::Absent(
                "ALIBABA_CLOUD_CREDENTIALS_URI is not set".to_owned(),
            )),
            Source::Env => self.environment_set(),
            Source::Oidc => match self.oidc() {
                Ok(grant) => self.redeem(grant).await,
                Err(trouble) => Err(trouble),
            },
            Source::Uri(url) => self
                .redeem(Grant::Uri(url.clone()))
                .await
                .map_err(in_it(&origin)),
            Source::Cli(profile) => self.cli(profile.as_deref()).await,
            Source::Ini(section) => self.ini(section.as_deref()).await,
            Source::Ecs(role) => self.metadata(role.clone()).await.map_err(in_it(&origin)),
            Source::Process(command) => {
                let grant = Grant::Process(command.clone());
                self.redeem(grant).await.map_err(in_it(&origin))
            }
        };
        Offer { origin, answer }
    }

    /// One reading of the watched file, to see whether a second look is worth it.
    pub(super) async fn glance(&self, path: &Path) -> Answer {
        self.files.glance(path).await
    }

    async fn redeem(&self, grant: Grant) -> Answer {
        let means = Means {
            files: &self.files,
            services: &self.services,
            environment: &self.environment,
            is_instance_named: matches!(self.source, Source::Ecs(_)),
        };
        means.redeem(grant).await
    }

    fn environment_set(&self) -> Answer {
        let known = &self.environment;
        match (&known.access_key_id, &known.access_key_secret) {
            (None, None) => Err(Trouble::Absent(
                "ALIBABA_CLOUD_ACCESS_KEY_ID is not set".to_owned(),
            )),
            (Some(_), None) => Err(Trouble::unusable(
                "ALIBABA_CLOUD_ACCESS_KEY_ID is set and ALIBABA_CLOUD_ACCESS_KEY_SECRET is not",
            )),
            (None, Some(_)) => Err(Trouble::unusable(
                "ALIBABA_CLOUD_ACCESS_KEY_SECRET is set and ALIBABA_CLOUD_ACCESS_KEY_ID is not",
            )),
            (Some(id), Some(secret)) => {
                let token = known.security_token.clone();
                let set = Credentials::new(id.clone(), secret.clone(), token, None);
                match set.flaw() {
                    None => Ok(set),
                    Some(flaw) => Err(Trouble::Unusable(format!("environment: {flaw}"))),
                }
            }
        }
    }

    /// Only all three variables name a role that a token stands for; one of them alone may be there for something else.
    fn oidc(&self) -> Result<Grant, Trouble> {
        let known = &self.environment.oidc;
        let missing = |name: &str| Trouble::Absent(format!("{name} is not set"));
        let role = known.role_arn.as_ref();
        let provider = known.provider_arn.clone();
        let oidc = Oidc {
            assume: Assume::new(role.ok_or_else(|| missing("ALIBABA_CLOUD_ROLE_ARN"))?),
            provider_arn: provider.ok_or_else(|| missing("ALIBABA_CLOUD_OIDC_PROVIDER_ARN"))?,
            token_file: known
                .token_file
                .clone()
                .ok_or_else(|| missing("ALIBABA_CLOUD_OIDC_TOKEN_FILE"))?,
        };
        Ok(Grant::Oidc(
            oidc,
            Sts::new(&self.environment.sts, None, None),
        ))
    }

    async fn cli(&self, profile: Option<&str>) -> Answer {
        let known = &self.environment.profiles;
        if known.config_disabled {
            let reason = "ALIBABA_CLOUD_CLI_PROFILE_DISABLED is true";
            return Err(Trouble::Absent(reason.to_owned()));
        }
        let at_home = known
            .home
            .as_ref()
            .map(|home| home.join(".aliyun/config.json"));
        let Some(path) = known.config_file.clone().or(at_home) else {
            return Err(Trouble::Absent("no profile: HOME is not set".to_owned()));
        };
        let name = profile.or(known.name.as_deref());
        let within = |trouble: Trouble| trouble.within(path.display());
        let text = self.files.text(&path, PROFILES_BYTES_MAX).await;
        let text = text.map_err(within)?;
        let answer = match profile::cli::grant(&text, name, &self.environment.sts) {
            Ok(grant) => self.redeem(grant).await,
            Err(trouble) => Err(trouble),
        };
        // What is only found and of no use to us is passed over, as by the official chain; who names it is told.
        answer.map_err(within).map_err(|trouble| match self.source {
            Source::Cli(_) => Trouble::Unusable(trouble.reason().to_owned()),
            _ => trouble,
        })
    }

    async fn ini(&self, section: Option<&str>) -> Answer {
        let known = &self.environment.profiles;
        // The official clients do not agree on the name; the platform's and the connectors' JSON has the second one, too.
        let at_home = |name: &str| known.home.as_ref().map(|home| home.join(name));
        let paths = match &known.credentials_file {
            Some(path) => vec![path.clone()],
            None => [".alibabacloud/credentials.ini", ".alibabacloud/credentials"]
                .into_iter()
                .filter_map(at_home)
                .collect(),
        };
        let name = section.or(known.name.as_deref()).unwrap_or("default");
        let mut answer = Err(Trouble::Absent("no ini file: HOME is not set".to_owned()));
        for path in paths {
            answer = match self.files.text(&path, PROFILES_BYTES_MAX).await {
                Ok(text) if text.trim_start().starts_with('{') => {
                    document::parse(text.as_bytes(), Writer::File)
                }
                Ok(text) => match profile::ini::grant(&text, name, &self.environment.sts) {
                    Ok(grant) => self.redeem(grant).await,
                    Err(trouble) => Err(trouble),
                },
                Err(trouble) => Err(trouble),
            }
            .map_err(|trouble| trouble.within(path.display()));
            if !matches!(answer, Err(Trouble::Absent(_))) {
                break;
            }
        }
        match (&self.source, &known.name, answer) {
            // The profile of the command-line tool was looked for before.
            (Source::Auto, Some(name), Err(Trouble::Absent(reason))) => {
                Err(Trouble::Unusable(format!(
                    "ALIBABA_CLOUD_PROFILE names {name}, and neither the command-line tool nor an ini file has a profile of that name that can be used ({reason})"
                )))
            }
            (_, _, answer) => answer,
        }
    }

    /// The instance's role. What is only found, not named, is not taken in a container of PAI: it would not be the job's.
    async fn metadata(&self, role: Option<String>) -> Answer {
        let known = &self.environment.metadata;
        let is_named = matches!(self.source, Source::Ecs(_));
        if !known.disabled && known.in_pai && known.role.is_none() && !is_named {
            let reason = "not asked in a container of PAI: the instance's role is not the job's; name it by --credentials ecs";
            return Err(Trouble::Absent(reason.to_owned()));
        }
        self.redeem(Grant::Ecs(role)).await
    }

    /// Asks STS whose set it is.
    pub(super) async fn caller(&self, set: &Credentials) -> Result<String, Trouble> {
        let sts = Sts::new(&self.environment.sts, None, None);
        sts.caller(set).await
    }
}

fn in_it(origin: &Source) -> impl FnOnce(Trouble) -> Trouble {
    move |trouble| trouble.within(origin)
}
