//! Asking the sources once: a file, a service, the environment. No state, no retry.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use tokio::time::timeout;
use zeroize::{Zeroize, Zeroizing};

use super::document::{self, DOCUMENT_BYTES_MAX, Writer};
use super::error::Trouble;
use super::set::Credentials;
use super::source::{Environment, Source, is_http_url};
use crate::transport;

/// How long a connection to the service may take. It is on the same machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one question to the service, or one reading of the file, may take as a whole.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the service is waited for when the file has already given a set that will do.
const SECOND_OPINION: Duration = Duration::from_millis(500);
/// A file is taken as whole when two readings this far apart agree.
const SETTLE: Duration = Duration::from_millis(20);
/// Readings of a file that keeps changing before it is left for later.
const SETTLE_READINGS: u32 = 5;

/// What one source gave.
pub(super) type Answer = Result<Credentials, Trouble>;

/// What one source gave, and which one.
pub(super) struct Offer {
    pub(super) origin: Source,
    pub(super) answer: Answer,
}

/// The places to look at, and the means.
#[derive(Debug)]
pub(super) struct Places {
    source: Source,
    environment: Environment,
    file: PathBuf,
    client: transport::Client,
    /// One reading of a file at a time: on a hanging file system no second thread gets stuck.
    reading: Arc<tokio::sync::Mutex<()>>,
}

/// True if the service is asked over HTTPS. The injected one is local and speaks plain HTTP.
fn speaks_https(source: &Source, environment: &Environment) -> bool {
    let uri = match source {
        Source::Uri(uri) => Some(uri),
        Source::Auto => environment.uri.as_ref(),
        Source::File(_) | Source::Env => None,
    };
    uri.is_some_and(|uri| uri.starts_with("https://"))
}

impl Places {
    pub(super) fn new(
        source: Source,
        environment: Environment,
        file: PathBuf,
    ) -> Result<Self, transport::Error> {
        let client = transport::Client::new(&transport::Config {
            connect_timeout: CONNECT_TIMEOUT,
            // Each question has its own connection: an idle one could be closed under the next question.
            pool_idle_max: 0,
            proxy: transport::Proxy::Never,
            roots: if speaks_https(&source, &environment) {
                transport::Roots::System
            } else {
                transport::Roots::None
            },
            ..transport::Config::default()
        })?;
        Ok(Self {
            source,
            environment: environment.without_empty(),
            file,
            client,
            reading: Arc::default(),
        })
    }

    /// False if asking again can never give anything else.
    pub(super) fn can_change(&self) -> bool {
        match self.source {
            Source::Auto => !self.environment.has_permanent_key(),
            Source::File(_) | Source::Uri(_) => true,
            Source::Env => false,
        }
    }

    /// The file whose changes matter, if any.
    pub(super) fn watched_file(&self) -> Option<&Path> {
        match &self.source {
            Source::Auto if self.can_change() => Some(&self.file),
            Source::File(path) => Some(path),
            Source::Auto | Source::Uri(_) | Source::Env => None,
        }
    }

    /// Asks every place that counts. `wanted` says whether a set would be adopted.
    pub(super) async fn ask(&self, wanted: impl Fn(&Credentials) -> bool) -> Vec<Offer> {
        match &self.source {
            Source::Auto if self.environment.has_permanent_key() => vec![self.ask_environment()],
            Source::Auto => {
                let mut offers = self.injected(wanted).await;
                let absent = |offer: &Offer| matches!(offer.answer, Err(Trouble::Absent(_)));
                if offers.iter().all(absent) {
                    offers.push(self.ask_environment());
                }
                offers
            }
            Source::File(path) => vec![self.ask_file(path).await],
            Source::Uri(url) => vec![self.ask_service(url).await],
            Source::Env => vec![self.ask_environment()],
        }
    }

