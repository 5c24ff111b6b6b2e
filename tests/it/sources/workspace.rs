//! The default bucket of the workspace.

use std::fs;
use std::process::Command;

use super::{READER, injected, text, world};
use crate::harness::World;
use crate::launch::output;

/// A job of PAI that says nothing of buckets.
fn of_workspace(world: &World, workspace: &str) -> Command {
    let mut command = injected(world);
    command
        .env("PAI_WORKSPACE_ID", workspace)
        .env("REGION", "cn-hangzhou")
        .env("ROLEFS_AIWORKSPACE_ENDPOINT", world.server.endpoint());
    command
}

#[test]
fn the_default_bucket_of_the_workspace_is_found() {
    let world = world();
    world.put("file", "of the workspace");
    let path = world.path("mnt");
    fs::create_dir(&path).unwrap();
    let mut command = of_workspace(&world, "4711");
    command.arg("mount").arg(&path);
    let done = output(command);
    let said = text(&done.stderr);
    assert!(done.status.success(), "{said}");
    assert!(
        said.contains("workspace 4711 is oss://workspace-default."),
        "{said}"
    );
    assert_eq!(fs::read(path.join("file")).unwrap(), b"of the workspace");
    let mut umount = world.rolefs();
    umount.arg("umount").arg(&path);
    assert!(output(umount).status.success());
}

#[test]
fn who_may_not_ask_for_the_default_bucket_is_told_what_to_pass() {
    let world = world();
    world.refused(
        of_workspace(&world, "1"),
        &["--credentials=auto", "oss://"],
        &["the bucket's name is missing"],
    );
    let refused = |command: Command, words: &[&str]| {
        let mut command = command;
        fs::create_dir_all(world.path("refused")).unwrap();
        command.arg("mount").arg(world.path("refused"));
        let done = output(command);
        let said = text(&done.stderr);
        assert!(!done.status.success(), "{said}");
        for word in words {
            assert!(said.contains(word), "'{word}' is not in: {said}");
        }
    };
    refused(
        of_workspace(&world, "1"),
        &["WorkspaceNotExist", "ROLEFS_BUCKET"],
    );
    let mut reader = of_workspace(&world, "4711");
    reader.env("ROLEFS_ROLE_ARN", READER);
    refused(reader, &["may not ask", "NoPermission", "oss://BUCKET"]);
    refused(
        injected(&world),
        &["no bucket is given", "PAI_WORKSPACE_ID"],
    );
}
