//! What a job of PAI does not have to say: the default bucket of its workspace, and the endpoint in its region.
//!
//! Flags, variables and the bucket's own address go before. Otherwise the workspace (`PAI_WORKSPACE_ID`) is asked in its region
//! (`REGION`) for the key under which PAI's own SDK looks, `modelExportPath`; the key is not documented, and whether the role
//! may ask depends on the role. The internal endpoint is taken if it can be reached within a second, for its traffic costs
//! nothing and new accounts cannot use the other one.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use http::Method;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::args::ConnectionArgs;
use super::config::{Pai, Surroundings};
use crate::credentials::{Provider, Secret};
use crate::openapi::{self, Call, Signer};

/// Where the default storage of a workspace stands.
const DEFAULT_STORAGE: &str = "modelExportPath";
const VERSION: &str = "2021-02-04";
/// How long a connection to AIWorkSpace may take; in a job without a way to one of its two hosts, the other is asked then.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the whole question may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the internal endpoint may take to be reached: it is in the same network, or not there.
const INTERNAL_TIMEOUT: Duration = Duration::from_secs(1);

/// What was found, as the variables that say it to the process in the background.
pub(super) type Found = Vec<(&'static str, String)>;

/// Fills in the bucket and the endpoint that were not said, as far as the surroundings tell; says what it took.
pub(super) fn complete(
    bucket: &mut Option<String>,
    args: &mut ConnectionArgs,
    around: &Surroundings,
) -> Result<Found> {
    for text in [&mut *bucket, &mut args.endpoint, &mut args.region] {
        text.take_if(|text| text.is_empty());
    }
    let is_complete =
        args.endpoint.is_some() || around.oss_endpoint.is_some() || has_endpoint(bucket.as_deref());
    if bucket.is_some() && is_complete {
        return Ok(Found::new());
    }
    super::process::harden();
    super::block_on(find(bucket, args, around, is_complete))
}

#[expect(
    clippy::print_stderr,
    reason = "what nobody typed is told to who waits at the prompt"
)]
async fn find(
    bucket: &mut Option<String>,
    args: &mut ConnectionArgs,
    around: &Surroundings,
    is_complete: bool,
) -> Result<Found> {
    let mut found = Found::new();
    let mut region = args.region.clone().or(around.pai.region.clone());
    if bucket.is_none() {
        let Some((workspace, of_pai)) = around
            .pai
            .workspace
            .as_ref()
            .zip(around.pai.region.as_ref())
        else {
            // The sentence is that of the configuration.
            return Ok(found);
        };
        let storage = default_storage(args, around, workspace, of_pai).await?;
        let (address, endpoint) = taken_apart(&storage)?;
        eprintln!("rolefs: the default storage of workspace {workspace} is {storage}");
        match endpoint.as_deref().map(region_of) {
            Some(Some(own)) => region = Some(own.to_owned()),
            // An endpoint that is not one of OSS's own has no internal twin.
            Some(None) if !is_complete => {
                args.endpoint.clone_from(&endpoint);
                found.extend(endpoint.map(|endpoint| ("ROLEFS_ENDPOINT", endpoint)));
            }
            Some(None) | None => {}
        }
        *bucket = Some(address.clone());
        found.push(("ROLEFS_BUCKET", address));
    }
    if !is_complete
        && args.endpoint.is_none()
        && let Some(region) = region
    {
        let endpoint = endpoint_in(&region).await;
        eprintln!("rolefs: the endpoint is {endpoint}");
        args.endpoint = Some(endpoint.clone());
        found.push(("ROLEFS_ENDPOINT", endpoint));
    }
    Ok(found)
}

/// True if the address of a bucket names its endpoint.
fn has_endpoint(address: Option<&str>) -> bool {
    let address = address.unwrap_or_default();
    let rest = address.strip_prefix("oss://").unwrap_or(address);
    rest.split('/')
        .next()
        .is_some_and(|host| host.contains('.'))
}

/// `oss://BUCKET/PREFIX`, and the endpoint that the address named beside it, by its host or by `?host=`.
fn taken_apart(storage: &str) -> Result<(String, Option<String>)> {
    let rest = storage.strip_prefix("oss://").with_context(|| {
        format!("the default storage of the workspace is {storage}, which is not of OSS; pass oss://BUCKET")
    })?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let (bucket, endpoint) = host.split_once('.').unwrap_or((host, ""));
    let named = query.split('&').find_map(|pair| pair.strip_prefix("host="));
    let endpoint = named.unwrap_or(endpoint);
    let endpoint = (!endpoint.is_empty()).then(|| endpoint.to_owned());
    Ok((format!("oss://{bucket}/{prefix}"), endpoint))
}

/// `cn-hangzhou` of `oss-cn-hangzhou.aliyuncs.com` and of its internal twin.
fn region_of(endpoint: &str) -> Option<&str> {
    let name = endpoint
        .strip_prefix("oss-")?
        .strip_suffix(".aliyuncs.com")?;
    Some(name.strip_suffix("-internal").unwrap_or(name))
}

