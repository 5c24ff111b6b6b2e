//! The bucket, and what the role may do under the prefix.

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;

use super::report::Report;
use crate::cli::config::Connection;
use crate::cli::preflight;
use crate::fs::Probe;
use crate::object::ObjectKey;
use crate::op::Op;
use crate::oss::{self, Body, Bucket, BucketInfo, Condition, Kind, Properties, Versioning};

/// What the probes write.
const CONTENT: &[u8] = b"written by rolefs doctor --probe-writes, to be deleted\n";

/// Asks the bucket what it is, and what the role may do.
pub(super) async fn check(
    report: &mut Report,
    connection: &Connection,
    bucket: &Bucket,
    probe_writes: bool,
) {
    let mut probe = match preflight::reading(connection, bucket).await {
        Ok(probe) => probe,
        Err(error) => {
            report.check("bucket", Err(error));
            report.skip("rights", "the bucket cannot be asked");
            return;
        }
    };
    described(report, connection, &probe);
    for (name, action) in [("list", "oss:ListObjects"), ("get", "oss:GetObject")] {
        if probe.missing.contains(&action) {
            let effect = preflight::effect(action);
            report.warn(name, format!("the role lacks {action}: {effect}"));
        } else {
            report.check(name, Ok(format!("the role has {action}")));
        }
    }
    if probe.is_empty && !connection.prefix.as_str().is_empty() {
        let said = format!(
            "nothing is below {} yet; check the prefix",
            connection.prefix
        );
        report.warn("prefix", said);
    }
    if probe_writes {
        writes(report, connection, bucket).await;
        return;
    }
    let asked = preflight::writing(connection, bucket, &mut probe).await;
    match (asked, probe.capabilities.refuses_writes()) {
        (Err(error), _) => report.check("put", Err(error)),
        (Ok(()), Some(_)) => {
            let effect = preflight::effect("oss:PutObject");
            report.warn("put", format!("the role lacks oss:PutObject: {effect}"));
        }
        (Ok(()), None) => {
            let said = "the role has oss:PutObject, as far as can be told without writing";
            report.check("put", Ok(said.to_owned()));
        }
    }
    for name in ["multipart", "delete"] {
        report.skip(name, "not tried; --probe-writes does, and cleans up");
    }
}

/// What the bucket says of itself.
fn described(report: &mut Report, connection: &Connection, probe: &Probe) {
    let Some(info) = &probe.bucket else {
        let said =
            "it is there; the role lacks oss:GetBucketInfo, so its region and kind are not known";
        return report.check("bucket", Ok(said.to_owned()));
    };
    let shown = preflight::showable(connection, probe).map(|()| {
        let versions = match info.versioning {
            Versioning::Unversioned => "without versions",
            Versioning::Enabled => "with versions, which take room until they are deleted",
            Versioning::Suspended => "with old versions that are kept",
        };
        format!("{} in {}, {versions}", info.name, info.region)
    });
    report.check("bucket", shown);
    region(report, connection, info);
}

fn region(report: &mut Report, connection: &Connection, info: &BucketInfo) {
    let endpoint = &connection.endpoint;
    let signed = connection.region.as_deref().or(endpoint.region());
    let signed = signed.map(|region| region.strip_prefix("oss-").unwrap_or(region));
    match signed {
        Some(region) if region != info.region => report.warn(
            "region",
            format!(
                "requests are signed for {region}, and the bucket is in {}; pass --region {}",
                info.region, info.region
            ),
        ),
        Some(region) => report.check("region", Ok(format!("{region}, the bucket's"))),
        None => report.check(
            "region",
            Ok(format!("{}; signatures do not name it", info.region)),
        ),
    }
    if endpoint.region().is_some() && !endpoint.is_internal() && !info.intranet_endpoint.is_empty()
    {
        let said = format!(
            "the bucket's internal endpoint is {}",
            info.intranet_endpoint
        );
        report.check("internal", Ok(said));
    }
}

/// Writes an object and a part of another, and takes both away again.
async fn writes(report: &mut Report, connection: &Connection, bucket: &Bucket) {
    let name = format!(".rolefs-doctor-{:016x}", fastrand::u64(..));
    let key = match connection.prefix.object(&name) {
        Ok(key) => key,
        Err(error) => return report.check("put", Err(error.into())),
    };
    let op = Op::background("doctor");
    let body = Body::from(Bytes::from_static(CONTENT));
    let condition = Condition::ForbidOverwrite;
    let properties = Properties::default();
    let put = bucket.put_object(&op, &key, &body, &properties, condition);
    let put = put.await;
    let outcome = match &put {
        Ok(_) => Some("was deleted again"),
        Err(error) if is_refusal(error) => None,
        // Its answer was lost, or the answer to an attempt before.
        Err(_) => Some("may have been written, and was deleted"),
    };
    let put = told(connection, put);
    report.check("put", put.map(|_| format!("{key} was written")));
    multipart(report, connection, bucket, &key).await;
    let Some(outcome) = outcome else {
        return report.skip("delete", "nothing was written that could be deleted");
    };
    let deleted = told(connection, bucket.delete_object(&op, &key).await);
    let deleted = deleted.with_context(|| format!("{key} is left; delete it by hand"));
    report.check("delete", deleted.map(|()| format!("{key} {outcome}")));
}

/// True if a put surely had no effect.
fn is_refusal(error: &oss::Error) -> bool {
    match error.kind() {
        Kind::Denied { .. } => error.attempts() <= 1,
        // The name is random, so it would be a stranger's.
        kind => matches!(kind, Kind::AlreadyExists | Kind::NoSuchBucket),
    }
}

async fn multipart(report: &mut Report, connection: &Connection, bucket: &Bucket, key: &ObjectKey) {
    let op = Op::background("doctor");
    let begun = bucket
        .initiate(&op, key, &Properties::default(), Condition::None)
        .await;
    let upload = match told(connection, begun) {
        Ok(upload) => upload,
        Err(error) => return report.check("multipart", Err(error)),
    };
    let body = Body::from(Bytes::from_static(CONTENT));
    let part = told(connection, bucket.upload_part(&op, &upload, 1, &body).await);
    let ended = told(connection, bucket.abort(&op, &upload).await);
    let ended = ended.with_context(|| {
        format!(
            "the upload {} of {key} is left; 'rolefs cleanup' or a life-cycle rule takes it away",
            upload.id
        )
    });
    let outcome = part.and(ended);
    report.check(
        "multipart",
        outcome.map(|()| "a part was sent, and its upload given up again".to_owned()),
    );
}

/// What a request that writes has come to, with the remedy.
fn told<T>(connection: &Connection, result: Result<T, oss::Error>) -> Result<T> {
    result.map_err(|error| match error.kind() {
        Kind::Denied { action } => anyhow!(
            "the role lacks {action} below oss://{}/{}: {error}",
            connection.bucket,
            connection.prefix
        ),
        _ => preflight::explain(connection, error),
    })
}
