//! AIWorkSpace 2021-02-04: ListConfigs, as far as it tells the default storage.

use serde_json::{Value, json};

use super::{Asked, Refusal, refused, signature};
use crate::dev_server::auth::Authority;

/// The key under which PAI's own SDK looks for the default storage (undocumented).
const DEFAULT_STORAGE: &str = "modelExportPath";

pub(super) fn list_configs(auth: &Authority, asked: &Asked<'_>) -> Result<Value, Refusal> {
    if asked.header("x-acs-version") != Some("2021-02-04") {
        return Err(refused(
            400,
            "InvalidVersion",
            "Specified parameter Version is not valid.",
        ));
    }
    let caller = signature::principal(auth, asked)?;
    let path = asked.head.uri.path();
    let id = path
        .strip_prefix("/api/v1/workspaces/")
        .and_then(|rest| rest.strip_suffix("/configs"))
        .ok_or_else(|| refused(404, "InvalidAction.NotFound", "Specified api is not found."))?;
    // Unconfirmed: the name of the action, and the code of the refusal.
    let resource = format!("acs:paiworkspace:{}:*:workspace/{id}", auth.region());
    if !caller.may("paiworkspace:ListConfigs", &resource) {
        return Err(refused(
            403,
            "NoPermission",
            "You are not authorized to do this action.",
        ));
    }
    let storage = auth.sessions().workspace.as_ref();
    let storage = storage
        .filter(|(known, _)| known == id)
        .ok_or_else(|| refused(404, "WorkspaceNotExist", "The workspace does not exist."))?;
    let wanted = asked.parameter("ConfigKeys").unwrap_or_default();
    let is_wanted = wanted.is_empty() || wanted.split(',').any(|key| key == DEFAULT_STORAGE);
    let configs = if is_wanted {
        json!([{ "ConfigKey": DEFAULT_STORAGE, "ConfigValue": storage.1, "CategoryName": "CommonResourceConfig" }])
    } else {
        json!([])
    };
    let count = configs.as_array().map_or(0, Vec::len);
    Ok(json!({ "Configs": configs, "TotalCount": count }))
}