async fn endpoint_in(region: &str) -> String {
    let internal = format!("oss-{region}-internal.aliyuncs.com");
    let reached = timeout(
        INTERNAL_TIMEOUT,
        TcpStream::connect((internal.as_str(), 443)),
    )
    .await;
    match reached {
        Ok(Ok(_)) => internal,
        Ok(Err(_)) | Err(_) => format!("oss-{region}.aliyuncs.com"),
    }
}

/// The answer of ListConfigs.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Configs {
    #[serde(default)]
    configs: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config_key: String,
    config_value: Option<String>,
}

async fn default_storage(
    args: &ConnectionArgs,
    around: &Surroundings,
    workspace: &str,
    region: &str,
) -> Result<String> {
    let config = args.source.clone().config(around)?;
    let provider = Provider::new(config, std::sync::Arc::default())?;
    let set = provider.first().await?;
    let signer = Signer {
        access_key_id: set.access_key_id(),
        secret: set.secret().expose(),
        token: set.token().map(Secret::expose),
    };
    let remedy = "pass the bucket, oss://BUCKET[.ENDPOINT][/PREFIX], or set ROLEFS_BUCKET";
    let is_id = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !workspace.bytes().all(is_id) {
        bail!("PAI_WORKSPACE_ID is not the id of a workspace; {remedy}");
    }
    let mut last = None;
    for endpoint in hosts(&around.pai, region) {
        match list_configs(&endpoint, workspace, &signer).await {
            Ok(Some(storage)) => return Ok(storage),
            Ok(None) => bail!("workspace {workspace} has no default storage; {remedy}"),
            Err(
                error @ openapi::Error::Refused {
                    status: 401 | 403, ..
                },
            ) => {
                return Err(error).context(format!(
                    "the role may not ask for the default bucket of workspace {workspace}; {remedy}"
                ));
            }
            Err(error) => last = Some(error),
        }
    }
    let error = last.map_or_else(|| anyhow!("there is nobody to ask"), anyhow::Error::new);
    Err(error.context(format!(
        "the default bucket of workspace {workspace} cannot be asked for; {remedy}"
    )))
}

/// Inside the network first.
fn hosts(pai: &Pai, region: &str) -> Vec<String> {
    match &pai.workspace_endpoint {
        Some(endpoint) => vec![openapi::endpoint(endpoint)],
        None => ["aiworkspace-vpc", "aiworkspace"]
            .map(|name| format!("https://{name}.{region}.aliyuncs.com"))
            .to_vec(),
    }
}

async fn list_configs(
    endpoint: &str,
    workspace: &str,
    signer: &Signer<'_>,
) -> Result<Option<String>, openapi::Error> {
    let call = Call {
        action: "ListConfigs",
        version: VERSION,
        method: Method::GET,
        endpoint,
        path: &format!("/api/v1/workspaces/{workspace}/configs"),
        query: &[("ConfigKeys", DEFAULT_STORAGE)],
        form: &[],
        connect_timeout: CONNECT_TIMEOUT,
    };
    let unreadable = |code: &str| openapi::Error::Refused {
        code: code.to_owned(),
        status: 200,
        request_id: String::new(),
    };
    let answer = timeout(CALL_TIMEOUT, openapi::ask(&call, Some(signer)));
    let answer = answer
        .await
        .map_err(|_| unreadable("no answer in time"))??;
    let configs: Configs =
        serde_json::from_slice(&answer).map_err(|_| unreadable("the answer is not understood"))?;
    let storage = configs
        .configs
        .into_iter()
        .find(|entry| entry.config_key == DEFAULT_STORAGE)
        .and_then(|entry| entry.config_value);
    Ok(storage.filter(|value| !value.is_empty()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn the_forms_of_a_default_storage_are_taken_apart() {
        let internal = "oss-cn-beijing-internal.aliyuncs.com";
        for (storage, address, endpoint) in [
            ("oss://b/p/", "oss://b/p/", None),
            (
                "oss://b.oss-cn-beijing-internal.aliyuncs.com/",
                "oss://b/",
                Some(internal),
            ),
            (
                "oss://b/p?host=oss-cn-beijing-internal.aliyuncs.com&role_arn=x",
                "oss://b/p",
                Some(internal),
            ),
        ] {
            let apart = taken_apart(storage).unwrap();
            assert_eq!((apart.0.as_str(), apart.1.as_deref()), (address, endpoint));
        }
        assert!(taken_apart("nas://x").is_err());
    }

    #[test]
    fn an_endpoint_of_oss_tells_its_region() {
        for (endpoint, region) in [
            ("oss-cn-beijing-internal.aliyuncs.com", Some("cn-beijing")),
            ("oss-us-west-1.aliyuncs.com", Some("us-west-1")),
            ("127.0.0.1:80", None),
        ] {
            assert_eq!(region_of(endpoint), region);
        }
        assert!(has_endpoint(Some("oss://b.x/p")) && has_endpoint(Some("b.x")));
        assert!(!has_endpoint(Some("oss://b/p.x")) && !has_endpoint(None));
    }
}
