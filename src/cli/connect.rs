//! A bucket for commands that ask OSS without mounting anything.

use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;

use super::config::Connection;
use super::{logging, process};
use crate::credentials::Provider;
use crate::metrics::Metrics;
use crate::oss::Bucket;
use crate::transport::{self, Roots};

/// The HTTP client for an endpoint.
pub(super) fn transport(connection: &Connection) -> Result<transport::Client> {
    let roots = if connection.endpoint.is_https() {
        Roots::System
    } else {
        Roots::None
    };
    Ok(transport::Client::new(&transport::Config {
        roots,
        ..transport::Config::default()
    })?)
}

/// Opens a bucket once there are credentials.
pub(super) async fn bucket(connection: &Connection, metrics: &Arc<Metrics>) -> Result<Arc<Bucket>> {
    let credentials = Provider::new(connection.credentials.clone(), Arc::clone(metrics))?;
    credentials.first().await?;
    let transport = transport(connection)?;
    let bucket = Bucket::new(
        connection.oss(),
        transport,
        credentials,
        Arc::clone(metrics),
    )?;
    Ok(Arc::new(bucket))
}

/// What a command at a prompt runs on. What should be looked at is logged to standard error.
pub(super) fn runtime() -> Result<Runtime> {
    process::tune_allocator();
    process::harden();
    logging::start("warn", None, logging::Style::default())?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the async runtime")
}
