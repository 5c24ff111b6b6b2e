//! How a bucket is reached, and by whose credentials.

use std::str::FromStr;

use anyhow::{Context, Result};

use super::super::args::ConnectionArgs;
use super::Surroundings;
use super::target::Target;
use super::units::duration;
use crate::credentials;
use crate::object::Prefix;
use crate::oss::{self, Endpoint, SignatureVersion};

/// A bucket, or a directory of it, and how to reach it.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Connection {
    pub(in crate::cli) bucket: String,
    pub(in crate::cli) prefix: Prefix,
    pub(in crate::cli) endpoint: Endpoint,
    pub(in crate::cli) region: Option<String>,
    pub(in crate::cli) signature: SignatureVersion,
    pub(in crate::cli) path_style: bool,
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
        let source = args.source.config(around)?;
        Ok(Self {
            bucket: target.bucket,
            prefix: target.prefix,
            endpoint: Endpoint::from_str(&endpoint).context("--endpoint")?,
            region: args.region,
            signature: SignatureVersion::from_str(&args.signature).context("--signature")?,
            path_style: args.path_style,
            credentials: credentials::Config { hold, ..source },
        })
    }

    /// What a bucket is opened with.
    pub(in crate::cli) fn oss(&self) -> oss::Config {
        oss::Config {
            region: self.region.clone(),
            signature: self.signature,
            path_style: self.path_style,
            ..oss::Config::new(self.endpoint.clone(), &self.bucket)
        }
    }
}
