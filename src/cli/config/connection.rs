//! How a bucket is reached, and by whose credentials.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::super::args::ConnectionArgs;
use super::Surroundings;
use super::target::Target;
use super::units::duration;
use crate::credentials;
use crate::object::Prefix;
use crate::oss::{self, Endpoint, SignatureVersion};

/// The shortest `--retry-for`: with less, the answers of a healthy OSS would be too late.
const RETRY_FOR_MIN: Duration = Duration::from_secs(1);

/// A bucket, or a directory of it, and how to reach it.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Connection {
    pub(in crate::cli) bucket: String,
    pub(in crate::cli) prefix: Prefix,
    pub(in crate::cli) endpoint: Endpoint,
    pub(in crate::cli) region: Option<String>,
    pub(in crate::cli) signature: SignatureVersion,
    pub(in crate::cli) path_style: bool,
    /// Without anything that moves.
    pub(in crate::cli) retry_for: Duration,
    pub(in crate::cli) credentials: credentials::Config,
}

impl Connection {
    /// Gives the arguments their meaning; `target` is `oss://BUCKET[.ENDPOINT][/PREFIX]`.
    pub(in crate::cli) fn new(
        target: Option<&str>,
        args: ConnectionArgs,
        around: &Surroundings,
    ) -> Result<Self> {
        let target = target.filter(|text| !text.is_empty());
        let target = Target::parse(target.context(
            "no bucket is given; pass oss://BUCKET[.ENDPOINT][/PREFIX] or set ROLEFS_BUCKET (a mount finds the default bucket of a workspace \
             if PAI_WORKSPACE_ID and REGION are set)",
        )?)
        .context("bucket")?;
        let args = args.without_empty();
        let endpoint = args
            .endpoint
            .or(target.endpoint)
            .or_else(|| around.oss_endpoint.clone())
            .context("no endpoint is given; pass --endpoint or set OSS_ENDPOINT, e.g. oss-cn-hangzhou-internal.aliyuncs.com, or REGION")?;
        let hold = duration("--hold", &args.hold)?;
        let retry_for = duration("--retry-for", &args.retry_for)?;
        ensure!(
            retry_for >= RETRY_FOR_MIN,
            "--retry-for {}: at least {RETRY_FOR_MIN:?}",
            args.retry_for
        );
        let source = args.source.config(around)?;
        Ok(Self {
            bucket: target.bucket,
            prefix: target.prefix,
            endpoint: Endpoint::from_str(&endpoint).context("--endpoint")?,
            region: args.region,
            signature: SignatureVersion::from_str(&args.signature).context("--signature")?,
            path_style: args.path_style,
            retry_for,
            credentials: credentials::Config { hold, ..source },
        })
    }

    /// What a bucket is opened with.
    pub(in crate::cli) fn oss(&self) -> oss::Config {
        oss::Config {
            region: self.region.clone(),
            signature: self.signature,
            path_style: self.path_style,
            retry: oss::Retry {
                no_progress: self.retry_for,
                ..oss::Retry::default()
            },
            ..oss::Config::new(self.endpoint.clone(), &self.bucket)
        }
    }
}
