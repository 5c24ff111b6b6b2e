//! Asks a mount through its socket.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio_util::task::AbortOnDropHandle;

use super::status::Status;

/// The longest answer: all lists of a status full of the longest keys are less.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Why a mount has not answered.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens, or not for us.
    #[error("{socket}: {source}")]
    Connect {
        /// The socket.
        socket: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// No answer came within the time-out.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The connection broke, or what came is no answer.
    #[error("the answer is broken: {0}")]
    Broken(String),
    /// The mount says no; the text says why.
    #[error("{0}")]
    Refused(String),
}

/// A mount as its socket shows it.
#[derive(Debug, Clone)]
pub struct Client {
    /// The socket.
    pub socket: PathBuf,
    /// How long one question may take.
    pub timeout: Duration,
}

impl Client {
    /// How things stand.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<Status, ClientError> {
        let answer = self.ask(Method::GET, "/status", String::new()).await?;
        serde_json::from_slice(&answer).map_err(|error| ClientError::Broken(error.to_string()))
    }

    /// Has a path, from the mount's root, and all below it asked for anew; how many names the kernel was told to drop.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn invalidate(&self, path: &str) -> Result<u64, ClientError> {
        let answer = self
            .ask(Method::POST, "/invalidate", path.to_owned())
            .await?;
        let names = std::str::from_utf8(&answer).ok();
        names
            .and_then(|names| names.parse().ok())
            .ok_or_else(|| ClientError::Broken("it is no number".to_owned()))
    }

    /// Changes what is logged.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if it is no level, and the others.
    pub async fn set_log_level(&self, level: &str) -> Result<(), ClientError> {
        self.ask(Method::PUT, "/log-level", level.to_owned())
            .await?;
        Ok(())
    }

    async fn ask(
        &self,
        method: Method,
        path: &'static str,
        body: String,
    ) -> Result<Bytes, ClientError> {
        let asking = self.ask_patiently(method, path, body);
        let answer = tokio::time::timeout(self.timeout, asking).await;
        answer.unwrap_or(Err(ClientError::Late(self.timeout)))
    }

    async fn ask_patiently(
        &self,
        method: Method,
        path: &'static str,
        body: String,
    ) -> Result<Bytes, ClientError> {
        let broken = |error: hyper::Error| ClientError::Broken(error.to_string());
        let stream =
            UnixStream::connect(&self.socket)
                .await
                .map_err(|source| ClientError::Connect {
                    socket: self.socket.display().to_string(),
                    source,
                })?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(broken)?;
        let _connection = AbortOnDropHandle::new(tokio::spawn(async move {
            // Its end is told by the answer, or by its absence.
            let _ = connection.await;
        }));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "rolefs")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| ClientError::Broken(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| ClientError::Broken(error.to_string()))?
            .to_bytes();
        match status {
            StatusCode::OK => Ok(body),
            _ => Err(ClientError::Refused(
                String::from_utf8_lossy(&body).trim().to_owned(),
            )),
        }
    }
}
