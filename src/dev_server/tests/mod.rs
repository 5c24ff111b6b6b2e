//! The server over HTTP, as a client without signatures sees it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod faults;
mod multipart;
mod objects;
mod uploads;
mod writes;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{BucketConfig, Config, DevServer};
use crate::transport::{self, Client, Proxy, Request};

/// The largest body a test expects.
const BODY_BYTES_MAX: usize = 64 << 20;

/// How long a condition may take to come true on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// A server with the bucket `bucket` in memory, and a client.
struct Bench {
    server: DevServer,
    client: Client,
}

struct Got {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The text of the first element of this name.
    fn element(&self, name: &str) -> &str {
        let (_, rest) = self.text().split_once(&format!("<{name}>")).unwrap();
        rest.split_once('<').unwrap().0
    }

    fn elements(&self, name: &str) -> Vec<&str> {
        let open = format!("<{name}>");
        let texts = self.text().split(&open).skip(1);
        texts.map(|rest| rest.split_once('<').unwrap().0).collect()
    }
}

impl Bench {
    async fn start() -> Self {
        Self::with(Config {
            buckets: vec![BucketConfig::new("bucket")],
            ..Config::default()
        })
        .await
    }

    async fn with(config: Config) -> Self {
        let client = transport::Config {
            proxy: Proxy::Never,
            ..transport::Config::default()
        };
        Self {
            server: DevServer::start(config).await.unwrap(),
            client: Client::new(&client).unwrap(),
        }
    }

    async fn send(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<transport::Response, transport::Error> {
        let pair = |(name, value): &(&str, &str)| {
            (
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            )
        };
        self.client
            .send(Request {
                method,
                url: format!("{}/bucket{target}", self.server.endpoint()),
                headers: headers.iter().map(pair).collect(),
                body: body.into(),
            })
            .await
    }

    async fn ask(&self, method: Method, target: &str, headers: &[(&str, &str)]) -> Got {
        self.give(method, target, headers, Bytes::new()).await
    }

    async fn give(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Got {
        let response = self.send(method, target, headers, body).await.unwrap();
        Got {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes(BODY_BYTES_MAX).await.unwrap(),
        }
    }

    async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Got {
        self.ask(Method::GET, target, headers).await
    }
}

async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting)
        .await
        .expect("the condition comes true");
}