    /// The file and the service side by side. When the file has something that will do, a slow service does not
    /// matter.
    async fn injected(&self, wanted: impl Fn(&Credentials) -> bool) -> Vec<Offer> {
        let Some(url) = &self.environment.uri else {
            let unset = "ALIBABA_CLOUD_CREDENTIALS_URI is not set".to_owned();
            let service = Offer {
                origin: Source::Uri(String::new()),
                answer: Err(Trouble::Absent(unset)),
            };
            return vec![self.ask_file(&self.file).await, service];
        };
        let mut service = pin!(self.ask_service(url));
        let mut file = pin!(self.ask_file(&self.file));
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

    fn ask_environment(&self) -> Offer {
        let known = &self.environment;
        let answer = match (&known.access_key_id, &known.access_key_secret) {
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
        };
        Offer {
            origin: Source::Env,
            answer,
        }
    }

    /// Reads a file, for sure.
    pub(super) async fn ask_file(&self, path: &Path) -> Offer {
        Offer {
            origin: Source::File(path.to_owned()),
            answer: name(path.display(), self.settled(path).await),
        }
    }

    /// Reads the file until two readings agree in bytes and time of change: a writer that overwrites in place could
    /// otherwise show the key id of one set beside the token of another, in valid JSON.
    async fn settled(&self, path: &Path) -> Answer {
        let mut last = self.read(path).await?;
        for _ in 0..SETTLE_READINGS {
            tokio::time::sleep(SETTLE).await;
            let next = self.read(path).await?;
            if next == last {
                return document::parse(&last.bytes, Writer::File);
            }
            last = next;
        }
        Err(Trouble::unusable("it is being written"))
    }

    /// One reading of the watched file, to see whether a second look is worth it; torn or mixed as it may be.
    pub(super) async fn glance(&self, path: &Path) -> Answer {
        document::parse(&self.read(path).await?.bytes, Writer::File)
    }

    async fn read(&self, path: &Path) -> Result<Reading, Trouble> {
        let path = path.to_owned();
        let reading = Arc::clone(&self.reading);
        let read = async move {
            let turn = reading.lock_owned().await;
            tokio::task::spawn_blocking(move || {
                let _turn = turn;
                read_bounded(&path)
            })
            .await
        };
        match timeout(ATTEMPT_TIMEOUT, read).await {
            Err(_) => Err(Trouble::unusable("reading it takes too long")),
            Ok(Err(_)) => Err(Trouble::unusable("reading it was cut short")),
            Ok(Ok(Ok(reading))) if reading.bytes.len() > DOCUMENT_BYTES_MAX => {
                Err(Trouble::unusable("it is too long"))
            }
            Ok(Ok(Ok(reading))) => Ok(reading),
            Ok(Ok(Err(error)))
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Err(Trouble::Absent("not there".to_owned()))
            }
            Ok(Ok(Err(error))) => Err(Trouble::Unusable(error.to_string())),
        }
    }

    async fn ask_service(&self, url: &str) -> Offer {
        let origin = Source::Uri(url.to_owned());
        let answer = if is_http_url(url) {
            match timeout(ATTEMPT_TIMEOUT, self.call(url)).await {
                Ok(answer) => answer,
                Err(_) => Err(Trouble::unusable("no answer in time")),
            }
        } else {
            Err(Trouble::unusable("not an http:// or https:// URL"))
        };
        let answer = name(&origin, answer);
        Offer { origin, answer }
    }

    async fn call(&self, url: &str) -> Answer {
        let broken = |error: transport::Error| Trouble::Unusable(error.to_string());
        let request = transport::Request {
            method: Method::GET,
            url: url.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        let mut response = self.client.send(request).await.map_err(broken)?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(Trouble::Unusable(format!("status {}", status.as_u16())));
        }
        // All the room there can be, at once: a vector that grows leaves copies behind.
        let mut body = Zeroizing::new(Vec::with_capacity(DOCUMENT_BYTES_MAX));
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if body.len() + chunk.len() > DOCUMENT_BYTES_MAX {
                return Err(Trouble::unusable("the answer is too long"));
            }
            body.extend_from_slice(&chunk);
            wipe(chunk);
        }
        document::parse(&body, Writer::Service)
    }
}

/// Puts the name of a place before what is wrong with it.
fn name(place: impl std::fmt::Display, answer: Answer) -> Answer {
    answer.map_err(|trouble| match trouble {
        Trouble::Absent(reason) => Trouble::Absent(format!("{place}: {reason}")),
        Trouble::Unusable(reason) => Trouble::Unusable(format!("{place}: {reason}")),
    })
}

/// Wipes a piece of a body, unless the HTTP library still shares its memory.
fn wipe(chunk: Bytes) {
    if let Ok(mut own) = chunk.try_into_mut() {
        own.as_mut().zeroize();
    }
}

/// A file as it was at one moment, or while it was being written.
#[derive(PartialEq, Eq)]
struct Reading {
    bytes: Zeroizing<Vec<u8>>,
    /// Bytes alone would not do: a slow writer may be in a stretch in which the old and the new text are the same.
    changed: SystemTime,
}

fn read_bounded(path: &Path) -> io::Result<Reading> {
    let mut file = std::fs::File::open(path)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(DOCUMENT_BYTES_MAX + 1));
    (&mut file)
        .take(DOCUMENT_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)?;
    let changed = file.metadata()?.modified()?;
    Ok(Reading { bytes, changed })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn readings_with_a_write_between_them_do_not_agree_although_their_bytes_do() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "same").unwrap();
        let before = read_bounded(file.path()).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        // The kernel's clock of files moves in ticks.
        while file.path().metadata().unwrap().modified().unwrap() == before.changed {
            assert!(std::time::Instant::now() < deadline);
            std::fs::write(&file, "same").unwrap();
        }
        let after = read_bounded(file.path()).unwrap();
        assert!(before.bytes == after.bytes && before != after);
        assert!(after == read_bounded(file.path()).unwrap());
    }
}
