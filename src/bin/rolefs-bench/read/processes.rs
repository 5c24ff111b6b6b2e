//! Several processes that read the same file at once, as the ranks of a training job do on one node.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use bytesize::ByteSize;

use crate::report::Report;

/// Starts this program so many times. The bytes are those that all read together, and the time is that from the first
/// start to the last end, so starting counts: a few milliseconds.
pub(super) fn sequential(path: &Path, processes: usize, block: ByteSize) -> anyhow::Result<Report> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let started = Instant::now();
    let mut children = Vec::new();
    for _ in 0..processes.max(1) {
        let child = Command::new(&program)
            .args(["read", "sequential", "--block", &block.0.to_string()])
            .arg(path)
            .stdout(Stdio::piped())
            .spawn();
        match child {
            Ok(child) => children.push(child),
            Err(error) => {
                // Those that run already are waited for, so that none outlives this one.
                let _ = children.into_iter().map(wait).count();
                return Err(error).context("cannot start a reader");
            }
        }
    }
    let reports: Vec<_> = children.into_iter().map(wait).collect();
    let seconds = started.elapsed().as_secs_f64();
    let reports = reports.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Report::together(&reports, seconds))
}

fn wait(child: Child) -> anyhow::Result<Report> {
    let output = child
        .wait_with_output()
        .context("cannot wait for a reader")?;
    ensure!(output.status.success(), "a reader failed");
    serde_json::from_slice(&output.stdout).context("a reader wrote no report")
}
